// Addition, subtraction, multiplication, division and square root of SSE: WebAssembly's own
// operation where that is surely the same, else the soft-float function of each lane.
//
// Surely the same means: MXCSR rounds to nearest, masks everything, and has neither DAZ nor FTZ; no
// operand is denormal, and the result is a normal number above the smallest one, or a zero that is
// exact. Then no operand was a NaN or infinite, or it cannot have mattered, and PE is the only flag
// that can have been raised. It is sticky: either it is set already, or the result must be exact.

import {
  constantOf,
  type FunctionBuilder,
  i32,
  laneOp,
  op,
  select,
  type Value,
  v128,
} from '../../wasm/index.ts';
import type { SharedFunction, SharedTools } from '../emitter.ts';
import { FINISH } from './float-exceptions.ts';
import { F32, F64, type FloatFormat, loadMXCSR } from './float-format.ts';
import { MXCSR_PE, MXCSR_PLAIN, MXCSR_PLAIN_MASK } from './mxcsr.ts';
import { SOFT_F32, SOFT_F64, type SoftFloat } from './soft-float.ts';

type ArithmeticName = 'add' | 'sub' | 'mul' | 'div' | 'sqrt';
export const ARITHMETIC: readonly ArithmeticName[] = ['add', 'sub', 'mul', 'div', 'sqrt'];

/** One operation in its four forms; `sqrt` takes one value, the others two. */
interface FloatOperation {
  readonly ps: SharedFunction;
  readonly pd: SharedFunction;
  /** On i32, and on i64. */
  readonly ss: SharedFunction;
  readonly sd: SharedFunction;
}

/** A 16-byte constant that repeats the low `bits` of `value`. */
export function repeated(value: bigint, bits: 8 | 16 | 32 | 64): Value {
  let all = 0n;
  for (let at = 0; at < 128; at += bits) all |= BigInt.asUintN(bits, value) << BigInt(at);
  return v128(
    Uint8Array.from({ length: 16 }, (_, index) => Number((all >> BigInt(index * 8)) & 255n)),
  );
}

const zeros = (): Value => repeated(0n, 64);

/** Bits per lane, shape of the integer lanes, and their count. */
export function lanesOf(fmt: FloatFormat): { bits: 32 | 64; shape: string; count: number } {
  return fmt === F32
    ? { bits: 32, shape: 'i32x4', count: 4 }
    : { bits: 64, shape: 'i64x2', count: 2 };
}

/** 1 if every operand and the result are such that the native result is right. */
function isPlainPacked(
  f: FunctionBuilder,
  fmt: FloatFormat,
  name: ArithmeticName,
  args: readonly Value[],
  result: Value,
): Value {
  const { bits, shape } = lanesOf(fmt);
  const constant = (value: bigint) => repeated(value, bits);
  const zero = constant(0n);
  const abs = (value: Value) => f.let(op('v128.and', value, constant(fmt.sign - 1n)));
  const isZero = (value: Value) => op(`${shape}.eq`, value, zero);
  const absArgs = args.map(abs);
  const absResult = abs(result);
  const isNormal = op(
    'v128.and',
    op(`${shape}.gt_s`, absResult, constant(fmt.minNormal)),
    op(`${shape}.lt_s`, absResult, constant(fmt.infinity)),
  );
  let isExactZero = isZero(absResult);
  if (name === 'mul') {
    const either = op('v128.or', isZero(absArgs[0]!), isZero(absArgs[1]!));
    isExactZero = op('v128.and', isExactZero, either);
  } else if (name === 'div') {
    isExactZero = op('v128.and', isExactZero, isZero(absArgs[0]!));
  }
  let isPlain = op('v128.or', isNormal, isExactZero);
  for (const value of absArgs) {
    const isUsual = op(`${shape}.gt_s`, value, constant(fmt.minNormal - 1n));
    isPlain = op('v128.and', isPlain, op('v128.or', isUsual, isZero(value)));
  }
  return op(`${shape}.all_true`, isPlain);
}

/** Returns `result` from the function if MXCSR and the operands allow that. */
function returnNative(
  f: FunctionBuilder,
  result: Value,
  isPlain: () => Value,
  isExact: () => Value,
): void {
  f.if(isPlain(), () => {
    f.if(loadMXCSR().and(MXCSR_PE), () => f.return(result));
    f.if(isExact(), () => f.return(result));
  });
}

/** What is lost when `sum` is a + b rounded to nearest: Knuth, TAOCP 2, 4.2.2, theorem B. */
function errorOfSum(f: FunctionBuilder, type: string, a: Value, b: Value, sum: Value): Value {
  const bPart = f.let(op(`${type}.sub`, sum, a));
  const aPart = op(`${type}.sub`, sum, bPart);
  return op(`${type}.add`, op(`${type}.sub`, a, aPart), op(`${type}.sub`, b, bPart));
}

function isPlainMXCSR(): Value {
  return loadMXCSR().and(MXCSR_PLAIN_MASK).eq(MXCSR_PLAIN);
}

function buildPacked(
  f: FunctionBuilder,
  tools: SharedTools,
  fmt: FloatFormat,
  name: ArithmeticName,
  soft: SharedFunction,
): void {
  const { shape, count } = lanesOf(fmt);
  const floats = fmt === F32 ? 'f32x4' : 'f64x2';
  const args = soft.params.map((_, index) => f.param(index));
  f.if(isPlainMXCSR(), () => {
    const result = f.let(op(`${floats}.${name}`, ...args));
    const isPlain = () => isPlainPacked(f, fmt, name, args, result);
    returnNative(f, result, isPlain, () => {
      if (name !== 'add' && name !== 'sub') return i32(0); // The others will set PE soon enough.
      const b = name === 'add' ? args[1]! : op(`${floats}.neg`, args[1]!);
      const error = errorOfSum(f, floats, args[0]!, b, result);
      return op(`${shape}.all_true`, op(`${floats}.eq`, error, zeros()));
    });
  });
  const result = f.local('v128');
  for (let lane = 0; lane < count; lane++) {
    const inputs = args.map((arg) => laneOp(`${shape}.extract_lane`, [lane], arg).extendU());
    const bits = tools.call(soft, ...inputs);
    const value = fmt === F32 ? bits.wrap() : bits;
    f.set(result, laneOp(`${shape}.replace_lane`, [lane], result, value));
  }
  tools.call(FINISH);
  f.return(result);
}

function buildScalar(
  f: FunctionBuilder,
  tools: SharedTools,
  fmt: FloatFormat,
  name: ArithmeticName,
  soft: SharedFunction,
): void {
  const args = soft.params.map((_, index) => f.param(index));
  const integer = fmt === F32 ? 'i32' : 'i64';
  const toFloat = (bits: Value) => op(`${fmt.name}.reinterpret_${integer}`, bits);
  f.if(isPlainMXCSR(), () => {
    const native = f.let(op(`${fmt.name}.${name}`, ...args.map(toFloat)));
    const result = f.let(op(`${integer}.reinterpret_${fmt.name}`, native));
    const isPlain = () => isPlainScalar(f, fmt, name, args, result);
    returnNative(f, result, isPlain, () => isExactScalar(f, fmt, name, args, result));
  });
  const bits = f.let(tools.call(soft, ...args.map((arg) => arg.extendU())));
  tools.call(FINISH);
  f.return(fmt === F32 ? bits.wrap() : bits);
}

function isPlainScalar(
  f: FunctionBuilder,
  fmt: FloatFormat,
  name: ArithmeticName,
  args: readonly Value[],
  result: Value,
): Value {
  const constant = (value: bigint) => constantOf(result.type, fmt === F32 ? Number(value) : value);
  const abs = (value: Value) => f.let(value.and(constant(fmt.sign - 1n)));
  const absArgs = args.map(abs);
  const absResult = abs(result);
  const first = constant(fmt.minNormal + 1n);
  const isNormal = absResult.sub(first).ltU(constant(fmt.infinity - fmt.minNormal - 1n));
  let isExactZero = absResult.eqz();
  if (name === 'mul') isExactZero = isExactZero.and(absArgs[0]!.eqz().or(absArgs[1]!.eqz()));
  else if (name === 'div') isExactZero = isExactZero.and(absArgs[0]!.eqz());
  const hasDenormal = absArgs
    .map((value) => value.sub(1).ltU(constant(fmt.minNormal - 1n)))
    .reduce((all, one) => all.or(one));
  return isNormal.or(isExactZero).and(hasDenormal.eqz());
}

/** 1 if the result, normal or an exact zero, is exact; 0 may also mean that it is hard to say. */
function isExactScalar(
  f: FunctionBuilder,
  fmt: FloatFormat,
  name: ArithmeticName,
  args: readonly Value[],
  result: Value,
): Value {
  const type = fmt.name;
  const integer = fmt === F32 ? 'i32' : 'i64';
  const float = (bits: Value) => op(`${type}.reinterpret_${integer}`, bits);
  const [a, b] = [args[0]!, args[1] ?? args[0]!];
  if (name === 'add' || name === 'sub') {
    const other = name === 'add' ? float(b) : op(`${type}.neg`, float(b));
    const error = f.let(errorOfSum(f, type, float(a), f.let(other), float(result)));
    return op(`${integer}.reinterpret_${type}`, error).shl(1).eqz();
  }
  // A product is exact if both significands together have no more bits than one can hold.
  const leading = constantOf(a.type, fmt === F32 ? Number(fmt.minNormal) : fmt.minNormal);
  const zeroBits = (bits: Value) => bits.or(leading).ctz().wrap();
  const fits = (x: Value, y: Value) => zeroBits(x).add(zeroBits(y)).gtU(fmt.fractionBits);
  if (name === 'mul') return fits(a, b);
  const [divisor, dividend] = name === 'div' ? [b, a] : [result, a];
  const product = op(`${type}.mul`, float(result), float(divisor));
  return fits(result, divisor).and(op(`${type}.eq`, product, float(dividend)));
}

/**
 * The native result of a scalar operation, and whether it is surely right and every flag that it
 * raises is set already: the quick way, for rows to have before a call.
 */
export function nativeScalar(
  f: FunctionBuilder,
  width: 'ss' | 'sd',
  name: ArithmeticName,
  args: readonly Value[],
): { readonly result: Value; readonly isSure: Value } {
  const fmt = width === 'ss' ? F32 : F64;
  const integer = width === 'ss' ? 'i32' : 'i64';
  const floats = args.map((bits) => op(`${fmt.name}.reinterpret_${integer}`, bits));
  const native = op(`${fmt.name}.${name}`, ...floats);
  const result = f.let(op(`${integer}.reinterpret_${fmt.name}`, native));
  // A zero that is plain is exact.
  const hasFlags = loadMXCSR().and(MXCSR_PE).or(result.shl(1).eqz());
  const isPlain = isPlainScalar(f, fmt, name, args, result);
  return { result, isSure: select(hasFlags, isPlainMXCSR().and(isPlain), i32(0)) };
}

function makeOperation(name: ArithmeticName): FloatOperation {
  const make = (fmt: FloatFormat, soft: SoftFloat, isPacked: boolean): SharedFunction => {
    const type = isPacked ? 'v128' : fmt === F32 ? 'i32' : 'i64';
    const build = isPacked ? buildPacked : buildScalar;
    return {
      name: `${fmt.name}.${isPacked ? 'packed' : 'scalar'}_${name}`,
      params: soft[name].params.map(() => type),
      result: type,
      build: (f, tools) => build(f, tools, fmt, name, soft[name]),
    };
  };
  return {
    ps: make(F32, SOFT_F32, true),
    pd: make(F64, SOFT_F64, true),
    ss: make(F32, SOFT_F32, false),
    sd: make(F64, SOFT_F64, false),
  };
}

/** The arithmetic operations by name. */
export const FLOAT_OPERATIONS: Readonly<Record<ArithmeticName, FloatOperation>> = {
  add: makeOperation('add'),
  sub: makeOperation('sub'),
  mul: makeOperation('mul'),
  div: makeOperation('div'),
  sqrt: makeOperation('sqrt'),
};
