import { expect, test } from 'vitest';
import { GuestMemory } from './guest-memory.ts';
import { MemoryRegion } from './memory-region.ts';
import { MissingPages } from './missing-pages.ts';

const PAGE = 4096;
const PAGES = 8;

/** RAM whose pages are missing; page i arrives filled with i + 1. */
function board() {
  const memory = new GuestMemory({ ramCapacityBytes: PAGES * PAGE, addressSpaceBytes: 2 ** 32 });
  const block = memory.ramList.alloc({ name: 'ram', sizeBytes: PAGES * PAGE });
  memory.root.addSubregion(0, MemoryRegion.ram('ram', block));
  const fetched: number[] = [];
  const missing = new MissingPages(PAGES, (page) => {
    fetched.push(page);
    if (missing.arrive(page)) block.bytes.fill(page + 1, page * PAGE, (page + 1) * PAGE);
  });
  for (let page = 0; page < PAGES; page++) missing.add(page);
  memory.ramList.missing = missing;
  return { memory, block, missing, fetched };
}

type Board = ReturnType<typeof board>;

// Goal: failures 14. Every way into RAM has the page fetched, once, before it is seen.
test.each<[string, (it: Board) => unknown, unknown]>([
  ['read()', ({ memory }) => memory.addressSpace.read(PAGE + 4, 4), 0x02020202],
  [
    'write()',
    ({ memory, block }) => {
      memory.addressSpace.write(PAGE, 1, 9);
      return [...block.bytes.subarray(PAGE, PAGE + 2)];
    },
    [9, 2],
  ],
  [
    'readBytes()',
    ({ memory }) => {
      const out = new Uint8Array(2);
      memory.addressSpace.readBytes(PAGE, out);
      return [...out];
    },
    [2, 2],
  ],
  [
    'writeBytes()',
    ({ memory, block }) => {
      memory.addressSpace.writeBytes(PAGE, Uint8Array.of(7));
      return [...block.bytes.subarray(PAGE, PAGE + 2)];
    },
    [7, 2],
  ],
  [
    'loadBytes()',
    ({ memory, block }) => {
      memory.addressSpace.loadBytes(PAGE, Uint8Array.of(7));
      return [...block.bytes.subarray(PAGE, PAGE + 2)];
    },
    [7, 2],
  ],
  [
    'ramOffsetOf()',
    ({ memory, block }) => block.bytes[memory.addressSpace.ramOffsetOf(PAGE + 5)],
    2,
  ],
  [
    'mapRange()',
    ({ memory }) => memory.addressSpace.mapRange(PAGE, 8, true).segments[0]!.bytes[0],
    2,
  ],
  [
    'a TLB row',
    ({ memory, block }) => {
      memory.tlb.fill(0, 0x1_0000, PAGE, true, true, false);
      return block.bytes[PAGE];
    },
    2,
  ],
  ['view()', ({ memory }) => memory.ramList.view(PAGE, 1)[0], 2],
  [
    'discard()',
    ({ memory, block }) => {
      memory.discard(PAGE, PAGE);
      memory.addressSpace.read(PAGE, 4);
      return block.bytes[PAGE];
    },
    0,
  ],
])('%s fetches a missing page before it is seen', (_name, touch, expected) => {
  const it = board();
  expect(touch(it)).toEqual(expected);
  expect(it.fetched).toEqual([1]);
  expect(it.missing.count).toBe(PAGES - 1);
});

test('an access across pages fetches both, and no page arrives twice', () => {
  const { memory, missing, fetched } = board();
  expect(memory.addressSpace.read(2 * PAGE - 2, 4)).toBe(0x03030202);
  memory.addressSpace.read(2 * PAGE - 2, 4);
  expect(fetched).toEqual([1, 2]);
  expect(missing.arrive(1)).toBe(false);
  expect(missing.has(1)).toBe(false);
});

test('a page that cannot be fetched stays missing, and is an error each time', () => {
  const memory = new GuestMemory({ ramCapacityBytes: PAGES * PAGE, addressSpaceBytes: 2 ** 32 });
  const block = memory.ramList.alloc({ name: 'ram', sizeBytes: PAGES * PAGE });
  memory.root.addSubregion(0, MemoryRegion.ram('ram', block));
  const missing = new MissingPages(PAGES, () => {
    throw new Error('store lost');
  });
  missing.add(3);
  memory.ramList.missing = missing;
  for (let i = 0; i < 2; i++)
    expect(() => memory.addressSpace.read(3 * PAGE, 1)).toThrow('store lost');
  expect(memory.addressSpace.read(0, 1)).toBe(0);
  expect(missing.count).toBe(1);
});

test('an untouched page is there; its first touch is told, once, unless it was seen', () => {
  const touched: number[] = [];
  const missing = new MissingPages(4, (page) => {
    touched.push(page);
    missing.see(page);
  });
  missing.add(0, 3);
  for (const page of [0, 1]) expect(missing.arrive(page, true)).toBe(true);
  expect([missing.count, missing.has(0), missing.has(2)]).toEqual([1, false, true]);
  // It came already: nobody writes it again.
  expect(missing.arrive(0)).toBe(false);
  missing.see(1);
  missing.claim(0, 2 * 4096);
  missing.claim(0, 2 * 4096);
  expect(touched).toEqual([0]);
});
