// RCPPS and RSQRTPS. The manuals bound the relative error at 1.5 × 2^-12 and leave the bits open,
// so processors differ; these are the correctly rounded values, well inside. No flags, no
// exceptions: denormal operands count as zeros and tiny results become zeros whatever MXCSR says.
// SDM volume 2, "RCPPS", "RSQRTPS".

import { i32, op, type Value } from '../../wasm/index.ts';
import type { SharedFunction } from '../emitter.ts';
import { repeated } from './float-arithmetic.ts';
import { F32 } from './float-format.ts';

const constant = (value: bigint): Value => repeated(value, 32);
const ONE = 0x3f80_0000n;

function estimate(name: string, isRoot: boolean): SharedFunction {
  return {
    name,
    params: ['v128'],
    result: 'v128',
    build(f) {
      const value = f.local('v128');
      const signBits = op('v128.and', f.param(0), constant(F32.sign));
      const flush = (number: Value) => {
        const abs = op('v128.and', number, constant(F32.sign - 1n));
        const isTiny = op('i32x4.lt_s', abs, constant(F32.minNormal));
        return op('v128.bitselect', signBits, number, isTiny);
      };
      f.set(value, flush(f.param(0)));
      // The root of a negative zero is a negative zero, whose reciprocal is -infinity as wanted.
      const divisor = isRoot ? op('f32x4.sqrt', value) : value;
      const result = f.let(op('f32x4.div', constant(ONE), divisor));
      const flushed = f.let(flush(result));
      const isNotNumber = f.let(op('f32x4.ne', value, value));
      const quieted = op('v128.or', f.param(0), constant(F32.quiet));
      const isInvalid = op('f32x4.lt', value, op('i32x4.splat', i32(0)));
      const number = isRoot
        ? op('v128.bitselect', constant(F32.defaultNaN), flushed, isInvalid)
        : flushed;
      f.return(op('v128.bitselect', quieted, number, isNotNumber));
    },
  };
}

export const RECIPROCAL = estimate('f32.reciprocal', false);
export const RECIPROCAL_ROOT = estimate('f32.reciprocal_root', true);
