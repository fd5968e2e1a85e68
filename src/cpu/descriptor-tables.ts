// Instructions about descriptors and their tables: LLDT LTR SLDT STR, LGDT LIDT SGDT SIDT, LAR LSL
// VERR VERW ARPL. Intel SDM volume 2, each; volume 3, section 5.10 "Pointer Validation".

import { VECTOR_GP, VECTOR_NP, VECTOR_UD } from './control-bits.ts';
import {
  Descriptor,
  SELECTOR_TI,
  TYPE_CALL_GATE16,
  TYPE_CALL_GATE32,
  TYPE_LDT,
  TYPE_TASK_GATE,
  TYPE_TSS16,
  TYPE_TSS16_BUSY,
  TYPE_TSS32,
  TYPE_TSS32_BUSY,
} from './descriptor.ts';
import { FLAG_ZF } from './flags.ts';
import type { MMU } from './mmu.ts';
import type { Segmentation } from './segmentation.ts';
import type { CPUState } from './state.ts';
import { GDTR_BASE, GDTR_LIMIT, IDTR_BASE, IDTR_LIMIT, LDTR, TR } from './state-layout.ts';

const HAS_LIMIT =
  (1 << TYPE_TSS16) |
  (1 << TYPE_LDT) |
  (1 << TYPE_TSS16_BUSY) |
  (1 << TYPE_TSS32) |
  (1 << TYPE_TSS32_BUSY);
const HAS_RIGHTS =
  HAS_LIMIT | (1 << TYPE_CALL_GATE16) | (1 << TYPE_TASK_GATE) | (1 << TYPE_CALL_GATE32);

export class DescriptorTables {
  readonly #state: CPUState;
  readonly #mmu: MMU;
  readonly #segmentation: Segmentation;
  readonly #descriptor = new Descriptor();

  constructor(state: CPUState, mmu: MMU, segmentation: Segmentation) {
    this.#state = state;
    this.#mmu = mmu;
    this.#segmentation = segmentation;
  }

  #requirePrivilege(): boolean {
    return this.#state.cpl === 0 || this.#segmentation.fault(VECTOR_GP, 0);
  }

  /** LLDT to ARPL exist only in protected mode: #UD elsewhere. */
  #requireProtected(): boolean {
    if (!this.#segmentation.isRealAddressing) return true;
    this.#state.raiseException(VECTOR_UD);
    return false;
  }

  // ---- LDTR and TR

  lldt(selector: number): boolean {
    const segmentation = this.#segmentation;
    if (!this.#requireProtected() || !this.#requirePrivilege()) return false;
    if ((selector & 0xfffc) === 0) {
      segmentation.setNull(LDTR, selector);
      return true;
    }
    const descriptor = this.#descriptor;
    if ((selector & SELECTOR_TI) !== 0) return segmentation.fault(VECTOR_GP, selector);
    if (!segmentation.readDescriptor(selector & 0xffff, descriptor, VECTOR_GP)) return false;
    if (!descriptor.isSystem || descriptor.type !== TYPE_LDT)
      return segmentation.fault(VECTOR_GP, selector);
    if (!descriptor.isPresent) return segmentation.fault(VECTOR_NP, selector);
    segmentation.setFromDescriptor(LDTR, selector, descriptor);
    return true;
  }

  /** LTR marks the TSS busy. */
  ltr(selector: number): boolean {
    const segmentation = this.#segmentation;
    if (!this.#requireProtected() || !this.#requirePrivilege()) return false;
    if ((selector & 0xfffc) === 0) return segmentation.fault(VECTOR_GP, 0);
    const descriptor = this.#descriptor;
    if ((selector & SELECTOR_TI) !== 0) return segmentation.fault(VECTOR_GP, selector);
    if (!segmentation.readDescriptor(selector & 0xffff, descriptor, VECTOR_GP)) return false;
    const isTSS = descriptor.type === TYPE_TSS16 || descriptor.type === TYPE_TSS32;
    if (!descriptor.isSystem || !isTSS) return segmentation.fault(VECTOR_GP, selector);
    if (!descriptor.isPresent) return segmentation.fault(VECTOR_NP, selector);
    const busy = descriptor.high | 0x200;
    if (!this.#mmu.systemStore((descriptor.linear + 4) >>> 0, 4, busy)) return false;
    descriptor.high = busy;
    segmentation.setFromDescriptor(TR, selector, descriptor);
    return true;
  }

  /** SLDT; #UD outside protected mode. */
  sldt(): number {
    return this.#requireProtected() ? this.#state.selector(LDTR) : 0;
  }

  str(): number {
    return this.#requireProtected() ? this.#state.selector(TR) : 0;
  }

  // ---- GDTR and IDTR: the operand's segment check is done; `linear` is its first byte

  lgdt(linear: number, operandSize: number): boolean {
    return this.#loadTable(GDTR_BASE, GDTR_LIMIT, linear, operandSize);
  }

  lidt(linear: number, operandSize: number): boolean {
    return this.#loadTable(IDTR_BASE, IDTR_LIMIT, linear, operandSize);
  }

  /** With 16-bit operands the base has 24 bits. */
  #loadTable(base: number, limit: number, linear: number, operandSize: number): boolean {
    if (!this.#requirePrivilege()) return false;
    const newLimit = this.#mmu.load16(linear);
    const newBase = this.#mmu.load32((linear + 2) >>> 0);
    if (this.#state.hasException) return false;
    this.#state.setWide(base, operandSize === 2 ? newBase & 0xff_ffff : newBase);
    this.#state.set32(limit, newLimit);
    return true;
  }

  sgdt(linear: number): boolean {
    return this.#storeTable(GDTR_BASE, GDTR_LIMIT, linear);
  }

  sidt(linear: number): boolean {
    return this.#storeTable(IDTR_BASE, IDTR_LIMIT, linear);
  }

  /** All 32 bits of the base, as every processor since the 386 stores them. */
  #storeTable(base: number, limit: number, linear: number): boolean {
    if (!this.#mmu.checkStore(linear, 6)) return false;
    this.#mmu.store16(linear, this.#state.get32(limit));
    this.#mmu.store32((linear + 2) >>> 0, this.#state.get32(base));
    return !this.#state.hasException;
  }

  // ---- Questions about a selector: ZF answers

  /** LAR: ZF, and access rights as they stand in the descriptor, or -1 with ZF clear (or fault). */
  lar(selector: number): number {
    if (!this.#inspect(selector, HAS_RIGHTS)) return -1;
    this.#setZF(true);
    return this.#descriptor.high & 0x00f0_ff00;
  }

  /** LSL: ZF, and the limit in bytes as an i32, or 0 with ZF clear: look at ZF, not at it. */
  lsl(selector: number): number {
    if (!this.#inspect(selector, HAS_LIMIT)) return 0;
    this.#setZF(true);
    return this.#descriptor.limit;
  }

  /** Whether CPL and RPL may see the descriptor at all; clears ZF if not. */
  #inspect(selector: number, systemTypes: number): boolean {
    if (!this.#requireProtected()) return false;
    const descriptor = this.#descriptor;
    const isRead =
      (selector & 0xfffc) !== 0 &&
      this.#segmentation.readDescriptor(selector & 0xffff, descriptor, -1);
    if (this.#state.hasException) return false;
    const level = Math.max(this.#state.cpl, selector & 3);
    const isVisible =
      isRead &&
      (descriptor.isSystem ? ((systemTypes >>> descriptor.type) & 1) !== 0 : true) &&
      (descriptor.isConformingCode || descriptor.dpl >= level);
    if (!isVisible) this.#setZF(false);
    return isVisible;
  }

  verr(selector: number): void {
    const isVisible = this.#inspect(selector, 0);
    if (isVisible) this.#setZF(this.#descriptor.isReadable);
  }

  verw(selector: number): void {
    const isVisible = this.#inspect(selector, 0);
    if (isVisible) this.#setZF(this.#descriptor.isWritableData);
  }

  #setZF(isSet: boolean): void {
    const flags = this.#state.eflags;
    this.#state.eflags = isSet ? flags | FLAG_ZF : flags & ~FLAG_ZF;
  }
}
