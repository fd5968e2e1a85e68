// The operations of WebAssembly that take and give values: one row each, with encoding and types.
// WebAssembly Core Specification, sections 5.4.5 "Numeric Instructions", 5.4.6
// "Vector Instructions".

/** A type of value; `V` in a signature below is v128, `i` i32, `I` i64, `f` f32, `F` f64. */
export type ValueType = 'i32' | 'i64' | 'f32' | 'f64' | 'v128';

/** Encoding: plain opcode below 0x100; 0xfc00 + n and 0xfd000 + n for the prefixed ones. */
export interface Operation {
  readonly name: string;
  readonly code: number;
  readonly params: readonly ValueType[];
  readonly result: ValueType;
  /** Count of lane-index bytes that follow (0, 1, or 16 for a shuffle). */
  readonly laneBytes: number;
  /** The bits of an i32 result that may be set: 1 for comparisons, else -1. */
  readonly resultBits: number;
}

const COMPARISON = /\.(eqz?|ne|[lg][te](_[su])?)$/;

const TYPE_OF: Readonly<Record<string, ValueType>> = {
  i: 'i32',
  I: 'i64',
  f: 'f32',
  F: 'f64',
  V: 'v128',
};

export const PREFIX_FC = 0xfc00;
export const PREFIX_FD = 0xfd000;

const OPERATIONS = new Map<string, Operation>();

function add(signature: string, code: number, name: string, laneBytes = 0): void {
  const [params, result] = signature.split('>') as [string, string];
  OPERATIONS.set(name, {
    name,
    code,
    params: [...params].map((letter) => TYPE_OF[letter]!),
    result: TYPE_OF[result]!,
    laneBytes,
    resultBits: COMPARISON.test(name) ? 1 : -1,
  });
}

/** Names that stand at consecutive codes; `-` skips one. */
function addRun(signature: string, firstCode: number, prefix: string, names: string): void {
  names
    .trim()
    .split(/\s+/)
    .forEach((name, index) => {
      if (name !== '-') add(signature, firstCode + index, prefix + name);
    });
}

add('i>i', 0x45, 'i32.eqz');
addRun('ii>i', 0x46, 'i32.', 'eq ne lt_s lt_u gt_s gt_u le_s le_u ge_s ge_u');
add('I>i', 0x50, 'i64.eqz');
addRun('II>i', 0x51, 'i64.', 'eq ne lt_s lt_u gt_s gt_u le_s le_u ge_s ge_u');
addRun('ff>i', 0x5b, 'f32.', 'eq ne lt gt le ge');
addRun('FF>i', 0x61, 'f64.', 'eq ne lt gt le ge');
addRun('i>i', 0x67, 'i32.', 'clz ctz popcnt');
addRun(
  'ii>i',
  0x6a,
  'i32.',
  'add sub mul div_s div_u rem_s rem_u and or xor shl shr_s shr_u rotl rotr',
);
addRun('I>I', 0x79, 'i64.', 'clz ctz popcnt');
addRun(
  'II>I',
  0x7c,
  'i64.',
  'add sub mul div_s div_u rem_s rem_u and or xor shl shr_s shr_u rotl rotr',
);
addRun('f>f', 0x8b, 'f32.', 'abs neg ceil floor trunc nearest sqrt');
addRun('ff>f', 0x92, 'f32.', 'add sub mul div min max copysign');
addRun('F>F', 0x99, 'f64.', 'abs neg ceil floor trunc nearest sqrt');
addRun('FF>F', 0xa0, 'f64.', 'add sub mul div min max copysign');
add('I>i', 0xa7, 'i32.wrap_i64');
addRun('f>i', 0xa8, 'i32.', 'trunc_f32_s trunc_f32_u');
addRun('F>i', 0xaa, 'i32.', 'trunc_f64_s trunc_f64_u');
addRun('i>I', 0xac, 'i64.', 'extend_i32_s extend_i32_u');
addRun('f>I', 0xae, 'i64.', 'trunc_f32_s trunc_f32_u');
addRun('F>I', 0xb0, 'i64.', 'trunc_f64_s trunc_f64_u');
addRun('i>f', 0xb2, 'f32.', 'convert_i32_s convert_i32_u');
addRun('I>f', 0xb4, 'f32.', 'convert_i64_s convert_i64_u');
add('F>f', 0xb6, 'f32.demote_f64');
addRun('i>F', 0xb7, 'f64.', 'convert_i32_s convert_i32_u');
addRun('I>F', 0xb9, 'f64.', 'convert_i64_s convert_i64_u');
add('f>F', 0xbb, 'f64.promote_f32');
add('f>i', 0xbc, 'i32.reinterpret_f32');
add('F>I', 0xbd, 'i64.reinterpret_f64');
add('i>f', 0xbe, 'f32.reinterpret_i32');
add('I>F', 0xbf, 'f64.reinterpret_i64');
addRun('i>i', 0xc0, 'i32.', 'extend8_s extend16_s');
addRun('I>I', 0xc2, 'i64.', 'extend8_s extend16_s extend32_s');
addRun('f>i', PREFIX_FC, 'i32.', 'trunc_sat_f32_s trunc_sat_f32_u');
addRun('F>i', PREFIX_FC + 2, 'i32.', 'trunc_sat_f64_s trunc_sat_f64_u');
addRun('f>I', PREFIX_FC + 4, 'i64.', 'trunc_sat_f32_s trunc_sat_f32_u');
addRun('F>I', PREFIX_FC + 6, 'i64.', 'trunc_sat_f64_s trunc_sat_f64_u');

add('VV>V', PREFIX_FD + 13, 'i8x16.shuffle', 16);
add('VV>V', PREFIX_FD + 14, 'i8x16.swizzle');
add('i>V', PREFIX_FD + 15, 'i8x16.splat');
add('i>V', PREFIX_FD + 16, 'i16x8.splat');
add('i>V', PREFIX_FD + 17, 'i32x4.splat');
add('I>V', PREFIX_FD + 18, 'i64x2.splat');
add('f>V', PREFIX_FD + 19, 'f32x4.splat');
add('F>V', PREFIX_FD + 20, 'f64x2.splat');
add('V>i', PREFIX_FD + 21, 'i8x16.extract_lane_s', 1);
add('V>i', PREFIX_FD + 22, 'i8x16.extract_lane_u', 1);
add('Vi>V', PREFIX_FD + 23, 'i8x16.replace_lane', 1);
add('V>i', PREFIX_FD + 24, 'i16x8.extract_lane_s', 1);
add('V>i', PREFIX_FD + 25, 'i16x8.extract_lane_u', 1);
add('Vi>V', PREFIX_FD + 26, 'i16x8.replace_lane', 1);
add('V>i', PREFIX_FD + 27, 'i32x4.extract_lane', 1);
add('Vi>V', PREFIX_FD + 28, 'i32x4.replace_lane', 1);
add('V>I', PREFIX_FD + 29, 'i64x2.extract_lane', 1);
add('VI>V', PREFIX_FD + 30, 'i64x2.replace_lane', 1);
add('V>f', PREFIX_FD + 31, 'f32x4.extract_lane', 1);
add('Vf>V', PREFIX_FD + 32, 'f32x4.replace_lane', 1);
add('V>F', PREFIX_FD + 33, 'f64x2.extract_lane', 1);
add('VF>V', PREFIX_FD + 34, 'f64x2.replace_lane', 1);
addRun('VV>V', PREFIX_FD + 35, 'i8x16.', 'eq ne lt_s lt_u gt_s gt_u le_s le_u ge_s ge_u');
addRun('VV>V', PREFIX_FD + 45, 'i16x8.', 'eq ne lt_s lt_u gt_s gt_u le_s le_u ge_s ge_u');
addRun('VV>V', PREFIX_FD + 55, 'i32x4.', 'eq ne lt_s lt_u gt_s gt_u le_s le_u ge_s ge_u');
addRun('VV>V', PREFIX_FD + 65, 'f32x4.', 'eq ne lt gt le ge');
addRun('VV>V', PREFIX_FD + 71, 'f64x2.', 'eq ne lt gt le ge');
add('V>V', PREFIX_FD + 77, 'v128.not');
addRun('VV>V', PREFIX_FD + 78, 'v128.', 'and andnot or xor');
add('VVV>V', PREFIX_FD + 82, 'v128.bitselect');
add('V>i', PREFIX_FD + 83, 'v128.any_true');
add('V>V', PREFIX_FD + 94, 'f32x4.demote_f64x2_zero');
add('V>V', PREFIX_FD + 95, 'f64x2.promote_low_f32x4');
addRun('V>V', PREFIX_FD + 96, 'i8x16.', 'abs neg popcnt');
addRun('V>i', PREFIX_FD + 99, 'i8x16.', 'all_true bitmask');
addRun('VV>V', PREFIX_FD + 101, 'i8x16.', 'narrow_i16x8_s narrow_i16x8_u');
addRun('Vi>V', PREFIX_FD + 107, 'i8x16.', 'shl shr_s shr_u');
addRun(
  'VV>V',
  PREFIX_FD + 110,
  'i8x16.',
  'add add_sat_s add_sat_u sub sub_sat_s sub_sat_u - - min_s min_u max_s max_u - avgr_u',
);
addRun('V>V', PREFIX_FD + 128, 'i16x8.', 'abs neg');
add('VV>V', PREFIX_FD + 130, 'i16x8.q15mulr_sat_s');
addRun('V>i', PREFIX_FD + 131, 'i16x8.', 'all_true bitmask');
addRun('VV>V', PREFIX_FD + 133, 'i16x8.', 'narrow_i32x4_s narrow_i32x4_u');
addRun(
  'V>V',
  PREFIX_FD + 135,
  'i16x8.',
  'extend_low_i8x16_s extend_high_i8x16_s extend_low_i8x16_u extend_high_i8x16_u',
);
addRun('Vi>V', PREFIX_FD + 139, 'i16x8.', 'shl shr_s shr_u');
addRun(
  'VV>V',
  PREFIX_FD + 142,
  'i16x8.',
  'add add_sat_s add_sat_u sub sub_sat_s sub_sat_u - mul min_s min_u max_s max_u - avgr_u',
);
addRun(
  'VV>V',
  PREFIX_FD + 156,
  'i16x8.',
  'extmul_low_i8x16_s extmul_high_i8x16_s extmul_low_i8x16_u extmul_high_i8x16_u',
);
addRun('V>V', PREFIX_FD + 160, 'i32x4.', 'abs neg');
addRun('V>i', PREFIX_FD + 163, 'i32x4.', 'all_true bitmask');
addRun(
  'V>V',
  PREFIX_FD + 167,
  'i32x4.',
  'extend_low_i16x8_s extend_high_i16x8_s extend_low_i16x8_u extend_high_i16x8_u',
);
addRun('Vi>V', PREFIX_FD + 171, 'i32x4.', 'shl shr_s shr_u');
addRun(
  'VV>V',
  PREFIX_FD + 174,
  'i32x4.',
  'add - - sub - - - mul min_s min_u max_s max_u dot_i16x8_s',
);
addRun(
  'VV>V',
  PREFIX_FD + 188,
  'i32x4.',
  'extmul_low_i16x8_s extmul_high_i16x8_s extmul_low_i16x8_u extmul_high_i16x8_u',
);
addRun('V>V', PREFIX_FD + 192, 'i64x2.', 'abs neg');
addRun('V>i', PREFIX_FD + 195, 'i64x2.', 'all_true bitmask');
addRun('Vi>V', PREFIX_FD + 203, 'i64x2.', 'shl shr_s shr_u');
addRun('VV>V', PREFIX_FD + 206, 'i64x2.', 'add - - sub - - - mul eq ne lt_s gt_s le_s ge_s');
addRun(
  'VV>V',
  PREFIX_FD + 220,
  'i64x2.',
  'extmul_low_i32x4_s extmul_high_i32x4_s extmul_low_i32x4_u extmul_high_i32x4_u',
);
addRun('V>V', PREFIX_FD + 224, 'f32x4.', 'abs neg - sqrt');
addRun('VV>V', PREFIX_FD + 228, 'f32x4.', 'add sub mul div min max pmin pmax');
addRun('V>V', PREFIX_FD + 236, 'f64x2.', 'abs neg - sqrt');
addRun('VV>V', PREFIX_FD + 240, 'f64x2.', 'add sub mul div min max pmin pmax');
addRun(
  'V>V',
  PREFIX_FD + 248,
  '',
  'i32x4.trunc_sat_f32x4_s i32x4.trunc_sat_f32x4_u f32x4.convert_i32x4_s f32x4.convert_i32x4_u',
);
addRun(
  'V>V',
  PREFIX_FD + 252,
  '',
  `i32x4.trunc_sat_f64x2_s_zero i32x4.trunc_sat_f64x2_u_zero
   f64x2.convert_low_i32x4_s f64x2.convert_low_i32x4_u`,
);

/** @throws {RangeError} if there is no operation of that name */
export function operation(name: string): Operation {
  const found = OPERATIONS.get(name);
  if (!found) throw new RangeError(`Cannot emit "${name}" as it is not a known operation`);
  return found;
}

/** Every row, for tests that exercise the whole table. */
export function allOperations(): Operation[] {
  return [...OPERATIONS.values()];
}

/** Loads and stores: name → opcode, type of the value, natural alignment as a power of two. */
export interface MemoryOperation {
  readonly code: number;
  readonly type: ValueType;
  readonly alignment: number;
}

export const LOADS = {
  i32: { code: 0x28, type: 'i32', alignment: 2 },
  i64: { code: 0x29, type: 'i64', alignment: 3 },
  f32: { code: 0x2a, type: 'f32', alignment: 2 },
  f64: { code: 0x2b, type: 'f64', alignment: 3 },
  i32_8s: { code: 0x2c, type: 'i32', alignment: 0 },
  i32_8u: { code: 0x2d, type: 'i32', alignment: 0 },
  i32_16s: { code: 0x2e, type: 'i32', alignment: 1 },
  i32_16u: { code: 0x2f, type: 'i32', alignment: 1 },
  i64_32s: { code: 0x34, type: 'i64', alignment: 2 },
  i64_32u: { code: 0x35, type: 'i64', alignment: 2 },
  v128: { code: PREFIX_FD, type: 'v128', alignment: 4 },
} as const satisfies Record<string, MemoryOperation>;

export const STORES = {
  i32: { code: 0x36, type: 'i32', alignment: 2 },
  i64: { code: 0x37, type: 'i64', alignment: 3 },
  f32: { code: 0x38, type: 'f32', alignment: 2 },
  f64: { code: 0x39, type: 'f64', alignment: 3 },
  i32_8: { code: 0x3a, type: 'i32', alignment: 0 },
  i32_16: { code: 0x3b, type: 'i32', alignment: 1 },
  i64_32: { code: 0x3e, type: 'i64', alignment: 2 },
  v128: { code: PREFIX_FD + 11, type: 'v128', alignment: 4 },
} as const satisfies Record<string, MemoryOperation>;

/** Names of loads, such as `i32_16u`: type, width if narrower, sign. */
export type LoadName = keyof typeof LOADS;
/** Names of stores: as for loads, without a sign. */
export type StoreName = keyof typeof STORES;
