// What the rows of several files share: checks of mode and privilege, far pointers, addresses on
// the stack.

import { i32, select, type Value } from '../../wasm/index.ts';
import { VECTOR_GP, VECTOR_UD } from '../control-bits.ts';
import type { Emitter, Operand } from '../emitter.ts';
import { FLAG_VM } from '../flags.ts';
import {
  CPL,
  CR0,
  CS,
  EFLAGS_REST,
  MODE,
  MODE_STACK32,
  SEG_LIMIT,
  SEG_SELECTOR,
  SEGMENT,
  SEGMENT_BYTES,
  SS,
} from '../state-layout.ts';

/** Numbers of the general registers. */
export const EAX = 0;
export const ECX = 1;
export const EDX = 2;
export const EBX = 3;
export const ESP = 4;
export const EBP = 5;
export const ESI = 6;
export const EDI = 7;

/** Byte registers by their encoding. */
export const AL = 0;
export const AH = 4;

/** A value of the width that operands of `size` bytes have: i64 for 8, sign-extended, else i32. */
export function ofSize(value: Value, size: number): Value {
  return size === 8 ? value.extendS() : value;
}

/** One bit of an integer, i32 0 or 1. */
export function bitOf(value: Value, index: number): Value {
  return value.shrU(index).and(1).wrap();
}

/** The low `size` bytes, sign-extended within the type of the value. */
export function signExtend(value: Value, size: number): Value {
  if (size === 1) return value.extend8S();
  return size === 2 ? value.extend16S() : value;
}

/** Visible selector of a segment register. */
export function readSelector(e: Emitter, segment: number): Value {
  return e.loadState32(SEGMENT + segment * SEGMENT_BYTES + SEG_SELECTOR);
}

/** #GP(0) unless CPL is 0. */
export function requirePrivileged(e: Emitter): void {
  e.raiseIf(e.loadState32(CPL).ne(0), VECTOR_GP, 0);
}

/** #UD in real-address and virtual-8086 mode. */
export function requireProtectedMode(e: Emitter): void {
  const isReal = e.loadState32(CR0).and(1).eqz();
  const isV86 = e.loadState32(EFLAGS_REST).and(FLAG_VM).ne(0);
  e.raiseIf(isReal.or(isV86), VECTOR_UD);
}

/**
 * #GP(0) if `eip` is beyond the limit of CS. `jump` checks as well, but ends the instruction: a row
 * that changes a register or memory before it jumps asks here first.
 */
export function requireTarget(e: Emitter, eip: Value): void {
  e.raiseIf(eip.gtU(e.loadState32(SEGMENT + CS * SEGMENT_BYTES + SEG_LIMIT)), VECTOR_GP, 0);
}

/** Offset (operand size) and selector (16 bits) of the far pointer in memory. */
export function readFarPointer(e: Emitter, pointer: Operand): { offset: Value; selector: Value } {
  const size = e.operandSize;
  const linear = e.let(pointer.linear(size + 2, false));
  const offset = e.let(e.loadLinear(linear, size));
  const selector = e.let(e.loadLinear(linear.add(size), 2));
  return { offset, selector };
}

/** Linear address of stack offset `offset`, cut to 16 bits where the stack is that wide. */
export function stackLinear(e: Emitter, offset: Value, size: number, isWrite: boolean): Value {
  const whole = e.let(offset);
  const isWide = e.loadState32(MODE).and(MODE_STACK32);
  return e.let(e.segmentLinear(SS, select(isWide, whole, whole.and(0xffff)), size, isWrite));
}

/** Operand size as a value, for system methods. */
export function operandBytes(e: Emitter): Value {
  return i32(e.operandSize);
}
