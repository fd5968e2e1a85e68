// Moves: MOV, MOVZX, MOVSX, LEA, XLAT, BSWAP, CMOVcc, SETcc and the conversions within EAX and EDX.
// Intel SDM volume 2, chapters 3–6.

import { i32, select, type Value } from '../../wasm/index.ts';
import { FLAGS_LOW_BYTE } from '../flag-emitter.ts';
import { FLAGS_FIXED } from '../flags.ts';
import { type Meaning, row } from '../instruction-table.ts';
import { AH, AL, EAX, EBX, EDX, ofSize, readSelector, signExtend } from './common-meanings.ts';

const mov: Meaning = (_e, dst, src) => dst!.write(ofSize(src!.read(), dst!.size));

row('88', 'MOV', 'Eb,Gb', mov);
row('89', 'MOV', 'Ev,Gv', mov);
row('8A', 'MOV', 'Gb,Eb', mov);
row('8B', 'MOV', 'Gv,Ev', mov);
row('A0', 'MOV', 'AL,Ob', mov);
row('A1', 'MOV', 'eAX,Ov', mov);
row('A2', 'MOV', 'Ob,AL', mov);
row('A3', 'MOV', 'Ov,eAX', mov);
row('B0+r', 'MOV', 'Zb,Ib', mov);
row('B8+r', 'MOV', 'Zv,Iv', mov);
row('C6 /0', 'MOV', 'Eb,Ib', mov);
row('C7 /0', 'MOV', 'Ev,Iz', mov);

const movzx: Meaning = (_e, dst, src) => {
  const value = src!.read();
  dst!.write(dst!.size === 8 ? value.extendU() : value);
};
const movsx: Meaning = (_e, dst, src) =>
  dst!.write(ofSize(signExtend(src!.read(), src!.size), dst!.size));
row('0F B6', 'MOVZX', 'Gv,Eb', movzx);
row('0F B7', 'MOVZX', 'Gv,Ew', movzx);
row('0F BE', 'MOVSX', 'Gv,Eb', movsx);
row('0F BF', 'MOVSX', 'Gv,Ew', movsx);

row('8D', 'LEA', 'Gv,M', (_e, dst, src) => dst!.write(src!.offset()));

row(
  'D7',
  'XLAT',
  'Xb',
  (e, table) => {
    const sum = e.readRegister(EBX, e.addressSize).add(e.readByteRegister(AL));
    const offset = e.let(e.addressSize === 2 ? sum.and(0xffff) : sum);
    e.writeByteRegister(AL, e.loadLinear(table!.linearAt(offset, 1, false), 1));
  },
  { usesAddressSize: true },
);

// With a 16-bit operand the result is undefined; processors clear it (SDM volume 2, BSWAP).
row('0F C8+r', 'BSWAP', 'Zv', (_e, dst) =>
  dst!.modify((a) =>
    dst!.size === 2
      ? i32(0)
      : a
          .rotl(8)
          .and(0x00ff_00ff)
          .or(a.rotr(8).and(i32(0xff00_ff00 | 0))),
  ),
);

const CONDITIONS = 'O NO B NB Z NZ BE NBE S NS P NP L NL LE NLE'.split(' ');

CONDITIONS.forEach((name, code) => {
  const digit = code.toString(16).toUpperCase();
  row(`0F 9${digit}`, `SET${name}`, 'Eb', (e, dst) => dst!.write(e.flags.condition(code)));
  // The source is read, and may fault, whatever the condition says.
  row(`0F 4${digit}`, `CMOV${name}`, 'Gv,Ev', (e, dst, src) => {
    const value = src!.read();
    e.f.if(e.flags.condition(code), () => dst!.write(value));
  });
});

row(
  '98',
  'CBW',
  '',
  (e) => {
    const half = e.operandSize >> 1;
    const value = signExtend(e.readRegister(EAX, half), half);
    e.writeRegister(EAX, e.operandSize, ofSize(value, e.operandSize));
  },
  { usesOperandSize: true },
);

row(
  '99',
  'CWD',
  '',
  (e) => {
    const size = e.operandSize;
    const sign = signExtend(e.readRegister(EAX, size), size).shrS(size === 8 ? 63 : 31);
    e.writeRegister(EDX, size, sign);
  },
  { usesOperandSize: true },
);

row('9F', 'LAHF', '', (e) =>
  e.writeByteRegister(AH, e.flags.word().and(FLAGS_LOW_BYTE).or(FLAGS_FIXED)),
);
row('9E', 'SAHF', '', (e) => {
  const loaded: Value = e.readByteRegister(AH).and(FLAGS_LOW_BYTE);
  e.flags.setWord(loaded.or(e.flags.of().shl(11)));
});
// Not in Intel's table; in every processor since the 8086 (AMD64 APM volume 3, table A-1 leaves it
// invalid in 64-bit mode only).
row('D6', 'SALC', '', (e) => e.writeByteRegister(AL, select(e.flags.cf(), i32(0xff), i32(0))));

// Selectors: memory gets 16 bits, a register is filled with zeros (SDM volume 2, MOV).
for (let segment = 0; segment < 6; segment++) {
  row(`8C /${segment}`, 'MOV', 'Mw', (e, dst) => dst!.write(readSelector(e, segment)));
  row(`8C /${segment}`, 'MOV', 'Rv', (e, dst) =>
    dst!.write(ofSize(readSelector(e, segment), dst!.size)),
  );
  if (segment === 1) continue; // CS cannot be loaded: #UD.
  row(`8E /${segment}`, 'MOV', 'Ew', (e, src) =>
    e.system('movToSegment', i32(segment), src!.read()),
  );
}
