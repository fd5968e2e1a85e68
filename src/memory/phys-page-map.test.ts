import fc from 'fast-check';
import { expect, test } from 'vitest';
import { fuzzOptions } from '../../test/fuzz-options.ts';
import { PAGE_VALUE_MAX, PhysPageMap } from './phys-page-map.ts';

test('every page is 0 at first, to the top of 2^52 bytes', () => {
  const map = new PhysPageMap();
  expect(map.pageCount).toBe(2 ** 40);
  for (const page of [0, 1, 2 ** 20, 2 ** 32 - 1, 2 ** 32, 2 ** 40 - 1])
    expect(map.find(page)).toBe(0);
  expect(map.nodeCount).toBe(1);
});

test('big regions cost few nodes, and what is mapped over again costs nothing', () => {
  const map = new PhysPageMap();
  map.set(0, 2 ** 40, 7);
  expect(map.nodeCount).toBe(1);
  map.set(1, 2 ** 40 - 2, 8); // All but the first and the last page: two paths of four nodes.
  expect(map.nodeCount).toBe(9);
  expect([0, 1, 2 ** 39, 2 ** 40 - 2, 2 ** 40 - 1].map((p) => map.find(p))).toEqual([
    7, 8, 8, 8, 7,
  ]);
  map.set(0, 2 ** 40, 0);
  expect(map.nodeCount).toBe(1);
});

test('nodes are given back when their pages become equal again', () => {
  const map = new PhysPageMap();
  for (let round = 0; round < 50; round++) {
    map.set(2 ** 39 + round * 1000, 3, 5);
    map.set(2 ** 39 + round * 1000, 3, 0);
  }
  expect(map.nodeCount).toBe(1);
});

test('small spaces have few levels; 16 pages are the ports of a PC', () => {
  const map = new PhysPageMap(16);
  map.set(15, 1, 3);
  expect([map.find(15), map.find(14), map.nodeCount]).toEqual([3, 0, 1]);
});

test('pages outside the space, and values that are too large, are refused', () => {
  const map = new PhysPageMap(32);
  for (const [first, count] of [
    [-1, 1],
    [2 ** 20, 1],
    [0, 2 ** 20 + 1],
    [5, -1],
  ] as const)
    expect(() => map.set(first, count, 1)).toThrow(RangeError);
  expect(() => map.set(0, 1, PAGE_VALUE_MAX + 1)).toThrow(RangeError);
  expect(() => new PhysPageMap(53)).toThrow(RangeError);
  map.set(2 ** 20, 0, 1); // Control: nothing, at the end.
});

// Goal: the tree against a linear list of all mappings ever made; the last that covers a page wins.
test('random mappings agree with a linear list', () => {
  for (const addressBits of [16, 20, 21, 32, 36, 44, 45, 52]) {
    const pageCount = 2 ** (addressBits - 12);
    const page = fc.oneof(
      fc.nat({ max: pageCount - 1 }),
      fc.nat({ max: Math.min(600, pageCount - 1) }),
      fc.nat({ max: Math.min(600, pageCount - 1) }).map((below) => pageCount - 1 - below),
    );
    const count = fc.oneof(fc.nat({ max: 5 }), fc.nat({ max: 70000 }), fc.nat({ max: pageCount }));
    const mapping = fc.record({ page, count, value: fc.nat({ max: 6 }) });
    fc.assert(
      fc.property(fc.array(mapping, { maxLength: 30 }), fc.array(page), (mappings, probes) => {
        const map = new PhysPageMap(addressBits);
        const list: { page: number; count: number; value: number }[] = [];
        for (const { page: first, count: wanted, value } of mappings) {
          const fitting = Math.min(wanted, pageCount - first);
          map.set(first, fitting, value);
          list.unshift({ page: first, count: fitting, value });
        }
        const edges = list.flatMap((m) => [
          m.page - 1,
          m.page,
          m.page + m.count - 1,
          m.page + m.count,
        ]);
        for (const probe of [...probes, ...edges].filter((p) => p >= 0 && p < pageCount)) {
          const owner = list.find((m) => probe >= m.page && probe - m.page < m.count);
          expect(map.find(probe)).toBe(owner?.value ?? 0);
        }
      }),
      fuzzOptions(25),
    );
  }
});
