// Bit tests and scans. Intel SDM volume 2: BT, BTC, BTR, BTS, BSF, BSR.

import { constantOf, type Value } from '../../wasm/index.ts';
import type { Emitter, Operand } from '../emitter.ts';
import { type RowOptions, row } from '../instruction-table.ts';
import { signExtend } from './common-meanings.ts';

/** What becomes of the operand: `mask` has the tested bit set. Undefined: it stays (BT). */
type Change = ((old: Value, mask: Value) => Value) | undefined;

function testedBit(old: Value, position: Value): Value {
  return old.shrU(position).and(1).wrap();
}

function changed(change: NonNullable<Change>, old: Value, position: Value): Value {
  return change(old, constantOf(old.type, 1).shl(position));
}

/** A register, or an immediate bit number: the position is taken modulo the operand's bits. */
function withinOperand(e: Emitter, dst: Operand, src: Operand, change: Change): void {
  const number = src.read();
  const old = change ? e.let(dst.readForWrite()) : dst.read();
  const typed = old.type === 'i64' ? number.extendU() : number;
  const position = e.let(typed.and(dst.size * 8 - 1));
  if (change) dst.write(changed(change, old, position));
  e.flags.setCarry(testedBit(old, position));
}

/** Memory with a register: the signed bit number reaches 2^31 bits to either side. */
function beyondOperand(e: Emitter, dst: Operand, src: Operand, change: Change): void {
  const { size } = dst;
  const number = e.let(signExtend(src.read(), size));
  const unitShift = size === 2 ? 4 : size === 4 ? 5 : 6;
  const distance = number
    .shrS(unitShift)
    .shl(unitShift - 3)
    .wrap();
  const reached = dst.offset().add(distance);
  const offset = e.let(e.addressSize === 2 ? reached.and(0xffff) : reached);
  const linear = e.let(dst.linearAt(offset, size, change !== undefined));
  const old = e.let(change ? e.loadLinearForWrite(linear, size) : e.loadLinear(linear, size));
  const position = e.let(number.and(size * 8 - 1));
  if (change) e.storeLinear(linear, size, changed(change, old, position));
  e.flags.setCarry(testedBit(old, position));
}

const BIT_ROWS: readonly (readonly [string, string, number, Change])[] = [
  ['BT', '0F A3', 4, undefined],
  ['BTS', '0F AB', 5, (old, mask) => old.or(mask)],
  ['BTR', '0F B3', 6, (old, mask) => old.and(mask.not())],
  ['BTC', '0F BB', 7, (old, mask) => old.xor(mask)],
];

for (const [mnemonic, pattern, digit, change] of BIT_ROWS) {
  const options: RowOptions = change ? { allowsLock: true } : {};
  row(
    pattern,
    mnemonic,
    'Ev,Gv',
    (e, dst, src) => (dst!.isMemory ? beyondOperand : withinOperand)(e, dst!, src!, change),
    { ...options, usesAddressSize: true },
  );
  row(
    `0F BA /${digit}`,
    mnemonic,
    'Ev,Ib',
    (e, dst, src) => withinOperand(e, dst!, src!, change),
    options,
  );
}

// With a source of zero ZF is set and the destination stays, which Intel leaves undefined and every
// processor does. The other flags are undefined.
function scanRow(pattern: string, mnemonic: string, scan: (value: Value) => Value): void {
  row(pattern, mnemonic, 'Gv,Ev', (e, dst, src) => {
    const value = src!.read();
    e.f.if(value.eqz().eqz(), () => dst!.write(scan(value)));
    e.flags.logic(value, dst!.size);
  });
}
scanRow('0F BC', 'BSF', (value) => value.ctz());
scanRow('0F BD', 'BSR', (value) =>
  constantOf(value.type, value.type === 'i64' ? 63 : 31).sub(value.clz()),
);
