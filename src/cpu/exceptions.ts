// Delivery of interrupts and exceptions through the IVT or IDT, and what happens when that fails.
// Intel SDM volume 3, chapter 6 "Interrupt and Exception Handling"; INT in volume 2; sections 20.2
// and 20.3 for V86 mode.

import { CR4_VME, VECTOR_DF, VECTOR_GP, VECTOR_NP, VECTOR_PF, VECTOR_TS } from './control-bits.ts';
import type { DebugUnit } from './debug.ts';
import {
  Descriptor,
  TYPE_INTERRUPT_GATE16,
  TYPE_INTERRUPT_GATE32,
  TYPE_TASK_GATE,
  TYPE_TRAP_GATE16,
  TYPE_TRAP_GATE32,
} from './descriptor.ts';
import {
  FLAG_AC,
  FLAG_IF,
  FLAG_IOPL,
  FLAG_NT,
  FLAG_RF,
  FLAG_TF,
  FLAG_VIF,
  FLAG_VM,
} from './flags.ts';
import type { MMU } from './mmu.ts';
import type { Segmentation } from './segmentation.ts';
import type { StackFrame } from './stack.ts';
import type { CPUState } from './state.ts';
import {
  CR4,
  CS,
  DS,
  ES,
  EXCEPTION_ERROR,
  EXCEPTION_HAS_ERROR,
  EXCEPTION_VECTOR,
  FS,
  GS,
  HALTED,
  IDTR_BASE,
  IDTR_LIMIT,
  NMI_BLOCKED,
  SS,
  TR,
} from './state-layout.ts';
import type { TaskSwitch } from './task-switch.ts';

/** Where an event comes from: it decides gate privilege, EXT, and RF in the image. */
export const EVENT_EXCEPTION = 0;
export const EVENT_EXTERNAL = 1;
export const EVENT_SOFTWARE = 2;

const NO_ERROR_CODE = -1;
/** #DE #TS #NP #SS #GP: SDM 3, table 6-4. */
const CONTRIBUTORY = (1 << 0) | (1 << 10) | (1 << 11) | (1 << 12) | (1 << 13);
/** Faults, whose image has RF set so that the breakpoint on the instruction is not taken twice. */
const FAULTS =
  (1 << 0) | (1 << 5) | (1 << 6) | (1 << 7) | (0x1f << 10) | (1 << 16) | (1 << 17) | (1 << 19);
const CLEARED_BY_GATE = FLAG_TF | FLAG_NT | FLAG_RF | FLAG_VM;

export class Exceptions {
  readonly #state: CPUState;
  readonly #mmu: MMU;
  readonly #segmentation: Segmentation;
  readonly #stack: StackFrame;
  readonly #tasks: TaskSwitch;
  readonly #debug: DebugUnit;
  readonly #gate = new Descriptor();
  readonly #code = new Descriptor();
  readonly #newStack = new Descriptor();
  /** Why the processor shut down, for people; empty while it runs. */
  shutdownReason = '';

  constructor(parts: {
    readonly state: CPUState;
    readonly mmu: MMU;
    readonly segmentation: Segmentation;
    readonly stack: StackFrame;
    readonly tasks: TaskSwitch;
    readonly debug: DebugUnit;
  }) {
    this.#state = parts.state;
    this.#mmu = parts.mmu;
    this.#segmentation = parts.segmentation;
    this.#stack = parts.stack;
    this.#tasks = parts.tasks;
    this.#debug = parts.debug;
  }

  // ---- Entry points

  /**
   * Delivers the exception that waits in the state, and those that its delivery causes, by the
   * table of double faults (SDM 3, table 6-5).
   * @returns 'shutdown' after a triple fault; the state is then as the last delivery left it
   */
  deliverPending(): 'ok' | 'shutdown' {
    const state = this.#state;
    let vector = state.get32(EXCEPTION_VECTOR);
    let error = this.#takePending();
    let history = `exception ${vector}`;
    // Each turn is a new fault of a delivery. Two turns lead to #DF or a benign one; a guest whose
    // page fault handler faults serially cannot go on for ever, since #PF after #PF is #DF.
    for (;;) {
      if (this.#deliver(vector, EVENT_EXCEPTION, error, state.eip)) return 'ok';
      const next = state.get32(EXCEPTION_VECTOR);
      const nextError = this.#takePending();
      history += `, then ${next} (error code 0x${Math.max(nextError, 0).toString(16)})`;
      const outcome = combine(vector, next);
      if (outcome === 'shutdown') {
        this.shutdownReason = `triple fault: ${history}`;
        return 'shutdown';
      }
      vector = outcome === 'double' ? VECTOR_DF : next;
      error = outcome === 'double' ? 0 : nextError;
    }
  }

  /** Takes the pending exception; returns its error code or NO_ERROR_CODE. */
  #takePending(): number {
    const state = this.#state;
    const error = state.get32(EXCEPTION_HAS_ERROR) ? state.get32(EXCEPTION_ERROR) : NO_ERROR_CODE;
    state.clearException();
    return error;
  }

  /**
   * Delivers an external interrupt, EIP at the next instruction; the caller has seen IF and the
   * interrupt shadow. False if that faulted: the exception waits and is delivered instead.
   */
  deliverInterrupt(vector: number): boolean {
    this.#state.set32(HALTED, 0);
    return this.#deliver(vector, EVENT_EXTERNAL, NO_ERROR_CODE, this.#state.eip);
  }

  /** Delivers an NMI and blocks further ones until IRET. */
  deliverNMI(): boolean {
    this.#state.set32(HALTED, 0);
    this.#state.set32(NMI_BLOCKED, 1);
    return this.#deliver(2, EVENT_EXTERNAL, NO_ERROR_CODE, this.#state.eip);
  }

  /**
   * INT n: in V86 mode the redirection bitmap and IOPL decide first (SDM 3, table 20-2).
   * False with a fault recorded.
   */
  softwareInterrupt(vector: number): boolean {
    const state = this.#state;
    if (!this.#segmentation.isV86) return this.trap(vector);
    const hasIOPL = (state.eflags & FLAG_IOPL) === FLAG_IOPL;
    if ((state.get32(CR4) & CR4_VME) !== 0) {
      const isRedirected = this.#isRedirected(vector);
      if (state.hasException) return false;
      if (isRedirected) return this.#deliverInV86(vector, hasIOPL);
    }
    if (hasIOPL) return this.trap(vector);
    state.raiseException(VECTOR_GP, 0);
    return false;
  }

  /** INT3, INTO and INT1: through the IDT whatever IOPL is; the image points behind them. */
  trap(vector: number): boolean {
    return this.#deliver(vector, EVENT_SOFTWARE, NO_ERROR_CODE, this.#state.nextEip);
  }

  /** INT1 (ICEBP): like trap(1), but no gate privilege is checked. */
  icebp(): boolean {
    return this.#deliver(1, EVENT_EXTERNAL, NO_ERROR_CODE, this.#state.nextEip);
  }

  // ---- Delivery

  #deliver(vector: number, source: number, error: number, returnEip: number): boolean {
    const state = this.#state;
    const segmentation = this.#segmentation;
    segmentation.externalBit = source === EVENT_SOFTWARE ? 0 : 1;
    this.#debug.cancelStep();
    let flags = state.eflags;
    if (source === EVENT_EXCEPTION && ((FAULTS >>> vector) & 1) !== 0) flags |= FLAG_RF;
    const isDelivered = segmentation.isProtected
      ? this.#throughIDT(vector, source, error, returnEip, flags)
      : this.#throughIVT(vector, returnEip, flags);
    segmentation.externalBit = 0;
    return isDelivered;
  }

  /** Real mode: four bytes a vector; no error code is pushed. */
  #throughIVT(vector: number, returnEip: number, flags: number): boolean {
    const state = this.#state;
    if (vector * 4 + 3 > state.get32(IDTR_LIMIT)) return this.#segmentation.fault(VECTOR_GP, 0);
    const entry = this.#mmu.systemLoad((state.get32(IDTR_BASE) + vector * 4) >>> 0, 4);
    return this.#enterReal(entry, returnEip, flags, FLAG_IF | FLAG_TF | FLAG_AC | FLAG_RF);
  }

  /** Pushes FLAGS, CS and IP on a 16-bit stack and goes to the paragraph address `entry`. */
  #enterReal(entry: number, returnEip: number, image: number, cleared: number): boolean {
    const state = this.#state;
    const stack = this.#stack;
    if (state.hasException) return false;
    stack.openCurrent();
    if (!stack.reserve(3, 2)) return false;
    stack.push(2, image & 0xffff);
    stack.push(2, state.selector(CS));
    stack.push(2, returnEip & 0xffff);
    stack.commit();
    state.eflags = state.eflags & ~cleared;
    this.#segmentation.setReal(CS, entry >>> 16);
    this.#segmentation.updateMode();
    this.#mmu.updateAlignmentCheck();
    state.jump(entry & 0xffff);
    return true;
  }

  /** INT n inside V86 mode, without leaving it: VIF stands for IF when IOPL is below 3. */
  #deliverInV86(vector: number, hasIOPL: boolean): boolean {
    const state = this.#state;
    const entry = this.#mmu.loadAs(vector * 4, 4, true);
    const flags = state.eflags;
    const virtual = (flags & ~FLAG_IF) | FLAG_IOPL | ((flags & FLAG_VIF) !== 0 ? FLAG_IF : 0);
    this.#debug.cancelStep();
    const cleared = FLAG_TF | FLAG_NT | FLAG_RF | (hasIOPL ? FLAG_IF : FLAG_VIF);
    return this.#enterReal(entry, state.nextEip, hasIOPL ? flags : virtual, cleared);
  }

  /** Whether the bitmap below the I/O bitmap sends `vector` to the V86 program: its bit is 0. */
  #isRedirected(vector: number): boolean {
    const state = this.#state;
    const base = state.segBase(TR);
    const bitmap = this.#mmu.systemLoad((base + 102) >>> 0, 2);
    const offset = bitmap - 32 + (vector >> 3);
    if (bitmap < 32 || offset > state.segLimit(TR)) {
      state.raiseException(VECTOR_GP, 0);
      return false;
    }
    const bits = this.#mmu.systemLoad((base + offset) >>> 0, 1);
    return ((bits >>> (vector & 7)) & 1) === 0;
  }

  #throughIDT(
    vector: number,
    source: number,
    error: number,
    returnEip: number,
    flags: number,
  ): boolean {
    const state = this.#state;
    const segmentation = this.#segmentation;
    const gate = this.#gate;
    const gateError = vector * 8 + 2;
    if (vector * 8 + 7 > state.get32(IDTR_LIMIT)) return this.#gateFault(VECTOR_GP, gateError);
    const linear = (state.get32(IDTR_BASE) + vector * 8) >>> 0;
    gate.selector = gateError;
    gate.low = this.#mmu.systemLoad(linear, 4);
    gate.high = this.#mmu.systemLoad((linear + 4) >>> 0, 4);
    if (state.hasException) return false;
    if (!isEventGate(gate)) return this.#gateFault(VECTOR_GP, gateError);
    if (source === EVENT_SOFTWARE && gate.dpl < state.cpl)
      return this.#gateFault(VECTOR_GP, gateError);
    if (!gate.isPresent) return this.#gateFault(VECTOR_NP, gateError);
    if (gate.type === TYPE_TASK_GATE) return this.#throughTaskGate(gate, error, returnEip, flags);

    const selector = gate.gateSelector;
    const code = this.#code;
    const cpl = state.cpl;
    if ((selector & 0xfffc) === 0) return segmentation.fault(VECTOR_GP, 0);
    if (!segmentation.readDescriptor(selector, code, VECTOR_GP)) return false;
    if (!code.isCode || code.dpl > cpl) return segmentation.fault(VECTOR_GP, selector);
    if (!code.isPresent) return segmentation.fault(VECTOR_NP, selector);
    if (!code.isConformingCode && code.dpl < cpl)
      return this.#enterInner(gate, code, error, returnEip, flags);
    if ((flags & FLAG_VM) !== 0) return segmentation.fault(VECTOR_GP, selector);
    return this.#enterSame(gate, code, error, returnEip, flags);
  }

  /** A fault whose error code names an IDT entry: bit 1 is set, which selectors never have. */
  #gateFault(vector: number, gateError: number): false {
    this.#state.raiseException(vector, gateError | this.#segmentation.externalBit);
    return false;
  }

  #enterSame(
    gate: Descriptor,
    code: Descriptor,
    error: number,
    returnEip: number,
    flags: number,
  ): boolean {
    const state = this.#state;
    const stack = this.#stack;
    const size = (gate.type & 8) !== 0 ? 4 : 2;
    stack.openCurrent();
    if (!stack.reserve(error === NO_ERROR_CODE ? 3 : 4, size)) return false;
    if (gate.gateOffset > code.limit) return this.#segmentation.fault(VECTOR_GP, 0);
    if (!this.#segmentation.markAccessed(code)) return false;
    this.#pushFrame(size, error, returnEip, flags);
    this.#finish(gate, code, state.cpl, flags);
    return true;
  }

  /** To a more privileged level: the TSS names the stack; V86 segments go onto it. */
  #enterInner(
    gate: Descriptor,
    code: Descriptor,
    error: number,
    returnEip: number,
    flags: number,
  ): boolean {
    const state = this.#state;
    const segmentation = this.#segmentation;
    const stack = this.#stack;
    const isV86 = (flags & FLAG_VM) !== 0;
    const cpl = code.dpl;
    if (isV86 && cpl !== 0) return segmentation.fault(VECTOR_GP, code.selector);
    const pointer = this.readInnerStack(cpl, this.#newStack);
    if (pointer < 0) return false;
    const newStack = this.#newStack;
    const size = (gate.type & 8) !== 0 ? 4 : 2;
    stack.openNew(newStack, pointer, cpl);
    const count = 5 + (error === NO_ERROR_CODE ? 0 : 1) + (isV86 ? 4 : 0);
    if (!stack.reserve(count, size)) return false;
    if (gate.gateOffset > code.limit) return segmentation.fault(VECTOR_GP, 0);
    if (!segmentation.markAccessed(newStack) || !segmentation.markAccessed(code)) return false;
    if (isV86) {
      stack.push(size, state.selector(GS));
      stack.push(size, state.selector(FS));
      stack.push(size, state.selector(DS));
      stack.push(size, state.selector(ES));
    }
    stack.push(size, state.selector(SS));
    stack.push(size, state.reg32(4));
    segmentation.setFromDescriptor(SS, (newStack.selector & 0xfffc) | cpl, newStack);
    this.#pushFrame(size, error, returnEip, flags);
    if (isV86) for (const segment of [ES, DS, FS, GS]) segmentation.setNull(segment, 0);
    this.#finish(gate, code, cpl, flags);
    return true;
  }

  /**
   * Reads the stack of privilege `cpl` from the TSS and checks its selector.
   * @returns ESP, or -1 with #TS, #SS or #PF recorded
   */
  readInnerStack(cpl: number, into: Descriptor): number {
    const state = this.#state;
    const is32 = this.#tasks.isTSS32;
    const offset = is32 ? 4 + cpl * 8 : 2 + cpl * 4;
    if (offset + (is32 ? 5 : 3) > state.segLimit(TR)) {
      this.#segmentation.fault(VECTOR_TS, state.selector(TR));
      return -1;
    }
    const linear = (state.segBase(TR) + offset) >>> 0;
    const pointer = this.#mmu.systemLoad(linear, is32 ? 4 : 2);
    const selector = this.#mmu.systemLoad((linear + (is32 ? 4 : 2)) >>> 0, 2);
    if (state.hasException) return -1;
    const isGood = this.#segmentation.readStackSegment(selector, cpl, VECTOR_TS, into);
    return isGood ? pointer : -1;
  }

  #pushFrame(size: 2 | 4, error: number, returnEip: number, flags: number): void {
    const stack = this.#stack;
    stack.push(size, flags);
    stack.push(size, this.#state.selector(CS));
    stack.push(size, returnEip);
    if (error !== NO_ERROR_CODE) stack.push(size, error);
  }

  #finish(gate: Descriptor, code: Descriptor, cpl: number, flags: number): void {
    const state = this.#state;
    const segmentation = this.#segmentation;
    const isInterruptGate = (gate.type & 7) === TYPE_INTERRUPT_GATE16;
    state.eflags = flags & ~(CLEARED_BY_GATE | (isInterruptGate ? FLAG_IF : 0));
    segmentation.setCPL(cpl);
    segmentation.setFromDescriptor(CS, (code.selector & 0xfffc) | cpl, code);
    this.#stack.commit();
    segmentation.updateMode();
    this.#mmu.updateAlignmentCheck();
    state.jump(gate.gateOffset);
  }

  #throughTaskGate(gate: Descriptor, error: number, returnEip: number, flags: number): boolean {
    const state = this.#state;
    const selector = gate.gateSelector;
    const before = state.eflags;
    const oldTask = state.selector(TR);
    state.eflags = flags;
    if (!this.#tasks.switchToSelector(selector, 'call', VECTOR_GP, returnEip)) {
      if (state.selector(TR) === oldTask) state.eflags = before;
      return false;
    }
    if (error === NO_ERROR_CODE) return true;
    const stack = this.#stack;
    const size = this.#tasks.isTSS32 ? 4 : 2;
    stack.openCurrent();
    if (!stack.reserve(1, size)) return false;
    stack.push(size, error);
    stack.commit();
    return true;
  }
}

function isEventGate(gate: Descriptor): boolean {
  if (!gate.isSystem) return false;
  const type = gate.type;
  return (
    type === TYPE_TASK_GATE ||
    type === TYPE_INTERRUPT_GATE16 ||
    type === TYPE_TRAP_GATE16 ||
    type === TYPE_INTERRUPT_GATE32 ||
    type === TYPE_TRAP_GATE32
  );
}

/** What a second exception during the delivery of a first becomes: SDM 3, table 6-5. */
export function combine(first: number, second: number): 'serial' | 'double' | 'shutdown' {
  const isSecondGrave = isContributory(second) || second === VECTOR_PF;
  if (first === VECTOR_DF) return isSecondGrave ? 'shutdown' : 'serial';
  if (first === VECTOR_PF) return isSecondGrave ? 'double' : 'serial';
  return isContributory(first) && isContributory(second) ? 'double' : 'serial';
}

function isContributory(vector: number): boolean {
  return vector < 32 && ((CONTRIBUTORY >>> vector) & 1) !== 0;
}
