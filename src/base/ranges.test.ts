import fc from 'fast-check';
import { expect, test } from 'vitest';
import { fuzzOptions } from '../../test/fuzz-options.ts';
import {
  isRange,
  overlapSize,
  overlapStart,
  RANGE_END_MAX,
  rangeContains,
  rangeHolds,
  rangesOverlap,
} from './ranges.ts';

// The oracle counts in BigInt, where ends are exact.
const address = fc.oneof(
  fc.maxSafeNat(),
  fc.nat({ max: 20 }),
  fc.integer({ min: 2 ** 32 - 20, max: 2 ** 32 + 20 }),
  fc.integer({ min: Number.MAX_SAFE_INTEGER - 20, max: Number.MAX_SAFE_INTEGER }),
);
const range = fc
  .tuple(address, address)
  .map(([start, size]) => ({ start, size: Math.min(size, RANGE_END_MAX - start) }));

test('ranges agree with arithmetic that cannot wrap or round', () => {
  fc.assert(
    fc.property(range, range, (a, b) => {
      const [a0, b0] = [BigInt(a.start), BigInt(b.start)];
      const [a1, b1] = [a0 + BigInt(a.size), b0 + BigInt(b.size)];
      const low = a0 > b0 ? a0 : b0;
      const high = a1 < b1 ? a1 : b1;
      const shared = high > low ? high - low : 0n;
      expect(rangesOverlap(a.start, a.size, b.start, b.size)).toBe(shared > 0n);
      expect(BigInt(overlapSize(a.start, a.size, b.start, b.size))).toBe(shared);
      if (shared > 0n) expect(BigInt(overlapStart(a.start, b.start))).toBe(low);
      expect(rangeContains(a.start, a.size, b.start, b.size)).toBe(b0 >= a0 && b1 <= a1);
      expect(rangeHolds(a.start, a.size, b.start)).toBe(b0 >= a0 && b0 < a1);
    }),
    fuzzOptions(500),
  );
});

test('failure 1: a range that ends exactly at 2^32, or at the top, is an ordinary one', () => {
  for (const top of [2 ** 32, 2 ** 52, RANGE_END_MAX]) {
    expect(rangesOverlap(top - 4096, 4096, top - 1, 1)).toBe(true);
    expect(rangesOverlap(top - 4096, 4096, 0, 4096)).toBe(false);
    expect(rangeContains(0, top, top - 4096, 4096)).toBe(true);
    expect(rangeContains(0, top - 1, top - 4096, 4096)).toBe(false);
    expect(rangeHolds(top - 4096, 4096, top - 1)).toBe(true);
    expect(rangeHolds(top - 4096, 4096, 0)).toBe(false);
  }
});

test('isRange() takes what ends by 2^53 and nothing else', () => {
  expect(isRange(0, RANGE_END_MAX)).toBe(true);
  expect(isRange(RANGE_END_MAX, 0)).toBe(true);
  expect(isRange(RANGE_END_MAX, 2)).toBe(false);
  expect(isRange(-1, 2)).toBe(false);
  expect(isRange(0, 0.5)).toBe(false);
  expect(isRange(Number.NaN, 1)).toBe(false);
});
