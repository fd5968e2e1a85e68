// Runs of REP MOVS and REP STOS at memory speed: as many bytes as lie in the pages at hand, if
// their TLB rows allow plain access. Otherwise zero, and the instruction moves a single element.

import { PAGE_SIZE } from '../../base/pages.ts';
import type { SharedFunction } from '../../cpu/emitter.ts';
import { type FunctionBuilder, i32, load, select, type Value } from '../../wasm/index.ts';
import { runAddress } from './code-stores.ts';
import { loadAddress, rowAddress } from './tlb-fill.ts';

const READ_TAG = 0;
const WRITE_TAG = 4;
const ADDEND = 8;

function min(a: Value, b: Value): Value {
  return select(a.ltU(b), a, b);
}

function toPageEnd(linear: Value): Value {
  return i32(PAGE_SIZE).sub(linear.and(PAGE_SIZE - 1));
}

/** Byte address in the buffer of `linear`, by `miss` where the row does not hit; 0 leaves. */
function hostAddress(f: FunctionBuilder, linear: Value, tag: number, miss: () => Value): Value {
  const row = rowAddress(f, linear);
  return f.ifValue(
    load('i32', row, tag).eq(linear.and(-PAGE_SIZE)),
    () => linear.add(load('i32', row, ADDEND)),
    () => {
      const address = f.let(miss());
      f.if(address.eqz(), () => f.return(i32(0)));
      return address;
    },
  );
}

/** (destination, source, bytes at most, element size) → bytes copied, whole elements. */
export const copyRun: SharedFunction = {
  name: 'copyRun',
  params: ['i32', 'i32', 'i32', 'i32'],
  result: 'i32',
  build(f, { call }) {
    const [destination, source, bytes, size] = [f.param(0), f.param(1), f.param(2), f.param(3)];
    const to = hostAddress(f, destination, WRITE_TAG, () => call(runAddress, destination, bytes));
    const from = hostAddress(f, source, READ_TAG, () => call(loadAddress, source, i32(1)));
    const room = f.let(min(toPageEnd(destination), toPageEnd(source)));
    const wanted = f.let(min(bytes, room));
    // Elements are copied one after the other: a destination just behind its source repeats it. In
    // physical memory, as two linear pages may be one.
    const distance = f.let(to.sub(from));
    const run = f.let(min(wanted, select(distance, distance, i32(0))).and(size.neg()));
    f.memoryCopy(to, from, run);
    f.return(run);
  },
};

/** (destination, value, bytes at most, element size) → bytes filled, whole elements. */
export const fillRun: SharedFunction = {
  name: 'fillRun',
  params: ['i32', 'i32', 'i32', 'i32'],
  result: 'i32',
  build(f, { call }) {
    const [destination, value, bytes, size] = [f.param(0), f.param(1), f.param(2), f.param(3)];
    const to = hostAddress(f, destination, WRITE_TAG, () => call(runAddress, destination, bytes));
    const run = f.let(min(bytes, f.let(toPageEnd(destination))).and(size.neg()));
    const isOneByte = size.eq(1).or(value.rotl(8).eq(value));
    f.if(isOneByte, () => {
      f.memoryFill(to, value, run);
      f.return(run);
    });
    const at = f.local('i32');
    const end = f.let(to.add(run));
    f.set(at, to);
    f.block((done) => {
      f.loop((again) => {
        f.brIf(done, at.geU(end));
        f.if(
          size.eq(2),
          () => f.store('i32_16', at, value),
          () => f.store('i32', at, value),
        );
        f.set(at, at.add(size));
        f.br(again);
      });
    });
    f.return(run);
  },
};
