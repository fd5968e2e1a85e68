import { expect, test } from 'vitest';
import { DIRTY_MIGRATION, DirtyMemory, MemorySection, RAMWrites } from '../../memory/index.ts';
import type { PageRun } from '../../memory/page-run.ts';
import { DirtyLog } from './dirty-log.ts';
import type { KVMMemoryVM } from './kvm-vm.ts';

const PAGE = 4096;

// Goal: KVM_CLEAR_DIRTY_LOG takes whole pieces of 64 pages, or up to the slot's end, and must get
// the very bits that were read: a bit that it clears unread is a page that no snapshot has.
test('failure 5: what is cleared is what was read, in pieces that the kernel takes', () => {
  const pageCount = 3 * 65536 + 70;
  const dirtyPages = [0, 63, 65535, 65536 * 3 - 1, 65536 * 3, pageCount - 1];
  const cleared: { first: number; count: number; pages: number[] }[] = [];
  const vm = {
    getDirtyLog(_slot: number, bitmap: Uint8Array) {
      for (const page of dirtyPages) bitmap[page >> 3] = bitmap[page >> 3]! | (1 << (page & 7));
    },
    clearDirtyLog(_slot: number, first: number, count: number, bitmap: Uint8Array) {
      const pages: number[] = [];
      for (let index = 0; index < count; index++)
        if (((bitmap[index >> 3]! >> (index & 7)) & 1) !== 0) pages.push(first + index);
      cleared.push({ first, count, pages });
    },
  } as unknown as KVMMemoryVM;
  const dirty = DirtyMemory.create({ pageCount: pageCount + 5 });
  dirty.clear(0, (pageCount + 5) * PAGE, DIRTY_MIGRATION);
  const section = new MemorySection(undefined, 0, pageCount * PAGE, 0, 2);
  const run: PageRun = {
    ...{ section, gpa: 0, isReadOnly: false },
    ...{ ramOffset: 3 * PAGE, sizeBytes: pageCount * PAGE },
  };
  new DirtyLog(vm, new RAMWrites({ dirty }), true).harvest({ slotIndex: 0, run, isLogged: true });
  expect(cleared).toEqual([
    { first: 0, count: 65536, pages: [0, 63, 65535] },
    // Nothing was dirty in the second piece.
    { first: 2 * 65536, count: 65536, pages: [65536 * 3 - 1] },
    { first: 3 * 65536, count: 70, pages: [65536 * 3, pageCount - 1] },
  ]);
  expect([...dirty.harvest(DIRTY_MIGRATION).pages()]).toEqual(dirtyPages.map((page) => page + 3));
});
