// The first instructions behind an interrupt's delivery, which the processor reaches by no jump.

import { expect, test } from 'vitest';
import { interpreterAccelerator, softwareAccelerator } from '../src/accel/software/index.ts';
import { CodeBoard, EAX } from './code-board.ts';
import { eagerLocalsTranslator, eagerTranslator } from './oracle/eager-translator.ts';

const CODE = 0x3_0000;
const VECTOR = 31;
const HANDLER = 0x3000 + VECTOR * 16;

test.each([
  ['interpreter', interpreterAccelerator],
  ['translator', softwareAccelerator],
  ['eager translator', eagerTranslator],
  ['eager translator, in locals', eagerLocalsTranslator],
])('a port access that begins an interrupt handler is made once: %s', (_, accelerator) => {
  const board = new CodeBoard(accelerator);
  board.put(HANDLER, [0x40, 0xe6, 0x80, 0x40, 0xf4]); // inc eax; out 0x80, al; inc eax; hlt
  board.put(CODE, [0xfb, 0x90, 0x90, 0xeb, 0xfe]); // sti; nop; nop; jmp $
  board.machine.pendingVectors.push(VECTOR);
  const { vcpu } = board.machine;
  const before = vcpu.instructionCount;
  board.state.setReg32(EAX, 0);
  board.run(CODE);
  expect(board.machine.ioCount()).toBe(1);
  expect(board.reg(EAX)).toBe(2);
  // STI and the instruction in its shadow, then the handler's four.
  expect(vcpu.instructionCount - before).toBe(6);
});
