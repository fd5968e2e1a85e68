// x87 arithmetic: FADD FMUL FSUB FDIV in all forms, FSQRT, FABS, FCHS, FRNDINT, FSCALE, FPREM,
// FXTRACT. Intel SDM volume 2, appendix A, tables; section 8.3.5 of volume 1.

import { i32, type Value } from '../../wasm/index.ts';
import type { Emitter, Operand, SharedFunction } from '../emitter.ts';
import { row } from '../instruction-table.ts';
import { add80, multiply80, subtract80 } from '../x87/float80-arithmetic.ts';
import { divide80, squareRoot80 } from '../x87/float80-divide.ts';
import { fromFloat32, fromFloat64, fromInteger } from '../x87/float80-load.ts';
import { beginLoad, beginRegister } from '../x87/frame.ts';
import { popUnless, roundTop, stackUnderflow } from '../x87/stack.ts';
import {
  clearC1,
  isEmpty,
  OPERAND_SLOT,
  physical,
  signExponentAt,
  slotOf,
  top,
} from '../x87/status-word.ts';

/** The operations by their digit in the opcode: ST(0) op source, or source op ST(0). */
const OPERATIONS = [
  { digit: 0, name: 'ADD', shared: add80, isReversed: false },
  { digit: 1, name: 'MUL', shared: multiply80, isReversed: false },
  { digit: 4, name: 'SUB', shared: subtract80, isReversed: false },
  { digit: 5, name: 'SUBR', shared: subtract80, isReversed: true },
  { digit: 6, name: 'DIV', shared: divide80, isReversed: false },
  { digit: 7, name: 'DIVR', shared: divide80, isReversed: true },
] as const;

type Operation = (typeof OPERATIONS)[number];

/** ST(0) op memory, whose bits `convert` makes an 80-bit number. */
function memoryForm(operation: Operation, convert: SharedFunction) {
  return (e: Emitter, operand: Operand) => {
    const value = beginLoad(e, operand);
    const isDenormal = e.callShared(convert, value, i32(OPERAND_SLOT));
    operate(e, operation, i32(OPERAND_SLOT), isDenormal);
  };
}

/** ST(0) op m16int or m32int. */
function integerForm(operation: Operation) {
  return (e: Emitter, operand: Operand) => {
    const value = beginLoad(e, operand);
    const integer = operand.size === 2 ? value.extend16S() : value;
    e.callShared(fromInteger, integer.extendS(), i32(OPERAND_SLOT));
    operate(e, operation, i32(OPERAND_SLOT), i32(0));
  };
}

function operate(
  e: Emitter,
  { shared, isReversed }: Operation,
  slot: Value,
  isDenormal: Value,
): void {
  const register = e.let(top());
  const first = e.let(slotOf(register));
  e.f.if(
    isEmpty(register),
    () => e.callShared(stackUnderflow, register),
    () => {
      if (isReversed) e.callShared(shared, slot, first, first, isDenormal);
      else e.callShared(shared, first, slot, first, isDenormal);
    },
  );
}

/** Two registers. The result goes to ST(0) or ST(i); both have the order that `isReversed` says. */
function registerForm({ shared, isReversed }: Operation, toFirst: boolean, popCount: number) {
  return (e: Emitter, operand: Operand) => {
    beginRegister(e);
    const first = e.let(top());
    const other = e.let(physical(operand.index()));
    const result = toFirst ? first : other;
    const [a, b] = isReversed ? [other, first] : [first, other];
    const failed = e.f.ifValue(
      isEmpty(first).or(isEmpty(other)),
      () => e.callShared(stackUnderflow, result),
      () => e.callShared(shared, slotOf(a), slotOf(b), slotOf(result), i32(0)),
    );
    popUnless(e.f, failed, popCount);
  };
}

for (const operation of OPERATIONS) {
  const { digit, name } = operation;
  const code = (0xc0 + digit * 8).toString(16).toUpperCase();
  // With ST(i) as the destination, the manual names the subtractions the other way round.
  const toOther = { SUB: 'SUBR', SUBR: 'SUB', DIV: 'DIVR', DIVR: 'DIV' }[name as 'SUB'] ?? name;
  row(`D8 /${digit}`, `F${name}`, 'Md', memoryForm(operation, fromFloat32));
  row(`DC /${digit}`, `F${name}`, 'Mq', memoryForm(operation, fromFloat64));
  row(`DA /${digit}`, `FI${name}`, 'Md', integerForm(operation));
  row(`DE /${digit}`, `FI${name}`, 'Mw', integerForm(operation));
  row(`D8 ${code}+i`, `F${name}`, 'STi', registerForm(operation, true, 0));
  row(`DC ${code}+i`, `F${toOther}`, 'STi', registerForm(operation, false, 0));
  row(`DE ${code}+i`, `F${toOther}P`, 'STi', registerForm(operation, false, 1));
}

/** An instruction on ST(0) alone. */
function onTop(change: (e: Emitter, slot: Value) => void) {
  return (e: Emitter) => {
    beginRegister(e);
    const register = e.let(top());
    e.f.if(
      isEmpty(register),
      () => e.callShared(stackUnderflow, register),
      () => change(e, e.let(slotOf(register))),
    );
  };
}

/** FCHS and FABS change the sign of anything, NaNs and unsupported formats too. */
function onSign(change: (signExponent: Value) => Value) {
  return onTop((e, slot) => {
    clearC1(e.f);
    e.f.store('i32_16', slot, change(signExponentAt(slot)), 8);
  });
}

row(
  'D9 E0',
  'FCHS',
  '',
  onSign((value) => value.xor(0x8000)),
);
row(
  'D9 E1',
  'FABS',
  '',
  onSign((value) => value.and(0x7fff)),
);
row(
  'D9 FA',
  'FSQRT',
  '',
  onTop((e, slot) => e.callShared(squareRoot80, slot, slot)),
);
row('D9 FC', 'FRNDINT', '', (e) => {
  beginRegister(e);
  e.callShared(roundTop);
});

/** Rare ones are TypeScript (x87/methods.ts). */
const METHODS = [
  ['D9 F0', 'F2XM1', 'x87PowerOfTwoMinusOne'],
  ['D9 F1', 'FYL2X', 'x87Logarithm'],
  ['D9 F2', 'FPTAN', 'x87Tangent'],
  ['D9 F3', 'FPATAN', 'x87ArcTangent'],
  ['D9 F4', 'FXTRACT', 'x87Extract'],
  ['D9 F5', 'FPREM1', 'x87RemainderNearest'],
  ['D9 F8', 'FPREM', 'x87Remainder'],
  ['D9 F9', 'FYL2XP1', 'x87LogarithmOfSum'],
  ['D9 FB', 'FSINCOS', 'x87SineCosine'],
  ['D9 FD', 'FSCALE', 'x87Scale'],
  ['D9 FE', 'FSIN', 'x87Sine'],
  ['D9 FF', 'FCOS', 'x87Cosine'],
] as const;

for (const [pattern, mnemonic, method] of METHODS) {
  row(pattern, mnemonic, '', (e) => {
    beginRegister(e);
    e.system(method);
  });
}
