// Elementary functions in fixed point with FRACTION_BITS bits, for the transcendental instructions.
// Intel SDM volume 1, section 8.3.8 "Approximation of Pi"; series from any table of them.

import { exponentOf, type Scaled } from './float80.ts';

export const FRACTION_BITS = 512;
export const WIDTH = BigInt(FRACTION_BITS);
export const UNIT = 1n << WIDTH;
/** Below 2^this an argument's next term is beyond everything that rounding sees. */
export const TINY_EXPONENT = -140;
/** π as the trigonometric instructions know it: 66 bits (section 8.3.8). */
const PROCESSOR_PI = 0xc_90fd_aa22_168c_234cn << (WIDTH - 66n);

export function multiply(a: bigint, b: bigint): bigint {
  return (a * b) >> WIDTH;
}

export function divide(a: bigint, b: bigint): bigint {
  return (a << WIDTH) / b;
}

/** 2 × artanh(z), |z| < 1/3 or so: z + z³/3 + z⁵/5 … */
export function twiceArtanh(z: bigint): bigint {
  const square = multiply(z, z);
  let sum = 0n;
  let power = z;
  for (let n = 1n; power !== 0n && power !== -1n; n += 2n) {
    sum += power / n;
    power = multiply(power, square);
  }
  return sum * 2n;
}

function arctanSeries(z: bigint): bigint {
  const square = multiply(z, z);
  let sum = 0n;
  let power = z;
  for (let n = 1n; power !== 0n; n += 2n) {
    sum += n & 2n ? -(power / n) : power / n;
    power = multiply(power, square);
  }
  return sum;
}

export const LN2 = twiceArtanh(UNIT / 3n);
/** Machin's formula. */
export const PI = 16n * arctanSeries(UNIT / 5n) - 4n * arctanSeries(UNIT / 239n);

function squareRoot(value: bigint): bigint {
  let root = 1n << BigInt((value.toString(16).length * 4 + 1) >> 1);
  for (;;) {
    const next = (root + value / root) >> 1n;
    if (next >= root) return root;
    root = next;
  }
}

/** Arctangent of 0 ≤ z ≤ 1, the argument halved four times first. */
export function arctan(z: bigint): bigint {
  let reduced = z;
  for (let n = 0; n < 4; n++) {
    const root = squareRoot((UNIT << WIDTH) + reduced * reduced);
    reduced = divide(reduced, UNIT + root);
  }
  return arctanSeries(reduced) << 4n;
}

/** e^y − 1. */
export function exponentialMinusOne(y: bigint): bigint {
  let sum = 0n;
  let term = y;
  for (let n = 2n; term !== 0n && term !== -1n; n++) {
    sum += term;
    term = multiply(term, y) / n;
  }
  return sum;
}

function sine(y: bigint): bigint {
  const square = multiply(y, y);
  let sum = 0n;
  let term = y;
  for (let n = 2n; term !== 0n && term !== -1n; n += 2n) {
    sum += term;
    term = -multiply(term, square) / (n * (n + 1n));
  }
  return sum;
}

function cosine(y: bigint): bigint {
  const square = multiply(y, y);
  let sum = 0n;
  let term = UNIT;
  for (let n = 1n; term !== 0n && term !== -1n; n += 2n) {
    sum += term;
    term = -multiply(term, square) / (n * (n + 1n));
  }
  return sum;
}

/** In fixed point, signed. */
export function fixedOf({ isNegative: negative, magnitude, scale }: Scaled): bigint {
  const shift = FRACTION_BITS + scale;
  const fixed = shift >= 0 ? magnitude << BigInt(shift) : magnitude >> BigInt(-shift);
  return negative ? -fixed : fixed;
}

/** What follows a cut-off value: half a unit, so that rounding knows it is not exact. */
export function inexact(value: bigint, scale = -FRACTION_BITS): Scaled {
  const magnitude = value < 0n ? -value : value;
  return { isNegative: value < 0n, magnitude: magnitude * 2n + 1n, scale: scale - 1 };
}

/** A number moved by less than anything that rounding could see, but not exact any more. */
export function nudged(x: Scaled, direction: 1n | -1n): Scaled {
  return { ...x, magnitude: (x.magnitude << 140n) + direction, scale: x.scale - 140 };
}

/** x × a constant in fixed point, for tiny x. */
export function timesConstant(x: Scaled, constant: bigint): Scaled {
  const magnitude = ((x.magnitude * constant) << 1n) | 1n;
  return { ...x, magnitude, scale: x.scale - FRACTION_BITS - 1 };
}

/** Sine and cosine of a number below 2^63. */
export function sineCosine(x: Scaled): { sine: Scaled; cosine: Scaled } {
  if (exponentOf(x) < TINY_EXPONENT) {
    const almostOne = { isNegative: false, magnitude: (1n << 140n) - 1n, scale: -140 };
    return { sine: nudged(x, -1n), cosine: almostOne };
  }
  const angle = fixedOf({ ...x, isNegative: false });
  const half = PROCESSOR_PI / 2n;
  const quarterTurns = (angle + half / 2n) / half;
  const rest = angle - quarterTurns * half;
  const [s, c] = [sine(rest), cosine(rest)];
  const turns = Number(quarterTurns & 3n);
  const sines = [s, c, -s, -c];
  const result = sines[turns]!;
  return {
    sine: inexact(x.isNegative ? -result : result),
    cosine: inexact(sines[(turns + 1) & 3]!),
  };
}
