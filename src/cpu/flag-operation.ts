// The operation that set the flags last, for engines that know it while they emit a reader: a
// comparison and its branch then become one. Intel SDM volume 1, appendix B "EFLAGS Condition
// Codes"; what each flag says: section 3.4.3.1 "Status Flags".

import { i32, type Value } from '../wasm/index.ts';

/** Values are pinned, and i32: operations of 8 bytes are not described. */
export interface FlagOperation {
  /** r = a + b, r = a − b, or a result alone: then CF, OF and AF are 0 unless given. */
  readonly kind: 'add' | 'sub' | 'logic';
  readonly a: Value;
  readonly b: Value;
  /** May have rubbish above the size; `a` and `b` have zeros there. */
  readonly r: Value;
  readonly size: 1 | 2 | 4;
  /** Whether a carry went into the sum: `r` is then not a function of `a` and `b`. */
  readonly hasCarryIn: boolean;
  /** CF, 0 or 1, where it is not the operation's own (INC, BT, shifts). */
  readonly carry?: Value;
  /** OF, 0 or 1, where it is not the operation's own. */
  readonly overflow?: Value;
}

/** What the processor has in the bit above the operand's size: the operand's sign is bit 31. */
function atTop(value: Value, size: number): Value {
  return value.shl(32 - size * 8);
}

function signed(value: Value, size: number): Value {
  if (size === 4) return value;
  return size === 2 ? value.extend16S() : value.extend8S();
}

function masked(value: Value, size: number): Value {
  return size === 4 ? value : value.and(size === 2 ? 0xffff : 0xff);
}

/** Bit n is the carry (or borrow) out of bit n. */
export function carriesOf({ kind, a, b, r }: FlagOperation): Value {
  if (kind === 'logic') return i32(0);
  if (kind === 'add') return a.and(b).or(a.or(b).and(r.not()));
  return a.not().and(b).or(a.not().or(b).and(r));
}

export function carryOf(operation: FlagOperation): Value {
  const { kind, a, b, r, size, hasCarryIn, carry } = operation;
  if (carry) return carry;
  if (kind === 'logic') return i32(0);
  if (hasCarryIn) return atTop(carriesOf(operation), size).shrU(31);
  if (kind === 'sub') return a.ltU(b);
  return masked(r, size).ltU(a);
}

/** Bit 31 is OF; the other bits are rubbish. */
function overflowWord({ kind, a, b, r, size, overflow }: FlagOperation): Value {
  if (overflow) return overflow.shl(31);
  if (kind === 'logic') return i32(0);
  const word = kind === 'add' ? a.xor(r).and(b.xor(r)) : a.xor(b).and(a.xor(r));
  return atTop(word, size);
}

export function overflowOf(operation: FlagOperation): Value {
  return overflowWord(operation).shrU(31);
}

export function zeroOf({ kind, a, b, r, size, hasCarryIn }: FlagOperation): Value {
  return kind === 'sub' && !hasCarryIn ? a.eq(b) : masked(r, size).eqz();
}

export function signOf({ r, size }: FlagOperation): Value {
  return size === 4 ? r.shrU(31) : r.shrU(size * 8 - 1).and(1);
}

/** SF ≠ OF: less, of signed numbers. */
export function lessOf(operation: FlagOperation): Value {
  const { kind, a, b, r, size, hasCarryIn, overflow } = operation;
  if (!overflow && kind === 'logic') return signed(r, size).ltS(0);
  if (!overflow && kind === 'sub' && !hasCarryIn) return signed(a, size).ltS(signed(b, size));
  return atTop(r, size).xor(overflowWord(operation)).ltS(0);
}

/**
 * The conditions 0–15 of Jcc, i32 0 or 1.
 * @param parity PF of the operation
 */
export function conditionOf(operation: FlagOperation, code: number): Value {
  const value = positiveCondition(operation, code >> 1);
  return code & 1 ? value.eqz() : value;
}

function positiveCondition(operation: FlagOperation, pair: number): Value {
  const { kind, a, b, r, size, hasCarryIn, carry, overflow } = operation;
  const isDifference = kind === 'sub' && !hasCarryIn;
  switch (pair) {
    case 0:
      return overflowOf(operation);
    case 1:
      return carryOf(operation);
    case 2:
      return zeroOf(operation);
    case 3:
      if (isDifference && !carry) return a.leU(b);
      return carryOf(operation).or(zeroOf(operation));
    case 4:
      return signed(r, size).ltS(0);
    case 5:
      return parityOf(operation);
    case 6:
      return lessOf(operation);
    default:
      if (overflow) return lessOf(operation).or(zeroOf(operation));
      if (kind === 'logic') return signed(r, size).leS(0);
      if (isDifference) return signed(a, size).leS(signed(b, size));
      return lessOf(operation).or(zeroOf(operation));
  }
}

export function parityOf({ r }: FlagOperation): Value {
  return r.and(0xff).popcnt().and(1).xor(1);
}

export function adjustOf(operation: FlagOperation): Value {
  return carriesOf(operation).shrU(3).and(1);
}
