import fc from 'fast-check';
import { expect, test } from 'vitest';
import { HAXModel } from '../../../test/accel/hax-model.ts';
import { fuzzOptions } from '../../../test/fuzz-options.ts';
import { createGuestMemory } from '../../../test/kvm/memslots-board.ts';
import { playSession, sessions } from '../../../test/kvm/slot-session.ts';
import { byteDevice } from '../../../test/memory-model.ts';
import {
  DIRTY_MIGRATION,
  type GuestMemory,
  MemoryRegion,
  transaction,
} from '../../memory/index.ts';
import { HAXMemory } from './hax-memory.ts';

const PAGE = 4096;

function follow(memory: GuestMemory, driver = new HAXModel(memory.ramList.bytes)) {
  const { ramList, ramWrites } = memory;
  const listener = new HAXMemory({ driver, ramList, ramWrites, hostBase: driver.hostBase });
  return { driver, listener };
}

function board() {
  const memory = createGuestMemory({ ramCapacityBytes: 64 * PAGE, tlbRowCount: 16 });
  const { driver, listener } = follow(memory);
  memory.addressSpace.addListener(listener);
  const alloc = (name: string, pages: number) =>
    memory.ramList.alloc({ name, sizeBytes: pages * PAGE });
  return { memory, driver, listener, alloc, root: memory.root, dirty: memory.dirty };
}

test('RAM is mapped, ROM and ROMD read-only, what goes is unmapped first', () => {
  const { root, driver, alloc } = board();
  const ram = MemoryRegion.ram('ram', alloc('ram', 16));
  root.addSubregion(0, ram);
  root.addSubregion(0xffff_8000, MemoryRegion.rom('rom', alloc('rom', 8)));
  const flash = MemoryRegion.romd('flash', alloc('flash', 1), byteDevice(PAGE).ops);
  root.addSubregion(0x40 * PAGE, flash);
  expect(driver.log).toEqual(['0+16 0', '1048568+8 1', '64+1 1']);
  expect([driver.guestWrite(5, 1), driver.guestWrite(0xffff_ffff, 1)]).toEqual([true, false]);
  driver.log.length = 0;
  flash.setRomdMode(false);
  transaction(() => {
    ram.setOffset(4 * PAGE);
    flash.setRomdMode(true);
  });
  expect(driver.log).toEqual(['64+1 80', '0+16 80', '4+16 0', '64+1 1']);
  expect(driver.pageCount).toBe(25);
  driver.log.length = 0;
  transaction(() => {
    root.removeSubregion(ram);
    root.addSubregion(4 * PAGE, MemoryRegion.ram('again', ram.block!));
  });
  expect(driver.log).toEqual([]);
});

// Goal: without a log of the driver's, everything that the guest could have written is dirty.
test('failure 4: mapped RAM is dirty after a sync, and after it went', () => {
  const { memory, root, dirty, driver, alloc } = board();
  const ram = MemoryRegion.ram('ram', alloc('ram', 4));
  root.addSubregion(0, ram);
  root.addSubregion(0x10 * PAGE, MemoryRegion.rom('rom', alloc('rom', 4)));
  const take = () => {
    memory.addressSpace.syncDirtyLog();
    return [...dirty.harvest(DIRTY_MIGRATION).pages()];
  };
  take();
  driver.guestWrite(PAGE, 1);
  expect(take()).toEqual([0, 1, 2, 3]);
  driver.guestWrite(2 * PAGE, 1);
  root.removeSubregion(ram);
  expect(take()).toEqual([0, 1, 2, 3]);
  expect(take()).toEqual([]);
});

test('a driver without HAX_RAM_INFO_INVALID is refused', () => {
  const memory = createGuestMemory({ ramCapacityBytes: PAGE });
  expect(() => follow(memory, new HAXModel(memory.ramList.bytes, 3))).toThrow(
    'Cannot map memory in HAXM as its API version must be at least 4: it is 3',
  );
});

test('failure 40: random maps and stores over the model of the driver', () => {
  fc.assert(
    fc.property(sessions, (session) => {
      playSession(session, createGuestMemory, (memory) => {
        const { driver, listener } = follow(memory);
        return {
          listener,
          log: 'everything',
          guestRead: (gpa) => driver.guestRead(gpa),
          guestWrite: (gpa, value) => driver.guestWrite(gpa, value),
        };
      });
    }),
    fuzzOptions(15),
  );
});
