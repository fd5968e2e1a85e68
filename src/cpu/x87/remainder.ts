// FPREM, FPREM1, FSCALE and FXTRACT: exact or nearly so. Intel SDM volume 2, the instructions' own
// pages and their tables of special cases.

import {
  classOf,
  exponentOf,
  isNegative,
  type Scaled,
  scaledOf,
  signedInfinity,
  signedZero,
} from './float80.ts';
import type { X87Registers } from './registers.ts';
import {
  STATUS_C0,
  STATUS_C1,
  STATUS_C2,
  STATUS_C3,
  STATUS_CONDITIONS,
  STATUS_IE,
  STATUS_SF,
  STATUS_ZE,
} from './status-word.ts';

/** A scale that takes any number beyond every range, in either direction. */
const SCALE_LIMIT = 0x1_0000;

/** ST(0) − quotient × ST(1), the quotient cut off (FPREM) or rounded to nearest (FPREM1). */
export function remainder(x87: X87Registers, isNearest: boolean): void {
  x87.status &= ~STATUS_C2; // Whatever becomes of it (seen on hosts).
  if (x87.checkOperands(2, 0).isOver) return;
  const [dividend, divisor] = [x87.read(0), x87.read(1)];
  const [a, b] = [classOf(dividend), classOf(divisor)];
  if (a === 'infinity' || b === 'zero') {
    x87.invalid(0);
    return;
  }
  if (!x87.acceptDenormals(dividend, divisor)) return;
  x87.status &= ~(STATUS_CONDITIONS | STATUS_C1);
  if (a === 'zero' || b === 'infinity') {
    // An exact copy, but a denormal is a tiny result all the same.
    if (a !== 'zero') x87.writeRounded(0, scaledOf(dividend));
    return;
  }
  const [x, y] = [scaledOf(dividend), scaledOf(divisor)];
  const distance = exponentOf(x) - exponentOf(y);
  // Operands far apart are reduced by 32 to 63 bits at a time; the program repeats while C2 is set.
  const isPartial = distance >= 64;
  const skipped = isPartial ? distance - (32 + (distance % 32)) : 0;
  const scale = Math.min(x.scale, y.scale + skipped);
  const numerator = x.magnitude << BigInt(x.scale - scale);
  const unit = y.magnitude << BigInt(y.scale + skipped - scale);
  let quotient = numerator / unit;
  let rest = numerator % unit;
  let negative = x.isNegative;
  if (isNearest && !isPartial && (rest * 2n > unit || (rest * 2n === unit && quotient & 1n))) {
    quotient += 1n;
    rest = unit - rest;
    negative = !negative;
  }
  if (rest === 0n) x87.write(0, signedZero(x.isNegative));
  else x87.writeRounded(0, { isNegative: negative, magnitude: rest, scale });
  if (isPartial) {
    x87.status |= STATUS_C2;
    return;
  }
  const low = Number(quotient & 7n);
  x87.status |= (low & 4 ? STATUS_C0 : 0) | (low & 2 ? STATUS_C3 : 0) | (low & 1 ? STATUS_C1 : 0);
}

/** The integer part of a number, cut off, within ±SCALE_LIMIT. */
function integerPart(x: Scaled): number {
  const magnitude =
    exponentOf(x) > 16
      ? SCALE_LIMIT
      : Number(x.scale >= 0 ? x.magnitude << BigInt(x.scale) : x.magnitude >> BigInt(-x.scale));
  return x.isNegative ? -magnitude : magnitude;
}

/** ST(0) × 2^(ST(1) cut off). */
export function scale(x87: X87Registers): void {
  if (x87.checkOperands(2, 0).isOver) return;
  const [number, power] = [x87.read(0), x87.read(1)];
  const [a, b] = [classOf(number), classOf(power)];
  const negative = isNegative(number);
  if (b === 'infinity') {
    const shrinks = isNegative(power);
    if (a === (shrinks ? 'infinity' : 'zero')) {
      x87.invalid(0);
      return;
    }
    if (!x87.acceptDenormals(number)) return;
    x87.write(0, shrinks ? signedZero(negative) : signedInfinity(negative));
    return;
  }
  if (!x87.acceptDenormals(number, power)) return;
  if (a === 'zero' || a === 'infinity') return;
  const x = scaledOf(number);
  const distance = b === 'zero' ? 0 : integerPart(scaledOf(power));
  x87.writeRounded(0, { ...x, scale: x.scale + distance });
}

/** Exponent to ST(0), then significand pushed. */
export function extract(x87: X87Registers): void {
  x87.clearC1();
  if (!x87.isEmpty(0) && !x87.isEmpty(7)) {
    if (x87.raise(STATUS_IE | STATUS_SF | STATUS_C1)) return;
    const indefinite = { significand: 3n << 62n, signExponent: 0xffff };
    x87.write(0, indefinite);
    x87.push(indefinite);
    return;
  }
  const { isOver, succeeded } = x87.checkOperands(1, 0);
  if (isOver) {
    if (succeeded) x87.push(x87.read(0));
    return;
  }
  const number = x87.read(0);
  const kind = classOf(number);
  const negative = isNegative(number);
  if (kind === 'zero') {
    if (x87.raise(STATUS_ZE)) return;
    x87.write(0, signedInfinity(true));
    x87.push(signedZero(negative));
    return;
  }
  if (kind === 'infinity') {
    x87.write(0, signedInfinity(false));
    x87.push(number);
    return;
  }
  if (!x87.acceptDenormals(number)) return;
  const x = scaledOf(number);
  const exponent = exponentOf(x);
  if (exponent === 0) x87.write(0, signedZero(false));
  else {
    const magnitude = BigInt(Math.abs(exponent));
    x87.writeRounded(0, { isNegative: exponent < 0, magnitude, scale: 0 });
  }
  x87.push(signedZero(false));
  x87.writeRounded(0, { ...x, scale: x.scale - exponent });
}
