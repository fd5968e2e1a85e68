// What a loader needs of a machine: somewhere to put bytes, and the registers at the entry point.

import type { CPUState } from '../../cpu/state.ts';
import {
  CR0,
  CS,
  DS,
  EIP,
  ES,
  FS,
  GDTR_BASE,
  GDTR_LIMIT,
  GS,
  IDTR_BASE,
  IDTR_LIMIT,
  SEG_ATTRIBUTES,
  SEG_BASE,
  SEG_LIMIT,
  SEG_SELECTOR,
  SEGMENT,
  SEGMENT_BYTES,
  SS,
} from '../../cpu/state-layout.ts';

/** A guest cannot be loaded as it is: the image, or what was asked for it, does not fit. */
export class BootError extends Error {
  override readonly name = 'BootError';

  constructor(what: string, detail: string, options?: ErrorOptions) {
    super(`Cannot boot ${what}: ${detail}`, options);
  }
}

/** Bytes for guest-physical memory. */
export interface BootSegment {
  readonly gpa: number;
  readonly bytes: Uint8Array;
  /** Bytes of zeros after them. */
  readonly zeroBytes?: number;
}

/** A loaded guest: what goes where, and how the processor starts. */
export interface BootImage {
  readonly segments: readonly BootSegment[];
  readonly entry: BootEntry;
}

/** Flat 32-bit protected mode, paging and interrupts off; registers not named are zero. */
export interface BootEntry {
  readonly eip: number;
  readonly codeSelector: number;
  readonly dataSelector: number;
  readonly gdtGpa: number;
  readonly gdtBytes: number;
  readonly eax?: number;
  readonly ebx?: number;
  readonly esi?: number;
  readonly esp?: number;
}

const CR0_PE = 0x01;
/** Keeps the reset value of ET; caches on, as firmware leaves them. */
const CR0_ET = 0x10;
const EFLAGS_RESET = 0x02;
/**
 * Descriptor bits 40–55 of flat segments: code execute/read, data read/write; accessed, 32 bits.
 */
const FLAT_CODE = 0xc09b;
const FLAT_DATA = 0xc093;
const GPR_EAX = 0;
const GPR_EBX = 3;
const GPR_ESP = 4;
const GPR_ESI = 6;

/**
 * A global descriptor table with flat code at 0x10 and flat data at 0x18 (and 0x08, the same code).
 */
export const FLAT_GDT = Uint8Array.of(
  ...[0, 0, 0, 0, 0, 0, 0, 0],
  ...[0xff, 0xff, 0, 0, 0, 0x9b, 0xcf, 0],
  ...[0xff, 0xff, 0, 0, 0, 0x9b, 0xcf, 0],
  ...[0xff, 0xff, 0, 0, 0, 0x93, 0xcf, 0],
);

/** Sets the processor to the entry, from its reset state. The caller synchronizes it afterwards. */
export function enterProtectedMode(state: CPUState, entry: BootEntry): void {
  for (let register = 0; register < 8; register++) state.setReg32(register, 0);
  state.setReg32(GPR_EAX, entry.eax ?? 0);
  state.setReg32(GPR_EBX, entry.ebx ?? 0);
  state.setReg32(GPR_ESP, entry.esp ?? 0);
  state.setReg32(GPR_ESI, entry.esi ?? 0);
  state.setWide(CR0, CR0_PE | CR0_ET);
  state.eflags = EFLAGS_RESET;
  state.setWide(GDTR_BASE, entry.gdtGpa);
  state.set32(GDTR_LIMIT, entry.gdtBytes - 1);
  state.setWide(IDTR_BASE, 0);
  state.set32(IDTR_LIMIT, 0);
  for (const segment of [ES, CS, SS, DS, FS, GS]) {
    const at = SEGMENT + segment * SEGMENT_BYTES;
    state.set32(at + SEG_SELECTOR, segment === CS ? entry.codeSelector : entry.dataSelector);
    state.set32(at + SEG_ATTRIBUTES, segment === CS ? FLAT_CODE : FLAT_DATA);
    state.setWide(at + SEG_BASE, 0);
    state.set32(at + SEG_LIMIT, 0xffff_ffff);
  }
  state.setWide(EIP, entry.eip);
}
