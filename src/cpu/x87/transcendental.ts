// The transcendental instructions, in fixed point (fixed-point.ts): far below one unit in the last
// of 64 places, then rounded by the control word. Real processors may differ from that, and
// from each other, in the last bit. FSIN, FCOS, FPTAN and FSINCOS reduce by the processor's own π
// of 66 bits. Intel SDM volume 1, sections 8.3.7 "Trigonometric Instructions", 8.3.8 "Approximation
// of Pi", 8.3.9 "Logarithmic, Exponential, and Scale", 8.3.10 "Transcendental Instruction
// Accuracy".

import {
  arctan,
  divide,
  exponentialMinusOne,
  FRACTION_BITS,
  fixedOf,
  inexact,
  LN2,
  multiply,
  nudged,
  PI,
  sineCosine,
  TINY_EXPONENT,
  timesConstant,
  twiceArtanh,
  UNIT,
  WIDTH,
} from './fixed-point.ts';
import {
  classOf,
  exponentOf,
  type Float80Bits,
  isNegative,
  type Scaled,
  scaledOf,
  signedInfinity,
  signedZero,
} from './float80.ts';
import type { X87Registers } from './registers.ts';
import {
  EXPONENT_BIAS,
  INTEGER_BIT,
  STATUS_C1,
  STATUS_C2,
  STATUS_IE,
  STATUS_PE,
  STATUS_SF,
  STATUS_ZE,
} from './status-word.ts';

const ONE: Float80Bits = { significand: INTEGER_BIT, signExponent: EXPONENT_BIAS };

/**
 * The common beginning: a number within ±2^63 in ST(0). Returns undefined when there is nothing
 * more to do: C2 is set then, or an exception was raised.
 */
function angleOf(x87: X87Registers, pushes: boolean): Float80Bits | undefined {
  x87.status &= ~(STATUS_C1 | STATUS_C2);
  if (pushes && !x87.isEmpty(0) && !x87.isEmpty(7)) {
    if (x87.raise(STATUS_IE | STATUS_SF | STATUS_C1)) return undefined;
    x87.write(0, { significand: 3n << 62n, signExponent: 0xffff });
    x87.push(x87.read(0));
    return undefined;
  }
  const { isOver, succeeded } = x87.checkOperands(1, 0);
  const number = x87.read(0);
  if (isOver || classOf(number) === 'infinity') {
    const hasResult = isOver ? succeeded : x87.invalid(0);
    if (hasResult && pushes) x87.push(x87.read(0));
    return undefined;
  }
  if (classOf(number) !== 'zero' && exponentOf(scaledOf(number)) >= 63) {
    x87.status |= STATUS_C2;
    return undefined;
  }
  return x87.acceptDenormals(number) ? number : undefined;
}

export function fsin(x87: X87Registers): void {
  const number = angleOf(x87, false);
  if (!number || classOf(number) === 'zero') return;
  x87.writeRounded(0, sineCosine(scaledOf(number)).sine);
}

export function fcos(x87: X87Registers): void {
  const number = angleOf(x87, false);
  if (!number) return;
  if (classOf(number) === 'zero') x87.write(0, ONE);
  else x87.writeRounded(0, sineCosine(scaledOf(number)).cosine);
}

export function fsincos(x87: X87Registers): void {
  const number = angleOf(x87, true);
  if (!number) return;
  if (classOf(number) === 'zero') {
    x87.push(ONE);
    return;
  }
  const both = sineCosine(scaledOf(number));
  x87.writeRounded(0, both.sine);
  x87.clearC1();
  x87.push(ONE);
  x87.writeRounded(0, both.cosine);
}

export function fptan(x87: X87Registers): void {
  const number = angleOf(x87, true);
  if (!number) return;
  if (classOf(number) !== 'zero') {
    const x = scaledOf(number);
    if (exponentOf(x) < TINY_EXPONENT) x87.writeRounded(0, nudged(x, 1n));
    else {
      const { sine: s, cosine: c } = sineCosine(x);
      const magnitude = (s.magnitude << WIDTH) / c.magnitude;
      const quotient = s.isNegative === c.isNegative ? magnitude : -magnitude;
      x87.writeRounded(0, inexact(quotient, s.scale - c.scale - FRACTION_BITS));
    }
  }
  x87.push(ONE);
}

/** ST(1) = arctangent of ST(1) ÷ ST(0) in all four quadrants, then pop (table 3-30). */
export function fpatan(x87: X87Registers): void {
  const { isOver, succeeded } = x87.checkOperands(2, 1);
  if (isOver) {
    if (succeeded) x87.pop();
    return;
  }
  const [x, y] = [x87.read(0), x87.read(1)];
  if (!x87.acceptDenormals(x, y)) return;
  const result = arctanOfQuotient(x, y);
  if ('scale' in result) x87.writeRounded(1, result);
  else x87.write(1, result);
  x87.pop();
}

function arctanOfQuotient(x: Float80Bits, y: Float80Bits): Scaled | Float80Bits {
  const [kindX, kindY] = [classOf(x), classOf(y)];
  const negative = isNegative(y);
  const signed = (fixed: bigint) => inexact(negative ? -fixed : fixed);
  if (kindY === 'infinity') {
    if (kindX !== 'infinity') return signed(PI / 2n);
    return signed(isNegative(x) ? (PI * 3n) / 4n : PI / 4n);
  }
  if (kindY === 'zero' || kindX === 'infinity') {
    return isNegative(x) ? signed(PI) : signedZero(negative);
  }
  if (kindX === 'zero') return signed(PI / 2n);
  const [a, b] = [scaledOf(y), scaledOf(x)];
  const distance = exponentOf(a) - exponentOf(b);
  if (distance < TINY_EXPONENT) {
    if (isNegative(x)) return signed(PI - 1n);
    // The quotient itself, cut off and so never exact: its arctangent is a little less.
    const magnitude = ((a.magnitude << WIDTH) / b.magnitude) * 2n - 1n;
    return { isNegative: negative, magnitude, scale: a.scale - b.scale - FRACTION_BITS - 1 };
  }
  if (distance > -TINY_EXPONENT) return signed(PI / 2n);
  const least = Math.min(a.scale, b.scale);
  const top = a.magnitude << BigInt(a.scale - least);
  const bottom = b.magnitude << BigInt(b.scale - least);
  const acute = top <= bottom ? arctan(divide(top, bottom)) : PI / 2n - arctan(divide(bottom, top));
  return signed(isNegative(x) ? PI - acute : acute);
}

/** ST(0) = 2^ST(0) − 1 for −1 ≤ ST(0) ≤ 1; beyond, undefined: here the number stays. */
export function f2xm1(x87: X87Registers): void {
  if (x87.checkOperands(1, 0).isOver) return;
  const number = x87.read(0);
  const kind = classOf(number);
  if (kind === 'zero') return;
  if (kind === 'infinity') {
    if (isNegative(number)) x87.write(0, { ...ONE, signExponent: ONE.signExponent | 0x8000 });
    return;
  }
  if (!x87.acceptDenormals(number)) return;
  const x = scaledOf(number);
  const exponent = exponentOf(x);
  if (exponent >= 0) {
    // Only −1 has another result than itself here; processors flag all of these as inexact.
    const isMinusOne = number.significand === INTEGER_BIT && exponent === 0 && x.isNegative;
    if (isMinusOne) x87.writeRounded(0, { isNegative: true, magnitude: 1n, scale: -1 });
    x87.raise(STATUS_PE);
    return;
  }
  if (exponent < TINY_EXPONENT) x87.writeRounded(0, timesConstant(x, LN2));
  else x87.writeRounded(0, inexact(exponentialMinusOne(multiply(fixedOf(x), LN2))));
}

/** log2 of 1 + z/w in fixed point, for a quotient between about −0.3 and 0.42 (0.5 to 1). */
function logarithmOfSum(z: bigint, w: bigint): bigint {
  return divide(twiceArtanh(divide(z, 2n * w + z)), LN2);
}

/** y × a logarithm in fixed point, rounded into ST(1), then pop. */
function finishLogarithm(
  x87: X87Registers,
  y: Float80Bits,
  logarithm: Scaled,
  extraFlags = 0,
): void {
  const factor = scaledOf(y);
  x87.writeRounded(1, {
    isNegative: factor.isNegative !== logarithm.isNegative,
    magnitude: factor.magnitude * logarithm.magnitude,
    scale: factor.scale + logarithm.scale,
  });
  x87.raise(extraFlags);
  x87.pop();
}

function invalidAndPop(x87: X87Registers): void {
  if (x87.invalid(1)) x87.pop();
}

/** ST(1) = ST(1) × log2(ST(0)), then pop. */
export function fyl2x(x87: X87Registers): void {
  const { isOver, succeeded } = x87.checkOperands(2, 1);
  if (isOver) {
    if (succeeded) x87.pop();
    return;
  }
  const [x, y] = [x87.read(0), x87.read(1)];
  const [kindX, kindY] = [classOf(x), classOf(y)];
  const negativeY = isNegative(y);
  if (kindX !== 'zero' && isNegative(x)) {
    invalidAndPop(x87);
    return;
  }
  if (kindX === 'zero') {
    if (kindY === 'zero') {
      invalidAndPop(x87);
      return;
    }
    if (kindY !== 'infinity' && x87.raise(STATUS_ZE)) return;
    x87.write(1, signedInfinity(!negativeY));
    x87.pop();
    return;
  }
  if (kindX === 'infinity') {
    if (kindY === 'zero') {
      invalidAndPop(x87);
      return;
    }
    if (!x87.acceptDenormals(y)) return;
    x87.write(1, signedInfinity(negativeY));
    x87.pop();
    return;
  }
  const number = scaledOf(x);
  const exponent = exponentOf(number);
  const power = number.magnitude === 1n << BigInt(exponent - number.scale);
  const isOne = power && exponent === 0;
  if (kindY === 'infinity' && isOne) {
    invalidAndPop(x87);
    return;
  }
  if (!x87.acceptDenormals(x, y)) return;
  const isBelowOne = exponent < 0;
  if (kindY === 'infinity') x87.write(1, signedInfinity(negativeY !== isBelowOne));
  else if (kindY === 'zero' || isOne) x87.write(1, signedZero(negativeY !== isBelowOne));
  else {
    let fixed = BigInt(exponent) << WIDTH;
    if (power) {
      // Exact, and yet processors flag it as inexact (seen on hosts).
      const magnitude = BigInt(Math.abs(exponent));
      finishLogarithm(x87, y, { isNegative: isBelowOne, magnitude, scale: 0 }, STATUS_PE);
      return;
    }
    // x = 2^n × m with m near 1, so that nothing cancels.
    let m = fixedOf({ ...number, scale: number.scale - exponent });
    if (m * 5n > UNIT * 7n) {
      m /= 2n;
      fixed += UNIT;
    }
    finishLogarithm(x87, y, inexact(fixed + logarithmOfSum(m - UNIT, UNIT)));
    return;
  }
  x87.pop();
}

/** ST(1) = ST(1) × log2(ST(0) + 1) for |ST(0)| < 1 − √½; beyond undefined, here still right. */
export function fyl2xp1(x87: X87Registers): void {
  const { isOver, succeeded } = x87.checkOperands(2, 1);
  if (isOver) {
    if (succeeded) x87.pop();
    return;
  }
  const [x, y] = [x87.read(0), x87.read(1)];
  const [kindX, kindY] = [classOf(x), classOf(y)];
  const negative = isNegative(x) !== isNegative(y);
  const isZeroTimesInfinity =
    (kindX === 'zero' && kindY === 'infinity') || (kindX === 'infinity' && kindY === 'zero');
  if (isZeroTimesInfinity || (kindX === 'infinity' && isNegative(x))) {
    invalidAndPop(x87);
    return;
  }
  if (!x87.acceptDenormals(x, y)) return;
  if (kindX === 'normal' && isNegative(x) && exponentOf(scaledOf(x)) >= 0) {
    // Undefined: processors give the number itself.
    x87.write(1, x);
    x87.raise(STATUS_PE);
    x87.pop();
    return;
  }
  if (kindX === 'infinity' || kindY === 'infinity') x87.write(1, signedInfinity(negative));
  else if (kindX === 'zero' || kindY === 'zero') x87.write(1, signedZero(negative));
  else {
    const number = scaledOf(x);
    const exponent = exponentOf(number);
    if (exponent < TINY_EXPONENT) {
      finishLogarithm(x87, y, timesConstant(number, divide(UNIT, LN2)));
      return;
    }
    finishLogarithm(x87, y, inexact(logarithmOfAnySum(fixedOf(number))));
    return;
  }
  x87.pop();
}

/** log2(1 + z) for any z above −1. */
function logarithmOfAnySum(z: bigint): bigint {
  let m = UNIT + z;
  let whole = 0n;
  if (z * 2n > (-UNIT * 3n) / 5n && z * 5n < UNIT * 3n) return logarithmOfSum(z, UNIT);
  while (m * 5n > UNIT * 7n) {
    m /= 2n;
    whole += UNIT;
  }
  while (m * 7n < UNIT * 5n) {
    m *= 2n;
    whole -= UNIT;
  }
  return whole + logarithmOfSum(m - UNIT, UNIT);
}
