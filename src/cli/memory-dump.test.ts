import { expect, test } from 'vitest';
import { formatDump, parseDumpFormat } from './memory-dump.ts';

const BYTES = Uint8Array.from({ length: 32 }, (_, index) => index * 7);

// The expected text is what QEMU 7.2 prints for the same bytes.
test.each([
  [
    '/6xw',
    '0000000000001000: 0x150e0700 0x312a231c 0x4d463f38 0x69625b54\n' +
      '0000000000001010: 0x857e7770 0xa19a938c\n',
  ],
  ['/3xh', '0000000000001000: 0x0700 0x150e 0x231c\n'],
  ['/9xb', '0000000000001000: 0x00 0x07 0x0e 0x15 0x1c 0x23 0x2a 0x31\n0000000000001008: 0x38\n'],
  ['/1xg', '0000000000001000: 0x312a231c150e0700\n'],
  ['/2uw', '0000000000001000:  353240832  824845084\n'],
  ['/1dw', '0000000000001000:  353240832\n'],
  ['/3c', "0000000000001000: '\\x00' '\\x07' '\\x0e'\n"],
  ['/1ob', '0000000000001000:   0\n'],
  ['/2ow', '0000000000001000: 02503403400 06112421434\n'],
])('%s', (format, expected) => {
  const parsed = parseDumpFormat(format);
  const bytes = BYTES.subarray(0, parsed.count * parsed.sizeBytes);
  expect(formatDump(bytes, 0x1000, 16, parsed)).toBe(expected);
});

test('numbers with their top bit set are negative in decimal', () => {
  const ones = new Uint8Array(8).fill(0xff);
  expect(formatDump(ones, 0, 8, parseDumpFormat('/2dw'))).toMatch(/^0{8}: +-1 +-1\n$/);
  expect(formatDump(ones, 0, 8, parseDumpFormat('/1ug'))).toBe('00000000: 18446744073709551615\n');
});

test.each(['/0x', '/65537x', '/4i', '/4k', 'x', '/4x4'])('the format %s is refused', (format) => {
  expect(() => parseDumpFormat(format)).toThrow(RangeError);
});

test('quotes and control characters are escaped', () => {
  const bytes = Buffer.from("A'\n\\\x7f");
  expect(formatDump(bytes, 0, 8, parseDumpFormat('/5c'))).toBe(
    "00000000: 'A' '\\'' '\\n' '\\\\' '\\x7f'\n",
  );
});
