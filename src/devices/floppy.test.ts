import fc from 'fast-check';
import { expect, test } from 'vitest';
import { fuzzOptions } from '../../test/fuzz-options.ts';
import { ManualClock } from '../../test/manual-clock.ts';
import { RecordLine } from '../../test/record-line.ts';
import { contentOf, HeldDevice, pattern, RAM_BYTES, SECTOR } from '../../test/storage-board.ts';
import { DIRTY_ALL } from '../memory/dirty-memory.ts';
import { GuestMemory } from '../memory/guest-memory.ts';
import { MemoryRegion } from '../memory/memory-region.ts';
import type { BlockDevice } from './block/block-device.ts';
import { Drive } from './block/drive.ts';
import { MemoryDevice } from './block/memory-device.ts';
import { DMA8237, DMAPageRegisters } from './dma8237.ts';
import { FloppyController } from './floppy.ts';

const RQM = 0x80;
const DIO = 0x40;
const BUSY = 0x10;
const SECTORS = 2880;

class Board {
  readonly memory = new GuestMemory({ ramCapacityBytes: RAM_BYTES });
  readonly clock = new ManualClock();
  readonly dma = new DMA8237('dma0');
  readonly pages = new DMAPageRegisters();
  readonly fdc = new FloppyController();
  readonly irq = new RecordLine();
  readonly drive: Drive;

  constructor(medium?: BlockDevice) {
    const block = this.memory.ramList.alloc({ name: 'pc.ram', sizeBytes: RAM_BYTES });
    this.memory.root.addSubregion(0, MemoryRegion.ram('ram', block));
    const { clock } = this;
    this.drive = new Drive({
      ...{ id: 'floppy0', media: 'floppy', clock },
      ...(medium === undefined ? {} : { medium }),
    });
    this.fdc.plug(0, this.drive);
    this.fdc.irq = this.irq;
    this.dma.memory = this.memory.addressSpace;
    this.dma.pageOf = (channel) => this.pages.pageOf(channel);
    this.dma.onReady = () => this.fdc.pumpDMA();
    this.fdc.transferDMA = (bytes, isToMemory) => this.dma.transfer(2, bytes, isToMemory);
    this.fdc.reset();
    this.dma.reset();
    this.fdc.write(2, 0x1c);
    for (let unit = 0; unit < 4; unit++) this.command(0x08);
  }

  /** Writes command bytes and gives what the result phase says. */
  command(...bytes: number[]): number[] {
    for (const byte of bytes) this.fdc.write(5, byte);
    return this.result();
  }

  result(): number[] {
    for (let i = 0; i < 4; i++) this.clock.advance(1_000_000);
    const out: number[] = [];
    while ((this.fdc.read(4) & (RQM | DIO)) === (RQM | DIO) && out.length < 20)
      out.push(this.fdc.read(5));
    return out;
  }

  /** Channel 2 for `sizeBytes` at `gpa`; mode 0x46 writes memory, 0x4a reads it. */
  setDMA(gpa: number, sizeBytes: number, mode = 0x46): void {
    this.dma.write(10, 0x06);
    this.dma.write(12, 0);
    this.dma.write(11, mode);
    for (const byte of [gpa & 0xff, (gpa >> 8) & 0xff]) this.dma.write(4, byte);
    for (const byte of [(sizeBytes - 1) & 0xff, (sizeBytes - 1) >> 8]) this.dma.write(5, byte);
    this.pages.write(1, gpa >> 16);
    this.dma.write(10, 0x02);
  }

  ram(gpa: number, sizeBytes: number): Uint8Array {
    const bytes = new Uint8Array(sizeBytes);
    this.memory.addressSpace.readBytes(gpa, bytes);
    return bytes;
  }
}

function create() {
  const medium = MemoryDevice.from(pattern(SECTORS * SECTOR));
  return { medium, board: new Board(medium) };
}

const at = (sector: number, count: number) =>
  pattern(SECTORS * SECTOR).subarray(sector * SECTOR, (sector + count) * SECTOR);

test('a reset interrupts, and SENSE INTERRUPT STATUS tells of all four drives', () => {
  const { board } = create();
  board.fdc.write(2, 0x08);
  expect(board.fdc.read(4)).toBe(0);
  board.fdc.write(2, 0x0c);
  expect(board.irq.isHigh).toBe(true);
  expect([0, 1, 2, 3].map(() => board.command(0x08))).toEqual([
    [0xc0, 0],
    [0xc1, 0],
    [0xc2, 0],
    [0xc3, 0],
  ]);
  expect(board.irq.isHigh).toBe(false);
  expect(board.command(0x08)).toEqual([0x80]);
});

test('VERSION, LOCK, DUMPREG, CONFIGURE, and what is no command', () => {
  const { board } = create();
  expect(board.command(0x10)).toEqual([0x90]);
  expect(board.command(0x94)).toEqual([0x10]);
  expect(board.command(0x03, 0xaf, 0x02)).toEqual([]);
  expect(board.command(0x13, 0, 0x57, 0x10)).toEqual([]);
  expect(board.command(0x12, 0x84)).toEqual([]);
  expect(board.command(0x0e)).toEqual([0, 0, 0, 0, 0xaf, 0x02, 18, 0x84, 0x57, 0x10]);
  board.fdc.write(4, 0x80);
  expect(board.command(0x0e).slice(8)).toEqual([0x57, 0x10]); // Locked.
  expect(board.command(0x14)).toEqual([0]);
  board.fdc.write(4, 0x80);
  expect(board.command(0x0e).slice(8)).toEqual([0x20, 0]);
  expect(board.command(0x18)).toEqual([0x80]);
  expect(board.command(0x1f)).toEqual([0x80]);
});

test('the main status register shows the phases', () => {
  const { board } = create();
  expect(board.fdc.read(4)).toBe(RQM);
  board.fdc.write(5, 0x04);
  expect(board.fdc.read(4)).toBe(RQM | BUSY);
  board.fdc.write(5, 0x00);
  expect(board.fdc.read(4)).toBe(RQM | DIO | BUSY);
  expect(board.fdc.read(5) & 0x10).toBe(0x10); // Track 0.
  expect(board.fdc.read(4)).toBe(RQM);
});

test('SEEK and RECALIBRATE move the head, interrupt, and clear the change line', () => {
  const { board } = create();
  expect(board.fdc.read(7) & 0x80).toBe(0x80);
  board.command(0x0f, 0, 40);
  expect(board.irq.isHigh).toBe(true);
  expect(board.command(0x08)).toEqual([0x20, 40]);
  expect(board.fdc.read(7) & 0x80).toBe(0);
  board.command(0xcf, 0, 5); // Relative, inwards.
  expect(board.command(0x08)).toEqual([0x20, 45]);
  board.command(0x07, 0);
  expect(board.command(0x08)).toEqual([0x20, 0]);
  board.drive.change(MemoryDevice.from(pattern(SECTORS * SECTOR)));
  expect(board.fdc.read(7) & 0x80).toBe(0x80);
});

test('READ DATA goes by DMA up to terminal count, and tells the next sector', () => {
  const { board } = create();
  board.setDMA(0x2_0000, 3 * SECTOR);
  expect(board.command(0xe6, 0, 0, 0, 2, 2, 18, 0x1b, 0xff)).toEqual([0, 0, 0, 0, 0, 5, 2]);
  expect(board.ram(0x2_0000, 3 * SECTOR)).toEqual(at(1, 3));
  expect(board.dma.read(8) & 4).toBe(4);
  expect(board.dma.state.mask & 4).toBe(4);
});

test('with MT a read goes on with the other head, without it ends there', () => {
  const { board } = create();
  board.setDMA(0x2_0000, 36 * SECTOR);
  expect(board.command(0xe6, 0, 0, 0, 1, 2, 18, 0x1b, 0xff)).toEqual([0, 0, 0, 1, 0, 1, 2]);
  expect(board.ram(0x2_0000, 36 * SECTOR)).toEqual(at(0, 36));
  board.setDMA(0x2_0000, 36 * SECTOR);
  const result = board.command(0x66, 0, 0, 0, 1, 2, 18, 0x1b, 0xff);
  expect(result.slice(0, 3)).toEqual([0x40, 0x80, 0]);
});

test('WRITE DATA stores, and the rest of a cut sector is zeros', () => {
  const { board, medium } = create();
  // What was read before must not come out behind the data.
  board.setDMA(0x2_0000, 4 * SECTOR);
  board.command(0xe6, 0, 0, 0, 1, 2, 18, 0x1b, 0xff);
  board.memory.addressSpace.writeBytes(0x3_0000, pattern(700, 9));
  board.setDMA(0x3_0000, 700, 0x4a);
  board.command(0x0f, 4, 3);
  board.command(0x08);
  expect(board.command(0xc5, 4, 3, 1, 7, 2, 18, 0x1b, 0xff)).toEqual([4, 0, 0, 3, 1, 9, 2]);
  const sector = (3 * 2 + 1) * 18 + 6;
  const expected = new Uint8Array(1024);
  expected.set(pattern(700, 9));
  expect(contentOf(medium, sector, 2)).toEqual(expected);
  expect(contentOf(medium, sector + 2, 1)).toEqual(at(sector + 2, 1));
});

test('FORMAT TRACK fills the track', () => {
  const { board, medium } = create();
  board.setDMA(0x3_0000, 18 * 4, 0x4a);
  expect(board.command(0x4d, 0, 2, 18, 0x54, 0xf6).slice(0, 3)).toEqual([0, 0, 0]);
  expect(new Set(contentOf(medium, 0, 18))).toEqual(new Set([0xf6]));
  expect(contentOf(medium, 18, 1)).toEqual(at(18, 1));
  expect(board.command(0x4d, 0, 2, 9, 0x54, 0xf6).slice(0, 2)).toEqual([0x40, 0x04]);
});

test('without DMA the processor moves the bytes, each transfer with an interrupt', () => {
  const { board } = create();
  board.command(0x03, 0xaf, 0x03);
  for (const byte of [0x66, 0, 0, 0, 1, 2, 1, 0x1b, 0xff]) board.fdc.write(5, byte);
  board.clock.advance(1_000_000);
  expect(board.irq.isHigh).toBe(true);
  const got = Uint8Array.from({ length: SECTOR }, () => {
    expect(board.fdc.read(4)).toBe(0xf0);
    return board.fdc.read(5);
  });
  expect(got).toEqual(at(0, 1));
  expect(board.irq.isHigh).toBe(true);
  expect(board.result().slice(0, 2)).toEqual([0x40, 0x80]);
});

test.each([
  ['a sector that no track has', [0x66, 0, 0, 0, 19, 2, 19, 0x1b, 0xff], 0x04],
  ['another cylinder than the head is on', [0x66, 0, 9, 0, 1, 2, 18, 0x1b, 0xff], 0x04],
  ['another sector size', [0x66, 0, 0, 0, 1, 3, 18, 0x1b, 0xff], 0x04],
  ['a drive that is not there', [0x66, 1, 0, 0, 1, 2, 18, 0x1b, 0xff], 0x01],
])('%s ends abnormally', (_name, command, st1) => {
  const { board } = create();
  board.setDMA(0x2_0000, SECTOR);
  expect(board.command(...command).slice(0, 2)).toEqual([0x40 | (command[1]! & 3), st1]);
  expect(board.irq.riseCount).toBeGreaterThan(0);
});

test('a wrong data rate finds no address mark', () => {
  const { board } = create();
  board.fdc.write(7, 2);
  expect(board.command(0x4a, 0).slice(0, 2)).toEqual([0x40, 0x01]);
  const read = board.command(0xe6, 0, 0, 0, 1, 2, 18, 0x1b, 0xff);
  expect(read.slice(0, 2)).toEqual([0x40, 0x01]);
  board.fdc.write(7, 0);
  expect(board.command(0x4a, 0)).toEqual([0, 0, 0, 0, 0, 1, 2]);
});

test('a write-protected disk says so, and a host without space is a data error', () => {
  const board = new Board(new MemoryDevice(SECTORS * SECTOR, { isReadOnly: true }));
  expect(board.command(0x04, 0)[0]! & 0x40).toBe(0x40);
  board.setDMA(0, SECTOR, 0x4a);
  expect(board.command(0xc5, 0, 0, 0, 1, 2, 18, 0x1b, 0xff).slice(0, 2)).toEqual([0x40, 0x02]);
  const held = new HeldDevice(new MemoryDevice(SECTORS * SECTOR));
  held.error = 'ENOSPC';
  const full = new Board(held);
  full.setDMA(0, SECTOR, 0x4a);
  full.command(0xc5, 0, 0, 0, 1, 2, 18, 0x1b, 0xff);
  held.release();
  expect(full.result().slice(0, 2)).toEqual([0x40, 0x20]);
});

test('a truncated image cannot be read behind its end', () => {
  const board = new Board(MemoryDevice.from(pattern(1000 * SECTOR)));
  // 1000 sectors are less than 720 KiB: nine to a track at the low rate.
  board.fdc.write(7, 2);
  board.command(0x0f, 0, 70);
  board.command(0x08);
  board.setDMA(0x2_0000, SECTOR);
  expect(board.command(0x66, 0, 70, 0, 1, 2, 9, 0x1b, 0xff).slice(0, 2)).toEqual([0x40, 0x20]);
});

test('a masked channel holds the transfer until it is ready', () => {
  const { board } = create();
  for (const byte of [0xe6, 0, 0, 0, 1, 2, 18, 0x1b, 0xff]) board.fdc.write(5, byte);
  expect(board.result()).toEqual([]);
  expect(board.fdc.read(4)).toBe(BUSY);
  board.setDMA(0x2_0000, SECTOR);
  expect(board.result()[0]).toBe(0);
  expect(board.ram(0x2_0000, SECTOR)).toEqual(at(0, 1));
});

test('DMA wraps within its 64 KiB page, counts down where it is told, and reloads', () => {
  const { board } = create();
  board.setDMA(0x2_ff00, 512);
  board.command(0xe6, 0, 0, 0, 1, 2, 18, 0x1b, 0xff);
  expect(board.ram(0x2_ff00, 256)).toEqual(at(0, 1).subarray(0, 256));
  expect(board.ram(0x2_0000, 256)).toEqual(at(0, 1).subarray(256));
  board.setDMA(0x4_01ff, 512, 0x76); // Downwards, autoinitialize.
  board.command(0xe6, 0, 0, 0, 1, 2, 18, 0x1b, 0xff);
  expect(board.ram(0x4_0000, 512)).toEqual(at(0, 1).slice().reverse());
  expect(board.dma.state.address[2]).toBe(0x01ff);
  expect(board.dma.state.mask & 4).toBe(0);
});

test('failures 9 and 29: DMA marks pages for every client and drops the code on them', () => {
  const { board } = create();
  const { dirty, codePages } = board.memory;
  const dropped: number[] = [];
  codePages.onInvalidate((ramOffset) => void dropped.push(ramOffset));
  codePages.addLines(0x2_0100, 4);
  dirty.clear(0x2_0000, 0x1000, DIRTY_ALL);
  board.setDMA(0x2_0000, SECTOR);
  board.command(0xe6, 0, 0, 0, 1, 2, 18, 0x1b, 0xff);
  expect(dropped).toHaveLength(1);
  expect(dirty.bytes[0x20]).toBe(DIRTY_ALL);
});

test('failure 19: a command whose read was under way goes on after the restore', () => {
  const source = new Board(new HeldDevice(MemoryDevice.from(pattern(SECTORS * SECTOR))));
  source.setDMA(0x2_0000, SECTOR);
  source.command(0xe6, 0, 0, 0, 4, 2, 18, 0x1b, 0xff);
  const { board } = create();
  const chips = (one: Board) => [one.fdc, one.dma, one.pages];
  const saved = chips(source).map((chip) => chip.save());
  for (const [i, chip] of chips(board).entries()) chip.restore(saved[i]!);
  expect(board.result()).toEqual([0, 0, 0, 0, 0, 5, 2]);
  expect(board.ram(0x2_0000, SECTOR)).toEqual(at(3, 1));
});

test('random sessions do no harm, and the controller answers after a reset', () => {
  const commands = fc.constantFrom(
    ...[0xe6, 0x66, 0xc5, 0x45, 0x4d, 0x4a, 0x07, 0x0f, 0x8f, 0x08, 0x03, 0x13, 0x42, 0x16, 0xff],
  );
  const step = fc.tuple(fc.nat({ max: 8 }), fc.nat({ max: 0xff }), commands);
  fc.assert(
    fc.property(fc.array(step, { maxLength: 80 }), (steps) => {
      const { board } = create();
      for (const [kind, value, command] of steps) {
        if (kind === 0) board.fdc.write(value & 7, value);
        else if (kind === 1) board.fdc.read(value & 7);
        else if (kind === 2) board.setDMA(value << 10, value * 16 + 1, value & 1 ? 0x46 : 0x4a);
        else if (kind === 3) board.dma.write(value & 15, command);
        else if (kind === 4) board.fdc.restore(board.fdc.save());
        else if (kind === 5) board.fdc.write(5, value & 3);
        else board.command(command, 0, 0, 0, (value & 15) + 1, 2, 18, 0x1b, 0xff);
      }
      board.fdc.write(2, 0x08);
      board.fdc.write(2, 0x0c);
      expect(board.command(0x08)[0]! & 0xc0).not.toBe(0x80);
      board.command(0x08);
      board.command(0x08);
      board.command(0x08);
      expect(board.command(0x10)).toEqual([0x90]);
    }),
    fuzzOptions(15),
  );
});
