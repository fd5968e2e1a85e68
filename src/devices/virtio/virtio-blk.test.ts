import { beforeEach, expect, test } from 'vitest';
import { ManualClock } from '../../../test/manual-clock.ts';
import { createBoard, type Piece, RingDriver } from '../../../test/virtio-driver.ts';
import type { BlockDevice, BlockDone, BlockError } from '../block/block-device.ts';
import { Drive } from '../block/drive.ts';
import { MemoryDevice } from '../block/memory-device.ts';
import { VirtioBlk } from './virtio-blk.ts';
import { VirtioDevice } from './virtio-device.ts';

const RINGS = 0x1_0000;
const HEADER = 0x2_0000;
const STATUS = 0x2_1000;
const DATA = 0x3_0000;
const SECTORS = 64;
const FLUSH = 1 << 9;
const [IN, OUT, DO_FLUSH, GET_ID] = [0, 1, 4, 8];

/** A medium that keeps requests until it is told to go on, and fails where it is told to. */
class SlowDevice implements BlockDevice {
  readonly sizeBytes: number;
  readonly isReadOnly = false;
  readonly label = 'slow';
  readonly inner: MemoryDevice;
  readonly log: string[] = [];
  isHeld = false;
  error: BlockError | undefined;
  #held: (() => void)[] = [];

  constructor(sectorCount = SECTORS) {
    this.sizeBytes = 512 * sectorCount;
    this.inner = new MemoryDevice(this.sizeBytes);
  }

  read(sector: number, bytes: Uint8Array, done: BlockDone): void {
    this.#run(`read ${sector}`, done, () => this.inner.read(sector, bytes, () => {}));
  }
  write(sector: number, bytes: Uint8Array, done: BlockDone): void {
    this.#run(`write ${sector}`, done, () => this.inner.write(sector, bytes, () => {}));
  }
  flush(done: BlockDone): void {
    this.#run('flush', done, () => {});
  }
  close(): void {}

  release(): void {
    for (const one of this.#held.splice(0)) one();
  }

  #run(name: string, done: BlockDone, work: () => void): void {
    this.log.push(name);
    const { error } = this;
    const finish = () => {
      if (error === undefined) work();
      done(error);
    };
    if (this.isHeld) this.#held.push(finish);
    else finish();
  }
}

function create(medium: BlockDevice = new SlowDevice(), features = FLUSH) {
  const board = createBoard();
  const clock = new ManualClock();
  const drive = new Drive({ id: 'virtio0', media: 'disk', clock, medium });
  const model = new VirtioBlk(drive, 'virtio0');
  const device = new VirtioDevice('virtio-blk/virtio0', model, board.space);
  const interrupts: number[] = [];
  device.onInterrupt = () => void interrupts.push(device.state.isr);
  const driver = new RingDriver(board.space, RINGS, 64);
  const start = (target: VirtioDevice) => {
    target.setStatus(3);
    target.setDriverFeatures(0, features);
    target.setDriverFeatures(1, 1);
    target.setStatus(0xb);
    const queue = target.queues[0]!;
    queue.setSize(driver.size);
    const { descriptors, available, used } = driver;
    Object.assign(queue.state, { descriptors, available, used, isReady: true });
    target.setStatus(0xf);
  };
  start(device);
  return { ...board, clock, drive, device, driver, interrupts, model };
}

let it: ReturnType<typeof create>;
let medium: SlowDevice;
beforeEach(() => {
  medium = new SlowDevice();
  it = create(medium);
});

const piece = (gpa: number, sizeBytes: number, isWritable: boolean): Piece => ({
  ...{ gpa, sizeBytes, isWritable },
});

let requestIndex = 0;
/** Makes a request available; where its status will be. */
function ask(type: number, sector: number, data: readonly Piece[], context = it): number {
  const at = 32 * (requestIndex++ % 64);
  const { space } = context;
  for (const [i, word] of [type, 0, sector % 2 ** 32, Math.floor(sector / 2 ** 32)].entries())
    space.write(HEADER + at + 4 * i, 4, word);
  space.write(STATUS + at, 1, 0xee);
  const head = piece(HEADER + at, 16, false);
  const status = piece(STATUS + at, 1, true);
  context.driver.add([head, ...data, status]);
  return STATUS + at;
}

function go(context = it) {
  context.device.notify(0);
  context.clock.advance(1000);
  return context.driver.collect().map(({ writtenBytes }) => writtenBytes);
}

test('what is written, in several segments, is read back and flushed', () => {
  const { space } = it;
  const text = Uint8Array.from({ length: 1536 }, (_, i) => (i * 7) & 0xff);
  space.writeBytes(DATA, text);
  const parts = [piece(DATA, 100, false), piece(DATA + 100, 1436, false)];
  const written = ask(OUT, 5, parts);
  const flushed = ask(DO_FLUSH, 0, []);
  const read = ask(IN, 5, [piece(DATA + 0x1000, 1000, true), piece(DATA + 0x2000, 536, true)]);
  expect(go()).toEqual([1, 1, 1537]);
  expect([written, flushed, read].map((at) => space.read(at, 1))).toEqual([0, 0, 0]);
  const back = new Uint8Array(1536);
  space.readBytes(DATA + 0x1000, back.subarray(0, 1000));
  space.readBytes(DATA + 0x2000, back.subarray(1000));
  expect(back).toEqual(text);
  expect(medium.log).toEqual(['write 5', 'flush', 'read 5']);
  expect(it.device.state.isr).toBe(1);
});

test('buffers may cut header, data and status anywhere', () => {
  const { space, driver } = it;
  space.writeBytes(DATA, new Uint8Array(512).fill(0x3c));
  // Header and data in one buffer, cut in the middle of both; data and status in one buffer.
  space.write(HEADER, 4, OUT);
  space.write(HEADER + 8, 4, 9);
  space.writeBytes(HEADER + 16, new Uint8Array(512).fill(0x3c));
  driver.add([piece(HEADER, 7, false), piece(HEADER + 7, 521, false), piece(STATUS, 1, true)]);
  expect(go()).toEqual([1]);
  space.write(HEADER, 4, IN);
  driver.add([piece(HEADER, 16, false), piece(DATA + 0x1000, 513, true)]);
  expect(go()).toEqual([513]);
  const back = new Uint8Array(514);
  space.readBytes(DATA + 0x1000, back);
  expect(back.subarray(0, 512)).toEqual(new Uint8Array(512).fill(0x3c));
  expect([...back.subarray(512)]).toEqual([0, 0]);
});

test('a driver that cannot flush has each write flushed before it ends', () => {
  it = create(medium, 0);
  ask(OUT, 1, [piece(DATA, 512, false)]);
  expect(go()).toEqual([1]);
  expect(medium.log).toEqual(['write 1', 'flush']);
});

test('the serial is what info block says', () => {
  const at = ask(GET_ID, 0, [piece(DATA, 20, true)]);
  expect(go()).toEqual([21]);
  const id = new Uint8Array(20);
  it.space.readBytes(DATA, id);
  expect(String.fromCharCode(...id)).toBe(`virtio0${'\0'.repeat(13)}`);
  expect(it.space.read(at, 1)).toBe(0);
});

const FAILING: readonly [string, number, () => number][] = [
  ['a read behind the end', 1, () => ask(IN, SECTORS - 1, [piece(DATA, 1024, true)])],
  ['a write at sector 2^63', 1, () => ask(OUT, 2 ** 63, [piece(DATA, 512, false)])],
  ['data that is no whole sector', 1, () => ask(OUT, 0, [piece(DATA, 511, false)])],
  ['a request of unknown type', 2, () => ask(99, 0, [piece(DATA, 512, true)])],
];
for (const [name, result, make] of FAILING)
  test(`${name} fails with ${result}, and the next request works`, () => {
    const bad = make();
    const good = ask(IN, 0, [piece(DATA, 512, true)]);
    expect(go()).toHaveLength(2);
    expect([bad, good].map((at) => it.space.read(at, 1))).toEqual([result, 0]);
    expect(it.device.isBroken).toBe(false);
  });

test.each(['EIO', 'ENOSPC'] as const)('%s of the host is an I/O error of the guest', (error) => {
  medium.error = error;
  it.space.write(DATA, 4, 0x5555_5555);
  const all = [
    ask(OUT, 0, [piece(DATA, 512, false)]),
    ask(IN, 0, [piece(DATA, 512, true)]),
    ask(DO_FLUSH, 0, []),
  ];
  // Nothing of what the device may write was written, but a status that comes first.
  expect(go()).toEqual([1, 0, 1]);
  expect(all.map((at) => it.space.read(at, 1))).toEqual([1, 1, 1]);
  expect(it.space.read(DATA, 4)).toBe(0x5555_5555);
});

test('a read-only medium says so and refuses writes', () => {
  const fixed = new MemoryDevice(4096, { isReadOnly: true });
  it = create(fixed);
  expect(it.model.features & (1 << 5)).not.toBe(0);
  const at = ask(OUT, 0, [piece(DATA, 512, false)]);
  go();
  expect(it.space.read(at, 1)).toBe(1);
});

test('configuration: capacity, segments, geometry, sector size', () => {
  const big = new MemoryDevice(2 ** 32 * 512 + 512);
  const { model } = create(big);
  const bytes = Uint8Array.from({ length: model.configBytes }, (_, i) => model.readConfig(i));
  const view = new DataView(bytes.buffer);
  expect(view.getBigUint64(0, true)).toBe(2n ** 32n + 1n);
  expect([view.getUint32(12, true), view.getUint16(16, true)]).toEqual([126, 0xffff]);
  expect([view.getUint8(18), view.getUint8(19), view.getUint32(20, true)]).toEqual([16, 63, 512]);
});

test.each([
  ['no room for a status', [piece(HEADER, 16, false)]],
  ['half a header', [piece(HEADER, 15, false), piece(STATUS, 1, true)]],
])('a request with %s breaks the device until it is reset', (_name, pieces) => {
  it.driver.add(pieces);
  expect(go()).toEqual([]);
  expect(it.device.state.status & 0x40).toBe(0x40);
  expect(it.device.state.isr & 2).toBe(2);
  expect(it.device.brokenReason).toMatch(/no room/);
  it.driver.add([piece(HEADER, 16, false), piece(STATUS, 1, true)]);
  expect(go()).toEqual([]);
  it.device.setStatus(0);
  expect(it.device.state.status).toBe(0);
});

test('a reset forgets requests under way: nothing is written to memory afterwards', () => {
  medium.isHeld = true;
  medium.inner.write(0, new Uint8Array(512).fill(7), () => {});
  const at = ask(IN, 0, [piece(DATA, 512, true)]);
  go();
  it.device.setStatus(0);
  medium.release();
  it.clock.advance(1000);
  expect([it.space.read(DATA, 4), it.space.read(at, 1)]).toEqual([0, 0xee]);
  expect(it.driver.collect()).toEqual([]);
});

// Goal: a driver that asks for a lot at once must not have the host hold it all.
test('requests wait while 64 MiB are on their way', () => {
  medium = new SlowDevice(3 << 16);
  it = create(medium, FLUSH | (1 << 28));
  medium.isHeld = true;
  for (let i = 0; i < 3; i++) {
    // 32 MiB, all from the same MiB of RAM.
    const data = Array.from({ length: 32 }, () => piece(0, 1 << 20, false));
    for (const [at, word] of [OUT, 0, i << 16, 0].entries())
      it.space.write(HEADER + 32 * i + 4 * at, 4, word);
    const head = piece(HEADER + 32 * i, 16, false);
    it.driver.add([head, ...data, piece(STATUS + i, 1, true)], DATA + 0x1000 * i);
  }
  go();
  expect(medium.log).toEqual(['write 0', 'write 65536']);
  medium.release();
  it.clock.advance(1000);
  expect(medium.log).toHaveLength(3);
  medium.release();
  it.clock.advance(1000);
  expect(it.driver.collect()).toHaveLength(3);
  // One of more than 32 MiB is refused.
  const data = Array.from({ length: 33 }, () => piece(0, 1 << 20, false));
  it.driver.add([piece(HEADER, 16, false), ...data, piece(STATUS + 3, 1, true)], DATA + 0x4000);
  expect(go()).toEqual([1]);
  expect(it.space.read(STATUS + 3, 1)).toBe(1);
});

// Goal (failure 18): a snapshot at any step of a request neither loses it nor answers it twice.
test.each([0, 1, 2, 3, 4, 5, 6])('a device saved at step %i goes on in another machine', (step) => {
  medium.isHeld = true;
  const texts = [1, 2, 3].map((value) => new Uint8Array(512).fill(value));
  const statuses: number[] = [];
  for (const [i, text] of texts.entries()) {
    it.space.writeBytes(DATA + 512 * i, text);
    statuses.push(ask(OUT, i, [piece(DATA + 512 * i, 512, false)]));
  }
  statuses.push(ask(IN, 1, [piece(DATA + 0x1000, 512, true)]));
  const steps = [
    () => it.device.notify(0),
    () => medium.release(),
    () => it.clock.advance(0),
    () => it.clock.advance(0),
    () => it.clock.advance(1000),
    () => void (it.device.state.isr && it.device.takeISR()),
  ];
  for (const one of steps.slice(0, step)) one();
  const sections = it.device.savables.map((one) => one.save());
  const otherMedium = new SlowDevice();
  for (let sector = 0; sector < 4; sector++) {
    const bytes = new Uint8Array(512);
    medium.inner.read(sector, bytes, () => {});
    otherMedium.inner.write(sector, bytes, () => {});
  }
  const other = create(otherMedium);
  other.ram.bytes.set(it.ram.bytes);
  for (const [i, one] of other.device.savables.entries()) one.restore(sections[i]!);
  expect(other.device.savables.map((one) => one.save())).toEqual(sections);
  other.device.onRestored();
  other.device.notify(0);
  other.clock.advance(1e6);
  // The old driver's view of the rings, now of the other machine's memory.
  const usedIndex = other.space.read(other.driver.used + 2, 2);
  expect(usedIndex).toBe(4);
  expect(statuses.map((at) => other.space.read(at, 1))).toEqual([0, 0, 0, 0]);
  expect(other.space.read(DATA + 0x1000, 4)).toBe(0x02020202);
  const back = new Uint8Array(1536);
  otherMedium.inner.read(0, back, () => {});
  expect(texts.map((_, i) => back[512 * i])).toEqual([1, 2, 3]);
  expect(other.device.queues[0]!.state.inFlight).toEqual([]);
});

// Goal: a snapshot loaded into the machine that runs must not be written to by what it asked since.
test('requests made after the state that is restored are forgotten', () => {
  const sections = it.device.savables.map((one) => one.save());
  const ram = it.ram.bytes.slice();
  medium.isHeld = true;
  medium.inner.write(0, new Uint8Array(512).fill(7), () => {});
  ask(IN, 0, [piece(DATA, 512, true)]);
  go();
  it.ram.bytes.set(ram);
  for (const [i, one] of it.device.savables.entries()) one.restore(sections[i]!);
  it.device.onRestored();
  medium.release();
  it.clock.advance(1000);
  expect(it.ram.bytes.every((byte, i) => byte === ram[i])).toBe(true);
  expect(it.drive.pendingCount).toBe(0);
});

// Goal (failure 9): what the device writes is dirty for every client, and drops code.
test('a read into a page that holds code drops it and marks the page', () => {
  const { memory, ram } = it;
  memory.dirty.harvest(0xff, ram.ramOffset, ram.sizeBytes);
  memory.codePages.addLines(ram.ramOffset + DATA, 512);
  const dropped: number[] = [];
  memory.codePages.onInvalidate((ramOffset) => void dropped.push(ramOffset - ram.ramOffset));
  ask(IN, 0, [piece(DATA, 512, true)]);
  go();
  expect(dropped).toContain(DATA);
  for (const gpa of [DATA, STATUS, it.driver.used])
    expect(memory.dirty.bytes[(ram.ramOffset + gpa) >>> 12]! & 0xf9).toBe(0xf9);
});
