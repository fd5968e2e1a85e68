import { expect, test } from 'vitest';
import { DIRTY_MIGRATION, GuestMemory, MemoryRegion, TLB_NOTDIRTY } from './index.ts';

test('smoke', () => {
  const m = new GuestMemory({ ramCapacityBytes: 1 << 20 });
  const ram = m.ramList.alloc({ name: 'pc.ram', sizeBytes: 65536 });
  m.root.addSubregion(0, MemoryRegion.ram('pc.ram', ram));
  m.root.addSubregion(0x1004, MemoryRegion.io('dev', 4, { read: () => 0x12345678, write() {} }), 1);
  expect(m.addressSpace.read(0x1002, 4)).toBe(0x56780000);
  m.addressSpace.write(0x2000, 4, 0xdeadbeef);
  expect(m.addressSpace.read(0x2000, 4)).toBe(0xdeadbeef);
  expect(m.addressSpace.read(0x20000, 4)).toBe(0xffffffff);
  m.tlb.fill(0, 0xc0002000, 0x2000, true, true, false);
  m.dirty.clear(0, 65536, DIRTY_MIGRATION);
  expect([...m.tlb.entries()][0]!.writeFlags).toBe(TLB_NOTDIRTY);
});
