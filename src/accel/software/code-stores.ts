// Emits what a store does to a page that holds decoded code: nothing where no instruction's bytes
// are, otherwise the records of exactly those instructions go. As `CodeCache` does it in TypeScript
// for everybody else who writes RAM; pages with units, or decoded for several modes, are its alone.

import { PAGE_SIZE } from '../../base/pages.ts';
import type { SharedFunction } from '../../cpu/emitter.ts';
import { SCRATCH } from '../../cpu/state-layout.ts';
import { CODE_LINE_BYTES } from '../../memory/code-pages.ts';
import { DIRTY_ALL, DIRTY_CODE } from '../../memory/dirty-memory.ts';
import { TLB_ADDEND, TLB_NOTDIRTY, TLB_STORE_PAGES, TLB_WRITE_TAG } from '../../memory/soft-tlb.ts';
import {
  type FunctionBuilder,
  i32,
  type Local,
  load,
  select,
  type Value,
} from '../../wasm/index.ts';
import {
  CODE_MASK_BASE,
  CODE_SLOTS_BASE,
  DIRTY_BASE,
  HANDLER_RELOAD,
  IMMEDIATE_RELOADS,
  RAM_BASE,
  RECORD_HANDLER,
  RECORD_IMMEDIATE,
  RECORD_LENGTH,
  RECORD_SCALE,
  RECORD_SHIFT,
  SLOT_CODE_BYTES,
  SLOT_SHARED_BYTES,
  TLB_STORE_MARKS,
} from './record.ts';
import { loadState } from './state-access.ts';
import { fillForStore, rowAddress } from './tlb-fill.ts';

const PAGE_SHIFT = 12;
const IN_PAGE = PAGE_SIZE - 1;
const LINE_SHIFT = 7;
const INSTRUCTION_BYTES_MAX = 15;
const IMMEDIATE_BYTES = 4;

/** Where a store goes, once its row says that the page holds code and nothing else forbids it. */
interface CodeStore {
  readonly row: Value;
  /** Byte of the buffer, RAM page, and offset in the page. */
  readonly address: Value;
  readonly ramPage: Value;
  readonly inPage: Value;
  /** The note of the page: its only slot and mode, or 0. */
  readonly note: Value;
}

/**
 * Fills the row of a store that missed. Leaves the function with the address if the store can be
 * made at once, or with 0 if it is one for TypeScript; goes on if only code is in the way.
 */
function beginStore(f: FunctionBuilder, linear: Value, last: Value, fill: () => Value): CodeStore {
  const row = rowAddress(f, linear);
  const page = f.let(last.and(-PAGE_SIZE));
  f.if(load('i32', row, TLB_WRITE_TAG).ne(page.or(TLB_NOTDIRTY)), () => {
    f.if(load('i32', row, TLB_WRITE_TAG).ne(page), () =>
      f.if(fill().eqz(), () => f.return(i32(0))),
    );
    f.if(load('i32', row, TLB_WRITE_TAG).eq(page), () =>
      f.return(linear.add(load('i32', row, TLB_ADDEND))),
    );
  });
  const address = f.let(linear.add(load('i32', row, TLB_ADDEND)));
  const ramOffset = address.sub(loadState(RAM_BASE));
  const ramPage = f.let(ramOffset.shrU(PAGE_SHIFT));
  const dirty = f.let(load('i32_8u', ramPage.add(loadState(DIRTY_BASE))));
  f.if(dirty.eq(DIRTY_ALL), () => {
    openRow(f, row, ramPage);
    f.return(address);
  });
  f.if(dirty.ne(DIRTY_ALL & ~DIRTY_CODE), () => f.return(i32(0)));
  const inPage = f.let(ramOffset.and(IN_PAGE));
  const note = f.let(load('i32', ramPage.shl(2).add(loadState(CODE_SLOTS_BASE))));
  return { row, address, ramPage, inPage, note };
}

/** Gives a row its plain write tag, as nobody wants to know of stores to its page any more. */
function openRow(f: FunctionBuilder, row: Value, ramPage: Value): void {
  const mark = ramPage.and(TLB_STORE_PAGES - 1).add(loadState(TLB_STORE_MARKS));
  f.store('i32_8', mark, i32(1));
  f.store('i32', row, load('i32', row, TLB_WRITE_TAG).and(-PAGE_SIZE), TLB_WRITE_TAG);
}

/** Leaves with 0 if lines that the range touches hold code, by the page's mask. */
function leaveIfLinesHaveCode(f: FunctionBuilder, store: CodeStore, last: Value): void {
  const mask = load('i32', store.ramPage.shl(2).add(loadState(CODE_MASK_BASE)));
  const fromFirst = i32(-1).shl(store.inPage.shrU(LINE_SHIFT));
  const toLast = i32(-1).shrU(i32(31).sub(last.and(IN_PAGE).shrU(LINE_SHIFT)));
  f.if(mask.and(fromFirst).and(toLast), () => f.return(i32(0)));
}

function recordsOf(note: Value): Value {
  return note.and(~0xf);
}

/** Which of `size` bytes from `inPage` on, at most 16, are code: their bits, from bit 0 on. */
function codeBits(records: Value, inPage: Value, size: Value, map = SLOT_CODE_BYTES): Value {
  const bits = load('i32', records.add(inPage.shrU(3)), map).shrU(inPage.and(7));
  return bits.and(i32(1).shl(size).sub(1));
}

/**
 * (linear, size) → byte address in the buffer if a plain store may be made there although the row
 * did not hit: the row had to be filled, or it says NOTDIRTY only because the page holds code, and
 * the bytes belong to no instruction. Else 0.
 */
export const storeAddress: SharedFunction = {
  name: 'storeAddress',
  params: ['i32', 'i32'],
  result: 'i32',
  build(f, { call }) {
    const [linear, size] = [f.param(0), f.param(1)];
    const last = f.let(linear.add(size).sub(1));
    const store = beginStore(f, linear, last, () => call(fillForStore, linear, size));
    f.if(store.note, () => {
      const bits = codeBits(recordsOf(store.note), store.inPage, size);
      f.return(select(bits, i32(0), store.address));
    });
    leaveIfLinesHaveCode(f, store, last);
    f.return(store.address);
  },
};

/**
 * (linear, bytes) → byte address in the buffer from which on plain stores may be made, as far as
 * `bytes` and the page go. Else 0.
 */
export const runAddress: SharedFunction = {
  name: 'runAddress',
  params: ['i32', 'i32'],
  result: 'i32',
  build(f, { call }) {
    const [linear, bytes] = [f.param(0), f.param(1)];
    const store = beginStore(f, linear, linear, () => call(fillForStore, linear, i32(1)));
    const room = f.let(i32(PAGE_SIZE).sub(store.inPage));
    const last = f.let(store.inPage.add(select(bytes.ltU(room), bytes, room)).sub(1));
    leaveIfLinesHaveCode(f, store, last);
    f.return(store.address);
  },
};

/**
 * (linear, size) → byte address in the buffer at which a store may be made now, after the records
 * of the instructions there were dropped; 0 if TypeScript must do it. Nothing of the running
 * instruction's record is needed any more.
 */
export const storeIntoCode: SharedFunction = {
  name: 'storeIntoCode',
  params: ['i32', 'i32'],
  result: 'i32',
  build(f, { call }) {
    const [linear, size] = [f.param(0), f.param(1)];
    const last = f.let(linear.add(size).sub(1));
    const store = beginStore(f, linear, last, () => call(fillForStore, linear, size));
    f.if(store.note.eqz(), () => {
      leaveIfLinesHaveCode(f, store, last);
      f.return(store.address);
    });
    const records = f.let(recordsOf(store.note));
    f.if(codeBits(records, store.inPage, size).eqz(), () => f.return(store.address));
    const shared = codeBits(records, store.inPage, size, SLOT_SHARED_BYTES);
    f.if(shared, () => f.return(i32(0)));
    const end = f.let(store.inPage.add(size));
    const isKept = dropRecords(f, records, store.inPage, end);
    f.if(isKept, () => f.return(store.address));
    clearBits(f, records, store.inPage, size);
    settle(f, store, records, last.and(IN_PAGE));
    f.return(store.address);
  },
};

/**
 * Drops the records of instructions that have bytes in [from, end), and of decodings that failed
 * just before. Where the bytes are but an immediate, the record is kept and fetches it anew.
 * @returns whether a record was kept
 */
function dropRecords(f: FunctionBuilder, records: Value, from: Value, end: Value): Local {
  const isKept = f.local('i32');
  const offset = f.local('i32');
  const reach = INSTRUCTION_BYTES_MAX - 1;
  f.set(offset, select(from.gtU(reach), from.sub(reach), i32(0)));
  f.loop((again) => {
    const record = f.let(records.add(offset.shl(RECORD_SHIFT)));
    const handler = f.let(load('i32_16u', record, RECORD_HANDLER));
    f.if(handler, () => {
      const length = f.let(load('i32_8u', record, RECORD_LENGTH).shrU(RECORD_SHIFT));
      const next = f.let(offset.add(length));
      // Without a length it could not be decoded, and depends on what follows it.
      f.if(offset.geU(from).or(length.eqz()).or(next.gtU(from)), () => {
        const reloads = load('i32_8u', record, RECORD_SCALE).and(IMMEDIATE_RELOADS).ne(0);
        const isImmediate = from.geU(next.sub(IMMEDIATE_BYTES)).and(end.leU(next));
        f.if(
          reloads.and(isImmediate),
          () => {
            f.set(isKept, i32(1));
            f.if(handler.ne(HANDLER_RELOAD), () => {
              f.store('i32', record, handler, RECORD_IMMEDIATE);
              f.store('i32_16', record, i32(HANDLER_RELOAD), RECORD_HANDLER);
            });
          },
          () => {
            for (const word of [0, 4, 8, 12]) f.store('i32', record, i32(0), word);
          },
        );
      });
    });
    f.set(offset, offset.add(1));
    f.brIf(again, offset.ltU(end));
  });
  return isKept;
}

/** Says that `size` bytes from `inPage` on are no instruction's any more. */
function clearBits(f: FunctionBuilder, records: Value, inPage: Value, size: Value): void {
  const word = f.let(records.add(inPage.shrU(3)));
  const bits = i32(1).shl(size).sub(1).shl(inPage.and(7));
  f.store('i32', word, load('i32', word, SLOT_CODE_BYTES).and(bits.xor(-1)), SLOT_CODE_BYTES);
}

/** Takes lines without code out of the page's mask; a page without any is plain again. */
function settle(f: FunctionBuilder, store: CodeStore, records: Value, last: Value): void {
  const place = f.let(store.ramPage.shl(2).add(loadState(CODE_MASK_BASE)));
  const mask = f.local('i32');
  f.set(mask, load('i32', place));
  for (const at of [store.inPage, last]) {
    const line = f.let(at.shrU(LINE_SHIFT));
    const bits = f.let(records.add(line.mul(CODE_LINE_BYTES / 8)));
    const half = (offset: number) => load('i64', bits, SLOT_CODE_BYTES + offset);
    f.if(half(0).or(half(8)).eqz(), () => f.set(mask, mask.and(i32(1).shl(line).xor(-1))));
  }
  f.if(mask.eq(load('i32', place)), () => f.return(store.address));
  f.store('i32', place, mask);
  f.if(mask.eqz(), () => {
    f.store('i32_8', store.ramPage.add(loadState(DIRTY_BASE)), i32(DIRTY_ALL));
    openRow(f, store.row, store.ramPage);
  });
}

/** Stores the value of a store that TypeScript would do; returns if that could be done here. */
export function storeFilled(f: FunctionBuilder, address: Value, value: Value, size: Value): void {
  f.if(address, () => {
    f.if(size.eq(4), () => {
      f.store('i32', address, value);
      f.return();
    });
    f.if(
      size.eq(2),
      () => f.store('i32_16', address, value),
      () => f.store('i32_8', address, value),
    );
    f.return();
  });
}

/** The same for what lies in SCRATCH. */
export function storeWideFilled(f: FunctionBuilder, address: Value, size: Value): void {
  f.if(address, () => {
    f.memoryCopy(address, i32(SCRATCH), size);
    f.return();
  });
}
