// Near and far transfers of control. Every target is checked before a register or the stack
// changes. Intel SDM volume 2: JMP, CALL, RET, Jcc, LOOP, INT, IRET.

import { i32, type Value } from '../../wasm/index.ts';
import type { Emitter, Operand } from '../emitter.ts';
import { type RowOptions, row } from '../instruction-table.ts';
import { ECX, operandBytes, readFarPointer, requireTarget } from './common-meanings.ts';

const JUMP: RowOptions = { endsBlock: true, usesOperandSize: true };
const STACK_JUMP: RowOptions = { ...JUMP, usesStack: true };
const COUNTED_JUMP: RowOptions = { ...JUMP, usesAddressSize: true };

row('EB', 'JMP', 'Jb', (e, target) => e.jumpRelative(target!), JUMP);
row('E9', 'JMP', 'Jz', (e, target) => e.jumpRelative(target!), JUMP);
row('FF /4', 'JMP', 'Ev', (e, target) => e.jump(target!.read()), JUMP);

const CONDITIONS = 'O NO B NB Z NZ BE NBE S NS P NP L NL LE NLE'.split(' ');

CONDITIONS.forEach((name, code) => {
  const digit = code.toString(16).toUpperCase();
  const meaning = (e: Emitter, target?: Operand) =>
    e.f.if(e.flags.condition(code), () => e.jumpRelative(target!));
  row(`7${digit}`, `J${name}`, 'Jb', meaning, JUMP);
  row(`0F 8${digit}`, `J${name}`, 'Jz', meaning, JUMP);
});

function loopRow(pattern: string, mnemonic: string, also: (e: Emitter, more: Value) => Value) {
  row(
    pattern,
    mnemonic,
    'Jb',
    (e, target) => {
      const size = e.addressSize;
      const left = e.let(e.readRegister(ECX, size).sub(1));
      const hasMore = (size === 2 ? left.and(0xffff) : left).ne(0);
      e.f.if(
        also(e, hasMore),
        () => {
          e.requireRelative(target!);
          e.writeRegister(ECX, size, left);
          e.jumpRelative(target!);
        },
        () => e.writeRegister(ECX, size, left),
      );
    },
    COUNTED_JUMP,
  );
}
loopRow('E0', 'LOOPNE', (e, more) => more.and(e.flags.zf().eqz()));
loopRow('E1', 'LOOPE', (e, more) => more.and(e.flags.zf()));
loopRow('E2', 'LOOP', (_e, more) => more);

row(
  'E3',
  'JCXZ',
  'Jb',
  (e, target) => e.f.if(e.readRegister(ECX, e.addressSize).eqz(), () => e.jumpRelative(target!)),
  COUNTED_JUMP,
);

row(
  'E8',
  'CALL',
  'Jz',
  (e, target) => {
    e.requireRelative(target!);
    e.push(e.nextEip(), e.operandSize);
    e.jumpRelative(target!);
  },
  STACK_JUMP,
);

row(
  'FF /2',
  'CALL',
  'Ev',
  (e, target) => {
    const eip = e.let(target!.read());
    requireTarget(e, eip);
    e.push(e.nextEip(), e.operandSize);
    e.jump(eip);
  },
  STACK_JUMP,
);

function returnNear(e: Emitter, extraBytes: Value | number): void {
  const eip = e.let(e.peekStack(e.operandSize));
  requireTarget(e, eip);
  const bytes =
    typeof extraBytes === 'number' ? extraBytes + e.operandSize : extraBytes.add(e.operandSize);
  e.addToStackPointer(bytes);
  e.jump(eip);
}
row('C3', 'RET', '', (e) => returnNear(e, 0), STACK_JUMP);
row('C2', 'RET', 'Iw', (e, bytes) => returnNear(e, bytes!.immediate()), STACK_JUMP);

// Far transfers: descriptors, gates and tasks are TypeScript's business.
function farByMemory(method: string) {
  return (e: Emitter, pointer?: Operand) => {
    const { selector, offset } = readFarPointer(e, pointer!);
    e.system(method, selector, offset, operandBytes(e));
  };
}
function farByImmediate(method: string) {
  return (e: Emitter, target?: Operand) =>
    e.system(method, target!.immediate(), target!.offset(), operandBytes(e));
}
row('9A', 'CALLF', 'Ap', farByImmediate('farCall'), JUMP);
row('EA', 'JMPF', 'Ap', farByImmediate('farJump'), JUMP);
row('FF /3', 'CALLF', 'Mp', farByMemory('farCall'), JUMP);
row('FF /5', 'JMPF', 'Mp', farByMemory('farJump'), JUMP);
row('CB', 'RETF', '', (e) => e.system('retFar', i32(0), operandBytes(e)), JUMP);
row(
  'CA',
  'RETF',
  'Iw',
  (e, bytes) => e.system('retFar', bytes!.immediate(), operandBytes(e)),
  JUMP,
);
row('CF', 'IRET', '', (e) => e.system(e.operandSize === 2 ? 'iret16' : 'iret32'), JUMP);

const ENDS: RowOptions = { endsBlock: true };
row('CC', 'INT3', '', (e) => e.system('int3'), ENDS);
row('CD', 'INT', 'Ib', (e, vector) => e.system('interrupt', vector!.read()), ENDS);
row('CE', 'INTO', '', (e) => e.f.if(e.flags.of(), () => e.system('into')), ENDS);
row('F1', 'INT1', '', (e) => e.system('int1'), ENDS);
