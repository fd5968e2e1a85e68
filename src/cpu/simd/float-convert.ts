// Conversions between integers and the two float formats. SDM volume 1, section 11.4.1.6 and table
// E-1 (what masked and unmasked exceptions give); volume 2, "CVTPS2DQ" and its kin.

import {
  type FunctionBuilder,
  f64,
  i32,
  i64,
  type Local,
  laneOp,
  op,
  select,
  type Value,
} from '../../wasm/index.ts';
import type { SharedFunction, SharedTools } from '../emitter.ts';
import { FINISH } from './float-exceptions.ts';
import {
  applyDAZ,
  F32,
  F64,
  type FloatFormat,
  isSignaling,
  loadMXCSR,
  magnitude,
  raiseDenormal,
  raiseFlags,
  roundingMode,
  signOf,
  unpack,
} from './float-format.ts';
import { MXCSR_IE, MXCSR_NATIVE, MXCSR_NATIVE_MASK, MXCSR_PE } from './mxcsr.ts';
import { SOFT_F32 } from './soft-float.ts';

const INTEGER_MIN = -0x8000_0000;
const INTEGER_MAX = 0x7fff_ffff;
/** What an integer conversion gives that is out of range: the integer indefinite value. */
const INTEGER_INDEFINITE = 0x8000_0000 | 0;
const FRACTION_DIFFERENCE = F64.fractionBits - F32.fractionBits;

/** (number, 1 to truncate or 0 to round as MXCSR says) → 32-bit integer. */
const ROUND_TO_INTEGER: SharedFunction = {
  name: 'f64.to_i32',
  params: ['f64', 'i32'],
  result: 'i32',
  build(f) {
    const value = f.param(0);
    const mode = f.let(select(f.param(1), i32(3), roundingMode()));
    const rounded = f.local('f64');
    f.set(rounded, op('f64.trunc', value));
    ['nearest', 'floor', 'ceil'].forEach((name, index) => {
      f.if(mode.eq(index), () => f.set(rounded, op(`f64.${name}`, value)));
    });
    const isAbove = op('f64.ge', rounded, f64(INTEGER_MIN));
    const isInRange = isAbove.and(op('f64.le', rounded, f64(INTEGER_MAX)));
    f.if(isInRange.eqz(), () => {
      raiseFlags(f, MXCSR_IE);
      f.return(i32(INTEGER_INDEFINITE));
    });
    f.if(op('f64.ne', rounded, value), () => raiseFlags(f, MXCSR_PE));
    f.return(op('i32.trunc_sat_f64_s', rounded));
  },
};

/** Bits of a lane, i64, after DAZ; as an f64. */
function laneNumber(f: FunctionBuilder, fmt: FloatFormat, bits: Value): Value {
  const variable = f.local('i64');
  f.set(variable, bits);
  applyDAZ(f, fmt, [variable]);
  if (fmt === F64) return op('f64.reinterpret_i64', variable);
  return op('f64.promote_f32', op('f32.reinterpret_i32', variable.wrap()));
}

/** A function on one value of `type` and the truncation flag, with exceptions finished. */
function toIntegers(
  name: string,
  type: 'i32' | 'i64' | 'v128',
  result: 'i32' | 'i64' | 'v128',
  build: (
    convert: (fmt: FloatFormat, bits: Value) => Value,
    value: Value,
    out: Local,
    f: FunctionBuilder,
  ) => void,
): SharedFunction {
  return {
    name,
    params: [type, 'i32'],
    result,
    build(f, tools) {
      const out = f.local(result);
      const convert = (fmt: FloatFormat, bits: Value) =>
        tools.call(ROUND_TO_INTEGER, laneNumber(f, fmt, bits), f.param(1));
      build(convert, f.param(0), out, f);
      tools.call(FINISH);
      f.return(out);
    },
  };
}

const lane32 = (index: number, value: Value) => laneOp('i32x4.extract_lane', [index], value);
const lane64 = (index: number, value: Value) => laneOp('i64x2.extract_lane', [index], value);
const withLane32 = (index: number, vector: Value, lane: Value) =>
  laneOp('i32x4.replace_lane', [index], vector, lane);
const withLane64 = (index: number, vector: Value, lane: Value) =>
  laneOp('i64x2.replace_lane', [index], vector, lane);
const pair = (low: Value, high: Value) => low.extendU().or(high.extendU().shl(32));

/** To integers: the number first, then 1 to truncate. */
export const PS_TO_DQ = toIntegers('ps_to_dq', 'v128', 'v128', (convert, value, out, f) => {
  for (let lane = 0; lane < 4; lane++) {
    const integer = convert(F32, lane32(lane, value).extendU());
    f.set(out, withLane32(lane, out, integer));
  }
});
/** The upper half of the result is zero. */
export const PD_TO_DQ = toIntegers('pd_to_dq', 'v128', 'v128', (convert, value, out, f) => {
  for (let lane = 0; lane < 2; lane++) {
    f.set(out, withLane32(lane, out, convert(F64, lane64(lane, value))));
  }
});
export const PS_TO_PI = toIntegers('ps_to_pi', 'i64', 'i64', (convert, value, out, f) => {
  const low = convert(F32, value.and(0xffffffffn));
  f.set(out, pair(low, convert(F32, value.shrU(32))));
});
export const SS_TO_SI = toIntegers('ss_to_si', 'i32', 'i32', (convert, value, out, f) => {
  f.set(out, convert(F32, value.extendU()));
});
export const SD_TO_SI = toIntegers('sd_to_si', 'i64', 'i32', (convert, value, out, f) => {
  f.set(out, convert(F64, value));
});

/** A function of one value whose exceptions are finished at its end. */
function conversion(
  name: string,
  type: 'i32' | 'i64' | 'v128',
  result: 'i32' | 'i64' | 'v128',
  build: (f: FunctionBuilder, tools: SharedTools, value: Value) => Value,
): SharedFunction {
  return {
    name,
    params: [type],
    result,
    build(f, tools) {
      const out = f.let(build(f, tools, f.param(0)));
      tools.call(FINISH);
      f.return(out);
    },
  };
}

/** One i32 → bits of an f32, i64; when it is exact, which is usual, without the soft function. */
const INTEGER_TO_SINGLE: SharedFunction = {
  name: 'i32.to_f32',
  params: ['i32'],
  result: 'i64',
  build(f, tools) {
    const value = f.param(0);
    const single = f.let(op('f32.convert_i32_s', value));
    const isExact = op('f64.eq', op('f64.promote_f32', single), op('f64.convert_i32_s', value));
    f.if(isExact, () => f.return(op('i32.reinterpret_f32', single).extendU()));
    f.return(tools.call(SOFT_F32.fromInteger, value.extendS()));
  },
};

export const SI_TO_SS = conversion('si_to_ss', 'i32', 'i32', (_f, tools, value) =>
  tools.call(INTEGER_TO_SINGLE, value).wrap(),
);
export const PI_TO_PS = conversion('pi_to_ps', 'i64', 'i64', (_f, tools, value) => {
  const low = tools.call(INTEGER_TO_SINGLE, value.wrap());
  return pair(low, tools.call(INTEGER_TO_SINGLE, value.shrU(32).wrap()));
});
export const DQ_TO_PS = conversion('dq_to_ps', 'v128', 'v128', (f, tools, value) => {
  const out = f.local('v128');
  for (let lane = 0; lane < 4; lane++) {
    const single = tools.call(INTEGER_TO_SINGLE, lane32(lane, value)).wrap();
    f.set(out, withLane32(lane, out, single));
  }
  return out;
});

/** Bits of an f32 → bits of an f64, both i64: exact but for NaNs. */
const WIDEN: SharedFunction = {
  name: 'f32.widen',
  params: ['i64'],
  result: 'i64',
  build(f) {
    const bits = f.param(0);
    applyDAZ(f, F32, [bits]);
    const abs = f.let(magnitude(F32, bits));
    f.if(abs.gtU(F32.infinity), () => {
      f.if(isSignaling(F32, bits), () => raiseFlags(f, MXCSR_IE));
      const sign = select(signOf(F32, bits), i64(F64.sign), i64(0));
      const payload = bits.and(F32.minNormal - 1n).shl(FRACTION_DIFFERENCE);
      f.return(sign.or(payload).or(F64.infinity | F64.quiet));
    });
    raiseDenormal(f, F32, [abs]);
    const single = op('f32.reinterpret_i32', bits.wrap());
    f.return(op('i64.reinterpret_f64', op('f64.promote_f32', single)));
  },
};

/** Bits of an f64 → bits of an f32, both i64. */
const NARROW: SharedFunction = {
  name: 'f64.narrow',
  params: ['i64'],
  result: 'i64',
  build(f, tools) {
    const bits = f.param(0);
    f.if(loadMXCSR().and(MXCSR_NATIVE_MASK).eq(MXCSR_NATIVE), () => {
      const single = op('f32.demote_f64', op('f64.reinterpret_i64', bits));
      const result = f.let(op('i32.reinterpret_f32', single).extendU());
      const aboveTiny = magnitude(F32, result).sub(F32.minNormal + 1n);
      const isNormal = aboveTiny.ltU(F32.infinity - F32.minNormal - 1n);
      f.if(isNormal.or(magnitude(F64, bits).eqz()), () => f.return(result));
    });
    applyDAZ(f, F64, [bits]);
    const abs = f.let(magnitude(F64, bits));
    const sign = f.let(signOf(F64, bits));
    const signBits = f.let(select(sign, i64(F32.sign), i64(0)));
    f.if(abs.gtU(F64.infinity), () => {
      f.if(isSignaling(F64, bits), () => raiseFlags(f, MXCSR_IE));
      const payload = bits.and(F64.minNormal - 1n).shrU(FRACTION_DIFFERENCE);
      f.return(signBits.or(payload).or(F32.infinity | F32.quiet));
    });
    raiseDenormal(f, F64, [abs]);
    f.if(abs.eq(F64.infinity), () => f.return(signBits.or(F32.infinity)));
    f.if(abs.eqz(), () => f.return(signBits));
    const { exponent, significand } = unpack(f, F64, abs);
    const biased = exponent.sub(F64.bias - F32.bias);
    f.return(tools.call(SOFT_F32.round, sign, biased, significand));
  },
};

export const SS_TO_SD = conversion('ss_to_sd', 'i32', 'i64', (_f, tools, value) =>
  tools.call(WIDEN, value.extendU()),
);
export const SD_TO_SS = conversion('sd_to_ss', 'i64', 'i32', (_f, tools, value) =>
  tools.call(NARROW, value).wrap(),
);
/** Two singles in an i64 → two doubles. */
export const PS_TO_PD = conversion('ps_to_pd', 'i64', 'v128', (f, tools, value) => {
  const out = f.local('v128');
  f.set(out, withLane64(0, out, tools.call(WIDEN, value.and(0xffffffffn))));
  f.set(out, withLane64(1, out, tools.call(WIDEN, value.shrU(32))));
  return out;
});
/** Two doubles → two singles in the low half, zeros above. */
export const PD_TO_PS = conversion('pd_to_ps', 'v128', 'v128', (f, tools, value) => {
  const low = tools.call(NARROW, lane64(0, value));
  const both = f.let(pair(low, tools.call(NARROW, lane64(1, value))));
  return withLane64(0, op('i64x2.splat', i64(0)), both);
});
