import { expect, test } from 'vitest';
import { GDT, IDT, ProcessorBoard } from '../../test/processor-board.ts';
import { FLAG_NT } from './flags.ts';
import { CR0, CS, DS, ES, LDTR, SS, TR } from './state-layout.ts';

const NEW_TSS = 0x4000;

/** A second task at 58: EIP 0x6600, ESP 0xb000, registers 0x11 … , LDT 28, segments of ring 0. */
function taskBoard(rights = 0x0089): ProcessorBoard {
  const board = new ProcessorBoard();
  board.enterProtected();
  board.describe(0x58, NEW_TSS, 0x67, rights);
  board.write32(NEW_TSS + 28, 0x10_0000, 0x6600, 0x202);
  board.write32(NEW_TSS + 40, 0x11, 0x12, 0x13, 0x14, 0xb000, 0x16, 0x17, 0x18);
  board.write32(NEW_TSS + 72, 0x10, 0x08, 0x10, 0x10, 0, 0, 0x28);
  for (let index = 0; index < 8; index++)
    if (index !== 4) board.state.setReg32(index, 0x100 + index);
  return board;
}

function isBusy(board: ProcessorBoard, selector: number): boolean {
  return (board.read32(GDT + selector + 4) & 0x200) !== 0;
}

test('CALL to a TSS and IRET back: registers, links, busy bits, NT, TS', () => {
  const board = taskBoard();
  const { state, processor } = board;
  state.nextEip = 0x5007;
  processor.farCall(0x58, 0xdead, 4);
  expect(board.fault).toBeUndefined();
  expect([state.eip, state.reg32(0), state.reg32(4), state.reg32(7)]).toEqual([
    0x6600, 0x11, 0xb000, 0x18,
  ]);
  expect([state.selector(TR), state.selector(LDTR), state.segBase(LDTR)]).toEqual([
    0x58, 0x28, 0x1800,
  ]);
  expect([state.selector(CS), state.selector(SS), state.selector(ES)]).toEqual([8, 0x10, 0x10]);
  expect(state.eflags).toBe(FLAG_NT | 0x202);
  expect(state.get32(CR0) & 8).toBe(8);
  expect([isBusy(board, 0x30), isBusy(board, 0x58)]).toEqual([true, true]);
  expect(board.read16(NEW_TSS)).toBe(0x30);
  expect([board.read32(0x3020), board.read32(0x3028), board.read32(0x3038)]).toEqual([
    0x5007, 0x100, 0x7000,
  ]);
  state.setReg32(0, 0x9999);
  state.nextEip = 0x6611;
  processor.iret32();
  expect(board.fault).toBeUndefined();
  expect([state.eip, state.reg32(0), state.reg32(4), state.selector(TR)]).toEqual([
    0x5007, 0x100, 0x7000, 0x30,
  ]);
  expect(state.eflags).toBe(2);
  expect([isBusy(board, 0x30), isBusy(board, 0x58)]).toEqual([true, false]);
  expect([board.read32(NEW_TSS + 32), board.read32(NEW_TSS + 40)]).toEqual([0x6611, 0x9999]);
  expect(board.read32(NEW_TSS + 36)).toBe(0x202); // NT is clear in the image.
});

test('JMP frees the old task and links nothing', () => {
  const board = taskBoard();
  board.processor.farJump(0x58, 0, 4);
  expect(board.state.eflags).toBe(0x202);
  expect([isBusy(board, 0x30), isBusy(board, 0x58)]).toEqual([false, true]);
  expect(board.read16(NEW_TSS)).toBe(0);
});

test('a 16-bit TSS: words, and the upper halves of registers read as ones', () => {
  const board = taskBoard(0x0081);
  const { state, processor } = board;
  board.write32(NEW_TSS + 12, 0x6600 << 16, 0x0011_0202, 0x0013_0012);
  board.write32(NEW_TSS + 24, 0xb000_0014, 0x0017_0016, 0x0010_0018);
  board.write32(NEW_TSS + 36, 0x0010_0008, 0x0028_0010);
  processor.farCall(0x58, 0, 4);
  expect(board.fault).toBeUndefined();
  expect([state.eip, state.reg32(0), state.reg32(4), state.selector(DS)]).toEqual([
    0x6600, 0xffff_0011, 0xffff_b000, 0x10,
  ]);
  processor.iret32();
  expect(state.selector(TR)).toBe(0x30);
  expect([board.read16(NEW_TSS + 18), board.read16(NEW_TSS + 26)]).toEqual([0x11, 0xb000]);
});

test('a task gate takes an exception with its error code on the new stack', () => {
  const board = taskBoard();
  const { state, processor } = board;
  board.gate(IDT + 8 * 8, 0x58, 0, 0x85);
  state.eip = 0x5003;
  state.raiseException(8, 0);
  expect(processor.deliverPendingException()).toBe('ok');
  expect([state.eip, state.reg32(4), board.read32(0xaffc)]).toEqual([0x6600, 0xaffc, 0]);
  expect(board.read32(0x3020)).toBe(0x5003);
});

test('checks before the switch leave the old task running', () => {
  const board = taskBoard();
  const { state, processor } = board;
  const attempt = (limit: number, rights: number, selector = 0x58) => {
    board.describe(0x58, NEW_TSS, limit, rights);
    processor.farCall(selector, 0, 4);
    expect([state.eip, state.selector(TR)]).toEqual([0x5000, 0x30]);
    return board.takeFault();
  };
  expect(attempt(0x67, 0x008b)).toBe('13(0x58)'); // Busy.
  expect(attempt(0x67, 0x0009)).toBe('11(0x58)');
  expect(attempt(0x66, 0x0089)).toBe('10(0x58)');
  expect(attempt(0x67, 0x0089, 0x5b)).toBe('13(0x58)'); // RPL above DPL.
  state.eflags = FLAG_NT | 2;
  processor.iret32();
  expect(board.takeFault()).toBe('10(0x0)');
});

test('a bad segment of the new task faults in the new task', () => {
  const board = taskBoard();
  const { state, processor } = board;
  board.write32(NEW_TSS + 80, 0x08); // Code as the stack.
  processor.farJump(0x58, 0, 4);
  expect(board.takeFault()).toBe('10(0x8)');
  expect([state.selector(TR), state.eip, state.selector(SS)]).toEqual([0x58, 0x6600, 0x08]);
});

test('the T bit traps before the first instruction of the new task', () => {
  const board = taskBoard();
  board.write32(NEW_TSS + 100, 1);
  board.processor.farJump(0x58, 0, 4);
  board.processor.debug.afterInstruction();
  expect(board.takeFault()).toBe('1');
  expect(board.processor.movFromDR(6)).toBe(0xffff_8ff0);
});
