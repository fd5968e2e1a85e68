// Operations on packed integers that WebAssembly lacks or that need several of its own: each takes
// and gives Values, so that MMX (as a vector of which the low half counts) and SSE2 share them.

import {
  type FunctionBuilder,
  i32,
  laneOp,
  op,
  select,
  type Value,
  v128,
} from '../../wasm/index.ts';
import { repeated } from './float-arithmetic.ts';

/** A function of two vectors. */
export type VectorFunction = (f: FunctionBuilder, a: Value, b: Value) => Value;

/** The i64 of an MMX register as a vector; both halves hold it. */
export function fromMMX(value: Value): Value {
  return op('i64x2.splat', value);
}

export function low64(vector: Value): Value {
  return laneOp('i64x2.extract_lane', [0], vector);
}

export function high64(vector: Value): Value {
  return laneOp('i64x2.extract_lane', [1], vector);
}

/** A vector from two i64. */
export function pair64(low: Value, high: Value): Value {
  return laneOp('i64x2.replace_lane', [1], op('i64x2.splat', low), high);
}

function zeroVector(): Value {
  return repeated(0n, 64);
}

/** 32 or 64 bits of `value` in a vector of zeros. */
export function zeroExtended(value: Value): Value {
  const lanes = value.type === 'i32' ? 'i32x4' : 'i64x2';
  return laneOp(`${lanes}.replace_lane`, [0], zeroVector(), value);
}

/** The WebAssembly operation `name`, unchanged. */
export function plain(name: string): VectorFunction {
  return (_f, a, b) => op(name, a, b);
}

/** The upper 16 bits of the products of 16-bit lanes; `sign` is s or u. */
export function multiplyHigh(sign: 's' | 'u'): VectorFunction {
  return (_f, a, b) => {
    const low = op(`i32x4.extmul_low_i16x8_${sign}`, a, b);
    const high = op(`i32x4.extmul_high_i16x8_${sign}`, a, b);
    return laneOp('i8x16.shuffle', UPPER_WORDS, low, high);
  };
}

const UPPER_WORDS = [2, 3, 6, 7, 10, 11, 14, 15, 18, 19, 22, 23, 26, 27, 30, 31];

/** PMULUDQ: 64-bit products of the even 32-bit lanes. */
export const multiplyEven: VectorFunction = (_f, a, b) => {
  const even = (value: Value) => op('v128.and', value, repeated(0xffff_ffffn, 64));
  return op('i64x2.mul', even(a), even(b));
};

/** PSADBW: the sum of the absolute differences of eight bytes, in each 64-bit lane. */
export const sumOfDifferences: VectorFunction = (f, a, b) => {
  const larger = op('i8x16.max_u', a, b);
  const differences = f.let(op('i8x16.sub', larger, op('i8x16.min_u', a, b)));
  const odd = op('i16x8.shr_u', differences, i32(8));
  const even = op('v128.and', differences, repeated(0xffn, 16));
  const words = op('i16x8.add', even, odd);
  const doubles = f.let(op('i32x4.dot_i16x8_s', words, repeated(1n, 16)));
  const low = op('v128.and', doubles, repeated(0xffff_ffffn, 64));
  return op('i64x2.add', low, op('i64x2.shr_u', doubles, i32(32)));
};

/**
 * Interleaves lanes of `laneBytes` from one half of a and b. `halfBytes` is 4 for the halves of an
 * MMX register, 8 for those of an XMM register.
 */
export function unpack(
  a: Value,
  b: Value,
  laneBytes: number,
  halfBytes: number,
  isHigh: boolean,
): Value {
  const lanes: number[] = [];
  for (let at = 0; at < halfBytes; at += laneBytes) {
    for (const source of [0, 16]) {
      for (let byte = 0; byte < laneBytes; byte++) {
        lanes.push(source + (isHigh ? halfBytes : 0) + at + byte);
      }
    }
  }
  while (lanes.length < 16) lanes.push(0);
  return laneOp('i8x16.shuffle', lanes, a, b);
}

/** A shift of all lanes by a 64-bit count, which may be beyond their width. */
export function shiftLanes(
  f: FunctionBuilder,
  name: `${'i16x8' | 'i32x4' | 'i64x2'}.${'shl' | 'shr_s' | 'shr_u'}`,
  vector: Value,
  count: Value,
): Value {
  const width = name.startsWith('i16') ? 16 : name.startsWith('i32') ? 32 : 64;
  const isBeyond = f.let(count.gtU(width - 1));
  if (name.endsWith('shr_s')) {
    return op(name, vector, select(isBeyond, i32(width - 1), count.wrap()));
  }
  return select(isBeyond, zeroVector(), op(name, vector, count.wrap()));
}

const IOTA = (): Value => v128(Uint8Array.from({ length: 16 }, (_, index) => index));

/** Moves all bytes up (PSLLDQ) or down by `count` (i32), shifting zeros in. */
export function shiftBytes(vector: Value, count: Value, isLeft: boolean): Value {
  const bounded = op('i8x16.min_u', op('i8x16.splat', count), repeated(16n, 8));
  const indexes = op(isLeft ? 'i8x16.sub' : 'i8x16.add', IOTA(), bounded);
  return op('i8x16.swizzle', vector, indexes);
}

/** Chooses 32-bit lanes by the two-bit fields of `order` (i32): PSHUFD. */
export function shuffleDoubles(vector: Value, order: Value): Value {
  return op('i8x16.swizzle', vector, doubleIndexes(order));
}

/** Byte indexes of the four 32-bit lanes that `order` names. */
export function doubleIndexes(order: Value): Value {
  let indexes = zeroVector();
  for (let lane = 0; lane < 4; lane++) {
    const bytes = order
      .shrU(lane * 2)
      .and(3)
      .mul(0x04040404)
      .add(0x03020100);
    indexes = laneOp('i32x4.replace_lane', [lane], indexes, bytes);
  }
  return indexes;
}

/** Chooses 16-bit lanes within the low (PSHUFLW, PSHUFW) or the high half (PSHUFHW). */
export function shuffleWords(vector: Value, order: Value, isHigh: boolean): Value {
  const base = isHigh ? 0x0908 : 0x0100;
  let indexes = IOTA();
  for (let lane = 0; lane < 4; lane++) {
    const bytes = order
      .shrU(lane * 2)
      .and(3)
      .mul(0x0202)
      .add(base);
    indexes = laneOp('i16x8.replace_lane', [lane + (isHigh ? 4 : 0)], indexes, bytes);
  }
  return op('i8x16.swizzle', vector, indexes);
}

const WORD_NUMBERS = (): Value =>
  v128(Uint8Array.from({ length: 16 }, (_, index) => (index & 1 ? 0 : index >> 1)));

/** Replaces 16-bit lane `index` (i32, 0–7). */
export function insertWord(vector: Value, word: Value, index: Value): Value {
  const mask = op('i16x8.eq', WORD_NUMBERS(), op('i16x8.splat', index));
  return op('v128.bitselect', op('i16x8.splat', word), vector, mask);
}

/** 16-bit lane `index` (i32, 0–3) of an i64, as i32. */
export function extractWord(value: Value, index: Value): Value {
  return value.shrU(index.shl(4).extendU()).wrap().and(0xffff);
}

/** One of two i64. */
export function chooseHalf(vector: Value, isHigh: Value): Value {
  return select(isHigh, high64(vector), low64(vector));
}
