import fc from 'fast-check';
import { expect, test } from 'vitest';
import { fuzzOptions } from '../../test/fuzz-options.ts';
import { byteDevice, GRAIN, PAGE, SPACE_BYTES, steps, TreeModel } from '../../test/memory-model.ts';
import { AddressSpace } from './address-space.ts';
import { DIRTY_ALL, DIRTY_MIGRATION } from './dirty-memory.ts';
import type { MemorySection } from './flat-view.ts';
import { GuestMemory } from './guest-memory.ts';
import type { MemoryListener } from './memory-listener.ts';
import { MemoryRegion } from './memory-region.ts';
import {
  encodePhysOffset,
  IO_MEM_ROM,
  IO_MEM_ROMD,
  IO_MEM_SUBPAGE,
  IO_MEM_UNASSIGNED,
  memFlagsOf,
  memTypeIndexOf,
} from './phys-offset.ts';

function create(ramPages = 8) {
  const memory = new GuestMemory({ ramCapacityBytes: 64 * PAGE });
  const block = memory.ramList.alloc({ name: 'pc.ram', sizeBytes: ramPages * PAGE });
  const ram = MemoryRegion.ram('pc.ram', block);
  memory.root.addSubregion(0, ram);
  return { memory, block, ram, space: memory.addressSpace };
}

test('values are unsigned and little-endian, at 1, 2, 4 and 8 bytes', () => {
  const { space } = create();
  space.write(0x100, 4, 0xdeadbeef);
  expect([space.read(0x100, 4), space.read(0x101, 2), space.read(0x103, 1)]).toEqual([
    0xdeadbeef, 0xadbe, 0xde,
  ]);
  space.write(0x101, 1, 0x123);
  expect(space.read(0x100, 4)).toBe(0xdead23ef);
  space.write64(0xffc, 0x8877665544332211n);
  expect(space.read64(0xffc)).toBe(0x8877665544332211n);
  expect(space.read(0x1000, 4)).toBe(0x88776655);
});

test('accesses to nothing read as ones, are ignored, counted and reported', () => {
  const { space } = create();
  const seen: unknown[][] = [];
  space.onUnassigned = (...what) => seen.push(what);
  expect([1, 2, 4].map((size) => space.read(0x10_0000, size))).toEqual([0xff, 0xffff, 0xffffffff]);
  space.write(2 ** 40, 2, 0x12345);
  expect(seen[3]).toEqual([2 ** 40, 2, true, 0x2345]);
  expect(space.unassignedCount).toBe(4);
  for (const gpa of [-8, 2 ** 52, 2 ** 53, Number.NaN]) {
    expect(space.read(gpa, 4)).toBe(0xffffffff);
    space.write(gpa, 4, 0);
  }
});

test('failure 35: each byte of an access across RAM, a device and a hole is put right', () => {
  const { memory, space } = create(1);
  const { ops, bytes } = byteDevice(3);
  memory.root.addSubregion(PAGE, MemoryRegion.io('device', 3, ops));
  space.write(PAGE - 2, 2, 0x2211);
  bytes.set([0x33, 0x44, 0x55]);
  expect(space.read(PAGE - 2, 4)).toBe(0x44332211);
  expect(space.read(PAGE + 1, 4)).toBe(0xffff5544);
  space.write(PAGE - 1, 4, 0xa4a3a2a1);
  expect(space.read(PAGE - 1, 1)).toBe(0xa1);
  expect([...bytes]).toEqual([0xa2, 0xa3, 0xa4]);
  expect(space.read64(PAGE - 2)).toBe(0xffff_ffa4_a3a2_a111n);
});

test('an access that begins in a hole reaches what lies behind it', () => {
  const { memory, space } = create(1);
  const { ops, bytes } = byteDevice(4);
  memory.root.addSubregion(0x10002, MemoryRegion.io('device', 4, ops));
  bytes.set([0x11, 0x22, 0x33, 0x44]);
  expect(space.read(0x10000, 4)).toBe(0x2211ffff);
  space.write(0x10001, 4, 0xa4a3a2a1);
  expect([...bytes]).toEqual([0xa2, 0xa3, 0xa4, 0x44]);
  expect(space.unassignedCount).toBe(2);
  expect(space.read(2 ** 52 - 2, 4)).toBe(0xffffffff);
});

// Goal: |phys_offset| has no room for such a page; its low bits would be read as a memory type.
test('RAM that lies across pages is a subpage to the codec, and still RAM', () => {
  const { memory, ram, space } = create();
  memory.root.addSubregion(0x100000, MemoryRegion.alias('crooked', ram, 8, 4 * PAGE));
  expect(memFlagsOf(space.physOffsetOf(0x101000))).toBe(IO_MEM_SUBPAGE);
  expect(space.regionOffsetOf(0x101000)).toBe(0x101000);
  space.write(0x101ffe, 4, 0x12345678);
  expect(space.read(0x2006, 4)).toBe(0x12345678);
  expect(space.isRAM(0x101000)).toBe(true);
});

test('failure 36: several regions in one page, RAM among them', () => {
  const { memory, space, block } = create();
  const { ops, bytes } = byteDevice(0x10);
  memory.root.addSubregion(0x2010, MemoryRegion.io('device', 0x10, ops), 1);
  expect(memFlagsOf(space.physOffsetOf(0x2000))).toBe(IO_MEM_SUBPAGE);
  expect(space.regionOffsetOf(0x2abc)).toBe(0x2000);
  space.write(0x200f, 1, 0x11);
  space.write(0x2010, 1, 0x22);
  space.write(0x2020, 1, 0x33);
  expect([block.bytes[0x200f], bytes[0], block.bytes[0x2020]]).toEqual([0x11, 0x22, 0x33]);
  // Through the table, the subpage is a device whose I/O address is the gpa.
  const subpage = space.dispatch.ioTable.find(space.physOffsetOf(0x2000))!;
  expect(subpage.read(0x2010, 1)).toBe(0x22);
  subpage.write(0x2020, 1, 0x44);
  expect(block.bytes[0x2020]).toBe(0x44);
  expect(space.physOffsetOf(0x1000)).toBe(0x1000);
});

test('failure 37: writes to ROM change nothing and mark nothing', () => {
  const { memory, space } = create();
  const rom = memory.ramList.allocFrom({ name: 'bios', bytes: new Uint8Array(PAGE).fill(0x90) });
  memory.root.addSubregion(2 ** 32 - PAGE, MemoryRegion.rom('bios', rom));
  memory.dirty.clear(rom.ramOffset, PAGE, DIRTY_MIGRATION);
  memory.codePages.addLines(rom.ramOffset, 16);
  const seen: unknown[][] = [];
  space.onROMWrite = (...what) => seen.push(what);
  space.write(2 ** 32 - PAGE, 4, 0);
  space.writeBytes(2 ** 32 - PAGE, new Uint8Array(16));
  expect(space.read(2 ** 32 - PAGE, 4)).toBe(0x90909090);
  expect(memory.dirty.isDirty(rom.ramOffset, PAGE, DIRTY_MIGRATION)).toBe(false);
  expect(memory.codePages.hasCode(rom.ramOffset, 1)).toBe(true);
  expect([space.romWriteCount, seen.length]).toEqual([2, 2]);
  expect(space.physOffsetOf(2 ** 32 - 1)).toBe(encodePhysOffset(rom.ramOffset, IO_MEM_ROM));
  // Control: a loader gets through, and is noted.
  space.loadBytes(2 ** 32 - PAGE, new Uint8Array([0xf4]));
  expect(space.read(2 ** 32 - PAGE, 1)).toBe(0xf4);
  expect(memory.dirty.isDirty(rom.ramOffset, PAGE, DIRTY_MIGRATION)).toBe(true);
  expect(memory.codePages.hasCode(rom.ramOffset, 1)).toBe(false);
});

test('failure 37: ROMD reads memory until its mode is switched, and calls back on writes', () => {
  const { memory, space } = create();
  const block = memory.ramList.allocFrom({ name: 'flash', bytes: new Uint8Array(PAGE).fill(7) });
  const calls: string[] = [];
  const flash = MemoryRegion.romd('flash', block, {
    read: (offset) => Number(calls.push(`read ${offset}`)) * 0 + 0x80,
    write: (offset, value) => void calls.push(`write ${offset} ${value}`),
  });
  memory.root.addSubregion(0x10000, flash);
  expect(space.read(0x10004, 1)).toBe(7);
  expect(space.kindOf(0x10000)).toBe('romd');
  const physOffset = space.physOffsetOf(0x10000);
  expect(memFlagsOf(physOffset) & IO_MEM_ROMD).toBe(IO_MEM_ROMD);
  expect(physOffset - (physOffset & 0xfff)).toBe(block.ramOffset);
  space.write(0x10004, 1, 0x20);
  flash.setRomdMode(false);
  expect(space.kindOf(0x10000)).toBe('io');
  expect(space.read(0x10005, 1)).toBe(0x80);
  expect(space.ramOffsetOf(0x10000)).toBe(-1);
  flash.setRomdMode(true);
  expect(space.read(0x10005, 1)).toBe(7);
  expect(calls).toEqual(['write 4 32', 'read 5']);
});

test('failures 29 and 39: what is written through one name is dirty through every other', () => {
  const { memory, ram, space } = create();
  memory.root.addSubregion(0x100000, MemoryRegion.alias('mirror', ram, 0, 4 * PAGE));
  const shadow = MemoryRegion.alias('shadow', ram, 2 * PAGE, PAGE);
  memory.root.addSubregion(0x200000, shadow);
  memory.codePages.addLines(2 * PAGE, 64);
  memory.dirty.clear(0, 64 * PAGE, DIRTY_MIGRATION);
  const dropped: number[] = [];
  memory.codePages.onInvalidate((ramOffset) => void dropped.push(ramOffset));
  space.write(0x102010, 4, 1);
  expect(dropped).toEqual([2 * PAGE + 0x10]);
  expect([...memory.dirty.harvest(DIRTY_MIGRATION).pages()]).toEqual([2]);
  shadow.setReadOnly(true); // A chip set locks shadow RAM: this name only.
  space.write(0x200000, 1, 9);
  space.write(0x2001, 1, 9);
  expect([space.read(0x200000, 1), space.read(0x200001, 1)]).toEqual([0, 9]);
});

test('failure 9: DMA and long writes mark every page and drop code', () => {
  const { memory, space } = create();
  memory.dirty.clear(0, 64 * PAGE, DIRTY_ALL);
  memory.codePages.addLines(3 * PAGE, 1);
  space.writeBytes(PAGE + 5, new Uint8Array(2 * PAGE));
  expect([...memory.dirty.harvest(DIRTY_MIGRATION).pages()]).toEqual([1, 2, 3]);
  expect(memory.codePages.hasCode(3 * PAGE, 1)).toBe(false);
});

test('the space reaches to the top of 2^52', () => {
  const { memory, space } = create();
  const { ops, bytes } = byteDevice(PAGE);
  memory.root.addSubregion(2 ** 52 - PAGE, MemoryRegion.io('top', PAGE, ops));
  const block = memory.ramList.alloc({ name: 'high', sizeBytes: PAGE });
  memory.root.addSubregion(2 ** 51, MemoryRegion.ram('high', block));
  space.write(2 ** 52 - 1, 1, 0x77);
  expect(bytes[PAGE - 1]).toBe(0x77);
  expect(space.read(2 ** 52 - 1, 4)).toBe(0xffffff77);
  space.write(2 ** 51 + 8, 4, 5);
  expect(block.bytes[8]).toBe(5);
  expect(space.ramOffsetOf(2 ** 51 + 8)).toBe(block.ramOffset + 8);
});

test('a port space is a root of 64 KiB with devices that share pages', () => {
  const { ops, bytes } = byteDevice(8);
  const root = MemoryRegion.container('io', 65536);
  root.addSubregion(0x3f8, MemoryRegion.io('serial', 8, { ...ops, impl: { maxBytes: 1 } }));
  const ports = new AddressSpace({ name: 'I/O', root });
  ports.write(0x3fb, 1, 0x80);
  ports.write(0x3f8, 2, 0x0201);
  expect([...bytes.slice(0, 4)]).toEqual([1, 2, 0, 0x80]);
  expect(ports.read(0xffff, 4)).toBe(0xffffffff);
  expect(ports.read(0x3fe, 4)).toBe(0xffff0000);
});

test('a device that takes 64 bits gets them whole', () => {
  const { memory, space } = create();
  let held = 0n;
  const wide = MemoryRegion.io('wide', 16, {
    read: () => 0,
    write() {},
    read64: () => held,
    write64(_offset, value) {
      held = value;
    },
  });
  memory.root.addSubregion(0x100000, wide);
  space.write64(0x100008, 0xffff_ffff_0000_0001n);
  expect(space.read64(0x100008)).toBe(0xffff_ffff_0000_0001n);
  expect(held).toBe(0xffff_ffff_0000_0001n);
});

// Goal: a guest that points a device's DMA at the device's own registers must not overflow the
// host's stack, alone or with a second device between.
test('a device that reaches itself by DMA is refused, and works again afterwards', () => {
  const { memory, space } = create();
  let callCount = 0;
  const reach = (gpa: number) => ({
    read: () => space.read(gpa, 4),
    write(_offset: number, value: number) {
      callCount++;
      space.write(gpa, 4, value);
    },
  });
  memory.root.addSubregion(0x100000, MemoryRegion.io('narcissus', 16, reach(0x100000)));
  memory.root.addSubregion(0x200000, MemoryRegion.io('ping', 16, reach(0x300000)));
  memory.root.addSubregion(0x300000, MemoryRegion.io('pong', 16, reach(0x200000)));
  for (let round = 1; round <= 2; round++) {
    for (const gpa of [0x100000, 0x200000]) {
      space.write(gpa, 4, 1);
      expect(space.read(gpa, 4)).toBe(0xffffffff);
    }
    expect(callCount).toBe(3 * round);
  }
  expect(space.find(0x100000).io!.refusedCount).toBe(4);
});

test('a full table of memory types leaves the old map in force', () => {
  const { memory, space } = create();
  const { ops } = byteDevice(8);
  const regions = Array.from({ length: 507 }, (_, index) => MemoryRegion.io(`io${index}`, 8, ops));
  regions.forEach((region, index) => {
    memory.root.addSubregion(0x100000 + index * 8, region);
  });
  const extra = MemoryRegion.io('extra', 8, ops);
  expect(() => memory.root.addSubregion(0x200000, extra)).toThrow(/0 are free/);
  expect(space.kindOf(0x200000)).toBe('unassigned');
  memory.root.removeSubregion(regions[0]!);
  expect(space.kindOf(0x200000)).toBe('io');
});

test('RAM of another list is refused', () => {
  const { memory } = create();
  const other = create();
  expect(() => memory.root.addSubregion(0x100000, MemoryRegion.ram('x', other.block))).toThrow(
    /must be in the space's RAM list/,
  );
});

/** Keeps the map as a listener knows it. */
class Follower implements MemoryListener {
  readonly sections: MemorySection[] = [];
  readonly logged = new Map<MemorySection, number>();
  isOpen = false;

  begin(): void {
    expect(this.isOpen).toBe(false);
    this.isOpen = true;
  }
  regionAdd(section: MemorySection): void {
    for (const other of this.sections)
      expect(other.start - section.start >= section.sizeBytes || section.start > other.start).toBe(
        true,
      );
    this.sections.push(section);
  }
  regionDel(section: MemorySection): void {
    expect(this.sections).toContain(section);
    expect(this.logged.has(section)).toBe(false);
    this.sections.splice(this.sections.indexOf(section), 1);
  }
  logStart(section: MemorySection, _oldMask: number, newMask: number): void {
    this.logged.set(section, newMask);
  }
  logStop(section: MemorySection, _oldMask: number, newMask: number): void {
    expect(this.logged.has(section)).toBe(true);
    if (newMask === 0) this.logged.delete(section);
  }
  commit(): void {
    this.isOpen = false;
  }
}

// Goal: a page map changed by difference must be what a new one would be; so must every listener's.
test('failure 40: after random changes the page map and every follower show the tree', () => {
  fc.assert(
    fc.property(steps, (session) => {
      const model = new TreeModel();
      const space = model.memory.addressSpace;
      const follower = new Follower();
      space.addListener(follower);
      session.forEach((step, index) => {
        model.apply(step);
        if (index % 10 !== 9 && index !== session.length - 1) return;
        for (let gpa = 0; gpa < SPACE_BYTES; gpa += GRAIN) {
          const shown = model.show(gpa);
          const section = space.find(gpa);
          const found = `${section.region?.name} ${section.offsetInRegion + gpa - section.start}`;
          const expected = shown === undefined ? 'nothing' : `${shown.region.name} ${shown.offset}`;
          const isRight =
            (section.region === undefined ? 'nothing' : found) === expected &&
            space.kindOf(gpa) === model.kindOf(shown) &&
            space.ramOffsetOf(gpa) === model.ramOffsetOf(shown);
          if (!isRight) expect.fail(`${gpa}: ${found} instead of ${expected}`);
        }
        const fresh = [...follower.sections].sort((a, b) => a.start - b.start);
        expect(fresh).toEqual([...space.view.sections]);
        for (const section of fresh)
          expect(follower.logged.get(section) ?? 0).toBe(
            section.kind === 0 ? section.region!.logMask : 0,
          );
      });
      space.removeListener(follower);
      expect(follower.sections).toEqual([]);
    }),
    fuzzOptions(40),
  );
});

test('random accesses to random maps agree with plain bytes', () => {
  const access = fc.record({
    isWrite: fc.boolean(),
    gpa: fc.integer({ min: -2, max: SPACE_BYTES + 2 }),
    sizeBytes: fc.constantFrom(1, 2, 4),
    value: fc.nat({ max: 0xffffffff }),
  });
  fc.assert(
    fc.property(steps, fc.array(access, { maxLength: 60 }), (session, accesses) => {
      const model = new TreeModel();
      const { addressSpace: space, ramList, dirty } = model.memory;
      for (const step of session) model.apply(step);
      const ram = ramList.bytesAt(0, ramList.capacityBytes).slice();
      const devices = new Map([...model.devices].map(([region, bytes]) => [region, bytes.slice()]));
      dirty.clear(0, ramList.capacityBytes, DIRTY_MIGRATION);
      const dirtyPages = new Set<number>();
      for (const { isWrite, gpa, sizeBytes, value } of accesses) {
        let expected = 0;
        for (let i = 0; i < sizeBytes; i++) {
          const shown = model.show(gpa + i);
          const kind = model.kindOf(shown);
          const ramOffset = model.ramOffsetOf(shown);
          const device = devices.get(shown?.region as MemoryRegion);
          const byte = (value >>> (i * 8)) & 0xff;
          if (isWrite && kind === 'ram') {
            ram[ramOffset] = byte;
            dirtyPages.add(Math.floor(ramOffset / PAGE));
          } else if (isWrite && (kind === 'io' || kind === 'romd')) device![shown!.offset] = byte;
          const now =
            ramOffset >= 0 ? ram[ramOffset]! : kind === 'io' ? device![shown!.offset]! : 0xff;
          expected += now * 2 ** (i * 8);
        }
        if (isWrite) space.write(gpa, sizeBytes, value);
        else expect(space.read(gpa, sizeBytes)).toBe(expected);
      }
      expect(ramList.bytesAt(0, ramList.capacityBytes).every((byte, at) => byte === ram[at])).toBe(
        true,
      );
      for (const [region, bytes] of devices)
        expect(model.devices.get(region)!.every((byte, at) => byte === bytes[at])).toBe(true);
      expect(new Set(dirty.harvest(DIRTY_MIGRATION).pages())).toEqual(dirtyPages);
      // The long way round reads the same.
      const all = new Uint8Array(SPACE_BYTES);
      space.readBytes(0, all);
      for (let gpa = 0; gpa < SPACE_BYTES; gpa += 36)
        if (all[gpa] !== space.read(gpa, 1)) expect.fail(`byte ${gpa}`);
    }),
    fuzzOptions(60),
  );
});

test('failure 4: a logged section is synced before it goes, moves or is no longer logged', () => {
  const { memory, ram, space } = create();
  const events: string[] = [];
  space.addListener({
    regionAdd: (s) => void events.push(`add ${s.start}`),
    regionDel: (s) => void events.push(`del ${s.start}`),
    logStart: (_s, _old, mask) => void events.push(`start ${mask}`),
    logStop: (_s, _old, mask) => void events.push(`stop ${mask}`),
    logSync: (s) => void events.push(`sync ${s.start} ${space.find(s.start) === s}`),
  });
  events.length = 0;
  ram.setLogging(DIRTY_MIGRATION, true);
  ram.setLogging(1, true);
  ram.setOffset(PAGE);
  ram.setLogging(1, false);
  memory.root.removeSubregion(ram);
  expect(events).toEqual([
    ...['start 8', 'start 9'],
    ...['sync 0 true', 'stop 0', 'del 0', 'add 4096', 'start 9'],
    ...['sync 4096 true', 'stop 8'],
    ...['sync 4096 true', 'stop 0', 'del 4096'],
  ]);
});

test('failure 8: a block that comes during a log is dirty, a freed one leaves no code', () => {
  const { memory } = create();
  const { dirty, ramList, codePages } = memory;
  dirty.harvest(DIRTY_MIGRATION);
  const late = ramList.alloc({ name: 'late', sizeBytes: 3 * PAGE });
  const first = late.ramOffset / PAGE;
  codePages.addLines(late.ramOffset, 16);
  expect([...dirty.harvest(DIRTY_MIGRATION).pages()]).toEqual([first, first + 1, first + 2]);
  ramList.free(late);
  expect(codePages.hasCode(late.ramOffset, 16)).toBe(false);
});

test('memory types are given back with the regions that needed them', () => {
  const { memory, space } = create();
  const { ops } = byteDevice(PAGE);
  const device = MemoryRegion.io('device', PAGE, ops);
  const before = space.dispatch.ioTable.count;
  memory.root.addSubregion(0x100000, device);
  memory.root.addSubregion(0x100800, MemoryRegion.io('inside', 8, ops), 1); // Splits it in two.
  expect(space.dispatch.ioTable.count).toBe(before + 2);
  expect(memTypeIndexOf(space.physOffsetOf(0x200000))).toBe(IO_MEM_UNASSIGNED >> 3);
  memory.root.removeSubregion(device);
  expect(space.dispatch.ioTable.count).toBe(before + 1);
});
