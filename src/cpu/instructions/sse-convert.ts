// Conversions between integers and floats, and between the two float formats. Those that name an
// MMX register enter MMX state as MMX instructions do. Intel SDM volume 2, the instructions by
// name.

import { i32, op } from '../../wasm/index.ts';
import type { SharedFunction } from '../emitter.ts';
import { row } from '../instruction-table.ts';
import {
  DQ_TO_PS,
  PD_TO_DQ,
  PD_TO_PS,
  PI_TO_PS,
  PS_TO_DQ,
  PS_TO_PD,
  PS_TO_PI,
  SD_TO_SI,
  SD_TO_SS,
  SI_TO_SS,
  SS_TO_SD,
  SS_TO_SI,
} from '../simd/float-convert.ts';
import { beginMixed, beginSSE, checkSIMD, enterMMX } from '../simd/simd-state.ts';
import { low64, zeroExtended } from '../simd/vector.ts';

/** A conversion whose result has the destination's size. */
function convertRow(
  pattern: string,
  mnemonic: string,
  operands: string,
  shared: SharedFunction,
): void {
  row(pattern, mnemonic, operands, (e, destination, source) => {
    beginSSE(e);
    const result = e.callShared(shared, source.read());
    checkSIMD(e);
    destination.write(result);
  });
}
convertRow('F3 0F 2A', 'CVTSI2SS', 'Vss,Ed', SI_TO_SS);
convertRow('NP 0F 5A', 'CVTPS2PD', 'Vdq,Wq', PS_TO_PD);
convertRow('66 0F 5A', 'CVTPD2PS', 'Vdq,Wpd', PD_TO_PS);
convertRow('F3 0F 5A', 'CVTSS2SD', 'Vsd,Wss', SS_TO_SD);
convertRow('F2 0F 5A', 'CVTSD2SS', 'Vss,Wsd', SD_TO_SS);
convertRow('NP 0F 5B', 'CVTDQ2PS', 'Vps,Wdq', DQ_TO_PS);

/** To integers, with the CVTT form, which truncates, or as MXCSR says. */
function integerRow(
  pattern: string,
  mnemonic: string,
  operands: string,
  shared: SharedFunction,
): void {
  const truncates = i32(mnemonic.startsWith('CVTT') ? 1 : 0);
  row(pattern, mnemonic, operands, (e, destination, source) => {
    beginSSE(e);
    const result = e.callShared(shared, source.read(), truncates);
    checkSIMD(e);
    destination.write(result);
  });
}
integerRow('F3 0F 2C', 'CVTTSS2SI', 'Gd,Wss', SS_TO_SI);
integerRow('F3 0F 2D', 'CVTSS2SI', 'Gd,Wss', SS_TO_SI);
integerRow('F2 0F 2C', 'CVTTSD2SI', 'Gd,Wsd', SD_TO_SI);
integerRow('F2 0F 2D', 'CVTSD2SI', 'Gd,Wsd', SD_TO_SI);
integerRow('F3 0F 5B', 'CVTTPS2DQ', 'Vdq,Wps', PS_TO_DQ);
integerRow('66 0F 5B', 'CVTPS2DQ', 'Vdq,Wps', PS_TO_DQ);
integerRow('66 0F E6', 'CVTTPD2DQ', 'Vdq,Wpd', PD_TO_DQ);
integerRow('F2 0F E6', 'CVTPD2DQ', 'Vdq,Wpd', PD_TO_DQ);

// A 32-bit integer is exact in a double: no exception, no rounding.
row('F2 0F 2A', 'CVTSI2SD', 'Vsd,Ed', (e, destination, source) => {
  beginSSE(e);
  const double = op('f64.convert_i32_s', source.read());
  destination.write(op('i64.reinterpret_f64', double));
});
row('F3 0F E6', 'CVTDQ2PD', 'Vdq,Wq', (e, destination, source) => {
  beginSSE(e);
  const integers = op('i64x2.splat', source.read());
  destination.write(op('f64x2.convert_low_i32x4_s', integers));
});

// The host enters MMX state before it reports a float exception, and so do these rows.
row('NP 0F 2A', 'CVTPI2PS', 'Vq,Nq', (e, destination, source) => {
  beginMixed(e);
  const result = e.callShared(PI_TO_PS, source.read());
  enterMMX(e);
  checkSIMD(e);
  destination.write(result);
});
row('66 0F 2A', 'CVTPI2PD', 'Vdq,Nq', (e, destination, source) => {
  beginMixed(e);
  destination.write(op('f64x2.convert_low_i32x4_s', zeroExtended(source.read())));
  enterMMX(e);
});
// With memory the x87 state stays: SDM volume 2, "CVTPI2PD". Of CVTPI2PS it does not say so, but
// the hosts that were tried (AMD) do the same.
convertRow('NP 0F 2A', 'CVTPI2PS', 'Vq,Mq', PI_TO_PS);
row('66 0F 2A', 'CVTPI2PD', 'Vdq,Mq', (e, destination, source) => {
  beginSSE(e);
  destination.write(op('f64x2.convert_low_i32x4_s', zeroExtended(source.read())));
});

for (const [opcode, name, truncates] of [
  ['2C', 'CVTT', 1],
  ['2D', 'CVT', 0],
] as const) {
  row(`NP 0F ${opcode}`, `${name}PS2PI`, 'Pq,Wq', (e, destination, source) => {
    beginMixed(e);
    const result = e.callShared(PS_TO_PI, source.read(), i32(truncates));
    enterMMX(e);
    checkSIMD(e);
    destination.write(result);
  });
  row(`66 0F ${opcode}`, `${name}PD2PI`, 'Pq,Wpd', (e, destination, source) => {
    beginMixed(e);
    const result = e.callShared(PD_TO_DQ, source.read(), i32(truncates));
    enterMMX(e);
    checkSIMD(e);
    destination.write(low64(result));
  });
}
