import fc from 'fast-check';
import { expect, test } from 'vitest';
import { fuzzOptions } from '../../test/fuzz-options.ts';
import { GRAIN, PAGE, SPACE_BYTES, steps, TreeModel } from '../../test/memory-model.ts';
import { FlatView, type MemorySection } from './flat-view.ts';
import type { IoOps } from './io-ops.ts';
import { MemoryRegion } from './memory-region.ts';
import { RAMList } from './ram-list.ts';
import { transaction } from './transaction.ts';

const NOTHING: IoOps = { read: () => 0, write() {} };

function io(name: string, sizeBytes: number): MemoryRegion {
  return MemoryRegion.io(name, sizeBytes, NOTHING);
}

function shown(root: MemoryRegion): string[] {
  return FlatView.render(root).sections.map(
    (s) => `${s.start.toString(16)}+${s.sizeBytes.toString(16)} ${s.region!.name}`,
  );
}

test('the higher priority wins among siblings, the later added one among equals', () => {
  const root = MemoryRegion.container('root', 0x1000);
  root.addSubregion(0, io('low', 0x100), -1);
  root.addSubregion(0x80, io('first', 0x100));
  root.addSubregion(0x100, io('second', 0x100));
  expect(shown(root)).toEqual(['0+80 low', '80+80 first', '100+100 second']);
});

// Goal: a peer took max(parent, child); a child's priority must not lift it out of its container.
test('priorities mean nothing outside their container', () => {
  const root = MemoryRegion.container('root', 0x1000);
  const bus = MemoryRegion.container('bus', 0x1000);
  bus.addSubregion(0, io('device', 0x200), 100);
  root.addSubregion(0, bus, 0);
  root.addSubregion(0x100, io('board', 0x100), 1);
  expect(shown(root)).toEqual(['0+100 device', '100+100 board']);
});

// Goal: another peer forgot the clip.
test('children are clipped to their container, through every level', () => {
  const root = MemoryRegion.container('root', 0x1000);
  const window = MemoryRegion.container('window', 0x100);
  const inner = MemoryRegion.container('inner', 0x400);
  inner.addSubregion(0x40, io('device', 0x400));
  window.addSubregion(0x80, inner);
  root.addSubregion(0x200, window);
  expect(shown(root)).toEqual(['2c0+40 device']);
});

test('holes of a container show what lies below it', () => {
  const root = MemoryRegion.container('root', 0x1000);
  root.addSubregion(0, io('below', 0x300), -1);
  const bus = MemoryRegion.container('bus', 0x300);
  bus.addSubregion(0x100, io('device', 0x100));
  root.addSubregion(0, bus);
  expect(shown(root)).toEqual(['0+100 below', '100+100 device', '200+100 below']);
});

test('an alias shows a window, and its target may lie elsewhere or nowhere', () => {
  const root = MemoryRegion.container('root', 0x10000);
  const device = io('device', 0x1000);
  root.addSubregion(0x8000, MemoryRegion.alias('mirror', device, 0x400, 0x200));
  expect(shown(root)).toEqual(['8000+200 device']);
  expect(FlatView.render(root).sections[0]!.offsetInRegion).toBe(0x400);
  root.addSubregion(0, device);
  expect(shown(root)).toEqual(['0+1000 device', '8000+200 device']);
});

test('pieces that continue each other are one section', () => {
  const ramList = RAMList.create({ capacityBytes: 4 * PAGE });
  const ram = MemoryRegion.ram('ram', ramList.alloc({ name: 'ram', sizeBytes: 4 * PAGE }));
  const root = MemoryRegion.container('root', 0x10000);
  root.addSubregion(0, MemoryRegion.alias('low', ram, 0, PAGE));
  root.addSubregion(PAGE, MemoryRegion.alias('high', ram, PAGE, PAGE));
  root.addSubregion(2 * PAGE, MemoryRegion.alias('again', ram, 0, PAGE));
  expect(shown(root)).toEqual(['0+2000 ram', '2000+1000 ram']);
});

test('failure 1: regions that end exactly at 2^32, and at the top of 2^52, are whole', () => {
  const root = MemoryRegion.container('root', 2 ** 52);
  root.addSubregion(2 ** 32 - 0x1000, io('bios', 0x1000));
  root.addSubregion(2 ** 52 - 0x1000, io('top', 0x1000));
  root.addSubregion(2 ** 52 - 0x800, io('past', 0x100000));
  expect(shown(root)).toEqual([
    'fffff000+1000 bios',
    'ffffffffff000+800 top',
    'ffffffffff800+800 past',
  ]);
  const view = FlatView.render(root);
  expect(view.find(2 ** 32 - 1)?.region?.name).toBe('bios');
  expect(view.find(2 ** 32)).toBeUndefined();
  expect(view.find(2 ** 52 - 1)?.region?.name).toBe('past');
  expect(view.holeBytes(2 ** 32)).toBe(2 ** 52 - 2 ** 32 - 0x1000);
  expect(view.holeBytes(2 ** 52)).toBe(Number.POSITIVE_INFINITY);
});

test('a region lies in one container, never in itself, and only where an address can be', () => {
  const a = MemoryRegion.container('a', 0x1000);
  const b = MemoryRegion.container('b', 0x1000);
  a.addSubregion(0, b);
  expect(() => a.addSubregion(0, b)).toThrow('it must not be in a container: it is in "a"');
  expect(() => b.addSubregion(0, a)).toThrow(
    'Cannot add region "a" to "b" as it must not contain itself',
  );
  const window = MemoryRegion.alias('window', a, 0, 0x1000);
  expect(() => b.addSubregion(0, window)).toThrow(/must not contain itself/);
  expect(() => window.addSubregion(0, io('x', 1))).toThrow(/an alias must not have subregions/);
  expect(() => b.removeSubregion(window)).toThrow(/it must be in it: it is not/);
  expect(() => a.addSubregion(-1, io('x', 1))).toThrow(RangeError);
  expect(() => a.addSubregion(0, io('x', 1), 0.5)).toThrow(RangeError);
  for (const size of [0, -1, 1.5, Number.NaN, 2 ** 53])
    expect(() => io('x', size)).toThrow(RangeError);
  expect(() => a.setRomdMode(true)).toThrow(TypeError);
  // Control: what was refused left nothing behind.
  expect([a.subregions.length, b.subregions.length]).toEqual([1, 0]);
});

test('a random tree shows, byte for byte, what a naive painter shows', () => {
  fc.assert(
    fc.property(steps, (session) => {
      const model = new TreeModel();
      for (const step of session) model.apply(step);
      const { view } = model.memory.addressSpace;
      let previous: MemorySection | undefined;
      for (const section of view.sections) {
        if (previous !== undefined)
          expect(section.start - previous.start).toBeGreaterThanOrEqual(previous.sizeBytes);
        previous = section;
      }
      for (let gpa = 0; gpa < SPACE_BYTES; gpa += GRAIN) {
        for (const at of [gpa, gpa + GRAIN - 1]) {
          const expected = model.show(at);
          const section = view.find(at);
          if (section?.region !== expected?.region)
            expect.fail(`${at}: ${section?.region?.name} instead of ${expected?.region.name}`);
          if (
            section !== undefined &&
            section.offsetInRegion + at - section.start !== expected!.offset
          )
            expect.fail(`${at}: wrong offset in ${section.region!.name}`);
        }
      }
    }),
    fuzzOptions(60),
  );
});

test('changes in a transaction take effect together, also when it throws', () => {
  const model = new TreeModel();
  const { addressSpace, root } = model.memory;
  let commitCount = 0;
  addressSpace.addListener({ commit: () => commitCount++ });
  commitCount = 0;
  const device = io('device', 0x100);
  transaction(() => {
    root.addSubregion(0, device);
    transaction(() => device.setOffset(0x100));
    expect(addressSpace.view.sections).toEqual([]);
  });
  expect(commitCount).toBe(1);
  expect(addressSpace.view.sections[0]!.start).toBe(0x100);
  expect(() =>
    transaction(() => {
      device.setOffset(0x200);
      throw new Error('on the way');
    }),
  ).toThrow('on the way');
  expect(addressSpace.view.sections[0]!.start).toBe(0x200);
});

test('a listener may change the map again; that is a second update, after the first', () => {
  const model = new TreeModel();
  const { addressSpace, root } = model.memory;
  const second = io('second', 0x100);
  const seen: string[] = [];
  addressSpace.addListener({
    regionAdd(section) {
      seen.push(section.region!.name);
      if (section.region!.name === 'first') root.addSubregion(0x1000, second);
    },
    commit: () => seen.push('commit'),
  });
  root.addSubregion(0, io('first', 0x100));
  expect(seen).toEqual(['commit', 'first', 'commit', 'second', 'commit']);
});
