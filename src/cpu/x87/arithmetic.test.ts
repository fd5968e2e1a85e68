// FADD FSUB FMUL FDIV FSQRT against a model in exact integers, in every precision and direction; on
// hosts without an x87 this is all there is. Masked exceptions only.

import { expect, test } from 'vitest';
import { fuzzOptions } from '../../../test/fuzz-options.ts';
import { createRandom, randomFloat80 } from '../../../test/x87/operands.ts';
import { createX87Machine } from '../../../test/x87/row-module.ts';
import { X87, X87_CONTROL, X87_EMPTY, X87_STATUS, X87_TOP } from '../state-layout.ts';

type Number80 = [significand: bigint, signExponent: number];
const INDEFINITE: Number80 = [0xc000_0000_0000_0000n, 0xffff];
const DIRECTIONS = ['nearest', 'down', 'up', 'zero'] as const;
const PRECISION_BITS = [24, 64, 53, 64];

/** Numerator ÷ denominator, both positive, with a sign, rounded as a program sees it. */
function round(
  negative: boolean,
  numerator: bigint,
  denominator: bigint,
  control: number,
): Number80 {
  const precision = PRECISION_BITS[(control >> 8) & 3]!;
  const direction = DIRECTIONS[(control >> 10) & 3]!;
  const sign = negative ? 0x8000 : 0;
  // The exponent of the leading bit: 2^exponent ≤ quotient < 2^(exponent + 1).
  let exponent = numerator.toString(2).length - denominator.toString(2).length;
  const isBelow = (e: number) =>
    e >= 0 ? numerator < denominator << BigInt(e) : numerator << BigInt(-e) < denominator;
  if (isBelow(exponent)) exponent--;
  // The last place is a denormal's if the number is tiny.
  const last = Math.max(exponent, -16382) - precision + 1;
  const top = last >= 0 ? numerator : numerator << BigInt(-last);
  const bottom = last >= 0 ? denominator << BigInt(last) : denominator;
  let integer = top / bottom;
  const rest = top % bottom;
  const goesUp = {
    nearest: rest * 2n > bottom || (rest * 2n === bottom && (integer & 1n) === 1n),
    down: rest > 0n && negative,
    up: rest > 0n && !negative,
    zero: false,
  }[direction];
  if (goesUp) integer++;
  let significand = integer << BigInt(64 - precision);
  let biased = Math.max(exponent, -16382) + 16383;
  if (significand >> 64n) {
    significand >>= 1n;
    biased++;
  }
  if (biased >= 0x7fff) {
    const isInfinite = direction === 'nearest' || direction === (negative ? 'down' : 'up');
    if (isInfinite) return [1n << 63n, sign | 0x7fff];
    return [((1n << BigInt(precision)) - 1n) << BigInt(64 - precision), sign | 0x7ffe];
  }
  if (significand < 1n << 63n) biased = 0;
  return [significand, sign | biased];
}

/** Value × 2^16445, an integer for every finite number. */
function scaled([significand, signExponent]: Number80): bigint {
  const magnitude = significand << BigInt(Math.max(signExponent & 0x7fff, 1) - 1);
  return signExponent & 0x8000 ? -magnitude : magnitude;
}

const UNIT = 1n << 16445n;
const isNaN80 = ([s, e]: Number80) => (e & 0x7fff) === 0x7fff && s << 1n !== 1n << 64n;
const isUnsupported = ([s, e]: Number80) => (e & 0x7fff) !== 0 && s >> 63n === 0n;
const isInfinite = ([s, e]: Number80) => (e & 0x7fff) === 0x7fff && s === 1n << 63n;
const signOf = ([, e]: Number80) => e & 0x8000;
const zero = (sign: number): Number80 => [0n, sign];
const infinity = (sign: number): Number80 => [1n << 63n, sign | 0x7fff];

function modelNaN(a: Number80, b: Number80): Number80 | undefined {
  if (isUnsupported(a) || isUnsupported(b)) return INDEFINITE;
  const quiet = 1n << 62n;
  const nans = [a, b].filter(isNaN80);
  if (nans.length === 0) return undefined;
  const quietOnes = nans.filter(([s]) => s & quiet);
  const candidates = quietOnes.length === 1 ? quietOnes : nans;
  candidates.sort(([s, e], [t, g]) => (s === t ? e - g : s > t ? -1 : 1));
  const [s, e] = candidates[0]!;
  return [s | quiet, e];
}

function modelSum(a: Number80, b: Number80, control: number): Number80 {
  if (isInfinite(a) && isInfinite(b)) return signOf(a) === signOf(b) ? a : INDEFINITE;
  if (isInfinite(a)) return a;
  if (isInfinite(b)) return b;
  const sum = scaled(a) + scaled(b);
  if (sum !== 0n) return round(sum < 0n, sum < 0n ? -sum : sum, UNIT, control);
  const bothZero = scaled(a) === 0n && signOf(a) === signOf(b);
  return zero(bothZero ? signOf(a) : DIRECTIONS[(control >> 10) & 3] === 'down' ? 0x8000 : 0);
}

const absolute = (x: Number80) => scaled([x[0], x[1] & 0x7fff]);

function modelProduct(a: Number80, b: Number80, control: number): Number80 {
  const sign = signOf(a) ^ signOf(b);
  const hasZero = absolute(a) === 0n || absolute(b) === 0n;
  if (isInfinite(a) || isInfinite(b)) return hasZero ? INDEFINITE : infinity(sign);
  if (hasZero) return zero(sign);
  return round(sign !== 0, absolute(a) * absolute(b), UNIT * UNIT, control);
}

function modelQuotient(a: Number80, b: Number80, control: number): Number80 {
  const sign = signOf(a) ^ signOf(b);
  if (isInfinite(a)) return isInfinite(b) ? INDEFINITE : infinity(sign);
  if (isInfinite(b)) return zero(sign);
  if (absolute(b) === 0n) return absolute(a) === 0n ? INDEFINITE : infinity(sign);
  if (absolute(a) === 0n) return zero(sign);
  return round(sign !== 0, absolute(a), absolute(b), control);
}

function modelRoot(a: Number80, control: number): Number80 {
  if (absolute(a) === 0n) return a;
  if (signOf(a)) return INDEFINITE;
  if (isInfinite(a)) return a;
  // The root of value × 2^16445 × 2^(16445 + 400), then a last bit that stands for what is cut off.
  const square = absolute(a) << (16445n + 400n);
  let root = 1n << BigInt((square.toString(2).length >> 1) + 1);
  for (let next = (root + square / root) >> 1n; next < root; next = (root + square / root) >> 1n)
    root = next;
  const sticky = root * root === square ? 0n : 1n;
  return round(false, root * 2n + sticky, UNIT << 201n, control);
}

const negated = ([s, e]: Number80): Number80 => [s, e ^ 0x8000];
const OPERATIONS: readonly [string, (a: Number80, b: Number80, control: number) => Number80][] = [
  ['D8 C0+i', modelSum],
  ['D8 E0+i', (a, b, control) => modelSum(a, negated(b), control)],
  ['D8 E8+i', (a, b, control) => modelSum(b, negated(a), control)],
  ['D8 C8+i', modelProduct],
  ['D8 F0+i', modelQuotient],
  ['D8 F8+i', (a, b, control) => modelQuotient(b, a, control)],
  ['D9 FA', (a, _b, control) => modelRoot(a, control)],
];

const { seed, numRuns } = fuzzOptions(300);
const text = ([s, e]: Number80) => `${e.toString(16)}:${s.toString(16)}`;

for (const [index, [pattern, model]] of OPERATIONS.entries()) {
  test(`row ${pattern} gives the exact result, rounded once`, () => {
    const { state, run } = createX87Machine();
    const random = createRandom(seed + index * 104_729);
    const isUnary = pattern === 'D9 FA';
    const write = (register: number, [significand, signExponent]: Number80) => {
      state.u64[(X87 + register * 16) >> 3] = significand;
      state.u16[(X87 + register * 16 + 8) >> 1] = signExponent;
      state.u8[X87_EMPTY + register] = 0;
    };
    for (let n = 0; n < numRuns; n++) {
      const a = randomFloat80(random);
      const b = random() & 7 ? randomFloat80(random, a[1] & 0x7fff) : a;
      const control = 0x7f | ([0, 2, 3][random() % 3]! << 8) | ((random() & 3) << 10);
      write(6, a);
      write(7, b);
      state.set32(X87_TOP, 6);
      state.set32(X87_STATUS, 0);
      state.set32(X87_CONTROL, control);
      run(pattern, 1);
      const expected = modelNaN(a, isUnary ? a : b) ?? model(a, b, control);
      const actual: Number80 = [
        state.u64[(X87 + 6 * 16) >> 3]!,
        state.u16[(X87 + 6 * 16 + 8) >> 1]!,
      ];
      const about = `${text(a)} and ${text(b)}, control ${control.toString(16)}, seed ${seed}`;
      expect(text(actual), about).toBe(text(expected));
    }
  });
}
