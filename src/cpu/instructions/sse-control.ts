// MXCSR, fences, cache control, prefetches, and stores under a byte mask. Memory here is as
// strongly ordered as anything can be, so fences and non-temporal hints have nothing to do. Intel
// SDM volume 2, the instructions by name.

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
 * Stores the bytes of `low` and `high` whose mask bit is set, at DS:EDI. The whole operand is
 * checked first, even with an empty mask: SDM volume 2, "MASKMOVDQU" allows that, hosts do it.
 */
function storeMasked(
  e: Emitter,
  place: Operand,
  mask: Value,
  low: Value,
  high: Value,
  bytes: number,
): void {
  const bits = e.let(mask);
  const values = [e.let(low), e.let(high)] as const;
  const number = e.f.local('i32');
  e.f.set(number, i32(0));
  const offset = e.let(e.readRegister(EDI, e.addressSize));
  const start = e.let(place.linearAt(offset, bytes, true));
  e.let(e.loadLinearForWrite(start, bytes));
  e.f.loop((again) => {
    e.f.if(bits.shrU(number).and(1), () => {
      const half = select(number.ltU(8), values[0], values[1]);
      const byte = half.shrU(number.and(7).shl(3).extendU()).wrap().and(0xff);
      e.storeLinear(e.let(start.add(number)), 1, e.let(byte));
    });
    e.f.set(number, number.add(1));
    e.f.brIf(again, number.ltU(bytes));
  });
}

row(
  'NP 0F F7',
  'MASKMOVQ',
  'Pq,Nq,Xb',
  (e, source, mask, place) => {
    beginMMX(e);
    const bits = op('i8x16.bitmask', fromMMX(mask.read())).and(0xff);
    // Unlike other stores it is in MMX state even if it then faults, as the host is.
    enterMMX(e);
    storeMasked(e, place, bits, source.read(), i64(0), 8);
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
