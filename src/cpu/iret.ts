// IRET in all its forms. Intel SDM volume 2, "IRET/IRETD"; volume 3, section 20.3 for V86 mode.

import { CR4_VME, VECTOR_GP, VECTOR_TS } from './control-bits.ts';
import type { DebugUnit } from './debug.ts';
import { Descriptor } from './descriptor.ts';
import type { FarTransfer } from './far-transfer.ts';
import {
  FLAG_AC,
  FLAG_ID,
  FLAG_IF,
  FLAG_IOPL,
  FLAG_NT,
  FLAG_RF,
  FLAG_TF,
  FLAG_VIF,
  FLAG_VIP,
  FLAG_VM,
  FLAGS_ALL,
} from './flags.ts';
import type { MMU } from './mmu.ts';
import type { Segmentation } from './segmentation.ts';
import type { StackFrame } from './stack.ts';
import type { CPUState } from './state.ts';
import { CR4, CS, DS, ES, FS, GS, NMI_BLOCKED, SS, TR } from './state-layout.ts';
import type { TaskSwitch } from './task-switch.ts';

const V86_SEGMENTS = [ES, DS, FS, GS] as const;
/** What any IRET may change: arithmetic flags, TF, DF and NT; then what 32 bits add. */
const ALWAYS = 0xcd5 | FLAG_TF | FLAG_NT;
const WIDE = FLAG_RF | FLAG_AC | FLAG_ID;

export class InterruptReturn {
  readonly #state: CPUState;
  readonly #mmu: MMU;
  readonly #segmentation: Segmentation;
  readonly #stack: StackFrame;
  readonly #tasks: TaskSwitch;
  readonly #transfer: FarTransfer;
  readonly #debug: DebugUnit;
  readonly #code = new Descriptor();

  constructor(parts: {
    readonly state: CPUState;
    readonly mmu: MMU;
    readonly segmentation: Segmentation;
    readonly stack: StackFrame;
    readonly tasks: TaskSwitch;
    readonly transfer: FarTransfer;
    readonly debug: DebugUnit;
  }) {
    this.#state = parts.state;
    this.#mmu = parts.mmu;
    this.#segmentation = parts.segmentation;
    this.#stack = parts.stack;
    this.#tasks = parts.tasks;
    this.#transfer = parts.transfer;
    this.#debug = parts.debug;
  }

  /** IRET (2) or IRETD (4); false with a fault recorded. NMIs are let through again. */
  iret(operandSize: number): boolean {
    const state = this.#state;
    const size = operandSize === 2 ? 2 : 4;
    const isDone = this.#return(size);
    if (!isDone) return false;
    state.set32(NMI_BLOCKED, 0);
    this.#mmu.updateAlignmentCheck();
    state.requestEvent();
    return true;
  }

  #return(size: 2 | 4): boolean {
    const state = this.#state;
    const segmentation = this.#segmentation;
    if (!segmentation.isProtected) return this.#returnReal(size, size === 4 ? WIDE : 0);
    if (segmentation.isV86) return this.#returnV86(size);
    if ((state.eflags & FLAG_NT) !== 0) return this.#returnTask();
    const stack = this.#stack;
    stack.openCurrent();
    const eip = stack.pop(size);
    const selector = stack.pop(size) & 0xffff;
    const flags = stack.pop(size);
    if (state.hasException) return false;
    if (size === 4 && (flags & FLAG_VM) !== 0 && state.cpl === 0)
      return this.#returnToV86(eip, selector, flags);
    const code = this.#code;
    if (!this.#transfer.readReturnCode(selector, eip, code)) return false;
    // What may be written is a matter of the level that is left, not of the one returned to.
    const mask = this.#flagMask(size);
    if ((selector & 3) !== state.cpl) {
      if (!this.#transfer.returnOuter(code, eip, size)) return false;
    } else {
      if (!segmentation.markAccessed(code)) return false;
      segmentation.setFromDescriptor(CS, selector, code);
      stack.commit();
      segmentation.updateMode();
      state.jump(eip);
    }
    this.#setFlags(flags, mask);
    return true;
  }

  #flagMask(size: 2 | 4): number {
    const cpl = this.#state.cpl;
    const iopl = (this.#state.eflags & FLAG_IOPL) >>> 12;
    return (
      ALWAYS |
      (size === 4 ? WIDE : 0) |
      (cpl === 0 ? FLAG_IOPL : 0) |
      (cpl <= iopl ? FLAG_IF : 0) |
      (cpl === 0 && size === 4 ? FLAG_VIF | FLAG_VIP : 0)
    );
  }

  #setFlags(flags: number, mask: number): void {
    const merged = (this.#state.eflags & ~mask) | (flags & mask);
    this.#state.eflags = this.#debug.loadedFlags(merged & FLAGS_ALL);
  }

  #returnReal(size: 2 | 4, more: number): boolean {
    return this.#popReal(size, ALWAYS | FLAG_IF | FLAG_IOPL | more);
  }

  /** Pops IP, CS and FLAGS into a paragraph address. */
  #popReal(size: 2 | 4, mask: number): boolean {
    const state = this.#state;
    const segmentation = this.#segmentation;
    const stack = this.#stack;
    stack.openCurrent();
    const eip = stack.pop(size);
    const selector = stack.pop(size) & 0xffff;
    const flags = stack.pop(size);
    if (state.hasException) return false;
    if (eip > state.segLimit(CS)) return segmentation.fault(VECTOR_GP, 0);
    stack.commit();
    segmentation.setReal(CS, selector);
    this.#setFlags(flags, mask);
    segmentation.updateMode();
    state.jump(eip);
    return true;
  }

  #returnV86(size: 2 | 4): boolean {
    const state = this.#state;
    const flags = state.eflags;
    if ((flags & FLAG_IOPL) === FLAG_IOPL)
      return this.#popReal(size, ALWAYS | FLAG_IF | (size === 4 ? WIDE : 0));
    const isVirtual = (state.get32(CR4) & CR4_VME) !== 0 && size === 2;
    if (!isVirtual) return this.#segmentation.fault(VECTOR_GP, 0);
    const stack = this.#stack;
    stack.openCurrent();
    stack.skip(4);
    const image = stack.pop(2);
    if (state.hasException) return false;
    const isRefused = (image & FLAG_TF) !== 0 || ((image & FLAG_IF) !== 0 && flags & FLAG_VIP);
    if (isRefused) return this.#segmentation.fault(VECTOR_GP, 0);
    if (!this.#popReal(2, ALWAYS)) return false;
    state.eflags = (state.eflags & ~FLAG_VIF) | ((image & FLAG_IF) !== 0 ? FLAG_VIF : 0);
    return true;
  }

  /** From ring 0 to V86 mode: ESP, SS, ES, DS, FS and GS lie above EFLAGS. */
  #returnToV86(eip: number, selector: number, flags: number): boolean {
    const state = this.#state;
    const segmentation = this.#segmentation;
    const stack = this.#stack;
    const esp = stack.pop(4);
    const ss = stack.pop(4);
    const es = stack.pop(4);
    const ds = stack.pop(4);
    const fs = stack.pop(4);
    const gs = stack.pop(4);
    if (state.hasException) return false;
    if (eip > 0xffff) return segmentation.fault(VECTOR_GP, 0);
    state.eflags = this.#debug.loadedFlags(flags & FLAGS_ALL);
    segmentation.setCPL(3);
    segmentation.setReal(CS, selector);
    segmentation.setReal(SS, ss);
    const selectors = [es, ds, fs, gs];
    for (let index = 0; index < 4; index++)
      segmentation.setReal(V86_SEGMENTS[index]!, selectors[index]!);
    state.setReg32(4, esp);
    segmentation.updateMode();
    state.jump(eip);
    return true;
  }

  /** NT: back to the task that the link of the current TSS names. */
  #returnTask(): boolean {
    const state = this.#state;
    const link = this.#mmu.systemLoad(state.segBase(TR), 2);
    if (state.hasException) return false;
    return this.#tasks.switchToSelector(link, 'iret', VECTOR_TS, state.nextEip);
  }
}
