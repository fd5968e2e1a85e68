import { expect, test } from 'vitest';
import { byteDevice, PAGE } from '../../test/memory-model.ts';
import { DIRTY_MIGRATION } from './dirty-memory.ts';
import { DMA_BOUNCE_BYTES_MAX } from './dma-mapping.ts';
import { GuestMemory } from './guest-memory.ts';
import { MemoryRegion } from './memory-region.ts';

function create() {
  const memory = new GuestMemory({ ramCapacityBytes: 16 * PAGE });
  const block = memory.ramList.alloc({ name: 'pc.ram', sizeBytes: 8 * PAGE });
  memory.root.addSubregion(0, MemoryRegion.ram('pc.ram', block));
  const { ops, bytes } = byteDevice(PAGE);
  memory.root.addSubregion(2 * PAGE, MemoryRegion.io('device', PAGE, ops), 1);
  return { memory, space: memory.addressSpace, block, device: bytes };
}

test('RAM is mapped directly; what is between is bounced: read at once, written at unmap', () => {
  const { space, block, device } = create();
  device.set([1, 2, 3]);
  block.bytes[2 * PAGE - 1] = 9;
  const reading = space.mapRange(2 * PAGE - 1, PAGE + 2, false);
  expect(reading.segments.map((s) => [s.gpa, s.bytes.length, s.ramOffset])).toEqual([
    [2 * PAGE - 1, 1, 2 * PAGE - 1],
    [2 * PAGE, PAGE, -1],
    [3 * PAGE, 1, 3 * PAGE],
  ]);
  expect([...reading.segments[1]!.bytes.subarray(0, 3)]).toEqual([1, 2, 3]);
  reading.unmap();
  const writing = space.mapRange(2 * PAGE - 1, PAGE + 2, true);
  for (const { bytes } of writing.segments) bytes.fill(0x77);
  expect([block.bytes[2 * PAGE - 1], device[0]]).toEqual([0x77, 1]);
  writing.unmap();
  expect([device[0], device[PAGE - 1], block.bytes[3 * PAGE]]).toEqual([0x77, 0x77, 0x77]);
});

test('failure 9: unmap notes what the device wrote, and no more', () => {
  const { memory, space } = create();
  memory.dirty.clear(0, 16 * PAGE, DIRTY_MIGRATION);
  memory.codePages.addLines(PAGE, 1);
  const mapping = space.mapRange(0, 2 * PAGE, true);
  mapping.unmap(PAGE + 1);
  mapping.unmap(2 * PAGE);
  expect([...memory.dirty.harvest(DIRTY_MIGRATION).pages()]).toEqual([0, 1]);
  expect(memory.codePages.hasCode(PAGE, 1)).toBe(false);
  const reading = space.mapRange(4 * PAGE, PAGE, false);
  reading.unmap();
  expect(memory.dirty.count(DIRTY_MIGRATION)).toBe(0);
});

// Goal: the guest names the range, the host gives the memory.
test('a huge range over nothing is cut to the bounce limit', () => {
  const { space } = create();
  const mapping = space.mapRange(2 ** 40, 2 ** 33, true);
  expect(mapping.sizeBytes).toBe(DMA_BOUNCE_BYTES_MAX);
  expect(space.mapRange(0, 0, true).segments).toEqual([]);
  expect(() => space.mapRange(0, -1, true)).toThrow(RangeError);
});

test('ROM can be read in place, and never be written', () => {
  const { memory, space } = create();
  const rom = memory.ramList.allocFrom({ name: 'rom', bytes: new Uint8Array(PAGE).fill(5) });
  memory.root.addSubregion(0x100000, MemoryRegion.rom('rom', rom));
  expect(space.mapRange(0x100000, 4, false).segments[0]!.ramOffset).toBe(rom.ramOffset);
  const writing = space.mapRange(0x100000, 4, true);
  writing.segments[0]!.bytes.fill(1);
  writing.unmap();
  expect([rom.bytes[0], space.romWriteCount]).toEqual([5, 1]);
});
