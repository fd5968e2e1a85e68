import { expect, test } from 'vitest';
import { GDT, ProcessorBoard } from '../../test/processor-board.ts';
import { FLAG_IF } from './flags.ts';
import { CS, DS, GS, MODE, MSR, SS } from './state-layout.ts';

function protectedBoard(): ProcessorBoard {
  const board = new ProcessorBoard();
  board.enterProtected();
  return board;
}

function where(board: ProcessorBoard): [number, number, number, number] {
  const { state } = board;
  return [state.selector(CS), state.eip, state.selector(SS), state.reg32(4)];
}

test('real mode: far CALL and RET, 16 and 32 bits', () => {
  const board = new ProcessorBoard();
  const { state, processor } = board;
  state.setReg32(4, 0x100);
  state.nextEip = 0xfff5;
  processor.farCall(0x1000, 0x1_2345, 2);
  expect(where(board)).toEqual([0x1000, 0x2345, 0, 0xfc]);
  expect([board.read16(0xfc), board.read16(0xfe)]).toEqual([0xfff5, 0xf000]);
  processor.retFar(4, 2);
  expect(where(board)).toEqual([0xf000, 0xfff5, 0, 0x104]);
  processor.farCall(0x1000, 0x1_0000, 4);
  expect(board.takeFault()).toBe('13(0x0)');
  expect(where(board)).toEqual([0xf000, 0xfff5, 0, 0x104]);
});

test('far JMP: conforming and not, level, type, presence, limit', () => {
  const board = protectedBoard();
  const { processor } = board;
  const attempt = (rights: number, selector: number, offset = 0x10) => {
    board.describe(0x48, 0, 0xfff, rights);
    processor.farJump(selector, offset, 4);
    return board.takeFault() ?? board.state.selector(CS);
  };
  expect(attempt(0x409b, 0x48)).toBe(0x48);
  expect(attempt(0x409b, 0x4b)).toBe('13(0x48)');
  expect(attempt(0x40fb, 0x48)).toBe('13(0x48)');
  expect(attempt(0x409f, 0x4b)).toBe(0x48); // Conforming: RPL does not matter.
  expect(attempt(0x40bf, 0x48)).toBe('13(0x48)'); // Conforming, less privileged.
  expect(attempt(0x401b, 0x48)).toBe('11(0x48)');
  expect(attempt(0x4093, 0x48)).toBe('13(0x48)');
  expect(attempt(0x409b, 0x48, 0x1000)).toBe('13(0x0)');
  expect(attempt(0x409b, 0)).toBe('13(0x0)');
  board.enterUser();
  expect(attempt(0x409f, 0x48)).toBe(0x4b);
  expect(board.state.cpl).toBe(3);
});

test('a jump to 16-bit code changes MODE', () => {
  const board = protectedBoard();
  board.describe(0x48, 0, 0xffff, 0x009b);
  board.processor.farJump(0x48, 0x10, 4);
  expect(board.state.get32(MODE) & 1).toBe(0);
});

test('a call gate to ring 0 copies its parameters, and RETF releases them on both stacks', () => {
  const board = protectedBoard();
  const { state, processor } = board;
  board.gate(GDT + 0x60, 0x08, 0x4444, 0xec, 3);
  board.enterUser();
  board.write32(0x9ff4, 0x11, 0x22, 0x33);
  state.setReg32(4, 0x9ff4);
  state.nextEip = 0x6007;
  processor.farCall(0x63, 0xdead, 4);
  expect(board.fault).toBeUndefined();
  expect(where(board)).toEqual([0x08, 0x4444, 0x10, 0x8fe4]);
  const frame = [0, 4, 8, 12, 16, 20, 24].map((offset) => board.read32(0x8fe4 + offset));
  expect(frame).toEqual([0x6007, 0x1b, 0x11, 0x22, 0x33, 0x9ff4, 0x23]);
  processor.segmentation.loadSegment(DS, 0x10);
  processor.retFar(12, 4);
  expect(where(board)).toEqual([0x1b, 0x6007, 0x23, 0xa000]);
  expect(state.cpl).toBe(3);
  // A ring 0 segment does not leak; one of ring 3 stays.
  expect([state.selector(DS), state.selector(GS)]).toEqual([0, 0x23]);
});

test('a 16-bit call gate pushes words', () => {
  const board = protectedBoard();
  const { state, processor } = board;
  board.gate(GDT + 0x60, 0x08, 0xffff_4444, 0xe4, 1);
  board.enterUser();
  board.memory.write(0xa000, 2, 0x7777);
  state.nextEip = 0x6007;
  processor.farCall(0x63, 0, 4);
  expect(where(board)).toEqual([0x08, 0x4444, 0x10, 0x8ff6]);
  const frame = [0, 2, 4, 6, 8].map((offset) => board.read16(0x8ff6 + offset));
  expect(frame).toEqual([0x6007, 0x1b, 0x7777, 0xa000, 0x23]);
});

test('call gates: level, presence; JMP never changes level', () => {
  const board = protectedBoard();
  const { processor } = board;
  board.gate(GDT + 0x60, 0x08, 0x4444, 0x8c);
  board.enterUser();
  processor.farCall(0x63, 0, 4);
  expect(board.takeFault()).toBe('13(0x60)');
  board.gate(GDT + 0x60, 0x08, 0x4444, 0x6c);
  processor.farCall(0x63, 0, 4);
  expect(board.takeFault()).toBe('11(0x60)');
  board.gate(GDT + 0x60, 0x08, 0x4444, 0xec);
  processor.farJump(0x63, 0, 4);
  expect(board.takeFault()).toBe('13(0x8)');
  expect(where(board)).toEqual([0x1b, 0x6000, 0x23, 0xa000]);
});

test('RETF never goes to a more privileged level, and faults leave ESP', () => {
  const board = protectedBoard();
  const { processor } = board;
  board.enterUser();
  board.write32(0xa000, 0x5000, 0x08);
  processor.retFar(0, 4);
  expect(board.takeFault()).toBe('13(0x8)');
  expect(where(board)).toEqual([0x1b, 0x6000, 0x23, 0xa000]);
});

test('IRET checks the outer stack before anything changes', () => {
  const board = protectedBoard();
  const { state, processor } = board;
  board.write32(0x7000, 0x6000, 0x1b, FLAG_IF | 2, 0xa000, 0x10);
  processor.iret32();
  expect(board.takeFault()).toBe('13(0x10)');
  expect(where(board)).toEqual([0x08, 0x5000, 0x10, 0x7000]);
  board.write32(0x7010, 0);
  processor.iret32();
  expect(board.takeFault()).toBe('13(0x0)');
  expect([state.eflags, state.cpl]).toEqual([2, 0]);
});

test('IRET at ring 3 changes neither IOPL nor IF', () => {
  const board = protectedBoard();
  const { state, processor } = board;
  board.enterUser(FLAG_IF | 2);
  board.write32(0xa000, 0x6100, 0x1b, 0x3043);
  processor.iret32();
  expect(board.fault).toBeUndefined();
  expect(state.eflags).toBe(FLAG_IF | 0x43);
  expect(where(board)).toEqual([0x1b, 0x6100, 0x23, 0xa00c]);
});

test('IRET with 16-bit operands returns to 16 bits of everything', () => {
  const board = protectedBoard();
  const { state, processor } = board;
  state.eflags = 0x20_0002;
  board.write32(0x7000, 0x0008_9abc, 0x0000_0003);
  processor.iret16();
  expect(where(board)).toEqual([0x08, 0x9abc, 0x10, 0x7006]);
  expect(state.eflags).toBe(0x20_0003);
});

test('SYSENTER and SYSEXIT', () => {
  const board = protectedBoard();
  const { state, processor } = board;
  processor.sysenter();
  expect(board.takeFault()).toBe('13(0x0)');
  state.set32(MSR + 8, 0x08);
  state.set32(MSR + 16, 0x8800);
  state.set32(MSR + 24, 0x4400);
  board.enterUser(FLAG_IF | 2);
  processor.sysenter();
  expect(where(board)).toEqual([0x08, 0x4400, 0x10, 0x8800]);
  expect([state.cpl, state.eflags]).toEqual([0, 2]);
  state.setReg32(1, 0xa000);
  state.setReg32(2, 0x6002);
  processor.sysexit();
  expect(where(board)).toEqual([0x1b, 0x6002, 0x23, 0xa000]);
  expect(state.cpl).toBe(3);
  processor.sysexit();
  expect(board.takeFault()).toBe('13(0x0)');
});
