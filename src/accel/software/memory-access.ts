// Emits guest memory accesses: a look at the SoftTLB row, the access itself, and the way into
// TypeScript when the row does not allow it. Row layout: memory/soft-tlb.ts.

import { SCRATCH } from '../../cpu/state-layout.ts';
import { type FunctionBuilder, i32, load, type Value } from '../../wasm/index.ts';
import { storeAddress, storeIntoCode } from './code-stores.ts';
import type { EngineSite } from './engine-site.ts';
import { rowAddress } from './tlb-fill.ts';

const PAGE_SHIFT = 12;
const READ_TAG = 0;
const WRITE_TAG = 4;
const ADDEND = 8;

/** Whether the row's tag allows all of the access: one page, no flag bit. */
function hits(row: Value, tag: number, linear: Value, size: number): Value {
  return load('i32', row, tag).eq(linear.add(size - 1).and(-1 << PAGE_SHIFT));
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

/** A load from a pinned linear address; the value is pinned. */
export function emitLoad(site: EngineSite, linear: Value, size: number): Value {
  const { f, targets } = site;
  const row = rowAddress(site.f, linear);
  return f.ifValue(
    hits(row, READ_TAG, linear, size),
    () => rawLoad(linear.add(load('i32', row, ADDEND)), size),
    () => {
      if (size <= 4) {
        site.noteFuel();
        const value = f.call(targets.slow.load, linear, i32(size));
        site.leaveOnFault();
        return value;
      }
      site.noteFuel();
      f.call(targets.slow.loadWide, linear, i32(size));
      site.leaveOnFault();
      return rawLoad(i32(0), size, SCRATCH);
    },
  );
}

/** A store to a pinned linear address. */
export function emitStore(site: EngineSite, linear: Value, size: number, value: Value): void {
  const { f } = site;
  const row = rowAddress(site.f, linear);
  const pinned = f.let(value);
  f.if(
    hits(row, WRITE_TAG, linear, size),
    () => rawStore(f, linear.add(load('i32', row, ADDEND)), size, pinned),
    () => {
      // The record is not needed any more, so this may drop it.
      const address = f.call(site.targets.shared(storeIntoCode), linear, i32(size));
      f.if(
        address,
        () => rawStore(f, address, size, pinned),
        () => emitSlowStore(site, linear, size, pinned),
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
  const { f, targets } = site;
  const row = rowAddress(site.f, linear);
  // Zero, which no guest byte has, means the slow path.
  const address = f.ifValue(
    hits(row, WRITE_TAG, linear, size),
    () => linear.add(load('i32', row, ADDEND)),
    () => emitStoreAddress(site, linear, size),
  );
  const old = f.ifValue(
    address,
    () => rawLoad(address, size),
    () => {
      if (size <= 4) {
        site.noteFuel();
        const value = f.call(targets.slow.loadForStore, linear, i32(size));
        site.leaveOnFault();
        return value;
      }
      site.noteFuel();
      f.call(targets.slow.loadWideForStore, linear, i32(size));
      site.leaveOnFault();
      return rawLoad(i32(0), size, SCRATCH);
    },
  );
  return {
    old,
    store(value) {
      const pinned = f.let(value);
      f.if(
        address,
        () => rawStore(f, address, size, pinned),
        () => emitSlowStore(site, linear, size, pinned),
      );
    },
  };
}

function emitStoreAddress({ f, targets }: EngineSite, linear: Value, size: number): Value {
  return f.call(targets.shared(storeAddress), linear, i32(size));
}

function emitSlowStore(site: EngineSite, linear: Value, size: number, pinned: Value): void {
  const { f, targets } = site;
  if (size <= 4) {
    site.noteFuel();
    f.call(targets.slow.store, linear, pinned, i32(size));
  } else {
    rawStore(f, i32(0), size, pinned, SCRATCH);
    site.noteFuel();
    f.call(targets.slow.storeWide, linear, i32(size));
  }
  site.leaveOnFault();
}
