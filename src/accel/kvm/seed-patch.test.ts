// The seed's patch, hunk by hunk: what each mended, as a test of our code, with the logic as it was
// beside it, written anew from the patch's description for addresses of 32 bits (`old…`), to show
// that the case tells them apart. The second hunk of exec.c changes white space only.

import { expect, test } from 'vitest';
import { createBoard } from '../../../test/kvm/memslots-board.ts';
import {
  DIRTY_MIGRATION,
  DirtyMemory,
  MemoryRegion,
  MemorySection,
  RAMList,
  RAMWrites,
} from '../../memory/index.ts';
import { wholePages } from '../../memory/page-run.ts';
import { DirtyLog } from './dirty-log.ts';
import type { KVMMemoryVM } from './kvm-vm.ts';
import { type KVMSlot, SlotTable } from './slot-table.ts';

const PAGE = 0x1000;
const TOP = 0xffff_0000; // 64 KiB that end exactly at 4 GiB.
const TOP_BYTES = 0x1_0000;

/**
 * Widths of `hwaddr` and `ram_addr_t`: 32 bits both, or 32 and 64, as on a 64-bit host. An end made
 * of addresses alone wraps either way; the sum of a slot's address and size only if both are
 * narrow.
 */
const WIDTHS = ['32 and 32', '32 and 64'] as const;
type Widths = (typeof WIDTHS)[number];

const wrap = (value: number): number => value % 2 ** 32;
const slotEnd = ({ start, size }: OldSlot, widths: Widths): number =>
  widths === '32 and 32' ? wrap(start + size) : start + size;

interface OldSlot {
  readonly start: number;
  readonly size: number;
}

function tableOf(...slots: readonly OldSlot[]): SlotTable {
  const list = RAMList.create({ capacityBytes: 0x40_0000 });
  const table = new SlotTable(8);
  slots.forEach(({ start, size }, index) => {
    const block = list.alloc({ name: `b${index}`, sizeBytes: size });
    const section = new MemorySection(MemoryRegion.ram('ram', block), start, size, 0, 0);
    table.add(wholePages(section)!, false);
  });
  return table;
}

/** What our lookups find, as the old ones answer. */
const shown = (slot: KVMSlot | undefined): OldSlot | undefined =>
  slot && { start: slot.run.gpa, size: slot.run.sizeBytes };

function oldMatching(slots: readonly OldSlot[], start: number, size: number, widths: Widths) {
  const end = wrap(start + size);
  return slots.find((slot) => start === slot.start && end === slotEnd(slot, widths));
}

function oldOverlapping(slots: readonly OldSlot[], start: number, size: number, widths: Widths) {
  const end = wrap(start + size);
  let found: OldSlot | undefined;
  for (const slot of slots) {
    if (slot.size === 0 || (found !== undefined && found.start < slot.start)) continue;
    if (end > slot.start && start < slotEnd(slot, widths)) found = slot;
  }
  return found;
}

test('exec.c, hunk 1: a block has its device in its id, so two devices may use one name', () => {
  const list = RAMList.create({ capacityBytes: 16 * PAGE });
  const alloc = (devicePath: string) => list.alloc({ name: 'rom', devicePath, sizeBytes: PAGE }).id;
  expect([alloc('pci/02.0'), alloc('pci/03.0')]).toEqual(['pci/02.0/rom', 'pci/03.0/rom']);
  // Before, `idstr` was never written: a snapshot found the first block whatever it looked for.
  const oldIds = ['', ''];
  expect(oldIds.indexOf(oldIds[1]!)).toBe(0);
});

test('kvm-all.c, hunk 1: a slot that ends at 4 GiB is matched by start and size', () => {
  const slots = [{ start: TOP, size: TOP_BYTES }];
  expect(shown(tableOf(...slots).matching(TOP, TOP_BYTES))).toEqual(slots[0]);
  expect(tableOf(...slots).matching(TOP, TOP_BYTES / 2)).toBeUndefined();
  expect(oldMatching(slots, TOP, TOP_BYTES, '32 and 64')).toBeUndefined();
  expect(oldMatching(slots, TOP, TOP_BYTES, '32 and 32'), 'both sides wrapped').toBe(slots[0]);
});

test('kvm-all.c, hunk 2: an overlap is looked up by start and size, so no end wraps', () => {
  const slots = [{ start: TOP - TOP_BYTES, size: TOP_BYTES }];
  // A range that begins in the slot and ends at 4 GiB.
  const start = TOP - PAGE;
  const size = TOP_BYTES + PAGE;
  expect(shown(tableOf(...slots).overlapping(start, size))).toEqual(slots[0]);
  for (const widths of WIDTHS) expect(oldOverlapping(slots, start, size, widths)).toBeUndefined();
});

test('kvm-all.c, hunk 3: a slot that ends at 4 GiB overlaps, the lowest is found', () => {
  const slots = [
    { start: TOP, size: TOP_BYTES },
    { start: 0x10_0000, size: TOP_BYTES },
  ];
  const table = tableOf(...slots);
  expect(shown(table.overlapping(TOP + PAGE, PAGE))).toEqual(slots[0]);
  expect(oldOverlapping(slots, TOP + PAGE, PAGE, '32 and 32')).toBeUndefined();
  expect(shown(table.overlapping(0, 2 ** 32))).toEqual(slots[1]);
  expect(table.overlapping(0x11_0000, PAGE)).toBeUndefined();
  expect(table.overlapping(0xf_f000, PAGE)).toBeUndefined();
});

test('kvm-all.c, hunk 4: logging of a slot that ends at 4 GiB is switched', () => {
  const board = createBoard();
  const rom = MemoryRegion.ram('shadow', board.alloc('shadow', 16));
  board.root.addSubregion(TOP, rom);
  rom.setLogging(1, true);
  expect(board.listing()).toEqual(['ffff0+10 wl @0']);
  // The old change of flags looked the slot up by its wrapped end, and was an error.
  const slots = [{ start: TOP, size: TOP_BYTES }];
  expect(oldMatching(slots, TOP, TOP_BYTES, '32 and 64')).toBeUndefined();
});

/** How often the old sync allocated its bitmap for these slots, of so many pages each. */
function oldAllocations(pageCounts: readonly number[]): number {
  let allocated = 0;
  let count = 0;
  for (const [index, pages] of pageCounts.entries()) {
    const size = (pages + 7) >> 3;
    if (index === 0 || size > allocated) count++;
    allocated = size; // Also where it is smaller than what there is.
  }
  return count;
}

test('kvm-all.c, hunk 5: the bitmap grows to the largest slot and stays', () => {
  const pageCounts = [4096, 64, 2048, 128, 4096, 1];
  const seen: ArrayBufferLike[] = [];
  const isClean: boolean[] = [];
  const vm = {
    getDirtyLog(_slot: number, bitmap: Uint8Array) {
      seen.push(bitmap.buffer);
      isClean.push(bitmap.every((byte) => byte === 0));
      bitmap.fill(0xff);
    },
  } as unknown as KVMMemoryVM;
  const dirty = DirtyMemory.create({ pageCount: 4096 });
  const log = new DirtyLog(vm, new RAMWrites({ dirty }), false);
  const region = MemoryRegion.ram(
    'ram',
    RAMList.create({ capacityBytes: 1 << 24 }).alloc({
      name: 'ram',
      sizeBytes: 1 << 24,
    }),
  );
  for (const pages of pageCounts) {
    const run = wholePages(new MemorySection(region, 0, pages * PAGE, 0, 0))!;
    dirty.clear(0, 4096 * PAGE, DIRTY_MIGRATION);
    log.harvest({ slotIndex: 0, run, isLogged: true });
    expect(dirty.count(DIRTY_MIGRATION)).toBe(pages);
  }
  expect(new Set(seen).size).toBe(1);
  expect(log.bufferBytes).toBe(4096 / 8);
  expect(isClean).toEqual(pageCounts.map(() => true));
  expect(oldAllocations(pageCounts)).toBe(3);
  // The kernel writes whole words of 64 pages: (pages + 7) / 8 bytes are too few for one page.
  expect(seen[5]!.byteLength).toBeGreaterThanOrEqual(8);
});

/** Pages that the old loop over a slot's bitmap looked at. */
function oldPagesOf(slot: OldSlot, widths: Widths): number {
  let pages = 0;
  const end = slotEnd(slot, widths);
  for (let gpa = slot.start; gpa < end && pages < 1000; gpa = wrap(gpa + PAGE)) pages++;
  return pages;
}

test('kvm-all.c, hunk 6: every page of a slot that ends at 4 GiB is synced', () => {
  const board = createBoard();
  board.root.addSubregion(TOP, MemoryRegion.ram('ram', board.alloc('ram', 16)));
  board.dirty.clear(0, TOP_BYTES, DIRTY_MIGRATION);
  for (const page of [0, 7, 15]) board.write(TOP + page * PAGE);
  board.space.syncDirtyLog();
  expect([...board.dirty.harvest(DIRTY_MIGRATION, 0, TOP_BYTES).pages()]).toEqual([0, 7, 15]);
  expect(oldPagesOf({ start: TOP, size: TOP_BYTES }, '32 and 32')).toBe(0);
  expect(oldPagesOf({ start: TOP, size: TOP_BYTES }, '32 and 64'), 'past the bitmap').toBe(1000);
});

/** Starts of the slots that the old sync visits in [start, end), until it repeats itself. */
function oldSync(slots: readonly OldSlot[], start: number, end: number): number[] | 'for ever' {
  const visited: number[] = [];
  for (let at = start; at < end; ) {
    const slot = slots.find((one) => one.start >= at || at - one.start < one.size);
    if (slot === undefined) break;
    if (visited.includes(slot.start)) return 'for ever';
    visited.push(slot.start);
    at = wrap(slot.start + slot.size); // 0 behind the last slot: all begins again.
  }
  return visited;
}

test('kvm-all.c, hunk 7: a sync ends at the top of the space', () => {
  const board = createBoard();
  board.root.addSubregion(0, MemoryRegion.ram('low', board.alloc('low', 16)));
  board.root.addSubregion(TOP, MemoryRegion.ram('top', board.alloc('top', 16)));
  board.memslots.startGlobalLog();
  board.model.log.length = 0;
  board.space.syncDirtyLog();
  expect(board.model.log.filter((call) => call.startsWith('get'))).toEqual(['get 0', 'get 1']);
  const slots = [
    { start: 0, size: TOP_BYTES },
    { start: TOP, size: TOP_BYTES },
  ];
  expect(oldSync(slots, 0, 2 ** 32 - 1)).toBe('for ever');
  const table = tableOf(...slots);
  expect([...table.within(0, 2 ** 32)].map(({ run }) => run.gpa)).toEqual([0, TOP]);
  expect([...table.within(TOP + PAGE, 2 ** 32 - TOP - PAGE)].map(({ run }) => run.gpa)).toEqual([
    TOP,
  ]);
});

test('kvm-all.c, hunk 8: an unaligned device at the top of the space splits its page only', () => {
  const board = createBoard();
  board.root.addSubregion(TOP, MemoryRegion.ram('ram', board.alloc('ram', 16)));
  const device = MemoryRegion.io('device', 0x800, { read: () => 0x77, write() {} });
  board.root.addSubregion(2 ** 32 - 0x800, device, 1);
  expect(board.listing()).toEqual(['ffff0+f w @0']);
  expect([board.write(2 ** 32 - 0x801, 5), board.read(2 ** 32 - 0x801)]).toEqual([false, 5]);
  expect(board.read(2 ** 32 - 1)).toBe(0x77);
  // The old check saw no slot there: the device's page stayed RAM.
  const slots = [{ start: TOP, size: TOP_BYTES }];
  const start = 2 ** 32 - 0x800;
  for (const widths of WIDTHS) expect(oldOverlapping(slots, start, 0x800, widths)).toBeUndefined();
  expect(shown(tableOf(...slots).overlapping(start, 0x800))).toEqual(slots[0]);
});

test('kvm-all.c, hunk 9: what is mapped at the end of the space replaces what was there', () => {
  const board = createBoard();
  board.root.addSubregion(TOP, MemoryRegion.ram('below', board.alloc('below', 16)));
  const above = MemoryRegion.rom('above', board.alloc('above', 8));
  board.root.addSubregion(TOP + 8 * PAGE, above, 1);
  expect(board.listing()).toEqual(['ffff0+8 w @0', 'ffff8+8 r @16']);
  // The old loop found nothing to remove; the kernel then refused the overlap (EEXIST).
  const start = TOP + 8 * PAGE;
  const slots = [{ start: TOP, size: TOP_BYTES }];
  for (const widths of WIDTHS)
    expect(oldOverlapping(slots, start, 8 * PAGE, widths)).toBeUndefined();
});

test('all of them: lookups at the top of 2^52', () => {
  const start = 2 ** 52 - TOP_BYTES;
  const table = tableOf({ start, size: TOP_BYTES });
  expect(table.matching(start, TOP_BYTES)?.slotIndex).toBe(0);
  expect(table.overlapping(2 ** 52 - PAGE, PAGE)?.slotIndex).toBe(0);
  expect(table.overlapping(start - PAGE, PAGE)).toBeUndefined();
});
