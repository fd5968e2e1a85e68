// Hot: operands from memory become 80-bit numbers; each exact. Nothing is flagged here: the caller
// does that, because other conditions have priority. Intel SDM volume 1, section 8.2 "x87 FPU Data
// Types".

import { i32, i64, select } from '../../wasm/index.ts';
import type { SharedFunction } from '../emitter.ts';
import { EXPONENT_BIAS, EXPONENT_MAX, INTEGER_BIT, SIGN_BIT, writeSlot } from './status-word.ts';

/**
 * m32fp bits to `slot`. A signaling NaN stays one. Returns 1 if the operand was denormal: the
 * 80-bit number is normal then, and DE must be flagged by whoever uses it.
 */
export const fromFloat32: SharedFunction = {
  name: 'x87FromFloat32',
  params: ['i32', 'i32'],
  result: 'i32',
  build(f) {
    const [bits, slot] = [f.param(0), f.param(1)];
    const exponent = f.let(bits.shrU(23).and(0xff));
    const fraction = f.let(bits.and(0x7f_ffff));
    const sign = f.let(bits.shrU(16).and(SIGN_BIT));
    const significand = f.local('i64');
    f.set(significand, fraction.extendU().shl(40));
    f.if(exponent.eqz(), () => {
      f.if(fraction.eqz(), () => {
        writeSlot(f, slot, i64(0), sign);
        f.return(i32(0));
      });
      const shift = f.let(significand.clz());
      const biased = i32(EXPONENT_BIAS - 126).sub(shift.wrap());
      writeSlot(f, slot, significand.shl(shift), sign.or(biased));
      f.return(i32(1));
    });
    const biased = select(exponent.eq(0xff), i32(EXPONENT_MAX), exponent.add(EXPONENT_BIAS - 127));
    writeSlot(f, slot, significand.or(i64(INTEGER_BIT)), sign.or(biased));
    f.return(i32(0));
  },
};

/** m64fp bits to `slot`, as `fromFloat32`. */
export const fromFloat64: SharedFunction = {
  name: 'x87FromFloat64',
  params: ['i64', 'i32'],
  result: 'i32',
  build(f) {
    const [bits, slot] = [f.param(0), f.param(1)];
    const exponent = f.let(bits.shrU(52).wrap().and(0x7ff));
    const sign = f.let(bits.shrU(48).wrap().and(SIGN_BIT));
    const significand = f.local('i64');
    f.set(significand, bits.shl(12).shrU(1));
    f.if(exponent.eqz(), () => {
      f.if(significand.eqz(), () => {
        writeSlot(f, slot, i64(0), sign);
        f.return(i32(0));
      });
      const shift = f.let(significand.clz());
      const biased = i32(EXPONENT_BIAS - 1022).sub(shift.wrap());
      writeSlot(f, slot, significand.shl(shift), sign.or(biased));
      f.return(i32(1));
    });
    const biased = select(
      exponent.eq(0x7ff),
      i32(EXPONENT_MAX),
      exponent.add(EXPONENT_BIAS - 1023),
    );
    writeSlot(f, slot, significand.or(i64(INTEGER_BIT)), sign.or(biased));
    f.return(i32(0));
  },
};

/** A signed integer to `slot`. Returns 0, as the others do for what is not denormal. */
export const fromInteger: SharedFunction = {
  name: 'x87FromInteger',
  params: ['i64', 'i32'],
  result: 'i32',
  build(f) {
    const [value, slot] = [f.param(0), f.param(1)];
    f.if(value.eqz(), () => {
      writeSlot(f, slot, i64(0), i32(0));
      f.return(i32(0));
    });
    const sign = f.let(value.shrU(48).wrap().and(SIGN_BIT));
    f.if(sign, () => f.set(value, value.neg()));
    const shift = f.let(value.clz());
    const biased = i32(EXPONENT_BIAS + 63).sub(shift.wrap());
    writeSlot(f, slot, value.shl(shift), sign.or(biased));
    f.return(i32(0));
  },
};
