// Float arithmetic, logic and comparison. Intel SDM volume 2, the instructions by name; volume 1,
// section 11.5 on exceptions: an unmasked one changes MXCSR only.

import { i32, laneOp, op, type Value } from '../../wasm/index.ts';
import type { Emitter, Operand, SharedFunction } from '../emitter.ts';
import { row } from '../instruction-table.ts';
import { FLOAT_OPERATIONS, nativeScalar } from '../simd/float-arithmetic.ts';
import { COMPARISONS_F32, COMPARISONS_F64, type FloatComparisons } from '../simd/float-compare.ts';
import { RECIPROCAL, RECIPROCAL_ROOT } from '../simd/float-estimate.ts';
import { beginSSE, checkSIMD } from '../simd/simd-state.ts';
import { plain, type VectorFunction } from '../simd/vector.ts';

type Width = 'ps' | 'pd' | 'ss' | 'sd';

/** Mandatory prefix, width, and comparisons of the four forms of a float instruction. */
const FORMS: readonly (readonly [string, Width, FloatComparisons])[] = [
  ['NP', 'ps', COMPARISONS_F32],
  ['66', 'pd', COMPARISONS_F64],
  ['F3', 'ss', COMPARISONS_F32],
  ['F2', 'sd', COMPARISONS_F64],
];

const isScalar = (width: Width): boolean => width === 'ss' || width === 'sd';

/** A scalar of i32 or i64 in all lanes, so that no other lane raises what it does not. */
function inAllLanes(value: Value): Value {
  if (value.type === 'v128') return value;
  return op(value.type === 'i32' ? 'i32x4.splat' : 'i64x2.splat', value);
}

/** Writes the low lane for scalar forms, the whole vector otherwise. */
function writeLanes(e: Emitter, destination: Operand, vector: Value): void {
  checkSIMD(e);
  if (destination.size === 16) destination.write(vector);
  else destination.write(lowLane(destination.size === 4 ? 'i32x4' : 'i64x2', vector));
}

function lowLane(lanes: 'i32x4' | 'i64x2', vector: Value): Value {
  return laneOp(`${lanes}.extract_lane`, [0], vector);
}

const TWO_OPERANDS = [
  ['58', 'ADD', 'add'],
  ['59', 'MUL', 'mul'],
  ['5C', 'SUB', 'sub'],
  ['5E', 'DIV', 'div'],
] as const;

for (const [prefix, width, comparisons] of FORMS) {
  const suffix = width.toUpperCase();
  const operands = `V${width},W${width}`;
  for (const [opcode, name, operation] of TWO_OPERANDS) {
    row(`${prefix} 0F ${opcode}`, name + suffix, operands, (e, destination, source) => {
      beginSSE(e);
      const b = source.read();
      const args = [destination.read(), b];
      const inFull = () => {
        const full = e.callShared(FLOAT_OPERATIONS[operation][width], ...args);
        checkSIMD(e);
        return full;
      };
      if (width === 'ps' || width === 'pd') {
        destination.write(inFull());
        return;
      }
      const { result, isSure } = nativeScalar(e.f, width, operation, args);
      destination.write(e.f.ifValue(isSure, () => result, inFull));
    });
  }
  row(`${prefix} 0F 51`, `SQRT${suffix}`, operands, (e, destination, source) => {
    beginSSE(e);
    const result = e.callShared(FLOAT_OPERATIONS.sqrt[width], source.read());
    checkSIMD(e);
    destination.write(result);
  });
  for (const [opcode, name, shared] of [
    ['5D', 'MIN', comparisons.min],
    ['5F', 'MAX', comparisons.max],
  ] as const) {
    row(`${prefix} 0F ${opcode}`, name + suffix, operands, (e, destination, source) => {
      beginSSE(e);
      const b = inAllLanes(source.read());
      writeLanes(e, destination, e.callShared(shared, inAllLanes(destination.read()), b));
    });
  }
  row(`${prefix} 0F C2`, `CMP${suffix}`, `${operands},Ib`, (e, destination, source, predicate) => {
    beginSSE(e);
    const b = inAllLanes(source.read());
    const a = inAllLanes(destination.read());
    const { compare } = comparisons;
    writeLanes(e, destination, e.callShared(compare, a, b, predicate.immediate()));
  });
}

/** Unordered and ordered comparison, which sets ZF, PF and CF and clears the others. */
function orderRow(
  pattern: string,
  mnemonic: string,
  width: 'ss' | 'sd',
  isQuietInvalid: 0 | 1,
): void {
  const { order } = width === 'ss' ? COMPARISONS_F32 : COMPARISONS_F64;
  row(pattern, mnemonic, `V${width},W${width}`, (e, first, second) => {
    beginSSE(e);
    const b = second.read();
    const word = e.callShared(order, first.read(), b, i32(isQuietInvalid));
    checkSIMD(e);
    e.flags.setWord(word);
  });
}
orderRow('NP 0F 2E', 'UCOMISS', 'ss', 0);
orderRow('66 0F 2E', 'UCOMISD', 'sd', 0);
orderRow('NP 0F 2F', 'COMISS', 'ss', 1);
orderRow('66 0F 2F', 'COMISD', 'sd', 1);

function estimateRows(opcode: string, name: string, shared: SharedFunction): void {
  for (const [prefix, width] of [
    ['NP', 'ps'],
    ['F3', 'ss'],
  ] as const) {
    const mnemonic = name + width.toUpperCase();
    row(`${prefix} 0F ${opcode}`, mnemonic, `V${width},W${width}`, (e, destination, source) => {
      beginSSE(e);
      const result = e.callShared(shared, inAllLanes(source.read()));
      destination.write(isScalar(width) ? lowLane('i32x4', result) : result);
    });
  }
}
estimateRows('52', 'RSQRT', RECIPROCAL_ROOT);
estimateRows('53', 'RCP', RECIPROCAL);

const andNot: VectorFunction = (_f, a, b) => op('v128.andnot', b, a);
const LOGIC: readonly (readonly [string, string, VectorFunction])[] = [
  ['54', 'AND', plain('v128.and')],
  ['55', 'ANDN', andNot],
  ['56', 'OR', plain('v128.or')],
  ['57', 'XOR', plain('v128.xor')],
];
for (const [opcode, name, compute] of LOGIC) {
  for (const [prefix, width] of [
    ['NP', 'ps'],
    ['66', 'pd'],
  ] as const) {
    const mnemonic = name + width.toUpperCase();
    row(`${prefix} 0F ${opcode}`, mnemonic, `V${width},W${width}`, (e, destination, source) => {
      beginSSE(e);
      const b = source.read();
      destination.write(compute(e.f, destination.read(), b));
    });
  }
}
