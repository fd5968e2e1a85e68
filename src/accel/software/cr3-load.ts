// Emits MOV to CR3 for the ordinary case: ring 0, no PAE pointers to load. What was filled is
// forgotten, global pages aside, as `Control` and `SoftTLB.flushNonGlobal` do it, and no more than
// that: guests reload CR3 often and fill few rows between.

import { CR0_PG, CR4_PAE } from '../../cpu/control-bits.ts';
import type { SharedFunction } from '../../cpu/emitter.ts';
import { CPL, CR0, CR3, CR4 } from '../../cpu/state-layout.ts';
import {
  TLB_INVALID,
  TLB_READ_TAG,
  TLB_ROW_BYTES,
  TLB_ROW_IS_GLOBAL,
  TLB_WRITE_TAG,
} from '../../memory/soft-tlb.ts';
import { type FunctionBuilder, i32, load } from '../../wasm/index.ts';
import {
  CODE_KEY,
  CODE_KEY_STEP,
  CODE_ROWS_FILLED,
  CODE_ROWS_LOG,
  CODE_ROWS_REPLACED,
  CODE_TAG_NONE,
  TLB_COUNTS,
  TLB_LOG,
  TLB_ROW_STATES,
  TLB_TABLES,
} from './record.ts';
import { loadState, storeState } from './state-access.ts';

const CR3_NUMBER = 3;
/** Of the TLB's counts: rows in the log, flushes. */
const LOG_COUNT = 0;
const FLUSH_COUNT = 8;

/**
 * (control register, value) → 1 if it was CR3 and is loaded, so that code must be looked up anew; 0
 * if TypeScript must do it.
 */
export const loadCR3: SharedFunction = {
  name: 'loadCR3',
  params: ['i32', 'i32'],
  result: 'i32',
  build(f) {
    const [register, value] = [f.param(0), f.param(1)];
    const loadsPointers = loadState(CR4).and(CR4_PAE).ne(0).and(loadState(CR0).and(CR0_PG).ne(0));
    const isOdd = register.ne(CR3_NUMBER).or(loadState(CPL)).or(loadsPointers);
    f.if(isOdd, () => f.return(i32(0)));
    f.store('i64', i32(0), value.extendU(), CR3);
    flushRows(f);
    flushCodeRows(f);
    f.return(i32(1));
  },
};

function flushRows(f: FunctionBuilder): void {
  const counts = f.let(loadState(TLB_COUNTS));
  f.store('i32', counts, load('i32', counts, FLUSH_COUNT).add(1), FLUSH_COUNT);
  const log = f.let(loadState(TLB_LOG));
  const end = f.let(log.add(load('i32', counts, LOG_COUNT).shl(2)));
  const [from, to] = [f.local('i32'), f.local('i32')];
  f.set(from, log);
  f.set(to, log);
  f.block((done) => {
    f.loop((again) => {
      f.brIf(done, from.eq(end));
      const index = f.let(load('i32', from));
      const state = f.let(index.add(loadState(TLB_ROW_STATES)));
      f.if(
        load('i32_8u', state).and(TLB_ROW_IS_GLOBAL),
        () => {
          f.store('i32', to, index);
          f.set(to, to.add(4));
        },
        () => {
          const row = f.let(index.mul(TLB_ROW_BYTES).add(loadState(TLB_TABLES)));
          f.store('i32', row, i32(TLB_INVALID), TLB_READ_TAG);
          f.store('i32', row, i32(TLB_INVALID), TLB_WRITE_TAG);
          f.store('i32_8', state, i32(0));
        },
      );
      f.set(from, from.add(4));
      f.br(again);
    });
  });
  f.store('i32', counts, to.sub(log).shrU(2), LOG_COUNT);
}

function flushCodeRows(f: FunctionBuilder): void {
  const at = f.local('i32');
  const end = f.let(loadState(CODE_ROWS_FILLED).shl(2));
  f.block((done) => {
    f.loop((again) => {
      f.brIf(done, at.eq(end));
      f.store('i32', load('i32', at, CODE_ROWS_LOG), i32(CODE_TAG_NONE | 0));
      f.set(at, at.add(4));
      f.br(again);
    });
  });
  storeState(f, CODE_ROWS_FILLED, i32(0));
  storeState(f, CODE_ROWS_REPLACED, i32(0));
  storeState(f, CODE_KEY, loadState(CODE_KEY).add(CODE_KEY_STEP));
}
