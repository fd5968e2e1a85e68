// x87 comparisons: FCOM FUCOM FICOM FCOMI FUCOMI FTST FXAM. Intel SDM volume 2, appendix A, tables
// volume 1, section 8.3.6 "Comparison and Classification Instructions".

import { i32, i64, select, type Value } from '../../wasm/index.ts';
import type { Emitter, Operand, SharedFunction } from '../emitter.ts';
import { FLAG_CF, FLAG_PF, FLAG_ZF } from '../flags.ts';
import { row } from '../instruction-table.ts';
import { X87_STATUS } from '../state-layout.ts';
import { COMPARISON_FAILED, examine80 } from '../x87/float80-compare.ts';
import { fromFloat32, fromFloat64, fromInteger } from '../x87/float80-load.ts';
import { beginLoad, beginRegister } from '../x87/frame.ts';
import { compareTop, popUnless, setConditions } from '../x87/stack.ts';
import {
  isEmpty,
  OPERAND_SLOT,
  physical,
  STATUS_C0,
  STATUS_C1,
  STATUS_C2,
  STATUS_C3,
  STATUS_CONDITIONS,
  signExponentAt,
  slotOf,
  statusWord,
  top,
  writeSlot,
} from '../x87/status-word.ts';

/** Whether quiet NaNs are valid operands. */
type Order = 'ordered' | 'unordered';

function compareRegister(e: Emitter, index: Value, order: Order, keepsC1: 0 | 1 = 0): Value {
  const other = e.let(physical(index));
  const allowsQuiet = i32(order === 'unordered' ? 1 : 0);
  const slot = slotOf(other);
  return e.callShared(compareTop, slot, isEmpty(other), i32(0), allowsQuiet, i32(keepsC1));
}

function compareOperand(e: Emitter, isDenormal: Value): Value {
  return e.callShared(compareTop, i32(OPERAND_SLOT), i32(0), isDenormal, i32(0), i32(0));
}

function toStatus(order: Order, popCount: number) {
  return (e: Emitter, operand: Operand) => {
    beginRegister(e);
    const result = compareRegister(e, operand.index(), order);
    popUnless(e.f, e.callShared(setConditions, result), popCount);
  };
}

function withReal(convert: SharedFunction, popCount: number) {
  return (e: Emitter, operand: Operand) => {
    const value = beginLoad(e, operand);
    const isDenormal = e.callShared(convert, value, i32(OPERAND_SLOT));
    const result = compareOperand(e, isDenormal);
    popUnless(e.f, e.callShared(setConditions, result), popCount);
  };
}

function withInteger(popCount: number) {
  return (e: Emitter, operand: Operand) => {
    const value = beginLoad(e, operand);
    const integer = operand.size === 2 ? value.extend16S() : value;
    e.callShared(fromInteger, integer.extendS(), i32(OPERAND_SLOT));
    const result = compareOperand(e, i32(0));
    popUnless(e.f, e.callShared(setConditions, result), popCount);
  };
}

for (const popCount of [0, 1]) {
  const digit = 2 + popCount;
  const suffix = popCount ? 'P' : '';
  const code = popCount ? 'D8' : 'D0';
  row(`D8 /${digit}`, `FCOM${suffix}`, 'Md', withReal(fromFloat32, popCount));
  row(`DC /${digit}`, `FCOM${suffix}`, 'Mq', withReal(fromFloat64, popCount));
  row(`DA /${digit}`, `FICOM${suffix}`, 'Md', withInteger(popCount));
  row(`DE /${digit}`, `FICOM${suffix}`, 'Mw', withInteger(popCount));
  row(`D8 ${code}+i`, `FCOM${suffix}`, 'STi', toStatus('ordered', popCount));
  // Alias since the 8087, in no map but in every processor.
  row(`DC ${code}+i`, `FCOM${suffix}`, 'STi', toStatus('ordered', popCount));
}
row('DE D0+i', 'FCOMP', 'STi', toStatus('ordered', 1));
row('DD E0+i', 'FUCOM', 'STi', toStatus('unordered', 0));
row('DD E8+i', 'FUCOMP', 'STi', toStatus('unordered', 1));

for (const [pattern, mnemonic, order] of [
  ['DE D9', 'FCOMPP', 'ordered'],
  ['DA E9', 'FUCOMPP', 'unordered'],
] as const) {
  row(pattern, mnemonic, '', (e) => {
    beginRegister(e);
    const result = compareRegister(e, i32(1), order);
    popUnless(e.f, e.callShared(setConditions, result), 2);
  });
}

/** To EFLAGS: ZF from C3, PF from C2, CF from C0; the others become 0 (FCOMI, "Operation"). */
function toFlags(order: Order, popCount: number) {
  return (e: Emitter, operand: Operand) => {
    beginRegister(e);
    const result = compareRegister(e, operand.index(), order, 1);
    const flag = (condition: number, bit: number) =>
      select(result.and(condition), i32(bit), i32(0));
    e.flags.setWord(
      flag(STATUS_C3, FLAG_ZF).or(flag(STATUS_C2, FLAG_PF)).or(flag(STATUS_C0, FLAG_CF)),
    );
    popUnless(e.f, result.and(COMPARISON_FAILED), popCount);
  };
}

row('DB E8+i', 'FUCOMI', 'STi', toFlags('unordered', 0));
row('DB F0+i', 'FCOMI', 'STi', toFlags('ordered', 0));
row('DF E8+i', 'FUCOMIP', 'STi', toFlags('unordered', 1));
row('DF F0+i', 'FCOMIP', 'STi', toFlags('ordered', 1));

row('D9 E4', 'FTST', '', (e) => {
  beginRegister(e);
  writeSlot(e.f, i32(OPERAND_SLOT), i64(0), i32(0));
  e.callShared(setConditions, compareOperand(e, i32(0)));
});

row('D9 E5', 'FXAM', '', (e) => {
  beginRegister(e);
  const register = e.let(top());
  const slot = e.let(slotOf(register));
  const emptySign = select(signExponentAt(slot).shrU(15), i32(STATUS_C1), i32(0));
  const answer = e.f.ifValue(
    isEmpty(register),
    () => emptySign.or(STATUS_C3 | STATUS_C0),
    () => e.callShared(examine80, slot),
  );
  const kept = statusWord().and(~(STATUS_CONDITIONS | STATUS_C1));
  e.storeState32(X87_STATUS, kept.or(answer));
});
