// The integer functions against a naive model in BigInt: exact values, rounded once. It needs no
// compiler and no x86 host, which float.test.ts does.

import { expect, test } from 'vitest';
import { fuzzOptions } from '../../../test/fuzz-options.ts';
import { FLOAT_PROGRAMS } from '../../../test/simd/float-programs.ts';
import { FloatCases } from '../../../test/simd/float-values.ts';
import { buildPrograms, OPERAND_A, OPERAND_B, RESULT } from '../../../test/simd/shared-harness.ts';
import { MXCSR } from '../state-layout.ts';
import { F32, F64, type FloatFormat } from './float-format.ts';
import { MXCSR_DEFAULT, MXCSR_OE, MXCSR_PE, MXCSR_RC_SHIFT, MXCSR_UE } from './mxcsr.ts';

/** A positive number, num × 2^exponent, and a little more if `hasMore`. */
interface Exact {
  readonly num: bigint;
  readonly exponent: number;
  readonly hasMore: boolean;
}

const bitLength = (value: bigint): number => value.toString(2).length;

/** Rounds to a multiple of 2^quantum: how many of them, and whether that is exact. */
function roundTo(x: Exact, quantum: number, mode: number, isNegative: boolean): [bigint, boolean] {
  const drop = BigInt(Math.max(0, quantum - x.exponent) + 2);
  const scaled = (x.num << BigInt(Math.max(0, x.exponent - quantum) + 2)) | 0n;
  const [kept, rest] = [scaled >> drop, scaled & ((1n << drop) - 1n)];
  const half = 1n << (drop - 1n);
  const isExact = rest === 0n && !x.hasMore;
  const isAbove = rest > half || (rest === half && x.hasMore);
  const isTie = rest === half && !x.hasMore;
  const isUp =
    mode === 0
      ? isAbove || (isTie && (kept & 1n) === 1n)
      : !isExact && (mode === 1 ? isNegative : mode === 2 && !isNegative);
  return [isUp ? kept + 1n : kept, isExact];
}

/** Bits and flags of ±x in `fmt` with everything masked. */
function modelRound(
  fmt: FloatFormat,
  x: Exact,
  mode: number,
  isNegative: boolean,
): [bigint, number] {
  const sign = isNegative ? fmt.sign : 0n;
  const top = bitLength(x.num) + x.exponent;
  const least = 1 - fmt.bias - fmt.fractionBits;
  const free = top - 1 - fmt.fractionBits;
  const [unbounded] = roundTo(x, free, mode, isNegative);
  const isTiny = bitLength(unbounded) + free <= 1 - fmt.bias;
  const quantum = Math.max(free, least);
  const [count, isExact] = roundTo(x, quantum, mode, isNegative);
  let flags = isExact ? 0 : MXCSR_PE;
  if (isTiny && !isExact) flags |= MXCSR_UE;
  if (bitLength(count) + quantum > fmt.bias + 1) {
    const isTowardsZero = mode === 3 || (mode === 1 && !isNegative) || (mode === 2 && isNegative);
    return [sign | (fmt.infinity - (isTowardsZero ? 1n : 0n)), MXCSR_OE | MXCSR_PE];
  }
  // `count` quanta: the bit patterns of positive numbers are in the order of the numbers.
  const field = BigInt(quantum - least) * fmt.minNormal;
  return [sign | (field + count), flags];
}

function exactOf(fmt: FloatFormat, bits: bigint): Exact {
  const abs = bits & (fmt.sign - 1n);
  const field = Number(abs / fmt.minNormal);
  const fraction = abs % fmt.minNormal;
  const exponent = Math.max(field, 1) - fmt.bias - fmt.fractionBits;
  return { num: field === 0 ? fraction : fraction | fmt.minNormal, exponent, hasMore: false };
}

function integerRoot(value: bigint): bigint {
  if (value < 2n) return value;
  let guess = 1n << BigInt((bitLength(value) + 1) >> 1);
  for (;;) {
    const next = (guess + value / guess) >> 1n;
    if (next >= guess) return guess;
    guess = next;
  }
}

type Name = 'add' | 'sub' | 'mul' | 'div' | 'sqrt';

/** The exact result of normal operands, and its sign; undefined where it is a zero. */
function modelExact(
  name: Name,
  fmt: FloatFormat,
  a: bigint,
  b: bigint,
): [Exact, boolean] | undefined {
  const [x, y] = [exactOf(fmt, a), exactOf(fmt, b)];
  const [signA, signB] = [(a & fmt.sign) !== 0n, (b & fmt.sign) !== 0n];
  if (name === 'mul') {
    const exponent = x.exponent + y.exponent;
    return [{ num: x.num * y.num, exponent, hasMore: false }, signA !== signB];
  }
  if (name === 'div') {
    const num = (x.num << 200n) / y.num;
    const hasMore = num * y.num !== x.num << 200n;
    return [{ num, exponent: x.exponent - y.exponent - 200, hasMore }, signA !== signB];
  }
  if (name === 'sqrt') {
    const shift = 200 + (y.exponent & 1);
    const scaled = y.num << BigInt(shift);
    const num = integerRoot(scaled);
    return [{ num, exponent: (y.exponent - shift) / 2, hasMore: num * num !== scaled }, false];
  }
  const exponent = Math.min(x.exponent, y.exponent);
  const signed = (e: Exact, isNegative: boolean) =>
    (isNegative ? -1n : 1n) * (e.num << BigInt(e.exponent - exponent));
  const sum = signed(x, signA) + signed(y, name === 'sub' ? !signB : signB);
  if (sum === 0n) return undefined;
  return [{ num: sum < 0n ? -sum : sum, exponent, hasMore: false }, sum < 0n];
}

const isNormal = (fmt: FloatFormat, bits: bigint): boolean => {
  const abs = bits & (fmt.sign - 1n);
  return abs >= fmt.minNormal && abs < fmt.infinity;
};

const hex = (bits: bigint): string => bits.toString(16);

test('arithmetic on normal numbers is the exact result rounded once, in every mode', () => {
  const { seed, numRuns } = fuzzOptions(1000);
  const module = buildPrograms(FLOAT_PROGRAMS);
  const { view } = module;
  const cases = new FloatCases(seed);
  let compared = 0;
  for (let run = 0; run < numRuns; run++) {
    const words = cases.operands();
    for (const fmt of [F32, F64]) {
      const [a, b] = [words[0]!, words[2]!].map((w) => (fmt === F32 ? w & 0xffff_ffffn : w)) as [
        bigint,
        bigint,
      ];
      if (!isNormal(fmt, a) || !isNormal(fmt, b)) continue;
      for (const name of ['add', 'sub', 'mul', 'div', 'sqrt'] as const) {
        const exact = name === 'sqrt' && b & fmt.sign ? undefined : modelExact(name, fmt, a, b);
        if (!exact) continue;
        const mode = run & 3;
        const [bits, flags] = modelRound(fmt, exact[0], mode, exact[1]);
        const mxcsr = MXCSR_DEFAULT | (mode << MXCSR_RC_SHIFT);
        view.setUint32(MXCSR, mxcsr, true);
        view.setBigUint64(OPERAND_A, a, true);
        view.setBigUint64(OPERAND_B, b, true);
        module.run(name + (fmt === F32 ? 'ss' : 'sd'));
        const word = view.getBigUint64(RESULT, true);
        const ours = fmt === F32 ? word & 0xffff_ffffn : word;
        const text = `${fmt.name} ${hex(a)} ${name} ${hex(b)} mode ${mode}, FUZZ_SEED=${seed}`;
        expect(hex(ours), text).toBe(hex(bits));
        expect(view.getUint32(MXCSR, true) & ~mxcsr, `flags of ${text}`).toBe(flags);
        compared++;
      }
    }
  }
  expect(compared).toBeGreaterThan(numRuns);
});
