// The table from linear pages to decoded pages, as generated code asks it. Rows: record.ts.

import { PAGE_SIZE } from '../../base/pages.ts';
import type { SharedFunction } from '../../cpu/emitter.ts';
import { CS, MODE, SEG_BASE, SEG_LIMIT, SEGMENT, SEGMENT_BYTES } from '../../cpu/state-layout.ts';
import { i32, load } from '../../wasm/index.ts';
import { CODE_ROW_BYTES, CODE_ROW_COUNT, CODE_ROWS } from './record.ts';
import { loadState } from './state-access.ts';

const CS_FIELDS = SEGMENT + CS * SEGMENT_BYTES;

/**
 * (EIP of the start of a linear page, records) → whether code of that page may run, in the mode of
 * now, and is what these records say; 0 also where nobody has looked yet.
 */
export const isCodeAt: SharedFunction = {
  name: 'isCodeAt',
  params: ['i32', 'i32'],
  result: 'i32',
  build(f) {
    const [pageEip, records] = [f.param(0), f.param(1)];
    const linear = f.let(pageEip.add(loadState(CS_FIELDS + SEG_BASE)));
    const index = linear.shrU(12).and(CODE_ROW_COUNT - 1);
    const row = f.let(index.mul(CODE_ROW_BYTES));
    const isHit = load('i32', row, CODE_ROWS).eq(linear.or(loadState(MODE)));
    const isSame = load('i32', row, CODE_ROWS + 4).eq(records);
    // The whole page lies within the limit, and EIP does not wrap in it.
    const isWithin = pageEip.add(PAGE_SIZE - 1).leU(loadState(CS_FIELDS + SEG_LIMIT));
    const isStraight = pageEip.leU(i32(-PAGE_SIZE));
    f.return(isHit.and(isSame).and(isWithin).and(isStraight));
  },
};
