// Every float function of src/cpu/simd as a program on two 16-byte operands, in the order in which
// test/simd/native-float.c numbers the instructions.

import type { SharedFunction } from '../../src/cpu/emitter.ts';
import { ARITHMETIC, FLOAT_OPERATIONS } from '../../src/cpu/simd/float-arithmetic.ts';
import { COMPARISONS_F32, COMPARISONS_F64 } from '../../src/cpu/simd/float-compare.ts';
import * as convert from '../../src/cpu/simd/float-convert.ts';
import { RECIPROCAL, RECIPROCAL_ROOT } from '../../src/cpu/simd/float-estimate.ts';
import { i32, laneOp, load, op, type Value } from '../../src/wasm/index.ts';
import { OPERAND_A, OPERAND_B, type Program, RESULT } from './shared-harness.ts';

type Type = 'i32' | 'i64' | 'v128';

const A = (type: Type): Value => load(type, i32(OPERAND_A));
const B = (type: Type): Value => load(type, i32(OPERAND_B));

/** Keeps what of the first operand the result does not replace. */
function mergeProgram(compute: Parameters<typeof withResult>[0]): Program {
  return withResult(compute, true);
}

function withResult(
  compute: (call: (shared: SharedFunction, ...args: Value[]) => Value) => Value,
  keepsRest: boolean,
): Program {
  return (f, tools) => {
    const value = f.let(compute((shared, ...args) => tools.call(shared, ...args)));
    const zeros = op('i64x2.splat', load('i64', i32(RESULT + 16)));
    f.store('v128', i32(RESULT), keepsRest ? A('v128') : zeros);
    f.store(value.type as Type, i32(RESULT), value);
  };
}

const splat = (value: Value): Value =>
  value.type === 'v128' ? value : op(value.type === 'i32' ? 'i32x4.splat' : 'i64x2.splat', value);

/** The low lane of `type`, or the vector. */
function narrowed(type: Type, vector: Value): Value {
  if (type === 'v128') return vector;
  return laneOp(type === 'i32' ? 'i32x4.extract_lane' : 'i64x2.extract_lane', [0], vector);
}

const FORMS = [
  ['ps', 'v128', COMPARISONS_F32],
  ['pd', 'v128', COMPARISONS_F64],
  ['ss', 'i32', COMPARISONS_F32],
  ['sd', 'i64', COMPARISONS_F64],
] as const;

function makePrograms(): Map<string, Program> {
  const programs = new Map<string, Program>();
  for (const name of ARITHMETIC) {
    for (const [width, type] of FORMS) {
      const shared = FLOAT_OPERATIONS[name][width];
      const compute = mergeProgram((call) =>
        shared.params.length === 1 ? call(shared, B(type)) : call(shared, A(type), B(type)),
      );
      programs.set(name + width, compute);
    }
  }
  for (const name of ['min', 'max'] as const) {
    for (const [width, type, comparisons] of FORMS) {
      const compute = mergeProgram((call) =>
        narrowed(type, call(comparisons[name], splat(A(type)), splat(B(type)))),
      );
      programs.set(name + width, compute);
    }
  }
  for (const [width, type, { compare }] of FORMS) {
    for (let predicate = 0; predicate < 8; predicate++) {
      const compute = mergeProgram((call) =>
        narrowed(type, call(compare, splat(A(type)), splat(B(type)), i32(predicate))),
      );
      programs.set(`cmp${width}${predicate}`, compute);
    }
  }
  for (const [prefix, isQuietInvalid] of [
    ['u', 0],
    ['', 1],
  ] as const) {
    for (const [width, type, { order }] of FORMS.slice(2)) {
      const compute = withResult(
        (call) => call(order, A(type), B(type), i32(isQuietInvalid)),
        false,
      );
      programs.set(`${prefix}comi${width}`, compute);
    }
  }
  addConversions(programs);
  programs.set(
    'rcpps',
    withResult((call) => call(RECIPROCAL, B('v128')), false),
  );
  programs.set(
    'rsqrtps',
    withResult((call) => call(RECIPROCAL_ROOT, B('v128')), false),
  );
  return programs;
}

function addConversions(programs: Map<string, Program>): void {
  const both = (name: string, shared: SharedFunction) => {
    for (const truncates of [0, 1]) {
      const spelled = truncates ? name.replace('cvt', 'cvtt') : name;
      const type = shared.params[0] as Type;
      const compute = withResult((call) => call(shared, B(type), i32(truncates)), false);
      programs.set(spelled, compute);
    }
  };
  both('cvtss2si', convert.SS_TO_SI);
  both('cvtsd2si', convert.SD_TO_SI);
  both('cvtps2dq', convert.PS_TO_DQ);
  both('cvtpd2dq', convert.PD_TO_DQ);
  const one = (name: string, shared: SharedFunction) => {
    const type = shared.params[0] as Type;
    programs.set(
      name,
      mergeProgram((call) => call(shared, B(type))),
    );
  };
  one('cvtdq2ps', convert.DQ_TO_PS);
  one('cvtps2pd', convert.PS_TO_PD);
  one('cvtpd2ps', convert.PD_TO_PS);
  one('cvtss2sd', convert.SS_TO_SD);
  one('cvtsd2ss', convert.SD_TO_SS);
  one('cvtsi2ss', convert.SI_TO_SS);
}

/** Programs by name, in the native program's order. */
export const FLOAT_PROGRAMS: ReadonlyMap<string, Program> = makePrograms();
