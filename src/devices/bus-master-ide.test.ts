import fc from 'fast-check';
import { expect, test } from 'vitest';
import { fuzzOptions } from '../../test/fuzz-options.ts';
import { contentOf, IDEBoard, pattern, SECTOR } from '../../test/storage-board.ts';
import { DIRTY_ALL, DIRTY_MIGRATION } from '../memory/dirty-memory.ts';
import { MemoryDevice } from './block/memory-device.ts';

const ACTIVE = 0x01;
const INTERRUPT = 0x04;

function create(sectors = 400) {
  const medium = MemoryDevice.from(pattern(sectors * SECTOR));
  const board = new IDEBoard({ places: [medium] });
  return { medium, board };
}

const at = (sector: number, count: number) =>
  pattern(400 * SECTOR).subarray(sector * SECTOR, (sector + count) * SECTOR);

test('READ DMA scatters to the regions of the table, and both interrupt flags rise', () => {
  const { board } = create();
  board.putTable(0x1000, [
    [0x1_0000, 1000, false],
    [0x2_0002, 24, false],
    [0x3_0000, 0x200, true],
  ]);
  board.command(0xc8, { lba: 2, count: 3 });
  expect(board.irqs[0].isHigh).toBe(false);
  board.startDMA(true);
  expect(board.irqs[0].isHigh).toBe(true);
  expect(board.ide.readMaster(2) & (ACTIVE | INTERRUPT)).toBe(INTERRUPT);
  expect(board.read(7)).toBe(0x50);
  const got = [
    ...board.ram(0x1_0000, 1000),
    ...board.ram(0x2_0002, 24),
    ...board.ram(0x3_0000, 512),
  ];
  expect(Uint8Array.from(got)).toEqual(at(2, 3));
  board.ide.writeMaster(2, INTERRUPT);
  expect(board.ide.readMaster(2) & INTERRUPT).toBe(0);
});

test('the bus master may be started first, and a count of 0 is 64 KiB', () => {
  const { board } = create();
  board.putTable(0x1000, [
    [0x1_0000, 0, false],
    [0x4_0000, 0, true],
  ]);
  board.startDMA(true);
  board.command(0xc8, { lba: 0, count: 0 });
  expect(board.read(7)).toBe(0x50);
  expect(board.ram(0x1_0000, 0x1_0000)).toEqual(at(0, 128));
  expect(board.ram(0x4_0000, 0x1_0000)).toEqual(at(128, 128));
});

test('WRITE DMA gathers, more than the buffer holds', () => {
  const { board, medium } = create();
  const data = pattern(200 * SECTOR, 77);
  board.memory.addressSpace.writeBytes(0x2_0000, data);
  board.putTable(0x1000, [
    [0x2_0000, 0, false],
    [0x3_0000, 200 * SECTOR - 0x1_0000, true],
  ]);
  board.command(0xca, { lba: 10, count: 200 });
  board.startDMA(false);
  expect(board.read(7)).toBe(0x50);
  expect(contentOf(medium, 10, 200)).toEqual(data);
});

test('while PCI forbids it, and while the direction is wrong, nothing moves', () => {
  const { board } = create();
  board.putTable(0x1000, [[0x1_0000, 512, true]]);
  board.ide.config.writeByte(4, 0x01);
  board.command(0xc8, { lba: 1 });
  board.startDMA(true);
  expect(board.read(7) & 0x08).toBe(0x08);
  expect(board.ide.readMaster(2) & ACTIVE).toBe(ACTIVE);
  board.ide.config.writeByte(4, 0x05);
  board.settle();
  expect(board.ram(0x1_0000, 512)).toEqual(at(1, 1));

  board.ide.writeMaster(0, 0);
  board.command(0xc8, { lba: 1 });
  board.startDMA(false);
  expect(board.read(7) & 0x08).toBe(0x08);
  expect(board.irqs[0].isHigh).toBe(false);
});

test('a table that is too short leaves the device waiting until a reset', () => {
  const { board } = create();
  board.putTable(0x1000, [[0x1_0000, 100, true]]);
  board.command(0xc8, { lba: 1 });
  board.startDMA(true);
  expect(board.ide.readMaster(2) & ACTIVE).toBe(0);
  expect(board.irqs[0].isHigh).toBe(false);
  expect(board.ram(0x1_0000, 100)).toEqual(at(1, 1).subarray(0, 100));
  board.ide.channels[0].writeControl(4);
  board.ide.channels[0].writeControl(0);
  expect(board.read(7)).toBe(0x50);
});

test('a table without an end, over itself, odd, or in nothing is walked and left', () => {
  const { board } = create();
  // Endless: all of RAM's first bytes are descriptors that point at themselves.
  for (let i = 0; i < 64; i++) {
    board.memory.addressSpace.write(0x8000 + 8 * i, 4, 0x8000);
    board.memory.addressSpace.write(0x8004 + 8 * i, 4, 2);
  }
  for (const table of [0x8000, 0xffff_fffc, 0xf000_0000, 0x000f_fffc]) {
    for (let i = 0; i < 4; i++) board.ide.writeMaster(4 + i, (table >>> (8 * i)) & 0xff);
    for (const command of [0xc8, 0xca]) {
      board.command(command, { lba: 0, count: 0 });
      board.startDMA(command === 0xc8);
      board.ide.writeMaster(0, 0);
      board.ide.channels[0].writeControl(4);
      board.ide.channels[0].writeControl(0);
      expect(board.read(7)).toBe(0x50);
    }
  }
});

test('a region that runs over the end of 32 bits goes on at 0', () => {
  const { board } = create();
  board.putTable(0x1000, [[0xffff_ff00, 512, true]]);
  board.command(0xc8, { lba: 3 });
  board.startDMA(true);
  expect(board.read(7)).toBe(0x50);
  expect(board.ram(0, 256)).toEqual(at(3, 1).subarray(256));
});

// Failure 9: device writes that are not marked; failure 29: code that DMA writes over.
test('failures 9 and 29: DMA marks pages for every client and drops the code on them', () => {
  const { board } = create();
  const { dirty, codePages } = board.memory;
  const dropped: number[] = [];
  codePages.onInvalidate((ramOffset) => void dropped.push(ramOffset));
  codePages.addLines(0x1_0080, 16);
  dirty.clear(0x1_0000, 0x3000, DIRTY_ALL);
  board.putTable(0x1000, [[0x1_0000, 0x1000, true]]);
  board.command(0xc8, { lba: 0, count: 8 });
  board.startDMA(true);
  expect(dropped).toHaveLength(1);
  expect(dirty.bytes[0x10]).toBe(DIRTY_ALL);
  expect(dirty.bytes[0x11]! & DIRTY_MIGRATION).toBe(0);
});

test('saved between device and bus master, a transfer goes on after the restore', () => {
  const { board } = create();
  board.command(0xc8, { lba: 5, count: 2 });
  const other = create().board;
  other.restore(board.save());
  other.putTable(0x1000, [[0x1_0000, 1024, true]]);
  other.startDMA(true);
  expect(other.read(7)).toBe(0x50);
  expect(other.ram(0x1_0000, 1024)).toEqual(at(5, 2));
});

test('random tables never take more than the device gives', () => {
  const row = fc.tuple(fc.nat({ max: 0xf_ffff }), fc.nat({ max: 0xffff }), fc.boolean());
  fc.assert(
    fc.property(
      fc.array(row, { minLength: 1, maxLength: 20 }),
      fc.nat({ max: 255 }),
      (rows, count) => {
        const { board } = create();
        board.putTable(0x1000, rows);
        board.command(0xc8, { lba: 0, count });
        board.startDMA(true);
        board.ide.channels[0].writeControl(4);
        board.ide.channels[0].writeControl(0);
        board.command(0xec);
        expect(board.read(7)).toBe(0x58);
      },
    ),
    fuzzOptions(15),
  );
});
