// String instructions. Each pass moves one element; a REP row then repeats as a new instruction, so
// that a fault or an interrupt finds the registers as the completed elements left them.
// Intel SDM volume 2: CMPS, INS, LODS, MOVS, OUTS, SCAS, STOS, REP.

import { i32, select, type Value } from '../../wasm/index.ts';
import type { Emitter, Operand } from '../emitter.ts';
import { FLAG_DF, FLAG_TF } from '../flags.ts';
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

/**
 * REP MOVS: a run of elements at once where plain memory allows it and DF is clear, else one.
 * Either way the registers tell exactly what is done when an interrupt or a fault comes between.
 */
const repMovs: Meaning = (e, destination, source) => {
  const { size } = destination!;
  repeatRun(e, size, (bytes) => {
    const from = pointer(e, ESI);
    const to = pointer(e, EDI);
    const readable = e.let(source!.linearAt(from, size, false));
    const writable = e.let(destination!.linearAt(to, size, true));
    const room = least(e, bytes, source!.room(from, false), destination!.room(to, true));
    const done = e.copyRun(writable, readable, room, size);
    e.f.if(done, () => {
      advance(e, ESI, from, done);
      advance(e, EDI, to, done);
    });
    return done;
  });
  repeatStep(e, () => movs(e, destination!, source!));
};

/** REP STOS in the same way. */
const repStos: Meaning = (e, destination) => {
  const { size } = destination!;
  repeatRun(e, size, (bytes) => {
    const to = pointer(e, EDI);
    const writable = e.let(destination!.linearAt(to, size, true));
    const room = least(e, bytes, destination!.room(to, true));
    const done = e.fillRun(writable, e.readRegister(EAX, size), room, size);
    e.f.if(done, () => advance(e, EDI, to, done));
    return done;
  });
  repeatStep(e, () => stos(e, destination!, destination!));
};

/** Most elements of one run: bounds the work between two looks at interrupts. */
const RUN_ELEMENTS_MAX = 4096;

/**
 * Tries `run`, which moves up to so many bytes and says how many; if it moved any, counts them and
 * repeats or ends the instruction. Falls through if it moved none.
 */
function repeatRun(e: Emitter, size: number, run: (bytes: Value) => Value): void {
  const count = e.let(e.readRegister(ECX, e.addressSize));
  // Under TF each element is a step of its own (SDM volume 3, section 17.3.1.4).
  const isUp = e
    .loadState32(EFLAGS_REST)
    .and(FLAG_DF | FLAG_TF)
    .eqz();
  e.f.if(isUp.and(count.gtU(1)), () => {
    const elements = select(count.ltU(RUN_ELEMENTS_MAX), count, i32(RUN_ELEMENTS_MAX));
    const done = run(e.let(elements.mul(size)));
    e.f.if(done, () => {
      const left = e.let(count.sub(done.shrU(Math.log2(size))));
      e.writeRegister(ECX, e.addressSize, left);
      e.f.if(left, () => e.repeat());
      e.finish();
    });
  });
}

function least(e: Emitter, first: Value, ...others: Value[]): Value {
  return others.reduce((known, other) => {
    const pinned = e.let(other);
    return e.let(select(known.ltU(pinned), known, pinned));
  }, first);
}

const PLAIN: RowOptions = { usesAddressSize: true, rep: 'none' };
const REP: RowOptions = { usesAddressSize: true, rep: 'rep' };
const REPNE: RowOptions = { usesAddressSize: true, rep: 'repne' };

function once(element: Element): Meaning {
  return (e, first, second) => element(e, first!, second!);
}

/** F2 repeats these as F3 does. @param run the repeated meaning, if it is not one by one */
function repeatedRows(
  pattern: string,
  mnemonic: string,
  operands: string,
  element: Element,
  run?: Meaning,
) {
  const repeated: Meaning =
    run ?? ((e, first, second) => repeatStep(e, () => element(e, first!, second!)));
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
repeatedRows('A4', 'MOVS', 'Yb,Xb', movs, repMovs);
repeatedRows('A5', 'MOVS', 'Yv,Xv', movs, repMovs);
comparingRows('A6', 'CMPS', 'Xb,Yb', cmps);
comparingRows('A7', 'CMPS', 'Xv,Yv', cmps);
repeatedRows('AA', 'STOS', 'Yb', stos, repStos);
repeatedRows('AB', 'STOS', 'Yv', stos, repStos);
repeatedRows('AC', 'LODS', 'Xb', lods);
repeatedRows('AD', 'LODS', 'Xv', lods);
comparingRows('AE', 'SCAS', 'Yb', scas);
comparingRows('AF', 'SCAS', 'Yv', scas);
