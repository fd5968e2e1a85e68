import { expect, test } from 'vitest';
import { ProcessorBoard } from '../../test/processor-board.ts';
import { FEATURE_APIC, FEATURES } from './cpuid.ts';
import { FLAG_IF, FLAG_RF, FLAG_TF, FLAG_VIF, FLAG_VIP } from './flags.ts';
import { ModelSpecificRegisters } from './msr.ts';
import { CR4, CS, EFLAGS_REST, HALTED, INTERRUPT_SHADOW } from './state-layout.ts';

function protectedBoard(): ProcessorBoard {
  const board = new ProcessorBoard();
  board.enterProtected();
  return board;
}

test('reset gives the power-on state', () => {
  const { state, processor } = new ProcessorBoard();
  expect([state.eip, state.selector(CS), state.segBase(CS)]).toEqual([0xfff0, 0xf000, 0xffff_0000]);
  expect([state.cr0, state.eflags, state.reg32(2) >>> 8]).toEqual([0x6000_0010, 2, 6]);
  expect([processor.movFromDR(6), processor.movFromDR(7)]).toEqual([0xffff_0ff0, 0x400]);
  expect(processor.msrs.get(0x277)).toBe(0x0007_0406_0007_0406n);
});

test('CPUID: vendor, features, the mirrored APIC bit, brand', () => {
  const board = new ProcessorBoard();
  const { state, processor } = board;
  const leaf = (number: number) => {
    state.setReg32(0, number);
    processor.cpuid();
    return [0, 3, 1, 2].map((register) => state.reg32(register));
  };
  const text = (words: number[]) =>
    String.fromCharCode(...new Uint8Array(Uint32Array.from(words).buffer));
  const [max, ebx, ecx, edx] = leaf(0);
  expect([max, text([ebx!, edx!, ecx!])]).toEqual([2, 'GenuineIntel']);
  expect(leaf(1)[3]).toBe(FEATURES >>> 0);
  board.apicBase = 0xfee0_0100;
  expect(leaf(1)[3]).toBe((FEATURES & ~FEATURE_APIC) >>> 0);
  expect(leaf(1)[2]).toBe(0x8000_0000);
  expect(leaf(0x8000_0001)[3]).toBe(1 << 20);
  expect(leaf(0x8000_0008)[0]).toBe(0x24);
  expect(text([0x8000_0002, 0x8000_0003].flatMap(leaf))).toContain('Quire virtual x86');
  expect(leaf(0x1234)).toEqual(leaf(2));
});

test('every MSR can be read; unknown ones and reserved bits are #GP', () => {
  const board = protectedBoard();
  const { state, processor } = board;
  for (const number of ModelSpecificRegisters.numbers) {
    state.setReg32(1, number);
    processor.rdmsr();
    expect(board.fault).toBeUndefined();
  }
  const write = (number: number, high: number, low: number) => {
    state.setReg32(1, number);
    state.setReg32(0, low);
    state.setReg32(2, high);
    processor.wrmsr();
    return board.takeFault();
  };
  expect(write(0x1234, 0, 0)).toBe('13(0x0)');
  expect(write(0xc000_0080, 0, 0x801)).toBe('13(0x0)');
  expect(write(0xc000_0080, 0, 0x800)).toBeUndefined();
  expect(write(0x277, 0, 2)).toBe('13(0x0)');
  expect(write(0x174, 0, 0x60)).toBeUndefined();
  expect(processor.msrs.get(0x174)).toBe(0x60n);
  expect(write(0x1b, 0, 0xfee0_0800)).toBeUndefined();
  expect(board.apicBase).toBe(0xfee0_0800);
  board.enterUser();
  processor.rdmsr();
  expect(board.takeFault()).toBe('13(0x0)');
});

test('RDTSC counts from what was written, and TSD closes it to ring 3', () => {
  const board = protectedBoard();
  const { state, processor } = board;
  board.tsc = 0x1_0000_0005n;
  processor.rdtsc();
  expect([state.reg32(2), state.reg32(0)]).toEqual([1, 5]);
  expect(processor.msrs.set(0x10, 3n)).toBe(true);
  board.tsc += 10n;
  processor.rdtsc();
  expect([state.reg32(2), state.reg32(0)]).toEqual([0, 13]);
  processor.movToCR(4, 4);
  board.enterUser();
  processor.rdtsc();
  expect(board.takeFault()).toBe('13(0x0)');
});

test('control registers: privilege, reserved bits, odd combinations', () => {
  const board = protectedBoard();
  const { state, processor } = board;
  processor.movToCR(0, 0x8000_0000);
  expect(board.takeFault()).toBe('13(0x0)');
  processor.movToCR(0, 0x2000_0001);
  expect(board.takeFault()).toBe('13(0x0)');
  processor.movToCR(4, 0x800);
  expect(board.takeFault()).toBe('13(0x0)');
  processor.movToCR(1, 0);
  expect(board.takeFault()).toBe('6');
  processor.lmsw(8);
  expect(state.cr0 & 0xf).toBe(9); // PE stays.
  processor.clts();
  expect(processor.smsw() & 0xf).toBe(1);
  board.enterUser();
  processor.movFromCR(0);
  expect(board.takeFault()).toBe('13(0x0)');
  processor.hlt();
  expect(board.takeFault()).toBe('13(0x0)');
  expect(state.get32(HALTED)).toBe(0);
});

test('ports: IOPL, then the bitmap of the TSS, of which two bytes are read', () => {
  const board = protectedBoard();
  const { processor, state } = board;
  expect(processor.in(0x60, 1)).toBe(0x60);
  board.enterUser();
  // Bitmap at 0x68, limit 0x87: ports 0–0xef are inside with the byte behind them.
  board.memory.write(0x3068 + 8, 1, 0x02);
  processor.out(0x40, 1, 0x1aa);
  expect(board.portLog).toEqual(['r1@60', 'w1@40=aa']);
  processor.in(0x41, 1);
  expect(board.takeFault()).toBe('13(0x0)');
  processor.in(0x40, 2);
  expect(board.takeFault()).toBe('13(0x0)');
  expect(processor.checkPortAccess(0xf0, 1)).toBe(1);
  expect(processor.checkPortAccess(0xf8, 1)).toBe(0);
  expect(board.takeFault()).toBe('13(0x0)');
  state.set32(EFLAGS_REST, 0x3002);
  expect(processor.checkPortAccess(0xf8, 1)).toBe(1);
});

test('CLI and STI: IOPL, and PVI in its place; STI casts a shadow once', () => {
  const board = protectedBoard();
  const { state, processor } = board;
  processor.sti();
  expect([state.eflags, state.get32(INTERRUPT_SHADOW)]).toEqual([FLAG_IF | 2, 1]);
  state.set32(INTERRUPT_SHADOW, 0);
  processor.sti();
  expect(state.get32(INTERRUPT_SHADOW)).toBe(0);
  board.enterUser(FLAG_IF | 2);
  processor.cli();
  expect(board.takeFault()).toBe('13(0x0)');
  state.set32(CR4, 2);
  processor.sti();
  expect(state.eflags).toBe(FLAG_VIF | FLAG_IF | 2);
  processor.cli();
  expect(state.eflags).toBe(FLAG_IF | 2);
  state.eflags |= FLAG_VIP;
  processor.sti();
  expect(board.takeFault()).toBe('13(0x0)');
});

test('POPF: what each level may change; PUSHF hides VM and RF', () => {
  const board = protectedBoard();
  const { state, processor } = board;
  const popf = (image: number) => {
    board.write32(state.reg32(4), image);
    processor.popf32();
    return state.eflags;
  };
  expect(popf(0xffff_ffff & ~FLAG_TF)).toBe(0x24_7ed7);
  expect(popf(0)).toBe(2);
  board.enterUser(FLAG_IF | 2);
  expect(popf(0x3001)).toBe(FLAG_IF | 3);
  board.processor.pushf32();
  expect(board.read32(state.reg32(4))).toBe(FLAG_IF | 3);
  const v86 = protectedBoard();
  v86.enterV86(0);
  v86.processor.pushf16();
  expect(v86.takeFault()).toBe('13(0x0)');
  v86.state.set32(CR4, 1);
  v86.processor.pushf16();
  expect(v86.read16(0x2_0fee)).toBe(0x3002);
  v86.memory.write(0x2_0fee, 2, FLAG_IF | 1);
  v86.processor.popf16();
  expect(v86.state.eflags).toBe(0x2_0003 | FLAG_VIF);
});

test('single step traps after an instruction, not into a handler', () => {
  const board = protectedBoard();
  const { state, processor } = board;
  state.eflags = FLAG_TF | 2;
  expect(processor.debug.needsStepping).toBe(true);
  expect(processor.debug.beforeInstruction(0x5000)).toBe(true);
  processor.debug.afterInstruction();
  expect(board.takeFault()).toBe('1');
  expect(processor.movFromDR(6)).toBe(0xffff_4ff0);
  board.gate(0x2000 + 0x30 * 8, 0x08, 0x4000, 0x8e);
  processor.debug.beforeInstruction(0x5000);
  processor.interrupt(0x30);
  processor.debug.afterInstruction();
  expect(board.fault).toBeUndefined();
  expect(state.eflags & FLAG_TF).toBe(0);
});

test('an instruction breakpoint is a fault that RF lets pass once', () => {
  const board = protectedBoard();
  const { state, processor } = board;
  processor.movToDR(2, 0x5000);
  processor.movToDR(7, 0x20);
  expect(processor.debug.beforeInstruction(0x5001)).toBe(true);
  expect(processor.debug.beforeInstruction(0x5000)).toBe(false);
  expect(board.takeFault()).toBe('1');
  expect(processor.movFromDR(6)).toBe(0xffff_0ff4);
  board.enterWith([0x5000, 0x08, FLAG_RF | 2]);
  expect(state.eflags).toBe(FLAG_RF | 2);
  processor.debug.afterInstruction();
  expect(processor.debug.beforeInstruction(0x5000)).toBe(true);
});

test('DR7.GD faults on any use of a debug register, once', () => {
  const board = protectedBoard();
  const { processor } = board;
  processor.movToDR(7, 0x2000);
  processor.movToDR(0, 1);
  expect(board.takeFault()).toBe('1');
  expect(processor.movFromDR(6)).toBe(0xffff_2ff0);
  expect(processor.movFromDR(0)).toBe(0);
  processor.movToCR(4, 8);
  processor.movFromDR(4);
  expect(board.takeFault()).toBe('6');
});
