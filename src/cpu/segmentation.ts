// Segment registers: loading them with every check, what they allow, and the mode that follows.
// Intel SDM volume 3, chapter 3 and sections 5.2–5.8; MOV, POP and LDS in volume 2.

import type { SoftTLB } from '../memory/soft-tlb.ts';
import { CR0_PE, VECTOR_GP, VECTOR_NP, VECTOR_SS, VECTOR_TS } from './control-bits.ts';
import {
  ATTR_BIG,
  ATTR_CODE,
  ATTR_EXPAND_DOWN,
  ATTR_GRANULAR,
  ATTR_NOT_SYSTEM,
  ATTR_PRESENT,
  ATTR_UNUSABLE,
  ATTR_WRITABLE,
  Descriptor,
  SELECTOR_RPL,
  SELECTOR_TI,
} from './descriptor.ts';
import { FLAG_VM } from './flags.ts';
import type { MMU } from './mmu.ts';
import type { CPUState } from './state.ts';
import {
  CPL,
  CR0,
  CS,
  DS,
  EFLAGS_REST,
  ES,
  GDTR_BASE,
  GDTR_LIMIT,
  GS,
  LDTR,
  MODE,
  MODE_CODE32,
  MODE_FLAT,
  MODE_STACK32,
  MODE_USER,
  SEG_ATTRIBUTES,
  SEG_BASE,
  SEG_LIMIT,
  SEG_READ_SPAN,
  SEG_SELECTOR,
  SEG_WRITE_SPAN,
  SEGMENT,
  SEGMENT_BYTES,
  SS,
  TLB_BASE,
} from './state-layout.ts';

/** Attributes of every segment in real mode: present, writable, accessed data. */
export const REAL_ATTRIBUTES = 0x93;
/** The same in V86 mode, where DPL is 3. */
export const V86_ATTRIBUTES = 0xf3;
/** Longest access that a span vouches for, less one. */
const SPAN_MARGIN = 14;

export class Segmentation {
  readonly #state: CPUState;
  readonly #mmu: MMU;
  readonly #tlb: SoftTLB;
  readonly #scratch = new Descriptor();
  /** 1 while an event that is not the program's own is delivered: EXT in its error codes. */
  externalBit = 0;

  constructor(state: CPUState, mmu: MMU, tlb: SoftTLB) {
    this.#state = state;
    this.#mmu = mmu;
    this.#tlb = tlb;
  }

  get isProtected(): boolean {
    return (this.#state.u32[CR0 >> 2]! & CR0_PE) !== 0;
  }

  get isV86(): boolean {
    return this.isProtected && (this.#state.u32[EFLAGS_REST >> 2]! & FLAG_VM) !== 0;
  }

  /** Whether selectors are paragraphs: real mode or V86 mode. */
  get isRealAddressing(): boolean {
    return !this.isProtected || this.isV86;
  }

  /** Raises `vector` with a selector error code; false, so that callers can return it. */
  fault(vector: number, selector: number): false {
    this.#state.raiseException(vector, (selector & 0xfffc) | this.externalBit);
    return false;
  }

  // ---- Descriptors

  /**
   * Reads the descriptor that `selector` names into `descriptor`.
   * @param vector raised with the selector if it lies outside its table; -1 raises nothing
   * @returns false if outside, or if the read faulted
   */
  readDescriptor(selector: number, descriptor: Descriptor, vector: number): boolean {
    const state = this.#state;
    const isLocal = (selector & SELECTOR_TI) !== 0;
    const limit = isLocal ? state.segLimit(LDTR) : state.get32(GDTR_LIMIT);
    const isMissing = isLocal && (state.segAttributes(LDTR) & ATTR_UNUSABLE) !== 0;
    const offset = selector & 0xfff8;
    if (isMissing || offset + 7 > limit) return vector < 0 ? false : this.fault(vector, selector);
    const linear = ((isLocal ? state.segBase(LDTR) : state.get32(GDTR_BASE)) + offset) >>> 0;
    const low = this.#mmu.systemLoad(linear, 4);
    const high = this.#mmu.systemLoad((linear + 4) >>> 0, 4);
    descriptor.selector = selector;
    descriptor.linear = linear;
    descriptor.low = low;
    descriptor.high = high;
    return !state.hasException;
  }

  /** Sets the accessed bit in the table, if it is not; false if that faulted. */
  markAccessed(descriptor: Descriptor): boolean {
    if ((descriptor.high & 0x100) !== 0) return true;
    descriptor.high |= 0x100;
    const attributeByte = (descriptor.high >>> 8) & 0xff;
    return this.#mmu.systemStore((descriptor.linear + 5) >>> 0, 1, attributeByte);
  }

  // ---- Registers

  /** Writes all of a segment register's cache and what follows from it; checks nothing. */
  setSegment(segment: number, selector: number, base: number, limit: number, attr: number): void {
    const at = SEGMENT + segment * SEGMENT_BYTES;
    this.#state.set32(at + SEG_SELECTOR, selector & 0xffff);
    this.#state.set32(at + SEG_ATTRIBUTES, attr);
    this.#state.setWide(at + SEG_BASE, base);
    this.#state.set32(at + SEG_LIMIT, limit);
    this.updateSpans(segment);
  }

  /** Writes a register from a descriptor that has passed its checks. */
  setFromDescriptor(segment: number, selector: number, from: Descriptor): void {
    this.setSegment(segment, selector, from.base, from.limit, from.attributes);
  }

  /** Leaves a data segment register with a null selector, unusable. */
  setNull(segment: number, selector: number): void {
    // The stack keeps its size and level: only RPL-to-DPL rules read them.
    this.setSegment(segment, selector, 0, 0, ATTR_UNUSABLE);
  }

  /** A load in real or V86 mode: base = selector × 16. */
  setReal(segment: number, selector: number): void {
    const state = this.#state;
    const base = (selector & 0xffff) << 4;
    if (this.isV86) {
      this.setSegment(segment, selector, base, 0xffff, V86_ATTRIBUTES);
      return;
    }
    // Limit and size outlive a return to real mode ("unreal mode"), in every real processor.
    const old = state.segAttributes(segment);
    const isFresh = (old & ATTR_UNUSABLE) !== 0;
    const limit = isFresh ? 0xffff : state.segLimit(segment);
    const kept = isFresh ? 0 : old & (ATTR_BIG | ATTR_GRANULAR);
    this.setSegment(segment, selector, base, limit, REAL_ATTRIBUTES | kept);
  }

  /** Recomputes the spans of one register from its limit and attributes. */
  updateSpans(segment: number): void {
    const state = this.#state;
    const at = SEGMENT + segment * SEGMENT_BYTES;
    const attributes = state.get32(at + SEG_ATTRIBUTES);
    const limit = state.get32(at + SEG_LIMIT);
    const isData = (attributes & (ATTR_NOT_SYSTEM | ATTR_CODE)) === ATTR_NOT_SYSTEM;
    const isPlain =
      (attributes & (ATTR_UNUSABLE | ATTR_PRESENT)) === ATTR_PRESENT &&
      limit > SPAN_MARGIN &&
      !(isData && (attributes & ATTR_EXPAND_DOWN) !== 0);
    const span = isPlain ? limit - SPAN_MARGIN : 0;
    state.set32(at + SEG_READ_SPAN, isReadable(attributes) ? span : 0);
    state.set32(at + SEG_WRITE_SPAN, isWritable(attributes) ? span : 0);
  }

  /** Recomputes MODE and the TLB table from segments and CPL; call after any of them changed. */
  updateMode(): void {
    const state = this.#state;
    const isUser = state.u32[CPL >> 2] === 3;
    const isFlat = this.#isFlat(DS) && this.#isFlat(ES) && this.#isFlat(SS);
    const mode =
      ((state.segAttributes(CS) & ATTR_BIG) !== 0 ? MODE_CODE32 : 0) |
      ((state.segAttributes(SS) & ATTR_BIG) !== 0 ? MODE_STACK32 : 0) |
      (isFlat ? MODE_FLAT : 0) |
      (isUser ? MODE_USER : 0);
    // Code decoded for the old mode must not go on: the run loop looks it up anew.
    if (state.u32[MODE >> 2] !== mode) state.requestEvent();
    state.u32[MODE >> 2] = mode;
    state.u32[TLB_BASE >> 2] = this.#tlb.offset + this.#tlb.tableWord(isUser ? 1 : 0) * 4;
  }

  /** Changes the privilege level; updateMode() must follow. */
  setCPL(cpl: number): void {
    this.#state.u32[CPL >> 2] = cpl;
  }

  #isFlat(segment: number): boolean {
    const at = SEGMENT + segment * SEGMENT_BYTES;
    return (
      this.#state.get32(at + SEG_BASE) === 0 &&
      this.#state.get32(at + SEG_LIMIT) === 0xffff_ffff &&
      this.#state.get32(at + SEG_READ_SPAN) !== 0 &&
      this.#state.get32(at + SEG_WRITE_SPAN) !== 0
    );
  }

  // ---- Loads

  /**
   * Loads ES, SS, DS, FS or GS as MOV, POP and LDS do; false with a fault recorded and nothing
   * changed. Not for CS: far transfers load it.
   */
  loadSegment(segment: number, selector: number): boolean {
    selector &= 0xffff;
    if (this.isRealAddressing) {
      this.setReal(segment, selector);
    } else if (segment === SS) {
      const cpl = this.#state.cpl;
      if (!this.readStackSegment(selector, cpl, VECTOR_GP, this.#scratch)) return false;
      if (!this.markAccessed(this.#scratch)) return false;
      this.setFromDescriptor(SS, selector, this.#scratch);
    } else if ((selector & 0xfffc) === 0) {
      this.setNull(segment, selector);
    } else {
      if (!this.#readDataSegment(selector, VECTOR_GP)) return false;
      if (!this.markAccessed(this.#scratch)) return false;
      this.setFromDescriptor(segment, selector, this.#scratch);
    }
    this.updateMode();
    return true;
  }

  /**
   * A data segment register in a task switch: as loadSegment(), but invalid selectors are #TS and
   * the registers' modes are those of the new task.
   */
  loadSegmentForTask(segment: number, selector: number): boolean {
    if ((selector & 0xfffc) === 0) return true;
    if (!this.#readDataSegment(selector, VECTOR_TS)) return false;
    if (!this.markAccessed(this.#scratch)) return false;
    this.setFromDescriptor(segment, selector, this.#scratch);
    return true;
  }

  #readDataSegment(selector: number, vector: number): boolean {
    const descriptor = this.#scratch;
    if (!this.readDescriptor(selector, descriptor, vector)) return false;
    if (!descriptor.isReadable) return this.fault(vector, selector);
    const rpl = selector & SELECTOR_RPL;
    const dpl = descriptor.dpl;
    if (!descriptor.isConformingCode && (rpl > dpl || this.#state.cpl > dpl))
      return this.fault(vector, selector);
    return descriptor.isPresent || this.fault(VECTOR_NP, selector);
  }

  /**
   * Checks `selector` as a stack for privilege `cpl` and reads its descriptor.
   * @param vector for every reason but "not present", which is #SS: #GP, or #TS when the selector
   *   comes from a TSS
   */
  readStackSegment(selector: number, cpl: number, vector: number, into: Descriptor): boolean {
    if ((selector & 0xfffc) === 0) return this.fault(vector, 0);
    if (!this.readDescriptor(selector, into, vector)) return false;
    const isWrong = into.rpl !== cpl || into.dpl !== cpl || !into.isWritableData;
    if (isWrong) return this.fault(vector, selector);
    return into.isPresent || this.fault(VECTOR_SS, selector);
  }

  /**
   * On a return to a less privileged level: data segments that it may not use become null
   * (SDM 2, RET, "RETURN-TO-OUTER-PRIVILEGE-LEVEL").
   */
  dropPrivilegedSegments(cpl: number): void {
    for (let segment = ES; segment <= GS; segment++) {
      if (segment === CS || segment === SS) continue;
      const attributes = this.#state.segAttributes(segment);
      if ((attributes & ATTR_UNUSABLE) !== 0) continue;
      const isConforming = (attributes & 0x1c) === 0x1c;
      if (!isConforming && ((attributes >>> 5) & 3) < cpl) this.setNull(segment, 0);
    }
  }

  // ---- Accesses

  /**
   * The exact check of an access of `sizeBytes` at `offset`, for what a span does not vouch for.
   * @returns its linear address, or -1 with #GP(0), or #SS(0) for SS, recorded
   */
  checkAccess(segment: number, offset: number, sizeBytes: number, isWrite: boolean): number {
    const state = this.#state;
    const at = SEGMENT + segment * SEGMENT_BYTES;
    const attributes = state.get32(at + SEG_ATTRIBUTES);
    const isPermitted = isWrite ? isWritable(attributes) : isReadable(attributes);
    const limit = state.get32(at + SEG_LIMIT);
    if (!isPermitted || !isInLimit(attributes, limit, offset >>> 0, sizeBytes)) {
      state.raiseException(segment === SS ? VECTOR_SS : VECTOR_GP, 0);
      return -1;
    }
    return (state.get32(at + SEG_BASE) + offset) >>> 0;
  }
}

/**
 * Whether an access lies within a limit. With a limit of 4 GiB addresses wrap and nothing faults,
 * one of the behaviours that SDM 3, 5.3 leaves to the implementation.
 */
export function isInLimit(
  attributes: number,
  limit: number,
  offset: number,
  sizeBytes: number,
): boolean {
  const last = offset + sizeBytes - 1;
  const kind = attributes & (ATTR_NOT_SYSTEM | ATTR_CODE | ATTR_EXPAND_DOWN);
  if (kind === (ATTR_NOT_SYSTEM | ATTR_EXPAND_DOWN)) {
    const top = (attributes & ATTR_BIG) !== 0 ? 0xffff_ffff : 0xffff;
    return offset > limit && last <= top;
  }
  return last <= limit || limit === 0xffff_ffff;
}

function isReadable(attributes: number): boolean {
  if ((attributes & (ATTR_UNUSABLE | ATTR_NOT_SYSTEM)) !== ATTR_NOT_SYSTEM) return false;
  return (attributes & ATTR_CODE) === 0 || (attributes & ATTR_WRITABLE) !== 0;
}

function isWritable(attributes: number): boolean {
  const kind = attributes & (ATTR_UNUSABLE | ATTR_NOT_SYSTEM | ATTR_CODE | ATTR_WRITABLE);
  return kind === (ATTR_NOT_SYSTEM | ATTR_WRITABLE);
}
