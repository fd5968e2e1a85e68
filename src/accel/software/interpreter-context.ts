// The functions that every handler of the interpreter's module shares: leaving generated code,
// faults, jumps to other pages, slow memory accesses and calls of TypeScript.

import { PAGE_SIZE } from '../../base/pages.ts';
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
  SCRATCH,
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
  i64,
  load,
  ModuleBuilder,
  type Value,
} from '../../wasm/index.ts';
import { isCodeAt } from './code-rows.ts';
import { storeFilled, storeIntoCode, storeWideFilled } from './code-stores.ts';
import {
  CODE_KEY,
  CODE_KEY_FLAT,
  CODE_KEY_STEP,
  CODE_ROW_BYTES,
  CODE_ROW_COUNT,
  CODE_ROWS,
  CODE_ROWS_FILLED,
  CODE_ROWS_LOG,
  CODE_ROWS_REPLACED,
  CODE_TAG_NONE,
  ENTRIES_BASE,
  HEAT_BASE,
  HEAT_BYTES,
  HEAT_IS_HIGH,
  RECORD_HANDLER,
  RECORD_SHIFT,
} from './record.ts';
import { RUN_ENDS } from './run-result.ts';
import { SLOW_SIGNATURES, type SlowPaths } from './slow-paths.ts';
import { eipOf, loadState, storeState } from './state-access.ts';
import { findRecords, loadAddress } from './tlb-fill.ts';
import {
  CELL_BASE,
  CELL_BYTES,
  CELL_FLAT,
  CELLS,
  ENTER_BYTES,
  ENTER_START,
  ENTER_UNIT_SHIFT,
  JUMP_CACHE,
  JUMP_CACHE_BITS,
  JUMP_ROW_SHIFT,
  ORIGINALS,
  UNIT_ENTRIES_MAX,
} from './unit-entries.ts';
import { settleFlags } from './unit-flags.ts';

const I = 'i32' as const;
const L = 'i64' as const;
/** Ways to code that is no unit's entry, as a power of two, before it counts as hot. */
const HEAT_BITS = 12;
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

/** What can be done without TypeScript after all: where, and how if that is not 0. */
const FAST_WAYS: {
  readonly [name in keyof SlowPaths]?: {
    /** (linear, size) → byte address in the buffer, or 0. */
    readonly addressOf: SharedFunction;
    finish(f: FunctionBuilder, address: Value, args: readonly Value[]): void;
  };
} = {
  load: { addressOf: loadAddress, finish: (f, address, [, size]) => loadFilled(f, address, size!) },
  loadWide: {
    addressOf: loadAddress,
    finish: (f, address, [, size]) => loadWideFilled(f, address, size!),
  },
  store: {
    addressOf: storeIntoCode,
    finish: (f, address, [, value, size]) => storeFilled(f, address, value!, size!),
  },
  storeWide: {
    addressOf: storeIntoCode,
    finish: (f, address, [, size]) => storeWideFilled(f, address, size!),
  },
};

/** Returns what lies at `address`, unless that is 0. */
function loadFilled(f: FunctionBuilder, address: Value, size: Value): void {
  f.if(address, () => {
    f.if(size.eq(4), () => f.return(load('i32', address)));
    f.if(size.eq(2), () => f.return(load('i32_16u', address)));
    f.return(load('i32_8u', address));
  });
}

function loadWideFilled(f: FunctionBuilder, address: Value, size: Value): void {
  f.if(address, () => {
    f.memoryCopy(i32(SCRATCH), address, size);
    f.return();
  });
}

/**
 * Counts one more way to `record`. When it is the last of many, and no unit begins there, returns
 * to the run loop, which has it translated. The fuel is not used up.
 */
function countHeat(
  context: InterpreterContext,
  f: FunctionBuilder,
  record: Value,
  fuel: Value,
): void {
  const base = f.let(loadState(HEAT_BASE));
  f.if(base, () => {
    const counter = f.let(base.add(record.shrU(RECORD_SHIFT - 1).and(HEAT_BYTES - 2)));
    const count = f.let(load('i32_16u', counter).add(1));
    f.store('i32_16', counter, count);
    f.if(count.shrU(HEAT_BITS), () => {
      f.store('i32_16', counter, i32(0));
      const handler = f.let(load('i32_16u', record, RECORD_HANDLER));
      f.if(originalOf(handler).ne(handler), () => dispatch(context, f, record, fuel));
      storeState(f, HEAT_IS_HIGH, i32(1));
      storeState(f, EIP, eipOf(record));
      storeState(f, FUEL, fuel.add(loadState(FUEL_HELD)));
      f.return(i64(RUN_ENDS));
    });
  });
}

/** The interpreter's handler behind what a record says. */
function originalOf(handler: Value): Value {
  return load('i32_16u', handler.shl(1).add(loadState(ENTRIES_BASE)), ORIGINALS);
}

/** Address of the row of the jump cache for an EIP. */
function jumpRow(eip: Value): Value {
  // By the golden ratio: functions at the same place of many pages must not meet in few rows.
  const index = eip.mul(0x9e37_79b1 | 0).shrU(32 - JUMP_CACHE_BITS);
  return index.shl(JUMP_ROW_SHIFT).add(loadState(ENTRIES_BASE));
}

export class InterpreterContext {
  readonly module = new ModuleBuilder();
  readonly handlerType: FunctionType;
  /** (ENTER of UnitEntries, EIP of the root page, instructions that may run) */
  readonly #unitType: FunctionType;
  /** They come to TypeScript only for what cannot be done here: see FAST_WAYS. */
  slow: Readonly<Record<keyof SlowPaths, FunctionReference>>;
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
  /** (eip, fuel): the same, for units, which have flags in any form. */
  readonly go: FunctionReference;
  readonly lookUp: FunctionReference;
  readonly #goByRecord: FunctionReference;
  readonly #methods = new Map<string, FunctionReference>();
  readonly #shared = new Map<string, FunctionReference>();

  /** Table index of the first unit. */
  readonly #firstUnit: number;

  /**
   * @param methods names and argument counts of the system methods, which become imports
   * @param handlerCount table indexes that handlers take
   */
  constructor(methods: ReadonlyMap<string, number>, handlerCount: number) {
    this.#firstUnit = handlerCount + UNIT_ENTRIES_MAX;
    const { module } = this;
    module.importMemory('env', 'memory', 1);
    module.importTable('env', 'table', 1);
    this.handlerType = module.type({ params: [I, I], results: [L] });
    this.#unitType = module.type({ params: [I, I, I], results: [L] });
    const slowNames = Object.keys(SLOW_SIGNATURES) as (keyof SlowPaths)[];
    this.slow = Object.fromEntries(
      slowNames.map((name) => [name, module.importFunction('slow', name, SLOW_SIGNATURES[name])]),
    ) as Record<keyof SlowPaths, FunctionReference>;
    for (const [name, count] of methods) {
      const signature = { params: new Array<typeof I>(count).fill(I), results: [I] };
      this.#methods.set(name, module.importFunction('system', name, signature));
    }
    const imported = this.slow;
    for (const name of slowNames) {
      const { params } = SLOW_SIGNATURES[name];
      const forward = module.declare(`forward ${name}`, SLOW_SIGNATURES[name]);
      this.slow = { ...this.slow, [name]: forward };
      const fast = FAST_WAYS[name];
      const addressOf = fast && this.shared(fast.addressOf);
      module.define(forward, (f) => {
        const args = params.map((_, index) => f.param(index));
        if (addressOf) fast.finish(f, f.call(addressOf, args[0]!, args.at(-1)!), args);
        f.returnCall(imported[name], ...args);
      });
    }
    const handler = { params: [I, I], results: [L] };
    const four = { params: [I, I, I, I], results: [L] };
    this.stop = module.function('stop', { params: [I], results: [L] }, (f) => {
      storeState(f, EIP, eipOf(f.param(0)));
      storeState(f, FUEL, loadState(FUEL_HELD));
      f.return(i64(RUN_ENDS));
    });
    this.fault = module.function('fault', handler, (f) => {
      storeState(f, EIP, eipOf(f.param(0)));
      storeState(f, FUEL, f.param(1).add(1).add(loadState(FUEL_HELD)));
      f.return(i64(RUN_ENDS));
    });
    this.raise = module.function('raise', four, (f) => {
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
      f.if(inPage.ltU(PAGE_SIZE), () => {
        const records = f.let(loadState(PAGE_RECORDS));
        const record = f.let(inPage.shl(RECORD_SHIFT).add(records));
        countHeat(this, f, record, fuel);
        dispatch(this, f, record, fuel);
      });
      f.returnCall(this.lookUp, eip, fuel);
    });
    module.define(this.lookUp, (f) => this.#lookUp(f));
    // What follows is for units. They import it and no table, which V8 (Node 20) would copy into
    // each of their instances.
    module.exportFunction('enterUnit', module.function('enterUnit', handler, this.#enterUnit));
    // Apart, so that `go` has no calls and V8 saves nothing for them.
    this.#goByRecord = module.function('go by record', handler, (f) => {
      f.call(this.shared(settleFlags));
      f.returnCall(this.jump, f.param(0), f.param(1));
    });
    this.go = module.function('go', handler, this.#buildGo);
    module.exportFunction('go', this.go);
    module.exportFunction('interpret', module.function('interpret', four, this.#interpret));
    const reach = { params: [I, I, I], results: [I] };
    module.exportFunction('reach', module.function('reach', reach, this.#reach));
  }

  /** (record, fuel): the handler of all entries of units. */
  readonly #enterUnit = (f: FunctionBuilder): void => {
    const [record, fuel] = [f.param(0), f.param(1)];
    const handler = load('i32_16u', record, RECORD_HANDLER);
    const entry = f.let(handler.mul(ENTER_BYTES).add(loadState(ENTRIES_BASE)));
    const enter = f.let(load('i32', entry));
    const eip = f.let(eipOf(record));
    const base = f.let(eip.sub(load('i32', entry, ENTER_START)));
    const place = f.let(enter.shrU(ENTER_UNIT_SHIFT));
    const inCells = place.sub(this.#firstUnit).mul(CELL_BYTES);
    const cell = f.let(inCells.add(loadState(ENTRIES_BASE)));
    f.if(load('i32', cell, CELLS + CELL_BASE).ne(base), () => {
      // What its cell and the jump cache say of it is for where it was mapped before.
      f.store('i32', cell, base, CELLS + CELL_BASE);
      storeState(f, CODE_KEY, loadState(CODE_KEY).add(CODE_KEY_STEP));
    });
    const key = f.let(loadState(CODE_KEY));
    f.if(
      key.and(CODE_KEY_FLAT),
      () => {
        const row = f.let(jumpRow(eip));
        f.store('i32', row, eip, JUMP_CACHE);
        f.store('i32', row, key, JUMP_CACHE + 4);
        f.store('i32', row, enter, JUMP_CACHE + 8);
        f.store('i32', row, base, JUMP_CACHE + 12);
      },
      () => {
        f.if(load('i32', cell, CELLS + CELL_FLAT), () =>
          f.returnCallIndirect(this.handlerType, originalOf(f.let(handler)), record, fuel),
        );
      },
    );
    f.returnCallIndirect(this.#unitType, place, enter, base, fuel.add(1));
  };

  /** (eip, fuel): from a unit to code that is none of its own; often another unit's. */
  readonly #buildGo = (f: FunctionBuilder): void => {
    const [eip, fuel] = [f.param(0), f.param(1)];
    const row = f.let(jumpRow(eip));
    const isHit = load('i32', row, JUMP_CACHE).eq(eip);
    const isValid = load('i32', row, JUMP_CACHE + 4).eq(loadState(CODE_KEY));
    f.if(isHit.and(isValid), () => {
      const enter = f.let(load('i32', row, JUMP_CACHE + 8));
      const base = load('i32', row, JUMP_CACHE + 12);
      const place = enter.shrU(ENTER_UNIT_SHIFT);
      f.returnCallIndirect(this.#unitType, place, enter, base, fuel);
    });
    f.returnCall(this.#goByRecord, eip, fuel);
  };

  /**
   * (EIP of the page's start, its first record, offset in the page, fuel): from a unit to the
   * interpreter, which runs the instruction there itself, whatever unit begins there.
   */
  readonly #interpret = (f: FunctionBuilder): void => {
    const [pageEip, records, inPage, fuel] = [f.param(0), f.param(1), f.param(2), f.param(3)];
    f.call(this.shared(settleFlags));
    storeState(f, PAGE_EIP, pageEip);
    storeState(f, PAGE_RECORDS, records);
    storeState(f, EIP_BIAS, pageEip.sub(records.shrU(RECORD_SHIFT)));
    const record = f.let(inPage.shl(RECORD_SHIFT).add(records));
    f.if(fuel.eqz(), () => f.returnCall(this.stop, record));
    const handler = f.let(load('i32_16u', record, RECORD_HANDLER));
    f.returnCallIndirect(this.handlerType, originalOf(handler), record, fuel.sub(1));
  };

  /**
   * (where a unit's cell has a page, EIP of its start, its first record) → whether the page is
   * still mapped there, which the cell then remembers.
   */
  readonly #reach = (f: FunctionBuilder): void => {
    f.if(f.call(this.shared(isCodeAt), f.param(1), f.param(2)).eqz(), () => f.return(i32(0)));
    f.store('i32', f.param(0), loadState(CODE_KEY));
    f.return(i32(1));
  };

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
      f.return(i64(RUN_ENDS));
    });
    f.if(attention.and(ATTENTION_JUMP).eqz(), () => storeState(f, EIP, loadState(NEXT_EIP)));
    storeState(f, FUEL, left);
    f.return(i64(RUN_ENDS));
  }

  #lookUp(f: FunctionBuilder): void {
    const [eip, fuel] = [f.param(0), f.param(1)];
    f.if(fuel.eqz(), () => {
      storeState(f, EIP, eip);
      storeState(f, FUEL, loadState(FUEL_HELD));
      f.return(i64(RUN_ENDS));
    });
    const linear = f.let(eip.add(loadState(CS_FIELDS + SEG_BASE)));
    const mode = f.let(loadState(MODE));
    const pageEip = f.let(eip.sub(linear.and(PAGE_SIZE - 1)));
    const row = f.let(
      linear
        .shrU(12)
        .and(CODE_ROW_COUNT - 1)
        .mul(CODE_ROW_BYTES),
    );
    const isHit = load('i32', row, CODE_ROWS).eq(linear.and(PAGE_MASK).or(mode));
    // The whole page must lie within the limit; code that could wrap is run one by one.
    const isWithin = pageEip.add(PAGE_SIZE - 1).leU(loadState(CS_FIELDS + SEG_LIMIT));
    const doesWrap = pageEip.gtU(eip).and(mode.and(MODE_CODE32));
    const canBeWhole = f.let(isWithin.and(doesWrap.eqz()));
    f.if(isHit.and(canBeWhole), () => {
      const records = f.let(load('i32', row, CODE_ROWS + 4));
      storeState(f, PAGE_EIP, pageEip);
      storeState(f, PAGE_RECORDS, records);
      storeState(f, EIP_BIAS, pageEip.sub(records.shrU(RECORD_SHIFT)));
      const inPage = f.let(linear.and(PAGE_SIZE - 1));
      const record = f.let(records.add(inPage.shl(RECORD_SHIFT)));
      countHeat(this, f, record, fuel);
      dispatch(this, f, record, fuel);
    });
    f.if(canBeWhole, () => {
      const records = f.call(this.shared(findRecords), linear, mode);
      f.if(records, () => {
        fillCodeRow(f, row, linear.and(PAGE_MASK).or(mode), records);
        f.returnCall(this.lookUp, eip, fuel);
      });
    });
    storeState(f, EIP, eip);
    const found = f.call(this.slow.findCode);
    f.if(found.eqz(), () => f.returnCall(this.lookUp, eip, fuel));
    f.if(found.eq(1), () => {
      storeState(f, FUEL, fuel.add(loadState(FUEL_HELD)));
      f.return(i64(RUN_ENDS));
    });
    dispatch(this, f, found, fuel);
  }
}

/** Fills the code row at CODE_ROWS + `row`; as `SoftwareVCPU.#findCode`. */
function fillCodeRow(f: FunctionBuilder, row: Value, tag: Value, records: Value): void {
  f.if(
    load('i32', row, CODE_ROWS).eq(CODE_TAG_NONE | 0),
    () => {
      const count = f.let(loadState(CODE_ROWS_FILLED));
      f.store('i32', count.shl(2), row.add(CODE_ROWS), CODE_ROWS_LOG);
      storeState(f, CODE_ROWS_FILLED, count.add(1));
    },
    () => storeState(f, CODE_ROWS_REPLACED, i32(1)),
  );
  f.store('i32', row, tag, CODE_ROWS);
  f.store('i32', row, records, CODE_ROWS + 4);
}
