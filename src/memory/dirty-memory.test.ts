import fc from 'fast-check';
import { expect, test } from 'vitest';
import { fuzzOptions } from '../../test/fuzz-options.ts';
import {
  DIRTY_ALL,
  DIRTY_CODE,
  DIRTY_MIGRATION,
  DIRTY_VGA,
  type DirtyHarvest,
  DirtyMemory,
} from './dirty-memory.ts';

const PAGE = 4096;
const CLIENTS = [DIRTY_VGA, DIRTY_CODE, DIRTY_MIGRATION];

test('fresh RAM is dirty for every client', () => {
  const dirty = DirtyMemory.create({ pageCount: 5 });
  expect([...dirty.bytes]).toEqual(new Array(5).fill(0xff));
  for (const client of CLIENTS) expect(dirty.count(client)).toBe(5);
});

test('a write sets 0xff; a client clears its own bit only', () => {
  const dirty = DirtyMemory.create({ pageCount: 4 });
  dirty.clear(0, 4 * PAGE, DIRTY_ALL);
  dirty.mark(PAGE - 1, 2);
  expect([...dirty.bytes]).toEqual([0xff, 0xff, 0, 0]);
  dirty.clear(0, PAGE, DIRTY_VGA);
  expect(dirty.isDirty(0, PAGE, DIRTY_VGA)).toBe(false);
  expect(dirty.isDirty(0, PAGE, DIRTY_MIGRATION)).toBe(true);
  expect(dirty.isDirty(0, PAGE + 1, DIRTY_VGA)).toBe(true);
  expect(dirty.isDirty(PAGE, 0, DIRTY_VGA)).toBe(false);
});

test('ranges outside RAM are refused', () => {
  const dirty = DirtyMemory.create({ pageCount: 4 });
  for (const [offset, size] of [
    [-1, 1],
    [0, 4 * PAGE + 1],
    [4 * PAGE, 1],
    [Number.NaN, 1],
  ] as const)
    expect(() => dirty.mark(offset, size)).toThrow(RangeError);
  dirty.mark(4 * PAGE, 0); // Control: nothing, at the end.
});

// Goal: the ordinary life of a log: marks, partial clears, harvests that fail and are given back.
test('failure 7: a random session agrees with a Set of pages per client', () => {
  const pageCount = 203;
  const step = fc.record({
    kind: fc.constantFrom('mark', 'markOne', 'clear', 'harvest', 'merge', 'drop', 'count'),
    client: fc.constantFrom(...CLIENTS),
    page: fc.nat({ max: pageCount - 1 }),
    pages: fc.nat({ max: 80 }),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 80 }), (steps) => {
      const dirty = DirtyMemory.create({ pageCount });
      const all = Array.from({ length: pageCount }, (_, page) => page);
      const model = new Map(CLIENTS.map((client) => [client, new Set(all)]));
      let held: DirtyHarvest | undefined;
      for (const { kind, client, page, pages } of steps) {
        const end = Math.min(pageCount, page + pages);
        const range = all.slice(page, end);
        const size = (end - page) * PAGE;
        const set = model.get(client)!;
        if (kind === 'mark') {
          dirty.mark(page * PAGE, size);
          for (const each of model.values()) for (const p of range) each.add(p);
        } else if (kind === 'markOne') {
          dirty.mark(page * PAGE, size, client);
          for (const p of range) set.add(p);
        } else if (kind === 'clear') {
          dirty.clear(page * PAGE, size, client);
          for (const p of range) set.delete(p);
        } else if (kind === 'harvest') {
          held = dirty.harvest(client, page * PAGE, size);
          expect([...held.pages()]).toEqual(range.filter((p) => set.has(p)));
          expect(held.dirtyCount).toBe([...held.pages()].length);
          for (const p of all) expect(held.has(p)).toBe(range.includes(p) && set.has(p));
          for (const p of range) set.delete(p);
        } else if (kind === 'merge' && held !== undefined) {
          dirty.merge(held);
          for (const p of held.pages()) model.get(held.client)!.add(p);
          held = undefined;
        } else if (kind === 'drop') held = undefined;
        else {
          expect(dirty.count(client, page * PAGE, size)).toBe(
            range.filter((p) => set.has(p)).length,
          );
        }
      }
      for (const client of CLIENTS) {
        const seen: number[] = [];
        dirty.forEachRun(client, (ramOffset, size) => {
          for (let at = ramOffset; at < ramOffset + size; at += PAGE) seen.push(at / PAGE);
        });
        expect(seen).toEqual([...model.get(client)!].sort((a, b) => a - b));
      }
    }),
    fuzzOptions(100),
  );
});

test('failure 3: listeners run after the bits are gone and before the call returns', () => {
  const dirty = DirtyMemory.create({ pageCount: 8 });
  const seen: string[] = [];
  dirty.onClean((ramOffset, size) => {
    seen.push(`${ramOffset / PAGE}+${size / PAGE}: ${dirty.bytes[ramOffset / PAGE]!.toString(16)}`);
  });
  dirty.clear(2 * PAGE, 2 * PAGE, DIRTY_VGA);
  expect(seen).toEqual(['2+2: fe']);
  dirty.harvest(DIRTY_MIGRATION);
  expect(seen[1]).toBe('0+8: f7');
  dirty.harvest(DIRTY_MIGRATION); // Control: nothing was taken, so nothing needs to be re-armed.
  expect(seen.length).toBe(2);
});

// Goal: every order of a store's two halves and a client's two steps. A plain store that reads
// "writable" before the clear and writes after it must be seen by the read that follows.
test('failure 3: no interleaving of a store with clear-then-read loses the store', () => {
  for (let storeAt = 0; storeAt <= 2; storeAt++) {
    const dirty = DirtyMemory.create({ pageCount: 1 });
    let isWritable = true; // The TLB row's plain write tag.
    let value = 0;
    dirty.onClean(() => {
      if (storeAt === 1) store(); // Bits are gone, the row is still writable.
      isWritable = false;
    });
    const store = (): void => {
      value = 1;
      if (!isWritable) {
        dirty.mark(0, 1);
        isWritable = true;
      }
    };
    if (storeAt === 0) store();
    const harvest = dirty.harvest(DIRTY_MIGRATION);
    const copy = value;
    if (storeAt === 2) store();
    expect(harvest.has(0)).toBe(true);
    expect(copy === 1 || dirty.isDirty(0, 1, DIRTY_MIGRATION)).toBe(true);
  }
});

test('failure 5: merging back and clearing touch only what was harvested', () => {
  const dirty = DirtyMemory.create({ pageCount: 64 });
  dirty.clear(0, 64 * PAGE, DIRTY_MIGRATION);
  dirty.mark(10 * PAGE, 1);
  const harvest = dirty.harvest(DIRTY_MIGRATION, 8 * PAGE, 8 * PAGE);
  dirty.mark(11 * PAGE, 1);
  dirty.mark(40 * PAGE, 1);
  dirty.merge(harvest);
  expect([...dirty.harvest(DIRTY_MIGRATION).pages()]).toEqual([10, 11, 40]);
});

test('failure 6: blocks of 1 to 65 pages at odd offsets keep their bits apart', () => {
  const dirty = DirtyMemory.create({ pageCount: 3000 });
  dirty.clear(0, 3000 * PAGE, DIRTY_MIGRATION);
  let start = 1;
  const blocks: { start: number; pages: number }[] = [];
  for (let pages = 1; pages <= 65; pages++) {
    blocks.push({ start, pages });
    start += pages + (pages % 3);
  }
  for (const { start: first, pages } of blocks) {
    dirty.mark((first + pages - 1) * PAGE, 1);
    const before = dirty.harvest(DIRTY_MIGRATION, (first - 1) * PAGE, PAGE);
    const own = dirty.harvest(DIRTY_MIGRATION, first * PAGE, pages * PAGE);
    expect(before.dirtyCount).toBe(0);
    expect([...own.pages()]).toEqual([first + pages - 1]);
    expect(dirty.count(DIRTY_MIGRATION)).toBe(0);
  }
});

test('failure 10: a save that fails gives its bits back and the retry is complete', () => {
  fc.assert(
    fc.property(
      fc.uniqueArray(fc.nat({ max: 99 })),
      fc.uniqueArray(fc.nat({ max: 99 })),
      (before, during) => {
        const dirty = DirtyMemory.create({ pageCount: 100 });
        dirty.clear(0, 100 * PAGE, DIRTY_MIGRATION);
        for (const page of before) dirty.mark(page * PAGE, 1);
        const taken = dirty.harvest(DIRTY_MIGRATION);
        expect(dirty.count(DIRTY_MIGRATION)).toBe(0);
        for (const page of during) dirty.mark(page * PAGE, 1);
        dirty.merge(taken);
        const union = new Set([...before, ...during]);
        expect(new Set(dirty.harvest(DIRTY_MIGRATION).pages())).toEqual(union);
      },
    ),
    fuzzOptions(50),
  );
});

test('failure 11: after a full harvest only later pages are dirty', () => {
  const dirty = DirtyMemory.create({ pageCount: 100 });
  expect(dirty.harvest(DIRTY_MIGRATION).dirtyCount).toBe(100);
  dirty.mark(7 * PAGE, PAGE);
  expect([...dirty.harvest(DIRTY_MIGRATION).pages()]).toEqual([7]);
});

// Goal: an accelerator stops its log only when nobody waits for a change of any page.
test('hasClean() agrees with a look at each page', () => {
  fc.assert(
    fc.property(fc.array(fc.constantFrom(0xff, 0xff, 0xff, 0xfe, 0xf7)), fc.nat(99), (bytes, n) => {
      const pageCount = bytes.length + 1;
      const dirty = DirtyMemory.create({ pageCount });
      dirty.bytes.set(bytes);
      const first = n % pageCount;
      for (let count = 0; first + count <= pageCount; count++)
        expect(dirty.hasClean(first * PAGE, count * PAGE, 0x9)).toBe(
          [...dirty.bytes.subarray(first, first + count)].some((byte) => (byte & 9) !== 9),
        );
    }),
    fuzzOptions(200),
  );
});
