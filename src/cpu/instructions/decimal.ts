// Decimal adjustments. Intel SDM volume 2: AAA, AAD, AAM, AAS, DAA, DAS. Flags that Intel leaves
// undefined are cleared.

import { i32, type Value } from '../../wasm/index.ts';
import { VECTOR_DE } from '../control-bits.ts';
import type { Emitter } from '../emitter.ts';
import { FLAG_AF } from '../flags.ts';
import { row } from '../instruction-table.ts';
import { AH, AL, EAX } from './common-meanings.ts';

/** These rows alone need AF beside a result of another kind. */
function setAdjust(e: Emitter, af: Value): void {
  e.flags.setWord(e.flags.word().and(~FLAG_AF).or(af.shl(4)));
}

/** Whether the low digit needs adjusting. */
function lowDigitOverflows(e: Emitter, al: Value): Value {
  return e.let(al.and(0xf).gtU(9).or(e.flags.af()));
}

function adjustPacked(isSubtraction: boolean) {
  return (e: Emitter) => {
    const al = e.let(e.readByteRegister(AL));
    const isLow = lowDigitOverflows(e, al);
    const isHigh = e.let(al.gtU(0x99).or(e.flags.cf()));
    const change = isLow.mul(6).add(isHigh.mul(0x60));
    const result = e.let(isSubtraction ? al.sub(change) : al.add(change));
    // Only DAS takes the borrow of its low step into CF: after DAA's carry AL was above 99H anyway.
    const cf = isSubtraction ? isHigh.or(isLow.and(al.ltU(6))) : isHigh;
    e.writeByteRegister(AL, result);
    e.flags.setResult(result, 1, cf, i32(0));
    setAdjust(e, isLow);
  };
}
row('27', 'DAA', '', adjustPacked(false));
row('2F', 'DAS', '', adjustPacked(true));

function adjustUnpacked(step: number) {
  return (e: Emitter) => {
    const ax = e.let(e.readRegister(EAX, 2));
    const isLow = lowDigitOverflows(e, ax);
    const result = e.let(ax.add(isLow.mul(step)).and(0xff0f));
    e.writeRegister(EAX, 2, result);
    e.flags.setResult(result, 1, isLow, i32(0));
    setAdjust(e, isLow);
  };
}
row('37', 'AAA', '', adjustUnpacked(0x106));
row('3F', 'AAS', '', adjustUnpacked(-0x106));

row('D4', 'AAM', 'Ib', (e, base) => {
  const divisor = e.let(base!.read());
  e.raiseIf(divisor.eqz(), VECTOR_DE);
  const al = e.let(e.readByteRegister(AL));
  const low = e.let(al.remU(divisor));
  e.writeByteRegister(AH, al.divU(divisor));
  e.writeByteRegister(AL, low);
  e.flags.logic(low, 1);
});

row('D5', 'AAD', 'Ib', (e, base) => {
  const tens = e.readByteRegister(AH).mul(base!.read());
  const result = e.let(e.readByteRegister(AL).add(tens).and(0xff));
  e.writeRegister(EAX, 2, result);
  e.flags.logic(result, 1);
});
