// Hot: FCOM, FUCOM and their kin, FTST, FXAM. Intel SDM volume 2, FCOM (table 3-21), FXAM (3-44).

import { i32, select } from '../../wasm/index.ts';
import type { SharedFunction } from '../emitter.ts';
import { isDenormal, isNaN80, isQuiet, isUnsupported, readFloat80 } from './float80-operands.ts';
import {
  EXPONENT_MAX,
  raiseFlags,
  STATUS_C0,
  STATUS_C1,
  STATUS_C2,
  STATUS_C3,
  STATUS_DE,
  STATUS_IE,
} from './status-word.ts';

/**
 * Set in the result of a comparison with an unmasked exception. Processors write the condition
 * codes all the same (seen on hosts; the manual says otherwise for FCOM), but pop nothing.
 */
export const COMPARISON_FAILED = 1;
const UNORDERED = STATUS_C3 | STATUS_C2 | STATUS_C0;

/**
 * Compares the numbers at two slots. Parameters: slots a and b, whether b was denormal in memory,
 * whether quiet NaNs are valid (FUCOM). Returns C3, C2 and C0 in place, and COMPARISON_FAILED.
 */
export const compare80: SharedFunction = {
  name: 'x87Compare',
  params: ['i32', 'i32', 'i32', 'i32'],
  result: 'i32',
  build(f, tools) {
    const a = readFloat80(f, f.param(0));
    const b = readFloat80(f, f.param(1));
    const [hasDenormal, allowsQuiet] = [f.param(2), f.param(3)];
    const failed = f.local('i32');
    const unsupported = f.let(
      isUnsupported(a.exponent, a.significand).or(isUnsupported(b.exponent, b.significand)),
    );
    const nanA = f.let(isNaN80(a.exponent, a.significand));
    const nanB = f.let(isNaN80(b.exponent, b.significand));
    f.if(unsupported.or(nanA).or(nanB), () => {
      const signaling = nanA
        .and(isQuiet(a.significand).eqz())
        .or(nanB.and(isQuiet(b.significand).eqz()));
      f.if(unsupported.or(signaling).or(allowsQuiet.eqz()), () => {
        f.return(tools.call(raiseFlags, i32(STATUS_IE)).ne(0).or(UNORDERED));
      });
      f.return(i32(UNORDERED));
    });
    f.if(hasDenormal.or(isDenormal(a)).or(isDenormal(b)), () => {
      f.set(failed, tools.call(raiseFlags, i32(STATUS_DE)).ne(0));
    });
    f.if(a.significand.or(b.significand).eqz(), () => f.return(failed.or(STATUS_C3)));
    f.if(a.sign.ne(b.sign), () => f.return(failed.or(select(a.sign, i32(STATUS_C0), i32(0)))));
    // A pseudo-denormal has the value of exponent 1.
    for (const x of [a, b]) {
      f.if(isDenormal(x).and(x.significand.ltS(0)), () => f.set(x.exponent, i32(1)));
    }
    f.if(a.exponent.eq(b.exponent).and(a.significand.eq(b.significand)), () =>
      f.return(failed.or(STATUS_C3)),
    );
    const isSmaller = a.exponent
      .ltU(b.exponent)
      .or(a.exponent.eq(b.exponent).and(a.significand.ltU(b.significand)));
    f.return(failed.or(select(isSmaller.xor(a.sign.ne(0)), i32(STATUS_C0), i32(0))));
  },
};

/** FXAM of the number at a slot that is not empty: C3, C2, C1 and C0 in place. */
export const examine80: SharedFunction = {
  name: 'x87Examine',
  params: ['i32'],
  result: 'i32',
  build(f) {
    const x = readFloat80(f, f.param(0));
    const sign = f.let(select(x.sign, i32(STATUS_C1), i32(0)));
    const answer = (bits: number) => () => f.return(sign.or(bits));
    f.if(isUnsupported(x.exponent, x.significand), answer(0));
    f.if(isNaN80(x.exponent, x.significand), answer(STATUS_C0));
    f.if(x.exponent.eq(EXPONENT_MAX), answer(STATUS_C2 | STATUS_C0));
    f.if(x.exponent.ne(0), answer(STATUS_C2));
    f.if(x.significand.eqz(), answer(STATUS_C3));
    f.return(sign.or(STATUS_C3 | STATUS_C2));
  },
};
