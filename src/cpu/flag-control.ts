// CLI, STI, PUSHF and POPF under IOPL, V86 mode and virtual interrupts.
// Intel SDM volume 2, the instructions' tables; volume 3, sections 20.3 and 20.4 (VME and PVI).

import { CR4_PVI, CR4_VME, VECTOR_GP } from './control-bits.ts';
import {
  FLAG_IF,
  FLAG_IOPL,
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
import { CR4, EFLAGS_REST, INTERRUPT_SHADOW } from './state-layout.ts';

/** INTERRUPT_SHADOW after STI, and after a load of SS, which holds debug traps back as well. */
export const SHADOW_STI = 1;
export const SHADOW_STACK = 2;

export class FlagControl {
  readonly #state: CPUState;
  readonly #mmu: MMU;
  readonly #segmentation: Segmentation;
  readonly #stack: StackFrame;

  constructor(state: CPUState, mmu: MMU, segmentation: Segmentation, stack: StackFrame) {
    this.#state = state;
    this.#mmu = mmu;
    this.#segmentation = segmentation;
    this.#stack = stack;
  }

  /** IF when IOPL gives the right, VIF when virtual interrupts stand in, else 0: #GP(0). */
  #interruptFlag(): number {
    const state = this.#state;
    if (!this.#segmentation.isProtected) return FLAG_IF;
    const iopl = (state.get32(EFLAGS_REST) & FLAG_IOPL) >>> 12;
    if (iopl >= state.cpl) return FLAG_IF;
    const extension = this.#segmentation.isV86 ? CR4_VME : CR4_PVI;
    return state.cpl === 3 && (state.get32(CR4) & extension) !== 0 ? FLAG_VIF : 0;
  }

  #fault(): false {
    this.#state.raiseException(VECTOR_GP, 0);
    return false;
  }

  cli(): boolean {
    const flag = this.#interruptFlag();
    if (flag === 0) return this.#fault();
    this.#state.set32(EFLAGS_REST, this.#state.get32(EFLAGS_REST) & ~flag);
    return true;
  }

  /** STI: interrupts are let in only behind the next instruction, if they were blocked. */
  sti(): boolean {
    const state = this.#state;
    const flag = this.#interruptFlag();
    const rest = state.get32(EFLAGS_REST);
    if (flag === 0 || (flag === FLAG_VIF && (rest & FLAG_VIP) !== 0)) return this.#fault();
    state.set32(EFLAGS_REST, rest | flag);
    if (flag === FLAG_IF && (rest & FLAG_IF) === 0) state.set32(INTERRUPT_SHADOW, SHADOW_STI);
    state.requestEvent();
    return true;
  }

  /** PUSHF (2) and PUSHFD (4): VM and RF read as 0. */
  pushf(operandSize: number): boolean {
    const state = this.#state;
    const size = operandSize === 2 ? 2 : 4;
    let image = state.eflags & ~(FLAG_VM | FLAG_RF);
    if (this.#segmentation.isV86 && (image & FLAG_IOPL) !== FLAG_IOPL) {
      if (size === 4 || (state.get32(CR4) & CR4_VME) === 0) return this.#fault();
      const virtual = (image & FLAG_VIF) !== 0 ? FLAG_IF : 0;
      image = (image & ~FLAG_IF) | FLAG_IOPL | virtual;
    }
    const stack = this.#stack;
    stack.openCurrent();
    if (!stack.reserve(1, size)) return false;
    stack.push(size, image);
    stack.commit();
    return true;
  }

  /** POPF (2) and POPFD (4): VM, VIF and VIP stay, RF becomes 0. */
  popf(operandSize: number): boolean {
    const state = this.#state;
    const size = operandSize === 2 ? 2 : 4;
    const old = state.eflags;
    const isV86 = this.#segmentation.isV86;
    const iopl = (old & FLAG_IOPL) >>> 12;
    const isVirtual = isV86 && iopl < 3;
    if (isVirtual && (size === 4 || (state.get32(CR4) & CR4_VME) === 0)) return this.#fault();
    const stack = this.#stack;
    stack.openCurrent();
    const image = stack.pop(size);
    if (state.hasException) return false;
    if (isVirtual) {
      const isPending = (image & FLAG_IF) !== 0 && (old & FLAG_VIP) !== 0;
      if (isPending || (image & FLAG_TF) !== 0) return this.#fault();
    }
    stack.commit();
    let mask = size === 2 ? FLAGS_ALL & 0xffff : FLAGS_ALL & ~(FLAG_VM | FLAG_VIF | FLAG_VIP);
    if (isV86 || state.cpl > 0) mask &= ~FLAG_IOPL;
    if (isVirtual || (!isV86 && state.cpl > iopl)) mask &= ~FLAG_IF;
    let flags = ((old & ~mask) | (image & mask)) & ~FLAG_RF;
    if (isVirtual) flags = (flags & ~FLAG_VIF) | ((image & FLAG_IF) !== 0 ? FLAG_VIF : 0);
    state.eflags = flags;
    this.#mmu.updateAlignmentCheck();
    if (((flags & ~old & FLAG_IF) | (flags & FLAG_TF)) !== 0) state.requestEvent();
    return true;
  }
}
