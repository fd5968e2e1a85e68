// The x87 rows as WebAssembly functions without an engine: a small Emitter over one memory, in
// which the state area and a memory operand lie. For tests of arithmetic; engines have their own.

import type { Emitter, Operand, SharedFunction, SharedTools } from '../../src/cpu/emitter.ts';
import { FlagEmitter } from '../../src/cpu/flag-emitter.ts';
import { allRows, type Row } from '../../src/cpu/instruction-table.ts';
import { CPUState } from '../../src/cpu/state.ts';
import { CR0, FLAG_AUX, FLAG_RESULT, GPR } from '../../src/cpu/state-layout.ts';
import { x87Methods } from '../../src/cpu/x87/methods.ts';
import {
  type FunctionBuilder,
  type FunctionReference,
  i32,
  load,
  ModuleBuilder,
  type Value,
} from '../../src/wasm/index.ts';
import '../../src/cpu/instructions/x87-arithmetic.ts';
import '../../src/cpu/instructions/x87-compare.ts';
import '../../src/cpu/instructions/x87-control.ts';
import '../../src/cpu/instructions/x87-load-store.ts';

/** Where a memory operand lies. */
export const OPERAND = 0x4000;
/** Where `raise` leaves the vector, in the same memory (u32; 0 if none was raised). */
export const RAISED = 0x3ff0;
const SIZES: Readonly<Record<string, number>> = { Mw: 2, Md: 4, Mq: 8, Mt: 10, M: 4 };

/** Runs one row by its pattern; `index` is i of ST(i). */
export interface X87Machine {
  readonly state: CPUState;
  readonly bytes: Uint8Array;
  readonly view: DataView;
  run(pattern: string, index?: number): void;
}

class RowEmitter {
  readonly f: FunctionBuilder;
  readonly flags: FlagEmitter;
  readonly operandSize = 4;
  readonly addressSize = 4;
  readonly #tools: SharedTools;

  constructor(f: FunctionBuilder, tools: SharedTools) {
    this.f = f;
    this.#tools = tools;
    this.flags = new FlagEmitter({
      f,
      loadResult: () => load('i64', i32(FLAG_RESULT)),
      loadAux: () => load('i32', i32(FLAG_AUX)),
      storeResult: (value) => f.store('i64', i32(FLAG_RESULT), value),
      storeAux: (value) => f.store('i32', i32(FLAG_AUX), value),
    });
  }
  let(value: Value): Value {
    return this.f.let(value);
  }
  writeRegister(index: number, size: number, value: Value): void {
    this.f.store(size === 2 ? 'i32_16' : 'i32', i32(GPR + index * 8), value);
  }
  loadState32(offset: number): Value {
    return load('i32', i32(offset));
  }
  storeState32(offset: number, value: Value): void {
    this.f.store('i32', i32(offset), value);
  }
  storeState64(offset: number, value: Value): void {
    this.f.store('i64', i32(offset), value);
  }
  loadLinear(linear: Value, size: number): Value {
    const names = { 2: 'i32_16u', 4: 'i32', 8: 'i64', 16: 'v128' } as const;
    return this.f.let(load(names[size as 2], linear));
  }
  loadLinearForWrite(linear: Value, size: number): Value {
    return this.loadLinear(linear, size);
  }
  storeLinear(linear: Value, size: number, value: Value): void {
    const names = { 2: 'i32_16', 4: 'i32', 8: 'i64', 16: 'v128' } as const;
    this.f.store(names[size as 2], linear, value);
  }
  currentEip(): Value {
    return i32(0x1234);
  }
  raise(vector: number): void {
    this.f.store('i32', i32(RAISED), i32(vector));
    this.f.return();
  }
  raiseIf(condition: Value, vector: number): void {
    this.f.if(condition, () => this.raise(vector));
  }
  system(method: string, ...args: Value[]): void {
    this.#tools.callMethod(method, ...args);
    this.f.return();
  }
  systemValue(method: string, ...args: Value[]): Value {
    return this.#tools.callMethod(method, ...args);
  }
  callShared(shared: SharedFunction, ...args: Value[]): Value {
    return this.#tools.call(shared, ...args);
  }
}

function operandOf(e: RowEmitter, kind: string): Operand {
  const size = SIZES[kind] ?? 10;
  return {
    size,
    isMemory: kind !== 'STi',
    read: () => e.loadLinear(i32(OPERAND), size),
    readForWrite: () => e.loadLinear(i32(OPERAND), size),
    write: (value: Value) => e.storeLinear(i32(OPERAND), size, value),
    offset: () => i32(OPERAND),
    linear: () => i32(OPERAND),
    segment: () => i32(3),
    index: () => e.f.param(0),
  } as unknown as Operand;
}

/** All x87 rows in one module. */
export function createX87Machine(): X87Machine {
  const module = new ModuleBuilder();
  module.importMemory('env', 'memory', 1);
  const memory = new WebAssembly.Memory({ initial: 1 });
  const state = new CPUState(memory.buffer);
  const methods = x87Methods(state);
  const imported = new Map<string, FunctionReference>();
  for (const [name, method] of Object.entries(methods)) {
    imported.set(
      name,
      module.importFunction('env', name, {
        params: method.length ? ['i32'] : [],
        results: ['i32'],
      }),
    );
  }
  const built = new Map<string, FunctionReference>();
  const toolsFor = (f: FunctionBuilder): SharedTools => ({
    call(shared, ...args) {
      let reference = built.get(shared.name);
      if (!reference) {
        const results = shared.result ? [shared.result] : [];
        reference = module.declare(shared.name, { params: shared.params, results });
        built.set(shared.name, reference);
        module.define(reference, (inner) => shared.build(inner, toolsFor(inner)));
      }
      return f.call(reference, ...args);
    },
    callMethod: (name, ...args) => f.call(imported.get(name)!, ...args),
  });
  const rows = allRows().filter((row) => /^(D[89A-F]|9B|0F AE)/.test(row.pattern));
  for (const row of rows) {
    const reference = module.function(row.pattern, { params: ['i32'], results: [] }, (f) => {
      const e = new RowEmitter(f, toolsFor(f));
      const operands = row.operands.map((kind: Row['operands'][number]) => operandOf(e, kind));
      row.meaning(e as unknown as Emitter, ...operands);
    });
    module.exportFunction(row.pattern, reference);
  }
  const { exports } = new WebAssembly.Instance(new WebAssembly.Module(module.toBytes()), {
    env: { memory, ...methods },
  });
  const functions = exports as Record<string, (index: number) => void>;
  const bytes = new Uint8Array(memory.buffer);
  methods.x87Initialize!();
  state.setWide(CR0, 0x21);
  return {
    state,
    bytes,
    view: new DataView(memory.buffer),
    run: (pattern, index = 0) => functions[pattern]!(index),
  };
}
