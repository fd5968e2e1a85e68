import fc from 'fast-check';
import { beforeEach, expect, test } from 'vitest';
import { fuzzOptions } from '../../../test/fuzz-options.ts';
import { ManualClock } from '../../../test/manual-clock.ts';
import { createBoard, RingDriver } from '../../../test/virtio-driver.ts';
import { Drive } from '../block/drive.ts';
import { MemoryDevice } from '../block/memory-device.ts';
import { PCIConfigMechanism } from '../pci-config.ts';
import { VirtioBlk } from './virtio-blk.ts';
import { VirtioDevice } from './virtio-device.ts';
import { VIRTIO_LEGACY_BYTES, VIRTIO_MODERN_BYTES, VirtioPCI } from './virtio-pci.ts';
import { COMMON_REGISTERS, LEGACY_REGISTERS } from './virtio-pci-registers.ts';

const SLOT = 3;
const [COMMON, ISR, CONFIG, NOTIFY] = [0x0000, 0x1000, 0x2000, 0x3000];

function create() {
  const board = createBoard();
  const clock = new ManualClock();
  const medium = new MemoryDevice(1 << 20);
  const drive = new Drive({ id: 'virtio0', media: 'disk', clock, medium });
  const device = new VirtioDevice('blk', new VirtioBlk(drive, 'virtio0'), board.space);
  const pci = new VirtioPCI('pci/03.0', device);
  const levels: boolean[] = [];
  pci.irq = { raise: () => void levels.push(true), lower: () => void levels.push(false) };
  const mechanism = new PCIConfigMechanism();
  mechanism.plug(SLOT, 0, pci.config);
  const at = (offset: number) =>
    mechanism.writeAddress((0x8000_0000 | (SLOT << 11) | (offset & 0xfc)) >>> 0);
  const readConfig = (offset: number, sizeBytes: number) => {
    at(offset);
    return mechanism.readData(offset & 3, sizeBytes);
  };
  const writeConfig = (offset: number, sizeBytes: number, value: number) => {
    at(offset);
    mechanism.writeData(offset & 3, sizeBytes, value);
  };
  writeConfig(4, 2, 7);
  return { ...board, clock, device, pci, levels, readConfig, writeConfig };
}

let it: ReturnType<typeof create>;
beforeEach(() => {
  it = create();
});

/** Capability of that type: where it is in configuration space. */
function capability(type: number): number {
  for (let at = it.readConfig(0x34, 1); at !== 0; at = it.readConfig(at + 1, 1))
    if (it.readConfig(at, 1) === 0x09 && it.readConfig(at + 3, 1) === type) return at;
  return 0;
}

function common(name: string): { offset: number; sizeBytes: number } {
  return COMMON_REGISTERS.find((each) => each.name === name)!;
}
const read = (name: string) => it.pci.readModern(common(name).offset, common(name).sizeBytes);
const write = (name: string, value: number) =>
  it.pci.writeModern(common(name).offset, value, common(name).sizeBytes);

/** Brings the device up as section 3.1.1 tells a driver to. */
function startModern(): RingDriver {
  const driver = new RingDriver(it.space, 0x1_0000, 16);
  write('device_status', 0);
  write('device_status', 1);
  write('device_status', 3);
  write('driver_feature_select', 0);
  write('driver_feature', (1 << 9) | (1 << 28));
  write('driver_feature_select', 1);
  write('driver_feature', 1);
  write('device_status', 0xb);
  expect(read('device_status')).toBe(0xb);
  write('queue_select', 0);
  write('queue_size', 16);
  write('queue_descriptors_low', driver.descriptors);
  write('queue_available_low', driver.available);
  write('queue_used_low', driver.used);
  write('queue_enable', 1);
  write('device_status', 0xf);
  return driver;
}

function askForID(driver: RingDriver): void {
  it.space.write(0x2_0000, 4, 8);
  driver.add([
    { gpa: 0x2_0000, sizeBytes: 16, isWritable: false },
    { gpa: 0x2_0100, sizeBytes: 21, isWritable: true },
  ]);
}

test('the function is a transitional one, whose capabilities lead to all registers', () => {
  expect(it.readConfig(0, 4)).toBe(0x1001_1af4);
  expect(it.readConfig(8, 4)).toBe(0x0100_0000);
  expect(it.readConfig(0x2c, 4)).toBe(0x0002_1af4);
  expect(it.readConfig(6, 2) & 0x10).toBe(0x10);
  expect(it.readConfig(0x3d, 1)).toBe(1);
  const found = [1, 2, 3, 4].map((type) => {
    const at = capability(type);
    expect(it.readConfig(at + 4, 1)).toBe(4);
    return [it.readConfig(at + 8, 4), it.readConfig(at + 12, 4)];
  });
  expect(found).toEqual([
    [COMMON, 0x38],
    [NOTIFY, 4],
    [ISR, 1],
    [CONFIG, 24],
  ]);
  expect(it.readConfig(capability(2) + 16, 4)).toBe(4);
});

test('a version 1 driver brings it up and is interrupted, until it reads the ISR', () => {
  const driver = startModern();
  askForID(driver);
  it.pci.writeModern(NOTIFY, 0, 2);
  expect(driver.collect()).toEqual([{ head: 0, writtenBytes: 21 }]);
  expect(it.levels.at(-1)).toBe(true);
  expect(it.pci.readModern(ISR, 1)).toBe(1);
  expect(it.levels.at(-1)).toBe(false);
  expect(it.pci.readModern(ISR, 1)).toBe(0);
  expect(it.pci.readModern(CONFIG, 4)).toBe(2048);
});

test('FEATURES_OK stays off without version 1, and features cannot change once it is on', () => {
  write('device_status', 3);
  write('driver_feature', 1 << 9);
  write('device_status', 0xb);
  expect(read('device_status')).toBe(3);
  startModern();
  write('driver_feature_select', 0);
  write('driver_feature', 0);
  expect(read('driver_feature')).toBe((1 << 9) | (1 << 28));
});

test('features that are not offered cannot be had; words beyond the second are zeros', () => {
  const offered = [0, 1, 2].map((word) => {
    write('device_feature_select', word);
    return read('device_feature');
  });
  expect(offered).toEqual([(0x3800_0000 | 0x254) >>> 0, 1, 0]);
  for (const word of [0, 1, 2, 0xffff_ffff]) {
    write('driver_feature_select', word);
    write('driver_feature', 0xffff_ffff);
  }
  expect(it.device.state.driverFeatures).toEqual(offered.slice(0, 2));
});

test('a legacy driver brings it up by its ports', () => {
  const { pci, space } = it;
  pci.writeLegacy(0x12, 3, 1);
  expect(pci.readLegacy(0, 4) & (1 << 9)).toBe(1 << 9);
  pci.writeLegacy(4, 1 << 9, 4);
  pci.writeLegacy(0x0e, 0, 2);
  expect(pci.readLegacy(0x0c, 2)).toBe(128);
  pci.writeLegacy(8, 0x10, 4);
  expect(pci.readLegacy(8, 4)).toBe(0x10);
  // 128 descriptors: the available ring lies behind them, the used ring at the next page.
  space.write(0x2_0000, 4, 8);
  for (const [i, words] of [
    [0x2_0000, 0, 16, 0x1_0001],
    [0x2_0100, 0, 21, 2],
  ].entries())
    for (const [j, word] of words.entries()) space.write(0x1_0000 + 16 * i + 4 * j, 4, word);
  space.write(0x1_0800 + 2, 2, 1);
  pci.writeLegacy(0x10, 0, 2);
  expect(space.read(0x1_1000 + 2, 2)).toBe(1);
  expect(pci.readLegacy(0x13, 1)).toBe(1);
  expect(pci.readLegacy(0x13, 1)).toBe(0);
  expect(pci.readLegacy(0x14, 4)).toBe(2048);
  pci.writeLegacy(8, 0, 4);
  expect(pci.readLegacy(8, 4)).toBe(0);
});

test('without bus master nothing is taken; what waits is taken when it comes on', () => {
  const driver = startModern();
  it.writeConfig(4, 2, 3);
  askForID(driver);
  it.pci.writeModern(NOTIFY, 0, 2);
  expect(driver.collect()).toEqual([]);
  it.writeConfig(4, 2, 7);
  expect(driver.collect()).toHaveLength(1);
});

test('registers can be reached through configuration space', () => {
  const at = capability(5);
  const select = (offset: number, sizeBytes: number) => {
    it.writeConfig(at + 4, 1, 4);
    it.writeConfig(at + 8, 4, offset);
    it.writeConfig(at + 12, 4, sizeBytes);
  };
  select(common('device_status').offset, 1);
  it.writeConfig(at + 16, 1, 3);
  expect(read('device_status')).toBe(3);
  expect(it.readConfig(at + 16, 4) & 0xff).toBe(3);
  select(CONFIG, 4);
  expect(it.readConfig(at + 16, 4)).toBe(2048);
  select(common('driver_feature').offset, 4);
  it.writeConfig(at + 16, 4, 1 << 9);
  expect(it.device.state.driverFeatures[0]).toBe(1 << 9);
  // A register is written once, when all of its bytes are there: 0x101 does not enable a queue.
  select(common('queue_enable').offset, 2);
  expect(it.readConfig(at + 16, 2)).toBe(0);
  it.writeConfig(at + 16, 2, 0x0101);
  expect(read('queue_enable')).toBe(0);
  // What points nowhere reads as zeros and writes nothing.
  for (const [offset, size] of [
    [VIRTIO_MODERN_BYTES, 4],
    [1, 4],
    [0, 3],
    [0xffff_fffc, 4],
    [0, 0],
  ] as const) {
    select(offset, size);
    it.writeConfig(at + 16, 4, 0xffff_ffff);
    expect(it.readConfig(at + 16, 4)).toBe(0);
  }
});

test.each([
  ['common', COMMON_REGISTERS],
  ['legacy', LEGACY_REGISTERS],
])('every %s register is as wide and placed as it says, and none lies over another', (_n, rows) => {
  let end = 0;
  for (const { offset, sizeBytes, read: get, name } of [...rows].sort(
    (a, b) => a.offset - b.offset,
  )) {
    expect(offset, name).toBe(end);
    end = offset + sizeBytes;
    const value = get?.(it.device) ?? 0;
    expect(value, name).toBeLessThan(2 ** (8 * sizeBytes));
  }
  expect(end).toBe(rows === COMMON_REGISTERS ? 0x38 : 0x14);
});

test('a register may be written byte by byte, and two with one access', () => {
  write('device_status', 3);
  const { offset } = common('driver_feature');
  for (let i = 0; i < 4; i++) it.pci.writeModern(offset + i, (0x200 >>> (8 * i)) & 0xff, 1);
  expect(read('driver_feature')).toBe(0x200);
  // queue_select and queue_size, 32 bits: the selected queue is the new one.
  it.pci.writeModern(common('queue_select').offset, 0x0020_0000, 4);
  expect(it.device.queues[0]!.state.size).toBe(32);
  expect(it.pci.readModern(common('queue_select').offset, 4)).toBe(0x0020_0000);
});

test('a queue that is not there reads as zeros and takes nothing', () => {
  write('queue_select', 1);
  for (const name of ['queue_size', 'queue_enable', 'queue_descriptors_low']) {
    write(name, 1);
    expect(read(name), name).toBe(0);
  }
  it.pci.writeModern(NOTIFY + 4 * 77, 77, 2);
  it.pci.writeLegacy(0x10, 77, 2);
});

test('queue addresses of 64 bits that nobody has break the queue and nothing else', () => {
  const driver = startModern();
  write('device_status', 0);
  write('device_status', 3);
  write('driver_feature_select', 1);
  write('driver_feature', 1);
  write('device_status', 0xb);
  for (const name of ['descriptors', 'available', 'used']) {
    write(`queue_${name}_low`, 0xffff_fff0);
    write(`queue_${name}_high`, 0xffff_ffff);
  }
  write('queue_enable', 1);
  write('device_status', 0xf);
  it.pci.writeModern(NOTIFY, 0, 2);
  expect(read('device_status') & 0x40).toBe(0x40);
  expect(driver.collect()).toEqual([]);
});

test('a saved device drives its interrupt line when it is restored', () => {
  const driver = startModern();
  askForID(driver);
  it.pci.writeModern(NOTIFY, 0, 2);
  const sections = [it.pci.config, ...it.device.savables].map((one) => one.save());
  const other = create();
  for (const [i, one] of [other.pci.config, ...other.device.savables].entries())
    one.restore(sections[i]!);
  expect(other.levels.at(-1)).toBe(true);
  const [, common0] = sections;
  const bad = { ...common0!, values: new Map([...common0!.values, [4, [1, 0]] as const]) };
  expect(() => other.device.restore(bad)).toThrow(/must be offered/);
});

// Goal: a guest that writes every register at random, with rings of random bytes, throws nothing in
// the host and touches no other device.
test('random sessions on the registers do no harm', () => {
  const access = fc.record({
    kind: fc.constantFrom('modern', 'legacy', 'config', 'memory'),
    offset: fc.oneof(
      fc.nat({ max: 0x37 }),
      fc.nat({ max: VIRTIO_MODERN_BYTES - 4 }),
      fc.constantFrom(ISR, NOTIFY, CONFIG),
    ),
    sizeBytes: fc.constantFrom(1, 2, 4),
    isWrite: fc.boolean(),
    value: fc.oneof(
      fc.nat({ max: 255 }),
      fc.constantFrom(0x1_0000, 0x1_0800, 0x1_1000, 0x30_0000, 0x10),
      fc.integer({ min: 0, max: 0xffff_ffff }),
    ),
  });
  const run = fc.property(fc.array(access, { maxLength: 150 }), (accesses) => {
    const context = create();
    const { pci, space, clock, readConfig, writeConfig, ioAccesses } = context;
    for (const { kind, offset, sizeBytes, isWrite, value } of accesses) {
      const cut = sizeBytes === 4 ? value : value % 2 ** (8 * sizeBytes);
      const port = offset % (VIRTIO_LEGACY_BYTES - 3);
      let got = 0;
      if (kind === 'memory') space.write(0x1_0000 + (offset & ~3), 4, value);
      else if (kind === 'config') {
        const at = offset & 0xfc;
        if (isWrite) writeConfig(at, sizeBytes, cut);
        else got = readConfig(at, sizeBytes);
      } else if (kind === 'modern') {
        if (isWrite) pci.writeModern(offset, cut, sizeBytes);
        else got = pci.readModern(offset, sizeBytes);
      } else if (isWrite) pci.writeLegacy(port, cut, sizeBytes);
      else got = pci.readLegacy(port, sizeBytes);
      expect(got).toBeGreaterThanOrEqual(0);
      expect(got).toBeLessThanOrEqual(0xffff_ffff);
      clock.advance(100);
    }
    expect(ioAccesses()).toBe(0);
    const sections = context.device.savables.map((one) => one.save());
    const other = create();
    for (const [i, one] of other.device.savables.entries()) one.restore(sections[i]!);
    expect(other.device.savables.map((one) => one.save())).toEqual(sections);
    other.device.onRestored();
  });
  fc.assert(run, fuzzOptions(150));
});
