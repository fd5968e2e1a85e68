// The codec of |phys_offset|, which says what is behind a page (the seed, II.1 and II.2):
//
//    31                        12 11             3 2     0
//   +----------------------------+----------------+-------+
//   |         high_addr          | mem_type_index | flags |
//   +----------------------------+----------------+-------+
//
// high_addr is the page's RAM offset for RAM, ROM and ROMD pages, and 0 for all others. A RAM page
// is its bare RAM offset, because IO_MEM_RAM is 0. Values are unsigned, 32 bits while RAM offsets
// are; a RAM offset above 4 GiB goes on to the left, up to 2^53.

import { pageStart } from '../base/pages.ts';

/** Bits of the flags below the index. */
export const IO_MEM_SHIFT = 3;
/** How many memory types an index can name. */
export const IO_MEM_TYPE_COUNT = 1 << 9;

/** Regular RAM: all zero on purpose. */
export const IO_MEM_RAM = 0 << IO_MEM_SHIFT;
export const IO_MEM_ROM = 1 << IO_MEM_SHIFT;
export const IO_MEM_UNASSIGNED = 2 << IO_MEM_SHIFT;
/** RAM whose next store must be noticed; in TLB rows only, never in the page map. */
export const IO_MEM_NOTDIRTY = 3 << IO_MEM_SHIFT;
/** First index that devices get. */
export const IO_MEM_FIRST_DEVICE_INDEX = 4;

/** Reads come from RAM, writes go to the callback. */
export const IO_MEM_ROMD = 1;
/** Not all addresses of the page belong to the same region. */
export const IO_MEM_SUBPAGE = 2;
/** The device implements some access sizes only; the core splits and joins. */
export const IO_MEM_SUBWIDTH = 4;

const MEM_TYPE_MASK = 0xfff;
const FLAGS_MASK = 7;
const WORD = 2 ** 32;

/** A memory type, as `IoMemoryTable.register` returns it. */
export function encodeMemType(memTypeIndex: number, flags = 0): number {
  return (memTypeIndex << IO_MEM_SHIFT) | flags;
}

/** |phys_offset| of a page that starts at `ramOffset` (page-aligned; 0 for I/O pages). */
export function encodePhysOffset(ramOffset: number, memType: number): number {
  return ramOffset < WORD ? (ramOffset | memType) >>> 0 : ramOffset + memType;
}

/** The 12 bits that say what the page is. */
export function memTypeOf(physOffset: number): number {
  return physOffset & MEM_TYPE_MASK;
}

/** The number of a memory type, 0–511. */
export function memTypeIndexOf(physOffset: number): number {
  return (physOffset & MEM_TYPE_MASK) >>> IO_MEM_SHIFT;
}

/** IO_MEM_ROMD, IO_MEM_SUBPAGE and IO_MEM_SUBWIDTH bits. */
export function memFlagsOf(physOffset: number): number {
  return physOffset & FLAGS_MASK;
}

/** RAM offset of the page, for RAM, ROM and ROMD pages. */
export function highAddressOf(physOffset: number): number {
  return physOffset < WORD ? (physOffset & ~MEM_TYPE_MASK) >>> 0 : pageStart(physOffset);
}

/** Whether reads of the page come straight from RAM: RAM, ROM and ROMD. */
export function isReadFromRAM(physOffset: number): boolean {
  const memType = physOffset & MEM_TYPE_MASK;
  return memType <= IO_MEM_ROM || (memType & (IO_MEM_ROMD | IO_MEM_SUBPAGE)) === IO_MEM_ROMD;
}

/** The address that an I/O callback is given: low page bits of the gpa plus |region_offset|. */
export function ioAddress(gpa: number, regionOffset: number): number {
  return (gpa & MEM_TYPE_MASK) + regionOffset;
}
