// Debug registers: breakpoints on instructions and data, single step, general detect.
// Intel SDM volume 3, chapter 18 "Debug, Branch Profile, TSC", sections 18.2 and 18.3.

import { CR4_DE, VECTOR_DB, VECTOR_GP, VECTOR_UD } from './control-bits.ts';
import { FLAG_RF, FLAG_TF } from './flags.ts';
import type { CPUState } from './state.ts';
import { CPL, CR4, DR, EFLAGS_REST, INTERRUPT_SHADOW, PENDING_DEBUG } from './state-layout.ts';

export const DR6_BD = 1 << 13;
export const DR6_BS = 1 << 14;
export const DR6_BT = 1 << 15;
/** DR6 after reset: bits 4–11 and 16–31 read as 1. */
export const DR6_FIXED = 0xffff_0ff0;
/** DR7 after reset: bit 10 reads as 1. */
export const DR7_FIXED = 0x400;
const DR7_GD = 1 << 13;
const DR7_WRITABLE = 0xffff_23ff;

const KIND_EXECUTE = 0;
const KIND_WRITE = 1;
const KIND_IO = 2;

/** Bytes that a breakpoint covers, less one, by its LEN field. */
const LENGTH_MASK = [0, 1, 7, 3] as const;

export class DebugUnit {
  readonly #state: CPUState;
  /** Breakpoints of DR7 by kind, as bits 0–3; brought up to date by {@link DebugUnit.refresh}. */
  #executeBits = 0;
  #dataBits = 0;
  #ioBits = 0;
  /** TF as it was before the instruction that is running. */
  #isStepping = false;
  /** Whether the instruction that is running loaded RF itself (IRET, a task switch). */
  #isRFLoaded = false;

  constructor(state: CPUState) {
    this.#state = state;
  }

  /** Reads DR7 again, after it was written by any means. */
  refresh(): void {
    const dr7 = this.#dr(7);
    this.#executeBits = 0;
    this.#dataBits = 0;
    this.#ioBits = 0;
    for (let index = 0; index < 4; index++) {
      if (((dr7 >>> (index * 2)) & 3) === 0) continue;
      const kind = (dr7 >>> (16 + index * 4)) & 3;
      if (kind === KIND_EXECUTE) this.#executeBits |= 1 << index;
      else if (kind !== KIND_IO) this.#dataBits |= 1 << index;
      else if ((this.#state.u32[CR4 >> 2]! & CR4_DE) !== 0) this.#ioBits |= 1 << index;
    }
  }

  get hasDataBreakpoints(): boolean {
    return this.#dataBits !== 0;
  }

  get hasInstructionBreakpoints(): boolean {
    return this.#executeBits !== 0;
  }

  /**
   * Whether the run loop must go one instruction at a time, with beforeInstruction() and
   * afterInstruction() around each.
   */
  get needsStepping(): boolean {
    return this.#executeBits !== 0 || (this.#state.u32[EFLAGS_REST >> 2]! & FLAG_TF) !== 0;
  }

  /** Whether a data breakpoint lies in the page of `linear`. */
  isPageWatched(linear: number): boolean {
    if (this.#dataBits === 0) return false;
    for (let index = 0; index < 4; index++) {
      const isHere = ((this.#dr(index) ^ linear) & 0xffff_f000) === 0;
      if (isHere && (this.#dataBits & (1 << index)) !== 0) return true;
    }
    return false;
  }

  /** Gathers the data breakpoints that an access touches; they trap after the instruction. */
  noteAccess(linear: number, sizeBytes: number, isWrite: boolean): void {
    for (let index = 0; index < 4; index++) {
      if ((this.#dataBits & (1 << index)) === 0) continue;
      if (!isWrite && this.#kind(index) === KIND_WRITE) continue;
      this.#noteIfTouched(index, linear, sizeBytes);
    }
  }

  /** The same for a port access (CR4.DE and R/W = 2). */
  notePortAccess(port: number, sizeBytes: number): void {
    if (this.#ioBits === 0) return;
    for (let index = 0; index < 4; index++)
      if ((this.#ioBits & (1 << index)) !== 0) this.#noteIfTouched(index, port, sizeBytes);
  }

  #noteIfTouched(index: number, address: number, sizeBytes: number): void {
    const last = LENGTH_MASK[((this.#dr(7) >>> (18 + index * 4)) & 3) as 0 | 1 | 2 | 3];
    const start = (this.#dr(index) & ~last) >>> 0;
    // Distances modulo 2^32, so that an access that wraps is compared as the processor does.
    const isTouched = (address - start) >>> 0 <= last || (start - address) >>> 0 < sizeBytes;
    if (isTouched) this.addPending(1 << index);
  }

  /** Adds DR6 bits for a trap after the current instruction. */
  addPending(bits: number): void {
    const word = PENDING_DEBUG >> 2;
    this.#state.u32[word] = this.#state.u32[word]! | bits;
    this.#state.requestEvent();
  }

  /**
   * Called before each instruction while {@link DebugUnit.needsStepping}, EIP at it.
   * @param linear linear address of its first byte
   * @returns false if an instruction breakpoint raised #DB, a fault, in its place
   */
  beforeInstruction(linear: number): boolean {
    const rest = this.#state.u32[EFLAGS_REST >> 2]!;
    this.#isStepping = (rest & FLAG_TF) !== 0;
    this.#isRFLoaded = false;
    if (this.#executeBits === 0 || (rest & FLAG_RF) !== 0) return true;
    let hits = 0;
    for (let index = 0; index < 4; index++)
      if ((this.#executeBits & (1 << index)) !== 0 && this.#dr(index) === linear >>> 0)
        hits |= 1 << index;
    if (hits === 0) return true;
    this.#isStepping = false;
    this.raise(hits);
    return false;
  }

  /**
   * Called after an instruction that completed, EIP behind it: in stepping always, otherwise when
   * an event was requested. Raises #DB, a trap, if TF was set before it or a watchpoint was hit.
   * Does nothing while an exception already waits.
   */
  afterInstruction(): void {
    const state = this.#state;
    if (state.hasException) return;
    const isStep = this.#isStepping;
    this.#isStepping = false;
    if (!this.#isRFLoaded) state.set32(EFLAGS_REST, state.get32(EFLAGS_REST) & ~FLAG_RF);
    // A load of SS holds debug traps back until the instruction behind it is done.
    if (state.u32[INTERRUPT_SHADOW >> 2] === 2) return;
    const bits = state.u32[PENDING_DEBUG >> 2]! | (isStep ? DR6_BS : 0);
    if (bits === 0) return;
    state.u32[PENDING_DEBUG >> 2] = 0;
    this.raise(bits);
  }

  /** An exception or interrupt is being delivered: its handler is not stepped into. */
  cancelStep(): void {
    this.#isStepping = false;
    this.#state.u32[PENDING_DEBUG >> 2] = 0;
  }

  /**
   * EFLAGS as an instruction that loads RF leaves it. RF lives for one instruction and means
   * something to instruction breakpoints only, so it is dropped while there are none.
   */
  loadedFlags(eflags: number): number {
    if (this.#executeBits === 0) return (eflags & ~FLAG_RF) >>> 0;
    this.#isRFLoaded = true;
    return eflags >>> 0;
  }

  /** A task switch clears the local enables (SDM 3, 18.2.4). */
  taskSwitched(): void {
    this.#setDR(7, this.#dr(7) & ~0x155);
    this.refresh();
  }

  /** Raises #DB and shows `bits` in DR6; a delivery clears GD. */
  raise(bits: number): void {
    this.#setDR(6, (this.#dr(6) & ~0xf) | bits | DR6_FIXED);
    this.#setDR(7, this.#dr(7) & ~DR7_GD);
    this.#state.raiseException(VECTOR_DB);
  }

  /** MOV from DRn; undefined when it faulted. */
  read(index: number): number | undefined {
    const register = this.#check(index);
    return register < 0 ? undefined : this.#dr(register);
  }

  /** MOV to DRn. @returns false when it faulted */
  write(index: number, value: number): boolean {
    const register = this.#check(index);
    if (register < 0) return false;
    if (register === 6) this.#setDR(6, (value & 0xe00f) | DR6_FIXED);
    else if (register === 7) this.#setDR(7, (value & DR7_WRITABLE) | DR7_FIXED);
    else this.#setDR(register, value);
    if (register === 7) this.refresh();
    return true;
  }

  /** Checks of MOV DRn: CPL 0, DR4 and DR5, general detect. Returns the register or -1. */
  #check(index: number): number {
    const state = this.#state;
    const isAlias = index === 4 || index === 5;
    if (isAlias && (state.u32[CR4 >> 2]! & CR4_DE) !== 0) state.raiseException(VECTOR_UD);
    else if (state.u32[CPL >> 2] !== 0) state.raiseException(VECTOR_GP, 0);
    else if ((this.#dr(7) & DR7_GD) !== 0) this.raise(DR6_BD);
    else return isAlias ? index + 2 : index;
    return -1;
  }

  #kind(index: number): number {
    return (this.#dr(7) >>> (16 + index * 4)) & 3;
  }

  #dr(index: number): number {
    return this.#state.u32[(DR >> 2) + index * 2]!;
  }

  #setDR(index: number, value: number): void {
    this.#state.setWide(DR + index * 8, value);
  }
}
