import fc from 'fast-check';
import { expect, test } from 'vitest';
import { fuzzOptions } from '../../test/fuzz-options.ts';
import { CodePages } from './code-pages.ts';
import { DIRTY_ALL, DIRTY_CODE, DirtyMemory } from './dirty-memory.ts';
import { GuestMemory } from './guest-memory.ts';
import { MemoryRegion } from './memory-region.ts';
import { RAMWrites } from './ram-writes.ts';

const PAGE = 4096;

function board() {
  const memory = new GuestMemory({ ramCapacityBytes: 8 * PAGE, addressSpaceBytes: 2 ** 32 });
  const block = memory.ramList.alloc({ name: 'ram', sizeBytes: 8 * PAGE });
  memory.root.addSubregion(0, MemoryRegion.ram('ram', block));
  block.bytes.fill(0xaa);
  return { memory, block };
}

type Board = ReturnType<typeof board>;

// Goal: whoever copies a page before its first write sees the bytes that it had until then.
test.each<[string, (it: Board) => void]>([
  ['write()', ({ memory }) => memory.addressSpace.write(PAGE + 8, 4, 1)],
  ['write() across pages', ({ memory }) => memory.addressSpace.write(2 * PAGE - 2, 4, 1)],
  ['writeBytes()', ({ memory }) => memory.addressSpace.writeBytes(PAGE, new Uint8Array(PAGE))],
  ['loadBytes()', ({ memory }) => memory.addressSpace.loadBytes(PAGE, new Uint8Array(9))],
  ['discard()', ({ memory }) => memory.discard(PAGE, PAGE)],
  [
    'mapRange()',
    ({ memory }) => {
      const mapping = memory.addressSpace.mapRange(PAGE, 100, true);
      mapping.segments[0]!.bytes.fill(7);
      mapping.unmap();
    },
  ],
])('%s is announced before the bytes change', (_name, write) => {
  const it = board();
  const before = it.block.bytes.slice();
  const pages = new Set<number>();
  const listener = (ramOffset: number, sizeBytes: number): void => {
    for (let at = ramOffset; at < ramOffset + sizeBytes; at++) pages.add(Math.floor(at / PAGE));
    for (const page of pages) expect(it.block.bytes[page * PAGE + 8]).toBe(0xaa);
  };
  it.memory.ramWrites.addBeforeListener(listener);
  write(it);
  for (let page = 0; page < 8; page++) {
    const range = [page * PAGE, (page + 1) * PAGE] as const;
    const isChanged = Buffer.compare(it.block.bytes.subarray(...range), before.subarray(...range));
    if (isChanged !== 0) expect(pages.has(page)).toBe(true);
  }
  expect(pages.has(1)).toBe(true);
  it.memory.ramWrites.removeBeforeListener(listener);
  pages.clear();
  it.memory.addressSpace.write(0, 1, 1);
  expect(pages.size).toBe(0);
});

// Goal: only a first store must come, so that copying before writes costs nothing afterwards.
test('a store that hits the TLB is not announced, the first one after a bit was cleared is', () => {
  const { memory } = board();
  memory.tlb.fill(0, 0, 0, true, true, false);
  expect(memory.tlb.words[1]! & 0xfff).toBe(0);
  memory.dirty.clear(0, PAGE, 0x10);
  expect(memory.tlb.words[1]! & 0xfff).not.toBe(0);
});

// Goal: what an accelerator logged is as if each page had been written, at any offset and length,
// also where dirty bytes end in the middle of a word and where pages hold code.
test('failure 6: noteBitmap() marks the pages that a bitmap names, and no neighbour', () => {
  const page = fc.nat({ max: 99 });
  const codePage = fc.uniqueArray(page, { maxLength: 4 });
  const bitmap = fc.uint32Array({ minLength: 4, maxLength: 4 });
  fc.assert(
    fc.property(page, fc.nat({ max: 99 }), bitmap, codePage, (first, length, words, code) => {
      const pageCount = Math.min(length, 99 - first);
      const dirty = DirtyMemory.create({ pageCount: 99 });
      const codePages = CodePages.create({ pageCount: 99 });
      const writes = new RAMWrites({ dirty, codePages });
      dirty.clear(0, 99 * PAGE, DIRTY_ALL & ~DIRTY_CODE);
      for (const index of code.filter((index) => index < 99)) codePages.addLines(index * PAGE, 1);
      writes.noteBitmap(first * PAGE, pageCount, words);
      const expected = Array.from({ length: 99 }, (_, index) => {
        const bit = index - first;
        if (bit >= 0 && bit < pageCount && ((words[bit >> 5]! >>> (bit & 31)) & 1) !== 0)
          return { byte: DIRTY_ALL, isCode: false };
        const isCode = code.includes(index);
        return { byte: isCode ? 0 : DIRTY_CODE, isCode };
      });
      expect([...dirty.bytes]).toEqual(expected.map(({ byte }) => byte));
      expect(expected.map((_, index) => codePages.hasCode(index * PAGE, PAGE))).toEqual(
        expected.map(({ isCode }) => isCode),
      );
    }),
    fuzzOptions(200),
  );
});
