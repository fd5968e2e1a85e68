import fc from 'fast-check';
import { expect, test } from 'vitest';
import { XenModel } from '../../../test/accel/xen-model.ts';
import { fuzzOptions } from '../../../test/fuzz-options.ts';
import { createGuestMemory } from '../../../test/kvm/memslots-board.ts';
import { playSession, sessions } from '../../../test/kvm/slot-session.ts';
import { byteDevice } from '../../../test/memory-model.ts';
import { DIRTY_MIGRATION, DIRTY_VGA, type GuestMemory, MemoryRegion } from '../../memory/index.ts';
import { XenMapping } from './xen-mapping.ts';

const PAGE = 4096;
/** Between the spaces that sessions use. */
const PARKING_PAGE = 2 ** 30;

function follow(memory: GuestMemory) {
  const { ramList, ramWrites } = memory;
  const driver = new XenModel(ramList.bytes);
  const parkingGPA = PARKING_PAGE * PAGE;
  const { hostBase } = driver;
  const listener = new XenMapping({ driver, ramList, ramWrites, hostBase, parkingGPA });
  return { driver, listener };
}

function board() {
  const memory = createGuestMemory({ ramCapacityBytes: 64 * PAGE, tlbRowCount: 16 });
  const { driver, listener } = follow(memory);
  memory.addressSpace.addListener(listener);
  const alloc = (name: string, pages: number) =>
    memory.ramList.alloc({ name, sizeBytes: pages * PAGE });
  const take = (client: number) => {
    memory.addressSpace.syncDirtyLog();
    return [...memory.dirty.harvest(client).pages()].filter((page) => page < 24);
  };
  return { memory, driver, alloc, take, root: memory.root, ramList: memory.ramList };
}

/** Frames that are not parked. */
const placed = (driver: XenModel) => driver.frames.filter((frame) => frame < PARKING_PAGE);

test('pages move from the parking area to where the map shows them, and back', () => {
  const { root, driver, alloc, ramList } = board();
  const block = ramList.allocFrom({ name: 'ram', bytes: new Uint8Array(3 * PAGE).fill(7) });
  const ram = MemoryRegion.ram('ram', block);
  expect(placed(driver)).toEqual([]);
  root.addSubregion(4 * PAGE, ram);
  expect(placed(driver)).toEqual([4, 5, 6]);
  expect(driver.guestRead(5 * PAGE)).toBe(7);
  driver.guestWrite(5 * PAGE, 8);
  expect(block.bytes[PAGE]).toBe(8);
  ram.setOffset(0xffff_d000);
  expect(placed(driver)).toEqual([0xffffd, 0xffffe, 0xfffff]);
  expect(driver.guestRead(0xffff_e000)).toBe(8);
  root.removeSubregion(ram);
  ramList.free(block);
  expect(driver.frames).toEqual([]);
  alloc('next', 64);
  expect(driver.frames.length).toBe(64);
});

test('failure 37: ROM discards writes, ROMD sends them to us, and both move as plain pages', () => {
  const { root, driver, alloc } = board();
  const rom = MemoryRegion.rom('rom', alloc('rom', 1));
  root.addSubregion(0x10 * PAGE, rom);
  const flash = MemoryRegion.romd('flash', alloc('flash', 1), byteDevice(PAGE).ops);
  root.addSubregion(0x20 * PAGE, flash);
  expect([driver.typeOf(0x10), driver.typeOf(0x20)]).toEqual(['ram_ro', 'ioreq_server']);
  flash.setRomdMode(false);
  rom.setOffset(0x11 * PAGE);
  expect([driver.typeOf(0x11), driver.typeOf(0x20)]).toEqual(['ram_ro', undefined]);
  flash.setRomdMode(true);
  expect(driver.typeOf(0x20)).toBe('ioreq_server');
});

test('failure 39: a page is at one place; its alias is an exit until that goes', () => {
  const { root, driver, alloc } = board();
  const ram = MemoryRegion.ram('ram', alloc('ram', 4));
  root.addSubregion(0, MemoryRegion.alias('low', ram, 0, 4 * PAGE));
  root.addSubregion(0x10 * PAGE, MemoryRegion.alias('mirror', ram, PAGE, 2 * PAGE));
  expect(placed(driver)).toEqual([0, 1, 2, 3]);
  root.subregions.find(({ name }) => name === 'low')!.setEnabled(false);
  expect(placed(driver)).toEqual([0x10, 0x11]);
});

test('a framebuffer alone is tracked as a range; with a snapshot all is logged', () => {
  const { memory, root, driver, alloc, take } = board();
  root.addSubregion(0, MemoryRegion.ram('ram', alloc('ram', 4)));
  const vram = MemoryRegion.ram('vram', alloc('vram', 4));
  root.addSubregion(0x10 * PAGE, vram);
  vram.setLogging(DIRTY_VGA, true);
  const frame = () => {
    memory.addressSpace.syncDirtyLog(4 * PAGE, 4 * PAGE);
    return [...memory.dirty.harvest(DIRTY_VGA, 4 * PAGE, 4 * PAGE).pages()];
  };
  expect(frame()).toEqual([4, 5, 6, 7]);
  driver.log.length = 0;
  driver.guestWrite(0x12 * PAGE, 1);
  expect([frame(), frame()]).toEqual([[6], []]);
  expect(driver.log).toEqual(['track 4', 'track 4']);

  memory.dirty.clear(0, 64 * PAGE, DIRTY_MIGRATION);
  expect(driver.log.at(-1)).toBe('log');
  expect(frame(), 'nobody knows what it missed').toEqual([4, 5, 6, 7]);
  take(DIRTY_MIGRATION);
  driver.guestWrite(PAGE, 1);
  driver.guestWrite(0x11 * PAGE, 1);
  expect([take(DIRTY_MIGRATION), frame()]).toEqual([[1, 5], [5]]);
  memory.dirty.mark(0, 64 * PAGE, ~DIRTY_VGA & 0xff);
  vram.setLogging(DIRTY_VGA, false);
  expect(driver.log.at(-1)).toBe('no log');
});

test('a log that changes its kind loses nothing', () => {
  const { memory, root, driver, alloc } = board();
  const vram = MemoryRegion.ram('vram', alloc('vram', 4));
  root.addSubregion(0x10 * PAGE, vram);
  vram.setLogging(DIRTY_VGA, true);
  memory.dirty.clear(0, 4 * PAGE, DIRTY_VGA);
  driver.guestWrite(0x12 * PAGE, 1);
  root.addSubregion(0, MemoryRegion.ram('ram', alloc('ram', 1)));
  memory.dirty.clear(4 * PAGE, PAGE, DIRTY_MIGRATION);
  expect(driver.log.at(-1)).toBe('log');
  expect(memory.dirty.isDirty(2 * PAGE, PAGE, DIRTY_VGA)).toBe(true);
});

// Goal: the guest's other processors run while we work. What Xen cannot tell is dirty.
test('failure 4: a store between a move and the log is not lost, nor one before a lost log', () => {
  const { memory, root, driver, alloc, take } = board();
  const ram = MemoryRegion.ram('ram', alloc('ram', 4));
  memory.dirty.clear(0, 64 * PAGE, DIRTY_MIGRATION);
  driver.onMoved = () => void driver.guestWrite(0x12 * PAGE, 1);
  root.addSubregion(0x10 * PAGE, ram);
  expect(take(DIRTY_MIGRATION)).toContain(2);
  driver.onMoved = () => {};

  memory.dirty.mark(0, 64 * PAGE);
  ram.setLogging(DIRTY_VGA, true);
  take(DIRTY_VGA);
  driver.guestWrite(0x13 * PAGE, 1);
  driver.trackDirtyVRAM(0, 0);
  expect(take(DIRTY_VGA)).toContain(3);
});

test('blocks that were there before keep their bytes', () => {
  const memory = createGuestMemory({ ramCapacityBytes: 4 * PAGE, tlbRowCount: 16 });
  const block = memory.ramList.allocFrom({ name: 'rom', bytes: new Uint8Array(PAGE).fill(7) });
  memory.root.addSubregion(PAGE, MemoryRegion.rom('rom', block));
  const { driver, listener } = follow(memory);
  memory.addressSpace.addListener(listener);
  expect([driver.guestRead(PAGE), block.bytes[5]]).toEqual([7, 7]);
});

test('failure 40: random maps and stores over the model of the hypervisor', () => {
  fc.assert(
    fc.property(sessions, (session) => {
      playSession(session, createGuestMemory, (memory) => {
        const { driver, listener } = follow(memory);
        return {
          listener,
          log: 'everything',
          isUnique: true,
          guestRead: (gpa) => driver.guestRead(gpa),
          guestWrite: (gpa, value) => driver.guestWrite(gpa, value),
        };
      });
    }),
    fuzzOptions(15),
  );
});
