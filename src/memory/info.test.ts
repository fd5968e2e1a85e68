import { expect, test } from 'vitest';
import { byteDevice, PAGE } from '../../test/memory-model.ts';
import { DIRTY_VGA } from './dirty-memory.ts';
import { GuestMemory } from './guest-memory.ts';
import { formatDirty, formatFlatView, formatRAMBlocks, formatTLB, formatTree } from './info.ts';
import { MemoryRegion } from './memory-region.ts';

const RANGE = '0000000000000000-000000000000ffff';

function create() {
  const memory = new GuestMemory({ ramCapacityBytes: 32 * PAGE, addressSpaceBytes: 2 ** 32 });
  const { ramList, root } = memory;
  const ram = MemoryRegion.ram('pc.ram', ramList.alloc({ name: 'pc.ram', sizeBytes: 16 * PAGE }));
  const image = new Uint8Array(PAGE + 1);
  const bios = MemoryRegion.rom('pc.bios', ramList.allocFrom({ name: 'pc.bios', bytes: image }));
  root.addSubregion(0, MemoryRegion.alias('ram-below-4g', ram, 0, 16 * PAGE));
  root.addSubregion(2 ** 32 - 2 * PAGE, bios);
  root.addSubregion(0xa000, MemoryRegion.io('vga-lowmem', 0x2000, byteDevice(0x2000).ops), 1);
  const off = MemoryRegion.io('hpet', 0x400, byteDevice(0x400).ops);
  off.setEnabled(false);
  root.addSubregion(0xfed00000, off);
  return memory;
}

test('info mtree', () => {
  expect(formatTree([create().addressSpace])).toBe(`address-space: memory
  0000000000000000-00000000ffffffff (prio 0, i/o): system
    0000000000000000-000000000000ffff (prio 0, ram): alias ram-below-4g @pc.ram ${RANGE}
    000000000000a000-000000000000bfff (prio 1, i/o): vga-lowmem
    00000000fed00000-00000000fed003ff (prio 0, i/o): hpet [disabled]
    00000000ffffe000-00000000ffffffff (prio 0, rom): pc.bios

memory-region: pc.ram
  0000000000000000-000000000000ffff (prio 0, ram): pc.ram

`);
});

test('info mtree -f', () => {
  expect(formatFlatView([create().addressSpace])).toBe(`FlatView #0
 AS "memory", root: system
 Root memory region: system
  0000000000000000-0000000000009fff (prio 0, ram): pc.ram
  000000000000a000-000000000000bfff (prio 1, i/o): vga-lowmem
  000000000000c000-000000000000ffff (prio 0, ram): pc.ram @000000000000c000
  00000000ffffe000-00000000ffffffff (prio 0, rom): pc.bios

`);
});

test('info ramblock and info dirty', () => {
  const memory = create();
  memory.dirty.clear(0, 3 * PAGE, DIRTY_VGA);
  const rows = formatRAMBlocks(memory.ramList).split('\n');
  expect(rows[0]).toBe(
    '              Block Name    PSize              Offset               Used' +
      '              Total                HVA',
  );
  expect(rows[2]).toContain(
    'pc.bios    4 KiB  0x0000000000010000 0x0000000000001001 0x0000000000002000',
  );
  const dirty = formatDirty(memory.ramList, memory.dirty).split('\n');
  expect(dirty[1]!.trim().split(/ +/)).toEqual(['pc.ram', '16', '13', '16', '16']);
});

test('info tlb', () => {
  const { tlb } = create();
  expect(formatTLB(tlb)).toBe('TLB is empty\n');
  tlb.fill(0, 0xc0001000, 0x1000, true, true, true);
  tlb.fill(1, 0x400000, 0xa000, true, false, false);
  tlb.fill(0, 0x500000, 2 ** 32 - PAGE, true, true, false);
  expect(formatTLB(tlb).split('\n')).toEqual([
    '0000000000500000: 00000000fffff000 --R--O--',
    '00000000c0001000: 0000000000001000 G-RWD---',
    '0000000000400000: 000000000000a000 -UR---I-',
    '',
  ]);
});
