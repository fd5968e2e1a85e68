// What every x87 operation does with operands that are not normal numbers: formats no longer
// supported, NaNs, denormals. Intel SDM volume 1, sections 8.2.2 "Unsupported Double
// Extended-Precision Floating-Point Encodings", 4.8.3.5 "Operating on SNaNs and QNaNs" (table 4-7),
// 4.9.2 "Floating-Point Exception Priority".

import { type FunctionBuilder, i32, i64, type Local, type Value } from '../../wasm/index.ts';
import type { SharedFunction, SharedTools } from '../emitter.ts';
import {
  EXPONENT_MAX,
  invalidOperation,
  QUIET_BIT,
  raiseFlags,
  SIGN_BIT,
  STATUS_IE,
  signExponentAt,
  significandAt,
  writeSlot,
} from './status-word.ts';

/** An operand taken apart into locals. */
export interface Float80 {
  readonly significand: Local;
  /** Biased exponent; after `normalize` of a denormal, below 1. */
  readonly exponent: Local;
  /** 0 or 0x8000. */
  readonly sign: Local;
}

export function readFloat80(f: FunctionBuilder, slot: Value): Float80 {
  const [significand, exponent, sign] = [f.local('i64'), f.local('i32'), f.local('i32')];
  f.set(significand, significandAt(slot));
  f.set(exponent, signExponentAt(slot));
  f.set(sign, exponent.and(SIGN_BIT));
  f.set(exponent, exponent.and(EXPONENT_MAX));
  return { significand, exponent, sign };
}

/** Whether `x` is a finite number with its integer bit and an exponent of its own. */
export function isNormal(x: Float80): Value {
  return x.exponent
    .sub(1)
    .ltU(EXPONENT_MAX - 1)
    .and(x.significand.ltS(0));
}

/** A denormal or pseudo-denormal. */
export function isDenormal(x: Float80): Value {
  return x.exponent.eqz().and(x.significand.ne(0));
}

export function isInfiniteExponent(x: Float80): Value {
  return x.exponent.eq(EXPONENT_MAX);
}

/** No number at all: a non-zero exponent without the integer bit. */
export function isUnsupported(exponent: Value, significand: Value): Value {
  return exponent.ne(0).and(significand.geS(0));
}

/** Not for unsupported formats. */
export function isNaN80(exponent: Value, significand: Value): Value {
  return exponent.eq(EXPONENT_MAX).and(significand.shl(1).ne(0));
}

export function isQuiet(significand: Value): Value {
  return significand.shrU(62).wrap().and(1);
}

/** Gives a non-zero number its integer bit. */
export function normalize(f: FunctionBuilder, x: Float80): void {
  f.if(x.significand.geS(0).or(x.exponent.eqz()), () => {
    const shift = f.let(x.significand.clz());
    f.set(x.significand, x.significand.shl(shift));
    f.if(x.exponent.eqz(), () => f.set(x.exponent, i32(1)));
    f.set(x.exponent, x.exponent.sub(shift.wrap()));
  });
}

/**
 * The rules for NaNs and unsupported formats. Parameters: slots of both operands, and of the
 * result. Returns 0 if there is none and the operation goes on, 1 if the result is written, 2 if an
 * unmasked exception forbids that.
 */
export const propagateNaN: SharedFunction = {
  name: 'x87PropagateNaN',
  params: ['i32', 'i32', 'i32'],
  result: 'i32',
  build(f, tools) {
    const [slotA, slotB, slot] = [f.param(0), f.param(1), f.param(2)];
    const a = readFloat80(f, slotA);
    const b = readFloat80(f, slotB);
    const isInvalid = isUnsupported(a.exponent, a.significand).or(
      isUnsupported(b.exponent, b.significand),
    );
    f.if(isInvalid, () => f.return(tools.call(invalidOperation, slot).add(1)));
    const nanA = f.let(isNaN80(a.exponent, a.significand));
    const nanB = f.let(isNaN80(b.exponent, b.significand));
    f.if(nanA.or(nanB).eqz(), () => f.return(i32(0)));
    const signalingA = f.let(nanA.and(isQuiet(a.significand).eqz()));
    const signalingB = f.let(nanB.and(isQuiet(b.significand).eqz()));
    f.if(signalingA.or(signalingB), () => {
      f.if(tools.call(raiseFlags, i32(STATUS_IE)), () => f.return(i32(2)));
    });
    // Two of a kind: the larger significand, and then the positive one.
    const isLarger = b.significand
      .gtU(a.significand)
      .or(b.significand.eq(a.significand).and(b.sign.ltU(a.sign)));
    const ofTwo = signalingA.ne(signalingB).and(signalingA);
    const takesB = nanB.and(nanA.eqz().or(ofTwo).or(signalingA.eq(signalingB).and(isLarger)));
    const write = (x: Float80) =>
      writeSlot(f, slot, x.significand.or(i64(QUIET_BIT)), x.sign.or(x.exponent));
    f.if(
      takesB,
      () => write(b),
      () => write(a),
    );
    f.return(i32(1));
  },
};

/**
 * Returns `propagateNaN`'s verdict from the function being built unless it is to go on: 0 when the
 * result is written, 1 when not.
 */
export function returnIfNaN(
  f: FunctionBuilder,
  tools: SharedTools,
  slotA: Value,
  slotB: Value,
  slot: Value,
): void {
  const verdict = tools.call(propagateNaN, slotA, slotB, slot);
  f.if(verdict, () => f.return(verdict.sub(1)));
}
