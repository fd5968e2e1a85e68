// Bits of the x87 status and control words, and how an exception is flagged.
// Intel SDM volume 1, sections 8.1.3 "x87 FPU Status Register", 8.1.5 "x87 FPU Control Word".

import { type FunctionBuilder, i32, i64, load, select, type Value } from '../../wasm/index.ts';
import type { SharedFunction } from '../emitter.ts';
import { SCRATCH, X87, X87_CONTROL, X87_EMPTY, X87_STATUS, X87_TOP } from '../state-layout.ts';

export const STATUS_IE = 1 << 0;
export const STATUS_DE = 1 << 1;
export const STATUS_ZE = 1 << 2;
export const STATUS_OE = 1 << 3;
export const STATUS_UE = 1 << 4;
export const STATUS_PE = 1 << 5;
/** Stack fault: an invalid operation because a register was empty, or was not. */
export const STATUS_SF = 1 << 6;
/** An unmasked exception is flagged: the next waiting instruction faults. B mirrors it. */
export const STATUS_ES = 1 << 7;
export const STATUS_C0 = 1 << 8;
/** Rounded up; with SF, overflow of the stack. */
export const STATUS_C1 = 1 << 9;
export const STATUS_C2 = 1 << 10;
export const STATUS_TOP_SHIFT = 11;
export const STATUS_C3 = 1 << 14;
export const STATUS_B = 1 << 15;
/** The six exception flags, which have their masks at the same places in the control word. */
export const X87_EXCEPTIONS = 0x3f;
export const STATUS_CONDITIONS = STATUS_C0 | STATUS_C2 | STATUS_C3;

/** Control word after FNINIT: all masked, 64-bit precision, to nearest. */
export const CONTROL_INITIAL = 0x37f;
/** Bits that FLDCW changes; bit 6 reads as 1, the others as 0. */
export const CONTROL_WRITABLE = 0x1f3f;
export const CONTROL_FIXED = 0x40;
export const CONTROL_ROUNDING_SHIFT = 10;

/** Significand and sign|exponent of the "real indefinite" QNaN (section 8.5.1.2, table 4-3). */
export const INDEFINITE_SIGNIFICAND = 0xc000_0000_0000_0000n;
export const INDEFINITE_SIGN_EXPONENT = 0xffff;
export const INTEGER_BIT = 1n << 63n;
export const QUIET_BIT = 1n << 62n;
export const EXPONENT_MAX = 0x7fff;
export const EXPONENT_BIAS = 0x3fff;
export const SIGN_BIT = 0x8000;

/** A register-shaped place in scratch space for an operand that came from memory. */
export const OPERAND_SLOT = SCRATCH;
/** Where a narrowing leaves its flags until the store is done (u32). */
export const PENDING_FLAGS = SCRATCH + 48;

export const controlWord = (): Value => load('i32', i32(0), X87_CONTROL);
export const statusWord = (): Value => load('i32', i32(0), X87_STATUS);
export const top = (): Value => load('i32', i32(0), X87_TOP);

/** Physical number of ST(index). */
export function physical(index: Value | number): Value {
  return top().add(index).and(7);
}

/** Byte offset of a physical register's slot. */
export function slotOf(physicalNumber: Value): Value {
  return physicalNumber.shl(4).add(X87);
}

export function isEmpty(physicalNumber: Value): Value {
  return load('i32_8u', physicalNumber, X87_EMPTY);
}

export function significandAt(slot: Value): Value {
  return load('i64', slot);
}

/** Sign (bit 15) and exponent of the number at `slot`, i32. */
export function signExponentAt(slot: Value): Value {
  return load('i32_16u', slot, 8);
}

export function writeSlot(
  f: FunctionBuilder,
  slot: Value,
  significand: Value,
  signExponent: Value,
): void {
  f.store('i64', slot, significand);
  f.store('i32_16', slot, signExponent, 8);
}

export function clearC1(f: FunctionBuilder): void {
  f.store('i32', i32(0), statusWord().and(~STATUS_C1), X87_STATUS);
}

/**
 * Sets `flags` (exceptions, SF, condition codes) in the status word, and ES and B if an exception
 * among them is unmasked. Returns the unmasked ones.
 */
export const raiseFlags: SharedFunction = {
  name: 'x87Raise',
  params: ['i32'],
  result: 'i32',
  build(f) {
    const flags = f.param(0);
    const unmasked = f.let(flags.and(controlWord().not()).and(X87_EXCEPTIONS));
    const status = f.let(statusWord().or(flags));
    const summary = select(unmasked, i32(STATUS_ES | STATUS_B), i32(0));
    f.store('i32', i32(0), status.or(summary), X87_STATUS);
    f.return(unmasked);
  },
};

/** An invalid operation: masked, `slot` becomes indefinite and 0 is returned; else 1. */
export const invalidOperation: SharedFunction = {
  name: 'x87Invalid',
  params: ['i32'],
  result: 'i32',
  build(f, tools) {
    const unmasked = tools.call(raiseFlags, i32(STATUS_IE));
    f.if(unmasked, () => f.return(i32(1)));
    writeIndefinite(f, f.param(0));
    f.return(i32(0));
  },
};

export function writeIndefinite(f: FunctionBuilder, slot: Value): void {
  writeSlot(f, slot, i64(INDEFINITE_SIGNIFICAND), i32(INDEFINITE_SIGN_EXPONENT));
}
