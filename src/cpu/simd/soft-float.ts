// Float arithmetic in integers, for whatever WebAssembly's own operations do not say: rounding
// other than to nearest, exact exception flags, NaN payloads, DAZ and FTZ. Each function takes and
// gives bit patterns in i64, reads MXCSR, and notes exceptions in SIMD_RAISED without acting on
// them. SDM volume 1, sections 4.8.3.5 "Operating on SNaNs and QNaNs", 11.5 "SSE/SSE2 exceptions".

import {
  type FunctionBuilder,
  i32,
  i64,
  type Local,
  select,
  type Value,
} from '../../wasm/index.ts';
import type { SharedFunction, SharedTools } from '../emitter.ts';
import {
  applyDAZ,
  F32,
  F64,
  type FloatFormat,
  isSignaling,
  LEADING_BIT,
  loadMXCSR,
  magnitude,
  normalize,
  raiseDenormal,
  raiseFlags,
  returnInvalid,
  roundingMode,
  shiftRightJam,
  signOf,
  unpack,
} from './float-format.ts';
import {
  MXCSR_FTZ,
  MXCSR_IE,
  MXCSR_OE,
  MXCSR_OM,
  MXCSR_PE,
  MXCSR_UE,
  MXCSR_UM,
  MXCSR_ZE,
} from './mxcsr.ts';

const ROUND_NEAREST = 0;
const ROUND_DOWN = 1;
const ROUND_UP = 2;

/** What there is for each format. */
export interface SoftFloat {
  /** (sign 0 or 1, biased exponent, significand with leading bit 62 and sticky bit 0) → bits. */
  readonly round: SharedFunction;
  readonly add: SharedFunction;
  readonly sub: SharedFunction;
  readonly mul: SharedFunction;
  readonly div: SharedFunction;
  readonly sqrt: SharedFunction;
  /** From a signed 64-bit integer. */
  readonly fromInteger: SharedFunction;
}

function makeSoftFloat(fmt: FloatFormat): SoftFloat {
  const two = (name: string, build: SharedFunction['build']): SharedFunction => ({
    name: `${fmt.name}.soft_${name}`,
    params: ['i64', 'i64'],
    result: 'i64',
    build,
  });
  const one = (name: string, build: SharedFunction['build']): SharedFunction => ({
    ...two(name, build),
    params: ['i64'],
  });
  const round: SharedFunction = {
    name: `${fmt.name}.soft_round`,
    params: ['i32', 'i32', 'i64'],
    result: 'i64',
    build: (f) => buildRound(f, fmt),
  };
  const nan = two('nan', (f) => buildNaN(f, fmt));
  const add = two('add', (f, tools) => buildAdd(f, tools, fmt, nan, round));
  return {
    round,
    add,
    sub: two('sub', (f, tools) => buildSub(f, tools, fmt, add)),
    mul: two('mul', (f, tools) => buildMul(f, tools, fmt, nan, round)),
    div: two('div', (f, tools) => buildDiv(f, tools, fmt, nan, round)),
    sqrt: one('sqrt', (f, tools) => buildSqrt(f, tools, fmt, nan, round)),
    fromInteger: one('from_integer', (f, tools) => buildFromInteger(f, tools, fmt, round)),
  };
}

function buildRound(f: FunctionBuilder, fmt: FloatFormat): void {
  const [sign, exponent, significand] = [f.param(0), f.param(1), f.param(2)];
  const shift = LEADING_BIT - fmt.fractionBits;
  const below = (1n << BigInt(shift)) - 1n;
  const half = 1n << BigInt(shift - 1);
  const mode = f.let(roundingMode());
  const signBits = f.let(select(sign, i64(fmt.sign), i64(0)));
  const isAway = mode.eq(ROUND_DOWN).and(sign).or(mode.eq(ROUND_UP).and(sign.eqz()));
  const directed = select(isAway, i64(below), i64(0));
  const increment = f.let(select(mode.eq(ROUND_NEAREST), i64(half), directed));
  f.if(exponent.ltS(1), () => {
    // Tiny means: below the normal numbers after rounding as if the exponent had no lower end.
    const roundsToNormal = exponent.eqz().and(significand.add(increment).ltS(0));
    const isTiny = f.let(roundsToNormal.eqz());
    const isUnmasked = f.let(loadMXCSR().and(MXCSR_UM).eqz());
    f.if(isTiny.and(isUnmasked.eqz()).and(loadMXCSR().and(MXCSR_FTZ).eqz().eqz()), () => {
      raiseFlags(f, MXCSR_UE | MXCSR_PE);
      f.return(signBits);
    });
    // An unmasked underflow is inexact if that rounding is: the handler wants a scaled result.
    f.if(isTiny.and(isUnmasked), () => {
      raiseFlags(f, select(significand.and(below).eqz(), i32(MXCSR_UE), i32(MXCSR_UE | MXCSR_PE)));
      f.return(signBits);
    });
    f.set(significand, shiftRightJam(f, significand, i32(1).sub(exponent)));
    f.set(exponent, i32(1));
    f.if(isTiny.and(significand.and(below).eqz().eqz()), () => raiseFlags(f, MXCSR_UE));
  });
  const lost = f.let(significand.and(below));
  const rounded = f.local('i64');
  f.set(rounded, significand.add(increment).shrU(shift));
  const isTie = lost.eq(half).and(mode.eq(ROUND_NEAREST));
  f.set(rounded, rounded.and(isTie.extendU().not()));
  // The leading bit of `rounded` adds one to the exponent field; a carry out of it adds another.
  f.set(rounded, exponent.sub(1).extendS().shl(fmt.fractionBits).add(rounded));
  f.if(rounded.geU(fmt.infinity), () => {
    const isExact = lost.eqz().and(loadMXCSR().and(MXCSR_OM).eqz());
    raiseFlags(f, select(isExact, i32(MXCSR_OE), i32(MXCSR_OE | MXCSR_PE)));
    const largest = increment.eqz().extendU();
    f.return(i64(fmt.infinity).sub(largest).or(signBits));
  });
  f.if(lost.eqz().eqz(), () => raiseFlags(f, MXCSR_PE));
  f.return(rounded.or(signBits));
}

/** Of two operands of which one is a NaN at least: the first NaN, made quiet. */
function buildNaN(f: FunctionBuilder, fmt: FloatFormat): void {
  const [a, b] = [f.param(0), f.param(1)];
  f.if(isSignaling(fmt, a).or(isSignaling(fmt, b)), () => raiseFlags(f, MXCSR_IE));
  f.return(select(magnitude(fmt, a).gtU(fmt.infinity), a, b).or(fmt.quiet));
}

interface Pair {
  readonly a: Local;
  readonly b: Local;
  readonly absA: Value;
  readonly absB: Value;
}

/** The operands after DAZ; NaNs have returned. */
function beginPair(
  f: FunctionBuilder,
  tools: SharedTools,
  fmt: FloatFormat,
  nan: SharedFunction,
): Pair {
  const [a, b] = [f.param(0), f.param(1)];
  applyDAZ(f, fmt, [a, b]);
  const absA = f.let(magnitude(fmt, a));
  const absB = f.let(magnitude(fmt, b));
  const hasNaN = absA.gtU(fmt.infinity).or(absB.gtU(fmt.infinity));
  f.if(hasNaN, () => f.return(tools.call(nan, a, b)));
  return { a, b, absA, absB };
}

function buildAdd(
  f: FunctionBuilder,
  tools: SharedTools,
  fmt: FloatFormat,
  nan: SharedFunction,
  round: SharedFunction,
): void {
  const { a, b, absA, absB } = beginPair(f, tools, fmt, nan);
  const isInfiniteA = f.let(absA.eq(fmt.infinity));
  const isInfiniteB = f.let(absB.eq(fmt.infinity));
  const differ = f.let(signOf(fmt, a.xor(b)));
  returnInvalid(f, fmt, isInfiniteA.and(isInfiniteB).and(differ));
  raiseDenormal(f, fmt, [absA, absB]);
  f.if(isInfiniteA, () => f.return(a));
  f.if(isInfiniteB, () => f.return(b));

  const isSwapped = f.let(absA.ltU(absB));
  const big = unpack(f, fmt, f.let(select(isSwapped, absB, absA)));
  const small = unpack(f, fmt, f.let(select(isSwapped, absA, absB)));
  const sign = f.let(signOf(fmt, select(isSwapped, b, a)));
  const distance = big.exponent.sub(small.exponent);
  const aligned = shiftRightJam(f, small.significand, distance);
  const sum = f.local('i64');
  f.set(sum, select(differ, big.significand.sub(aligned), big.significand.add(aligned)));
  f.if(sum.eqz(), () => {
    // x - x is +0, or -0 when rounding down; two zeros of one sign keep it.
    const negative = select(differ, roundingMode().eq(ROUND_DOWN), sign);
    f.return(select(negative, i64(fmt.sign), i64(0)));
  });
  normalize(f, sum, big.exponent);
  f.return(tools.call(round, sign, big.exponent, sum));
}

function buildSub(
  f: FunctionBuilder,
  tools: SharedTools,
  fmt: FloatFormat,
  add: SharedFunction,
): void {
  const [a, b] = [f.param(0), f.param(1)];
  const isNotNumber = magnitude(fmt, b).gtU(fmt.infinity);
  f.return(tools.call(add, a, f.let(select(isNotNumber, b, b.xor(fmt.sign)))));
}

function buildMul(
  f: FunctionBuilder,
  tools: SharedTools,
  fmt: FloatFormat,
  nan: SharedFunction,
  round: SharedFunction,
): void {
  const { a, b, absA, absB } = beginPair(f, tools, fmt, nan);
  const isInfinite = f.let(absA.eq(fmt.infinity).or(absB.eq(fmt.infinity)));
  const isZero = f.let(absA.eqz().or(absB.eqz()));
  returnInvalid(f, fmt, isInfinite.and(isZero));
  raiseDenormal(f, fmt, [absA, absB]);
  const signBits = f.let(a.xor(b).and(fmt.sign));
  f.if(isInfinite, () => f.return(signBits.or(fmt.infinity)));
  f.if(isZero, () => f.return(signBits));

  const x = unpack(f, fmt, absA);
  const y = unpack(f, fmt, absB);
  const product = multiplyJam(f, x.significand, y.significand);
  const exponent = f.local('i32');
  f.set(exponent, x.exponent.add(y.exponent).sub(fmt.bias));
  normalize(f, product, exponent);
  f.return(tools.call(round, signBits.eqz().eqz(), exponent, product));
}

/** a * b / 2^62, what is below bit 0 gathered there; both below 2^63. */
function multiplyJam(f: FunctionBuilder, a: Value, b: Value): Local {
  const low = 0xffffffffn;
  const [aLow, aHigh] = [f.let(a.and(low)), f.let(a.shrU(32))];
  const [bLow, bHigh] = [f.let(b.and(low)), f.let(b.shrU(32))];
  const lowest = f.let(aLow.mul(bLow));
  const middle = f.let(aHigh.mul(bLow).add(lowest.shrU(32)));
  const other = f.let(aLow.mul(bHigh).add(middle.and(low)));
  const high = aHigh.mul(bHigh).add(middle.shrU(32)).add(other.shrU(32));
  const below = f.let(other.shl(32).or(lowest.and(low)));
  const product = f.local('i64');
  f.set(product, high.shl(2).or(below.shrU(62)).or(below.shl(2).eqz().eqz().extendU()));
  return product;
}

function buildDiv(
  f: FunctionBuilder,
  tools: SharedTools,
  fmt: FloatFormat,
  nan: SharedFunction,
  round: SharedFunction,
): void {
  const { a, b, absA, absB } = beginPair(f, tools, fmt, nan);
  const isInfiniteA = f.let(absA.eq(fmt.infinity));
  const isInfiniteB = f.let(absB.eq(fmt.infinity));
  returnInvalid(f, fmt, isInfiniteA.and(isInfiniteB).or(absA.or(absB).eqz()));
  const signBits = f.let(a.xor(b).and(fmt.sign));
  f.if(absB.eqz(), () => {
    f.if(isInfiniteA.eqz(), () => raiseFlags(f, MXCSR_ZE));
    f.return(signBits.or(fmt.infinity));
  });
  raiseDenormal(f, fmt, [absA, absB]);
  f.if(isInfiniteA, () => f.return(signBits.or(fmt.infinity)));
  f.if(isInfiniteB.or(absA.eqz()), () => f.return(signBits));

  const x = unpack(f, fmt, absA);
  const y = unpack(f, fmt, absB);
  f.set(x.exponent, x.exponent.sub(y.exponent).add(fmt.bias));
  f.if(x.significand.ltU(y.significand), () => {
    f.set(x.significand, x.significand.shl(1));
    f.set(x.exponent, x.exponent.sub(1));
  });
  const rest = f.local('i64');
  const quotient = f.local('i64');
  f.set(rest, x.significand.sub(y.significand));
  f.set(quotient, i64(1));
  f.loop((again) => {
    f.set(rest, rest.shl(1));
    const fits = f.let(rest.geU(y.significand).extendU());
    f.set(quotient, quotient.shl(1).or(fits));
    f.set(rest, rest.sub(y.significand.and(fits.neg())));
    f.brIf(again, quotient.ltU(1n << BigInt(LEADING_BIT)));
  });
  f.set(quotient, quotient.or(rest.eqz().eqz().extendU()));
  f.return(tools.call(round, signBits.eqz().eqz(), x.exponent, quotient));
}

function buildSqrt(
  f: FunctionBuilder,
  tools: SharedTools,
  fmt: FloatFormat,
  nan: SharedFunction,
  round: SharedFunction,
): void {
  const a = f.param(0);
  applyDAZ(f, fmt, [a]);
  const abs = f.let(magnitude(fmt, a));
  f.if(abs.gtU(fmt.infinity), () => f.return(tools.call(nan, a, a)));
  f.if(abs.eqz(), () => f.return(a));
  returnInvalid(f, fmt, signOf(fmt, a));
  raiseDenormal(f, fmt, [abs]);
  f.if(abs.eq(fmt.infinity), () => f.return(a));

  const { exponent, significand } = unpack(f, fmt, abs);
  // The bias is odd: an even biased exponent is an odd power of two, which moves one bit.
  f.if(exponent.and(1).eqz(), () => {
    f.set(significand, significand.shl(1));
    f.set(exponent, exponent.sub(1));
  });
  f.set(exponent, exponent.sub(fmt.bias).shrS(1).add(fmt.bias));
  // Root digit by digit, two bits of the radicand each: 57 bits, enough for 53, round and sticky.
  const rest = f.local('i64');
  const root = f.local('i64');
  f.loop((again) => {
    f.set(rest, rest.shl(2).or(significand.shrU(62)));
    f.set(significand, significand.shl(2));
    const trial = f.let(root.shl(2).or(1));
    const fits = f.let(rest.geU(trial).extendU());
    f.set(root, root.shl(1).or(fits));
    f.set(rest, rest.sub(trial.and(fits.neg())));
    f.brIf(again, root.ltU(1n << 56n));
  });
  f.set(root, root.shl(LEADING_BIT - 56).or(rest.eqz().eqz().extendU()));
  f.return(tools.call(round, i32(0), exponent, root));
}

function buildFromInteger(
  f: FunctionBuilder,
  tools: SharedTools,
  fmt: FloatFormat,
  round: SharedFunction,
): void {
  const value = f.param(0);
  f.if(value.eqz(), () => f.return(i64(0)));
  const sign = f.let(value.ltS(0));
  const significand = f.local('i64');
  const exponent = f.local('i32');
  f.set(significand, select(sign, value.neg(), value));
  f.set(exponent, i32(fmt.bias + LEADING_BIT));
  normalize(f, significand, exponent);
  f.return(tools.call(round, sign, exponent, significand));
}

export const SOFT_F32 = makeSoftFloat(F32);
export const SOFT_F64 = makeSoftFloat(F64);
