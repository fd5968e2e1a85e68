// The two float formats and the pieces from which the soft-float functions are built: unpacking,
// shifts that keep a sticky bit, flags. IEEE 754-2019, section 3.4; SDM volume 1, section 4.8.

import {
  type FunctionBuilder,
  i32,
  i64,
  type Local,
  load,
  select,
  type Value,
} from '../../wasm/index.ts';
import { MXCSR, SIMD_RAISED } from '../state-layout.ts';
import { MXCSR_DAZ, MXCSR_DE, MXCSR_IE, MXCSR_RC_SHIFT } from './mxcsr.ts';

/** A binary interchange format; its bit patterns are the low bits of an i64. */
export interface FloatFormat {
  readonly name: 'f32' | 'f64';
  readonly fractionBits: number;
  readonly bias: number;
  readonly sign: bigint;
  /** Bits of +infinity, of the smallest normal number, and of the bit that makes a NaN quiet. */
  readonly infinity: bigint;
  readonly minNormal: bigint;
  readonly quiet: bigint;
  /** The NaN of a masked invalid operation: negative, quiet, no payload. */
  readonly defaultNaN: bigint;
}

function format(name: 'f32' | 'f64', fractionBits: number, bias: number): FloatFormat {
  const minNormal = 1n << BigInt(fractionBits);
  const infinity = BigInt(2 * bias + 1) * minNormal;
  const sign = minNormal * BigInt(2 * bias + 2);
  const quiet = minNormal / 2n;
  const defaultNaN = sign | infinity | quiet;
  return { name, fractionBits, bias, sign, infinity, minNormal, quiet, defaultNaN };
}

export const F32 = format('f32', 23, 127);
export const F64 = format('f64', 52, 1023);

/** Unpacked significands have their leading bit here. */
export const LEADING_BIT = 62;

const STATE = i32(0);

export function loadMXCSR(): Value {
  return load('i32', STATE, MXCSR);
}

/** Rounding control, 0–3. */
export function roundingMode(): Value {
  return loadMXCSR().shrU(MXCSR_RC_SHIFT).and(3);
}

/** Notes exceptions (i32 of MXCSR_ flags) of the current instruction. */
export function raiseFlags(f: FunctionBuilder, flags: Value | number): void {
  f.store('i32', STATE, load('i32', STATE, SIMD_RAISED).or(flags), SIMD_RAISED);
}

/** 1 if the sign bit is set. */
export function signOf(fmt: FloatFormat, bits: Value): Value {
  return bits.and(fmt.sign).eqz().eqz();
}

/** Without its sign. */
export function magnitude(fmt: FloatFormat, bits: Value): Value {
  return bits.and(fmt.sign - 1n);
}

/** 1 if `bits` is a NaN that is not quiet. */
export function isSignaling(fmt: FloatFormat, bits: Value): Value {
  const { infinity, quiet } = fmt;
  const isNotNumber = magnitude(fmt, bits).gtU(infinity);
  return isNotNumber.and(bits.and(quiet).eqz());
}

/** 1 if the number without sign is denormal: not zero and below the smallest normal one. */
export function isDenormal(fmt: FloatFormat, abs: Value): Value {
  return abs.sub(1).ltU(fmt.minNormal - 1n);
}

/** Replaces denormals by zeros of their sign if DAZ is set. */
export function applyDAZ(f: FunctionBuilder, fmt: FloatFormat, variables: readonly Local[]): void {
  f.if(loadMXCSR().and(MXCSR_DAZ), () => {
    for (const bits of variables) {
      const isTiny = magnitude(fmt, bits).ltU(fmt.minNormal);
      f.set(bits, select(isTiny, bits.and(fmt.sign), bits));
    }
  });
}

/** Raises DE if one of the numbers without sign is denormal. */
export function raiseDenormal(
  f: FunctionBuilder,
  fmt: FloatFormat,
  numbers: readonly Value[],
): void {
  const any = numbers.map((abs) => isDenormal(fmt, abs)).reduce((all, one) => all.or(one));
  f.if(any, () => raiseFlags(f, MXCSR_DE));
}

/** Returns the default NaN with IE if `condition`. */
export function returnInvalid(f: FunctionBuilder, fmt: FloatFormat, condition: Value): void {
  f.if(condition, () => {
    raiseFlags(f, MXCSR_IE);
    f.return(i64(fmt.defaultNaN));
  });
}

/** A number as sig / 2^62 * 2^(exponent - bias), leading bit at 62; zero has the least exponent. */
interface Unpacked {
  readonly exponent: Local;
  readonly significand: Local;
}

/** Unpacks a finite number given without its sign. */
export function unpack(f: FunctionBuilder, fmt: FloatFormat, abs: Value): Unpacked {
  const exponent = f.local('i32');
  const significand = f.local('i64');
  const shift = LEADING_BIT - fmt.fractionBits;
  const fraction = abs.and(fmt.minNormal - 1n);
  const field = f.let(abs.shrU(fmt.fractionBits).wrap());
  const hidden = select(field.eqz(), i64(0), i64(fmt.minNormal));
  f.set(significand, fraction.or(hidden));
  // Normal numbers move by `shift`, denormals by more, and the exponent tells by how much more.
  const move = f.let(significand.clz().wrap().sub(1));
  f.set(exponent, select(field.eqz(), i32(1), field).sub(move.sub(shift)));
  f.set(significand, significand.shl(move.extendU()));
  return { exponent, significand };
}

/** `value >> count` with every bit shifted out gathered into bit 0. `value` is below 2^63. */
export function shiftRightJam(f: FunctionBuilder, value: Value, count: Value): Value {
  const bits = f.let(value);
  const counted = f.let(count);
  const bounded = f.let(select(counted.gtU(63), i32(63), counted).extendU());
  const lost = bits.and(i64(1).shl(bounded).sub(1));
  return f.let(bits.shrU(bounded).or(lost.eqz().eqz().extendU()));
}

/** Brings the leading bit of a nonzero 64-bit significand to 62; returns the new exponent. */
export function normalize(f: FunctionBuilder, significand: Local, exponent: Local): void {
  f.if(
    significand.ltS(0),
    () => {
      f.set(significand, significand.shrU(1).or(significand.and(1)));
      f.set(exponent, exponent.add(1));
    },
    () => {
      const move = f.let(significand.clz().sub(1));
      f.set(significand, significand.shl(move));
      f.set(exponent, exponent.sub(move.wrap()));
    },
  );
}
