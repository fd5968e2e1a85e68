// Emits the page walk of a TLB miss, for the ordinary case: entries and page lie in plain RAM, the
// access is allowed, accessed and dirty bits are set or may be. Zero means that TypeScript must do
// it, which does all of it anew. The reference is cpu/page-walk.ts, with the manual's sections.

import {
  CR0_PG,
  CR0_WP,
  CR4_PAE,
  CR4_PGE,
  CR4_PSE,
  EFER_NXE,
  PHYSICAL_ADDRESS_BITS,
} from '../../cpu/control-bits.ts';
import type { SharedFunction } from '../../cpu/emitter.ts';
import { FLAG_AC } from '../../cpu/flags.ts';
import { ACCESS_EXECUTE, ACCESS_READ, ACCESS_WRITE } from '../../cpu/page-walk.ts';
import {
  A20_MASK,
  CPL,
  CR0,
  CR3,
  CR4,
  DR,
  EFER,
  EFLAGS_REST,
  LARGE_PAGES_FIRST,
  LARGE_PAGES_LAST,
  PDPTE,
  TLB_BASE,
} from '../../cpu/state-layout.ts';
import { DIRTY_ALL } from '../../memory/dirty-memory.ts';
import {
  TLB_ADDEND,
  TLB_GPA_PAGE,
  TLB_INVALID,
  TLB_NOTDIRTY,
  TLB_READ_TAG,
  TLB_ROW_COUNT,
  TLB_ROW_IS_GLOBAL,
  TLB_ROW_IS_LOGGED,
  TLB_STORE_PAGES,
  TLB_WRITE_TAG,
} from '../../memory/soft-tlb.ts';
import { type FunctionBuilder, i32, load, select, type Value } from '../../wasm/index.ts';
import {
  CODE_SLOTS_BASE,
  DIRTY_BASE,
  PLAIN_RAM,
  PLAIN_RAM_BYTES,
  RAM_BASE,
  SLOT_IS_USED,
  TLB_COUNTS,
  TLB_LOG,
  TLB_ROW_STATES,
  TLB_STORE_MARKS,
  TLB_TABLES,
  WALKS_IN_TYPESCRIPT,
} from './record.ts';
import { loadState, storeState } from './state-access.ts';

const PAGE_SHIFT = 12;
const ROW_SHIFT = 4;
const PAGE_MASK = -1 << PAGE_SHIFT;
const DR7 = DR + 7 * 8;
const DR7_ENABLED = 0xff;
const RING_3 = 3;

const PRESENT = 1;
const WRITE = 2;
const USER = 4;
const ACCESSED = 0x20;
const DIRTY_SHIFT = 6;
const DIRTY = 1 << DIRTY_SHIFT;
const LARGE = 0x80;
const GLOBAL = 0x100;
const PSE36_RESERVED = 0x3e_0000;
const PAE_LARGE_RESERVED = 0x1f_e000;
const HIGH_ADDRESS = 2 ** (PHYSICAL_ADDRESS_BITS - 32) - 1;
/** Page numbers above 4 GiB begin at this bit. */
const HIGH_PAGE_SHIFT = 32 - PAGE_SHIFT;

/** What `walkPage` gives: the guest-physical page number from this bit on, and below it: */
const WALKED_PAGE_SHIFT = 8;
const WALKED = 1;
/** The page may be written, and its dirty bit is set. */
const WALKED_WRITABLE = 2;
const WALKED_GLOBAL = 4;
const WALKED_LARGE = 8;

/** (page number) → byte of the buffer at which that page of plain RAM begins, or 0. */
const pageAddress: SharedFunction = {
  name: 'pageAddress',
  params: ['i32'],
  result: 'i32',
  build(f) {
    const page = f.param(0);
    const section = f.local('i32');
    f.loop((again) => {
      const inSection = f.let(page.sub(load('i32', section, PLAIN_RAM)));
      const count = f.let(load('i32', section, PLAIN_RAM + 4));
      f.if(inSection.ltU(count), () =>
        f.return(page.shl(PAGE_SHIFT).add(load('i32', section, PLAIN_RAM + 8))),
      );
      f.set(section, section.add(PLAIN_RAM_BYTES));
      f.brIf(again, count);
    });
    f.return(i32(0));
  },
};

/** (byte address of an entry, bits) → whether they are set now, by a store if one may be made. */
const markEntry: SharedFunction = {
  name: 'markEntry',
  params: ['i32', 'i32'],
  result: 'i32',
  build(f) {
    const [address, bits] = [f.param(0), f.param(1)];
    const entry = f.let(load('i32', address));
    f.if(entry.and(bits).eq(bits), () => f.return(i32(1)));
    f.if(isAllDirty(ramPageOf(address)).eqz(), () => f.return(i32(0)));
    f.store('i32', address, entry.or(bits));
    f.return(i32(1));
  },
};

function ramPageOf(address: Value): Value {
  return address.sub(loadState(RAM_BASE)).shrU(PAGE_SHIFT);
}

/** Whether nobody wants to know of stores to a RAM page: it is dirty for all, and has no code. */
function isAllDirty(ramPage: Value): Value {
  return load('i32_8u', ramPage.add(loadState(DIRTY_BASE))).eq(DIRTY_ALL);
}

/** R/W and U/S bits that an access needs; pinned. */
function neededRights(f: FunctionBuilder, access: Value): Value {
  const isUser = f.let(loadState(CPL).eq(RING_3));
  const obeys = isUser.or(loadState(CR0).and(CR0_WP).ne(0));
  const isWrite = access.eq(ACCESS_WRITE);
  return f.let(
    select(isUser, i32(USER), i32(0)).or(select(isWrite.and(obeys), i32(WRITE), i32(0))),
  );
}

/** Accessed, and for a write dirty; pinned. */
function neededMarks(f: FunctionBuilder, access: Value): Value {
  return f.let(i32(ACCESSED).or(access.eq(ACCESS_WRITE).shl(DIRTY_SHIFT)));
}

/** The result of a walk: `rights` of all levels, `leaf` as it was before the walk marked it. */
function walked(page: Value, rights: Value, leaf: Value, marks: Value, isLarge: boolean): Value {
  const isWritable = rights.and(WRITE).ne(0).or(supervisorWritesAll());
  const isDirty = leaf.or(marks).and(DIRTY).ne(0);
  const isGlobal = leaf.and(GLOBAL).and(loadState(CR4).and(CR4_PGE).shl(1)).ne(0);
  return page
    .shl(WALKED_PAGE_SHIFT)
    .or(WALKED | (isLarge ? WALKED_LARGE : 0))
    .or(select(isWritable.and(isDirty), i32(WALKED_WRITABLE), i32(0)))
    .or(select(isGlobal, i32(WALKED_GLOBAL), i32(0)));
}

function supervisorWritesAll(): Value {
  return loadState(CPL).ne(RING_3).and(loadState(CR0).and(CR0_WP).eqz());
}

/** (linear, access) → WALKED_ bits and page, or 0: 32-bit paging. */
const walk32: SharedFunction = {
  name: 'walk32',
  params: ['i32', 'i32'],
  result: 'i32',
  build(f, { call }) {
    const [linear, access] = [f.param(0), f.param(1)];
    const fail = (condition: Value): void => f.if(condition, () => f.return(i32(0)));
    const directory = call(pageAddress, loadState(CR3).shrU(PAGE_SHIFT));
    fail(directory.eqz());
    const pdeAddress = f.let(directory.add(linear.shrU(20).and(0xffc)));
    const pde = f.let(load('i32', pdeAddress));
    fail(pde.and(PRESENT).eqz());
    const needed = neededRights(f, access);
    const marks = neededMarks(f, access);
    fail(pde.and(needed).ne(needed));
    f.if(pde.and(LARGE).and(loadState(CR4).and(CR4_PSE).shl(3)), () => {
      fail(pde.and(PSE36_RESERVED));
      fail(call(markEntry, pdeAddress, marks).eqz());
      const high = pde.shrU(13).and(HIGH_ADDRESS).shl(HIGH_PAGE_SHIFT);
      const page = pde.shrU(22).shl(10).or(linear.shrU(PAGE_SHIFT).and(0x3ff)).or(high);
      f.return(walked(page, pde, pde, marks, true));
    });
    const table = call(pageAddress, pde.shrU(PAGE_SHIFT));
    fail(table.eqz());
    const pteAddress = f.let(table.add(linear.shrU(10).and(0xffc)));
    const pte = f.let(load('i32', pteAddress));
    fail(pte.and(PRESENT).eqz());
    fail(pte.and(needed).ne(needed));
    fail(call(markEntry, pdeAddress, i32(ACCESSED)).eqz());
    fail(call(markEntry, pteAddress, marks).eqz());
    f.return(walked(pte.shrU(PAGE_SHIFT), pde.and(pte), pte, marks, false));
  },
};

/** Page number of a PAE entry. */
function pagePAE(low: Value, high: Value): Value {
  return low.shrU(PAGE_SHIFT).or(high.and(HIGH_ADDRESS).shl(HIGH_PAGE_SHIFT));
}

/** The same for PAE paging. */
const walkPAE: SharedFunction = {
  name: 'walkPAE',
  params: ['i32', 'i32'],
  result: 'i32',
  build(f, { call }) {
    const [linear, access] = [f.param(0), f.param(1)];
    const fail = (condition: Value): void => f.if(condition, () => f.return(i32(0)));
    const pointer = f.let(linear.shrU(30).shl(3));
    const pointerLow = f.let(load('i32', pointer, PDPTE));
    fail(pointerLow.and(PRESENT).eqz());
    const directory = call(pageAddress, pagePAE(pointerLow, load('i32', pointer, PDPTE + 4)));
    fail(directory.eqz());
    const pdeAddress = f.let(directory.add(linear.shrU(18).and(0xff8)));
    const pde = f.let(load('i32', pdeAddress));
    const pdeHigh = f.let(load('i32', pdeAddress, 4));
    fail(pde.and(PRESENT).eqz());
    // Bit 63 forbids execution where EFER.NXE says so, and is reserved otherwise.
    const hasNX = loadState(EFER).and(EFER_NXE).ne(0);
    const forbidden = f.let(
      i32(0x7fff_ffff & ~HIGH_ADDRESS).or(
        select(hasNX.and(access.ne(ACCESS_EXECUTE)), i32(0), i32(1 << 31)),
      ),
    );
    fail(pdeHigh.and(forbidden));
    const needed = neededRights(f, access);
    const marks = neededMarks(f, access);
    fail(pde.and(needed).ne(needed));
    f.if(pde.and(LARGE), () => {
      fail(pde.and(PAE_LARGE_RESERVED));
      fail(call(markEntry, pdeAddress, marks).eqz());
      const page = pagePAE(pde.and(-1 << 21), pdeHigh).or(linear.shrU(PAGE_SHIFT).and(0x1ff));
      f.return(walked(page, pde, pde, marks, true));
    });
    const table = call(pageAddress, pagePAE(pde, pdeHigh));
    fail(table.eqz());
    const pteAddress = f.let(table.add(linear.shrU(9).and(0xff8)));
    const pte = f.let(load('i32', pteAddress));
    const pteHigh = f.let(load('i32', pteAddress, 4));
    fail(pte.and(PRESENT).eqz());
    fail(pteHigh.and(forbidden));
    fail(pte.and(needed).ne(needed));
    fail(call(markEntry, pdeAddress, i32(ACCESSED)).eqz());
    fail(call(markEntry, pteAddress, marks).eqz());
    f.return(walked(pagePAE(pte, pteHigh), pde.and(pte), pte, marks, false));
  },
};

/** (linear, access) → WALKED_ bits and the guest-physical page, or 0. */
const walkPage: SharedFunction = {
  name: 'walkPage',
  params: ['i32', 'i32'],
  result: 'i32',
  build(f, { call }) {
    const [linear, access] = [f.param(0), f.param(1)];
    // Closed A20, data breakpoints, alignment checks, pages that are elsewhere still: all rare.
    const isOdd = loadState(A20_MASK)
      .ne(-1)
      .or(loadState(DR7).and(DR7_ENABLED))
      .or(loadState(EFLAGS_REST).and(FLAG_AC))
      .or(loadState(WALKS_IN_TYPESCRIPT));
    f.if(isOdd, () => f.return(i32(0)));
    f.if(loadState(CR0).and(CR0_PG).eqz(), () =>
      f.return(
        linear
          .shrU(PAGE_SHIFT)
          .shl(WALKED_PAGE_SHIFT)
          .or(WALKED | WALKED_WRITABLE),
      ),
    );
    f.if(loadState(CR4).and(CR4_PAE), () => f.return(call(walkPAE, linear, access)));
    f.return(call(walk32, linear, access));
  },
};

/**
 * (linear, access) → byte address of the TLB row that now holds the page, with a read tag that
 * hits, or 0. As `MMU` and `SoftTLB.fill` do it.
 */
const fillRow: SharedFunction = {
  name: 'fillRow',
  params: ['i32', 'i32'],
  result: 'i32',
  build(f, { call }) {
    const [linear, access] = [f.param(0), f.param(1)];
    const found = call(walkPage, linear, access);
    f.if(found.eqz(), () => f.return(i32(0)));
    const address = call(pageAddress, found.shrU(WALKED_PAGE_SHIFT));
    f.if(address.eqz(), () => f.return(i32(0)));
    f.if(found.and(WALKED_LARGE), () => noteLargePage(f, linear));
    const ramPage = f.let(ramPageOf(address));
    const isPlain = f.let(isAllDirty(ramPage));
    f.if(isPlain, () => {
      const mark = ramPage.and(TLB_STORE_PAGES - 1).add(loadState(TLB_STORE_MARKS));
      f.store('i32_8', mark, i32(1));
    });
    const row = rowAddress(f, linear);
    const page = f.let(linear.and(PAGE_MASK));
    const writeFlags = select(isPlain, i32(0), i32(TLB_NOTDIRTY));
    const isWritable = found.and(WALKED_WRITABLE);
    f.store('i32', row, page, TLB_READ_TAG);
    f.store('i32', row, page.or(select(isWritable, writeFlags, i32(TLB_INVALID))), TLB_WRITE_TAG);
    f.store('i32', row, address.sub(page), TLB_ADDEND);
    f.store('i32', row, found.shrU(WALKED_PAGE_SHIFT), TLB_GPA_PAGE);
    logRow(f, row, select(found.and(WALKED_GLOBAL), i32(TLB_ROW_IS_GLOBAL), i32(0)));
    f.return(row);
  },
};

/**
 * Address of the TLB row of `linear`, pinned.
 * @param table address of the rows for the current privilege
 */
export function rowAddress(
  f: FunctionBuilder,
  linear: Value,
  table: Value = loadState(TLB_BASE),
): Value {
  const inTable = linear.shrU(PAGE_SHIFT - ROW_SHIFT).and((TLB_ROW_COUNT - 1) << ROW_SHIFT);
  return f.let(inTable.add(table));
}

function noteLargePage(f: FunctionBuilder, linear: Value): void {
  const first = f.let(linear.and(-1 << 22));
  const last = f.let(linear.or(0x3f_ffff));
  f.if(first.ltU(loadState(LARGE_PAGES_FIRST)), () => storeState(f, LARGE_PAGES_FIRST, first));
  f.if(last.gtU(loadState(LARGE_PAGES_LAST)), () => storeState(f, LARGE_PAGES_LAST, last));
}

/** Enters a row into the TLB's log, once, and counts the fill. */
function logRow(f: FunctionBuilder, row: Value, globalBit: Value): void {
  const index = f.let(row.sub(loadState(TLB_TABLES)).shrU(ROW_SHIFT));
  const state = f.let(index.add(loadState(TLB_ROW_STATES)));
  const counts = f.let(loadState(TLB_COUNTS));
  f.if(load('i32_8u', state).eqz(), () => {
    const logged = f.let(load('i32', counts));
    f.store('i32', logged.shl(2).add(loadState(TLB_LOG)), index);
    f.store('i32', counts, logged.add(1));
  });
  f.store('i32_8', state, globalBit.or(TLB_ROW_IS_LOGGED));
  f.store('i32', counts, load('i32', counts, 4).add(1), 4);
}

/** (linear, size) → byte address from which a load that missed may be made now, or 0. */
export const loadAddress: SharedFunction = {
  name: 'loadAddress',
  params: ['i32', 'i32'],
  result: 'i32',
  build(f, { call }) {
    const [linear, size] = [f.param(0), f.param(1)];
    f.if(crossesPage(linear, size), () => f.return(i32(0)));
    const row = call(fillRow, linear, i32(ACCESS_READ));
    f.if(row.eqz(), () => f.return(i32(0)));
    f.return(linear.add(load('i32', row, TLB_ADDEND)));
  },
};

/** (linear, size) → whether the page's row is filled for a store now; it may say NOTDIRTY. */
export const fillForStore: SharedFunction = {
  name: 'fillForStore',
  params: ['i32', 'i32'],
  result: 'i32',
  build(f, { call }) {
    const [linear, size] = [f.param(0), f.param(1)];
    f.if(crossesPage(linear, size), () => f.return(i32(0)));
    f.return(call(fillRow, linear, i32(ACCESS_WRITE)).ne(0));
  },
};

function crossesPage(linear: Value, size: Value): Value {
  return linear
    .and(~PAGE_MASK)
    .add(size)
    .gtU(1 << PAGE_SHIFT);
}

/**
 * (linear, mode) → first record of the page of code at `linear`, which may be run, or 0: if it has
 * been decoded for this mode, and for no other.
 */
export const findRecords: SharedFunction = {
  name: 'findRecords',
  params: ['i32', 'i32'],
  result: 'i32',
  build(f, { call }) {
    const [linear, mode] = [f.param(0), f.param(1)];
    const found = call(walkPage, linear, i32(ACCESS_EXECUTE));
    f.if(found.eqz(), () => f.return(i32(0)));
    const address = call(pageAddress, found.shrU(WALKED_PAGE_SHIFT));
    f.if(address.eqz(), () => f.return(i32(0)));
    const note = f.let(load('i32', ramPageOf(address).shl(2).add(loadState(CODE_SLOTS_BASE))));
    f.if(note.and(0xf).ne(mode.and(7).or(8)), () => f.return(i32(0)));
    const records = f.let(note.and(~0xf));
    f.store('i32_8', records, i32(1), SLOT_IS_USED);
    f.return(records);
  },
};
