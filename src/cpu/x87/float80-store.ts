// Hot: 80-bit numbers to the narrower formats of memory, rounded. Nothing is flagged here, because
// the store may still fault: the flags are left in PENDING_FLAGS, to be committed after it.
// Intel SDM volume 2, FST (rules), FIST (table 3-26); volume 1, sections 8.5.4 and 8.5.5.

import { i32, i64, type Local, select, type Value } from '../../wasm/index.ts';
import type { SharedFunction } from '../emitter.ts';
import { isNaN80, isQuiet, isUnsupported, normalize, readFloat80 } from './float80-operands.ts';
import { roundsUp, shiftRightSticky } from './float80-round.ts';
import {
  CONTROL_ROUNDING_SHIFT,
  controlWord,
  EXPONENT_BIAS,
  EXPONENT_MAX,
  PENDING_FLAGS,
  STATUS_IE,
  STATUS_OE,
  STATUS_PE,
  STATUS_UE,
} from './status-word.ts';

const C1_SHIFT = 9;

interface NarrowFormat {
  readonly name: string;
  /** Bits of the fraction, the biased exponent's maximum, its bias, the position of the sign. */
  readonly fractionBits: number;
  readonly exponentMax: number;
  readonly bias: number;
  readonly signShift: number;
}

function narrowing(format: NarrowFormat): SharedFunction {
  const { fractionBits, exponentMax, bias, signShift } = format;
  const dropped = 63 - fractionBits;
  const mask = i64((1n << BigInt(dropped)) - 1n);
  const unit = 1n << BigInt(dropped);
  return {
    name: format.name,
    params: ['i32'],
    result: 'i64',
    build(f, tools) {
      const slot = f.param(0);
      const x = readFloat80(f, slot);
      const control = f.let(controlWord());
      const flags = f.local('i32');
      const high = x.significand;
      const low = f.local('i64');
      const sign = f.let(x.sign.extendU().shl(signShift - 15));
      const infinity = sign.or(i64(BigInt(exponentMax) << BigInt(fractionBits)));
      const done = (bits: Value) => {
        f.store('i32', i32(PENDING_FLAGS), flags);
        f.return(bits);
      };
      f.if(isUnsupported(x.exponent, high), () => {
        f.set(flags, i32(STATUS_IE));
        // The real indefinite: negative, quiet, nothing else (table 4-3).
        const quiet =
          (BigInt(exponentMax) << BigInt(fractionBits)) | (1n << BigInt(fractionBits - 1));
        done(i64(quiet | (1n << BigInt(signShift))));
      });
      f.if(x.exponent.eq(EXPONENT_MAX), () => {
        f.if(isNaN80(x.exponent, high), () => {
          f.if(isQuiet(high).eqz(), () => f.set(flags, i32(STATUS_IE)));
          const fraction = high
            .shl(1)
            .shrU(64 - fractionBits)
            .or(1n << BigInt(fractionBits - 1));
          done(infinity.or(fraction));
        });
        done(infinity);
      });
      f.if(high.eqz(), () => done(sign));
      normalize(f, x);
      const exponent = x.exponent;
      f.set(exponent, exponent.sub(EXPONENT_BIAS - bias));
      const signFlag = x.sign;
      const up = f.let(tools.call(roundsUp, signFlag, high, low, mask, control)) as Local;
      f.if(exponent.ltS(1), () => {
        const reachesNormal = exponent.eqz().and(up).and(high.or(mask).add(1).eqz());
        f.if(reachesNormal.eqz(), () => {
          f.if(control.and(STATUS_UE).eqz(), () => {
            f.set(flags, i32(STATUS_UE));
            done(i64(0));
          });
          shiftRightSticky(f, high, low, i32(1).sub(exponent));
          f.set(up, tools.call(roundsUp, signFlag, high, low, mask, control));
          f.if(high.and(mask).or(low).ne(0), () =>
            f.set(flags, up.shl(C1_SHIFT).or(STATUS_UE | STATUS_PE)),
          );
          // A carry into the integer bit makes the least normal number: exponent 1.
          done(high.shrU(dropped).add(up.extendU()).or(sign));
        });
      });
      f.if(high.and(mask).ne(0), () => f.set(flags, up.shl(C1_SHIFT).or(STATUS_PE)));
      f.set(high, high.and(mask.not()).add(select(up, i64(unit), i64(0))));
      f.if(high.eqz(), () => f.set(exponent, exponent.add(1)));
      f.if(exponent.geS(exponentMax), () => {
        f.if(control.and(STATUS_OE).eqz(), () => {
          f.set(flags, i32(STATUS_OE));
          done(i64(0));
        });
        const direction = f.let(control.shrU(CONTROL_ROUNDING_SHIFT).and(3));
        const away = select(signFlag, i32(1), i32(2));
        const isInfinite = f.let(direction.eqz().or(direction.eq(away)));
        f.set(flags, isInfinite.shl(C1_SHIFT).or(STATUS_OE | STATUS_PE));
        // The largest finite number lies just below infinity in these encodings.
        done(infinity.sub(isInfinite.eqz().extendU()));
      });
      const fraction = high.shl(1).shrU(64 - fractionBits);
      done(exponent.extendU().shl(fractionBits).or(fraction).or(sign));
    },
  };
}

/** The number at a slot as m32fp bits (in the low half). Flags: see `commitStore`. */
export const toFloat32 = narrowing({
  name: 'x87ToFloat32',
  fractionBits: 23,
  exponentMax: 0xff,
  bias: 127,
  signShift: 31,
});

/** The number at a slot as m64fp bits. */
export const toFloat64 = narrowing({
  name: 'x87ToFloat64',
  fractionBits: 52,
  exponentMax: 0x7ff,
  bias: 1023,
  signShift: 63,
});

/**
 * The number at a slot as a signed integer. Parameters: slot, size in bits (16, 32, 64). What does
 * not fit gives the indefinite integer and IE. Flags go to PENDING_FLAGS.
 */
export const toInteger: SharedFunction = {
  name: 'x87ToInteger',
  params: ['i32', 'i32'],
  result: 'i64',
  build(f, tools) {
    const [slot, bits] = [f.param(0), f.param(1)];
    const x = readFloat80(f, slot);
    const [high, low] = [x.significand, f.local('i64')];
    const least = f.let(i64(-1).shl(bits.sub(1).extendU()));
    const invalid = () => {
      f.store('i32', i32(PENDING_FLAGS), i32(STATUS_IE));
      f.return(least);
    };
    f.if(isUnsupported(x.exponent, high), invalid);
    f.if(x.exponent.geU(EXPONENT_BIAS + 64), invalid);
    const shift = i32(EXPONENT_BIAS + 63).sub(x.exponent);
    shiftRightSticky(f, high, low, shift);
    const up = tools.call(roundsUp, x.sign, high, low, i64(0), controlWord());
    const flags = f.let(select(low.eqz(), i32(0), up.shl(C1_SHIFT).or(STATUS_PE)));
    f.set(high, high.add(up.extendU()));
    // Magnitudes reach 2^(bits−1) for negative numbers, one less for others; a carry out of the
    // top cannot happen, as only numbers below 2^63 have anything to round.
    const limit = least.neg().sub(x.sign.eqz().extendU());
    f.if(high.gtU(limit), invalid);
    f.store('i32', i32(PENDING_FLAGS), flags);
    f.return(select(x.sign, high.neg(), high));
  },
};

/** The number at a slot rounded to an integer in place. Returns the flags to raise. */
export const roundToInteger: SharedFunction = {
  name: 'x87RoundToInteger',
  params: ['i32'],
  result: 'i32',
  build(f, tools) {
    const slot = f.param(0);
    const x = readFloat80(f, slot);
    const [high, low] = [x.significand, f.local('i64')];
    f.if(x.exponent.geU(EXPONENT_BIAS + 63).or(high.eqz()), () => f.return(i32(0)));
    shiftRightSticky(f, high, low, i32(EXPONENT_BIAS + 63).sub(x.exponent));
    const up = tools.call(roundsUp, x.sign, high, low, i64(0), controlWord());
    const flags = f.let(select(low.eqz(), i32(0), up.shl(C1_SHIFT).or(STATUS_PE)));
    f.set(high, high.add(up.extendU()));
    const shift = f.let(high.clz());
    const exponent = select(high.eqz(), i32(0), i32(EXPONENT_BIAS + 63).sub(shift.wrap()));
    f.store('i32_16', slot, exponent.or(x.sign), 8);
    f.store('i64', slot, select(high.eqz(), i64(0), high.shl(shift)));
    f.return(flags);
  },
};
