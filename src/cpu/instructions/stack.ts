// PUSH, POP and the frames: ESP moves after the last access that can fault.
// Intel SDM volume 2: PUSH, PUSHA, POP, POPA, ENTER, LEAVE.

import { i32, select } from '../../wasm/index.ts';
import { type Meaning, type RowOptions, row } from '../instruction-table.ts';
import { MODE, MODE_STACK32 } from '../state-layout.ts';
import { EBP, ESP, ofSize, operandBytes, readSelector, stackLinear } from './common-meanings.ts';

const STACK: RowOptions = { usesStack: true };
const SIZED_STACK: RowOptions = { usesStack: true, usesOperandSize: true };

const push: Meaning = (e, src) => e.push(ofSize(src!.read(), e.operandSize), e.operandSize);
row('50+r', 'PUSH', 'Zv', push, STACK);
row('68', 'PUSH', 'Iz', push, STACK);
row('6A', 'PUSH', 'sIb', push, SIZED_STACK);
row('FF /6', 'PUSH', 'Ev', push, STACK);

const popRegister: Meaning = (e, dst) => {
  const value = e.let(e.peekStack(e.operandSize));
  e.addToStackPointer(e.operandSize);
  dst!.write(value); // Last: POP ESP leaves what was popped.
};
row('58+r', 'POP', 'Zv', popRegister, STACK);

row(
  '8F /0',
  'POP',
  'Ev',
  (e, dst) => {
    if (!dst!.isMemory) {
      popRegister(e, dst!);
      return;
    }
    const size = e.operandSize;
    const value = e.let(e.peekStack(size));
    // An address based on ESP uses it as it is after the pop; a fault must find it as before.
    const before = e.let(e.readRegister(ESP, 4));
    e.addToStackPointer(size);
    const offset = e.let(dst!.offset());
    e.writeRegister(ESP, 4, before);
    e.storeLinear(dst!.linearAt(offset, size, true), size, value);
    e.addToStackPointer(size);
  },
  STACK,
);

const SEGMENT_PUSHES = ['06', '0E', '16', '1E', '0F A0', '0F A8'];
const SEGMENT_POPS = ['07', '', '17', '1F', '0F A1', '0F A9'];
SEGMENT_PUSHES.forEach((pattern, segment) => {
  row(
    pattern,
    'PUSH',
    '',
    (e) => e.push(ofSize(readSelector(e, segment), e.operandSize), e.operandSize),
    SIZED_STACK,
  );
});
SEGMENT_POPS.forEach((pattern, segment) => {
  if (pattern === '') return; // POP CS is the 0F escape.
  row(pattern, 'POP', '', (e) => e.system('popSegment', i32(segment), operandBytes(e)), {
    usesOperandSize: true,
  });
});

row(
  '60',
  'PUSHA',
  '',
  (e) => {
    const size = e.operandSize;
    const before = e.let(e.readRegister(ESP, 4));
    // The frame spans two pages at most: once its two ends may be written, so may the rest.
    for (const count of [1, 8]) {
      const linear = stackLinear(e, before.sub(count * size), size, true);
      e.f.drop(e.loadLinearForWrite(linear, size));
    }
    for (let register = 0; register < 8; register++) {
      const value = register === ESP ? before : e.readRegister(register, size);
      e.push(value, size);
    }
  },
  SIZED_STACK,
);

row(
  '61',
  'POPA',
  '',
  (e) => {
    const size = e.operandSize;
    const values = [7, 6, 5, 4, 3, 2, 1, 0].map((register, position) => ({
      register,
      // ESP in the frame is skipped, not read.
      value: register === ESP ? undefined : e.let(e.peekStack(size, position * size)),
    }));
    for (const { register, value } of values) {
      if (value) e.writeRegister(register, size, value);
    }
    e.addToStackPointer(8 * size);
  },
  SIZED_STACK,
);

row(
  'C8',
  'ENTER',
  'Iw,Ib',
  (e, frameBytes, nesting) => {
    const { f } = e;
    const size = e.operandSize;
    const level = e.let(nesting!.read().and(31));
    const before = e.let(e.readRegister(ESP, 4));
    const oldFrame = e.let(e.readRegister(EBP, 4));
    const pushedBytes = e.let(level.add(1).mul(size));
    // What EBP becomes. In a 16-bit stack the upper half of ESP takes no part in the arithmetic.
    const lowered = e.let(before.sub(size));
    const isWide = e.loadState32(MODE).and(MODE_STACK32);
    const kept = before.and(-0x10000).or(lowered.and(0xffff));
    const frame = e.let(select(isWide, lowered, kept));
    // ENTER faults if the new top of the stack could not be written (SDM volume 2, ENTER).
    const moved = e.let(pushedBytes.add(frameBytes!.read()));
    f.drop(e.loadLinearForWrite(stackLinear(e, before.sub(moved), size, true), size));
    // All that follows writes below ESP: a fault leaves nothing that a program may see.
    e.storeLinear(stackLinear(e, frame, size, true), size, oldFrame);
    const done = f.local('i32');
    f.set(done, i32(1));
    f.if(level, () => {
      f.block((end) => {
        f.loop((next) => {
          f.brIf(end, done.eq(level));
          const from = stackLinear(e, oldFrame.sub(done.mul(size)), size, false);
          const display = e.let(e.loadLinear(from, size));
          const to = stackLinear(e, frame.sub(done.mul(size)), size, true);
          e.storeLinear(to, size, display);
          f.set(done, done.add(1));
          f.br(next);
        });
      });
      const to = stackLinear(e, frame.sub(level.mul(size)), size, true);
      e.storeLinear(to, size, frame);
    });
    e.addToStackPointer(i32(0).sub(moved));
    e.writeRegister(EBP, size, frame);
  },
  SIZED_STACK,
);

row(
  'C9',
  'LEAVE',
  '',
  (e) => {
    const size = e.operandSize;
    const frame = e.let(e.readRegister(EBP, 4));
    const value = e.let(e.loadLinear(stackLinear(e, frame, size, false), size));
    e.addToStackPointer(frame.sub(e.readRegister(ESP, 4)).add(size));
    e.writeRegister(EBP, size, value);
  },
  SIZED_STACK,
);
