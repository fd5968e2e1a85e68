// Far JMP, CALL and RET: code segments, call gates, task gates and TSSs; SYSENTER and SYSEXIT.
// Intel SDM volume 2, JMP, CALL, RET, SYSENTER, SYSEXIT; volume 3, sections 5.8 and 8.2.

import { VECTOR_GP, VECTOR_NP } from './control-bits.ts';
import {
  Descriptor,
  TYPE_CALL_GATE16,
  TYPE_CALL_GATE32,
  TYPE_TASK_GATE,
  TYPE_TSS16,
  TYPE_TSS32,
} from './descriptor.ts';
import type { Exceptions } from './exceptions.ts';
import { FLAG_IF, FLAG_RF, FLAG_VM } from './flags.ts';
import type { MMU } from './mmu.ts';
import { MSR_SLOT_SYSENTER_CS, MSR_SLOT_SYSENTER_EIP, MSR_SLOT_SYSENTER_ESP } from './msr-slots.ts';
import type { Segmentation } from './segmentation.ts';
import type { StackFrame } from './stack.ts';
import type { CPUState } from './state.ts';
import { CS, MSR, SS } from './state-layout.ts';
import type { TaskSwitch } from './task-switch.ts';

/** Flat segments that SYSENTER and SYSEXIT load: base 0, 4 GiB, accessed; DPL is added. */
const FLAT_CODE = 0xc09b;
const FLAT_STACK = 0xc093;
const ESP = 4;

export class FarTransfer {
  readonly #state: CPUState;
  readonly #mmu: MMU;
  readonly #segmentation: Segmentation;
  readonly #stack: StackFrame;
  readonly #innerStack: StackFrame;
  readonly #tasks: TaskSwitch;
  readonly #exceptions: Exceptions;
  readonly #target = new Descriptor();
  readonly #code = new Descriptor();
  readonly #newStack = new Descriptor();

  constructor(parts: {
    readonly state: CPUState;
    readonly mmu: MMU;
    readonly segmentation: Segmentation;
    readonly stack: StackFrame;
    readonly innerStack: StackFrame;
    readonly tasks: TaskSwitch;
    readonly exceptions: Exceptions;
  }) {
    this.#state = parts.state;
    this.#mmu = parts.mmu;
    this.#segmentation = parts.segmentation;
    this.#stack = parts.stack;
    this.#innerStack = parts.innerStack;
    this.#tasks = parts.tasks;
    this.#exceptions = parts.exceptions;
  }

  /** JMP ptr16:16/32 and m16:16/32. @param operandSize 2 or 4 bytes */
  jump(selector: number, offset: number, operandSize: number): boolean {
    const eip = operandSize === 2 ? offset & 0xffff : offset >>> 0;
    const segmentation = this.#segmentation;
    if (segmentation.isRealAddressing) {
      if (eip > this.#state.segLimit(CS)) return segmentation.fault(VECTOR_GP, 0);
      this.#enterReal(selector, eip);
      return true;
    }
    const target = this.#target;
    if (!this.#readTarget(selector, target)) return false;
    if (target.isSystem) return this.#throughSystem(target, 'jump');
    return this.#checkCode(target, selector & 3) && this.#enterCode(target, eip);
  }

  /** CALL ptr16:16/32 and m16:16/32. @param operandSize 2 or 4 bytes */
  call(selector: number, offset: number, operandSize: number): boolean {
    const eip = operandSize === 2 ? offset & 0xffff : offset >>> 0;
    const segmentation = this.#segmentation;
    const stack = this.#stack;
    const size = operandSize === 2 ? 2 : 4;
    if (segmentation.isRealAddressing) {
      stack.openCurrent();
      if (!stack.reserve(2, size)) return false;
      if (eip > this.#state.segLimit(CS)) return segmentation.fault(VECTOR_GP, 0);
      this.#pushReturn(size);
      this.#enterReal(selector, eip);
      return true;
    }
    const target = this.#target;
    if (!this.#readTarget(selector, target)) return false;
    if (target.isSystem) return this.#throughSystem(target, 'call');
    return this.#checkCode(target, selector & 3) && this.#callCode(target, eip, size);
  }

  #readTarget(selector: number, into: Descriptor): boolean {
    if ((selector & 0xfffc) === 0) return this.#segmentation.fault(VECTOR_GP, 0);
    return this.#segmentation.readDescriptor(selector & 0xffff, into, VECTOR_GP);
  }

  /** Rules of a direct transfer to a code segment: same level, or conforming from below. */
  #checkCode(code: Descriptor, rpl: number): boolean {
    const segmentation = this.#segmentation;
    const cpl = this.#state.cpl;
    const isAllowed = code.isConformingCode
      ? code.dpl <= cpl
      : code.isCode && rpl <= cpl && code.dpl === cpl;
    if (!isAllowed) return segmentation.fault(VECTOR_GP, code.selector);
    return code.isPresent || segmentation.fault(VECTOR_NP, code.selector);
  }

  #enterReal(selector: number, eip: number): void {
    this.#segmentation.setReal(CS, selector & 0xffff);
    this.#segmentation.updateMode();
    this.#state.jump(eip);
  }

  /** Into a code segment at the current level. */
  #enterCode(code: Descriptor, eip: number): boolean {
    const segmentation = this.#segmentation;
    if (eip > code.limit) return segmentation.fault(VECTOR_GP, 0);
    if (!segmentation.markAccessed(code)) return false;
    const selector = (code.selector & 0xfffc) | this.#state.cpl;
    segmentation.setFromDescriptor(CS, selector, code);
    segmentation.updateMode();
    this.#state.jump(eip);
    return true;
  }

  #callCode(code: Descriptor, eip: number, size: 2 | 4): boolean {
    const segmentation = this.#segmentation;
    const stack = this.#stack;
    stack.openCurrent();
    if (!stack.reserve(2, size)) return false;
    if (eip > code.limit) return segmentation.fault(VECTOR_GP, 0);
    if (!segmentation.markAccessed(code)) return false;
    this.#pushReturn(size);
    return this.#enterCode(code, eip);
  }

  #pushReturn(size: 2 | 4): void {
    this.#stack.push(size, this.#state.selector(CS));
    this.#stack.push(size, this.#state.nextEip);
    this.#stack.commit();
  }

  /** Through a call gate, a task gate, or straight to a TSS. */
  #throughSystem(target: Descriptor, source: 'jump' | 'call'): boolean {
    const segmentation = this.#segmentation;
    const state = this.#state;
    const type = target.type;
    const isCallGate = type === TYPE_CALL_GATE16 || type === TYPE_CALL_GATE32;
    const isTSS = type === TYPE_TSS16 || type === TYPE_TSS32;
    const isKnown = isCallGate || isTSS || type === TYPE_TASK_GATE;
    const isAllowed = target.dpl >= state.cpl && target.rpl <= target.dpl;
    if (!isKnown || !isAllowed) return segmentation.fault(VECTOR_GP, target.selector);
    if (!target.isPresent) return segmentation.fault(VECTOR_NP, target.selector);
    if (isCallGate) return this.#throughCallGate(target, source);
    const selector = isTSS ? target.selector & 0xfffc : target.gateSelector;
    if (isTSS && (target.selector & 4) !== 0) return segmentation.fault(VECTOR_GP, selector);
    return this.#tasks.switchToSelector(selector, source, VECTOR_GP, state.nextEip);
  }

  #throughCallGate(gate: Descriptor, source: 'jump' | 'call'): boolean {
    const segmentation = this.#segmentation;
    const cpl = this.#state.cpl;
    const selector = gate.gateSelector;
    const code = this.#code;
    if (!this.#readTarget(selector, code)) return false;
    if (!code.isCode || code.dpl > cpl) return segmentation.fault(VECTOR_GP, selector);
    const isInner = !code.isConformingCode && code.dpl < cpl;
    if (isInner && source === 'jump') return segmentation.fault(VECTOR_GP, selector);
    if (!code.isPresent) return segmentation.fault(VECTOR_NP, selector);
    if (source === 'jump') return this.#enterCode(code, gate.gateOffset);
    const size = gate.type === TYPE_CALL_GATE32 ? 4 : 2;
    if (!isInner) return this.#callCode(code, gate.gateOffset, size);
    return this.#callInner(gate, code, size);
  }

  /** To a more privileged level: new stack from the TSS, parameters copied over. */
  #callInner(gate: Descriptor, code: Descriptor, size: 2 | 4): boolean {
    const state = this.#state;
    const segmentation = this.#segmentation;
    const cpl = code.dpl;
    const newStack = this.#newStack;
    const pointer = this.#exceptions.readInnerStack(cpl, newStack);
    if (pointer < 0) return false;
    const count = gate.gateParameterCount;
    const inner = this.#innerStack;
    inner.openNew(newStack, pointer, cpl);
    if (!inner.reserve(4 + count, size)) return false;
    const outer = this.#stack;
    outer.openCurrent();
    const parameters = new Uint32Array(count);
    for (let index = 0; index < count; index++) parameters[index] = outer.pop(size);
    if (state.hasException) return false;
    if (gate.gateOffset > code.limit) return segmentation.fault(VECTOR_GP, 0);
    if (!segmentation.markAccessed(newStack) || !segmentation.markAccessed(code)) return false;
    inner.push(size, state.selector(SS));
    inner.push(size, state.reg32(ESP));
    for (let index = count - 1; index >= 0; index--) inner.push(size, parameters[index]!);
    inner.push(size, state.selector(CS));
    inner.push(size, state.nextEip);
    segmentation.setCPL(cpl);
    segmentation.setFromDescriptor(SS, (newStack.selector & 0xfffc) | cpl, newStack);
    inner.commit();
    return this.#enterCode(code, gate.gateOffset);
  }

  /** RET far. @param releaseBytes the immediate; @param operandSize 2 or 4 bytes */
  ret(releaseBytes: number, operandSize: number): boolean {
    const state = this.#state;
    const segmentation = this.#segmentation;
    const stack = this.#stack;
    const size = operandSize === 2 ? 2 : 4;
    stack.openCurrent();
    const eip = stack.pop(size);
    const selector = stack.pop(size) & 0xffff;
    if (state.hasException) return false;
    if (segmentation.isRealAddressing) {
      if (eip > state.segLimit(CS)) return segmentation.fault(VECTOR_GP, 0);
      stack.skip(releaseBytes);
      stack.commit();
      this.#enterReal(selector, eip);
      return true;
    }
    const code = this.#code;
    if (!this.readReturnCode(selector, eip, code)) return false;
    if ((selector & 3) === state.cpl) {
      if (!segmentation.markAccessed(code)) return false;
      stack.skip(releaseBytes);
      stack.commit();
      return this.#enterCode(code, eip);
    }
    stack.skip(releaseBytes);
    if (!this.returnOuter(code, eip, size)) return false;
    stack.openCurrent();
    stack.skip(releaseBytes);
    stack.commit();
    return true;
  }

  /** Checks CS:EIP of a return (RET far, IRET): never to a more privileged level. */
  readReturnCode(selector: number, eip: number, into: Descriptor): boolean {
    const segmentation = this.#segmentation;
    if (!this.#readTarget(selector, into)) return false;
    const rpl = selector & 3;
    const isAllowed =
      into.isCode &&
      rpl >= this.#state.cpl &&
      (into.isConformingCode ? into.dpl <= rpl : into.dpl === rpl);
    if (!isAllowed) return segmentation.fault(VECTOR_GP, selector);
    if (!into.isPresent) return segmentation.fault(VECTOR_NP, selector);
    return eip <= into.limit || segmentation.fault(VECTOR_GP, 0);
  }

  /** The rest of a return to an outer level: SS:ESP come from the open stack. */
  returnOuter(code: Descriptor, eip: number, size: 2 | 4): boolean {
    const state = this.#state;
    const segmentation = this.#segmentation;
    const stack = this.#stack;
    const cpl = code.selector & 3;
    const esp = stack.pop(size);
    const ss = stack.pop(size) & 0xffff;
    if (state.hasException) return false;
    const newStack = this.#newStack;
    if (!segmentation.readStackSegment(ss, cpl, VECTOR_GP, newStack)) return false;
    if (!segmentation.markAccessed(code) || !segmentation.markAccessed(newStack)) return false;
    segmentation.setCPL(cpl);
    segmentation.setFromDescriptor(SS, ss, newStack);
    segmentation.setFromDescriptor(CS, code.selector, code);
    stack.openCurrent();
    stack.pointer = esp;
    stack.commit();
    segmentation.dropPrivilegedSegments(cpl);
    segmentation.updateMode();
    state.jump(eip);
    return true;
  }

  // ---- Fast system calls

  sysenter(): boolean {
    const state = this.#state;
    const segmentation = this.#segmentation;
    const selector = state.get32(MSR + MSR_SLOT_SYSENTER_CS * 8) & 0xfffc;
    if (!segmentation.isProtected || selector === 0) return segmentation.fault(VECTOR_GP, 0);
    state.eflags = state.eflags & ~(FLAG_VM | FLAG_IF | FLAG_RF);
    state.setReg32(ESP, state.get32(MSR + MSR_SLOT_SYSENTER_ESP * 8));
    this.#loadFlat(selector, 0);
    state.jump(state.get32(MSR + MSR_SLOT_SYSENTER_EIP * 8));
    return true;
  }

  sysexit(): boolean {
    const state = this.#state;
    const segmentation = this.#segmentation;
    const selector = state.get32(MSR + MSR_SLOT_SYSENTER_CS * 8) & 0xfffc;
    if (!segmentation.isProtected || selector === 0 || state.cpl !== 0)
      return segmentation.fault(VECTOR_GP, 0);
    state.setReg32(ESP, state.reg32(1));
    this.#loadFlat(selector + 16, 3);
    state.jump(state.reg32(2));
    return true;
  }

  #loadFlat(selector: number, cpl: number): void {
    const segmentation = this.#segmentation;
    const level = cpl << 5;
    segmentation.setCPL(cpl);
    segmentation.setSegment(CS, selector | cpl, 0, 0xffff_ffff, FLAT_CODE | level);
    segmentation.setSegment(SS, (selector + 8) | cpl, 0, 0xffff_ffff, FLAT_STACK | level);
    segmentation.updateMode();
    this.#mmu.updateAlignmentCheck();
  }
}
