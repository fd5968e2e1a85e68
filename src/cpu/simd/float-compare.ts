// Comparisons, minimum and maximum of SSE, whole vectors at once: WebAssembly's comparisons agree
// with x86 about NaNs; only DAZ and the flags are added. SDM volume 2, "CMPPS", "COMISS", "MINPS",
// "MAXPS".

import {
  type FunctionBuilder,
  i32,
  type Local,
  laneOp,
  op,
  select,
  type Value,
} from '../../wasm/index.ts';
import type { SharedFunction, SharedTools } from '../emitter.ts';
import { FLAG_CF, FLAG_PF, FLAG_ZF } from '../flags.ts';
import { lanesOf, repeated } from './float-arithmetic.ts';
import { FINISH } from './float-exceptions.ts';
import { F32, F64, type FloatFormat, loadMXCSR, raiseFlags } from './float-format.ts';
import { MXCSR_DAZ, MXCSR_DE, MXCSR_IE } from './mxcsr.ts';

/** What there is for each format. */
export interface FloatComparisons {
  /** (a, b, predicate 0–7 in the low three bits) → masks of ones and zeros. */
  readonly compare: SharedFunction;
  readonly min: SharedFunction;
  readonly max: SharedFunction;
  /** (a, b) as integers, and whether a quiet NaN is invalid → ZF, PF and CF as EFLAGS bits. */
  readonly order: SharedFunction;
}

/** The vector operations of one format. */
interface Lanes {
  readonly fmt: FloatFormat;
  readonly floats: string;
  readonly integers: string;
  constant(value: bigint): Value;
}

function makeComparisons(fmt: FloatFormat): FloatComparisons {
  const { bits, shape } = lanesOf(fmt);
  const floats = fmt === F32 ? 'f32x4' : 'f64x2';
  const lanes: Lanes = {
    fmt,
    floats,
    integers: shape,
    constant: (value) => repeated(value, bits),
  };
  const pick = (comparison: 'lt' | 'gt'): SharedFunction => ({
    name: `${fmt.name}.packed_${comparison === 'lt' ? 'min' : 'max'}`,
    params: ['v128', 'v128'],
    result: 'v128',
    build(f, tools) {
      const [a, b] = [f.param(0), f.param(1)];
      prepare(f, tools, lanes, a, b, i32(1));
      // A NaN, or two zeros, make the comparison false: the second operand.
      f.return(op('v128.bitselect', a, b, op(`${floats}.${comparison}`, a, b)));
    },
  });
  const type = fmt === F32 ? 'i32' : 'i64';
  return {
    compare: {
      name: `${fmt.name}.packed_compare`,
      params: ['v128', 'v128', 'i32'],
      result: 'v128',
      build: (f, tools) => buildCompare(f, tools, lanes),
    },
    min: pick('lt'),
    max: pick('gt'),
    order: {
      name: `${fmt.name}.order`,
      params: [type, type, 'i32'],
      result: 'i32',
      build: (f, tools) => buildOrder(f, tools, lanes),
    },
  };
}

/** Applies DAZ to both, raises IE and DE of all lanes, and finishes the exceptions. */
function prepare(
  f: FunctionBuilder,
  tools: SharedTools,
  lanes: Lanes,
  a: Local,
  b: Local,
  isQuietInvalid: Value,
): void {
  const { floats, integers, constant, fmt } = lanes;
  const abs = (value: Value) => op('v128.and', value, constant(fmt.sign - 1n));
  const isTiny = (value: Value) => op(`${integers}.lt_s`, abs(value), constant(fmt.minNormal));
  const isZero = (value: Value) => op(`${integers}.eq`, abs(value), constant(0n));
  const isDenormal = (value: Value) => op('v128.andnot', isTiny(value), isZero(value));
  const nans = f.let(op('v128.or', op(`${floats}.ne`, a, a), op(`${floats}.ne`, b, b)));
  const denormals = f.let(op('v128.or', isDenormal(a), isDenormal(b)));
  f.if(op('v128.any_true', op('v128.or', nans, denormals)), () => {
    f.if(
      loadMXCSR().and(MXCSR_DAZ),
      () => {
        for (const value of [a, b]) {
          const zero = op('v128.and', value, constant(fmt.sign));
          f.set(value, op('v128.bitselect', zero, value, isDenormal(value)));
        }
      },
      () => {
        const counted = op('v128.andnot', denormals, nans);
        f.if(op('v128.any_true', counted), () => raiseFlags(f, MXCSR_DE));
      },
    );
    const isSignaling = (value: Value) => {
      const isLoud = op(`${integers}.eq`, op('v128.and', value, constant(fmt.quiet)), constant(0n));
      return op('v128.and', op(`${floats}.ne`, value, value), isLoud);
    };
    const signaling = op('v128.any_true', op('v128.or', isSignaling(a), isSignaling(b)));
    const anyNaN = op('v128.any_true', nans).and(isQuietInvalid);
    f.if(signaling.or(anyNaN), () => raiseFlags(f, MXCSR_IE));
    tools.call(FINISH);
  });
}

function buildCompare(f: FunctionBuilder, tools: SharedTools, lanes: Lanes): void {
  const [a, b] = [f.param(0), f.param(1)];
  const { floats, constant } = lanes;
  const predicate = f.let(f.param(2).and(3));
  // LT and LE, plain or negated, are signaling: an invalid operation with any NaN.
  prepare(f, tools, lanes, a, b, predicate.eq(1).or(predicate.eq(2)));
  const isEqual = f.let(op(`${floats}.eq`, a, b));
  const isLess = f.let(op(`${floats}.lt`, a, b));
  const isNotNumber = op('v128.or', op(`${floats}.ne`, a, a), op(`${floats}.ne`, b, b));
  const orEqual = select(predicate.eq(2), op('v128.or', isEqual, isLess), isNotNumber);
  const plain = select(predicate.eq(0), isEqual, select(predicate.eq(1), isLess, orEqual));
  const flip = select(f.param(2).and(4), constant(-1n), constant(0n));
  f.return(op('v128.xor', plain, flip));
}

function buildOrder(f: FunctionBuilder, tools: SharedTools, lanes: Lanes): void {
  const [a, b] = [f.local('v128'), f.local('v128')];
  f.set(a, op(`${lanes.integers}.splat`, f.param(0)));
  f.set(b, op(`${lanes.integers}.splat`, f.param(1)));
  prepare(f, tools, lanes, a, b, f.param(2));
  const lane = (value: Value) => laneOp(`${lanes.floats}.extract_lane`, [0], value);
  const holds = (name: string) => op(`${lanes.fmt.name}.${name}`, lane(a), lane(b));
  const ordered = holds('lt').mul(FLAG_CF).or(holds('eq').mul(FLAG_ZF));
  const isOrdered = holds('le').or(holds('ge'));
  f.return(select(isOrdered, ordered, i32(FLAG_ZF | FLAG_PF | FLAG_CF)));
}

export const COMPARISONS_F32 = makeComparisons(F32);
export const COMPARISONS_F64 = makeComparisons(F64);
