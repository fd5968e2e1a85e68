// Hot: FADD, FSUB and FMUL, once per instruction. All operands and results are register slots.
// Intel SDM volume 1, sections 8.3.5 "Basic Arithmetic Instructions", 8.5 "x87 FPU Floating-Point
// Exceptions"; tables of results: volume 2, FADD (3-24), FMUL (3-29).
//
// An operation returns 0 when the result is written, 1 when an unmasked invalid operation, zero
// divide or denormal operand leaves everything as it was.

import {
  type FunctionBuilder,
  i32,
  i64,
  type Local,
  select,
  type Value,
} from '../../wasm/index.ts';
import type { SharedFunction, SharedTools } from '../emitter.ts';
import {
  type Float80,
  isDenormal,
  isInfiniteExponent,
  isNormal,
  normalize,
  readFloat80,
  returnIfNaN,
} from './float80-operands.ts';
import { round80, shiftRightSticky } from './float80-round.ts';
import {
  CONTROL_ROUNDING_SHIFT,
  clearC1,
  controlWord,
  EXPONENT_BIAS,
  EXPONENT_MAX,
  INTEGER_BIT,
  invalidOperation,
  raiseFlags,
  SIGN_BIT,
  STATUS_DE,
  writeSlot,
} from './status-word.ts';

/** Operand slots, the result's slot, and whether an operand was denormal in memory (0 or 1). */
const BINARY_PARAMS = ['i32', 'i32', 'i32', 'i32'] as const;

/** Flags a denormal operand, and leaves the function if that is unmasked. */
export function raiseIfDenormal(f: FunctionBuilder, tools: SharedTools, isAny: Value): void {
  f.if(isAny, () => {
    f.if(tools.call(raiseFlags, i32(STATUS_DE)), () => f.return(i32(1)));
  });
}

export function writeInfinity(f: FunctionBuilder, slot: Value, sign: Value): void {
  writeSlot(f, slot, i64(INTEGER_BIT), sign.or(EXPONENT_MAX));
}

export function writeZero(f: FunctionBuilder, slot: Value, sign: Value): void {
  writeSlot(f, slot, i64(0), sign);
}

/** 0x8000 when rounding toward −∞: the sign of a zero that is an exact difference. */
function signOfCancellation(): Value {
  const direction = controlWord().shrU(CONTROL_ROUNDING_SHIFT).and(3);
  return select(direction.eq(1), i32(SIGN_BIT), i32(0));
}

function sumOf(name: string, negation: number): SharedFunction {
  return {
    name,
    params: BINARY_PARAMS,
    result: 'i32',
    build(f, tools) {
      const [slotA, slotB, slot, hasDenormal] = [0, 1, 2, 3].map((n) => f.param(n)) as Local[];
      const a = readFloat80(f, slotA!);
      const b = readFloat80(f, slotB!);
      const add = () => {
        tools.call(
          addFinite,
          a.sign,
          a.exponent,
          a.significand,
          b.sign,
          b.exponent,
          b.significand,
          slot!,
        );
        f.return(i32(0));
      };
      if (negation) f.set(b.sign, b.sign.xor(SIGN_BIT));
      f.if(isNormal(a).and(isNormal(b)).and(hasDenormal!.eqz()), add);
      clearC1(f);
      returnIfNaN(f, tools, slotA!, slotB!, slot!);
      addSpecial(f, tools, a, b, slot!, hasDenormal!);
      add();
    },
  };
}

/** Infinities, denormals and zeros; falls through with two normalized numbers. */
function addSpecial(
  f: FunctionBuilder,
  tools: SharedTools,
  a: Float80,
  b: Float80,
  slot: Value,
  hasDenormal: Value,
): void {
  const infiniteA = f.let(isInfiniteExponent(a));
  const infiniteB = f.let(isInfiniteExponent(b));
  f.if(infiniteA.and(infiniteB).and(a.sign.ne(b.sign)), () =>
    f.return(tools.call(invalidOperation, slot)),
  );
  raiseIfDenormal(f, tools, hasDenormal.or(isDenormal(a)).or(isDenormal(b)));
  f.if(infiniteA.or(infiniteB), () => {
    writeInfinity(f, slot, select(infiniteA, a.sign, b.sign));
    f.return(i32(0));
  });
  const zeroA = f.let(a.significand.eqz());
  const zeroB = f.let(b.significand.eqz());
  f.if(zeroA.and(zeroB), () => {
    writeZero(f, slot, select(a.sign.eq(b.sign), a.sign, signOfCancellation()));
    f.return(i32(0));
  });
  const alone = (x: Float80) => () => {
    normalize(f, x);
    tools.call(round80, x.sign, x.exponent, x.significand, i64(0), slot);
    f.return(i32(0));
  };
  f.if(zeroA, alone(b));
  f.if(zeroB, alone(a));
  normalize(f, a);
  normalize(f, b);
}

/** a + b. */
export const add80 = sumOf('x87Add', 0);
/** a − b. */
export const subtract80 = sumOf('x87Subtract', 1);

/** Sum of two numbers given as sign, exponent, normalized significand. */
const addFinite: SharedFunction = {
  name: 'x87AddFinite',
  params: ['i32', 'i32', 'i64', 'i32', 'i32', 'i64', 'i32'],
  build(f, tools) {
    const [signA, exponentA, a] = [f.param(0), f.param(1), f.param(2)];
    const [signB, exponentB, b, slot] = [f.param(3), f.param(4), f.param(5), f.param(6)];
    // The one of larger magnitude becomes a.
    const isLess = exponentA.ltS(exponentB).or(exponentA.eq(exponentB).and(a.ltU(b)));
    f.if(isLess, () => {
      const [sign, exponent, significand] = [f.let(signA), f.let(exponentA), f.let(a)];
      f.set(signA, signB);
      f.set(exponentA, exponentB);
      f.set(a, b);
      f.set(signB, sign);
      f.set(exponentB, exponent);
      f.set(b, significand);
    });
    const low = f.local('i64');
    shiftRightSticky(f, b, low, exponentA.sub(exponentB));
    f.if(
      signA.eq(signB),
      () => {
        const sum = f.let(a.add(b));
        f.if(
          sum.ltU(a),
          () => {
            f.set(low, low.shrU(1).or(low.and(1)).or(sum.shl(63)));
            f.set(a, sum.shrU(1).or(i64(INTEGER_BIT)));
            f.set(exponentA, exponentA.add(1));
          },
          () => f.set(a, sum),
        );
      },
      () => {
        f.set(a, a.sub(b).sub(low.ne(0).extendU()));
        f.set(low, low.neg());
        f.if(a.or(low).eqz(), () => {
          clearC1(f);
          writeZero(f, slot, signOfCancellation());
          f.return();
        });
        f.if(a.eqz(), () => {
          f.set(a, low);
          f.set(low, i64(0));
          f.set(exponentA, exponentA.sub(64));
        });
        const shift = f.let(a.clz());
        // (low >> 1) >> (63 - n) is low >> (64 - n), and zero for n = 0.
        f.set(a, a.shl(shift).or(low.shrU(1).shrU(i64(63).sub(shift))));
        f.set(low, low.shl(shift));
        f.set(exponentA, exponentA.sub(shift.wrap()));
      },
    );
    tools.call(round80, signA, exponentA, a, low, slot);
  },
};

const LOW_HALF = 0xffff_ffffn;

/** The 128-bit product of two i64 values: high into the local, low returned, pinned. */
export function multiplyWide(f: FunctionBuilder, a: Value, b: Value, high: Local): Value {
  const [aLow, aHigh] = [f.let(a.and(LOW_HALF)), f.let(a.shrU(32))];
  const [bLow, bHigh] = [f.let(b.and(LOW_HALF)), f.let(b.shrU(32))];
  const lowest = f.let(aLow.mul(bLow));
  const middle = f.let(aHigh.mul(bLow).add(lowest.shrU(32)));
  const cross = f.let(aLow.mul(bHigh).add(middle.and(LOW_HALF)));
  const low = f.let(cross.shl(32).or(lowest.and(LOW_HALF)));
  f.set(high, aHigh.mul(bHigh).add(middle.shrU(32)).add(cross.shrU(32)));
  return low;
}

/** a × b. */
export const multiply80: SharedFunction = {
  name: 'x87Multiply',
  params: BINARY_PARAMS,
  result: 'i32',
  build(f, tools) {
    const [slotA, slotB, slot, hasDenormal] = [0, 1, 2, 3].map((n) => f.param(n)) as Local[];
    const a = readFloat80(f, slotA!);
    const b = readFloat80(f, slotB!);
    const sign = f.let(a.sign.xor(b.sign));
    const isFast = isNormal(a).and(isNormal(b)).and(hasDenormal!.eqz());
    f.if(isFast.eqz(), () => {
      clearC1(f);
      returnIfNaN(f, tools, slotA!, slotB!, slot!);
      const isInfinite = f.let(isInfiniteExponent(a).or(isInfiniteExponent(b)));
      const isZero = f.let(a.significand.eqz().or(b.significand.eqz()));
      f.if(isInfinite.and(isZero), () => f.return(tools.call(invalidOperation, slot!)));
      raiseIfDenormal(f, tools, hasDenormal!.or(isDenormal(a)).or(isDenormal(b)));
      f.if(isInfinite.or(isZero), () => {
        f.if(
          isZero,
          () => writeZero(f, slot!, sign),
          () => writeInfinity(f, slot!, sign),
        );
        f.return(i32(0));
      });
      normalize(f, a);
      normalize(f, b);
    });
    const high = f.local('i64');
    const low = f.local('i64');
    f.set(low, multiplyWide(f, a.significand, b.significand, high));
    f.set(a.exponent, a.exponent.add(b.exponent).sub(EXPONENT_BIAS - 1));
    f.if(high.geS(0), () => {
      f.set(high, high.shl(1).or(low.shrU(63)));
      f.set(low, low.shl(1));
      f.set(a.exponent, a.exponent.sub(1));
    });
    tools.call(round80, sign, a.exponent, high, low, slot!);
    f.return(i32(0));
  },
};
