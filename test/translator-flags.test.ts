// The translator against the interpreter: what it knows of the flags, and where it does not compute
// them, must never show: not to readers, not to a fault's handler, not between two slices.

import fc from 'fast-check';
import { expect, test } from 'vitest';
import { interpreterAccelerator } from '../src/accel/software/index.ts';
import type { SoftwareVCPU } from '../src/accel/software/software-vcpu.ts';
import {
  CPL,
  CR0,
  CR3,
  GDTR_BASE,
  GDTR_LIMIT,
  HALTED,
  IDTR_BASE,
  IDTR_LIMIT,
  SEG_ATTRIBUTES,
  SEG_BASE,
  SEG_LIMIT,
  SEG_SELECTOR,
  SEGMENT,
  SEGMENT_BYTES,
} from '../src/cpu/state-layout.ts';
import type { Accelerator } from '../src/cpu/vcpu.ts';
import {
  DATA,
  type FlagProgram,
  flagProgram,
  HANDLER,
  HANDLER_CODE,
  LOG,
  MISSING,
  PROGRAM,
  STACK,
} from './flag-programs.ts';
import { fuzzOptions } from './fuzz-options.ts';
import { type BareMachine, createBareMachine } from './oracle/bare-machine.ts';
import { eagerLocalsTranslator, eagerTranslator } from './oracle/eager-translator.ts';

const RAM_BYTES = 0x2_0000;
const GDT = 0x1000;
const IDT = 0x2000;
const DIRECTORY = 0x4000;
const TABLE = 0x5000;
const PAGE_FAULT = 14;
const PRESENT_AND_WRITABLE = 3;
const CODE_SELECTOR = 8;
const DATA_SELECTOR = 16;
/** PE, MP, ET, NE, WP, PG. */
const CR0_VALUE = 0x8001_0033;
/** More instructions than any program takes, with its faults. */
const INSTRUCTIONS_MAX = 40_000;

function createMachine(accelerator: Accelerator): BareMachine {
  const machine = createBareMachine(accelerator, RAM_BYTES);
  const view = new DataView(machine.ram.buffer, machine.ram.byteOffset, RAM_BYTES);
  view.setUint32(GDT + CODE_SELECTOR, 0xffff, true);
  view.setUint32(GDT + CODE_SELECTOR + 4, 0x00cf9b00, true);
  view.setUint32(GDT + DATA_SELECTOR, 0xffff, true);
  view.setUint32(GDT + DATA_SELECTOR + 4, 0x00cf9300, true);
  view.setUint32(IDT + PAGE_FAULT * 8, (CODE_SELECTOR << 16) | HANDLER, true);
  view.setUint32(IDT + PAGE_FAULT * 8 + 4, 0x8e00, true);
  view.setUint32(DIRECTORY, TABLE | PRESENT_AND_WRITABLE, true);
  for (let page = 0; page < RAM_BYTES; page += 4096) {
    if (page !== MISSING) view.setUint32(TABLE + page / 1024, page | PRESENT_AND_WRITABLE, true);
  }
  machine.ram.set(HANDLER_CODE, HANDLER);
  machine.noteWrite(0, RAM_BYTES);
  return machine;
}

function begin({ vcpu, ram, noteWrite }: BareMachine, program: FlagProgram): void {
  ram.fill(0, LOG, STACK);
  ram.fill(0, PROGRAM);
  ram.set(program.code, PROGRAM);
  noteWrite(LOG, STACK - LOG);
  noteWrite(PROGRAM, RAM_BYTES - PROGRAM);
  const { state } = vcpu;
  state.clearException();
  state.set32(HALTED, 0);
  for (const [index, value] of program.registers.entries()) state.setReg32(index, value);
  state.setReg32(4, STACK);
  state.setReg32(6, DATA);
  state.eflags = program.eflags;
  state.eip = PROGRAM;
  state.setWide(CR0, CR0_VALUE);
  state.setWide(CR3, DIRECTORY);
  state.setWide(GDTR_BASE, GDT);
  state.set32(GDTR_LIMIT, DATA_SELECTOR + 7);
  state.setWide(IDTR_BASE, IDT);
  state.set32(IDTR_LIMIT, 0x7ff);
  state.set32(CPL, 0);
  for (let segment = 0; segment < 6; segment++) {
    const at = SEGMENT + segment * SEGMENT_BYTES;
    state.set32(at + SEG_SELECTOR, segment === 1 ? CODE_SELECTOR : DATA_SELECTOR);
    state.set32(at + SEG_ATTRIBUTES, segment === 1 ? 0xc09b : 0xc093);
    state.setWide(at + SEG_BASE, 0);
    state.set32(at + SEG_LIMIT, 0xffffffff);
  }
  vcpu.synchronize();
}

function stateOf({ vcpu: { state } }: BareMachine) {
  const registers = Array.from({ length: 8 }, (_, index) => state.reg32(index) >>> 0);
  return { eip: state.eip, eflags: state.eflags, registers, isHalted: state.get32(HALTED) };
}

test.each([
  ['memory', eagerTranslator],
  ['locals', eagerLocalsTranslator],
])('units with flags in %s show the same as the interpreter, at any instruction', (_, eager) => {
  const interpreter = createMachine(interpreterAccelerator);
  const translator = createMachine(eager);
  const { translator: units } = translator.vcpu as SoftwareVCPU;
  const property = fc.property(flagProgram, (program) => {
    begin(interpreter, program);
    begin(translator, program);
    units.clear(); // Or the page would count as one that is rewritten over and over.
    let done = 0;
    for (let turn = 0; interpreter.vcpu.state.get32(HALTED) === 0; turn++) {
      if (done > INSTRUCTIONS_MAX) throw new Error('the program does not end');
      const slice = program.slices[turn % program.slices.length]!;
      interpreter.vcpu.run(slice);
      translator.vcpu.run(slice);
      done += slice;
      expect(stateOf(translator)).toEqual(stateOf(interpreter));
    }
    const memory = (machine: BareMachine) => Buffer.from(machine.ram.subarray(LOG, STACK));
    expect(memory(translator).equals(memory(interpreter))).toBe(true);
  });
  fc.assert(property, fuzzOptions(200));
  expect(units.counters.failed).toBe(0);
  expect(units.counters.units).toBeGreaterThan(100);
});
