import fc from 'fast-check';
import { expect, test } from 'vitest';
import { fuzzOptions } from '../../test/fuzz-options.ts';
import { formatSize, hex, hexDigits } from './hex.ts';
import {
  isPageAligned,
  pageAddress,
  pageIndex,
  pageOffset,
  pageStart,
  pagesTouched,
  roundUpToPage,
} from './pages.ts';

const address = fc.oneof(
  fc.maxSafeNat(),
  fc.integer({ min: 2 ** 31 - 5000, max: 2 ** 31 + 5000 }),
  fc.integer({ min: 2 ** 32 - 5000, max: 2 ** 32 + 5000 }),
  fc.integer({ min: Number.MAX_SAFE_INTEGER - 5000, max: Number.MAX_SAFE_INTEGER }),
);

test('page arithmetic is exact below, at and above 4 GiB', () => {
  fc.assert(
    fc.property(address, fc.nat({ max: 20000 }), (at, size) => {
      const exact = BigInt(at);
      expect(BigInt(pageOffset(at))).toBe(exact & 0xfffn);
      expect(BigInt(pageStart(at))).toBe(exact & ~0xfffn);
      expect(BigInt(pageIndex(at))).toBe(exact >> 12n);
      expect(pageAddress(pageIndex(at))).toBe(pageStart(at));
      expect(isPageAligned(at)).toBe((exact & 0xfffn) === 0n);
      if (at <= 2 ** 53 - 8192) expect(BigInt(roundUpToPage(at))).toBe((exact + 0xfffn) & ~0xfffn);
      const last = exact + BigInt(size) - 1n;
      const touched = size === 0 ? 0n : (last >> 12n) - (exact >> 12n) + 1n;
      expect(BigInt(pagesTouched(at, size))).toBe(touched);
    }),
    fuzzOptions(500),
  );
});

test('numbers are written as people read them', () => {
  expect(hex(0x1_0000_0000)).toBe('0x100000000');
  expect(hex(-16)).toBe('-0x10');
  expect(hexDigits(2 ** 52 - 1)).toBe('000fffffffffffff');
  expect(formatSize(4096)).toBe('4 KiB');
  expect(formatSize(4097)).toBe('4097 B');
  expect(formatSize(3 * 2 ** 30)).toBe('3 GiB');
});
