// Moves to, from and between XMM registers. Loads of a part zero the rest of the register, moves
// between registers keep it: those are two rows. Intel SDM volume 2, the instructions by name.

import { laneOp } from '../../wasm/index.ts';
import { VECTOR_GP } from '../control-bits.ts';
import type { Meaning } from '../instruction-table.ts';
import { row } from '../instruction-table.ts';
import { beginSSE } from '../simd/simd-state.ts';
import { high64, low64, zeroExtended } from '../simd/vector.ts';

const move: Meaning = (e, destination, source) => {
  beginSSE(e);
  destination!.write(source!.read());
};
/** The source, and zeros above it. */
const moveZeroing: Meaning = (e, destination, source) => {
  beginSSE(e);
  destination!.write(zeroExtended(source!.read()));
};
/** The source into the upper half. */
const moveToHigh: Meaning = (e, destination, source) => {
  beginSSE(e);
  const value = source!.read();
  destination!.write(laneOp('i64x2.replace_lane', [1], destination!.read(), value));
};
const moveFromHigh: Meaning = (e, destination, source) => {
  beginSSE(e);
  destination!.write(high64(source!.read()));
};
/** A store of 16 bytes that must be aligned. */
const storeAligned: Meaning = (e, destination, source) => {
  beginSSE(e);
  const linear = e.let(destination!.linear(16, true));
  e.raiseIf(linear.and(15), VECTOR_GP, 0);
  e.storeLinear(linear, 16, source!.read());
};

// Whole registers.
row('NP 0F 10', 'MOVUPS', 'Vps,Wdqu', move);
row('NP 0F 11', 'MOVUPS', 'Wdqu,Vps', move);
row('66 0F 10', 'MOVUPD', 'Vpd,Wdqu', move);
row('66 0F 11', 'MOVUPD', 'Wdqu,Vpd', move);
row('NP 0F 28', 'MOVAPS', 'Vps,Wps', move);
row('NP 0F 29', 'MOVAPS', 'Wps,Vps', move);
row('66 0F 28', 'MOVAPD', 'Vpd,Wpd', move);
row('66 0F 29', 'MOVAPD', 'Wpd,Vpd', move);
row('66 0F 6F', 'MOVDQA', 'Vdq,Wdq', move);
row('66 0F 7F', 'MOVDQA', 'Wdq,Vdq', move);
row('F3 0F 6F', 'MOVDQU', 'Vdq,Wdqu', move);
row('F3 0F 7F', 'MOVDQU', 'Wdqu,Vdq', move);
row('NP 0F 2B', 'MOVNTPS', 'Mdq,Vps', storeAligned);
row('66 0F 2B', 'MOVNTPD', 'Mdq,Vpd', storeAligned);
row('66 0F E7', 'MOVNTDQ', 'Mdq,Vdq', storeAligned);

// Scalars.
row('F3 0F 10', 'MOVSS', 'Vss,Uss', move);
row('F3 0F 10', 'MOVSS', 'Vdq,Md', moveZeroing);
row('F3 0F 11', 'MOVSS', 'Wss,Vss', move);
row('F2 0F 10', 'MOVSD', 'Vsd,Usd', move);
row('F2 0F 10', 'MOVSD', 'Vdq,Mq', moveZeroing);
row('F2 0F 11', 'MOVSD', 'Wsd,Vsd', move);
row('66 0F 6E', 'MOVD', 'Vdq,Ey', moveZeroing);
row('66 0F 7E', 'MOVD', 'Ey,Vdq', (e, destination, source) => {
  beginSSE(e);
  const value = low64(source.read());
  destination.write(destination.size === 8 ? value : value.wrap());
});
row('F3 0F 7E', 'MOVQ', 'Vdq,Wq', moveZeroing);
row('66 0F D6', 'MOVQ', 'Mq,Vq', move);
row('66 0F D6', 'MOVQ', 'Udq,Vq', moveZeroing);

// Halves.
row('NP 0F 12', 'MOVLPS', 'Vq,Mq', move);
row('NP 0F 12', 'MOVHLPS', 'Vq,Udq', moveFromHigh);
row('NP 0F 13', 'MOVLPS', 'Mq,Vq', move);
row('66 0F 12', 'MOVLPD', 'Vq,Mq', move);
row('66 0F 13', 'MOVLPD', 'Mq,Vq', move);
row('NP 0F 16', 'MOVHPS', 'Vdq,Mq', moveToHigh);
row('NP 0F 16', 'MOVLHPS', 'Vdq,Uq', moveToHigh);
row('NP 0F 17', 'MOVHPS', 'Mq,Vdq', moveFromHigh);
row('66 0F 16', 'MOVHPD', 'Vdq,Mq', moveToHigh);
row('66 0F 17', 'MOVHPD', 'Mq,Vdq', moveFromHigh);
