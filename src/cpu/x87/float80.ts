// 80-bit numbers as exact integers, for the rare instructions that are TypeScript, and their
// rounding. Intel SDM volume 1, sections 4.2.2 "Floating-Point Format", 8.5.4, 8.5.5.

import { EXPONENT_ADJUSTMENT } from './float80-round.ts';
import {
  CONTROL_ROUNDING_SHIFT,
  EXPONENT_BIAS,
  EXPONENT_MAX,
  INTEGER_BIT,
  QUIET_BIT,
  SIGN_BIT,
  STATUS_C1,
  STATUS_OE,
  STATUS_PE,
  STATUS_UE,
} from './status-word.ts';

/** What a register holds, bit for bit. */
export interface Float80Bits {
  readonly significand: bigint;
  /** Sign in bit 15, biased exponent below. */
  readonly signExponent: number;
}

/** Magnitude × 2^scale with a sign; the magnitude is not zero. */
export interface Scaled {
  readonly isNegative: boolean;
  readonly magnitude: bigint;
  readonly scale: number;
}

export type Float80Class = 'zero' | 'denormal' | 'normal' | 'infinity' | 'nan' | 'unsupported';

export const INDEFINITE: Float80Bits = { significand: 3n << 62n, signExponent: 0xffff };

export function classOf({ significand, signExponent }: Float80Bits): Float80Class {
  const exponent = signExponent & EXPONENT_MAX;
  if (exponent === 0) return significand === 0n ? 'zero' : 'denormal';
  if (significand < INTEGER_BIT) return 'unsupported';
  if (exponent < EXPONENT_MAX) return 'normal';
  return significand === INTEGER_BIT ? 'infinity' : 'nan';
}

export function isNegative({ signExponent }: Float80Bits): boolean {
  return (signExponent & SIGN_BIT) !== 0;
}

export function isSignaling(bits: Float80Bits): boolean {
  return classOf(bits) === 'nan' && (bits.significand & QUIET_BIT) === 0n;
}

/** The value of a normal or denormal number. */
export function scaledOf(bits: Float80Bits): Scaled {
  const exponent = Math.max(bits.signExponent & EXPONENT_MAX, 1);
  return {
    isNegative: isNegative(bits),
    magnitude: bits.significand,
    scale: exponent - EXPONENT_BIAS - 63,
  };
}

export function bitLength(value: bigint): number {
  const hex = value.toString(16);
  return hex.length * 4 - Math.clz32(Number.parseInt(hex[0]!, 16)) + 28;
}

/** Exponent of the leading bit: x = 1.… × 2^n. */
export function exponentOf({ magnitude, scale }: Scaled): number {
  return bitLength(magnitude) - 1 + scale;
}

export function signedZero(negative: boolean): Float80Bits {
  return { significand: 0n, signExponent: negative ? SIGN_BIT : 0 };
}

export function signedInfinity(negative: boolean): Float80Bits {
  return { significand: INTEGER_BIT, signExponent: EXPONENT_MAX | (negative ? SIGN_BIT : 0) };
}

/** Whether the magnitude grows: `rest` of `unit` is rounded away from an odd or even quotient. */
function roundsUp(
  control: number,
  negative: boolean,
  isOdd: boolean,
  rest: bigint,
  unit: bigint,
): boolean {
  if (rest === 0n) return false;
  switch ((control >> CONTROL_ROUNDING_SHIFT) & 3) {
    case 0:
      return rest * 2n > unit || (rest * 2n === unit && isOdd);
    case 1:
      return negative;
    case 2:
      return !negative;
    default:
      return false;
  }
}

/** The integer next to magnitude × 2^scale by the control word's direction, and PE and C1. */
export function roundInteger(x: Scaled, control: number): { integer: bigint; flags: number } {
  if (x.scale >= 0) return { integer: x.magnitude << BigInt(x.scale), flags: 0 };
  const unit = 1n << BigInt(-x.scale);
  const rest = x.magnitude & (unit - 1n);
  const integer = x.magnitude >> BigInt(-x.scale);
  const up = roundsUp(control, x.isNegative, (integer & 1n) === 1n, rest, unit);
  const flags = rest === 0n ? 0 : STATUS_PE | (up ? STATUS_C1 : 0);
  return { integer: up ? integer + 1n : integer, flags };
}

/**
 * Rounds to 64 bits of significand by the control word's direction, with the masked or unmasked
 * response to overflow and underflow. Precision control does not apply to the callers.
 */
export function roundFloat80(x: Scaled, control: number): { bits: Float80Bits; flags: number } {
  const sign = x.isNegative ? SIGN_BIT : 0;
  // Rounding at the place of the least denormal cannot be coarser than at 64 bits.
  const roundAt = (leastScale: number) => {
    const scale = Math.max(bitLength(x.magnitude) - 64 + x.scale, leastScale);
    const rounded = roundInteger({ ...x, scale: x.scale - scale }, control);
    const carried = rounded.integer >> 64n === 1n;
    return {
      significand: carried ? rounded.integer >> 1n : rounded.integer,
      biased: scale + (carried ? 1 : 0) + EXPONENT_BIAS + 63,
      flags: rounded.flags,
    };
  };
  let { significand, biased, flags } = roundAt(Number.NEGATIVE_INFINITY);
  if (biased < 1) {
    if (control & STATUS_UE) {
      const denormal = roundAt(1 - EXPONENT_BIAS - 63);
      significand = denormal.significand;
      biased = significand >= INTEGER_BIT ? 1 : 0;
      flags = denormal.flags && denormal.flags | STATUS_UE;
    } else {
      flags |= STATUS_UE;
      biased += EXPONENT_ADJUSTMENT;
      if (biased < 1) return { bits: signedZero(x.isNegative), flags: STATUS_UE | STATUS_PE };
    }
  } else if (biased >= EXPONENT_MAX) {
    const direction = (control >> CONTROL_ROUNDING_SHIFT) & 3;
    const isInfinite = direction === 0 || direction === (x.isNegative ? 1 : 2);
    if (control & STATUS_OE) {
      const c1 = isInfinite ? STATUS_C1 : 0;
      const bits = isInfinite
        ? signedInfinity(x.isNegative)
        : { significand: (1n << 64n) - 1n, signExponent: sign | (EXPONENT_MAX - 1) };
      return { bits, flags: STATUS_OE | STATUS_PE | c1 };
    }
    flags |= STATUS_OE;
    biased -= EXPONENT_ADJUSTMENT;
    // Beyond even that (FSCALE): infinity in every direction, as processors do.
    if (biased >= EXPONENT_MAX) {
      return { bits: signedInfinity(x.isNegative), flags: STATUS_OE | STATUS_PE | STATUS_C1 };
    }
  }
  return { bits: { significand, signExponent: sign | biased }, flags };
}
