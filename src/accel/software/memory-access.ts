// Emits guest memory accesses: a look at the SoftTLB row, the access itself, and what happens when
// the row does not allow it: a unit leaves, the interpreter goes into TypeScript. Row layout:
// memory/soft-tlb.ts.

import { type FunctionBuilder, i32, load, type Value } from '../../wasm/index.ts';
import { storeAddress, storeIntoCode } from './code-stores.ts';
import type { EngineSite } from './engine-site.ts';

const PAGE_SHIFT = 12;
const READ_TAG = 0;
const WRITE_TAG = 4;
const ADDEND = 8;

/** The tag with which a row allows all of the access: one page, no flag bit. */
function wantedTag(linear: Value, size: number): Value {
  return linear.add(size - 1).and(-1 << PAGE_SHIFT);
}

/** Byte of the buffer by a row that hits. */
function addressBy(row: Value, linear: Value): Value {
  return linear.add(load('i32', row, ADDEND));
}

export function rawLoad(address: Value, size: number, offset = 0): Value {
  switch (size) {
    case 1:
      return load('i32_8u', address, offset);
    case 2:
      return load('i32_16u', address, offset);
    case 4:
      return load('i32', address, offset);
    case 8:
      return load('i64', address, offset);
    case 16:
      return load('v128', address, offset);
    default:
      throw new RangeError(`Cannot access memory in units of ${size} bytes`);
  }
}

export function rawStore(
  f: FunctionBuilder,
  address: Value,
  size: number,
  value: Value,
  offset = 0,
): void {
  if (size === 1) f.store('i32_8', address, value, offset);
  else if (size === 2) f.store('i32_16', address, value, offset);
  else if (size === 4) f.store('i32', address, value, offset);
  else if (size === 8) f.store('i64', address, value, offset);
  else if (size === 16) f.store('v128', address, value, offset);
  else throw new RangeError(`Cannot access memory in units of ${size} bytes`);
}

/** Byte of the buffer for an access by a unit, which leaves if it cannot be made at once. */
function plainAddress(site: EngineSite, linear: Value, size: number, isWrite: boolean): Value {
  const { f, pages } = site;
  const wanted = f.let(wantedTag(linear, size));
  const known = pages?.find(linear, isWrite);
  if (known) {
    f.if(known.page.ne(wanted), () => pages!.leave());
    return linear.add(known.addend);
  }
  const row = site.rowOf(linear);
  f.if(load('i32', row, isWrite ? WRITE_TAG : READ_TAG).ne(wanted), () => site.leave());
  const addend = f.let(load('i32', row, ADDEND));
  pages?.note(linear, { page: wanted, addend, isWritable: isWrite });
  return linear.add(addend);
}

/** A load from a pinned linear address; the value is pinned. */
export function emitLoad(site: EngineSite, linear: Value, size: number): Value {
  const { f, slow } = site;
  if (!slow) return f.let(rawLoad(plainAddress(site, linear, size, false), size));
  const row = site.rowOf(linear);
  const [tag, wanted] = [load('i32', row, READ_TAG), wantedTag(linear, size)];
  return f.ifValue(
    tag.eq(wanted),
    () => rawLoad(addressBy(row, linear), size),
    () => slow.load(linear, size),
  );
}

/** A store to a pinned linear address. */
export function emitStore(site: EngineSite, linear: Value, size: number, value: Value): void {
  const { f, slow } = site;
  const pinned = f.let(value);
  if (!slow) {
    rawStore(f, plainAddress(site, linear, size, true), size, pinned);
    return;
  }
  const row = site.rowOf(linear);
  const [tag, wanted] = [load('i32', row, WRITE_TAG), wantedTag(linear, size)];
  f.if(
    tag.eq(wanted),
    () => rawStore(f, addressBy(row, linear), size, pinned),
    () => {
      // The record is not needed any more, so this may drop it.
      const address = f.call(site.targets.shared(storeIntoCode), linear, i32(size));
      f.if(
        address,
        () => rawStore(f, address, size, pinned),
        () => slow.store(linear, size, pinned),
      );
    },
  );
}

/**
 * The first half of a read-modify-write: the old value, with the write checked, and the store that
 * then cannot fault.
 */
export function emitModify(
  site: EngineSite,
  linear: Value,
  size: number,
): { old: Value; store: (value: Value) => void } {
  const { f, slow } = site;
  if (!slow) {
    const at = f.let(plainAddress(site, linear, size, true));
    return {
      old: f.let(rawLoad(at, size)),
      store: (value) => rawStore(f, at, size, value),
    };
  }
  const row = site.rowOf(linear);
  const [tag, wanted] = [load('i32', row, WRITE_TAG), wantedTag(linear, size)];
  // Zero, which no guest byte has, means the slow path.
  const address = f.ifValue(
    tag.eq(wanted),
    () => addressBy(row, linear),
    () => f.call(site.targets.shared(storeAddress), linear, i32(size)),
  );
  const old = f.ifValue(
    address,
    () => rawLoad(address, size),
    () => slow.loadForStore(linear, size),
  );
  return {
    old,
    store(value) {
      const pinned = f.let(value);
      f.if(
        address,
        () => rawStore(f, address, size, pinned),
        () => slow.store(linear, size, pinned),
      );
    },
  };
}
