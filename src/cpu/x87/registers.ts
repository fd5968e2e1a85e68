// The x87 registers as TypeScript sees them: views of the same state that generated code works on.
// Intel SDM volume 1, section 8.1.

import type { CPUState } from '../state.ts';
import { X87, X87_BYTES, X87_CONTROL, X87_EMPTY, X87_STATUS, X87_TOP } from '../state-layout.ts';
import {
  classOf,
  type Float80Bits,
  INDEFINITE,
  isNegative,
  isSignaling,
  roundFloat80,
  type Scaled,
} from './float80.ts';
import {
  QUIET_BIT,
  STATUS_B,
  STATUS_C1,
  STATUS_DE,
  STATUS_ES,
  STATUS_IE,
  STATUS_SF,
  X87_EXCEPTIONS,
} from './status-word.ts';

export class X87Registers {
  readonly #state: CPUState;

  constructor(state: CPUState) {
    this.#state = state;
  }

  get control(): number {
    return this.#state.get32(X87_CONTROL);
  }

  set control(value: number) {
    this.#state.set32(X87_CONTROL, value);
  }

  /** The status word without TOP. */
  get status(): number {
    return this.#state.get32(X87_STATUS);
  }

  set status(value: number) {
    this.#state.set32(X87_STATUS, value);
  }

  get top(): number {
    return this.#state.get32(X87_TOP);
  }

  set top(value: number) {
    this.#state.set32(X87_TOP, value & 7);
  }

  /** By physical number, as all of the four. */
  readPhysical(register: number): Float80Bits {
    const slot = X87 + register * X87_BYTES;
    return {
      significand: this.#state.u64[slot >> 3]!,
      signExponent: this.#state.u16[(slot + 8) >> 1]!,
    };
  }

  writePhysical(register: number, { significand, signExponent }: Float80Bits): void {
    const slot = X87 + register * X87_BYTES;
    this.#state.u64[slot >> 3] = significand;
    this.#state.u16[(slot + 8) >> 1] = signExponent;
  }

  isEmptyPhysical(register: number): boolean {
    return this.#state.u8[X87_EMPTY + register] !== 0;
  }

  setEmptyPhysical(register: number, isEmpty: boolean): void {
    this.#state.u8[X87_EMPTY + register] = isEmpty ? 1 : 0;
  }

  /** ST(index). */
  read(index: number): Float80Bits {
    return this.readPhysical((this.top + index) & 7);
  }

  isEmpty(index: number): boolean {
    return this.isEmptyPhysical((this.top + index) & 7);
  }

  /** Writes ST(index), which becomes valid. */
  write(index: number, bits: Float80Bits): void {
    const register = (this.top + index) & 7;
    this.writePhysical(register, bits);
    this.setEmptyPhysical(register, false);
  }

  pop(): void {
    this.setEmptyPhysical(this.top, true);
    this.top += 1;
  }

  /** Pushes without a check. */
  push(bits: Float80Bits): void {
    this.top -= 1;
    this.write(0, bits);
  }

  clearC1(): void {
    this.status &= ~STATUS_C1;
  }

  /** Sets flags, and ES and B if an exception among them is unmasked; returns the unmasked ones. */
  raise(flags: number): number {
    const unmasked = flags & ~this.control & X87_EXCEPTIONS;
    this.status |= flags | (unmasked ? STATUS_ES | STATUS_B : 0);
    return unmasked;
  }

  /** ES and B anew, after the flags or the masks were loaded. */
  updateSummary(): void {
    const isPending = (this.status & ~this.control & X87_EXCEPTIONS) !== 0;
    const rest = this.status & ~(STATUS_ES | STATUS_B);
    this.status = isPending ? rest | STATUS_ES | STATUS_B : rest;
  }

  /**
   * What comes before any operation on ST(0) to ST(count − 1): empty registers, unsupported
   * formats, NaNs. The result would go to ST(target). Returns whether the operation is over; it
   * `succeeded` if a result was written.
   */
  checkOperands(count: number, target: number): { isOver: boolean; succeeded: boolean } {
    this.clearC1();
    const operands = Array.from({ length: count }, (_, index) => this.read(index));
    if (operands.some((_, index) => this.isEmpty(index))) {
      return this.#over(this.#respond(STATUS_IE | STATUS_SF, target));
    }
    if (operands.some((operand) => classOf(operand) === 'unsupported')) {
      return this.#over(this.#respond(STATUS_IE, target));
    }
    const nans = operands.filter((operand) => classOf(operand) === 'nan');
    if (nans.length === 0) return { isOver: false, succeeded: false };
    if (nans.some(isSignaling) && this.raise(STATUS_IE)) return this.#over(false);
    const { significand, signExponent } = nans.reduce(preferredNaN);
    this.write(target, { significand: significand | QUIET_BIT, signExponent });
    return this.#over(true);
  }

  /** An invalid operation: masked, ST(target) becomes indefinite. Returns whether it did. */
  invalid(target: number): boolean {
    return this.#respond(STATUS_IE, target);
  }

  /**
   * Flags denormal operands. Returns false if that is unmasked and the operation must not go on.
   */
  acceptDenormals(...operands: readonly Float80Bits[]): boolean {
    if (!operands.some((operand) => classOf(operand) === 'denormal')) return true;
    return this.raise(STATUS_DE) === 0;
  }

  /** Rounds into ST(index). */
  writeRounded(index: number, value: Scaled): void {
    const { bits, flags } = roundFloat80(value, this.control);
    this.write(index, bits);
    this.raise(flags);
  }

  #over(succeeded: boolean): { isOver: boolean; succeeded: boolean } {
    return { isOver: true, succeeded };
  }

  #respond(flags: number, target: number): boolean {
    if (this.raise(flags)) return false;
    this.write(target, INDEFINITE);
    return true;
  }
}

/** Of two NaNs the quiet one, else the larger significand, else the positive one (table 4-7). */
function preferredNaN(a: Float80Bits, b: Float80Bits): Float80Bits {
  if (isSignaling(a) !== isSignaling(b)) return isSignaling(a) ? b : a;
  if (a.significand !== b.significand) return a.significand > b.significand ? a : b;
  return isNegative(a) ? b : a;
}
