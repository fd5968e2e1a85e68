// Packed integer arithmetic, comparison, logic, packing and unpacking: the MMX form and the SSE2
// form of each come from one line. Intel SDM volume 2, the instructions by name.

import { op, type Value } from '../../wasm/index.ts';
import { row } from '../instruction-table.ts';
import { beginMMX, beginSSE, writeMMX } from '../simd/simd-state.ts';
import {
  fromMMX,
  low64,
  multiplyEven,
  multiplyHigh,
  pair64,
  plain,
  sumOfDifferences,
  unpack,
  type VectorFunction,
} from '../simd/vector.ts';

/** The SSE2 row of a function of two vectors. */
function sseRow(opcode: string, mnemonic: string, compute: VectorFunction): void {
  row(`66 0F ${opcode}`, mnemonic, 'Vdq,Wdq', (e, destination, source) => {
    beginSSE(e);
    const b = source.read();
    destination.write(compute(e.f, destination.read(), b));
  });
}

/** The MMX row, which sees its operands as vectors with both halves alike. */
function mmxRow(opcode: string, mnemonic: string, compute: VectorFunction): void {
  row(`NP 0F ${opcode}`, mnemonic, 'Pq,Qq', (e, destination, source) => {
    beginMMX(e);
    const b = e.let(fromMMX(source.read()));
    const a = e.let(fromMMX(destination.read()));
    writeMMX(e, destination, low64(compute(e.f, a, b)));
  });
}

/** Lane by lane, both forms compute the same. */
function bothRows(opcode: string, mnemonic: string, compute: VectorFunction): void {
  mmxRow(opcode, mnemonic, compute);
  sseRow(opcode, mnemonic, compute);
}

/** Opcode, mnemonic and the WebAssembly operation that is exactly it. */
const PLAIN: readonly (readonly [string, string, string])[] = [
  ['FC', 'PADDB', 'i8x16.add'],
  ['FD', 'PADDW', 'i16x8.add'],
  ['FE', 'PADDD', 'i32x4.add'],
  ['D4', 'PADDQ', 'i64x2.add'],
  ['F8', 'PSUBB', 'i8x16.sub'],
  ['F9', 'PSUBW', 'i16x8.sub'],
  ['FA', 'PSUBD', 'i32x4.sub'],
  ['FB', 'PSUBQ', 'i64x2.sub'],
  ['EC', 'PADDSB', 'i8x16.add_sat_s'],
  ['ED', 'PADDSW', 'i16x8.add_sat_s'],
  ['DC', 'PADDUSB', 'i8x16.add_sat_u'],
  ['DD', 'PADDUSW', 'i16x8.add_sat_u'],
  ['E8', 'PSUBSB', 'i8x16.sub_sat_s'],
  ['E9', 'PSUBSW', 'i16x8.sub_sat_s'],
  ['D8', 'PSUBUSB', 'i8x16.sub_sat_u'],
  ['D9', 'PSUBUSW', 'i16x8.sub_sat_u'],
  ['D5', 'PMULLW', 'i16x8.mul'],
  ['F5', 'PMADDWD', 'i32x4.dot_i16x8_s'],
  ['E0', 'PAVGB', 'i8x16.avgr_u'],
  ['E3', 'PAVGW', 'i16x8.avgr_u'],
  ['DA', 'PMINUB', 'i8x16.min_u'],
  ['DE', 'PMAXUB', 'i8x16.max_u'],
  ['EA', 'PMINSW', 'i16x8.min_s'],
  ['EE', 'PMAXSW', 'i16x8.max_s'],
  ['74', 'PCMPEQB', 'i8x16.eq'],
  ['75', 'PCMPEQW', 'i16x8.eq'],
  ['76', 'PCMPEQD', 'i32x4.eq'],
  ['64', 'PCMPGTB', 'i8x16.gt_s'],
  ['65', 'PCMPGTW', 'i16x8.gt_s'],
  ['66', 'PCMPGTD', 'i32x4.gt_s'],
  ['DB', 'PAND', 'v128.and'],
  ['EB', 'POR', 'v128.or'],
  ['EF', 'PXOR', 'v128.xor'],
];
for (const [opcode, mnemonic, operation] of PLAIN) bothRows(opcode, mnemonic, plain(operation));

bothRows('DF', 'PANDN', (_f, a, b) => op('v128.andnot', b, a));
bothRows('E5', 'PMULHW', multiplyHigh('s'));
bothRows('E4', 'PMULHUW', multiplyHigh('u'));
bothRows('F4', 'PMULUDQ', multiplyEven);
bothRows('F6', 'PSADBW', sumOfDifferences);

/** Packing: the destination gives the lower half of the result, the source the upper. */
const PACKS: readonly (readonly [string, string, string])[] = [
  ['63', 'PACKSSWB', 'i8x16.narrow_i16x8_s'],
  ['6B', 'PACKSSDW', 'i16x8.narrow_i32x4_s'],
  ['67', 'PACKUSWB', 'i8x16.narrow_i16x8_u'],
];
for (const [opcode, mnemonic, operation] of PACKS) {
  sseRow(opcode, mnemonic, plain(operation));
  mmxRow(opcode, mnemonic, (f, a, b) => {
    const both = f.let(pair64(low64(a), low64(b)));
    return op(operation, both, both);
  });
}

/** Unpacking: opcode, mnemonic, bytes per lane, whether of the high halves. */
const UNPACKS: readonly (readonly [string, string, number, boolean])[] = [
  ['60', 'PUNPCKLBW', 1, false],
  ['61', 'PUNPCKLWD', 2, false],
  ['62', 'PUNPCKLDQ', 4, false],
  ['68', 'PUNPCKHBW', 1, true],
  ['69', 'PUNPCKHWD', 2, true],
  ['6A', 'PUNPCKHDQ', 4, true],
];
const XMM_HALF_BYTES = 8;
const MMX_HALF_BYTES = 4;
for (const [opcode, mnemonic, laneBytes, isHigh] of UNPACKS) {
  const unpackHalves = (halfBytes: number) => (_f: unknown, a: Value, b: Value) =>
    unpack(a, b, laneBytes, halfBytes, isHigh);
  sseRow(opcode, mnemonic, unpackHalves(XMM_HALF_BYTES));
  // The low forms read 32 bits of a memory operand only: SDM volume 2, "PUNPCKLBW".
  if (isHigh) mmxRow(opcode, mnemonic, unpackHalves(MMX_HALF_BYTES));
  else mmxUnpackLow(opcode, mnemonic, laneBytes);
}
sseRow('6C', 'PUNPCKLQDQ', (_f, a, b) => unpack(a, b, 8, XMM_HALF_BYTES, false));
sseRow('6D', 'PUNPCKHQDQ', (_f, a, b) => unpack(a, b, 8, XMM_HALF_BYTES, true));

function mmxUnpackLow(opcode: string, mnemonic: string, laneBytes: number): void {
  for (const source of ['Nq', 'Md']) {
    row(`NP 0F ${opcode}`, mnemonic, `Pq,${source}`, (e, destination, operand) => {
      beginMMX(e);
      const b = e.let(fromMMX(operand.read().extendU()));
      const a = fromMMX(destination.read());
      writeMMX(e, destination, low64(unpack(a, b, laneBytes, MMX_HALF_BYTES, false)));
    });
  }
}
