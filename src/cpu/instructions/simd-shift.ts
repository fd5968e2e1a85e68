// Packed shifts, MMX and SSE2: by the low 64 bits of a register or memory operand, or by an
// immediate; counts beyond the width give zeros or copies of the sign. SDM volume 2, "PSLLW",
// "PSRAW", "PSRLW".

import { row } from '../instruction-table.ts';
import { beginMMX, beginSSE, writeMMX } from '../simd/simd-state.ts';
import { fromMMX, low64, shiftBytes, shiftLanes } from '../simd/vector.ts';

/** Mnemonic, opcode by operand, group opcode and digit by immediate, WebAssembly operation. */
const SHIFTS = [
  ['PSRLW', 'D1', '71 /2', 'i16x8.shr_u'],
  ['PSRLD', 'D2', '72 /2', 'i32x4.shr_u'],
  ['PSRLQ', 'D3', '73 /2', 'i64x2.shr_u'],
  ['PSRAW', 'E1', '71 /4', 'i16x8.shr_s'],
  ['PSRAD', 'E2', '72 /4', 'i32x4.shr_s'],
  ['PSLLW', 'F1', '71 /6', 'i16x8.shl'],
  ['PSLLD', 'F2', '72 /6', 'i32x4.shl'],
  ['PSLLQ', 'F3', '73 /6', 'i64x2.shl'],
] as const;

for (const [mnemonic, opcode, group, operation] of SHIFTS) {
  row(`NP 0F ${opcode}`, mnemonic, 'Pq,Qq', (e, destination, source) => {
    beginMMX(e);
    const count = e.let(source.read());
    const shifted = shiftLanes(e.f, operation, fromMMX(destination.read()), count);
    writeMMX(e, destination, low64(shifted));
  });
  row(`66 0F ${opcode}`, mnemonic, 'Vdq,Wdq', (e, destination, source) => {
    beginSSE(e);
    const count = e.let(low64(source.read()));
    destination.write(shiftLanes(e.f, operation, destination.read(), count));
  });
  row(`NP 0F ${group}`, mnemonic, 'Nq,Ib', (e, destination, immediate) => {
    beginMMX(e);
    const count = e.let(immediate.immediate().and(0xff).extendU());
    const shifted = shiftLanes(e.f, operation, fromMMX(destination.read()), count);
    writeMMX(e, destination, low64(shifted));
  });
  row(`66 0F ${group}`, mnemonic, 'Udq,Ib', (e, destination, immediate) => {
    beginSSE(e);
    const count = e.let(immediate.immediate().and(0xff).extendU());
    destination.write(shiftLanes(e.f, operation, destination.read(), count));
  });
}

row('66 0F 73 /3', 'PSRLDQ', 'Udq,Ib', (e, destination, immediate) => {
  beginSSE(e);
  destination.write(shiftBytes(destination.read(), immediate.immediate(), false));
});
row('66 0F 73 /7', 'PSLLDQ', 'Udq,Ib', (e, destination, immediate) => {
  beginSSE(e);
  destination.write(shiftBytes(destination.read(), immediate.immediate(), true));
});
