import { expect, test } from 'vitest';
import { FLASH_BLOCK_BYTES, PFlash } from './pflash.ts';

function create() {
  const bytes = new Uint8Array(4 * FLASH_BLOCK_BYTES).fill(0xa5);
  const flash = new PFlash('flash', bytes);
  const modes: boolean[] = [];
  const changes: [number, number][] = [];
  flash.onReadMode = (isArray) => void modes.push(isArray);
  flash.onChange = (offset, size) => void changes.push([offset, size]);
  const write = (offset: number, ...values: number[]) => {
    for (const value of values) flash.write(offset, value);
  };
  return { bytes, flash, modes, changes, write };
}

test('status, identifier and query take the chip out of read-array mode, 0xff puts it back', () => {
  const { flash, modes, write } = create();
  write(0, 0x70);
  expect(flash.read(5)).toBe(0x80);
  write(0, 0x90);
  expect([flash.read(0), flash.read(1), flash.read(2)]).toEqual([0x89, 0x18, 0]);
  write(0, 0x98);
  const text = [0x10, 0x11, 0x12].map((at) => String.fromCharCode(flash.read(at))).join('');
  expect(text).toBe('QRY');
  expect(flash.read(0x13)).toBe(1);
  expect(2 ** flash.read(0x27)).toBe(4 * FLASH_BLOCK_BYTES);
  const blocks = (flash.read(0x2d) | (flash.read(0x2e) << 8)) + 1;
  const blockBytes = (flash.read(0x2f) | (flash.read(0x30) << 8)) * 256;
  expect([blocks, blockBytes]).toEqual([4, FLASH_BLOCK_BYTES]);
  expect(modes).toEqual([false]);
  write(0, 0xff);
  expect(modes).toEqual([false, true]);
});

test('an erase sets its block to ones and no other; programming only clears bits', () => {
  const { bytes, flash, changes, write } = create();
  write(FLASH_BLOCK_BYTES + 5, 0x20, 0xd0);
  expect(bytes[FLASH_BLOCK_BYTES - 1]).toBe(0xa5);
  expect(bytes[FLASH_BLOCK_BYTES]).toBe(0xff);
  expect(bytes[2 * FLASH_BLOCK_BYTES - 1]).toBe(0xff);
  expect(bytes[2 * FLASH_BLOCK_BYTES]).toBe(0xa5);
  write(FLASH_BLOCK_BYTES, 0x40, 0x3c);
  write(FLASH_BLOCK_BYTES, 0x10, 0x0f);
  expect(bytes[FLASH_BLOCK_BYTES]).toBe(0x0c);
  expect(flash.read(0)).toBe(0x80);
  expect(changes).toEqual([
    [FLASH_BLOCK_BYTES, FLASH_BLOCK_BYTES],
    [FLASH_BLOCK_BYTES, 1],
    [FLASH_BLOCK_BYTES, 1],
  ]);
});

test('a buffered program takes as many bytes as it was told, and needs its confirmation', () => {
  const { bytes, flash, write } = create();
  write(0, 0x20, 0xd0, 0xe8, 2);
  for (let i = 0; i < 3; i++) write(16 + i, i + 1);
  expect(bytes[16]).toBe(0xff);
  write(0, 0xd0);
  expect([...bytes.subarray(15, 20)]).toEqual([0xff, 1, 2, 3, 0xff]);
  write(0, 0xe8, 0, 0x00, 0xff);
  expect(flash.read(0)).toBe(0xb0);
  expect(bytes[0]).toBe(0xff);
  write(0, 0x50);
  expect(flash.read(0)).toBe(0x80);
});

test('a buffer that is too long, or leaves its block, is a sequence error', () => {
  const { bytes, flash, write } = create();
  write(0, 0xe8, 64);
  expect(flash.read(0)).toBe(0xb0);
  write(0, 0x50, 0xe8, 1);
  write(FLASH_BLOCK_BYTES - 1, 0);
  write(FLASH_BLOCK_BYTES, 0);
  write(0, 0xd0);
  expect(flash.read(0)).toBe(0xb0);
  expect([bytes[FLASH_BLOCK_BYTES - 1], bytes[FLASH_BLOCK_BYTES]]).toEqual([0xa5, 0xa5]);
});

test('a locked block is neither erased nor programmed until all locks are cleared', () => {
  const { bytes, flash, write } = create();
  write(FLASH_BLOCK_BYTES, 0x60, 0x01, 0x20, 0xd0);
  expect(flash.read(0)).toBe(0xa2);
  expect(bytes[FLASH_BLOCK_BYTES]).toBe(0xa5);
  write(FLASH_BLOCK_BYTES, 0x50, 0x40, 0x00);
  expect(flash.read(0)).toBe(0x92);
  write(FLASH_BLOCK_BYTES, 0x90);
  expect([flash.read(FLASH_BLOCK_BYTES + 2), flash.read(2)]).toEqual([1, 0]);
  write(0, 0x60, 0xd0, 0x50);
  write(FLASH_BLOCK_BYTES, 0x40, 0x00);
  expect(bytes[FLASH_BLOCK_BYTES]).toBe(0);
});

test('a saved chip goes on in the middle of a buffer', () => {
  const { flash, write } = create();
  write(0, 0x20, 0xd0, 0xe8, 1, 7);
  const other = create();
  other.bytes.fill(0xff);
  other.flash.restore(flash.save());
  expect(other.modes).toEqual([false]);
  other.write(1, 8);
  other.write(0, 0xd0);
  expect([...other.bytes.subarray(0, 3)]).toEqual([7, 8, 0xff]);
});

test('a chip of odd size, and writes behind its end, are refused', () => {
  expect(() => new PFlash('x', new Uint8Array(1000))).toThrow('must be a multiple of 64 KiB');
  const { flash, write } = create();
  write(4 * FLASH_BLOCK_BYTES, 0x70);
  expect(flash.read(0)).toBe(0xa5);
});
