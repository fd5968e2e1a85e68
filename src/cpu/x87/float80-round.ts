// Hot: ends every x87 arithmetic instruction. Rounds an exact or sticky 128-bit significand to the
// precision and direction of the control word, with overflow and underflow in both responses.
// Intel SDM volume 1, sections 4.8.4 "Rounding", 8.5.4 "Numeric Overflow", 8.5.5 "Numeric
// Underflow".

import {
  type FunctionBuilder,
  i32,
  i64,
  type Local,
  select,
  type Value,
} from '../../wasm/index.ts';
import type { SharedFunction } from '../emitter.ts';
import { X87_STATUS } from '../state-layout.ts';
import {
  CONTROL_ROUNDING_SHIFT,
  clearC1,
  controlWord,
  EXPONENT_MAX,
  INTEGER_BIT,
  raiseFlags,
  STATUS_B,
  STATUS_C1,
  STATUS_ES,
  STATUS_OE,
  STATUS_PE,
  STATUS_UE,
  statusWord,
  writeSlot,
} from './status-word.ts';

/** What an unmasked overflow subtracts from the exponent, and an underflow adds. */
export const EXPONENT_ADJUSTMENT = 0x6000;
const C1_SHIFT = 9;
/** Significand bits that 24- and 53-bit precision drop. */
const DROPPED_BY_SINGLE = 0xff_ffff_ffffn;
const DROPPED_BY_DOUBLE = 0x7ffn;

/**
 * Whether `high:low` grows in magnitude when the bits `mask` of high, and low, are rounded away.
 * Parameters: sign (0 or not), high, low, mask, control word.
 */
export const roundsUp: SharedFunction = {
  name: 'x87RoundsUp',
  params: ['i32', 'i64', 'i64', 'i64', 'i32'],
  result: 'i32',
  build(f) {
    const [sign, high, low] = [f.param(0), f.param(1), f.param(2)];
    const [mask, control] = [f.param(3), f.param(4)];
    const rest = f.let(high.and(mask));
    f.if(rest.or(low).eqz(), () => f.return(i32(0)));
    const direction = f.let(control.shrU(CONTROL_ROUNDING_SHIFT).and(3));
    f.if(direction.eqz(), () => {
      f.if(mask.eqz(), () => f.return(nearestUp(high, low)));
      const half = f.let(mask.shrU(1).add(1));
      const isOdd = high.and(mask.add(1)).ne(0);
      f.return(rest.gtU(half).or(rest.eq(half).and(low.ne(0).or(isOdd))));
    });
    const isNegative = sign.ne(0);
    f.return(direction.eq(1).and(isNegative).or(direction.eq(2).and(sign.eqz())));
  },
};

/** To nearest, ties to even, at the unit of `high`. */
function nearestUp(high: Value, low: Value): Value {
  return low.ltS(0).and(low.shl(1).ne(0).or(high.wrap().and(1)));
}

/** Shifts `high:low` right by `count` ≥ 0; what falls out is remembered in the lowest bit. */
export function shiftRightSticky(f: FunctionBuilder, high: Local, low: Local, count: Value): void {
  // (x << 1) << (63 - n) is x << (64 - n), and zero for n = 0.
  const lostBelow = (value: Value, n: Value) => value.shl(1).shl(i64(63).sub(n));
  f.if(
    count.geU(64),
    () => {
      f.if(
        count.geU(128),
        () => f.set(low, high.or(low).ne(0).extendU()),
        () => {
          const n = f.let(count.extendU().sub(64));
          const sticky = f.let(low.or(lostBelow(high, n)).ne(0).extendU());
          f.set(low, high.shrU(n).or(sticky));
        },
      );
      f.set(high, i64(0));
    },
    () => {
      const n = f.let(count.extendU());
      const sticky = f.let(lostBelow(low, n).ne(0).extendU());
      f.set(low, low.shrU(n).or(lostBelow(high, n)).or(sticky));
      f.set(high, high.shrU(n));
    },
  );
}

/**
 * Rounds and stores. Parameters: sign (0 or 0x8000), biased exponent (any), high with its top bit
 * set, low (its lowest bit may stand for all below), slot. Sets PE, OE, UE and C1.
 */
export const round80: SharedFunction = {
  name: 'x87Round',
  params: ['i32', 'i32', 'i64', 'i64', 'i32'],
  build(f, tools) {
    const [sign, exponent, high] = [f.param(0), f.param(1), f.param(2)];
    const [low, slot] = [f.param(3), f.param(4)];
    const control = f.let(controlWord());
    const isOrdinary = control
      .and(0xf00)
      .eq(0x300)
      .and(exponent.sub(1).ltU(EXPONENT_MAX - 2));
    f.if(isOrdinary.eqz(), () => {
      tools.call(roundSlow, sign, exponent, high, low, slot);
      f.return();
    });
    const up = f.let(nearestUp(high, low));
    f.set(high, high.add(up.extendU()));
    f.if(high.eqz(), () => {
      f.set(high, i64(INTEGER_BIT));
      f.set(exponent, exponent.add(1));
    });
    writeSlot(f, slot, high, sign.or(exponent));
    const flags = f.let(select(low.eqz(), i32(0), up.shl(C1_SHIFT).or(STATUS_PE)));
    const status = f.let(statusWord().and(~STATUS_C1).or(flags));
    f.store('i32', i32(0), status, X87_STATUS);
    f.if(flags.and(control.not()).and(STATUS_PE), () => {
      f.store('i32', i32(0), status.or(STATUS_ES | STATUS_B), X87_STATUS);
    });
  },
};

/** `round80` in every precision, direction and range. */
const roundSlow: SharedFunction = {
  name: 'x87RoundSlow',
  params: ['i32', 'i32', 'i64', 'i64', 'i32'],
  build(f, tools) {
    const [sign, exponent, high] = [f.param(0), f.param(1), f.param(2)];
    const [low, slot] = [f.param(3), f.param(4)];
    const control = f.let(controlWord());
    const precision = f.let(control.shrU(8).and(3));
    const single = i64(DROPPED_BY_SINGLE);
    const double = select(precision.eq(2), i64(DROPPED_BY_DOUBLE), i64(0));
    const mask = f.let(select(precision.eqz(), single, double));
    const up = f.local('i32');
    const flags = f.local('i32');
    const round = () => {
      f.set(up, tools.call(roundsUp, sign, high, low, mask, control));
      const isInexact = high.and(mask).or(low).ne(0);
      f.if(isInexact, () => f.set(flags, flags.or(up.shl(C1_SHIFT).or(STATUS_PE))));
      const increment = select(up, mask.add(1), i64(0));
      f.set(high, high.and(mask.not()).add(increment));
    };
    clearC1(f);
    f.if(exponent.ltS(1), () => {
      // Tiny after rounding as if the exponent had no end (section 4.9.1.5).
      const wouldUp = tools.call(roundsUp, sign, high, low, mask, control);
      const reachesNormal = exponent.eqz().and(wouldUp).and(high.or(mask).add(1).eqz());
      f.if(reachesNormal.eqz(), () => {
        f.if(control.and(STATUS_UE), () => {
          shiftRightSticky(f, high, low, i32(1).sub(exponent));
          round();
          writeSlot(f, slot, high, sign.or(high.shrU(63).wrap()));
          f.if(flags, () => {
            tools.call(raiseFlags, flags.or(STATUS_UE));
          });
          f.return();
        });
        f.set(flags, i32(STATUS_UE));
        f.set(exponent, exponent.add(EXPONENT_ADJUSTMENT));
      });
    });
    round();
    f.if(high.eqz(), () => {
      f.set(high, i64(INTEGER_BIT));
      f.set(exponent, exponent.add(1));
    });
    f.if(exponent.geS(EXPONENT_MAX), () => {
      f.if(
        control.and(STATUS_OE),
        () => {
          const direction = f.let(control.shrU(CONTROL_ROUNDING_SHIFT).and(3));
          const away = select(sign, i32(1), i32(2));
          const isInfinite = f.let(direction.eqz().or(direction.eq(away)));
          f.set(high, select(isInfinite, i64(INTEGER_BIT), mask.not()));
          f.set(exponent, isInfinite.add(EXPONENT_MAX - 1));
          f.set(flags, isInfinite.shl(C1_SHIFT).or(STATUS_OE | STATUS_PE));
        },
        () => {
          f.set(flags, flags.or(STATUS_OE));
          f.set(exponent, exponent.sub(EXPONENT_ADJUSTMENT));
        },
      );
    });
    writeSlot(f, slot, high, sign.or(exponent));
    tools.call(raiseFlags, flags);
  },
};
