import fc from 'fast-check';
import { expect, test } from 'vitest';
import { fuzzOptions } from '../../test/fuzz-options.ts';
import { CodePages, lineMask } from './code-pages.ts';
import { DIRTY_ALL, DIRTY_CODE, DIRTY_MIGRATION, DirtyMemory } from './dirty-memory.ts';
import { RAMWrites } from './ram-writes.ts';

const PAGE = 4096;

function create(pageCount: number) {
  const dirty = DirtyMemory.create({ pageCount });
  const codePages = CodePages.create({ pageCount });
  const ramWrites = new RAMWrites({ dirty, codePages });
  const dropped: [number, number][] = [];
  codePages.onInvalidate((ramOffset, size) => {
    dropped.push([ramOffset, size]);
    return undefined;
  });
  return { dirty, codePages, ramWrites, dropped };
}

test('a mask has one bit for each 128-byte line touched', () => {
  expect(lineMask(0, 1)).toBe(1);
  expect(lineMask(127, 2)).toBe(3);
  expect(lineMask(4095, 1)).toBe(0x8000_0000);
  expect(lineMask(0, PAGE)).toBe(0xffff_ffff);
  expect(lineMask(128, 256)).toBe(0b110);
});

test('adding code takes the CODE bit off the page and re-arms, once', () => {
  const { dirty, codePages } = create(4);
  let rearmCount = 0;
  dirty.onClean(() => rearmCount++);
  codePages.addLines(PAGE + 5, 3);
  codePages.addLines(PAGE + 300, 3);
  expect(dirty.bytes[1]).toBe(DIRTY_ALL & ~DIRTY_CODE);
  expect(rearmCount).toBe(1);
  expect(codePages.masks[1]).toBe(0b101);
  expect(codePages.hasCode(PAGE, 128)).toBe(true);
  expect(codePages.hasCode(PAGE + 128, 128)).toBe(false);
});

test('a store to a line without code drops nothing, and the page stays slow', () => {
  const { dirty, codePages, ramWrites, dropped } = create(4);
  codePages.addLines(PAGE, 16);
  dirty.clear(PAGE, PAGE, DIRTY_MIGRATION);
  ramWrites.note(PAGE + 128, 4);
  expect(dropped).toEqual([]);
  expect(dirty.bytes[1]).toBe(DIRTY_ALL & ~DIRTY_CODE);
});

test('failure 28: a store to a line with code is reported, then the page is fast', () => {
  const { dirty, codePages, ramWrites, dropped } = create(4);
  codePages.addLines(PAGE, 256);
  ramWrites.note(PAGE + 130, 1);
  expect(dropped).toEqual([[PAGE + 130, 1]]);
  expect(codePages.masks[1]).toBe(1);
  expect(dirty.bytes[1]).toBe(DIRTY_ALL & ~DIRTY_CODE);
  ramWrites.note(PAGE + 127, 1);
  expect(codePages.masks[1]).toBe(0);
  expect(dirty.bytes[1]).toBe(DIRTY_ALL);
});

test('failure 30: code across pages is dropped by a write to either page', () => {
  const { codePages, ramWrites, dropped } = create(4);
  codePages.addLines(2 * PAGE - 2, 5);
  expect([codePages.masks[1], codePages.masks[2]]).toEqual([0x8000_0000, 1]);
  ramWrites.note(2 * PAGE, 1);
  expect(dropped).toEqual([[2 * PAGE, 1]]);
  ramWrites.note(2 * PAGE - 1, 2);
  expect(dropped[1]).toEqual([2 * PAGE - 1, 1]);
});

test('lines on which a listener has other code stay, and no other lines come with them', () => {
  const { dirty, codePages, ramWrites } = create(2);
  let kept = 0b11;
  codePages.onInvalidate(() => kept);
  codePages.addLines(0, 384);
  ramWrites.note(130, 4);
  expect(codePages.masks[0]).toBe(0b111);
  kept = 0b1000_0001;
  ramWrites.note(130, 4);
  expect(codePages.masks[0]).toBe(0b101);
  kept = 0;
  ramWrites.note(0, 384);
  expect(codePages.masks[0]).toBe(0);
  expect(dirty.bytes[0]).toBe(DIRTY_ALL);
});

test('a listener that decodes the line again keeps its bit', () => {
  const { dirty, codePages, ramWrites } = create(2);
  codePages.onInvalidate((ramOffset) => {
    codePages.addLines(ramOffset, 1);
    return undefined;
  });
  codePages.addLines(64, 1);
  ramWrites.note(0, 4);
  expect(codePages.masks[0]).toBe(1);
  expect(dirty.bytes[0]).toBe(DIRTY_ALL & ~DIRTY_CODE);
});

test('marking a page dirty never hides that it holds code', () => {
  const { dirty, codePages } = create(2);
  codePages.addLines(0, 1);
  dirty.mark(0, 2 * PAGE);
  expect([...dirty.bytes]).toEqual([DIRTY_ALL & ~DIRTY_CODE, DIRTY_ALL]);
  codePages.dropPage(77);
  expect(dirty.bytes[0]).toBe(DIRTY_ALL);
});

/** Lines of a page that units touch. */
function linesOf(units: Iterable<{ start: number; end: number }>, page: number): number {
  let lines = 0;
  for (const { start, end } of units) {
    const from = Math.max(start, page * PAGE);
    const to = Math.min(end, (page + 1) * PAGE);
    if (from < to) lines |= lineMask(from - page * PAGE, to - from);
  }
  return lines;
}

// Goal: nothing that was decoded outlives a write to its bytes; pages without code stay fast.
test('random code and writes agree with a list of units', () => {
  const size = 6 * PAGE;
  const step = fc.record({
    isWrite: fc.boolean(),
    start: fc.nat({ max: size - 1 }),
    bytes: fc.oneof(fc.integer({ min: 1, max: 40 }), fc.integer({ min: 1, max: 9000 })),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const { dirty, codePages, ramWrites } = create(6);
      const units = new Set<{ start: number; end: number }>();
      codePages.onInvalidate((ramOffset, bytes) => {
        for (const unit of units)
          if (unit.start < ramOffset + bytes && ramOffset < unit.end) units.delete(unit);
        return linesOf(units, ramOffset >>> 12);
      });
      for (const { isWrite, start, bytes } of steps) {
        const end = Math.min(size, start + bytes);
        if (isWrite) {
          ramWrites.note(start, end - start);
          for (const unit of units) expect(unit.start < end && start < unit.end).toBe(false);
        } else {
          units.add({ start, end });
          codePages.addLines(start, end - start);
        }
        for (const unit of units)
          for (let at = unit.start; at < unit.end; at += 64) {
            expect(codePages.hasCode(at, 1)).toBe(true);
            expect(dirty.bytes[at >>> 12]! & DIRTY_CODE).toBe(0);
          }
        for (let page = 0; page < 6; page++)
          expect((dirty.bytes[page]! & DIRTY_CODE) === 0).toBe(codePages.masks[page] !== 0);
      }
    }),
    fuzzOptions(80),
  );
});

// Goal: whoever writes much asks this first, and then looks at no page's lines.
test('isEmpty says whether any page holds code', () => {
  const pages = CodePages.create({ pageCount: 4 });
  expect(pages.isEmpty).toBe(true);
  pages.addLines(PAGE, 128);
  pages.addLines(PAGE + 256, 128);
  pages.addLines(3 * PAGE, 128);
  pages.invalidate(PAGE, 300);
  expect(pages.isEmpty).toBe(false);
  pages.onInvalidate(() => {
    if (pages.isEmpty) pages.addLines(0, 128);
    return undefined;
  });
  pages.dropPage(3 * PAGE);
  expect(pages.isEmpty).toBe(false); // The listener decoded anew.
  pages.dropPage(0);
  expect(pages.hasCode(0, PAGE)).toBe(true);
});
