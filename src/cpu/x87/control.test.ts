// When x87 instructions fault, and what saves and restores their state. Real and protected images
// are also compared with the host's in test/oracle/.

import { expect, test } from 'vitest';
import {
  createX87Machine,
  OPERAND,
  RAISED,
  type X87Machine,
} from '../../../test/x87/row-module.ts';
import {
  CR0,
  EXCEPTION_VECTOR,
  MXCSR,
  NO_EXCEPTION,
  X87_CONTROL,
  X87_CS,
  X87_DP,
  X87_EMPTY,
  X87_IP,
  X87_OPCODE,
  X87_STATUS,
  X87_TOP,
  XMM,
} from '../state-layout.ts';
import { x87Methods } from './methods.ts';

const CR0_PE = 1;
const CR0_MP = 2;
const CR0_EM = 4;
const CR0_TS = 8;
const CR0_NE = 0x20;
const NM = 7;
const GP = 13;
const MF = 16;

function vectorOf(machine: X87Machine, pattern: string, index = 0): number {
  machine.view.setUint32(RAISED, 0, true);
  machine.run(pattern, index);
  return machine.view.getUint32(RAISED, true);
}

function divideOneByZero(machine: X87Machine): void {
  machine.run('D9 EE');
  machine.run('D9 E8');
  machine.state.set32(X87_CONTROL, 0x37b);
  machine.run('D8 F0+i', 1);
}

test('TS and EM make every x87 instruction fault with #NM; WAIT wants MP and TS', () => {
  const machine = createX87Machine();
  for (const bit of [CR0_EM, CR0_TS]) {
    machine.state.setWide(CR0, CR0_NE | CR0_PE | bit);
    for (const pattern of ['D9 E8', 'DB E3', 'D9 /7', 'DF E0', '0F AE /0', 'D9 D0'])
      expect(vectorOf(machine, pattern), pattern).toBe(NM);
    expect(vectorOf(machine, '9B')).toBe(0);
  }
  machine.state.setWide(CR0, CR0_NE | CR0_MP | CR0_TS);
  expect(vectorOf(machine, '9B')).toBe(NM);
  expect(machine.state.get32(X87_TOP)).toBe(0);
});

test('an unmasked zero divide waits, and the next waiting instruction faults with #MF', () => {
  const machine = createX87Machine();
  divideOneByZero(machine);
  expect(machine.state.get32(X87_STATUS) & 0x8084).toBe(0x8084);
  expect(vectorOf(machine, '9B')).toBe(MF);
  expect(vectorOf(machine, 'D9 E8')).toBe(MF);
  // Those that do not wait run, and FNCLEX ends it.
  expect(vectorOf(machine, 'DF E0')).toBe(0);
  expect(vectorOf(machine, 'DB E2')).toBe(0);
  expect(vectorOf(machine, 'D9 E8')).toBe(0);
});

test('masking by FLDCW takes ES back, and unmasking sets it', () => {
  const machine = createX87Machine();
  divideOneByZero(machine);
  machine.run('DB E2');
  machine.state.set32(X87_STATUS, 4);
  machine.view.setUint16(OPERAND, 0x37b, true);
  machine.run('D9 /5');
  expect(machine.state.get32(X87_STATUS)).toBe(0x8084);
  machine.state.set32(X87_STATUS, 4);
  machine.view.setUint16(OPERAND, 0xffff, true);
  machine.run('D9 /5');
  expect(machine.state.get32(X87_STATUS)).toBe(4);
  expect(machine.state.get32(X87_CONTROL)).toBe(0x1f7f);
});

test('without NE the FERR# pin is raised and the instruction repeats', () => {
  const machine = createX87Machine();
  const { state } = machine;
  let raised = 0;
  const { x87Ferr } = x87Methods(state, () => raised++);
  state.eip = 0x777;
  x87Ferr!();
  expect([raised, state.eip]).toEqual([1, 0x777]);
  // Control: without a pin there is nothing but #MF.
  state.set32(EXCEPTION_VECTOR, NO_EXCEPTION);
  x87Methods(state).x87Ferr!();
  expect(state.get32(EXCEPTION_VECTOR)).toBe(MF);
});

test('FXSAVE and FXRSTOR carry everything', () => {
  const machine = createX87Machine();
  const { state, bytes, view } = machine;
  machine.run('D9 EB');
  machine.run('D9 E8');
  for (let i = 0; i < 128; i++) state.u8[XMM + i] = i * 7;
  state.set32(MXCSR, 0x1fa0);
  state.set32(X87_OPCODE, 0x123);
  state.set32(X87_DP, 0xcafe_babe);
  machine.run('0F AE /0');
  expect(view.getUint16(OPERAND + 2, true) >> 11).toBe(6);
  expect(view.getUint16(OPERAND + 4, true)).toBe(0xc0);
  expect(view.getUint32(OPERAND + 28, true)).toBe(0xffff);
  const image = bytes.slice(OPERAND, OPERAND + 288);
  machine.run('DB E3');
  state.u8.fill(0, XMM, XMM + 128);
  state.set32(MXCSR, 0);
  machine.run('0F AE /1');
  expect(state.get32(X87_TOP)).toBe(6);
  expect([...state.u8.subarray(X87_EMPTY, X87_EMPTY + 8)]).toEqual([1, 1, 1, 1, 1, 1, 0, 0]);
  expect(state.get32(MXCSR)).toBe(0x1fa0);
  machine.run('0F AE /0');
  expect(bytes.slice(OPERAND, OPERAND + 288)).toEqual(image);
});

test('FXRSTOR refuses reserved bits of MXCSR and changes nothing', () => {
  const machine = createX87Machine();
  const { state, view } = machine;
  machine.run('0F AE /0');
  view.setUint32(OPERAND + 24, 0x1_1f80, true);
  view.setUint16(OPERAND, 0x27f, true);
  expect(vectorOf(machine, '0F AE /1')).toBe(GP);
  expect(state.get32(X87_CONTROL)).toBe(0x37f);
});

test('FNSTENV in real mode stores linear pointers, and FLDENV reads them back', () => {
  const machine = createX87Machine();
  const { state, view } = machine;
  state.setWide(CR0, CR0_NE);
  machine.run('D9 E8');
  state.setWide(X87_IP, 0x8765);
  state.setWide(X87_CS, 0xf000);
  state.set32(X87_OPCODE, 0x5aa);
  machine.run('D9 /6');
  const words = Array.from({ length: 5 }, (_, i) => view.getUint32(OPERAND + i * 4, true));
  expect(words).toEqual([0xffff_037f, 0xffff_3800, 0xffff_3fff, 0xffff_8765, 0x0000_f5aa]);
  machine.run('DB E3');
  machine.run('D9 /4');
  expect(state.get32(X87_IP)).toBe(0xf_8765);
  expect(state.get32(X87_OPCODE)).toBe(0x5aa);
  expect(state.get32(X87_TOP)).toBe(7);
});

test('FNSAVE initializes, FRSTOR brings all back', () => {
  const machine = createX87Machine();
  const { state, bytes } = machine;
  for (const pattern of ['D9 EB', 'D9 EE', 'D9 E9']) machine.run(pattern);
  const before = state.u8.slice(0x400, 0x480);
  machine.run('DD /6');
  expect(state.get32(X87_CONTROL)).toBe(0x37f);
  expect(state.u8[X87_EMPTY + 7]).toBe(1);
  state.u8.fill(0xaa, 0x400, 0x480);
  machine.run('DD /4');
  expect(state.get32(X87_TOP)).toBe(5);
  for (let register = 0; register < 8; register++) {
    const slot = register * 16;
    expect(state.u8.slice(0x400 + slot, 0x40a + slot)).toEqual(before.slice(slot, slot + 10));
  }
  expect(bytes[OPERAND + 4 + 1]! >> 3).toBe(5);
});
