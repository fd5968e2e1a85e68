// Power-on state. Intel SDM volume 3, section 10.1.1 and table 10-1 (9-1 in older editions)
// "IA-32 and Intel 64 Processor States Following Power-up, Reset, or INIT".

import { CR0_CD, CR0_ET, CR0_NW } from './control-bits.ts';
import { CPU_SIGNATURE } from './cpuid.ts';
import { DR6_FIXED, DR7_FIXED } from './debug.ts';
import { FLAGS_FIXED } from './flags.ts';
import { PAT_RESET } from './msr.ts';
import { MSR_SLOT_PAT } from './msr-slots.ts';
import { REAL_ATTRIBUTES, type Segmentation } from './segmentation.ts';
import type { CPUState } from './state.ts';
import {
  A20_MASK,
  CPL,
  CR0,
  CS,
  DR,
  ENGINE,
  EXCEPTION_VECTOR,
  GDTR_LIMIT,
  GPR,
  GS,
  IDTR_LIMIT,
  LDTR,
  MSR,
  MXCSR,
  NO_EXCEPTION,
  TR,
  X87_CONTROL,
  X87_EMPTY,
} from './state-layout.ts';

/** LDT and TSS registers after reset: present, empty LDT; present, busy 32-bit TSS. */
const LDT_ATTRIBUTES = 0x82;
const TSS_ATTRIBUTES = 0x8b;
const MXCSR_RESET = 0x1f80;

/**
 * Writes the whole state area. The A20 mask is the board's and stays, fully open if it was 0.
 * The caller then flushes translations.
 */
export function resetState(state: CPUState, segmentation: Segmentation): void {
  const a20 = state.get32(A20_MASK);
  // Nothing in the area outlives a reset: TLB, dirty bytes and RAM lie behind it.
  state.u8.fill(0, GPR, ENGINE);
  state.set32(A20_MASK, a20 === 0 ? 0xffff_ffff : a20);
  state.set32(EXCEPTION_VECTOR, NO_EXCEPTION);
  state.eflags = FLAGS_FIXED;
  state.eip = 0xfff0;
  state.setReg32(2, CPU_SIGNATURE);
  state.setWide(CR0, (CR0_CD | CR0_NW | CR0_ET) >>> 0);
  state.setWide(DR + 6 * 8, DR6_FIXED);
  state.setWide(DR + 7 * 8, DR7_FIXED);
  state.set32(GDTR_LIMIT, 0xffff);
  state.set32(IDTR_LIMIT, 0xffff);
  state.u64[(MSR >> 3) + MSR_SLOT_PAT] = PAT_RESET;
  // As FINIT leaves it but for the control word: power-up masks nothing less (table 10-1).
  state.set32(X87_CONTROL, 0x40);
  state.u8.fill(0, X87_EMPTY, X87_EMPTY + 8);
  state.set32(MXCSR, MXCSR_RESET);
  state.set32(CPL, 0);
  for (let segment = 0; segment <= GS; segment++)
    segmentation.setSegment(segment, 0, 0, 0xffff, REAL_ATTRIBUTES);
  segmentation.setSegment(CS, 0xf000, 0xffff_0000, 0xffff, REAL_ATTRIBUTES);
  segmentation.setSegment(LDTR, 0, 0, 0xffff, LDT_ATTRIBUTES);
  segmentation.setSegment(TR, 0, 0, 0xffff, TSS_ATTRIBUTES);
  segmentation.updateMode();
}
