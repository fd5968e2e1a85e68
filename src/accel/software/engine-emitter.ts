// Emits the meaning of one row for one engine: what both engines share, over an EngineSite.

import type { Emitter, Operand, SharedFunction } from '../../cpu/emitter.ts';
import { FlagEmitter } from '../../cpu/flag-emitter.ts';
import type { CompiledRow } from '../../cpu/opcode-map.ts';
import {
  CS,
  GPR,
  GPR_BYTES,
  MODE,
  MODE_STACK32,
  SEG_BASE,
  SEG_LIMIT,
  SEG_READ_SPAN,
  SEG_WRITE_SPAN,
  SEGMENT,
  SEGMENT_BYTES,
  SS,
} from '../../cpu/state-layout.ts';
import { type FunctionBuilder, i32, load, select, type Value } from '../../wasm/index.ts';
import { EngineOperand } from './engine-operand.ts';
import type { EngineSite } from './engine-site.ts';
import { emitLoad, emitModify, emitStore } from './memory-access.ts';
import { KIND_PAGE_BRANCH, KIND_SEGMENTED16 } from './record.ts';
import { loadState, storeState } from './state-access.ts';
import { copyRun, fillRun } from './string-runs.ts';

const REG_ESP = 4;
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

export class EngineEmitter implements Emitter {
  readonly site: EngineSite;
  readonly f: FunctionBuilder;
  readonly flags: FlagEmitter;
  readonly operandSize: 2 | 4;
  readonly addressSize: 2 | 4;
  readonly variantKind: number;
  readonly operands: readonly Operand[];
  readonly #isStackFlat: boolean;
  #modified: { linear: Value; store: (value: Value) => void } | undefined;

  constructor(site: EngineSite, compiled: CompiledRow, variant: Variant) {
    this.site = site;
    this.f = site.f;
    this.operandSize = variant.operandSize;
    this.variantKind = variant.kind;
    this.addressSize = variant.kind === KIND_SEGMENTED16 ? 2 : 4;
    this.#isStackFlat = variant.isStackFlat;
    this.flags = new FlagEmitter(site.flagStore);
    let immediateBits = 0;
    this.operands = compiled.kinds.map((kind) => {
      const position = immediateBits;
      if (kind.place === 'I') immediateBits += (kind.size || this.operandSize) * 8;
      return new EngineOperand(this, kind, position);
    });
  }

  let(value: Value): Value {
    return this.f.let(value);
  }

  readRegister(index: number, size: number): Value {
    return this.let(this.site.loadRegister(i32(GPR + index * GPR_BYTES), size));
  }

  writeRegister(index: number, size: number, value: Value): void {
    this.site.storeRegister(i32(GPR + index * GPR_BYTES), size, value);
  }

  readByteRegister(index: number): Value {
    return this.let(this.site.loadRegister(i32(byteRegister(index)), 1));
  }

  writeByteRegister(index: number, value: Value): void {
    this.site.storeRegister(i32(byteRegister(index)), 1, value);
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
    return emitLoad(this.site, this.let(linear), size);
  }

  storeLinear(linear: Value, size: number, value: Value): void {
    if (this.#modified?.linear === linear) this.#modified.store(value);
    else emitStore(this.site, this.let(linear), size, value);
  }

  loadLinearForWrite(linear: Value, size: number): Value {
    const { old, store } = emitModify(this.site, this.let(linear), size);
    this.#modified = { linear, store };
    return old;
  }

  segmentLinear(segment: number, offset: Value, size: number, isWrite: boolean): Value {
    return this.checkedLinear(i32(segment * SEGMENT_BYTES), this.let(offset), size, isWrite);
  }

  /** Linear address of a pinned offset in the segment whose fields start at `field`, checked. */
  checkedLinear(field: Value, offset: Value, sizeBytes: number, isWrite: boolean): Value {
    const span = load('i32', field, SEGMENT + (isWrite ? SEG_WRITE_SPAN : SEG_READ_SPAN));
    const linear = () => offset.add(load('i32', field, SEGMENT + SEG_BASE));
    const { slow } = this.site;
    if (!slow) {
      if (sizeBytes > SPAN_BYTES) this.site.leave();
      else this.f.if(offset.geU(span), () => this.site.leave());
      return this.let(linear());
    }
    const checked = () => slow.checkedLinear(field, offset, sizeBytes, isWrite);
    if (sizeBytes > SPAN_BYTES) return checked();
    return this.f.ifValue(offset.ltU(span), linear, checked);
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
      const top = this.let(this.#esp().sub(size));
      emitStore(this.site, top, size, pinned);
      this.writeRegister(REG_ESP, 4, top);
      return;
    }
    const mask = this.#stackMask();
    const esp = this.let(this.#esp());
    const top = this.let(esp.sub(size).and(mask));
    emitStore(this.site, this.segmentLinear(SS, top, size, true), size, pinned);
    this.writeRegister(REG_ESP, 4, esp.and(mask.not()).or(top));
  }

  peekStack(size: number, displacement = 0): Value {
    const offset = this.#esp().add(displacement);
    if (this.#isStackFlat) return emitLoad(this.site, this.let(offset), size);
    const top = this.let(offset.and(this.#stackMask()));
    return emitLoad(this.site, this.segmentLinear(SS, top, size, false), size);
  }

  addToStackPointer(bytes: Value | number): void {
    const sum = this.#esp().add(bytes);
    if (this.#isStackFlat) {
      this.writeRegister(REG_ESP, 4, sum);
      return;
    }
    const mask = this.#stackMask();
    const kept = this.#esp().and(mask.not());
    this.writeRegister(REG_ESP, 4, kept.or(sum.and(mask)));
  }

  currentEip(): Value {
    return this.let(this.site.currentEip());
  }

  nextEip(): Value {
    return this.let(this.site.nextEip());
  }

  jump(eip: Value): void {
    const target = this.let(eip);
    if (!this.site.isCodeFlat)
      this.raiseIf(target.gtU(loadState(SEGMENT + CS * SEGMENT_BYTES + SEG_LIMIT)), VECTOR_GP, 0);
    this.site.jump(target);
  }

  requireRelative(_target: Operand): void {
    // A page of records lies within the limit as a whole.
    const isWithin = this.variantKind === KIND_PAGE_BRANCH || this.site.isNear();
    if (isWithin || this.site.isCodeFlat) return;
    const limit = loadState(SEGMENT + CS * SEGMENT_BYTES + SEG_LIMIT);
    this.raiseIf(this.#relativeEip().gtU(limit), VECTOR_GP, 0);
  }

  jumpRelative(_target: Operand): void {
    const isInPage = this.variantKind === KIND_PAGE_BRANCH;
    if (isInPage || this.site.isNear()) this.site.branchNear();
    else this.jump(this.#relativeEip());
  }

  #relativeEip(): Value {
    const eip = this.site.nextEip().add(this.site.fields.immediate());
    return this.operandSize === 2 ? eip.and(0xffff) : eip;
  }

  finish(): void {
    this.site.finish();
  }

  repeat(): void {
    this.site.repeat();
  }

  raise(vector: number, errorCode = -1): void {
    this.site.raise(vector, errorCode);
  }

  raiseIf(condition: Value, vector: number, errorCode = -1): void {
    this.f.if(condition, () => this.raise(vector, errorCode));
  }

  system(method: string, ...args: Value[]): void {
    this.site.system(method, args);
  }

  systemValue(method: string, ...args: Value[]): Value {
    return this.site.systemValue(method, args);
  }

  callShared(shared: SharedFunction, ...args: Value[]): Value {
    return this.f.call(this.site.targets.shared(shared), ...args);
  }

  #esp(): Value {
    return this.site.loadRegister(i32(GPR + REG_ESP * GPR_BYTES), 4);
  }

  /** All ones, or 0xffff for a 16-bit stack; pinned. */
  #stackMask(): Value {
    return this.let(select(loadState(MODE).and(MODE_STACK32), i32(-1), i32(0xffff)));
  }
}

function byteRegister(index: number): number {
  return GPR + (index & 3) * GPR_BYTES + (index >> 2);
}
