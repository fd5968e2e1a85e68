// Moves to, from and between MMX registers, and EMMS. Intel SDM volume 2, the instructions by name.

import { row } from '../instruction-table.ts';
import { beginMixed, beginMMX, enterMMX, leaveMMX, writeMMX } from '../simd/simd-state.ts';
import { zeroExtended } from '../simd/vector.ts';

row('NP 0F 6E', 'MOVD', 'Pq,Ey', (e, destination, source) => {
  beginMMX(e);
  writeMMX(e, destination, source.read().extendU());
});
row('NP 0F 7E', 'MOVD', 'Ey,Pq', (e, destination, source) => {
  beginMMX(e);
  const value = source.read();
  destination.write(destination.size === 8 ? value : value.wrap());
  enterMMX(e);
});
row('NP 0F 6F', 'MOVQ', 'Pq,Qq', (e, destination, source) => {
  beginMMX(e);
  writeMMX(e, destination, source.read());
});
row('NP 0F 7F', 'MOVQ', 'Qq,Pq', (e, destination, source) => {
  beginMMX(e);
  writeMMX(e, destination, source.read());
});
row('NP 0F E7', 'MOVNTQ', 'Mq,Pq', (e, destination, source) => {
  beginMMX(e);
  writeMMX(e, destination, source.read());
});
row('F3 0F D6', 'MOVQ2DQ', 'Vdq,Nq', (e, destination, source) => {
  beginMixed(e);
  destination.write(zeroExtended(source.read()));
  enterMMX(e);
});
row('F2 0F D6', 'MOVDQ2Q', 'Pq,Uq', (e, destination, source) => {
  beginMixed(e);
  writeMMX(e, destination, source.read());
});
row('NP 0F 77', 'EMMS', '', (e) => {
  beginMMX(e);
  leaveMMX(e);
});
