// The drawings of the seed document, sections II.1 and II.2, one test each.
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { fuzzOptions } from '../../test/fuzz-options.ts';
import {
  encodeMemType,
  encodePhysOffset,
  highAddressOf,
  IO_MEM_NOTDIRTY,
  IO_MEM_RAM,
  IO_MEM_ROM,
  IO_MEM_ROMD,
  IO_MEM_SUBPAGE,
  IO_MEM_SUBWIDTH,
  IO_MEM_UNASSIGNED,
  ioAddress,
  isReadFromRAM,
  memFlagsOf,
  memTypeIndexOf,
  memTypeOf,
} from './phys-offset.ts';

test('| mem_type_index | flags |: the index above a 3-bit bitmap', () => {
  expect([IO_MEM_ROMD, IO_MEM_SUBPAGE, IO_MEM_SUBWIDTH]).toEqual([1, 2, 4]);
  const type = encodeMemType(5, IO_MEM_SUBPAGE | IO_MEM_SUBWIDTH);
  expect(type).toBe(0b101_110);
  expect([memTypeIndexOf(type), memFlagsOf(type)]).toEqual([5, 6]);
});

test('indexes 0 to 3 are RAM, ROM, UNASSIGNED and NOTDIRTY without flags', () => {
  const types = [IO_MEM_RAM, IO_MEM_ROM, IO_MEM_UNASSIGNED, IO_MEM_NOTDIRTY];
  expect(types.map(memTypeIndexOf)).toEqual([0, 1, 2, 3]);
  expect(types.map(memFlagsOf)).toEqual([0, 0, 0, 0]);
});

test('unassigned pages have high_addr 0 and IO_MEM_UNASSIGNED', () => {
  expect(encodePhysOffset(0, IO_MEM_UNASSIGNED)).toBe(IO_MEM_UNASSIGNED);
});

test('| high_addr | 0 |: a RAM page is its bare RAM offset', () => {
  expect(encodePhysOffset(0x1234_5000, IO_MEM_RAM)).toBe(0x1234_5000);
  expect(encodePhysOffset(0xfffff000, IO_MEM_RAM)).toBe(0xfffff000);
});

test('| high_addr | IO_MEM_ROM |: like RAM but for its type', () => {
  const physOffset = encodePhysOffset(0xc000_0000, IO_MEM_ROM);
  expect(physOffset).toBe(0xc000_0008);
  expect([highAddressOf(physOffset), memTypeOf(physOffset)]).toEqual([0xc000_0000, IO_MEM_ROM]);
});

test('| high_addr | IO_MEM_NOTDIRTY |: what a TLB row knows of clean RAM', () => {
  expect(encodePhysOffset(0x1000, IO_MEM_NOTDIRTY)).toBe(0x1018);
});

test('| 0 | mem_type_index | flags |: I/O pages have no high_addr', () => {
  const physOffset = encodePhysOffset(0, encodeMemType(511, IO_MEM_SUBPAGE));
  expect([highAddressOf(physOffset), memTypeIndexOf(physOffset)]).toEqual([0, 511]);
  expect(isReadFromRAM(physOffset)).toBe(false);
});

test('| high_addr | mem_type_index | flags |: ROMD keeps the RAM offset of its reads', () => {
  const physOffset = encodePhysOffset(0xabcd_e000, encodeMemType(7, IO_MEM_ROMD));
  expect(physOffset).toBe(0xabcd_e000 + 7 * 8 + 1);
  expect([highAddressOf(physOffset), memTypeIndexOf(physOffset)]).toEqual([0xabcd_e000, 7]);
  expect(isReadFromRAM(physOffset)).toBe(true);
});

test('the I/O address is the low page bits plus region_offset', () => {
  expect(ioAddress(0xfee0_0123, 0x4000)).toBe(0x4123);
  expect(ioAddress(2 ** 51 + 0xfff, 0)).toBe(0xfff);
});

test('every field comes back from every phys_offset', () => {
  fc.assert(
    fc.property(
      fc.nat({ max: 0xfffff }),
      fc.nat({ max: 511 }),
      fc.nat({ max: 7 }),
      (page, index, flags) => {
        const physOffset = encodePhysOffset(page * 4096, encodeMemType(index, flags));
        expect(highAddressOf(physOffset)).toBe(page * 4096);
        expect(memTypeIndexOf(physOffset)).toBe(index);
        expect(memFlagsOf(physOffset)).toBe(flags);
      },
    ),
    fuzzOptions(300),
  );
});
