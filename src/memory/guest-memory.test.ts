import { expect, test } from 'vitest';
import { GuestMemory } from './guest-memory.ts';
import { MemoryRegion } from './memory-region.ts';
import { lookupStore } from './soft-tlb.ts';

const PAGE = 4096;

test('parts lie behind what is reserved, apart from each other, RAM last', () => {
  const options = { ramCapacityBytes: 300 * PAGE, reservedBytes: 5000, tlbRowCount: 16 };
  const layout = GuestMemory.layout(options);
  expect(layout).toEqual({
    tlbOffset: 2 * PAGE,
    dirtyOffset: 11 * PAGE,
    codePagesOffset: 12 * PAGE,
    ramOffset: 13 * PAGE,
    totalBytes: 313 * PAGE,
  });
  const buffer = new ArrayBuffer(layout.totalBytes);
  new Uint8Array(buffer, 0, 2 * PAGE).fill(0x77);
  const memory = new GuestMemory({ ...options, buffer });
  memory.ramList.alloc({ name: 'ram', sizeBytes: 300 * PAGE }).bytes.fill(0x55);
  memory.codePages.addLines(0, 300 * PAGE);
  memory.tlb.flushAll();
  expect(new Uint8Array(buffer, 0, 2 * PAGE).every((byte) => byte === 0x77)).toBe(true);
  expect(memory.codePages.masks.every((mask) => mask === 0xffff_ffff)).toBe(true);
  expect(memory.dirty.bytes.every((byte) => byte === 0xfd)).toBe(true);
});

test('a buffer that is too small, and a size that is no whole number of pages, are refused', () => {
  const buffer = new ArrayBuffer(8 * PAGE);
  expect(() => new GuestMemory({ ramCapacityBytes: 8 * PAGE, buffer })).toThrow(/must hold/);
  for (const ramCapacityBytes of [0, 100, PAGE + 1, -PAGE, Number.NaN])
    expect(() => new GuestMemory({ ramCapacityBytes })).toThrow(RangeError);
});

test('two machines in one program share nothing', () => {
  const [a, b] = [0, 1].map(() => {
    const memory = new GuestMemory({ ramCapacityBytes: 4 * PAGE });
    const block = memory.ramList.alloc({ name: 'ram', sizeBytes: 4 * PAGE });
    memory.root.addSubregion(0, MemoryRegion.ram('ram', block));
    memory.tlb.fill(0, 0, 0, true, true, false);
    return memory;
  }) as [GuestMemory, GuestMemory];
  a.root.removeSubregion(a.root.subregions[0]!);
  expect(a.addressSpace.kindOf(0)).toBe('unassigned');
  expect(b.addressSpace.kindOf(0)).toBe('ram');
  expect(lookupStore(a.tlb.words, 0, 4095, 0, 4)).toBe(-1);
  expect(lookupStore(b.tlb.words, 0, 4095, 0, 4)).toBe(b.layout.ramOffset);
});

// Goal (failure 9): memory that a balloon takes away is a change as any other.
test('discard() leaves zeros, marks pages dirty for every client and drops code', () => {
  const memory = new GuestMemory({ ramCapacityBytes: 4 * PAGE });
  const block = memory.ramList.alloc({ name: 'ram', sizeBytes: 3 * PAGE });
  block.bytes.fill(0x55);
  memory.dirty.harvest(8, 0, 3 * PAGE);
  memory.codePages.addLines(PAGE, 16);
  const dropped: number[] = [];
  memory.codePages.onInvalidate((ramOffset) => void dropped.push(ramOffset));
  memory.discard(PAGE, PAGE);
  expect(block.bytes.subarray(PAGE, 2 * PAGE).every((byte) => byte === 0)).toBe(true);
  expect([block.bytes[PAGE - 1], block.bytes[2 * PAGE]]).toEqual([0x55, 0x55]);
  expect([...memory.dirty.bytes.subarray(0, 3)].map((byte) => byte & 8)).toEqual([0, 8, 0]);
  expect(dropped).toEqual([PAGE]);
  expect(() => memory.discard(2 * PAGE, 2 * PAGE)).toThrow(/must lie in one block/);
});
