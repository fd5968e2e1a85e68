// What must hold of RAM whatever it is in, and above 4 GiB, where 32-bit arithmetic goes wrong.

import fc from 'fast-check';
import { expect, test } from 'vitest';
import { DIRTY_CLONE, DIRTY_MIGRATION } from '../src/memory/dirty-memory.ts';
import { GuestMemory } from '../src/memory/guest-memory.ts';
import { MemoryRegion } from '../src/memory/memory-region.ts';
import { MissingPages } from '../src/memory/missing-pages.ts';
import type { RAMBlock } from '../src/memory/ram-block.ts';
import { RAMList } from '../src/memory/ram-list.ts';
import { PageCapture } from '../src/snapshot/page-capture.ts';
import { fuzzOptions } from './fuzz-options.ts';
import { BACKING_KINDS } from './ram-backings.ts';

const PAGE = 4096;
const GIB = 2 ** 30;

/** RAM at 0 and from 4 GiB on: chunks 0 and 1, the third begins at 8 GiB. */
function createBoard(ramBacking: ReturnType<(typeof BACKING_KINDS)[number]['create']>): {
  memory: GuestMemory;
  blocks: readonly RAMBlock[];
} {
  const memory = new GuestMemory({ ramCapacityBytes: 9 * GIB, ramBacking });
  const blocks = [4 * GIB, 4 * GIB, GIB].map((sizeBytes, index) =>
    memory.ramList.alloc({ name: `ram${index}`, sizeBytes }),
  );
  let gpa = 0;
  for (const block of [...blocks].sort((a, b) => a.ramOffset - b.ramOffset)) {
    memory.root.addSubregion(gpa, MemoryRegion.ram(block.id, block));
    gpa += block.sizeBytes;
  }
  return { memory, blocks };
}

for (const { name, reason, create } of BACKING_KINDS) {
  test(`${name}: a random session agrees with arrays`, ({ skip }) => {
    skip(reason !== undefined, reason);
    const PAGES = 64;
    const range = fc.tuple(fc.nat({ max: PAGES * PAGE - 1 }), fc.integer({ min: 1, max: 9000 }));
    const step = fc.oneof(
      fc.record({ kind: fc.constant('write' as const), range, value: fc.nat({ max: 255 }) }),
      fc.record({ kind: fc.constant('discard' as const), range }),
      fc.record({ kind: fc.constant('free' as const) }),
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 30 }), (steps) => {
        const memory = new GuestMemory({
          ramCapacityBytes: PAGES * PAGE,
          ramBacking: create(PAGES * PAGE),
        });
        const { ramList, addressSpace, root } = memory;
        const plug = () => {
          const block = ramList.alloc({ name: 'ram', sizeBytes: PAGES * PAGE });
          const region = MemoryRegion.ram('ram', block);
          root.addSubregion(0, region);
          return { block, region };
        };
        let { block, region } = plug();
        const model = new Uint8Array(PAGES * PAGE);
        for (const each of steps) {
          if (each.kind === 'free') {
            root.removeSubregion(region);
            ramList.free(block);
            ({ block, region } = plug());
            model.fill(0);
            continue;
          }
          const [start, wanted] = each.range;
          const size = Math.min(wanted, model.length - start);
          if (each.kind === 'write') {
            const bytes = new Uint8Array(size).fill(each.value);
            addressSpace.writeBytes(start, bytes);
            model.set(bytes, start);
          } else {
            // Whole pages go back to the host, others are filled.
            memory.discard(start, size);
            model.fill(0, start, start + size);
          }
        }
        expect(Buffer.compare(block.bytes, model)).toBe(0);
        const seen = new Uint8Array(model.length);
        addressSpace.readBytes(0, seen);
        expect(Buffer.compare(seen, model)).toBe(0);
      }),
      fuzzOptions(100),
    );
  });

  test(`${name}: blocks never lie in two chunks, and views lead back to RAM offsets`, ({
    skip,
  }) => {
    skip(reason !== undefined, reason);
    const list = new RAMList({ backing: create(9 * GIB) });
    const small = list.alloc({ name: 'small', sizeBytes: PAGE });
    expect(small.ramOffset).toBe(8 * GIB);
    const first = list.alloc({ name: 'a', sizeBytes: 3 * GIB });
    const second = list.alloc({ name: 'b', sizeBytes: 3 * GIB });
    expect([first.ramOffset, second.ramOffset]).toEqual([0, 4 * GIB]);
    // Two gaps of 1 GiB that touch, but do not make one.
    expect(() => list.alloc({ name: 'c', sizeBytes: 1.5 * GIB })).toThrow(
      /"c" as 0x60000000 bytes must be free in one run: the largest is 0x40000000/,
    );
    for (const block of [first, second, small])
      for (const offset of [0, block.sizeBytes - 8]) {
        const view = list.view(block.ramOffset + offset, 8);
        expect(list.offsetOf(view)).toBe(block.ramOffset + offset);
        view[0] = 0x5a;
        expect(block.bytes[offset]).toBe(0x5a);
      }
    expect(() => list.view(7 * GIB, 1)).toThrow(/no block is there/);
    expect(() => list.bytes).toThrow(/must be one piece of 0x100000000 bytes at most: it is 3/);
    expect(() => list.offsetOf(new Uint8Array(8))).toThrow(/must lie in one block/);
  });

  test(`${name}: reads, writes, dirty pages and DMA are right at 4 GiB and above`, ({ skip }) => {
    skip(reason !== undefined, reason);
    const { memory } = createBoard(create(9 * GIB));
    const { addressSpace, dirty, ramList } = memory;
    dirty.harvest(DIRTY_MIGRATION);
    const places = [0x10, 4 * GIB - 4, 4 * GIB, 4 * GIB + 0x10, 6 * GIB + 6, 8 * GIB, 9 * GIB - 4];
    for (const [index, gpa] of places.entries()) addressSpace.write(gpa, 4, 0x1111_0000 + index);
    for (const [index, gpa] of places.entries()) {
      expect(addressSpace.read(gpa, 4)).toBe(0x1111_0000 + index);
      expect(addressSpace.read(gpa, 2)).toBe(index);
      expect(addressSpace.read(gpa, 1)).toBe(index);
      expect(addressSpace.ramOffsetOf(gpa)).toBe(gpa);
      expect(addressSpace.physOffsetOf(gpa)).toBe(gpa - (gpa % PAGE));
    }
    const pages = new Set(places.map((gpa) => Math.floor(gpa / PAGE)));
    expect(new Set(dirty.harvest(DIRTY_MIGRATION).pages())).toEqual(pages);

    // An access across the border of two chunks, byte for byte; and in pieces for DMA.
    addressSpace.write(4 * GIB - 2, 4, 0xaabb_ccdd);
    expect(addressSpace.read(4 * GIB - 2, 4)).toBe(0xaabb_ccdd);
    expect([addressSpace.read(4 * GIB - 2, 2), addressSpace.read(4 * GIB, 2)]).toEqual([
      0xccdd, 0xaabb,
    ]);
    const mapping = addressSpace.mapRange(8 * GIB - 8, 16, true);
    expect(mapping.segments.map(({ ramOffset, bytes }) => [ramOffset, bytes.length])).toEqual([
      [8 * GIB - 8, 8],
      [8 * GIB, 8],
    ]);
    for (const { bytes } of mapping.segments) bytes.fill(0x77);
    dirty.harvest(DIRTY_MIGRATION);
    mapping.unmap();
    expect([...dirty.harvest(DIRTY_MIGRATION).pages()]).toEqual([
      (8 * GIB) / PAGE - 1,
      (8 * GIB) / PAGE,
    ]);
    const out = new Uint8Array(16);
    addressSpace.readBytes(8 * GIB - 8, out);
    expect(out.every((byte) => byte === 0x77)).toBe(true);

    // What the TLB cannot reach goes through the address space.
    const { tlb } = memory;
    tlb.fill(0, 0x5000, 6 * GIB, true, true, false);
    expect([...tlb.entries()]).toMatchObject([{ readFlags: 4, writeFlags: 4 }]);
    memory.discard(8 * GIB, PAGE);
    expect(ramList.view(8 * GIB, 8)).toEqual(new Uint8Array(8));
    expect(ramList.view(8 * GIB - 8, 8)).toEqual(new Uint8Array(8).fill(0x77));
  });

  test(`${name}: captures, missing pages and an accelerator's log reach above 4 GiB`, ({
    skip,
  }) => {
    skip(reason !== undefined, reason);
    const { memory } = createBoard(create(9 * GIB));
    const { addressSpace, dirty, ramWrites, ramList } = memory;
    const at = 6 * GIB + 3 * PAGE;
    addressSpace.write(at, 4, 1);
    dirty.clear(at, PAGE, DIRTY_CLONE);
    const clean = dirty.bytes.reduce<number[]>((pages, bits, page) => {
      if ((bits & DIRTY_CLONE) === 0) pages.push(page);
      return pages;
    }, []);
    expect(clean).toEqual([at / PAGE]);
    const capture = new PageCapture(memory);
    capture.want(at, PAGE);
    addressSpace.write(at, 4, 2);
    expect(capture.copiedCount).toBe(1);
    expect(capture.peek(at)[0]).toBe(1);
    expect(ramList.view(at, 1)[0]).toBe(2);
    capture.end();

    dirty.harvest(DIRTY_MIGRATION);
    ramWrites.noteBitmap(at, 40, Uint32Array.of(0x8000_0001, 0x80));
    const first = at / PAGE;
    expect([...dirty.harvest(DIRTY_MIGRATION).pages()]).toEqual([first, first + 31, first + 39]);

    const fetched: number[] = [];
    const missing = new MissingPages(ramList.pageCount, (page) => {
      fetched.push(page);
      missing.arrive(page);
    });
    missing.add(first, 2);
    ramList.missing = missing;
    addressSpace.read(at + PAGE + 5, 1);
    ramList.view(at - 1, 2);
    expect(fetched).toEqual([first + 1, first]);
  });
}

test('a backing in other pieces than chunks is refused', () => {
  for (const sizes of [[], [PAGE, PAGE], [100], [0]]) {
    const backing = { chunks: sizes.map((size) => new Uint8Array(size)) };
    expect(() => new RAMList({ backing })).toThrow(/must be 4 GiB each, the last at most that/);
  }
  const backing = { chunks: [new Uint8Array(2 * PAGE)] };
  expect(() => new GuestMemory({ ramCapacityBytes: PAGE, ramBacking: backing })).toThrow(
    'the backing of RAM must have 0x1000 bytes: it has 0x2000',
  );
});
