// The processor's architectural state as TypeScript sees it: views and accessors over the state
// area that generated code works on. There is no second copy. Values of 32-bit modes are `number`,
// unsigned; the upper halves of 64-bit slots are written as zero.

import { arithmeticFlags, auxOfFlags, FLAG_ZF, FLAGS_ARITHMETIC, FLAGS_FIXED } from './flags.ts';
import {
  ATTENTION,
  ATTENTION_EVENT,
  ATTENTION_EXCEPTION,
  ATTENTION_JUMP,
  CPL,
  CR0,
  CR2,
  CR3,
  CR4,
  EFLAGS_REST,
  EIP,
  EXCEPTION_ERROR,
  EXCEPTION_HAS_ERROR,
  EXCEPTION_VECTOR,
  FLAG_AUX,
  FLAG_RESULT,
  GPR,
  NEXT_EIP,
  NO_EXCEPTION,
  SEG_ATTRIBUTES,
  SEG_BASE,
  SEG_LIMIT,
  SEG_SELECTOR,
  SEGMENT,
  SEGMENT_BYTES,
  STATE_BYTES,
} from './state-layout.ts';

export class CPUState {
  /** Views over the whole buffer that holds the state; offsets are state-layout.ts's. */
  readonly u8: Uint8Array;
  readonly u16: Uint16Array;
  readonly u32: Uint32Array;
  readonly i32: Int32Array;
  readonly f64: Float64Array;
  readonly u64: BigUint64Array;
  readonly view: DataView;

  /** @param buffer the machine's memory; the state area is its first STATE_BYTES bytes */
  constructor(buffer: ArrayBufferLike) {
    this.u8 = new Uint8Array(buffer, 0, STATE_BYTES);
    this.u16 = new Uint16Array(buffer, 0, STATE_BYTES >> 1);
    this.u32 = new Uint32Array(buffer, 0, STATE_BYTES >> 2);
    this.i32 = new Int32Array(buffer, 0, STATE_BYTES >> 2);
    this.f64 = new Float64Array(buffer, 0, STATE_BYTES >> 3);
    this.u64 = new BigUint64Array(buffer, 0, STATE_BYTES >> 3);
    this.view = new DataView(buffer, 0, STATE_BYTES);
  }

  /** A 32-bit field by its offset; for one that is 64 bits wide, its low half. */
  get32(offset: number): number {
    return this.u32[offset >> 2]!;
  }

  set32(offset: number, value: number): void {
    this.u32[offset >> 2] = value;
  }

  /** Writes a 64-bit field from an unsigned 32-bit value; the upper half becomes zero. */
  setWide(offset: number, value: number): void {
    this.u32[offset >> 2] = value;
    this.u32[(offset >> 2) + 1] = 0;
  }

  /** General register 0–7 in encoding order (EAX ECX EDX EBX ESP EBP ESI EDI), unsigned. */
  reg32(index: number): number {
    return this.u32[(GPR >> 2) + index * 2]!;
  }

  setReg32(index: number, value: number): void {
    this.setWide(GPR + index * 8, value);
  }

  reg16(index: number): number {
    return this.u16[(GPR >> 1) + index * 4]!;
  }

  /** Writes the low 16 bits and keeps the others. */
  setReg16(index: number, value: number): void {
    this.u16[(GPR >> 1) + index * 4] = value;
  }

  /** Byte register in encoding order: AL CL DL BL AH CH DH BH. */
  reg8(index: number): number {
    return this.u8[GPR + (index & 3) * 8 + (index >> 2)]!;
  }

  setReg8(index: number, value: number): void {
    this.u8[GPR + (index & 3) * 8 + (index >> 2)] = value;
  }

  /** EIP of the current instruction. */
  get eip(): number {
    return this.u32[EIP >> 2]!;
  }

  set eip(value: number) {
    this.setWide(EIP, value);
  }

  /** EIP behind the current instruction; valid inside system helpers. */
  get nextEip(): number {
    return this.u32[NEXT_EIP >> 2]!;
  }

  set nextEip(value: number) {
    this.setWide(NEXT_EIP, value);
  }

  /** All of EFLAGS. Reading computes the lazy ones; writing makes them lazy again. */
  get eflags(): number {
    const result = FLAG_RESULT >> 2;
    return (
      (this.u32[EFLAGS_REST >> 2]! |
        arithmeticFlags(this.u32[result]!, this.u32[result + 1]!, this.i32[FLAG_AUX >> 2]!)) >>>
      0
    );
  }

  set eflags(value: number) {
    this.u32[EFLAGS_REST >> 2] = (value & ~FLAGS_ARITHMETIC) | FLAGS_FIXED;
    this.setWide(FLAG_RESULT, value & FLAG_ZF ? 0 : 1);
    this.i32[FLAG_AUX >> 2] = auxOfFlags(value);
  }

  get cpl(): number {
    return this.u32[CPL >> 2]!;
  }

  get cr0(): number {
    return this.u32[CR0 >> 2]!;
  }

  get cr2(): number {
    return this.u32[CR2 >> 2]!;
  }

  get cr3(): number {
    return this.u32[CR3 >> 2]!;
  }

  get cr4(): number {
    return this.u32[CR4 >> 2]!;
  }

  /** Fields of segment register `segment` (ES … TR). */
  selector(segment: number): number {
    return this.u32[(SEGMENT + segment * SEGMENT_BYTES + SEG_SELECTOR) >> 2]!;
  }

  segBase(segment: number): number {
    return this.u32[(SEGMENT + segment * SEGMENT_BYTES + SEG_BASE) >> 2]!;
  }

  segLimit(segment: number): number {
    return this.u32[(SEGMENT + segment * SEGMENT_BYTES + SEG_LIMIT) >> 2]!;
  }

  segAttributes(segment: number): number {
    return this.u32[(SEGMENT + segment * SEGMENT_BYTES + SEG_ATTRIBUTES) >> 2]!;
  }

  /** Why the run loop must take over: ATTENTION_ bits, added to those that are there. */
  requestAttention(bits: number): void {
    this.u32[ATTENTION >> 2] = this.u32[ATTENTION >> 2]! | bits;
  }

  /**
   * Records a fault of the current instruction; the caller then returns without a change of
   * architectural state, and the run loop delivers it. A second call before that is ignored.
   * @param errorCode undefined for exceptions that push none
   */
  raiseException(vector: number, errorCode?: number): void {
    if (this.hasException) return;
    this.u32[EXCEPTION_VECTOR >> 2] = vector;
    this.u32[EXCEPTION_ERROR >> 2] = errorCode ?? 0;
    this.u32[EXCEPTION_HAS_ERROR >> 2] = errorCode === undefined ? 0 : 1;
    this.requestAttention(ATTENTION_EXCEPTION);
  }

  get hasException(): boolean {
    return this.u32[EXCEPTION_VECTOR >> 2] !== NO_EXCEPTION;
  }

  clearException(): void {
    this.u32[EXCEPTION_VECTOR >> 2] = NO_EXCEPTION;
    this.u32[ATTENTION >> 2] = this.u32[ATTENTION >> 2]! & ~ATTENTION_EXCEPTION;
  }

  /** A page fault of the current instruction: CR2 is set at once, as the processor does. */
  raisePageFault(linear: number, errorCode: number): void {
    if (this.hasException) return;
    this.setWide(CR2, linear);
    this.raiseException(14, errorCode);
  }

  /** Continues at `eip` after the current helper. */
  jump(eip: number): void {
    this.eip = eip;
    this.requestAttention(ATTENTION_JUMP);
  }

  /** Asks the run loop to look at interrupts, HLT, reset or stop before the next instruction. */
  requestEvent(): void {
    this.requestAttention(ATTENTION_EVENT);
  }
}
