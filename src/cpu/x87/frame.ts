// What surrounds every x87 instruction: whether it may run, and the pointers it leaves behind.
// Intel SDM volume 1, sections 8.1.8 "x87 FPU Instruction and Data (Operand) Pointers", 8.6 "x87
// FPU Exception Synchronization", 8.7 "Handling x87 FPU Exceptions in Software"; volume 3, 2.5 (EM,
// MP, TS, NE).

import { i32, load, type Value } from '../../wasm/index.ts';
import { CR0_EM, CR0_MP, CR0_NE, CR0_TS, VECTOR_MF, VECTOR_NM } from '../control-bits.ts';
import type { Emitter, Operand } from '../emitter.ts';
import {
  CR0,
  CS,
  SEG_SELECTOR,
  SEGMENT,
  SEGMENT_BYTES,
  X87_CS,
  X87_DP,
  X87_DS,
  X87_IP,
  X87_STATUS,
} from '../state-layout.ts';
import { STATUS_ES } from './status-word.ts';

/** #NM for any x87 or MMX instruction, waiting or not. */
export function requireUnit(e: Emitter): void {
  e.raiseIf(e.loadState32(CR0).and(CR0_EM | CR0_TS), VECTOR_NM);
}

/** What a waiting instruction does first: #NM, then the exception that an earlier one left. */
export function beginWaiting(e: Emitter): void {
  const unavailable = e.loadState32(CR0).and(CR0_EM | CR0_TS);
  e.f.if(unavailable.or(e.loadState32(X87_STATUS).and(STATUS_ES)), () => {
    requireUnit(e);
    raisePending(e);
  });
}

/** FWAIT: unavailable only with MP and TS. */
export function beginWait(e: Emitter): void {
  const bits = CR0_MP | CR0_TS;
  e.raiseIf(e.loadState32(CR0).and(bits).eq(bits), VECTOR_NM);
  e.f.if(e.loadState32(X87_STATUS).and(STATUS_ES), () => raisePending(e));
}

/** With CR0.NE the fault; without it the FERR# pin, and the instruction waits for the interrupt. */
export function raisePending(e: Emitter): void {
  e.f.if(
    e.loadState32(CR0).and(CR0_NE),
    () => e.raise(VECTOR_MF),
    () => e.system('x87Ferr'),
  );
}

/**
 * Records the instruction pointer, and the data pointer of a memory operand, after the last access
 * that can fault. The opcode register is recorded for unmasked exceptions only since Pentium 4
 * (section 8.1.9.1), and here not even then: no operand says what its ModRM byte was.
 */
export function recordPointers(e: Emitter, operand?: Operand): void {
  e.storeState32(X87_IP, e.currentEip());
  e.storeState32(X87_CS, e.loadState32(SEGMENT + CS * SEGMENT_BYTES + SEG_SELECTOR));
  if (!operand) return;
  e.storeState32(X87_DP, operand.offset());
  const segment = operand.segment().mul(SEGMENT_BYTES);
  e.storeState32(X87_DS, load('i32', segment, SEGMENT + SEG_SELECTOR));
}

/** A register instruction that may run: pointers recorded. */
export function beginRegister(e: Emitter): void {
  beginWaiting(e);
  recordPointers(e);
}

/** The value of a memory operand of an instruction that may run; then the pointers. */
export function beginLoad(e: Emitter, operand: Operand): Value {
  beginWaiting(e);
  const value = operand.read();
  recordPointers(e, operand);
  return value;
}

/** A memory operand of 10 bytes: significand, then sign and exponent. */
export function beginLoad80(e: Emitter, operand: Operand): readonly [Value, Value] {
  beginWaiting(e);
  const linear = e.let(operand.linear(10, false));
  const significand = e.let(e.loadLinear(linear, 8));
  const signExponent = e.let(e.loadLinear(linear.add(i32(8)), 2));
  recordPointers(e, operand);
  return [significand, signExponent];
}

/** Stores 10 bytes, both parts or none; if `isBlocked`, checks only that it could be done. */
export function store80(
  e: Emitter,
  operand: Operand,
  isBlocked: Value,
  number: { readonly significand: Value; readonly signExponent: Value },
): void {
  const linear = e.let(operand.linear(10, true));
  e.let(e.loadLinearForWrite(linear, 8));
  e.let(e.loadLinearForWrite(linear.add(8), 2));
  e.f.if(isBlocked.eqz(), () => {
    e.storeLinear(linear, 8, number.significand);
    e.storeLinear(linear.add(8), 2, number.signExponent);
  });
}
