// What CPUID says: a P6 with SSE2 and NX, exactly the features that are implemented.
// Intel SDM volume 2, "CPUID"; leaves from 0x80000001 as in AMD's manual volume 3, appendix E.

import { PHYSICAL_ADDRESS_BITS } from './control-bits.ts';

const VENDOR = 'GenuineIntel';
const HYPERVISOR = 'QuireQuireVM';
const BRAND = 'Quire virtual x86 processor';
/** Family 6, model 8, stepping 3: a Pentium III. */
export const CPU_SIGNATURE = 0x683;
const MAX_LEAF = 2;
const MAX_EXTENDED_LEAF = 0x8000_0008;

/** Leaf 1 EDX, by bit. */
const FEATURE_BITS = {
  FPU: 0,
  VME: 1,
  DE: 2,
  PSE: 3,
  TSC: 4,
  MSR: 5,
  PAE: 6,
  MCE: 7,
  CX8: 8,
  APIC: 9,
  SEP: 11,
  MTRR: 12,
  PGE: 13,
  MCA: 14,
  CMOV: 15,
  PAT: 16,
  PSE36: 17,
  MMX: 23,
  FXSR: 24,
  SSE: 25,
  SSE2: 26,
} as const;
export const FEATURE_APIC = 1 << FEATURE_BITS.APIC;
export const FEATURES = Object.values(FEATURE_BITS).reduce<number>(
  (all, bit) => all | (1 << bit),
  0,
);
const FEATURE_HYPERVISOR = 0x8000_0000;
const FEATURE_NX = 1 << 20;

/**
 * Fills `out` with EAX, EBX, ECX and EDX of `leaf`. A leaf beyond the last answers as the highest
 * basic one, as Intel's processors do.
 * @param isAPICEnabled the APIC base register's enable bit, which the APIC feature bit mirrors
 */
export function readCPUID(leaf: number, isAPICEnabled: boolean, out: Uint32Array): void {
  out.fill(0);
  switch (leaf) {
    case 0:
      out[0] = MAX_LEAF;
      putVendor(VENDOR, out, [1, 3, 2]);
      return;
    case 1:
      out[0] = CPU_SIGNATURE;
      out[2] = FEATURE_HYPERVISOR;
      out[3] = isAPICEnabled ? FEATURES : FEATURES & ~FEATURE_APIC;
      return;
    case 0x4000_0000:
      out[0] = 0x4000_0000;
      putVendor(HYPERVISOR, out, [1, 2, 3]);
      return;
    case 0x8000_0000:
      out[0] = MAX_EXTENDED_LEAF;
      return;
    case 0x8000_0001:
      out[3] = FEATURE_NX;
      return;
    case 0x8000_0002:
    case 0x8000_0003:
    case 0x8000_0004:
      for (let index = 0; index < 4; index++)
        out[index] = word(BRAND, (leaf - 0x8000_0002) * 16 + index * 4);
      return;
    case 0x8000_0005:
    case 0x8000_0006:
    case 0x8000_0007:
      return;
    case 0x8000_0008:
      // Linear addresses have a width here only in long mode: KVM takes 48, 57 or none.
      out[0] = PHYSICAL_ADDRESS_BITS;
      return;
    default:
      // Leaf 2: 4-KiB and 4-MiB TLBs, L1 caches of 16 KiB, L2 of 512 KiB.
      out[0] = 0x0302_0101;
      out[3] = 0x0c04_0843;
  }
}

function putVendor(text: string, out: Uint32Array, order: readonly number[]): void {
  for (const [index, register] of order.entries()) out[register] = word(text, index * 4);
}

/** Four characters of `text` as a little-endian word; zero bytes behind its end. */
function word(text: string, start: number): number {
  let value = 0;
  for (let index = 3; index >= 0; index--) {
    const code = text.charCodeAt(start + index);
    value = (value << 8) | (Number.isNaN(code) ? 0 : code);
  }
  return value >>> 0;
}
