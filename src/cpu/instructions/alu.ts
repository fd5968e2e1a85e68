// Integer arithmetic and logic: the 00–3F families and groups 1, 3, 4 and 5, TEST, XADD, CMPXCHG,
// XCHG. Intel SDM volume 2, chapters 3–6, and appendix A.

import { constantOf, i64, select, type Value } from '../../wasm/index.ts';
import type { Emitter, Operand } from '../emitter.ts';
import { type Meaning, type RowOptions, row } from '../instruction-table.ts';
import { EAX, EBX, ECX, EDX, ofSize } from './common-meanings.ts';

const LOCKABLE: RowOptions = { allowsLock: true };

/** The result of a op b, with the flags set. */
type Arithmetic = (e: Emitter, a: Value, b: Value, size: number) => Value;

const carryOf = (e: Emitter, size: number) => (size === 8 ? e.flags.cf().extendU() : e.flags.cf());

const add: Arithmetic = (e, a, b, size) => {
  const r = e.let(a.add(b));
  e.flags.add(a, b, r, size);
  return r;
};

const adc: Arithmetic = (e, a, b, size) => {
  const r = e.let(a.add(b).add(carryOf(e, size)));
  e.flags.add(a, b, r, size, true);
  return r;
};

const sub: Arithmetic = (e, a, b, size) => {
  const r = e.let(a.sub(b));
  e.flags.sub(a, b, r, size);
  return r;
};

const sbb: Arithmetic = (e, a, b, size) => {
  const r = e.let(a.sub(b).sub(carryOf(e, size)));
  e.flags.sub(a, b, r, size, true);
  return r;
};

function logic(combine: (a: Value, b: Value) => Value): Arithmetic {
  return (e, a, b, size) => {
    const r = e.let(combine(a, b));
    e.flags.logic(r, size);
    return r;
  };
}

const or = logic((a, b) => a.or(b));
const and = logic((a, b) => a.and(b));
const xor = logic((a, b) => a.xor(b));

function changes(arithmetic: Arithmetic): Meaning {
  return (e, dst, src) => {
    const b = e.let(ofSize(src!.read(), dst!.size));
    dst!.modify((a) => arithmetic(e, a, b, dst!.size));
  };
}

/** CMP and TEST: the flags only. */
function compares(arithmetic: Arithmetic): Meaning {
  return (e, dst, src) => {
    const a = dst!.read();
    const b = e.let(ofSize(src!.read(), dst!.size));
    arithmetic(e, a, b, dst!.size);
  };
}

const FAMILIES: readonly (readonly [string, Meaning, boolean])[] = [
  ['ADD', changes(add), true],
  ['OR', changes(or), true],
  ['ADC', changes(adc), true],
  ['SBB', changes(sbb), true],
  ['AND', changes(and), true],
  ['SUB', changes(sub), true],
  ['XOR', changes(xor), true],
  ['CMP', compares(sub), false],
];

const hexByte = (value: number) => value.toString(16).toUpperCase().padStart(2, '0');

FAMILIES.forEach(([mnemonic, meaning, writes], digit) => {
  const first = digit * 8;
  const options = writes ? LOCKABLE : {};
  row(hexByte(first), mnemonic, 'Eb,Gb', meaning, options);
  row(hexByte(first + 1), mnemonic, 'Ev,Gv', meaning, options);
  row(hexByte(first + 2), mnemonic, 'Gb,Eb', meaning);
  row(hexByte(first + 3), mnemonic, 'Gv,Ev', meaning);
  row(hexByte(first + 4), mnemonic, 'AL,Ib', meaning);
  row(hexByte(first + 5), mnemonic, 'eAX,Iz', meaning);
  row(`80 /${digit}`, mnemonic, 'Eb,Ib', meaning, options);
  row(`81 /${digit}`, mnemonic, 'Ev,Iz', meaning, options);
  row(`82 /${digit}`, mnemonic, 'Eb,Ib', meaning, options);
  row(`83 /${digit}`, mnemonic, 'Ev,sIb', meaning, options);
});

const test = compares(and);
row('84', 'TEST', 'Eb,Gb', test);
row('85', 'TEST', 'Ev,Gv', test);
row('A8', 'TEST', 'AL,Ib', test);
row('A9', 'TEST', 'eAX,Iz', test);
// Digit 1 is not in Intel's table; every processor takes it as TEST (AMD64 APM
// volume 3, table A-6).
for (const digit of [0, 1]) {
  row(`F6 /${digit}`, 'TEST', 'Eb,Ib', test);
  row(`F7 /${digit}`, 'TEST', 'Ev,Iz', test);
}

const not: Meaning = (_e, dst) => dst!.modify((a) => a.not());

const neg: Meaning = (e, dst) => dst!.modify((a) => sub(e, constantOf(a.type, 0), a, dst!.size));

const inc: Meaning = (e, dst) =>
  dst!.modify((a) => {
    const r = e.let(a.add(1));
    e.flags.inc(a, r, dst!.size);
    return r;
  });

const dec: Meaning = (e, dst) =>
  dst!.modify((a) => {
    const r = e.let(a.sub(1));
    e.flags.dec(a, r, dst!.size);
    return r;
  });

row('F6 /2', 'NOT', 'Eb', not, LOCKABLE);
row('F7 /2', 'NOT', 'Ev', not, LOCKABLE);
row('F6 /3', 'NEG', 'Eb', neg, LOCKABLE);
row('F7 /3', 'NEG', 'Ev', neg, LOCKABLE);
row('40+r', 'INC', 'Zv', inc);
row('48+r', 'DEC', 'Zv', dec);
row('FE /0', 'INC', 'Eb', inc, LOCKABLE);
row('FF /0', 'INC', 'Ev', inc, LOCKABLE);
row('FE /1', 'DEC', 'Eb', dec, LOCKABLE);
row('FF /1', 'DEC', 'Ev', dec, LOCKABLE);

const xadd: Meaning = (e, dst, src) => {
  const old = e.let(dst!.readForWrite());
  const b = src!.read();
  const r = add(e, old, b, dst!.size);
  // In this order, so that XADD of a register with itself leaves the sum.
  src!.write(old);
  dst!.write(r);
};
row('0F C0', 'XADD', 'Eb,Gb', xadd, LOCKABLE);
row('0F C1', 'XADD', 'Ev,Gv', xadd, LOCKABLE);

const xchg: Meaning = (e, dst, src) => {
  const old = e.let(dst!.readForWrite());
  const b = src!.read();
  dst!.write(b);
  src!.write(old);
};
row('86', 'XCHG', 'Eb,Gb', xchg, LOCKABLE);
row('87', 'XCHG', 'Ev,Gv', xchg, LOCKABLE);
for (let register = 1; register < 8; register++) {
  row(`9${register}`, 'XCHG', 'Zv,eAX', xchg);
}

const cmpxchg: Meaning = (e, dst, src) => {
  const size = dst!.size;
  const accumulator = e.let(e.readRegister(EAX, size));
  const old = e.let(dst!.readForWrite());
  const b = src!.read();
  sub(e, accumulator, old, size);
  const isEqual = e.let(accumulator.eq(old));
  // Memory is written either way (SDM volume 2, CMPXCHG).
  dst!.write(select(isEqual, b, old));
  e.f.if(isEqual.eqz(), () => e.writeRegister(EAX, size, old));
};
row('0F B0', 'CMPXCHG', 'Eb,Gb', cmpxchg, LOCKABLE);
row('0F B1', 'CMPXCHG', 'Ev,Gv', cmpxchg, LOCKABLE);

function readPair(e: Emitter, high: number, low: number): Value {
  const upper = e.readRegister(high, 4).extendU().shl(i64(32));
  return e.let(upper.or(e.readRegister(low, 4).extendU()));
}

function cmpxchg8b(e: Emitter, dst: Operand): void {
  const old = e.let(dst.readForWrite());
  const isEqual = e.let(old.eq(readPair(e, EDX, EAX)));
  dst.write(select(isEqual, readPair(e, ECX, EBX), old));
  e.f.if(isEqual.eqz(), () => {
    e.writeRegister(EAX, 4, old.wrap());
    e.writeRegister(EDX, 4, old.shrU(32).wrap());
  });
  e.flags.setZero(isEqual);
}
row('0F C7 /1', 'CMPXCHG8B', 'Mq', (e, dst) => cmpxchg8b(e, dst!), LOCKABLE);
