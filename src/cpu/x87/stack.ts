// Hot: the register stack: pushes, pops, stack faults, and what instructions do around an
// operation. Intel SDM volume 1, sections 8.1.2 "x87 FPU Data Registers", 8.5.1.1 "Stack Overflow
// or Underflow Exception (#IS)".
//
// As the operations do, functions here return 0 when done and 1 when an unmasked exception left the
// registers as they were.

import { type FunctionBuilder, i32, i64, type Value } from '../../wasm/index.ts';
import type { SharedFunction } from '../emitter.ts';
import { X87_EMPTY, X87_STATUS, X87_TOP } from '../state-layout.ts';
import { raiseIfDenormal } from './float80-arithmetic.ts';
import { COMPARISON_FAILED, compare80 } from './float80-compare.ts';
import { isDenormal, isNaN80, isQuiet, readFloat80, returnIfNaN } from './float80-operands.ts';
import { roundToInteger, toFloat32, toFloat64, toInteger } from './float80-store.ts';
import {
  clearC1,
  controlWord,
  isEmpty,
  PENDING_FLAGS,
  physical,
  QUIET_BIT,
  raiseFlags,
  STATUS_C1,
  STATUS_CONDITIONS,
  STATUS_DE,
  STATUS_IE,
  STATUS_PE,
  STATUS_SF,
  signExponentAt,
  significandAt,
  slotOf,
  statusWord,
  top,
  writeIndefinite,
  writeSlot,
  X87_EXCEPTIONS,
} from './status-word.ts';

export function setEmpty(f: FunctionBuilder, physicalNumber: Value, empty: 0 | 1): void {
  f.store('i32_8', physicalNumber, i32(empty), X87_EMPTY);
}

/** Marks ST(0) empty and moves the top. */
export function pop(f: FunctionBuilder): void {
  const old = f.let(top());
  setEmpty(f, old, 1);
  f.store('i32', i32(0), old.add(1).and(7), X87_TOP);
}

/** Pops `count` times unless `failed` (0 or 1). */
export function popUnless(f: FunctionBuilder, failed: Value, count: number): void {
  if (count === 0) return;
  f.if(failed.eqz(), () => {
    for (let n = 0; n < count; n++) pop(f);
  });
}

/** A register that should hold a number is empty. Parameter: physical number of the result. */
export const stackUnderflow: SharedFunction = {
  name: 'x87StackUnderflow',
  params: ['i32'],
  result: 'i32',
  build(f, tools) {
    clearC1(f);
    const unmasked = tools.call(raiseFlags, i32(STATUS_IE | STATUS_SF));
    f.if(unmasked, () => f.return(i32(1)));
    writeIndefinite(f, slotOf(f.param(0)));
    setEmpty(f, f.param(0), 0);
    f.return(i32(0));
  },
};

/** Stack overflow where a number was to be pushed: masked, the indefinite one is. */
const pushOverflow: SharedFunction = {
  name: 'x87StackOverflow',
  params: [],
  result: 'i32',
  build(f, tools) {
    const unmasked = tools.call(raiseFlags, i32(STATUS_IE | STATUS_SF | STATUS_C1));
    f.if(unmasked, () => f.return(i32(1)));
    const pushed = f.let(physical(7));
    writeIndefinite(f, slotOf(pushed));
    setEmpty(f, pushed, 0);
    f.store('i32', i32(0), pushed, X87_TOP);
    f.return(i32(0));
  },
};

/** Pushes a number as it is. Parameters: significand, sign and exponent. */
export const pushNumber: SharedFunction = {
  name: 'x87Push',
  params: ['i64', 'i32'],
  result: 'i32',
  build(f, tools) {
    const pushed = f.let(physical(7));
    f.if(isEmpty(pushed).eqz(), () => f.return(tools.call(pushOverflow)));
    clearC1(f);
    writeSlot(f, slotOf(pushed), f.param(0), f.param(1));
    setEmpty(f, pushed, 0);
    f.store('i32', i32(0), pushed, X87_TOP);
    f.return(i32(0));
  },
};

/** FLD m32fp and m64fp: pushes the number at a slot. Parameters: slot, whether it was denormal. */
export const pushConverted: SharedFunction = {
  name: 'x87PushConverted',
  params: ['i32', 'i32'],
  result: 'i32',
  build(f, tools) {
    const [slot, hasDenormal] = [f.param(0), f.param(1)];
    const pushed = f.let(physical(7));
    f.if(isEmpty(pushed).eqz(), () => f.return(tools.call(pushOverflow)));
    clearC1(f);
    // The number is loaded even if that is unmasked (seen on hosts).
    f.if(hasDenormal, () => {
      tools.call(raiseFlags, i32(STATUS_DE));
    });
    const significand = f.local('i64');
    f.set(significand, significandAt(slot));
    const exponent = f.let(signExponentAt(slot));
    const isSignaling = isNaN80(exponent.and(0x7fff), significand).and(isQuiet(significand).eqz());
    f.if(isSignaling, () => {
      f.if(tools.call(raiseFlags, i32(STATUS_IE)), () => f.return(i32(1)));
      f.set(significand, significand.or(i64(QUIET_BIT)));
    });
    writeSlot(f, slotOf(pushed), significand, exponent);
    setEmpty(f, pushed, 0);
    f.store('i32', i32(0), pushed, X87_TOP);
    f.return(i32(0));
  },
};

/** FLD ST(i). Parameter: i. */
export const pushRegister: SharedFunction = {
  name: 'x87PushRegister',
  params: ['i32'],
  result: 'i32',
  build(f, tools) {
    const source = f.let(physical(f.param(0)));
    const pushed = f.let(physical(7));
    f.if(isEmpty(source), () => {
      f.if(tools.call(stackUnderflow, pushed), () => f.return(i32(1)));
      f.store('i32', i32(0), pushed, X87_TOP);
      f.return(i32(0));
    });
    f.if(isEmpty(pushed).eqz(), () => f.return(tools.call(pushOverflow)));
    clearC1(f);
    const slot = f.let(slotOf(source));
    writeSlot(f, slotOf(pushed), significandAt(slot), signExponentAt(slot));
    setEmpty(f, pushed, 0);
    f.store('i32', i32(0), pushed, X87_TOP);
    f.return(i32(0));
  },
};

/** FXCH. Parameter: i. Masked stack faults fill the empty ones first. */
export const exchange: SharedFunction = {
  name: 'x87Exchange',
  params: ['i32'],
  result: 'i32',
  build(f, tools) {
    const [a, b] = [f.let(top()), f.let(physical(f.param(0)))];
    for (const register of [a, b]) {
      f.if(isEmpty(register), () => {
        f.if(tools.call(stackUnderflow, register), () => f.return(i32(1)));
      });
    }
    clearC1(f);
    const [slotA, slotB] = [f.let(slotOf(a)), f.let(slotOf(b))];
    const significand = f.let(significandAt(slotA));
    const signExponent = f.let(signExponentAt(slotA));
    writeSlot(f, slotA, significandAt(slotB), signExponentAt(slotB));
    writeSlot(f, slotB, significand, signExponent);
    f.return(i32(0));
  },
};

/**
 * Compares ST(0). Parameters: slot of the other, whether that register is empty, whether it was
 * denormal in memory, whether quiet NaNs are valid, whether C1 stays (FCOMI; seen on hosts) unless
 * a register is empty. Returns as `compare80`.
 */
export const compareTop: SharedFunction = {
  name: 'x87CompareTop',
  params: ['i32', 'i32', 'i32', 'i32', 'i32'],
  result: 'i32',
  build(f, tools) {
    const [slot, otherEmpty, hasDenormal, allowsQuiet] = [0, 1, 2, 3].map((n) => f.param(n));
    const keepsC1 = f.param(4);
    f.if(isEmpty(top()).or(otherEmpty!), () => {
      clearC1(f);
      const unmasked = tools.call(raiseFlags, i32(STATUS_IE | STATUS_SF));
      f.return(unmasked.ne(0).or(STATUS_CONDITIONS));
    });
    f.if(keepsC1.eqz(), () => clearC1(f));
    f.return(tools.call(compare80, slotOf(top()), slot!, hasDenormal!, allowsQuiet!));
  },
};

/** Writes a comparison's result to the condition codes. Returns 1 if it failed. */
export const setConditions: SharedFunction = {
  name: 'x87SetConditions',
  params: ['i32'],
  result: 'i32',
  build(f) {
    const kept = statusWord().and(~STATUS_CONDITIONS);
    f.store('i32', i32(0), kept.or(f.param(0).and(STATUS_CONDITIONS)), X87_STATUS);
    f.return(f.param(0).and(COMPARISON_FAILED));
  },
};

/** What a store of ST(0) writes: the indefinite of the format if it is empty. */
function storeOf(
  name: string,
  convert: SharedFunction,
  indefinite: (bits: Value) => Value,
): SharedFunction {
  const takesSize = convert.params.length > 1;
  return {
    name,
    params: takesSize ? ['i32'] : [],
    result: 'i64',
    build(f, tools) {
      const size = takesSize ? [f.param(0)] : [];
      f.if(isEmpty(top()), () => {
        f.store('i32', i32(PENDING_FLAGS), i32(STATUS_IE | STATUS_SF));
        f.return(indefinite(size[0] ?? i32(0)));
      });
      f.return(tools.call(convert, slotOf(top()), ...size));
    },
  };
}

/** Bits for FST m32fp; flags wait in PENDING_FLAGS, for `blocksStore` and `commitStore`. */
export const storeFloat32 = storeOf('x87StoreFloat32', toFloat32, () => i64(0xffc0_0000n));
export const storeFloat64 = storeOf('x87StoreFloat64', toFloat64, () => i64(0xfff8n << 48n));
/** The value for FIST. Parameter: size in bits. */
export const storeInteger = storeOf('x87StoreInteger', toInteger, (bits) =>
  i64(-1).shl(bits.sub(1).extendU()),
);

/**
 * Whether an unmasked exception among `flags` keeps the value from memory: all but inexact do.
 * Not zero if so.
 */
export const blocksStore: SharedFunction = {
  name: 'x87BlocksStore',
  params: ['i32'],
  result: 'i32',
  build(f) {
    const unmasked = controlWord()
      .not()
      .and(X87_EXCEPTIONS & ~STATUS_PE);
    f.return(f.param(0).and(unmasked));
  },
};

/**
 * After the store: sets the flags. Returns 1 if the store was blocked, so that nothing is popped.
 */
export const commitStore: SharedFunction = {
  name: 'x87CommitStore',
  params: ['i32'],
  result: 'i32',
  build(f, tools) {
    clearC1(f);
    const unmasked = tools.call(raiseFlags, f.param(0));
    f.return(unmasked.and(~STATUS_PE).ne(0));
  },
};

/** FRNDINT. */
export const roundTop: SharedFunction = {
  name: 'x87RoundTop',
  params: [],
  result: 'i32',
  build(f, tools) {
    const register = f.let(top());
    f.if(isEmpty(register), () => f.return(tools.call(stackUnderflow, register)));
    const slot = f.let(slotOf(register));
    clearC1(f);
    returnIfNaN(f, tools, slot, slot, slot);
    raiseIfDenormal(f, tools, isDenormal(readFloat80(f, slot)));
    tools.call(raiseFlags, tools.call(roundToInteger, slot));
    f.return(i32(0));
  },
};
