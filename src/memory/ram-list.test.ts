import fc from 'fast-check';
import { expect, test } from 'vitest';
import { fuzzOptions } from '../../test/fuzz-options.ts';
import { MemoryError } from './errors.ts';
import type { RAMBlock } from './ram-block.ts';
import { RAMList } from './ram-list.ts';

const PAGE = 4096;

function codeOf(action: () => unknown): string {
  try {
    action();
  } catch (error) {
    if (error instanceof MemoryError) return error.code;
    throw error;
  }
  return 'no error';
}

test('blocks lie as in the seed: one after the other, contiguous', () => {
  const list = RAMList.create({ capacityBytes: 0x1004_0000 });
  const ram = list.alloc({ name: 'pc.ram', sizeBytes: 0x1000_0000 });
  const bios = list.allocFrom({ name: 'bios.bin', bytes: new Uint8Array(0x2_0000).fill(0x90) });
  const rom = list.alloc({ name: 'pc.rom', sizeBytes: 0x2_0000 });
  expect([ram, bios, rom].map((block) => block.ramOffset)).toEqual([0, 0x1000_0000, 0x1002_0000]);
  expect(list.view(0x1000_0000, 2)).toEqual(new Uint8Array([0x90, 0x90]));
  expect(list.blockAt(0x1001_ffff)).toBe(bios);
  expect(list.blockAt(0x1002_0000)).toBe(rom);
  expect(list.blockAt(0x1004_0000)).toBeUndefined();
});

test('failure 2: a second block of the same id is refused when it is made', () => {
  const list = RAMList.create({ capacityBytes: 16 * PAGE });
  list.alloc({ name: 'vga.vram', devicePath: '0000:00:02.0', sizeBytes: PAGE });
  expect(list.blocks[0]!.id).toBe('0000:00:02.0/vga.vram');
  const again = { name: 'vga.vram', devicePath: '0000:00:02.0', sizeBytes: PAGE };
  expect(() => list.alloc(again)).toThrow(/"0000:00:02.0\/vga.vram" as ids must be unique/);
  expect(codeOf(() => list.alloc(again))).toBe('DUPLICATE_ID');
  // Control: the same name on another device, and without one.
  expect(list.alloc({ ...again, devicePath: '0000:00:03.0' }).ramOffset).toBe(PAGE);
  expect(list.alloc({ name: 'vga.vram', sizeBytes: PAGE }).id).toBe('vga.vram');
});

test('running out of space says what was wanted and what is there', () => {
  const list = RAMList.create({ capacityBytes: 4 * PAGE });
  list.alloc({ name: 'a', sizeBytes: PAGE });
  const error = () => list.alloc({ name: 'b', sizeBytes: 4 * PAGE });
  expect(error).toThrow(
    'Cannot allocate RAM block "b" as 0x4000 bytes must be free in one run: ' +
      'the largest is 0x3000 of 0x4000',
  );
  expect(codeOf(error)).toBe('OUT_OF_SPACE');
  expect(list.alloc({ name: 'b', sizeBytes: 3 * PAGE }).ramOffset).toBe(PAGE);
});

test('impossible lists, sizes and names are refused', () => {
  const buffer = new ArrayBuffer(8 * PAGE);
  const make = (baseOffset: number, capacityBytes: number) => () =>
    new RAMList({ buffer, baseOffset, capacityBytes });
  for (const bad of [make(1, PAGE), make(0, 0), make(0, 100), make(PAGE, 8 * PAGE), make(0, -PAGE)])
    expect(bad).toThrow(RangeError);
  const list = make(PAGE, 7 * PAGE)();
  for (const sizeBytes of [0, -1, 0.5, Number.NaN, Number.POSITIVE_INFINITY])
    expect(() => list.alloc({ name: 'a', sizeBytes })).toThrow(RangeError);
  expect(() => list.alloc({ name: '', sizeBytes: 1 })).toThrow(RangeError);
  expect(() => list.alloc({ name: 'x'.repeat(256), sizeBytes: 1 })).toThrow(RangeError);
});

test('view() and offsetOf() are inverses, and know nothing outside a block', () => {
  const buffer = new ArrayBuffer(16 * PAGE);
  const list = new RAMList({ buffer, baseOffset: 3 * PAGE, capacityBytes: 13 * PAGE });
  const a = list.alloc({ name: 'a', sizeBytes: 2 * PAGE });
  const b = list.alloc({ name: 'b', sizeBytes: PAGE });
  const view = list.view(a.ramOffset + 5, 100);
  expect(view.byteOffset).toBe(3 * PAGE + 5);
  expect(list.offsetOf(view)).toBe(a.ramOffset + 5);
  expect(list.offsetOf(b.bytes)).toBe(b.ramOffset);
  expect(codeOf(() => list.view(a.ramOffset + 2 * PAGE - 1, 2))).toBe('OUTSIDE_BLOCK');
  expect(codeOf(() => list.view(3 * PAGE, 1))).toBe('OUTSIDE_BLOCK');
  expect(codeOf(() => list.view(-1, 1))).toBe('OUTSIDE_BLOCK');
  expect(codeOf(() => list.view(0, -1))).toBe('OUTSIDE_BLOCK');
  expect(codeOf(() => list.offsetOf(new Uint8Array(4)))).toBe('OUTSIDE_BLOCK');
  expect(codeOf(() => list.offsetOf(new Uint8Array(buffer, 0, 4)))).toBe('OUTSIDE_BLOCK');
  expect(codeOf(() => list.offsetOf(new Uint8Array(buffer, 5 * PAGE - 1, 2)))).toBe(
    'OUTSIDE_BLOCK',
  );
  list.free(b);
  expect(codeOf(() => list.offsetOf(b.bytes))).toBe('OUTSIDE_BLOCK');
  expect(codeOf(() => list.free(b))).toBe('OUTSIDE_BLOCK');
});

// Goal: contents, order and neighbours against a list of who owns each page.
test('a random session of allocations agrees with a page-by-page owner list', () => {
  const step = fc.record({
    isAlloc: fc.boolean(),
    pages: fc.integer({ min: 1, max: 12 }),
    pick: fc.nat(),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const list = RAMList.create({ capacityBytes: 32 * PAGE });
      const owners: (RAMBlock | undefined)[] = new Array(32).fill(undefined);
      let id = 0;
      for (const { isAlloc, pages, pick } of steps) {
        if (isAlloc) {
          const couldFit = owners.some(
            (_, page) =>
              owners.slice(page, page + pages).every((owner) => owner === undefined) &&
              page + pages <= 32,
          );
          const name = `block${id++}`;
          const code = codeOf(() => list.alloc({ name, sizeBytes: pages * PAGE - (pick % PAGE) }));
          expect(code).toBe(couldFit ? 'no error' : 'OUT_OF_SPACE');
          if (!couldFit) continue;
          const block = list.byId(name)!;
          const first = block.ramOffset / PAGE;
          for (let page = first; page < first + pages; page++) {
            expect(owners[page]).toBeUndefined();
            owners[page] = block;
          }
          expect(block.bytes.every((byte) => byte === 0)).toBe(true);
          block.bytes.fill(0xa5);
        } else if (list.blocks.length > 0) {
          const block = list.blocks[pick % list.blocks.length]!;
          list.free(block);
          owners.forEach((owner, page) => {
            if (owner === block) owners[page] = undefined;
          });
        }
        const sizes = list.blocks.map((block) => block.sizeBytes);
        expect(sizes).toEqual([...sizes].sort((a, b) => b - a));
        for (const page of [pick % 32, (pick + 7) % 32])
          expect(list.blockAt(page * PAGE + (pick % PAGE))).toBe(owners[page]);
      }
    }),
    fuzzOptions(60),
  );
});

// Goal: offsets above 2 GiB are negative in 32-bit arithmetic. Zero pages cost the host nothing.
test('a block of 3 GiB works to its last byte', () => {
  const sizeBytes = 3 * 2 ** 30;
  const list = RAMList.create({ capacityBytes: sizeBytes + PAGE });
  const big = list.alloc({ name: 'pc.ram', sizeBytes });
  const small = list.alloc({ name: 'bios', sizeBytes: PAGE });
  expect(small.ramOffset).toBe(sizeBytes);
  big.bytes[sizeBytes - 1] = 0x5a;
  expect(list.view(sizeBytes - 1, 1)[0]).toBe(0x5a);
  expect(list.offsetOf(list.view(0x9000_0001, 3))).toBe(0x9000_0001);
  expect(list.blockAt(sizeBytes)).toBe(small);
});
