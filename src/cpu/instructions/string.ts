// String instructions. Each pass moves one element; a REP row then repeats as a new instruction, so
// that a fault or an interrupt finds the registers as the completed elements left them.
// Intel SDM volume 2: CMPS, INS, LODS, MOVS, OUTS, SCAS, STOS, REP.

import { i32, type Value } from '../../wasm/index.ts';
import type { Emitter, Operand } from '../emitter.ts';
import { FLAG_DF } from '../flags.ts';
import { type Meaning, type RowOptions, row } from '../instruction-table.ts';
import { EFLAGS_REST } from '../state-layout.ts';
import { EAX, ECX, EDI, EDX, ESI } from './common-meanings.ts';

/** EFLAGS.DF is bit 10. */
const DF_SHIFT = 10;

/** What ESI and EDI advance by: the size of the element, negative with DF set. */
function elementStep(e: Emitter, size: number): Value {
  const isDown = e.loadState32(EFLAGS_REST).and(FLAG_DF);
  return e.let(i32(size).sub(isDown.shrU(DF_SHIFT - Math.log2(size * 2))));
}

function pointer(e: Emitter, register: number): Value {
  return e.let(e.readRegister(register, e.addressSize));
}

/** A pinned pointer moves one element further. */
function advance(e: Emitter, register: number, from: Value, step: Value): void {
  e.writeRegister(register, e.addressSize, from.add(step));
}

/**
 * One pass of a REP row: nothing if the count is zero; else `body`, the count, and again while some
 * are left and `goesOn`, which is asked after `body`.
 */
export function repeatStep(e: Emitter, body: () => void, goesOn?: () => Value): void {
  const size = e.addressSize;
  const count = e.let(e.readRegister(ECX, size));
  e.f.if(count.eqz().eqz(), () => {
    body();
    const left = e.let(count.sub(1));
    e.writeRegister(ECX, size, left);
    const hasMore = left.eqz().eqz();
    e.f.if(goesOn ? hasMore.and(goesOn()) : hasMore, () => e.repeat());
  });
}

/** One element: accesses that can fault first, then registers and flags. */
type Element = (e: Emitter, first: Operand, second: Operand) => void;

const movs: Element = (e, destination, source) => {
  const { size } = destination;
  const from = pointer(e, ESI);
  const to = pointer(e, EDI);
  const value = e.let(e.loadLinear(source.linearAt(from, size, false), size));
  e.storeLinear(destination.linearAt(to, size, true), size, value);
  const step = elementStep(e, size);
  advance(e, ESI, from, step);
  advance(e, EDI, to, step);
};

const stos: Element = (e, destination) => {
  const { size } = destination;
  const to = pointer(e, EDI);
  e.storeLinear(destination.linearAt(to, size, true), size, e.readRegister(EAX, size));
  advance(e, EDI, to, elementStep(e, size));
};

const lods: Element = (e, source) => {
  const { size } = source;
  const from = pointer(e, ESI);
  e.writeRegister(EAX, size, e.let(e.loadLinear(source.linearAt(from, size, false), size)));
  advance(e, ESI, from, elementStep(e, size));
};

const cmps: Element = (e, source, destination) => {
  const { size } = source;
  const from = pointer(e, ESI);
  const to = pointer(e, EDI);
  const a = e.let(e.loadLinear(source.linearAt(from, size, false), size));
  const b = e.let(e.loadLinear(destination.linearAt(to, size, false), size));
  const step = elementStep(e, size);
  advance(e, ESI, from, step);
  advance(e, EDI, to, step);
  e.flags.sub(a, b, e.let(a.sub(b)), size);
};

const scas: Element = (e, destination) => {
  const { size } = destination;
  const to = pointer(e, EDI);
  const b = e.let(e.loadLinear(destination.linearAt(to, size, false), size));
  const a = e.let(e.readRegister(EAX, size));
  advance(e, EDI, to, elementStep(e, size));
  e.flags.sub(a, b, e.let(a.sub(b)), size);
};

// The permission comes before memory, and memory is known to be writable before the port is read:
// a device must not lose a byte to a fault.
const ins: Element = (e, destination) => {
  const { size } = destination;
  const port = e.let(e.readRegister(EDX, 2));
  e.systemValue('checkPortAccess', port, i32(size));
  const to = pointer(e, EDI);
  const linear = e.let(destination.linearAt(to, size, true));
  e.f.drop(e.loadLinearForWrite(linear, size));
  const value = e.let(e.systemValue('portRead', port, i32(size)));
  e.storeLinear(linear, size, value);
  advance(e, EDI, to, elementStep(e, size));
};

const outs: Element = (e, source) => {
  const { size } = source;
  const port = e.let(e.readRegister(EDX, 2));
  e.systemValue('checkPortAccess', port, i32(size));
  const from = pointer(e, ESI);
  const value = e.let(e.loadLinear(source.linearAt(from, size, false), size));
  advance(e, ESI, from, elementStep(e, size));
  e.systemValue('portWrite', port, i32(size), value);
};

const PLAIN: RowOptions = { usesAddressSize: true, rep: 'none' };
const REP: RowOptions = { usesAddressSize: true, rep: 'rep' };
const REPNE: RowOptions = { usesAddressSize: true, rep: 'repne' };

function once(element: Element): Meaning {
  return (e, first, second) => element(e, first!, second!);
}

/** F2 repeats these as F3 does. */
function repeatedRows(pattern: string, mnemonic: string, operands: string, element: Element) {
  const repeated: Meaning = (e, first, second) => repeatStep(e, () => element(e, first!, second!));
  row(pattern, mnemonic, operands, once(element), PLAIN);
  row(pattern, `REP ${mnemonic}`, operands, repeated, REP);
  row(pattern, `REP ${mnemonic}`, operands, repeated, REPNE);
}

/** REPE goes on while ZF is set, REPNE while it is clear. */
function comparingRows(pattern: string, mnemonic: string, operands: string, element: Element) {
  row(pattern, mnemonic, operands, once(element), PLAIN);
  const whileZero = (isWanted: boolean): Meaning => {
    return (e, first, second) =>
      repeatStep(
        e,
        () => element(e, first!, second!),
        () => (isWanted ? e.flags.zf() : e.flags.zf().eqz()),
      );
  };
  row(pattern, `REPE ${mnemonic}`, operands, whileZero(true), REP);
  row(pattern, `REPNE ${mnemonic}`, operands, whileZero(false), REPNE);
}

repeatedRows('6C', 'INS', 'Yb', ins);
repeatedRows('6D', 'INS', 'Yz', ins);
repeatedRows('6E', 'OUTS', 'Xb', outs);
repeatedRows('6F', 'OUTS', 'Xz', outs);
repeatedRows('A4', 'MOVS', 'Yb,Xb', movs);
repeatedRows('A5', 'MOVS', 'Yv,Xv', movs);
comparingRows('A6', 'CMPS', 'Xb,Yb', cmps);
comparingRows('A7', 'CMPS', 'Xv,Yv', cmps);
repeatedRows('AA', 'STOS', 'Yb', stos);
repeatedRows('AB', 'STOS', 'Yv', stos);
repeatedRows('AC', 'LODS', 'Xb', lods);
repeatedRows('AD', 'LODS', 'Xv', lods);
comparingRows('AE', 'SCAS', 'Yb', scas);
comparingRows('AF', 'SCAS', 'Yv', scas);
