// MXCSR, fences, cache control, prefetches, and stores under a byte mask. Memory here is as strongly
// ordered as anything can be, so fences and non-temporal hints have nothing to do.
// Intel SDM volume 2, the instructions by name.

import { i32, i64, op, select, type Value } from '../../wasm/index.ts';
import { VECTOR_GP } from '../control-bits.ts';
import type { Emitter, Operand } from '../emitter.ts';
import { type Meaning, row } from '../instruction-table.ts';
import { MXCSR_WRITABLE } from '../simd/mxcsr.ts';
import { beginMMX, beginSSE, enterMMX } from '../simd/simd-state.ts';
import { fromMMX, high64, low64 } from '../simd/vector.ts';
import { MXCSR } from '../state-layout.ts';

const nothing: Meaning = () => {};

row('NP 0F AE /2', 'LDMXCSR', 'Md', (e, source) => {
  beginSSE(e);
  const value = source.read();
  e.raiseIf(value.and(~MXCSR_WRITABLE), VECTOR_GP, 0);
  e.storeState32(MXCSR, value);
});
row('NP 0F AE /3', 'STMXCSR', 'Md', (e, destination) => {
  beginSSE(e);
  destination.write(e.loadState32(MXCSR));
});

row('NP 0F AE E8+i', 'LFENCE', '', nothing);
row('NP 0F AE F0+i', 'MFENCE', '', nothing);
row('NP 0F AE F8+i', 'SFENCE', '', nothing);
row('NP 0F AE /7', 'CLFLUSH', 'Mb', (e, line) => {
  // It faults as a load of a byte does.
  e.let(line.read());
});

// A prefetch never faults, and does not even compute its address.
row('0F 18', 'PREFETCH', 'Eb', nothing);
row('0F 0D', 'PREFETCHW', 'Eb', nothing);

row('NP 0F C3', 'MOVNTI', 'My,Gy', (_e, destination, source) => {
  destination.write(source.read());
});

const EDI = 7;

/**
 * Stores the bytes of `low` and `high` whose mask bit is set, at DS:EDI. All stores are checked
 * before the first is done, so that a fault leaves memory as it was.
 */
function storeMasked(
  e: Emitter,
  place: Operand,
  mask: Value,
  low: Value,
  high: Value,
  bytes: number,
): void {
  const start = e.let(e.readRegister(EDI, e.addressSize));
  const bits = e.let(mask);
  const values = [e.let(low), e.let(high)] as const;
  const number = e.f.local('i32');
  const linearOf = (): Value => {
    const sum = start.add(number);
    return e.let(place.linearAt(e.addressSize === 2 ? sum.and(0xffff) : sum, 1, true));
  };
  const eachByte = (body: () => void): void => {
    e.f.set(number, i32(0));
    e.f.loop((again) => {
      e.f.if(bits.shrU(number).and(1), body);
      e.f.set(number, number.add(1));
      e.f.brIf(again, number.ltU(bytes));
    });
  };
  e.f.if(bits, () => {
    eachByte(() => e.let(e.loadLinearForWrite(linearOf(), 1)));
    eachByte(() => {
      const half = select(number.ltU(8), values[0], values[1]);
      const byte = half.shrU(number.and(7).shl(3).extendU());
      e.storeLinear(linearOf(), 1, e.let(byte.wrap().and(0xff)));
    });
  });
}

row(
  'NP 0F F7',
  'MASKMOVQ',
  'Pq,Nq,Xb',
  (e, source, mask, place) => {
    beginMMX(e);
    const bits = op('i8x16.bitmask', fromMMX(mask.read())).and(0xff);
    storeMasked(e, place, bits, source.read(), i64(0), 8);
    enterMMX(e);
  },
  { usesAddressSize: true },
);
row(
  '66 0F F7',
  'MASKMOVDQU',
  'Vdq,Udq,Xb',
  (e, source, mask, place) => {
    beginSSE(e);
    const value = e.let(source.read());
    const bits = op('i8x16.bitmask', mask.read());
    storeMasked(e, place, bits, low64(value), high64(value), 16);
  },
  { usesAddressSize: true },
);
