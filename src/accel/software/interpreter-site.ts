// How the interpreter emits: fields come out of the record at run time, registers and flags lie in
// the state, and a handler ends in a tail call of the next record's. Parameters: record, fuel.

import type { FlagStore } from '../../cpu/flag-emitter.ts';
import type { CompiledRow } from '../../cpu/opcode-map.ts';
import { EIP, FLAG_AUX, FLAG_RESULT, FUEL, NEXT_EIP, SCRATCH } from '../../cpu/state-layout.ts';
import { type FunctionBuilder, i32, i64, type Local, load, type Value } from '../../wasm/index.ts';
import { loadCR3 } from './cr3-load.ts';
import type { EngineSite, InstructionFields, SlowAccesses } from './engine-site.ts';
import { dispatch, type InterpreterContext } from './interpreter-context.ts';
import { rawLoad, rawStore } from './memory-access.ts';
import {
  RECORD_BASE,
  RECORD_DISPLACEMENT,
  RECORD_IMMEDIATE,
  RECORD_INDEX,
  RECORD_LENGTH,
  RECORD_REG,
  RECORD_SCALE,
  RECORD_SEGMENT,
} from './record.ts';
import { RUN_ENDS } from './run-result.ts';
import type { SlowPaths } from './slow-paths.ts';
import { eipOf, loadState, storeState } from './state-access.ts';
import { rowAddress } from './tlb-fill.ts';

export class InterpreterSite implements EngineSite {
  readonly f: FunctionBuilder;
  readonly targets: InterpreterContext;
  readonly fields: InstructionFields;
  readonly flagStore: FlagStore;
  readonly #record: Local;
  readonly #fuel: Local;
  /** Record of the next instruction, pinned before anything can wipe this record. */
  readonly #next: Value;

  /** @param usesSegment whether the variant reads the segment field */
  constructor(
    context: InterpreterContext,
    f: FunctionBuilder,
    compiled: CompiledRow,
    usesSegment: boolean,
  ) {
    this.f = f;
    this.targets = context;
    this.#record = f.param(0);
    this.#fuel = f.param(1);
    this.flagStore = {
      f,
      loadResult: () => load('i64', i32(0), FLAG_RESULT),
      loadAux: () => loadState(FLAG_AUX),
      storeResult: (value) => f.store('i64', i32(0), value, FLAG_RESULT),
      storeAux: (value) => storeState(f, FLAG_AUX, value),
    };
    const record = this.#record;
    const byte = (offset: number) => load('i32_8u', record, offset);
    this.#next = f.let(record.add(byte(RECORD_LENGTH)));
    const immediate = load('i32', record, RECORD_IMMEDIATE);
    const distance = compiled.isBranch ? f.let(immediate) : immediate;
    const segment = usesSegment ? f.let(byte(RECORD_SEGMENT)) : byte(RECORD_SEGMENT);
    this.fields = {
      reg: () => byte(RECORD_REG),
      base: () => byte(RECORD_BASE),
      index: () => byte(RECORD_INDEX),
      scale: () => byte(RECORD_SCALE),
      segment: () => segment,
      displacement: () => load('i32', record, RECORD_DISPLACEMENT),
      immediate: () => distance,
    };
  }

  loadRegister(offset: Value, size: number): Value {
    const { constant } = offset;
    if (constant !== undefined) return rawLoad(i32(0), size, Number(constant));
    return rawLoad(offset, size);
  }

  storeRegister(offset: Value, size: number, value: Value): void {
    const isConstant = offset.constant !== undefined;
    const address = isConstant ? i32(0) : offset;
    const place = isConstant ? Number(offset.constant) : 0;
    if (size === 4) this.f.store('i64', address, value.extendU(), place);
    else rawStore(this.f, address, size, value, place);
  }

  rowOf(linear: Value): Value {
    return rowAddress(this.f, linear);
  }

  readonly slow: SlowAccesses = {
    load: (linear, size) =>
      size <= 4
        ? this.#callSlow('load', linear, i32(size))
        : this.#callWide('loadWide', linear, size),
    loadForStore: (linear, size) =>
      size <= 4
        ? this.#callSlow('loadForStore', linear, i32(size))
        : this.#callWide('loadWideForStore', linear, size),
    store: (linear, size, value) => {
      if (size <= 4) {
        this.#callSlow('store', linear, value, i32(size));
        return;
      }
      rawStore(this.f, i32(0), size, value, SCRATCH);
      this.#callSlow('storeWide', linear, i32(size));
    },
    checkedLinear: (field, offset, size, isWrite) =>
      this.#callSlow('checkAccess', field.shrU(5), offset, i32(size), i32(isWrite ? 1 : 0)),
  };

  readonly isCodeFlat = false;
  readonly pages = undefined;

  leave(): void {
    throw new TypeError('Cannot leave an instruction to the interpreter in the interpreter');
  }

  /** Calls TypeScript, which may want to know how many instructions were executed. */
  #callSlow(name: keyof SlowPaths, ...args: Value[]): Value {
    this.#noteFuel();
    const value = this.f.call(this.targets.slow[name], ...args);
    this.#leaveOnFault();
    return value;
  }

  #callWide(name: 'loadWide' | 'loadWideForStore', linear: Value, size: number): Value {
    this.#callSlow(name, linear, i32(size));
    return rawLoad(i32(0), size, SCRATCH);
  }

  #noteFuel(): void {
    storeState(this.f, FUEL, this.#fuel);
  }

  /** After a call of TypeScript: leaves if it faulted. */
  #leaveOnFault(): void {
    const { f } = this;
    f.set(this.#fuel, f.call(this.targets.afterSlow, this.#record, this.#fuel));
    f.if(this.#fuel.ltS(0), () => f.return(i64(RUN_ENDS)));
  }

  currentEip(): Value {
    return eipOf(this.#record);
  }

  nextEip(): Value {
    return eipOf(this.#next);
  }

  jump(eip: Value): void {
    this.f.returnCall(this.targets.jump, eip, this.#fuel);
  }

  isNear(): boolean {
    return false;
  }

  branchNear(): void {
    // The decoder made the distance one of records, from this one.
    const target = this.f.let(this.#record.add(this.fields.immediate()));
    dispatch(this.targets, this.f, target, this.#fuel);
  }

  finish(): void {
    dispatch(this.targets, this.f, this.#next, this.#fuel);
  }

  repeat(): void {
    dispatch(this.targets, this.f, this.#record, this.#fuel);
  }

  raise(vector: number, errorCode: number): void {
    const { raise } = this.targets;
    this.f.returnCall(raise, i32(vector), i32(errorCode), this.#record, this.#fuel);
  }

  system(method: string, args: readonly Value[]): void {
    // A load of CR3 that needs no TypeScript; what follows may be mapped elsewhere then.
    if (method === 'movToCR') {
      const isLoaded = this.f.call(this.targets.shared(loadCR3), ...args);
      this.f.if(isLoaded, () => this.f.returnCall(this.targets.lookUp, this.nextEip(), this.#fuel));
    }
    this.#noteEip();
    this.f.call(this.targets.method(method), ...args);
    this.f.returnCall(this.targets.afterSystem, this.#next, this.#fuel);
  }

  systemValue(method: string, args: readonly Value[]): Value {
    this.#noteEip();
    const result = this.f.call(this.targets.method(method), ...args);
    this.#leaveOnFault();
    return result;
  }

  #noteEip(): void {
    this.#noteFuel();
    storeState(this.f, EIP, this.currentEip());
    storeState(this.f, NEXT_EIP, this.nextEip());
  }
}
