import { expect, test } from 'vitest';
import { createBoard } from '../../../test/kvm/memslots-board.ts';
import { byteDevice } from '../../../test/memory-model.ts';
import {
  DIRTY_CLONE,
  DIRTY_MIGRATION,
  DIRTY_VGA,
  MemoryRegion,
  transaction,
} from '../../memory/index.ts';
import { KVMError } from './kvm-vm.ts';
import { formatSlots } from './slot-info.ts';

const PAGE = 4096;
const MIB = 256; // In pages.

type Board = ReturnType<typeof createBoard>;

function addRAM(board: Board, name: string, gpaPages: number, pages: number): MemoryRegion {
  const region = MemoryRegion.ram(name, board.alloc(name, pages));
  board.root.addSubregion(gpaPages * PAGE, region);
  return region;
}

/** RAM pages that are dirty for a client, which takes them as a snapshot does. */
function take(board: Board, client: number): number[] {
  board.space.syncDirtyLog();
  return [...board.dirty.harvest(client, 0, board.ramList.capacityBytes).pages()];
}

/** No page is dirty for the client, and all slots log for it. */
function begin(board: Board, client: number): void {
  board.dirty.clear(0, board.ramList.capacityBytes, client);
}

test('RAM, ROM and ROMD are slots; a device and ROMD in I/O mode are exits', () => {
  const board = createBoard();
  const ram = addRAM(board, 'ram', 0, 16);
  board.root.addSubregion(0x100 * PAGE, MemoryRegion.alias('mirror', ram, 4 * PAGE, 8 * PAGE));
  board.root.addSubregion(0x20 * PAGE, MemoryRegion.rom('rom', board.alloc('rom', 2)));
  const { ops, bytes } = byteDevice(4 * PAGE);
  const flash = MemoryRegion.romd('flash', board.alloc('flash', 4), ops);
  board.root.addSubregion(0x30 * PAGE, flash);
  board.root.addSubregion(0x40 * PAGE, MemoryRegion.io('io', PAGE, byteDevice(PAGE).ops));
  const others = ['0+10 w @0', '100+8 w @4', '20+2 r @16'];
  expect(board.listing()).toEqual([...others, '30+4 r @18']);

  expect([board.write(0x102 * PAGE, 7), board.read(6 * PAGE)]).toEqual([true, 7]);
  expect([board.write(0x20 * PAGE, 7), board.read(0x20 * PAGE)]).toEqual([false, 0]);
  expect([board.write(0x30 * PAGE + 5, 7), bytes[5]]).toEqual([false, 7]);
  flash.setRomdMode(false);
  expect(board.listing()).toEqual(others);
  expect(board.read(0x30 * PAGE + 5)).toBe(7);
  flash.setRomdMode(true);
  expect(board.listing()).toEqual([...others, '30+4 r @18']);
  expect(board.read(0x30 * PAGE + 5)).toBe(0);
});

test('failure 1: slots that end exactly at 4 GiB and at the top of 2^52 are whole', () => {
  const board = createBoard();
  addRAM(board, 'low', 2 ** 20 - 4, 4);
  addRAM(board, 'top', 2 ** 40 - 4, 4);
  expect(board.listing()).toEqual(['ffffc+4 w @0', 'fffffffffc+4 w @4']);
  begin(board, DIRTY_MIGRATION);
  board.write(2 ** 32 - 1);
  board.write(2 ** 52 - 1);
  expect(take(board, DIRTY_MIGRATION)).toEqual([3, 7]);
  board.root.subregions[0]!.setEnabled(false);
  board.root.subregions[1]!.setEnabled(false);
  expect(board.listing()).toEqual([]);
});

// Goal: a page that is not whole RAM of one section, or whose RAM is aligned otherwise than its
// address, must stay an exit, or the guest would see RAM where a device is, or other bytes.
test('failure 36: a slot has the whole pages only, if RAM is aligned as they are', () => {
  const board = createBoard();
  const ram = addRAM(board, 'ram', 0, 16);
  board.root.addSubregion(3 * PAGE + 0x800, MemoryRegion.io('io', 16, byteDevice(16).ops), 1);
  const crooked = MemoryRegion.alias('crooked', ram, 0x808, 4 * PAGE);
  board.root.addSubregion(0x20 * PAGE, crooked);
  const shifted = MemoryRegion.alias('shifted', ram, 0x800, 4 * PAGE);
  board.root.addSubregion(0x30 * PAGE + 0x800, shifted);
  board.root.addSubregion(0x40 * PAGE + 8, MemoryRegion.alias('bit', ram, 8, PAGE));
  expect(board.listing()).toEqual(['0+3 w @0', '31+3 w @1', '4+c w @4']);
  board.write(3 * PAGE + 5, 9);
  board.write(3 * PAGE + 0x801, 8);
  board.write(0x20 * PAGE, 7);
  expect([board.read(3 * PAGE + 5), ram.block!.bytes[3 * PAGE + 0x801]]).toEqual([9, 0]);
  expect(ram.block!.bytes[0x808]).toBe(7);
});

test('failure 40: deletions come before additions; what did not change keeps its slot', () => {
  const board = createBoard();
  const low = addRAM(board, 'low', 0, 4);
  addRAM(board, 'still', 0x10, 4);
  const moved = addRAM(board, 'moved', 0x20, 4);
  board.model.log.length = 0;
  transaction(() => {
    moved.setOffset(2 * PAGE);
    low.setOffset(4 * PAGE);
    low.setOffset(6 * PAGE);
  });
  expect(board.model.log).toEqual(['delete 0', 'delete 2', 'set 0', 'set 2']);
  expect(board.listing()).toEqual(['10+4 w @4', '2+4 w @8', '6+4 w @0']);
  // The same pages shown through another region are the same slot.
  board.model.log.length = 0;
  transaction(() => {
    board.root.removeSubregion(low);
    board.root.addSubregion(6 * PAGE, MemoryRegion.ram('again', low.block!));
  });
  expect(board.model.log).toEqual([]);
  board.root.subregions[0]!.setLogging(DIRTY_VGA, true);
  expect(board.listing()).toContain('6+4 wl @0');
});

test('failure 37: shadow RAM that becomes read-only is another slot', () => {
  const board = createBoard();
  const shadow = addRAM(board, 'shadow', 0xf0, 16);
  board.model.log.length = 0;
  shadow.setReadOnly(true);
  expect(board.listing()).toEqual(['f0+10 r @0']);
  expect([board.write(0xf0 * PAGE), board.read(0xf0 * PAGE)]).toEqual([false, 0]);
  shadow.setReadOnly(false);
  expect(board.write(0xf0 * PAGE)).toBe(true);
  expect(board.model.log).toEqual(['delete 0', 'set 0', 'delete 0', 'set 0']);
});

test.each([
  ['bitmap', { usesManualProtect: false }],
  ['manual protect', {}],
] as const)(
  'failure 4 (%s): no store is lost when a slot goes, moves or changes its flags',
  (kind, slots) => {
    const board = createBoard({ slots });
    expect(board.memslots.logKind).toBe(kind);
    const ram = addRAM(board, 'ram', 0, 4);
    begin(board, DIRTY_MIGRATION);
    board.write(PAGE);
    ram.setOffset(0x10 * PAGE); // Moved.
    board.write(0x12 * PAGE);
    ram.setReadOnly(true); // Deleted, and back with other flags.
    expect(take(board, DIRTY_MIGRATION)).toEqual([1, 2]);
    ram.setReadOnly(false);
    board.write(0x13 * PAGE);
    board.root.removeSubregion(ram);
    expect(take(board, DIRTY_MIGRATION)).toEqual([3]);
    expect(board.model.slots.size).toBe(0);
  },
);

test('failure 4: a display that starts and stops its log loses nothing for anybody', () => {
  const board = createBoard();
  const vram = addRAM(board, 'vram', 0x10, 4);
  expect(board.listing()).toEqual(['10+4 w @0']);
  vram.setLogging(DIRTY_VGA, true);
  expect(board.listing()).toEqual(['10+4 wl @0']);
  expect(take(board, DIRTY_VGA).slice(0, 4)).toEqual([0, 1, 2, 3]); // What it never saw.
  board.write(0x11 * PAGE);
  expect(take(board, DIRTY_VGA)).toEqual([1]);

  begin(board, DIRTY_MIGRATION);
  board.write(0x12 * PAGE);
  vram.setLogging(DIRTY_VGA, false);
  expect(board.listing(), 'the snapshot waits still').toEqual(['10+4 wl @0']);
  board.write(0x13 * PAGE);
  expect(take(board, DIRTY_MIGRATION)).toEqual([2, 3]);

  vram.setLogging(DIRTY_VGA, true);
  expect(take(board, DIRTY_VGA)).toEqual([0, 1, 2, 3]); // It cannot know what it missed.
});

test('a display alone: its log stops with it', () => {
  const board = createBoard();
  const vram = addRAM(board, 'vram', 0x10, 4);
  vram.setLogging(DIRTY_VGA, true);
  begin(board, DIRTY_VGA);
  vram.setLogging(DIRTY_VGA, false);
  expect(board.listing()).toEqual(['10+4 w @0']);
});

// Goal: frames are drawn sixty times a second, and must not arm all of RAM anew each time.
test('a sync of a range leaves the logs of other slots alone', () => {
  const board = createBoard();
  addRAM(board, 'ram', 0, 4);
  const vram = addRAM(board, 'vram', 0x10, 4);
  begin(board, DIRTY_MIGRATION);
  board.model.log.length = 0;
  board.space.syncDirtyLog(vram.block!.ramOffset, vram.block!.sizeBytes);
  expect(board.model.log).toEqual(['get 1']);
});

test('a client that takes its bits makes all slots of those pages log, before it goes on', () => {
  const board = createBoard();
  const ram = addRAM(board, 'ram', 0, 8);
  board.root.addSubregion(0x20 * PAGE, MemoryRegion.alias('mirror', ram, 0, 4 * PAGE));
  board.root.addSubregion(0x30 * PAGE, MemoryRegion.rom('rom', board.alloc('rom', 1)));
  board.write(PAGE);
  board.dirty.clear(2 * PAGE, PAGE, DIRTY_CLONE);
  expect(board.listing()).toEqual(['0+8 wl @0', '20+4 wl @0', '30+1 r @8']);
  board.write(0x22 * PAGE);
  expect(take(board, DIRTY_CLONE).slice(0, 3)).toEqual([0, 1, 2]);
  board.write(0x23 * PAGE);
  board.write(0);
  expect(take(board, DIRTY_CLONE)).toEqual([0, 3]);
  // A slot that comes over pages that somebody waits for logs at once.
  board.root.addSubregion(0x40 * PAGE, MemoryRegion.alias('late', ram, 0, PAGE));
  board.write(0x40 * PAGE);
  expect(take(board, DIRTY_CLONE)).toEqual([0]);
  // Nobody can write through what is read-only.
  const late = MemoryRegion.alias('late rom', board.root.subregions[1]!, 0, PAGE);
  board.root.addSubregion(0x50 * PAGE, late);
  begin(board, DIRTY_CLONE);
  expect(board.listing().filter((slot) => slot.includes('r'))).toEqual(['30+1 r @8', '50+1 r @8']);
});

test('failure 46: a migration that ends stops the log, but not that of a display', () => {
  const board = createBoard();
  addRAM(board, 'ram', 0, 4);
  const vram = addRAM(board, 'vram', 0x10, 4);
  vram.setLogging(DIRTY_VGA, true);
  begin(board, DIRTY_VGA);
  board.memslots.startGlobalLog();
  expect(board.listing()).toEqual(['0+4 wl @0', '10+4 wl @4']);
  begin(board, DIRTY_MIGRATION);
  board.write(PAGE);
  board.write(0x11 * PAGE);
  board.memslots.stopGlobalLog();
  expect(board.listing()).toEqual(['0+4 w @0', '10+4 wl @4']);
  board.write(2 * PAGE);
  expect(take(board, DIRTY_VGA).filter((page) => page >= 4 && page < 8)).toEqual([5]);
  // Whoever counted on the log since must take everything.
  expect(take(board, DIRTY_MIGRATION).slice(0, 8)).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
});

test('more regions than slots: an error with their number, exits, numbers reused', () => {
  const board = createBoard({ slotCountMax: 3 });
  const first = addRAM(board, 'a', 0, 1);
  addRAM(board, 'b', 2, 1);
  addRAM(board, 'c', 4, 1);
  const error = new KVMError(
    'ENOSPC',
    'Cannot map region "d" at 0x6000 to a memory slot as one of 3 must be free: all are in use',
  );
  expect(() => addRAM(board, 'd', 6, 1)).toThrow(error);
  expect([board.write(6 * PAGE, 5), board.read(6 * PAGE)], 'by an exit').toEqual([false, 5]);
  expect(board.memslots.exiles.map(({ gpa }) => gpa)).toEqual([6 * PAGE]);
  // Other changes go on, and say nothing twice.
  board.root.addSubregion(0x80 * PAGE, MemoryRegion.io('io', 8, byteDevice(8).ops));
  board.root.removeSubregion(first);
  expect(board.listing()).toEqual(['2+1 w @1', '4+1 w @2', '6+1 w @3']);
  expect([...board.model.slots.keys()].sort()).toEqual([0, 1, 2]);
  expect([board.write(6 * PAGE, 6), board.read(6 * PAGE)]).toEqual([true, 6]);
  expect(board.memslots.exiles).toEqual([]);
});

// Goal: a guest moves base addresses as it likes; where the kernel refuses a slot the machine goes
// on.
test('a slot that the kernel refuses is told of once, and served by exits', () => {
  const problems: string[] = [];
  const board = createBoard({ slots: { onProblem: ({ code }) => void problems.push(code) } });
  const bar = addRAM(board, 'bar', 0x10, 1);
  board.model.refuse = (call) => {
    if (call.startsWith('set')) throw new KVMError('ENOMEM', 'no memory');
  };
  bar.setOffset(0x20 * PAGE);
  board.model.refuse = () => {};
  addRAM(board, 'ram', 0x30, 1);
  expect(problems).toEqual(['ENOMEM']);
  expect(board.listing()).toEqual(['30+1 w @1']);
  expect([board.write(0x20 * PAGE, 5), board.read(0x20 * PAGE)]).toEqual([false, 5]);
  bar.setOffset(0x40 * PAGE);
  expect(board.listing()).toEqual(['30+1 w @1', '40+1 w @0']);
  expect(board.memslots.exiles).toEqual([]);
});

test('a log that cannot be started leaves its pages dirty', () => {
  const problems: string[] = [];
  const board = createBoard({ slots: { onProblem: ({ code }) => void problems.push(code) } });
  addRAM(board, 'ram', 0, 4);
  board.model.refuse = (call) => {
    if (call.startsWith('flags')) throw new KVMError('ENOMEM', 'no memory');
  };
  board.dirty.clear(PAGE, 2 * PAGE, DIRTY_MIGRATION);
  expect(problems).toEqual(['ENOMEM']);
  expect(board.dirty.count(DIRTY_MIGRATION)).toBe(board.dirty.pageCount);
});

test('a kernel without read-only slots is refused by name, one without rings too', () => {
  expect(() => createBoard({ isReadOnlyCapable: false })).toThrow(
    'Cannot map memory in KVM as it must have KVM_CAP_READONLY_MEM: it has not',
  );
  const board = createBoard({ isManualCapable: false });
  expect(board.memslots.logKind).toBe('bitmap');
});

test('info slots', () => {
  const board = createBoard({ slotCountMax: 4, slots: { onProblem: () => {} } });
  const ram = addRAM(board, 'pc.ram', 0, 16);
  board.root.addSubregion(0xffff_8000, MemoryRegion.rom('bios', board.alloc('pc.bios', 8)));
  board.root.addSubregion(0x10000, MemoryRegion.alias('mirror', ram, 4 * PAGE, 8 * PAGE));
  const { ops } = byteDevice(PAGE);
  const flash = MemoryRegion.romd('flash', board.alloc('flash', 1), ops);
  board.root.addSubregion(0xe000_0000, flash);
  addRAM(board, 'late', 2 ** 40 - 1, 1);
  board.dirty.clear(0, PAGE, DIRTY_MIGRATION);
  expect(formatSlots(board.memslots)).toBe(`KVM memory slots: 4 of 4, dirty log by manual protect
  0000000000000000-000000000000ffff (slot 0, ram, log): pc.ram @0000000000000000
  0000000000010000-0000000000017fff (slot 2, ram): pc.ram @0000000000004000
  00000000e0000000-00000000e0000fff (slot 3, romd): flash @0000000000000000
  00000000ffff8000-00000000ffffffff (slot 1, rom): pc.bios @0000000000000000
  000ffffffffff000-000fffffffffffff (no slot, ram): late @0000000000000000
`);
});

test('memory that is no longer followed has no slots', () => {
  const board = createBoard();
  addRAM(board, 'ram', 0, 4);
  begin(board, DIRTY_MIGRATION);
  board.write(PAGE);
  board.space.removeListener(board.memslots);
  expect(board.model.slots.size).toBe(0);
  expect(board.dirty.isDirty(PAGE, PAGE, DIRTY_MIGRATION)).toBe(true);
});

test('with a dirty ring, pages come from the ring, around its end, and are watched again', () => {
  const board = createBoard({ pageCount: 2 * MIB, slots: { ringBytes: PAGE } });
  expect(board.memslots.logKind).toBe('ring');
  board.memslots.addRing(board.model.ring!);
  addRAM(board, 'other', 0x1000, 8);
  const ram = addRAM(board, 'ram', 0, MIB);
  begin(board, DIRTY_MIGRATION);
  for (let round = 0; round < 3; round++) {
    const pages = Array.from({ length: 100 }, (_, index) => (index * 7 + round) % MIB);
    for (const page of [...pages, ...pages]) board.write(page * PAGE);
    const first = ram.block!.ramOffset / PAGE;
    const expected = [...new Set(pages)].map((page) => first + page).sort((a, b) => a - b);
    expect(take(board, DIRTY_MIGRATION)).toEqual(expected);
  }
  // A full ring is an exit; who leaves for it has it emptied.
  for (let page = 0; page < 256; page++) board.write(page * PAGE);
  expect(() => board.write(0x1000 * PAGE)).toThrow('KVM_EXIT_DIRTY_RING_FULL');
  expect(board.memslots.drainRings()).toBe(256);
  // Not one entry was free: who knows what was written over. All that logs is dirty.
  expect(take(board, DIRTY_MIGRATION).length).toBe(MIB + 8);
  board.write(0x1000 * PAGE);
  board.write(0);
  ram.setOffset(0x1_0000 * PAGE);
  expect(take(board, DIRTY_MIGRATION).length).toBe(2);
});
