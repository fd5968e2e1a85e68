// Emits one handler of the interpreter: the meaning of one row, for one operand size and one way of
// addressing, with everything else read from the record. Parameters: record, fuel.

import type { Emitter, Operand, SharedFunction } from '../../cpu/emitter.ts';
import { FlagEmitter } from '../../cpu/flag-emitter.ts';
import type { CompiledRow } from '../../cpu/opcode-map.ts';
import {
  CS,
  EIP,
  FLAG_AUX,
  FLAG_RESULT,
  GPR,
  GPR_BYTES,
  MODE,
  MODE_STACK32,
  NEXT_EIP,
  SEG_BASE,
  SEG_LIMIT,
  SEG_READ_SPAN,
  SEG_WRITE_SPAN,
  SEGMENT,
  SEGMENT_BYTES,
  SS,
} from '../../cpu/state-layout.ts';
import {
  type FunctionBuilder,
  i32,
  type Local,
  load,
  select,
  type Value,
} from '../../wasm/index.ts';
import {
  dispatch,
  eipOf,
  type InterpreterContext,
  loadState,
  storeState,
} from './interpreter-context.ts';
import { InterpreterOperand } from './interpreter-operand.ts';
import { emitLoad, emitModify, emitStore, leaveOnFault, rawLoad } from './memory-access.ts';
import {
  KIND_PAGE_BRANCH,
  KIND_SEGMENTED,
  KIND_SEGMENTED16,
  RECORD_IMMEDIATE,
  RECORD_LENGTH,
  RECORD_SEGMENT,
} from './record.ts';
import { copyRun, fillRun } from './string-runs.ts';

const REG_ESP = 4;
const ESP = GPR + REG_ESP * GPR_BYTES;
const VECTOR_GP = 13;
/** Spans promise accesses of up to this many bytes (state-layout.ts). */
const SPAN_BYTES = 16;

/** Which handler of a row is being emitted. */
export interface Variant {
  readonly operandSize: 2 | 4;
  /** KIND_ of record.ts. */
  readonly kind: number;
  /** The stack segment is flat and 32 bits wide. */
  readonly isStackFlat: boolean;
}

export class InterpreterEmitter implements Emitter {
  readonly context: InterpreterContext;
  readonly f: FunctionBuilder;
  readonly flags: FlagEmitter;
  readonly operandSize: 2 | 4;
  readonly addressSize: 2 | 4;
  readonly variantKind: number;
  readonly record: Value;
  readonly fuel: Local;
  readonly operands: readonly Operand[];
  readonly #isStackFlat: boolean;
  readonly #hasBranch: boolean;
  /** Record of the next instruction, pinned before anything can wipe this record. */
  readonly #next: Value;
  readonly #segmentField: Value | undefined;
  #branchDistance: Value | undefined;
  #modified: { linear: Value; store: (value: Value) => void } | undefined;

  constructor(
    context: InterpreterContext,
    f: FunctionBuilder,
    compiled: CompiledRow,
    variant: Variant,
  ) {
    this.context = context;
    this.f = f;
    this.operandSize = variant.operandSize;
    this.variantKind = variant.kind;
    this.addressSize = variant.kind === KIND_SEGMENTED16 ? 2 : 4;
    this.#isStackFlat = variant.isStackFlat;
    this.record = f.param(0);
    this.fuel = f.param(1);
    this.flags = new FlagEmitter({
      f,
      loadResult: () => load('i64', i32(0), FLAG_RESULT),
      loadAux: () => loadState(FLAG_AUX),
      storeResult: (value) => f.store('i64', i32(0), value, FLAG_RESULT),
      storeAux: (value) => storeState(f, FLAG_AUX, value),
    });
    this.#next = f.let(this.record.add(load('i32_8u', this.record, RECORD_LENGTH)));
    this.#hasBranch = compiled.kinds.some(({ place }) => place === 'J');
    if (this.#hasBranch) this.#branchDistance = f.let(load('i32', this.record, RECORD_IMMEDIATE));
    if (variant.kind === KIND_SEGMENTED || variant.kind === KIND_SEGMENTED16) {
      this.#segmentField = f.let(load('i32_8u', this.record, RECORD_SEGMENT));
    }
    let immediateBits = 0;
    this.operands = compiled.kinds.map((kind) => {
      const position = immediateBits;
      if (kind.place === 'I') immediateBits += (kind.size || this.operandSize) * 8;
      return new InterpreterOperand(this, kind, position);
    });
  }

  let(value: Value): Value {
    return this.f.let(value);
  }

  readRegister(index: number, size: number): Value {
    return this.let(rawLoad(i32(0), size, GPR + index * GPR_BYTES));
  }

  writeRegister(index: number, size: number, value: Value): void {
    const offset = GPR + index * GPR_BYTES;
    if (size === 1) this.f.store('i32_8', i32(0), value, offset);
    else if (size === 2) this.f.store('i32_16', i32(0), value, offset);
    else this.f.store('i64', i32(0), value.extendU(), offset);
  }

  readByteRegister(index: number): Value {
    return this.let(load('i32_8u', i32(0), byteRegister(index)));
  }

  writeByteRegister(index: number, value: Value): void {
    this.f.store('i32_8', i32(0), value, byteRegister(index));
  }

  loadState32(offset: number): Value {
    return this.let(loadState(offset));
  }

  storeState32(offset: number, value: Value): void {
    storeState(this.f, offset, value);
  }

  loadState64(offset: number): Value {
    return this.let(load('i64', i32(0), offset));
  }

  storeState64(offset: number, value: Value): void {
    this.f.store('i64', i32(0), value, offset);
  }

  loadLinear(linear: Value, size: number): Value {
    return emitLoad(this, this.let(linear), size);
  }

  storeLinear(linear: Value, size: number, value: Value): void {
    if (this.#modified?.linear === linear) this.#modified.store(value);
    else emitStore(this, this.let(linear), size, value);
  }

  loadLinearForWrite(linear: Value, size: number): Value {
    const { old, store } = emitModify(this, this.let(linear), size);
    this.#modified = { linear, store };
    return old;
  }

  segmentLinear(segment: number, offset: Value, size: number, isWrite: boolean): Value {
    return this.checkedLinear(i32(segment * SEGMENT_BYTES), this.let(offset), size, isWrite);
  }

  /** The record's segment field: segment × 32, pinned; of variants for any segment. */
  segmentField(): Value {
    return this.#segmentField!;
  }

  /** Linear address of a pinned offset in the segment whose fields start at `field`, checked. */
  checkedLinear(field: Value, offset: Value, sizeBytes: number, isWrite: boolean): Value {
    const span = load('i32', field, SEGMENT + (isWrite ? SEG_WRITE_SPAN : SEG_READ_SPAN));
    const slow = (): Value => {
      const size = i32(sizeBytes);
      const { checkAccess } = this.context.slow;
      const linear = this.f.call(checkAccess, field.shrU(5), offset, size, i32(isWrite ? 1 : 0));
      leaveOnFault(this);
      return linear;
    };
    if (sizeBytes > SPAN_BYTES) return slow();
    return this.f.ifValue(
      offset.ltU(span),
      () => offset.add(load('i32', field, SEGMENT + SEG_BASE)),
      slow,
    );
  }

  copyRun(destination: Value, source: Value, bytes: Value, size: number): Value {
    return this.callShared(copyRun, destination, source, bytes, i32(size));
  }

  fillRun(destination: Value, value: Value, bytes: Value, size: number): Value {
    return this.callShared(fillRun, destination, value, bytes, i32(size));
  }

  push(value: Value, size: number): void {
    const pinned = this.let(value);
    if (this.#isStackFlat) {
      const top = this.let(loadState(ESP).sub(size));
      emitStore(this, top, size, pinned);
      this.writeRegister(REG_ESP, 4, top);
      return;
    }
    const mask = this.#stackMask();
    const esp = this.let(loadState(ESP));
    const top = this.let(esp.sub(size).and(mask));
    emitStore(this, this.segmentLinear(SS, top, size, true), size, pinned);
    this.writeRegister(REG_ESP, 4, esp.and(mask.not()).or(top));
  }

  peekStack(size: number, displacement = 0): Value {
    const offset = loadState(ESP).add(displacement);
    if (this.#isStackFlat) return emitLoad(this, this.let(offset), size);
    const top = this.let(offset.and(this.#stackMask()));
    return emitLoad(this, this.segmentLinear(SS, top, size, false), size);
  }

  addToStackPointer(bytes: Value | number): void {
    const sum = loadState(ESP).add(bytes);
    if (this.#isStackFlat) {
      this.writeRegister(REG_ESP, 4, sum);
      return;
    }
    const mask = this.#stackMask();
    const kept = loadState(ESP).and(mask.not());
    this.writeRegister(REG_ESP, 4, kept.or(sum.and(mask)));
  }

  currentEip(): Value {
    return this.let(eipOf(this.record));
  }

  nextEip(): Value {
    return this.let(eipOf(this.#next));
  }

  jump(eip: Value): void {
    const target = this.let(eip);
    this.raiseIf(target.gtU(loadState(SEGMENT + CS * SEGMENT_BYTES + SEG_LIMIT)), VECTOR_GP, 0);
    this.f.returnCall(this.context.jump, target, this.fuel);
  }

  requireRelative(_target: Operand): void {
    // A page of records lies within the limit as a whole.
    if (this.variantKind === KIND_PAGE_BRANCH) return;
    const limit = loadState(SEGMENT + CS * SEGMENT_BYTES + SEG_LIMIT);
    this.raiseIf(this.#relativeEip().gtU(limit), VECTOR_GP, 0);
  }

  jumpRelative(_target: Operand): void {
    const distance = this.#branchDistance!;
    if (this.variantKind === KIND_PAGE_BRANCH) {
      // The decoder made the distance one of records, from this one.
      dispatch(this.context, this.f, this.let(this.record.add(distance)), this.fuel);
      return;
    }
    this.jump(this.#relativeEip());
  }

  #relativeEip(): Value {
    const eip = eipOf(this.#next).add(this.#branchDistance!);
    return this.operandSize === 2 ? eip.and(0xffff) : eip;
  }

  finish(): void {
    dispatch(this.context, this.f, this.#next, this.fuel);
  }

  repeat(): void {
    dispatch(this.context, this.f, this.record, this.fuel);
  }

  raise(vector: number, errorCode = -1): void {
    const { f, context, record, fuel } = this;
    f.returnCall(context.raise, i32(vector), i32(errorCode), record, fuel);
  }

  raiseIf(condition: Value, vector: number, errorCode = -1): void {
    this.f.if(condition, () => this.raise(vector, errorCode));
  }

  system(method: string, ...args: Value[]): void {
    this.#noteEip();
    this.f.call(this.context.method(method), ...args);
    this.f.returnCall(this.context.afterSystem, this.#next, this.fuel);
  }

  systemValue(method: string, ...args: Value[]): Value {
    this.#noteEip();
    const result = this.f.call(this.context.method(method), ...args);
    leaveOnFault(this);
    return result;
  }

  callShared(shared: SharedFunction, ...args: Value[]): Value {
    return this.f.call(this.context.shared(shared), ...args);
  }

  #noteEip(): void {
    storeState(this.f, EIP, eipOf(this.record));
    storeState(this.f, NEXT_EIP, eipOf(this.#next));
  }

  /** All ones, or 0xffff for a 16-bit stack; pinned. */
  #stackMask(): Value {
    return this.let(select(loadState(MODE).and(MODE_STACK32), i32(-1), i32(0xffff)));
  }
}

function byteRegister(index: number): number {
  return GPR + (index & 3) * GPR_BYTES + (index >> 2);
}
