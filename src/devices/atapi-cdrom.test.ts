import fc from 'fast-check';
import { expect, test } from 'vitest';
import { fuzzOptions } from '../../test/fuzz-options.ts';
import { HeldDevice, IDEBoard, pattern } from '../../test/storage-board.ts';
import { MemoryDevice } from './block/memory-device.ts';

const CD = 2048;
const DRQ = 0x08;
const CHK = 0x01;

function create(sectors: number | undefined = 40) {
  const content = pattern(sectors * CD);
  const board = new IDEBoard({ places: [{ disc: MemoryDevice.from(content) }] });
  return { board, content };
}

/** Sends a packet; leaves the device with data or its end. */
function send(board: IDEBoard, bytes: readonly number[], { limit = 0xfffe, isDMA = false } = {}) {
  board.write(6, 0xa0);
  board.write(1, isDMA ? 1 : 0);
  board.write(4, limit & 0xff);
  board.write(5, limit >> 8);
  board.write(7, 0xa0);
  expect(board.read(7) & DRQ).toBe(DRQ);
  expect(board.read(2) & 3).toBe(1); // C/D: a command packet is wanted.
  board.writeData(Uint8Array.from({ length: 12 }, (_, i) => bytes[i] ?? 0));
  board.settle();
}

/** All data of a packet, piece by piece. */
function receive(board: IDEBoard): { bytes: Uint8Array; pieces: number[] } {
  const all: number[] = [];
  const pieces: number[] = [];
  while (board.read(7) & DRQ) {
    expect(board.read(2) & 3).toBe(2);
    const size = board.read(4) | (board.read(5) << 8);
    pieces.push(size);
    all.push(...board.readData(size + (size & 1)).subarray(0, size));
    board.settle();
  }
  return { bytes: Uint8Array.from(all), pieces };
}

function transact(board: IDEBoard, bytes: readonly number[], options = {}) {
  send(board, bytes, options);
  return receive(board).bytes;
}

/** Sense key and code after a packet failed. */
function sense(board: IDEBoard): [number, number] {
  const bytes = transact(board, [0x03, 0, 0, 0, 18]);
  return [bytes[2]! & 0xf, (bytes[12]! << 8) | bytes[13]!];
}

const failed = (board: IDEBoard) => (board.read(7) & CHK) !== 0;
const read10 = (sector: number, count: number) => [
  ...[0x28, 0, 0, 0, sector >> 8, sector & 0xff, 0, count >> 8, count & 0xff],
];

/** Takes the unit attention of power-on. */
function wake(board: IDEBoard): void {
  send(board, [0x00]);
  sense(board);
}

test('the signature of a packet device is there, and IDENTIFY DEVICE is aborted with it', () => {
  const { board } = create();
  expect([2, 3, 4, 5].map((register) => board.read(register))).toEqual([1, 1, 0x14, 0xeb]);
  expect(board.read(7)).toBe(0);
  board.command(0xec, { device: 0xa0 });
  expect(board.read(1)).toBe(0x04);
  expect([board.read(4), board.read(5)]).toEqual([0x14, 0xeb]);
  board.command(0xa1, { device: 0xa0 });
  const bytes = board.readData(512);
  expect(bytes[1]! & 0x1f).toBe(0x05);
  expect(bytes.reduce((sum, byte) => sum + byte, 0) & 0xff).toBe(0);
});

test('power-on is told once, by an error or by REQUEST SENSE', () => {
  const { board } = create();
  send(board, [0x00]);
  expect(failed(board)).toBe(true);
  expect(board.read(1) >> 4).toBe(6);
  expect(sense(board)).toEqual([6, 0x2900]);
  expect(sense(board)).toEqual([0, 0]);
  send(board, [0x00]);
  expect(failed(board)).toBe(false);
  expect(board.read(2) & 3).toBe(3);
});

test('INQUIRY needs no medium, and its allocation length cuts it', () => {
  const board = new IDEBoard({ places: ['cdrom'] });
  const bytes = transact(board, [0x12, 0, 0, 0, 36]);
  expect([...bytes.subarray(0, 4)]).toEqual([5, 0x80, 0, 0x21]);
  expect(transact(board, [0x12, 0, 0, 0, 5])).toEqual(bytes.subarray(0, 5));
});

test('READ CAPACITY and READ (10), (12) and CD', () => {
  const { board, content } = create();
  wake(board);
  expect([...transact(board, [0x25])]).toEqual([0, 0, 0, 39, 0, 0, 8, 0]);
  expect(transact(board, read10(3, 2))).toEqual(content.subarray(3 * CD, 5 * CD));
  const read12 = [0xa8, 0, 0, 0, 0, 3, 0, 0, 0, 35];
  expect(transact(board, read12)).toEqual(content.subarray(3 * CD, 38 * CD));
  const readCD = [0xbe, 0, 0, 0, 0, 7, 0, 0, 1, 0x10];
  expect(transact(board, readCD)).toEqual(content.subarray(7 * CD, 8 * CD));
  expect(transact(board, read10(3, 0))).toEqual(new Uint8Array(0));
});

test('data comes in pieces of the byte count, each with an interrupt', () => {
  const { board, content } = create();
  wake(board);
  send(board, read10(0, 1), { limit: 1001 });
  expect(board.irqs[0].isHigh).toBe(true);
  const { bytes, pieces } = receive(board);
  expect(pieces).toEqual([1000, 1000, 48]);
  expect(bytes).toEqual(content.subarray(0, CD));
});

test('READ (10) by DMA', () => {
  const { board, content } = create();
  wake(board);
  board.putTable(0x1000, [
    [0x1_0000, 0, false],
    [0x2_0000, 0, true],
  ]);
  send(board, read10(1, 36), { isDMA: true });
  board.startDMA(true);
  expect(board.read(7) & (CHK | DRQ)).toBe(0);
  expect(board.irqs[0].riseCount).toBeGreaterThan(0);
  const got = [...board.ram(0x1_0000, 0x1_0000), ...board.ram(0x2_0000, 4 * CD)];
  expect(Uint8Array.from(got)).toEqual(content.subarray(CD, 37 * CD));
});

test('what lies behind the end, a wrong field, and an unknown packet are illegal requests', () => {
  const { board } = create();
  wake(board);
  for (const [packet, asc] of [
    [read10(39, 2), 0x2100],
    [[0x43, 0, 5], 0x2400],
    [[0x4a, 0, 0, 0, 0x10, 0, 0, 0, 8], 0x2400],
    [[0x5a, 0, 0x05, 0, 0, 0, 0, 0, 8], 0x2400],
    [[0x2a], 0x2000],
    [[0xff], 0x2000],
  ] as const) {
    send(board, packet);
    expect(failed(board)).toBe(true);
    expect(sense(board)).toEqual([5, asc]);
  }
});

test('an empty drive is not ready, and a new disc is told', () => {
  const board = new IDEBoard({ places: ['cdrom'] });
  wake(board);
  send(board, [0x25]);
  expect(sense(board)).toEqual([2, 0x3a00]);
  board.drives[0]!.change(MemoryDevice.from(pattern(5 * CD)));
  send(board, [0x25]);
  expect(sense(board)).toEqual([6, 0x2800]);
  expect([...transact(board, [0x25])].slice(0, 4)).toEqual([0, 0, 0, 4]);
  const event = () => [...transact(board, [0x4a, 1, 0, 0, 0x10, 0, 0, 0, 8])].slice(4, 6);
  expect(event()).toEqual([2, 2]);
  expect(event()).toEqual([0, 2]);
  board.drives[0]!.change(undefined);
  expect(event()).toEqual([3, 0]);
  send(board, [0x00]);
  expect(sense(board)).toEqual([2, 0x3a00]);
});

test('PREVENT holds the tray, START STOP UNIT opens and closes it', () => {
  const { board } = create();
  wake(board);
  send(board, [0x1e, 0, 0, 0, 1]);
  expect(board.drives[0]!.isLocked()).toBe(true);
  send(board, [0x1b, 0, 0, 0, 2]);
  expect(sense(board)).toEqual([5, 0x5302]);
  send(board, [0x1e, 0, 0, 0, 0]);
  send(board, [0x1b, 0, 0, 0, 2]);
  send(board, [0x00]);
  expect(sense(board)).toEqual([2, 0x3a00]);
  send(board, [0x1b, 0, 0, 0, 3]);
  send(board, [0x00]);
  expect(sense(board)).toEqual([6, 0x2800]);
  send(board, [0x00]);
  expect(failed(board)).toBe(false);
});

test('READ TOC shows one data track and the lead-out, in LBA and in MSF', () => {
  const { board } = create(40);
  wake(board);
  const toc = transact(board, [0x43, 0, 0, 0, 0, 0, 0, 0, 100]);
  expect([...toc]).toEqual([
    ...[0, 18, 1, 1, 0, 0x14, 1, 0, 0, 0, 0, 0],
    ...[0, 0x14, 0xaa, 0, 0, 0, 0, 40],
  ]);
  const msf = transact(board, [0x43, 2, 0, 0, 0, 0, 0xaa, 0, 100]);
  expect([...msf].slice(8)).toEqual([0, 0, 2, 40]);
  expect(transact(board, [0x43, 0, 1, 0, 0, 0, 0, 0, 100])).toHaveLength(12);
  expect(transact(board, [0x43, 0, 2, 0, 0, 0, 0, 0, 100])).toHaveLength(48);
});

test('GET CONFIGURATION, MODE SENSE and disc information have the lengths they tell', () => {
  const { board } = create();
  wake(board);
  const config = transact(board, [0x46, 0, 0, 0, 0, 0, 0, 1, 0]);
  expect((config[2]! << 8) | config[3]!).toBe(config.length - 4);
  expect(config[7]).toBe(0x08);
  for (const packet of [
    [0x5a, 0, 0x2a, 0, 0, 0, 0, 0, 200],
    [0x5a, 0, 0x3f, 0, 0, 0, 0, 0, 200],
    [0x51, 0, 0, 0, 0, 0, 0, 0, 200],
    [0x52, 1, 0, 0, 0, 1, 0, 0, 200],
  ]) {
    const bytes = transact(board, packet);
    expect((bytes[0]! << 8) | bytes[1]!).toBe(bytes.length - 2);
  }
});

test('DEVICE RESET is taken while it is busy', () => {
  const disc = new HeldDevice(MemoryDevice.from(pattern(4 * CD)));
  const board = new IDEBoard({ places: [{ disc }] });
  wake(board);
  send(board, read10(0, 1));
  expect(board.read(7) & 0x80).toBe(0x80);
  board.write(7, 0x08);
  expect(board.read(7)).toBe(0);
  expect([board.read(4), board.read(5)]).toEqual([0x14, 0xeb]);
  disc.release();
  board.settle();
  expect(board.read(7)).toBe(0);
});

test('a sector that the host cannot read is a medium error', () => {
  const disc = new HeldDevice(MemoryDevice.from(pattern(4 * CD)));
  const board = new IDEBoard({ places: [{ disc }] });
  wake(board);
  disc.error = 'EIO';
  send(board, read10(0, 1));
  disc.release();
  board.settle();
  expect(failed(board)).toBe(true);
  expect(sense(board)).toEqual([3, 0x1100]);
});

test('failure 19: a packet whose read was under way goes on after the restore', () => {
  const board = new IDEBoard({
    places: [{ disc: new HeldDevice(MemoryDevice.from(pattern(8 * CD))) }],
  });
  wake(board);
  send(board, read10(2, 3), { limit: 2048 });
  const { board: other, content } = create(8);
  other.restore(board.save());
  other.settle();
  const { bytes, pieces } = receive(other);
  expect(pieces).toEqual([2048, 2048, 2048]);
  expect(bytes).toEqual(content.subarray(2 * CD, 5 * CD));
});

test('random packets do no harm, and the drive answers after them', () => {
  const packet = fc.array(fc.nat({ max: 0xff }), { minLength: 12, maxLength: 12 });
  const known = fc.constantFrom(
    ...[0x03, 0x12, 0x1b, 0x1e, 0x25, 0x28, 0x43, 0x46, 0x4a, 0x51, 0x52, 0x5a, 0xa8, 0xbd, 0xbe],
  );
  const one = fc.tuple(known, packet, fc.nat({ max: 0xffff }), fc.boolean());
  fc.assert(
    fc.property(fc.array(one, { maxLength: 12 }), (packets) => {
      const { board } = create();
      wake(board);
      for (const [operation, bytes, limit, isDMA] of packets) {
        send(board, [operation, ...bytes.slice(1)], { limit, isDMA });
        if (isDMA) board.write(7, 0x08);
        else receive(board);
        expect(board.read(7) & DRQ).toBe(0);
      }
      board.write(7, 0x08);
      expect(sense(board)[0]).toBe(6);
    }),
    fuzzOptions(20),
  );
});
