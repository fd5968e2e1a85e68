// Shuffles, unpacking of floats, words moved between general and vector registers, and masks of
// sign bits. Intel SDM volume 2, the instructions by name.

import { laneOp, op } from '../../wasm/index.ts';
import { row } from '../instruction-table.ts';
import { beginMMX, beginSSE, enterMMX, writeMMX } from '../simd/simd-state.ts';
import {
  chooseHalf,
  doubleIndexes,
  extractWord,
  fromMMX,
  insertWord,
  low64,
  pair64,
  shuffleDoubles,
  shuffleWords,
  unpack,
} from '../simd/vector.ts';

row('NP 0F 70', 'PSHUFW', 'Pq,Qq,Ib', (e, destination, source, order) => {
  beginMMX(e);
  const words = fromMMX(source.read());
  writeMMX(e, destination, low64(shuffleWords(words, order.immediate(), false)));
});
row('66 0F 70', 'PSHUFD', 'Vdq,Wdq,Ib', (e, destination, source, order) => {
  beginSSE(e);
  destination.write(shuffleDoubles(source.read(), order.immediate()));
});
row('F3 0F 70', 'PSHUFHW', 'Vdq,Wdq,Ib', (e, destination, source, order) => {
  beginSSE(e);
  destination.write(shuffleWords(source.read(), order.immediate(), true));
});
row('F2 0F 70', 'PSHUFLW', 'Vdq,Wdq,Ib', (e, destination, source, order) => {
  beginSSE(e);
  destination.write(shuffleWords(source.read(), order.immediate(), false));
});

/** Bytes 0–7 of the first vector, 8–15 of the second. */
const HALF_OF_EACH = [0, 1, 2, 3, 4, 5, 6, 7, 24, 25, 26, 27, 28, 29, 30, 31];

row('NP 0F C6', 'SHUFPS', 'Vps,Wps,Ib', (e, destination, source, order) => {
  beginSSE(e);
  const b = source.read();
  const indexes = e.let(doubleIndexes(order.immediate()));
  const fromA = op('i8x16.swizzle', destination.read(), indexes);
  const fromB = op('i8x16.swizzle', b, indexes);
  destination.write(laneOp('i8x16.shuffle', HALF_OF_EACH, fromA, fromB));
});
row('66 0F C6', 'SHUFPD', 'Vpd,Wpd,Ib', (e, destination, source, order) => {
  beginSSE(e);
  const b = e.let(source.read());
  const a = e.let(destination.read());
  const choice = e.let(order.immediate());
  const low = chooseHalf(a, choice.and(1));
  destination.write(pair64(low, chooseHalf(b, choice.and(2))));
});

for (const [prefix, width, laneBytes] of [
  ['NP', 'ps', 4],
  ['66', 'pd', 8],
] as const) {
  for (const [opcode, name, isHigh] of [
    ['14', 'UNPCKL', false],
    ['15', 'UNPCKH', true],
  ] as const) {
    const mnemonic = name + width.toUpperCase();
    row(`${prefix} 0F ${opcode}`, mnemonic, `V${width},W${width}`, (e, destination, source) => {
      beginSSE(e);
      const b = source.read();
      destination.write(unpack(destination.read(), b, laneBytes, 8, isHigh));
    });
  }
}

for (const source of ['Rd', 'Mw']) {
  row('NP 0F C4', 'PINSRW', `Pq,${source},Ib`, (e, destination, word, index) => {
    beginMMX(e);
    const value = word.read();
    const inserted = insertWord(fromMMX(destination.read()), value, index.immediate().and(3));
    writeMMX(e, destination, low64(inserted));
  });
  row('66 0F C4', 'PINSRW', `Vdq,${source},Ib`, (e, destination, word, index) => {
    beginSSE(e);
    const value = word.read();
    destination.write(insertWord(destination.read(), value, index.immediate().and(7)));
  });
}

row('NP 0F C5', 'PEXTRW', 'Gd,Nq,Ib', (e, destination, source, index) => {
  beginMMX(e);
  destination.write(extractWord(source.read(), index.immediate().and(3)));
  enterMMX(e);
});
row('66 0F C5', 'PEXTRW', 'Gd,Udq,Ib', (e, destination, source, index) => {
  beginSSE(e);
  const number = e.let(index.immediate());
  const half = chooseHalf(source.read(), number.and(4));
  destination.write(extractWord(half, number.and(3)));
});

row('NP 0F D7', 'PMOVMSKB', 'Gd,Nq', (e, destination, source) => {
  beginMMX(e);
  destination.write(op('i8x16.bitmask', fromMMX(source.read())).and(0xff));
  enterMMX(e);
});
row('66 0F D7', 'PMOVMSKB', 'Gd,Udq', (e, destination, source) => {
  beginSSE(e);
  destination.write(op('i8x16.bitmask', source.read()));
});
row('NP 0F 50', 'MOVMSKPS', 'Gd,Ups', (e, destination, source) => {
  beginSSE(e);
  destination.write(op('i32x4.bitmask', source.read()));
});
row('66 0F 50', 'MOVMSKPD', 'Gd,Upd', (e, destination, source) => {
  beginSSE(e);
  destination.write(op('i64x2.bitmask', source.read()));
});
