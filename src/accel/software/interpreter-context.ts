// The functions that every handler of the interpreter's module shares: leaving generated code,
// faults, jumps to other pages, slow memory accesses and calls of TypeScript.

import type { SharedFunction } from '../../cpu/emitter.ts';
import {
  ATTENTION,
  ATTENTION_EXCEPTION,
  ATTENTION_JUMP,
  CS,
  EIP,
  EIP_BIAS,
  EXCEPTION_ERROR,
  EXCEPTION_HAS_ERROR,
  EXCEPTION_VECTOR,
  FUEL,
  FUEL_HELD,
  MODE,
  MODE_CODE32,
  NEXT_EIP,
  PAGE_EIP,
  PAGE_RECORDS,
  SEG_BASE,
  SEG_LIMIT,
  SEGMENT,
  SEGMENT_BYTES,
} from '../../cpu/state-layout.ts';
import {
  type FunctionBuilder,
  type FunctionReference,
  type FunctionType,
  i32,
  load,
  ModuleBuilder,
  type Value,
} from '../../wasm/index.ts';
import { isCodeAt } from './code-rows.ts';
import {
  CODE_ROW_BYTES,
  CODE_ROW_COUNT,
  CODE_ROWS,
  RECORD_HANDLER,
  RECORD_SHIFT,
} from './record.ts';
import { SLOW_SIGNATURES, type SlowPaths } from './slow-paths.ts';
import { eipOf, loadState, storeState } from './state-access.ts';

const I = 'i32' as const;
const PAGE_BYTES = 4096;
const PAGE_MASK = 0xfffff000 | 0;
const CS_FIELDS = SEGMENT + CS * SEGMENT_BYTES;

/** Runs the record at `record` next, as one more instruction, unless the fuel is used up. */
export function dispatch(
  context: InterpreterContext,
  f: FunctionBuilder,
  record: Value,
  fuel: Value,
): void {
  f.if(fuel.eqz(), () => f.returnCall(context.stop, record));
  f.returnCallIndirect(
    context.handlerType,
    load('i32_16u', record, RECORD_HANDLER),
    record,
    fuel.sub(1),
  );
}

export class InterpreterContext {
  readonly module = new ModuleBuilder();
  readonly handlerType: FunctionType;
  readonly slow: Readonly<Record<keyof SlowPaths, FunctionReference>>;
  /** Records where to go on and returns to the run loop; the fuel is used up. */
  readonly stop: FunctionReference;
  /** (record, fuel): the exception that is recorded belongs to this instruction. */
  readonly fault: FunctionReference;
  /** (vector, error or -1, record, fuel): records an exception and faults. */
  readonly raise: FunctionReference;
  /** (record, fuel) → fuel: after a slow path; negative if it faulted and all is recorded. */
  readonly afterSlow: FunctionReference;
  /** (next record, fuel): after a system method, which may have faulted or jumped. */
  readonly afterSystem: FunctionReference;
  /** (eip, fuel): continues at an EIP, in this page or another. */
  readonly jump: FunctionReference;
  readonly lookUp: FunctionReference;
  readonly #methods = new Map<string, FunctionReference>();
  readonly #shared = new Map<string, FunctionReference>();

  /** @param methods names and argument counts of the system methods, which become imports */
  constructor(methods: ReadonlyMap<string, number>) {
    const { module } = this;
    module.importMemory('env', 'memory', 1);
    module.importTable('env', 'table', 1);
    this.handlerType = module.type({ params: [I, I], results: [] });
    const slowNames = Object.keys(SLOW_SIGNATURES) as (keyof SlowPaths)[];
    this.slow = Object.fromEntries(
      slowNames.map((name) => [name, module.importFunction('slow', name, SLOW_SIGNATURES[name])]),
    ) as Record<keyof SlowPaths, FunctionReference>;
    for (const [name, count] of methods) {
      const signature = { params: new Array<typeof I>(count).fill(I), results: [I] };
      this.#methods.set(name, module.importFunction('system', name, signature));
    }
    // Units call these, not the imports: a WebAssembly function is cheap to import, one of
    // TypeScript costs a wrapper in each unit.
    for (const name of slowNames) {
      const forward = module.function(`forward ${name}`, SLOW_SIGNATURES[name], (f) => {
        f.returnCall(
          this.slow[name],
          ...SLOW_SIGNATURES[name].params.map((_, index) => f.param(index)),
        );
      });
      module.exportFunction(`slow ${name}`, forward);
    }
    const handler = { params: [I, I], results: [] };
    this.stop = module.function('stop', { params: [I], results: [] }, (f) => {
      storeState(f, EIP, eipOf(f.param(0)));
      storeState(f, FUEL, loadState(FUEL_HELD));
    });
    this.fault = module.function('fault', handler, (f) => {
      storeState(f, EIP, eipOf(f.param(0)));
      storeState(f, FUEL, f.param(1).add(1).add(loadState(FUEL_HELD)));
    });
    this.raise = module.function('raise', { params: [I, I, I, I], results: [] }, (f) => {
      storeState(f, EXCEPTION_VECTOR, f.param(0));
      storeState(f, EXCEPTION_HAS_ERROR, f.param(1).geS(0));
      storeState(f, EXCEPTION_ERROR, f.param(1));
      storeState(f, ATTENTION, loadState(ATTENTION).or(ATTENTION_EXCEPTION));
      f.returnCall(this.fault, f.param(2), f.param(3));
    });
    this.afterSlow = module.function('afterSlow', { params: [I, I], results: [I] }, (f) => {
      const [record, fuel] = [f.param(0), f.param(1)];
      f.if(loadState(ATTENTION).eqz(), () => f.return(fuel));
      f.if(loadState(ATTENTION).and(ATTENTION_EXCEPTION), () => {
        f.call(this.fault, record, fuel);
        f.return(i32(-1));
      });
      // Something wants attention: this instruction completes, and no further one starts.
      storeState(f, FUEL_HELD, loadState(FUEL_HELD).add(fuel));
      f.return(i32(0));
    });
    this.jump = module.declare('jump', handler);
    this.lookUp = module.declare('lookUp', handler);
    this.afterSystem = module.function('afterSystem', handler, (f) => this.#afterSystem(f));
    module.define(this.jump, (f) => {
      const [eip, fuel] = [f.param(0), f.param(1)];
      const inPage = f.let(eip.sub(loadState(PAGE_EIP)));
      f.if(inPage.ltU(PAGE_BYTES), () => {
        const records = f.let(loadState(PAGE_RECORDS));
        dispatch(this, f, f.let(inPage.shl(RECORD_SHIFT).add(records)), fuel);
      });
      f.returnCall(this.lookUp, eip, fuel);
    });
    module.define(this.lookUp, (f) => this.#lookUp(f));
    module.exportFunction('jump', this.jump);
    this.shared(isCodeAt); // For units alone.
    // Units import this and no table: V8 (Node 20) copies an imported table into each instance.
    const byHandler = { params: [I, I, I], results: [] };
    const enter = module.function('dispatch', byHandler, (f) =>
      f.returnCallIndirect(this.handlerType, f.param(0), f.param(1), f.param(2)),
    );
    module.exportFunction('dispatch', enter);
  }

  /** @throws {RangeError} if no such method was given */
  method(name: string): FunctionReference {
    const found = this.#methods.get(name);
    if (!found) throw new RangeError(`Cannot call system method "${name}" as there is no such`);
    return found;
  }

  /** The function for a shared piece, built at its first use. */
  shared(piece: SharedFunction): FunctionReference {
    const known = this.#shared.get(piece.name);
    if (known) return known;
    const reference = this.module.declare(piece.name, {
      params: piece.params,
      results: piece.result ? [piece.result] : [],
    });
    this.#shared.set(piece.name, reference);
    this.module.exportFunction(`shared ${piece.name}`, reference);
    return this.module.define(reference, (f) =>
      piece.build(f, {
        call: (other, ...args) => f.call(this.shared(other), ...args),
        callMethod: (name, ...args) => f.call(this.method(name), ...args),
      }),
    );
  }

  #afterSystem(f: FunctionBuilder): void {
    const [next, fuel] = [f.param(0), f.param(1)];
    const attention = f.let(loadState(ATTENTION));
    f.if(attention.eqz(), () => dispatch(this, f, next, fuel));
    const left = fuel.add(loadState(FUEL_HELD));
    f.if(attention.and(ATTENTION_EXCEPTION), () => {
      storeState(f, FUEL, left.add(1));
      f.return();
    });
    f.if(attention.and(ATTENTION_JUMP).eqz(), () => storeState(f, EIP, loadState(NEXT_EIP)));
    storeState(f, FUEL, left);
  }

  #lookUp(f: FunctionBuilder): void {
    const [eip, fuel] = [f.param(0), f.param(1)];
    f.if(fuel.eqz(), () => {
      storeState(f, EIP, eip);
      storeState(f, FUEL, loadState(FUEL_HELD));
      f.return();
    });
    const linear = f.let(eip.add(loadState(CS_FIELDS + SEG_BASE)));
    const mode = f.let(loadState(MODE));
    const pageEip = f.let(eip.sub(linear.and(PAGE_BYTES - 1)));
    const row = f.let(
      linear
        .shrU(12)
        .and(CODE_ROW_COUNT - 1)
        .mul(CODE_ROW_BYTES),
    );
    const isHit = load('i32', row, CODE_ROWS).eq(linear.and(PAGE_MASK).or(mode));
    // The whole page must lie within the limit; code that could wrap is run one by one.
    const isWithin = pageEip.add(PAGE_BYTES - 1).leU(loadState(CS_FIELDS + SEG_LIMIT));
    const doesWrap = pageEip.gtU(eip).and(mode.and(MODE_CODE32));
    f.if(isHit.and(isWithin).and(doesWrap.eqz()), () => {
      const records = f.let(load('i32', row, CODE_ROWS + 4));
      storeState(f, PAGE_EIP, pageEip);
      storeState(f, PAGE_RECORDS, records);
      storeState(f, EIP_BIAS, pageEip.sub(records.shrU(RECORD_SHIFT)));
      const inPage = f.let(linear.and(PAGE_BYTES - 1));
      dispatch(this, f, f.let(records.add(inPage.shl(RECORD_SHIFT))), fuel);
    });
    storeState(f, EIP, eip);
    const found = f.call(this.slow.findCode);
    f.if(found.eqz(), () => f.returnCall(this.lookUp, eip, fuel));
    f.if(found.eq(1), () => {
      storeState(f, FUEL, fuel.add(loadState(FUEL_HELD)));
      f.return();
    });
    dispatch(this, f, found, fuel);
  }
}
