// Shifts and rotates. Intel SDM volume 2: RCL/RCR/ROL/ROR, SAL/SAR/SHL/SHR, SHLD, SHRD.
//
// The count is taken modulo 32; 0 changes nothing, flags included. OF is defined for a count of 1
// only; for others it follows the same formula over the result, and AF is cleared.

import { constantOf, i32, type Value } from '../../wasm/index.ts';
import type { Emitter } from '../emitter.ts';
import { type Meaning, row } from '../instruction-table.ts';
import { bitOf, signExtend } from './common-meanings.ts';

interface Shifted {
  readonly result: Value;
  readonly cf: Value;
  readonly of: Value;
}

/** `count` is i32, 1–31 (63 for 8 bytes), pinned, as `old` is. */
type Shift = (e: Emitter, old: Value, count: Value, size: number) => Shifted;

/** The count in the type of the operand, for WebAssembly's shifts. */
const like = (count: Value, value: Value) => (value.type === 'i64' ? count.extendU() : count);

/** CF and OF of a result whose top bits tell them: rotates to the left and to the right. */
function leftFlags(e: Emitter, result: Value, cf: Value, size: number): Shifted {
  const carry = e.let(cf);
  return { result, cf: carry, of: carry.xor(bitOf(result, size * 8 - 1)) };
}
function topTwoDiffer(result: Value, size: number): Value {
  return bitOf(result, size * 8 - 1).xor(bitOf(result, size * 8 - 2));
}

const shl: Shift = (e, old, count, size) => {
  const bits = size * 8;
  const by = like(count, old);
  const result = e.let(old.shl(by));
  // Narrow operands have the carry in the bit above them.
  const cf =
    size < 4 ? bitOf(result, bits) : old.shrU(constantOf(old.type, bits).sub(by)).and(1).wrap();
  return leftFlags(e, result, cf, size);
};

const shr: Shift = (e, old, count, size) => {
  const by = like(count, old);
  const result = e.let(old.shrU(by));
  const cf = old.shrU(by.sub(1)).and(1).wrap();
  // For a count of 1 the bit below the top is the sign of the operand.
  return { result, cf, of: topTwoDiffer(result, size) };
};

const sar: Shift = (e, old, count, size) => {
  const by = like(count, old);
  const wide = e.let(signExtend(old, size));
  const cf = wide.shrS(by.sub(1)).and(1).wrap();
  return { result: e.let(wide.shrS(by)), cf, of: i32(0) };
};

/** The operand repeated to fill its type, so that one rotate serves every size. */
function repeated(old: Value, size: number): Value {
  return size === 1 ? old.mul(0x0101_0101) : size === 2 ? old.mul(0x1_0001) : old;
}

const rol: Shift = (e, old, count, size) => {
  const result = e.let(repeated(old, size).rotl(like(count, old)));
  return leftFlags(e, result, bitOf(result, 0), size);
};

const ror: Shift = (e, old, count, size) => {
  const result = e.let(repeated(old, size).rotr(like(count, old)));
  return { result, cf: bitOf(result, size * 8 - 1), of: topTwoDiffer(result, size) };
};

/** Rotates through carry turn size × 8 + 1 bits: `x` holds CF above the operand. */
function throughCarry(e: Emitter, old: Value, size: number): Value {
  const wide = size === 4 ? old.extendU() : old;
  const cf = size === 4 ? e.flags.cf().extendU() : e.flags.cf();
  return e.let(wide.or(cf.shl(size * 8)));
}

function rotatedThroughCarry(e: Emitter, old: Value, count: Value, size: number, isLeft: boolean) {
  if (size === 8) throw new RangeError('Cannot rotate 8 bytes through carry before long mode');
  const width = size * 8 + 1;
  const x = throughCarry(e, old, size);
  const by = e.let(like(size === 4 ? count : count.remU(width), x));
  const rest = constantOf(x.type, width).sub(by);
  const turned = e.let(isLeft ? x.shl(by).or(x.shrU(rest)) : x.shrU(by).or(x.shl(rest)));
  const cf = bitOf(turned, width - 1);
  return { result: e.let(turned.wrap()), cf };
}

const rcl: Shift = (e, old, count, size) => {
  const { result, cf } = rotatedThroughCarry(e, old, count, size, true);
  return leftFlags(e, result, cf, size);
};

const rcr: Shift = (e, old, count, size) => {
  const { result, cf } = rotatedThroughCarry(e, old, count, size, false);
  return { result, cf, of: topTwoDiffer(result, size) };
};

function shiftMeaning(shift: Shift, isRotate: boolean): Meaning {
  return (e, dst, amount) => {
    const { size } = dst!;
    const apply = (old: Value, count: Value) => {
      const { result, cf, of } = shift(e, old, count, size);
      if (isRotate) e.flags.setCarryOverflow(cf, of);
      else e.flags.setResult(result, size, cf, of);
      return result;
    };
    if (!amount) {
      dst!.modify((old) => apply(old, i32(1)));
      return;
    }
    const count = e.let(amount.read().and(size === 8 ? 63 : 31));
    const old = e.let(dst!.readForWrite());
    e.f.if(count, () => dst!.write(apply(old, count)));
  };
}

const SHIFTS: readonly (readonly [string, Shift, boolean])[] = [
  ['ROL', rol, true],
  ['ROR', ror, true],
  ['RCL', rcl, true],
  ['RCR', rcr, true],
  ['SHL', shl, false],
  ['SHR', shr, false],
  // Digit 6 is not in Intel's table; every processor takes it as SHL (AMD64 APM volume 3, A.2).
  ['SAL', shl, false],
  ['SAR', sar, false],
];

SHIFTS.forEach(([mnemonic, shift, isRotate], digit) => {
  const meaning = shiftMeaning(shift, isRotate);
  row(`C0 /${digit}`, mnemonic, 'Eb,Ib', meaning);
  row(`C1 /${digit}`, mnemonic, 'Ev,Ib', meaning);
  row(`D0 /${digit}`, mnemonic, 'Eb', meaning);
  row(`D1 /${digit}`, mnemonic, 'Ev', meaning);
  row(`D2 /${digit}`, mnemonic, 'Eb,CL', meaning);
  row(`D3 /${digit}`, mnemonic, 'Ev,CL', meaning);
});

/**
 * SHLD and SHRD. A count above 16 with 16-bit operands is undefined; processors then go on with the
 * destination: the bits shifted are dst:src:dst.
 */
function doubleShift(isLeft: boolean): Meaning {
  return (e, dst, src, amount) => {
    const { size } = dst!;
    if (size === 8) throw new RangeError('Cannot shift 16 bytes before long mode');
    const bits = size * 8;
    const count = e.let(amount!.read().and(31));
    const filler = src!.read();
    const old = e.let(dst!.readForWrite());
    e.f.if(count, () => {
      const by = e.let(count.extendU());
      const high = e.let(old.extendU());
      const low = filler.extendU();
      // The operand and what flows into it, 64 bits for 4-byte operands and 48 for 2-byte ones.
      const pair =
        size === 4
          ? isLeft
            ? high.shl(32).or(low)
            : low.shl(32).or(high)
          : high.shl(32).or(low.shl(16)).or(high);
      const x = e.let(pair);
      const top = size === 4 ? 64 : 48;
      const result = e.let((isLeft ? x.shl(by).shrU(top - bits) : x.shrU(by)).wrap());
      const last = isLeft ? constantOf('i64', top).sub(by) : by.sub(1);
      const cf = x.shrU(last).and(1).wrap();
      const of = bitOf(result.xor(old), bits - 1);
      dst!.write(result);
      e.flags.setResult(result, size, cf, of);
    });
  };
}
row('0F A4', 'SHLD', 'Ev,Gv,Ib', doubleShift(true));
row('0F A5', 'SHLD', 'Ev,Gv,CL', doubleShift(true));
row('0F AC', 'SHRD', 'Ev,Gv,Ib', doubleShift(false));
row('0F AD', 'SHRD', 'Ev,Gv,CL', doubleShift(false));
