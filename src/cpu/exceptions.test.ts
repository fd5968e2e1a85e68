import { expect, test } from 'vitest';
import { IDT, ProcessorBoard } from '../../test/processor-board.ts';
import { combine } from './exceptions.ts';
import { FLAG_IF, FLAG_NT, FLAG_RF, FLAG_TF, FLAG_VIF, FLAG_VIP, FLAG_VM } from './flags.ts';
import { CR4, CS, DS, ES, GS, IDTR_LIMIT, NMI_BLOCKED, SS } from './state-layout.ts';

function protectedBoard(): ProcessorBoard {
  const board = new ProcessorBoard();
  board.enterProtected();
  return board;
}

function where(board: ProcessorBoard): [number, number, number, number] {
  const { state } = board;
  return [state.selector(CS), state.eip, state.selector(SS), state.reg32(4)];
}

/** Words of the stack from ESP up. */
function stack32(board: ProcessorBoard, count: number): number[] {
  const top = board.state.segBase(SS) + board.state.reg32(4);
  return Array.from({ length: count }, (_, index) => board.read32(top + index * 4));
}

function stack16(board: ProcessorBoard, count: number): number[] {
  const top = board.state.segBase(SS) + (board.state.reg32(4) & 0xffff);
  return Array.from({ length: count }, (_, index) => board.read16(top + index * 2));
}

test('real mode: FLAGS, CS and IP are pushed, IF and TF cleared', () => {
  const board = new ProcessorBoard();
  const { state, processor } = board;
  board.write32(0x21 * 4, 0x1234_5678);
  processor.segmentation.loadSegment(SS, 0x1000);
  state.setReg32(4, 0xabcd_0002);
  state.eflags = FLAG_IF | FLAG_TF | 0x43;
  state.eip = 0x8000;
  expect(processor.deliverInterrupt(0x21)).toBe(true);
  // SP wraps within 64 KiB: 2 → 0xfffc; the upper half of ESP stays.
  expect(where(board)).toEqual([0x1234, 0x5678, 0x1000, 0xabcd_fffc]);
  expect(board.read16(0x1_0000)).toBe(FLAG_IF | FLAG_TF | 0x43);
  expect([board.read16(0x1_fffe), board.read16(0x1_fffc)]).toEqual([0xf000, 0x8000]);
  expect(state.eflags).toBe(0x43);
});

test('real mode: an exception pushes no error code; a short IVT shuts down in the end', () => {
  const board = new ProcessorBoard();
  const { state, processor } = board;
  board.write32(13 * 4, 0x2000_0010);
  state.setReg32(4, 0x100);
  state.raiseException(13, 0x55);
  expect(processor.deliverPendingException()).toBe('ok');
  expect(stack16(board, 3)).toEqual([0xfff0, 0xf000, 0x0002]);
  state.set32(IDTR_LIMIT, 3);
  state.raiseException(6);
  expect(processor.deliverPendingException()).toBe('shutdown');
  expect(processor.shutdownReason).toContain('triple fault: exception 6, then 13');
});

test('32-bit gate at the same level, with and without an error code', () => {
  const board = protectedBoard();
  const { state, processor } = board;
  board.gate(IDT + 13 * 8, 0x08, 0x1234_5678, 0x8e);
  state.eflags = FLAG_IF | FLAG_TF | FLAG_NT | 0x55;
  state.eip = 0x5000;
  state.raiseException(13, 0xabc0);
  expect(processor.deliverPendingException()).toBe('ok');
  expect(where(board)).toEqual([0x08, 0x1234_5678, 0x10, 0x6ff0]);
  const image = FLAG_IF | FLAG_TF | FLAG_NT | FLAG_RF | 0x57;
  expect(stack32(board, 4)).toEqual([0xabc0, 0x5000, 0x08, image]);
  expect(state.eflags).toBe(0x57);
  board.gate(IDT + 0x30 * 8, 0x08, 0x4000, 0x8f); // A trap gate leaves IF.
  state.eflags = FLAG_IF | 2;
  processor.deliverInterrupt(0x30);
  expect(stack32(board, 3)).toEqual([0x1234_5678, 0x08, FLAG_IF | 2]);
  expect(state.eflags).toBe(FLAG_IF | 2);
});

test('16-bit gate pushes words and cuts the offset', () => {
  const board = protectedBoard();
  const { state, processor } = board;
  board.gate(IDT + 8 * 0x31, 0x08, 0xffff_4321, 0x86);
  state.eip = 0x1_2345;
  processor.deliverInterrupt(0x31);
  expect(where(board)).toEqual([0x08, 0x4321, 0x10, 0x6ffa]);
  expect(stack16(board, 3)).toEqual([0x2345, 0x08, 0x0002]);
});

test('from ring 3 the stack comes from the TSS, and IRET goes back', () => {
  const board = protectedBoard();
  const { state, processor } = board;
  board.gate(IDT + 14 * 8, 0x08, 0x4000, 0x8e);
  board.enterUser(FLAG_IF | 2);
  state.eip = 0x6010;
  state.raisePageFault(0xdead_b000, 7);
  expect(processor.deliverPendingException()).toBe('ok');
  expect(where(board)).toEqual([0x08, 0x4000, 0x10, 0x8fe8]);
  const image = FLAG_IF | FLAG_RF | 2;
  expect(stack32(board, 6)).toEqual([7, 0x6010, 0x1b, image, 0xa000, 0x23]);
  expect([state.cpl, state.eflags, state.cr2]).toEqual([0, 2, 0xdead_b000]);
  state.setReg32(4, 0x8fec);
  processor.iret32();
  expect(where(board)).toEqual([0x1b, 0x6010, 0x23, 0xa000]);
  expect([state.cpl, state.eflags]).toEqual([3, FLAG_IF | 2]);
});

test('V86 → ring 0 pushes the data segments and nulls them; IRET restores all', () => {
  const board = protectedBoard();
  const { state, processor } = board;
  board.gate(IDT + 13 * 8, 0x08, 0x4000, 0x8e);
  board.enterV86(0x3000);
  expect(state.segBase(GS)).toBe(0x6_0000);
  state.raiseException(13, 0);
  expect(processor.deliverPendingException()).toBe('ok');
  const image = FLAG_VM | FLAG_RF | 0x3002;
  const frame = [0, 0x200, 0x1000, image, 0xff0, 0x2000, 0x3000, 0x4000, 0x5000, 0x6000];
  expect(stack32(board, 10)).toEqual(frame);
  expect(state.eflags & FLAG_VM).toBe(0);
  expect([state.selector(ES), state.selector(DS), state.selector(GS)]).toEqual([0, 0, 0]);
  expect(processor.checkAccess(DS, 0, 1, 0)).toBe(-1);
  board.takeFault();
  state.setReg32(4, state.reg32(4) + 4);
  processor.iret32();
  expect(where(board)).toEqual([0x1000, 0x200, 0x2000, 0xff0]);
  expect([state.selector(DS), state.segBase(DS), state.cpl]).toEqual([0x4000, 0x4_0000, 3]);
  expect(state.eflags).toBe(FLAG_VM | 0x3002);
});

test('INT n: gate privilege, and EXT stays clear', () => {
  const board = protectedBoard();
  const { state, processor } = board;
  board.gate(IDT + 0x80 * 8, 0x08, 0x4000, 0xef);
  board.gate(IDT + 0x81 * 8, 0x08, 0x4000, 0x8f);
  board.enterUser();
  state.nextEip = 0x6002;
  processor.interrupt(0x81);
  expect(board.takeFault()).toBe('13(0x40a)');
  expect(where(board)).toEqual([0x1b, 0x6000, 0x23, 0xa000]);
  processor.interrupt(0x80);
  expect(stack32(board, 5)).toEqual([0x6002, 0x1b, 2, 0xa000, 0x23]);
  expect(state.cpl).toBe(0);
});

test('V86 INT n: IOPL, and the redirection bitmap with VME', () => {
  const board = protectedBoard();
  const { state, processor } = board;
  board.gate(IDT + 0x21 * 8, 0x08, 0x4000, 0xee);
  board.write32(0x21 * 4, 0x3333_4444);
  // The I/O bitmap begins at 0x88 here: 32 bytes below it, at 0x68, is the redirection bitmap.
  board.write32(0x3064, 0x88 << 16);
  const fresh = (flags: number) => {
    state.setReg32(4, 0x7000);
    board.enterV86(flags);
    state.nextEip = 0x202;
  };
  fresh(0);
  processor.interrupt(0x21);
  expect(board.takeFault()).toBe('13(0x0)');
  state.set32(CR4, 1);
  processor.interrupt(0x21);
  expect(where(board)).toEqual([0x3333, 0x4444, 0x2000, 0xfea]);
  expect(stack16(board, 3)).toEqual([0x202, 0x1000, 0x3002]);
  expect(state.eflags & FLAG_VM).toBe(FLAG_VM);
  // Virtual IF is what the program sees pushed, and what is cleared.
  state.eflags = FLAG_VM | FLAG_VIF | FLAG_IF | 2;
  processor.interrupt(0x21);
  expect(stack16(board, 3)[2]).toBe(FLAG_IF | 0x3002);
  expect(state.eflags).toBe(FLAG_VM | FLAG_IF | 2);
  // A set bit sends it to the monitor: #GP at IOPL 0.
  board.memory.write(0x3068 + 4, 1, 2);
  processor.interrupt(0x21);
  expect(board.takeFault()).toBe('13(0x0)');
});

test('a V86 IRET with VME moves IF to VIF, and VIP faults', () => {
  const board = protectedBoard();
  const { state, processor } = board;
  board.enterV86(0);
  state.set32(CR4, 1);
  board.memory.write(0x2_0ff0, 4, 0x1111_0042);
  board.memory.write(0x2_0ff4, 2, FLAG_IF | 3);
  processor.iret16();
  expect(where(board)).toEqual([0x1111, 0x42, 0x2000, 0xff6]);
  expect(state.eflags).toBe(FLAG_VM | FLAG_VIF | 3);
  state.eflags |= FLAG_VIP;
  state.setReg32(4, 0xff0);
  processor.iret16();
  expect(board.takeFault()).toBe('13(0x0)');
});

test('gate checks: type, present, target; EXT is set for external events', () => {
  const board = protectedBoard();
  const { processor } = board;
  const attempt = (rights: number, selector: number) => {
    board.gate(IDT + 0x40 * 8, selector, 0x4000, rights);
    expect(processor.deliverInterrupt(0x40)).toBe(false);
    return board.takeFault();
  };
  expect(attempt(0x8c, 0x08)).toBe('13(0x203)');
  expect(attempt(0x9e, 0x08)).toBe('13(0x203)');
  expect(attempt(0x0e, 0x08)).toBe('11(0x203)');
  expect(attempt(0x8e, 0x00)).toBe('13(0x1)');
  expect(attempt(0x8e, 0x10)).toBe('13(0x11)');
  expect(attempt(0x8e, 0x18)).toBe('13(0x19)');
  board.describe(0x48, 0, 0xfff, 0x401b);
  expect(attempt(0x8e, 0x48)).toBe('11(0x49)');
  board.describe(0x48, 0, 0xfff, 0x409b);
  expect(attempt(0x8e, 0x48)).toBe('13(0x1)');
  expect(where(board)).toEqual([0x08, 0x5000, 0x10, 0x7000]);
});

test('a bad ring 0 stack is #TS or #SS with its selector, and nothing has changed', () => {
  const board = protectedBoard();
  const { processor } = board;
  board.gate(IDT + 0x40 * 8, 0x08, 0x4000, 0x8e);
  board.enterUser();
  const attempt = () => {
    expect(processor.deliverInterrupt(0x40)).toBe(false);
    return board.takeFault();
  };
  board.write32(0x3008, 0x23);
  expect(attempt()).toBe('10(0x21)');
  board.write32(0x3008, 0);
  expect(attempt()).toBe('10(0x1)');
  board.describe(0x50, 0, 0xffff, 0x4013);
  board.write32(0x3008, 0x50);
  expect(attempt()).toBe('12(0x51)');
  board.describe(0x50, 0, 0x8fef, 0x4093);
  expect(attempt()).toBe('12(0x51)');
  expect(where(board)).toEqual([0x1b, 0x6000, 0x23, 0xa000]);
  board.describe(0x50, 0, 0x8fff, 0x4093);
  expect(processor.deliverInterrupt(0x40)).toBe(true);
  expect(where(board)).toEqual([0x08, 0x4000, 0x50, 0x8fec]);
});

// Expand-down with one push too little room: the error code alone does not fit.
test('room for the error code is checked with the rest of the frame', () => {
  const withStack = (limit: number) => {
    const board = protectedBoard();
    board.gate(IDT + 13 * 8, 0x08, 0x4000, 0x8e);
    board.gate(IDT + 8 * 8, 0x08, 0x8888, 0x8e);
    board.enterUser();
    board.write32(0x3008, 0x50);
    board.describe(0x50, 0, limit, 0x4097);
    board.state.raiseException(13, 0);
    return board;
  };
  const roomy = withStack(0x8fe7);
  expect(roomy.processor.deliverPendingException()).toBe('ok');
  expect(where(roomy)).toEqual([0x08, 0x4000, 0x50, 0x8fe8]);
  const tight = withStack(0x8feb);
  expect(tight.processor.deliverPendingException()).toBe('shutdown');
  expect(tight.processor.shutdownReason).toContain('13, then 12 (error code 0x51)');
});

test('a page fault whose stack is not mapped ends in shutdown, CR2 at the stack', () => {
  const board = protectedBoard();
  const { state, processor } = board;
  board.gate(IDT + 14 * 8, 0x08, 0x4000, 0x8e);
  board.gate(IDT + 8 * 8, 0x08, 0x8888, 0x8e);
  // The first 4 MiB as they are, by a large page; nothing else.
  board.write32(0x10_0000, 0x83);
  processor.movToCR(4, 0x10);
  processor.movToCR(3, 0x10_0000);
  processor.movToCR(0, 0x8000_0001);
  state.setReg32(4, 0x80_0000);
  processor.mmu.load8(0x90_0000);
  expect([state.cr2, board.fault]).toEqual([0x90_0000, '14(0x0)']);
  expect(processor.deliverPendingException()).toBe('shutdown');
  expect(processor.shutdownReason).toContain('14, then 14 (error code 0x2), then 14');
  expect(state.cr2).toBe(0x7f_fffc);
  // With a task gate for #DF there is a stack again.
  state.eip = 0x5000;
  board.describe(0x58, 0x4000, 0x67, 0x0089);
  board.write32(0x401c, 0x10_0000, 0x6600, 2);
  board.write32(0x4038, 0xb000);
  board.write32(0x4048, 0x10, 0x08, 0x10, 0x10, 0, 0, 0);
  board.gate(IDT + 8 * 8, 0x58, 0, 0x85);
  processor.mmu.load8(0x90_0000);
  expect(processor.deliverPendingException()).toBe('ok');
  expect([state.eip, state.reg32(4), board.read32(0xaffc)]).toEqual([0x6600, 0xaffc, 0]);
});

test('double fault: #GP whose handler is missing becomes #DF with error code 0', () => {
  const board = protectedBoard();
  const { state, processor } = board;
  board.gate(IDT + 8 * 8, 0x08, 0x8888, 0x8e);
  state.eip = 0x5000;
  state.raiseException(13, 0x10);
  expect(processor.deliverPendingException()).toBe('ok');
  expect(where(board)).toEqual([0x08, 0x8888, 0x10, 0x6ff0]);
  expect(stack32(board, 3)).toEqual([0, 0x5000, 0x08]);
});

test('triple fault: shutdown with a report of what happened', () => {
  const board = protectedBoard();
  board.state.raiseException(6);
  expect(board.processor.deliverPendingException()).toBe('shutdown');
  const reason = board.processor.shutdownReason;
  expect(reason).toMatch(/^triple fault: exception 6, then 13 .*, then 13 .*, then 13/);
  expect(board.processor.report()).toContain('EIP=00005000 EFL=00000002 [-------] CPL=0');
});

test('the table of double faults', () => {
  expect(combine(13, 13)).toBe('double');
  expect(combine(0, 11)).toBe('double');
  expect(combine(14, 14)).toBe('double');
  expect(combine(14, 13)).toBe('double');
  expect(combine(13, 14)).toBe('serial');
  expect(combine(1, 13)).toBe('serial');
  expect(combine(6, 14)).toBe('serial');
  expect(combine(14, 6)).toBe('serial');
  expect(combine(8, 13)).toBe('shutdown');
  expect(combine(8, 14)).toBe('shutdown');
});

test('NMI blocks NMIs until IRET', () => {
  const board = protectedBoard();
  board.gate(IDT + 2 * 8, 0x08, 0x4000, 0x8e);
  expect(board.processor.deliverNMI()).toBe(true);
  expect(board.state.get32(NMI_BLOCKED)).toBe(1);
  board.processor.iret32();
  expect(board.state.get32(NMI_BLOCKED)).toBe(0);
  expect(board.state.eip).toBe(0x5000);
});
