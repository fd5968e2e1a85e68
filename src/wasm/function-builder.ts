// Builds the body of one WebAssembly function: statements are appended as they are called, and each
// writes the expressions it is given. WebAssembly Core Specification, section 5.4 "Instructions".

import { ByteWriter } from './byte-writer.ts';
import { STORES, type StoreName, type ValueType } from './operations.ts';
import { Value, writeOpcode } from './value.ts';

export const TYPE_CODES: Readonly<Record<ValueType, number>> = {
  i32: 0x7f,
  i64: 0x7e,
  f32: 0x7d,
  f64: 0x7c,
  v128: 0x7b,
};

const BLOCK_EMPTY = 0x40;

/** Parameters and results of a function. */
export interface Signature {
  readonly params: readonly ValueType[];
  readonly results: readonly ValueType[];
}

/** A function that can be called: imported, declared or defined. */
export interface FunctionReference {
  readonly name: string;
  readonly index: number;
  readonly typeIndex: number;
  readonly signature: Signature;
}

/** A local variable: a value that can be read any number of times, and set. */
export class Local extends Value {
  readonly index: number;
  /** Set once, where it was made: it needs no copy to be used again. */
  readonly isPinned: boolean;

  constructor(type: ValueType, index: number, pinnedBits?: number) {
    super(
      type,
      (code) => {
        code.u8(0x20);
        code.u32(index);
      },
      undefined,
      pinnedBits,
    );
    this.index = index;
    this.isPinned = pinnedBits !== undefined;
  }
}

/** A target of branches: the end of a block, or the start of a loop. */
export interface Label {
  readonly depth: number;
}

/**
 * The body of a function under construction: statements, and locals that hold what is used twice.
 * A `Value` is evaluated where it is used; types are checked as it is built.
 */
export class FunctionBuilder {
  readonly signature: Signature;
  #code = new ByteWriter();
  readonly #first = new ByteWriter();
  readonly #locals: ValueType[] = [];
  /** Locals that are free to be used again, and those that go back to them; see `recycling`. */
  readonly #freeIndexes = new Map<ValueType, number[]>();
  #taken: Local[] | undefined;
  readonly #kept = new Set<Local>();
  #depth = 0;
  /** Numbers of the scopes that are open: 0 is the function, then one for each block or branch. */
  readonly #scopes = [0];
  #scopeCount = 0;

  constructor(signature: Signature) {
    this.signature = signature;
  }

  /** The innermost scope: what is pinned here has its value wherever this scope is still open. */
  get scope(): number {
    return this.#scopes.at(-1)!;
  }

  /** How many blocks, loops and branches are open: what runs surely runs at its block's depth. */
  get depth(): number {
    return this.#depth;
  }

  /** Whether statements now stand within `scope`, so that what was pinned there surely ran. */
  isWithin(scope: number): boolean {
    return this.#scopes.includes(scope);
  }

  param(index: number): Local {
    const type = this.signature.params[index];
    if (!type) throw new RangeError(`Cannot take parameter ${index}: the function has no such`);
    return new Local(type, index);
  }

  /** A new variable, zero until it is set; inside a loop it keeps its value. */
  local(type: ValueType): Local {
    this.#locals.push(type);
    return new Local(type, this.signature.params.length + this.#locals.length - 1);
  }

  /**
   * Runs `body`; locals that `let`, `ifValue` and `call` make in it serve others behind it. Many
   * locals are dear: V8's baseline compiler clears each of them at each call.
   */
  recycling(body: () => void): void {
    this.#taken = [];
    body();
    for (const local of this.#taken) this.#free(local);
    this.#taken = undefined;
  }

  /** Excepts a value from recycling until it is released. */
  keep(value: Value): void {
    if (!this.#taken || !(value instanceof Local)) return;
    const at = this.#taken.indexOf(value);
    if (at < 0) return;
    this.#taken.splice(at, 1);
    this.#kept.add(value);
  }

  /** Keeps a value that was released once more: for code that runs right behind what set it. */
  reserve(value: Value): void {
    if (!(value instanceof Local)) return;
    const indexes = this.#freeIndexes.get(value.type);
    const at = indexes?.indexOf(value.index) ?? -1;
    if (at < 0) return;
    indexes!.splice(at, 1);
    this.#kept.add(value);
  }

  /** What was kept is recycled like others of now. */
  release(value: Value): void {
    if (!(value instanceof Local) || !this.#kept.delete(value)) return;
    if (this.#taken) this.#taken.push(value);
    else this.#free(value);
  }

  #free({ type, index }: Local): void {
    const indexes = this.#freeIndexes.get(type);
    if (indexes) indexes.push(index);
    else this.#freeIndexes.set(type, [index]);
  }

  /** A variable for a value that is set once, before it is read. */
  #temporary(type: ValueType, bits = -1): Local {
    const index = (this.#taken && this.#freeIndexes.get(type)?.pop()) ?? this.local(type).index;
    const local = new Local(type, index, bits);
    this.#taken?.push(local);
    return local;
  }

  /** Emits what runs before all else, once it is known; no block is open now. */
  first(body: () => void): void {
    const code = this.#code;
    this.#code = this.#first;
    body();
    this.#code = code;
  }

  set(variable: Local, value: Value): void {
    this.#expect(value, variable.type, 'set a local');
    value.write(this.#code);
    this.#code.u8(0x21);
    this.#code.u32(variable.index);
  }

  /** Evaluates `value` now and keeps it; constants and locals that never change need no copy. */
  let(value: Value): Value {
    if (value.constant !== undefined) return value;
    if (value instanceof Local && value.isPinned) return value;
    const variable = this.#temporary(value.type, value.bits);
    variable.root = value.root;
    this.set(variable, value);
    return variable;
  }

  /** Evaluates for the effect only. */
  drop(value: Value): void {
    value.write(this.#code);
    this.#code.u8(0x1a);
  }

  store(name: StoreName, address: Value, value: Value, offset = 0): void {
    const row = STORES[name];
    this.#expect(address, 'i32', 'store');
    this.#expect(value, row.type, `store ${name}`);
    address.write(this.#code);
    value.write(this.#code);
    writeOpcode(this.#code, row.code);
    this.#code.u32(0);
    this.#code.u32(offset);
  }

  /** `memory.copy`, which is right for overlapping runs. */
  memoryCopy(to: Value, from: Value, sizeBytes: Value): void {
    for (const value of [to, from, sizeBytes]) value.write(this.#code);
    writeOpcode(this.#code, 0xfc00 + 10);
    this.#code.u8(0);
    this.#code.u8(0);
  }

  memoryFill(to: Value, byte: Value, sizeBytes: Value): void {
    for (const value of [to, byte, sizeBytes]) value.write(this.#code);
    writeOpcode(this.#code, 0xfc00 + 11);
    this.#code.u8(0);
  }

  if(condition: Value, then: () => void, otherwise?: () => void): void {
    this.#expect(condition, 'i32', 'branch');
    if (condition.constant !== undefined) {
      this.#within(condition.constant ? then : (otherwise ?? (() => {})));
      return;
    }
    condition.write(this.#code);
    this.#code.u8(0x04);
    this.#code.u8(BLOCK_EMPTY);
    this.#depth++;
    this.#within(then);
    if (otherwise) {
      this.#code.u8(0x05);
      this.#within(otherwise);
    }
    this.#end();
  }

  /** A value that two branches compute; only the one taken is evaluated. */
  ifValue(condition: Value, then: () => Value, otherwise: () => Value): Value {
    if (condition.constant !== undefined) {
      let chosen: Value | undefined;
      this.#within(() => {
        chosen = this.let(condition.constant ? then() : otherwise());
      });
      return chosen!;
    }
    let result: Local | undefined;
    this.if(
      condition,
      () => {
        const value = then();
        result = this.#temporary(value.type, -1);
        this.set(result, value);
      },
      () => this.set(result!, otherwise()),
    );
    return result!;
  }

  /** A block whose label is its end. */
  block(body: (end: Label) => void): void {
    this.#code.u8(0x02);
    this.#code.u8(BLOCK_EMPTY);
    this.#depth++;
    this.#within(() => body({ depth: this.#depth }));
    this.#end();
  }

  /** A loop whose label is its start; it ends by falling through. */
  loop(body: (start: Label) => void): void {
    this.#code.u8(0x03);
    this.#code.u8(BLOCK_EMPTY);
    this.#depth++;
    this.#within(() => body({ depth: this.#depth }));
    this.#end();
  }

  br(label: Label): void {
    this.#code.u8(0x0c);
    this.#code.u32(this.#depth - label.depth);
  }

  brIf(label: Label, condition: Value): void {
    this.#expect(condition, 'i32', 'branch');
    condition.write(this.#code);
    this.#code.u8(0x0d);
    this.#code.u32(this.#depth - label.depth);
  }

  /** Branches by `index` to `labels[index]`, or to `otherwise` beyond them. */
  brTable(index: Value, labels: readonly Label[], otherwise: Label): void {
    index.write(this.#code);
    this.#code.u8(0x0e);
    this.#code.u32(labels.length);
    for (const label of [...labels, otherwise]) this.#code.u32(this.#depth - label.depth);
  }

  return(...values: Value[]): void {
    if (!haveTypes(values, this.signature.results)) {
      this.#checkResults(values.map((value) => value.type));
    }
    for (const value of values) value.write(this.#code);
    this.#code.u8(0x0f);
  }

  unreachable(): void {
    this.#code.u8(0x00);
  }

  /** Calls now; the result, if there is one, is kept in a local. */
  call(target: FunctionReference, ...args: Value[]): Value {
    this.#callArgs(target.name, target.signature, args);
    this.#code.u8(0x10);
    this.#code.u32(target.index);
    const type = target.signature.results[0];
    if (!type) return NOTHING;
    const result = this.#temporary(type, -1);
    this.#code.u8(0x21);
    this.#code.u32(result.index);
    return result;
  }

  /** Returns what `target` returns, in its own frame. */
  returnCall(target: FunctionReference, ...args: Value[]): void {
    this.#checkResults(target.signature.results);
    this.#callArgs(target.name, target.signature, args);
    this.#code.u8(0x12);
    this.#code.u32(target.index);
  }

  /** A tail call through table 0. */
  returnCallIndirect(
    type: { readonly index: number; readonly signature: Signature },
    tableIndex: Value,
    ...args: Value[]
  ): void {
    this.#checkResults(type.signature.results);
    this.#callArgs('(table)', type.signature, args);
    tableIndex.write(this.#code);
    this.#code.u8(0x13);
    this.#code.u32(type.index);
    this.#code.u8(0);
  }

  /** The finished body, as the code section holds it: locals, then code. */
  finish(): Uint8Array {
    if (this.#depth !== 0) throw new Error('Cannot finish a function inside an open block');
    const body = new ByteWriter();
    const runs: { type: ValueType; count: number }[] = [];
    for (const type of this.#locals) {
      const last = runs.at(-1);
      if (last?.type === type) last.count++;
      else runs.push({ type, count: 1 });
    }
    body.u32(runs.length);
    for (const run of runs) {
      body.u32(run.count);
      body.u8(TYPE_CODES[run.type]);
    }
    body.append(this.#first.bytes);
    body.append(this.#code.bytes);
    body.u8(0x0b);
    return body.bytes.slice();
  }

  #within(body: () => void): void {
    this.#scopes.push(++this.#scopeCount);
    body();
    this.#scopes.pop();
  }

  #end(): void {
    this.#code.u8(0x0b);
    this.#depth--;
  }

  #expect(value: Value, type: ValueType, action: string): void {
    if (value.type !== type) {
      throw new TypeError(`Cannot ${action} as the value must be ${type}: it is ${value.type}`);
    }
  }

  #callArgs(name: string, signature: Signature, args: readonly Value[]): void {
    if (!haveTypes(args, signature.params)) {
      const given = args.map((arg) => arg.type).join();
      throw new TypeError(
        `Cannot call "${name}" as it takes (${signature.params.join()}): got (${given})`,
      );
    }
    for (const arg of args) arg.write(this.#code);
  }

  #checkResults(types: readonly ValueType[]): void {
    if (types.join() !== this.signature.results.join()) {
      throw new TypeError(
        `Cannot return (${types.join()}) from a function of (${this.signature.results.join()})`,
      );
    }
  }
}

function haveTypes(values: readonly Value[], types: readonly ValueType[]): boolean {
  if (values.length !== types.length) return false;
  for (let index = 0; index < types.length; index++) {
    if (values[index]!.type !== types[index]) return false;
  }
  return true;
}

/** What a call without a result gives; using it is an error. */
const NOTHING = new Value('i32', () => {
  throw new TypeError('Cannot use the result of a function that has none');
});
