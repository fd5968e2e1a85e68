import fc from 'fast-check';
import { expect, test } from 'vitest';
import { fuzzOptions } from '../../test/fuzz-options.ts';
import { VGABoard } from '../../test/vga-board.ts';
import { planarRead, planarValue } from './vga-planes.ts';

const byte = fc.integer({ min: 0, max: 255 });
const graphicsRegisters = fc
  .tuple(...Array.from({ length: 9 }, () => byte))
  .map((values) => Uint8Array.from(values));
const word = fc.integer({ min: 0, max: 0xffff_ffff });

const bitOf = (value: number, bit: number) => (value >>> bit) & 1;

/** One bit of one plane after a write, by the words of the reference. */
function modelBit(g: Uint8Array, latches: number, value: number, plane: number, bit: number) {
  const latch = bitOf(latches, plane * 8 + bit);
  const mode = g[5]! % 4;
  if (mode === 1) return latch;
  const rotated = (bit + (g[3]! % 8)) % 8; // The processor's bit that arrives here.
  const setReset = bitOf(g[0]!, plane);
  let isWritten = bitOf(g[8]!, bit) === 1;
  let data: number;
  if (mode === 0) data = bitOf(g[1]!, plane) ? setReset : bitOf(value, rotated);
  else if (mode === 2) data = bitOf(value, plane);
  else {
    data = setReset;
    isWritten &&= bitOf(value, rotated) === 1;
  }
  if (!isWritten) return latch;
  return [data, data & latch, data | latch, data ^ latch][(g[3]! >> 3) % 4]!;
}

test('each write mode is what the reference says, bit by bit', () => {
  fc.assert(
    fc.property(graphicsRegisters, word, byte, (g, latches, value) => {
      const result = planarValue(g, latches, value);
      for (let plane = 0; plane < 4; plane++)
        for (let bit = 0; bit < 8; bit++)
          expect(bitOf(result, plane * 8 + bit)).toBe(modelBit(g, latches, value, plane, bit));
    }),
    fuzzOptions(300),
  );
});

test('both read modes are what the reference says, bit by bit', () => {
  fc.assert(
    fc.property(graphicsRegisters, word, fc.nat({ max: 3 }), (g, latches, plane) => {
      const result = planarRead(g, latches, plane);
      for (let bit = 0; bit < 8; bit++) {
        const isEqual = [0, 1, 2, 3].every(
          (each) => !bitOf(g[7]!, each) || bitOf(latches, each * 8 + bit) === bitOf(g[2]!, each),
        );
        const expected = g[5]! & 8 ? Number(isEqual) : bitOf(latches, plane * 8 + bit);
        expect(bitOf(result, bit)).toBe(expected);
      }
    }),
    fuzzOptions(300),
  );
});

test('a write changes the planes of the map mask only, and a read loads the latches', () => {
  const board = new VGABoard();
  board.setPlanar();
  const { vga } = board;
  vga.planes[5] = 0x44332211;
  board.set(0x3c4, 2, 0b0101);
  vga.writeMemory(5, 0xff);
  expect(vga.planes[5]).toBe(0x44ff22ff);
  expect(board.writes).toEqual([[20, 4]]);
  board.set(0x3ce, 4, 1);
  expect(vga.readMemory(5)).toBe(0x22);
  // Write mode 1 copies all planes that it may.
  board.set(0x3ce, 5, 1);
  board.set(0x3c4, 2, 0xf);
  vga.writeMemory(9, 0);
  expect(vga.planes[9]).toBe(0x44ff22ff);
});

test('chain-4 and odd/even choose planes by the low address bits', () => {
  const board = new VGABoard();
  board.setPlanar();
  const { vga } = board;
  board.set(0x3c4, 4, 0x0e);
  for (const [index, value] of [0x10, 0x20, 0x30, 0x40, 0x50].entries())
    vga.writeMemory(index, value);
  expect([vga.planes[0], vga.planes[4], vga.planes[1]]).toEqual([0x40302010, 0x50, 0]);
  expect(vga.readMemory(2)).toBe(0x30);
  board.setText();
  vga.planes.fill(0);
  vga.writeMemory(0x18000, 0x41);
  vga.writeMemory(0x18001, 0x1f);
  vga.writeMemory(0x18002, 0x42);
  expect([vga.planes[0], vga.planes[1], vga.planes[2]]).toEqual([0x1f41, 0, 0x42]);
  expect(vga.readMemory(0x18001)).toBe(0x1f);
});

test('planar writes outside the selected window, or with memory off, change nothing', () => {
  const board = new VGABoard();
  board.setPlanar();
  const { vga } = board;
  const maps = [
    [0, 0, 0x1ffff],
    [1, 0, 0xffff],
    [2, 0x10000, 0x17fff],
    [3, 0x18000, 0x1ffff],
  ] as const;
  for (const [map, first, last] of maps) {
    board.set(0x3ce, 6, 1 | (map << 2));
    for (const offset of [0, 0xffff, 0x10000, 0x17fff, 0x18000, 0x1ffff]) {
      board.writes.length = 0;
      vga.writeMemory(offset, 0x5a);
      const isInside = offset >= first && offset <= last;
      expect(board.writes.length).toBe(isInside ? 1 : 0);
      if (!isInside) expect(vga.readMemory(offset)).toBe(0xff);
    }
  }
  board.set(0x3ce, 6, 5);
  board.out(0x3c2, 0xe1);
  board.writes.length = 0;
  vga.writeMemory(0, 1);
  expect(board.writes).toEqual([]);
  expect(vga.readMemory(0)).toBe(0xff);
});
