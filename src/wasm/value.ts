// A WebAssembly value as an expression: a tree of operations that is written into a function body
// when a statement uses it. A tree may be used once only unless it is cheap and pure: what is used
// more often, or must be evaluated now, is pinned with `FunctionBuilder.let`.

import type { ByteWriter } from './byte-writer.ts';
import {
  LOADS,
  type LoadName,
  type Operation,
  operation,
  PREFIX_FC,
  PREFIX_FD,
  type ValueType,
} from './operations.ts';

/** Writes an opcode in its prefixed or plain form. */
export function writeOpcode(code: ByteWriter, opcode: number): void {
  if (opcode >= PREFIX_FD) {
    code.u8(0xfd);
    code.u32(opcode - PREFIX_FD);
  } else if (opcode >= PREFIX_FC) {
    code.u8(0xfc);
    code.u32(opcode - PREFIX_FC);
  } else {
    code.u8(opcode);
  }
}

type Operand = Value | number | bigint;

/** What counts as a small distance: far less than a page. */
const ROOT_DISTANCE_MAX = 1024;

/**
 * An expression with its type. It has no place in the code until a statement uses it, and is
 * evaluated there, as often as it is used: `FunctionBuilder.let` evaluates it once.
 */
export class Value {
  readonly type: ValueType;
  /** The number, if this is a constant. */
  readonly constant: number | bigint | undefined;
  /** An i32's bits that may be set: masks that keep all of them cost nothing. */
  readonly bits: number;
  /** What the value is known to be a small distance from; the same object for the same. */
  root: object | undefined;
  readonly #write: (code: ByteWriter) => void;

  constructor(
    type: ValueType,
    write: (code: ByteWriter) => void,
    constant?: number | bigint | undefined,
    bits = -1,
  ) {
    this.type = type;
    this.#write = write;
    this.constant = constant;
    this.bits = type === 'i32' && constant !== undefined ? Number(constant) : bits;
  }

  /** Appends the operations that leave this value on the stack. */
  write(code: ByteWriter): void {
    this.#write(code);
  }

  // Integer arithmetic, in the type of `this` (i32 or i64).
  add(other: Operand): Value {
    return isZero(other) ? this : this.#binary('add', other).#near(this, other);
  }
  sub(other: Operand): Value {
    return isZero(other) ? this : this.#binary('sub', other).#near(this, other);
  }
  mul(other: Operand): Value {
    return this.#binary('mul', other);
  }
  divS(other: Operand): Value {
    return this.#binary('div_s', other);
  }
  divU(other: Operand): Value {
    return this.#binary('div_u', other);
  }
  remS(other: Operand): Value {
    return this.#binary('rem_s', other);
  }
  remU(other: Operand): Value {
    return this.#binary('rem_u', other);
  }
  and(other: Operand): Value {
    const mask = constantBits(this.type, other);
    if (mask === undefined) return this.#binary('and', other);
    if ((this.bits & ~mask) === 0) return this;
    if ((this.bits & mask) === 0) return i32(0);
    return this.#binary('and', other).#withBits(this.bits & mask);
  }
  or(other: Operand): Value {
    if (isZero(other)) return this;
    return this.#binary('or', other).#withBits(this.bits | bitsOf(other));
  }
  xor(other: Operand): Value {
    if (isZero(other)) return this;
    return this.#binary('xor', other).#withBits(this.bits | bitsOf(other));
  }
  /** All bits inverted. */
  not(): Value {
    return this.#binary('xor', -1);
  }
  neg(): Value {
    return constantOf(this.type, 0).sub(this);
  }
  /** Shift counts are taken modulo the width, as WebAssembly does. */
  shl(other: Operand): Value {
    if (isZero(other)) return this;
    const count = constantBits(this.type, other);
    const value = this.#binary('shl', other);
    return count === undefined ? value : value.#withBits(this.bits << count);
  }
  shrS(other: Operand): Value {
    return isZero(other) ? this : this.#binary('shr_s', other);
  }
  shrU(other: Operand): Value {
    if (isZero(other)) return this;
    const count = constantBits(this.type, other);
    const value = this.#binary('shr_u', other);
    return count === undefined ? value : value.#withBits(this.bits >>> count);
  }
  rotl(other: Operand): Value {
    return this.#binary('rotl', other);
  }
  rotr(other: Operand): Value {
    return this.#binary('rotr', other);
  }
  clz(): Value {
    return this.#unary('clz');
  }
  ctz(): Value {
    return this.#unary('ctz');
  }
  popcnt(): Value {
    return this.#unary('popcnt');
  }

  // Comparisons: i32, 0 or 1.
  eqz(): Value {
    if (this.type === 'i32' && this.constant !== undefined) return i32(this.constant === 0 ? 1 : 0);
    return this.#unary('eqz');
  }
  eq(other: Operand): Value {
    return this.#binary('eq', other);
  }
  ne(other: Operand): Value {
    return this.#binary('ne', other);
  }
  ltS(other: Operand): Value {
    return this.#binary('lt_s', other);
  }
  ltU(other: Operand): Value {
    return this.#binary('lt_u', other);
  }
  gtS(other: Operand): Value {
    return this.#binary('gt_s', other);
  }
  gtU(other: Operand): Value {
    return this.#binary('gt_u', other);
  }
  leS(other: Operand): Value {
    return this.#binary('le_s', other);
  }
  leU(other: Operand): Value {
    return this.#binary('le_u', other);
  }
  geS(other: Operand): Value {
    return this.#binary('ge_s', other);
  }
  geU(other: Operand): Value {
    return this.#binary('ge_u', other);
  }

  // Conversions.
  /** i64 → i32, its low half; an i32 stays as it is. */
  wrap(): Value {
    return this.type === 'i32' ? this : op('i32.wrap_i64', this);
  }
  /** i32 → i64, zero-extended; an i64 stays as it is. */
  extendU(): Value {
    return this.type === 'i64' ? this : op('i64.extend_i32_u', this);
  }
  /** i32 → i64, sign-extended; an i64 stays as it is. */
  extendS(): Value {
    return this.type === 'i64' ? this : op('i64.extend_i32_s', this);
  }
  /** The low byte, sign-extended within the type; likewise 16 and 32 bits. */
  extend8S(): Value {
    if (this.type === 'i32' && this.constant !== undefined) {
      return i32((Number(this.constant) << 24) >> 24);
    }
    return this.#unary('extend8_s');
  }
  extend16S(): Value {
    if (this.type === 'i32' && this.constant !== undefined) {
      return i32((Number(this.constant) << 16) >> 16);
    }
    return this.#unary('extend16_s');
  }

  /** The same value, known to be a small distance from `root`. */
  withRoot(root: object): Value {
    const value = new Value(this.type, this.#write, this.constant, this.bits);
    value.root = root;
    return value;
  }

  /** After a distance was added to `from`, or subtracted. */
  #near({ root }: Value, distance: Operand): Value {
    const constant = distance instanceof Value ? distance.constant : distance;
    if (root && constant !== undefined && Math.abs(Number(constant)) < ROOT_DISTANCE_MAX)
      this.root = root;
    return this;
  }

  #unary(name: string): Value {
    const row = (this.type === 'i32' ? UNARY_I32 : UNARY_I64).get(name);
    // Anything else is an error.
    if (!row || row.params[0] !== this.type) return op(`${this.type}.${name}`, this);
    const write = (code: ByteWriter) => {
      this.#write(code);
      code.u8(row.code);
    };
    return new Value(row.result, write, undefined, row.resultBits);
  }

  #binary(name: string, other: Operand): Value {
    const right = toValue(this.type, other);
    const folded = this.type === 'i32' ? fold(name, this, right) : undefined;
    if (folded) return folded;
    const row = (this.type === 'i32' ? BINARY_I32 : BINARY_I64).get(name);
    // Anything else is slower, or an error.
    if (!row || right.type !== this.type) return op(`${this.type}.${name}`, this, right);
    const write = (code: ByteWriter) => {
      this.#write(code);
      right.#write(code);
      code.u8(row.code);
    };
    return new Value(row.result, write, undefined, row.resultBits);
  }

  #withBits(bits: number): Value {
    if (this.type !== 'i32' || this.constant !== undefined || bits === -1) return this;
    return new Value('i32', this.#write, undefined, bits);
  }
}

/** The constant that an i32 operation gives for two constants; undefined where it is not known. */
function fold(name: string, left: Value, right: Value): Value | undefined {
  if (left.constant === undefined || right.constant === undefined) return undefined;
  const compute = FOLDED.get(name);
  return compute && i32(compute(Number(left.constant), Number(right.constant)));
}

const FOLDED: ReadonlyMap<string, (a: number, b: number) => number> = new Map([
  ['add', (a, b) => a + b],
  ['sub', (a, b) => a - b],
  ['mul', (a, b) => Math.imul(a, b)],
  ['and', (a, b) => a & b],
  ['or', (a, b) => a | b],
  ['xor', (a, b) => a ^ b],
  ['shl', (a, b) => a << b],
  ['shr_s', (a, b) => a >> b],
  ['shr_u', (a, b) => a >>> b],
  ['eq', (a, b) => Number(a === b)],
  ['ne', (a, b) => Number(a !== b)],
  ['lt_s', (a, b) => Number(a < b)],
  ['lt_u', (a, b) => Number(a >>> 0 < b >>> 0)],
  ['gt_u', (a, b) => Number(a >>> 0 > b >>> 0)],
  ['le_s', (a, b) => Number(a <= b)],
  ['le_u', (a, b) => Number(a >>> 0 <= b >>> 0)],
]);

/** Bits of an i32 constant; undefined for every other operand. */
function constantBits(type: ValueType, other: Operand): number | undefined {
  const constant = other instanceof Value ? other.constant : other;
  return type === 'i32' && constant !== undefined ? Number(constant) | 0 : undefined;
}

function bitsOf(other: Operand): number {
  return other instanceof Value ? other.bits : Number(other);
}

function isZero(other: Operand): boolean {
  const constant = other instanceof Value ? other.constant : other;
  return constant === 0 || constant === 0n;
}

function toValue(type: ValueType, other: Operand): Value {
  return other instanceof Value ? other : constantOf(type, other);
}

/** A 32-bit constant; signed and unsigned numbers are the same bits. */
export function i32(value: number): Value {
  return new Value(
    'i32',
    (code) => {
      code.u8(0x41);
      code.s32(value);
    },
    value | 0,
  );
}

/** A 64-bit constant, cut to 64 bits. */
export function i64(value: bigint | number): Value {
  const wide = BigInt.asIntN(64, BigInt(value));
  return new Value(
    'i64',
    (code) => {
      code.u8(0x42);
      code.s64(wide);
    },
    wide,
  );
}

/** A double constant. */
export function f64(value: number): Value {
  return new Value('f64', (code) => {
    code.u8(0x44);
    code.f64(value);
  });
}

/** A 16-byte constant. */
export function v128(bytes: Uint8Array): Value {
  if (bytes.length !== 16) {
    throw new RangeError(`Cannot make a v128 constant of ${bytes.length} bytes as it takes 16`);
  }
  return new Value('v128', (code) => {
    writeOpcode(code, PREFIX_FD + 12);
    code.append(bytes);
  });
}

/** A constant of an integer type. */
export function constantOf(type: ValueType, value: number | bigint): Value {
  if (type === 'i32') return i32(Number(value));
  if (type === 'i64') return i64(value);
  throw new TypeError(`Cannot make an integer constant of type ${type}`);
}

/**
 * Any operation by its WebAssembly name, such as `op('i16x8.add', a, b)`; types are checked here,
 * while building. For lane operations pass the lane numbers with {@link laneOp}.
 *
 * @throws {TypeError} if the count or a type of the arguments is not the operation's
 */
export function op(name: string, ...args: Value[]): Value {
  return make(operation(name), args, []);
}

/** An operation with lane immediates: one lane number, or the sixteen of a shuffle. */
export function laneOp(name: string, lanes: readonly number[], ...args: Value[]): Value {
  return make(operation(name), args, lanes);
}

function make(row: Operation, args: readonly Value[], lanes: readonly number[]): Value {
  if (args.length !== row.params.length || lanes.length !== row.laneBytes) {
    throw new TypeError(
      `Cannot emit "${row.name}" as it takes ${row.params.length} values and ` +
        `${row.laneBytes} lanes: got ${args.length} and ${lanes.length}`,
    );
  }
  args.forEach((arg, index) => {
    if (arg.type !== row.params[index]) {
      throw new TypeError(
        `Cannot emit "${row.name}" as argument ${index} must be ${row.params[index]}: ` +
          `it is ${arg.type}`,
      );
    }
  });
  return new Value(
    row.result,
    (code) => {
      for (const arg of args) arg.write(code);
      writeOpcode(code, row.code);
      for (const lane of lanes) code.u8(lane);
    },
    undefined,
    row.resultBits,
  );
}

/** Operations of integers of one type, by their name without the type. */
function integerOperations(type: 'i32' | 'i64', names: string): ReadonlyMap<string, Operation> {
  return new Map(names.split(' ').map((name) => [name, operation(`${type}.${name}`)]));
}

const BINARY =
  'add sub mul div_s div_u rem_s rem_u and or xor shl shr_s shr_u rotl rotr ' +
  'eq ne lt_s lt_u gt_s gt_u le_s le_u ge_s ge_u';
const BINARY_I32 = integerOperations('i32', BINARY);
const BINARY_I64 = integerOperations('i64', BINARY);
const UNARY = 'clz ctz popcnt eqz extend8_s extend16_s';
const UNARY_I32 = integerOperations('i32', UNARY);
const UNARY_I64 = integerOperations('i64', UNARY);

/**
 * A load of linear memory at `address + offset`. It is evaluated where the value is used: pin it
 * with `FunctionBuilder.let` if a store may come between.
 */
export function load(name: LoadName, address: Value, offset = 0): Value {
  if (address.type !== 'i32') throw new TypeError(`Cannot load at an address of ${address.type}`);
  const row = LOADS[name];
  return new Value(
    row.type,
    (code) => {
      address.write(code);
      writeOpcode(code, row.code);
      code.u32(0); // Alignment is only a hint, and guest addresses promise none.
      code.u32(offset);
    },
    undefined,
    name === 'i32_8u' ? 0xff : name === 'i32_16u' ? 0xffff : -1,
  );
}

/** `condition ? a : b` without a branch; both are evaluated. */
export function select(condition: Value, a: Value, b: Value): Value {
  if (a.type !== b.type || condition.type !== 'i32') {
    throw new TypeError(`Cannot select between ${a.type} and ${b.type} by ${condition.type}`);
  }
  return new Value(a.type, (code) => {
    a.write(code);
    b.write(code);
    condition.write(code);
    if (a.type === 'v128') {
      code.u8(0x1c); // A typed select: the plain one takes numbers only.
      code.u32(1);
      code.u8(0x7b);
    } else {
      code.u8(0x1b);
    }
  });
}
