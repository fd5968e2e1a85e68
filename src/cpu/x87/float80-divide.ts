// Hot: FDIV and FSQRT, once per instruction. Operands and results are register slots; 0 and 1 are
// returned as in float80-arithmetic.ts. Intel SDM volume 2, FDIV (table 3-25), FSQRT (table 3-39).

import {
  type FunctionBuilder,
  f64,
  i32,
  i64,
  type Local,
  op,
  select,
  type Value,
} from '../../wasm/index.ts';
import type { SharedFunction } from '../emitter.ts';
import { multiplyWide, raiseIfDenormal, writeInfinity, writeZero } from './float80-arithmetic.ts';
import {
  isDenormal,
  isInfiniteExponent,
  isNormal,
  normalize,
  readFloat80,
  returnIfNaN,
} from './float80-operands.ts';
import { round80 } from './float80-round.ts';
import {
  clearC1,
  EXPONENT_BIAS,
  invalidOperation,
  raiseFlags,
  STATUS_ZE,
  writeSlot,
} from './status-word.ts';

const LOW_HALF = 0xffff_ffffn;
/** Low words that stand for a remainder above and below one half of the last place. */
const ABOVE_HALF = 0xc000_0000_0000_0000n;
const HALF = 0x8000_0000_0000_0000n;
const BELOW_HALF = 0x4000_0000_0000_0000n;

/** a ÷ b. Parameters: slots of a, b and the result, and whether one was denormal in memory. */
export const divide80: SharedFunction = {
  name: 'x87Divide',
  params: ['i32', 'i32', 'i32', 'i32'],
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
      const [infiniteA, infiniteB] = [f.let(isInfiniteExponent(a)), f.let(isInfiniteExponent(b))];
      const [zeroA, zeroB] = [f.let(a.significand.eqz()), f.let(b.significand.eqz())];
      f.if(infiniteA.and(infiniteB).or(zeroA.and(zeroB)), () =>
        f.return(tools.call(invalidOperation, slot!)),
      );
      f.if(zeroB.and(infiniteA.eqz()), () => {
        f.if(tools.call(raiseFlags, i32(STATUS_ZE)), () => f.return(i32(1)));
        writeInfinity(f, slot!, sign);
        f.return(i32(0));
      });
      raiseIfDenormal(f, tools, hasDenormal!.or(isDenormal(a)).or(isDenormal(b)));
      f.if(infiniteA, () => {
        writeInfinity(f, slot!, sign);
        f.return(i32(0));
      });
      f.if(infiniteB.or(zeroA), () => {
        writeZero(f, slot!, sign);
        f.return(i32(0));
      });
      normalize(f, a);
      normalize(f, b);
    });
    const divisor = b.significand;
    const [high, low] = [f.let(a.significand) as Local, f.local('i64')];
    f.set(a.exponent, a.exponent.sub(b.exponent).add(EXPONENT_BIAS));
    // The quotient of 64 bits has its top bit set if high is below the divisor, not below its half.
    f.if(
      high.geU(divisor),
      () => {
        f.set(low, high.shl(63));
        f.set(high, high.shrU(1));
      },
      () => f.set(a.exponent, a.exponent.sub(1)),
    );
    const quotient = divideWide(f, high, low, divisor);
    const rest = high;
    const toDivisor = f.let(divisor.sub(rest));
    const sticky = select(rest.gtU(toDivisor), i64(ABOVE_HALF), i64(BELOW_HALF));
    const nonZero = select(rest.eq(toDivisor), i64(HALF), sticky);
    f.set(low, select(rest.eqz(), i64(0), nonZero));
    tools.call(round80, sign, a.exponent, quotient, low, slot!);
    f.return(i32(0));
  },
};

/**
 * `high:low` ÷ divisor (top bit set, above high): returns the quotient, leaves the rest in `high`.
 * Two digits of 32 bits, each estimated from the divisor's upper half and then corrected at most
 * twice (Knuth, The Art of Computer Programming volume 2, section 4.3.1, algorithm D).
 */
function divideWide(f: FunctionBuilder, high: Local, low: Local, divisor: Value): Value {
  const upper = f.let(divisor.shrU(32));
  const lower = f.let(divisor.and(LOW_HALF));
  const digit = (next: Value): Value => {
    const quotient = f.local('i64');
    const rest = f.local('i64');
    f.set(quotient, high.divU(upper));
    f.set(rest, high.sub(quotient.mul(upper)));
    f.loop((again) => {
      const isTooLarge = quotient.gtU(LOW_HALF).or(quotient.mul(lower).gtU(rest.shl(32).or(next)));
      f.if(isTooLarge, () => {
        f.set(quotient, quotient.sub(1));
        f.set(rest, rest.add(upper));
        f.brIf(again, rest.leU(LOW_HALF));
      });
    });
    f.set(high, high.shl(32).or(next).sub(quotient.mul(divisor)));
    return quotient;
  };
  const first = digit(f.let(low.shrU(32)));
  const second = digit(f.let(low.and(LOW_HALF)));
  return f.let(first.shl(32).add(second));
}

/** The square root. Parameters: slot of the operand, slot of the result. */
export const squareRoot80: SharedFunction = {
  name: 'x87SquareRoot',
  params: ['i32', 'i32'],
  result: 'i32',
  build(f, tools) {
    const [slotA, slot] = [f.param(0), f.param(1)];
    const a = readFloat80(f, slotA);
    f.if(isNormal(a).and(a.sign.eqz()).eqz(), () => {
      clearC1(f);
      returnIfNaN(f, tools, slotA, slotA, slot);
      f.if(a.significand.eqz(), () => {
        writeZero(f, slot, a.sign);
        f.return(i32(0));
      });
      f.if(a.sign, () => f.return(tools.call(invalidOperation, slot)));
      raiseIfDenormal(f, tools, isDenormal(a));
      f.if(isInfiniteExponent(a), () => {
        writeSlot(f, slot, a.significand, a.exponent);
        f.return(i32(0));
      });
      normalize(f, a);
    });
    // The root of significand × 2^63, or × 2^64 for an odd exponent, has 64 bits.
    const power = f.let(a.exponent.sub(EXPONENT_BIAS));
    const isOdd = f.let(power.and(1));
    const squareHigh = f.let(select(isOdd, a.significand, a.significand.shrU(1)));
    const squareLow = f.let(select(isOdd, i64(0), a.significand.shl(63)));
    const root = f.let(rootEstimate(a.significand, isOdd)) as Local;
    const restHigh = f.local('i64');
    const restLow = f.local('i64');
    const subtractSquare = () => {
      const high = f.local('i64');
      const low = multiplyWide(f, root, root, high);
      f.set(restHigh, squareHigh.sub(high).sub(squareLow.ltU(low).extendU()));
      f.set(restLow, squareLow.sub(low));
    };
    subtractSquare();
    const step = restHigh.shl(32).or(restLow.shrU(32)).divU(root.shrU(31));
    f.set(root, root.add(step));
    subtractSquare();
    f.loop((again) => {
      f.if(restHigh.ltS(0), () => {
        f.set(root, root.sub(1));
        subtractSquare();
        f.br(again);
      });
      // More than twice the root is left: the next root is still below.
      const doubled = root.shl(1);
      const carry = f.let(root.shrU(63));
      const isMore = restHigh.gtU(carry).or(restHigh.eq(carry).and(restLow.gtU(doubled)));
      f.if(isMore, () => {
        f.set(root, root.add(1));
        subtractSquare();
        f.br(again);
      });
    });
    const isAbove = restHigh.ne(0).or(restLow.gtU(root));
    const sticky = select(isAbove, i64(ABOVE_HALF), i64(BELOW_HALF));
    f.set(restLow, select(restHigh.or(restLow).eqz(), i64(0), sticky));
    tools.call(round80, i32(0), power.shrS(1).add(EXPONENT_BIAS), root, restLow, slot);
    f.return(i32(0));
  },
};

/** A root that is surely not too large, and too small by less than 2^14: doubles have 53 bits. */
function rootEstimate(significand: Value, isOdd: Value): Value {
  const root = op('f64.sqrt', op('f64.convert_i64_u', significand));
  const scale = op('f64.convert_i32_u', isOdd);
  const evenScale = Math.sqrt(2) * 2 ** 31;
  const growth = 2 ** 32 - evenScale;
  const factor = op('f64.add', op('f64.mul', scale, f64(growth)), f64(evenScale));
  return op('i64.trunc_sat_f64_u', op('f64.mul', root, factor)).sub(i64(1 << 13));
}
