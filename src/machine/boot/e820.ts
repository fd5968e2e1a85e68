// The memory map that a guest is told. ACPI specification 1.0b, section 14.1 "INT 15H, E820H".

import { RAM_BELOW_4G_END, VGA_HOLE } from '../memory-map.ts';

export const E820_RAM = 1;
export const E820_RESERVED = 2;
/** Where tables for the operating system lie. */
export const TABLES_START = 0xe_0000;
export const TABLES_END = 0x10_0000;
/** End of base memory: below the (empty) extended BIOS data area. */
export const BASE_MEMORY_END = 0x9_fc00;

export interface E820Entry {
  readonly start: number;
  readonly sizeBytes: number;
  readonly type: number;
}

/** What a machine of so much RAM has where, ascending. */
export function memoryMap(memoryBytes: number): readonly E820Entry[] {
  const entries: E820Entry[] = [];
  const add = (start: number, end: number, type: number) => {
    if (end > start) entries.push({ start, sizeBytes: end - start, type });
  };
  add(0, BASE_MEMORY_END, E820_RAM);
  add(BASE_MEMORY_END, VGA_HOLE.start, E820_RESERVED);
  add(TABLES_START, TABLES_END, E820_RESERVED);
  add(TABLES_END, Math.min(memoryBytes, RAM_BELOW_4G_END), E820_RAM);
  add(0xfec0_0000, 0xfec0_1000, E820_RESERVED);
  add(0xfee0_0000, 0xfee0_1000, E820_RESERVED);
  add(2 ** 32, 2 ** 32 + Math.max(0, memoryBytes - RAM_BELOW_4G_END), E820_RAM);
  return entries;
}
