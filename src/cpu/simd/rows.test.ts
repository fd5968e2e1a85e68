// MMX and SSE rows on a whole processor: when they are unavailable, what they do to the x87 state,
// and where float exceptions go. Their results are test/oracle's business.

import { expect, test } from 'vitest';
import { type BareMachine, createBareMachine } from '../../../test/oracle/bare-machine.ts';
import { interpreterAccelerator } from '../../accel/software/index.ts';
import { CR0_EM, CR0_ET, CR0_NE, CR0_TS, CR4_OSFXSR, CR4_OSXMMEXCPT } from '../control-bits.ts';
import { allRows } from '../instruction-table.ts';
import {
  CR0,
  CR4,
  CS,
  MXCSR,
  SEG_BASE,
  SEGMENT,
  SEGMENT_BYTES,
  SIMD_FAULT,
  X87,
  X87_EMPTY,
  X87_STATUS,
  X87_TOP,
  XMM,
} from '../state-layout.ts';
import { MXCSR_DEFAULT, MXCSR_IE, MXCSR_ZE } from './mxcsr.ts';

const CODE = 0x1000;
const DATA = 0x2000;
const HANDLERS = 0x4000;
const NO_FAULT = -1;
const SSE_ON = CR4_OSFXSR | CR4_OSXMMEXCPT;

interface Setup {
  readonly cr0?: number;
  readonly cr4?: number;
  readonly mxcsr?: number;
  readonly status?: number;
  /** Low lane of XMM0. */
  readonly xmm0?: number;
}

const machine: BareMachine = createBareMachine(interpreterAccelerator, 0x10_0000);
const { state } = machine.vcpu;

/** Runs one instruction in real mode; the vector that it raised, or NO_FAULT. */
function run(code: readonly number[], setup: Setup = {}): number {
  machine.vcpu.reset();
  for (let vector = 0; vector < 32; vector++) {
    machine.ram.set([0, (HANDLERS >> 8) + vector, 0, 0], vector * 4);
    machine.ram[HANDLERS + vector * 256] = 0xf4;
  }
  machine.ram.set(code, CODE);
  machine.noteWrite(0, 0x1_0000);
  state.setWide(CR0, (setup.cr0 ?? 0) | CR0_ET | CR0_NE);
  state.setWide(CR4, setup.cr4 ?? SSE_ON);
  state.setWide(SEGMENT + CS * SEGMENT_BYTES + SEG_BASE, 0);
  state.set32(MXCSR, setup.mxcsr ?? MXCSR_DEFAULT);
  state.set32(X87_STATUS, setup.status ?? 0);
  state.set32(XMM, setup.xmm0 ?? 0);
  state.set32(X87_TOP, 3);
  state.u8.fill(1, X87_EMPTY, X87_EMPTY + 8);
  state.setReg32(4, 0x8000);
  state.eip = CODE;
  machine.vcpu.synchronize();
  machine.vcpu.run(1);
  const isDone = state.eip === CODE + code.length;
  if (isDone) return NO_FAULT;
  if (state.eip === CODE) machine.vcpu.run(1);
  return (state.eip - HANDLERS) >> 8;
}

const PADDB = [0x0f, 0xfc, 0xc1];
const ADDPS = [0x0f, 0x58, 0xc1];
const DIVPS = [0x0f, 0x5e, 0xc1];
const EMMS = [0x0f, 0x77];

test('MMX is #UD with EM, #NM with TS, and reports a pending x87 exception', () => {
  expect(run(PADDB)).toBe(NO_FAULT);
  expect(run(PADDB, { cr0: CR0_EM })).toBe(6);
  expect(run(PADDB, { cr0: CR0_EM | CR0_TS })).toBe(6);
  expect(run(PADDB, { cr0: CR0_TS })).toBe(7);
  expect(run(PADDB, { status: 0x8081 })).toBe(16);
  expect(run(PADDB, { cr4: 0 }), "OSFXSR is not MMX's business").toBe(NO_FAULT);
});

test('SSE is #UD with EM or without OSFXSR, #NM with TS', () => {
  expect(run(ADDPS)).toBe(NO_FAULT);
  expect(run(ADDPS, { cr0: CR0_EM })).toBe(6);
  expect(run(ADDPS, { cr4: 0 })).toBe(6);
  expect(run(ADDPS, { cr0: CR0_TS })).toBe(7);
  expect(run(ADDPS, { cr0: CR0_TS, cr4: 0 })).toBe(6);
  expect(run(ADDPS, { status: 0x8081 }), "x87 exceptions are not SSE's").toBe(NO_FAULT);
});

test('an MMX instruction makes all x87 registers valid with TOP 0, EMMS all empty', () => {
  run(PADDB);
  expect(state.get32(X87_TOP)).toBe(0);
  expect([...state.u8.subarray(X87_EMPTY, X87_EMPTY + 8)]).toEqual(new Array(8).fill(0));
  expect(state.u16[(X87 + 8) >> 1], 'exponent of MM0').toBe(0xffff);
  run(EMMS);
  expect(state.get32(X87_TOP)).toBe(0);
  expect([...state.u8.subarray(X87_EMPTY, X87_EMPTY + 8)]).toEqual(new Array(8).fill(1));
});

// Goal: an unmasked exception leaves the destination alone but sets the flags of what was found.
test('an unmasked float exception is #XM, or #UD without OSXMMEXCPT', () => {
  const one = 0x3f800000;
  const unmasked = MXCSR_DEFAULT & ~(MXCSR_ZE << 7);
  for (const [setup, vector] of [
    [{ mxcsr: unmasked, xmm0: one }, 19],
    [{ mxcsr: unmasked, xmm0: one, cr4: CR4_OSFXSR }, 6],
  ] as const) {
    expect(run(DIVPS, setup)).toBe(vector);
    expect(state.get32(MXCSR) & 0x3f).toBe(MXCSR_ZE | MXCSR_IE);
    expect(state.u32[XMM >> 2]).toBe(one);
    expect(state.get32(SIMD_FAULT), 'the next instruction is not disturbed').toBe(0);
  }
  expect(run(DIVPS, { xmm0: one })).toBe(NO_FAULT);
  expect(state.u32[XMM >> 2]).toBe(0x7f800000);
});

test('LDMXCSR of a reserved bit is #GP and changes nothing', () => {
  const load = [0x0f, 0xae, 0x16, DATA & 0xff, DATA >> 8];
  machine.ram.set([0x80, 0x1f, 1, 0], DATA);
  expect(run(load, { mxcsr: 0x1fa0 })).toBe(13);
  expect(state.get32(MXCSR)).toBe(0x1fa0);
  machine.ram.set([0xc0, 0xff, 0, 0], DATA);
  expect(run(load)).toBe(NO_FAULT);
  expect(state.get32(MXCSR)).toBe(0xffc0);
});

test('aligned moves of unaligned memory are #GP, unaligned ones and MOVSD are not', () => {
  const at = (...opcode: number[]) => [...opcode, 0x06, (DATA & 0xff) + 8, DATA >> 8];
  expect(run(at(0x0f, 0x28))).toBe(13);
  expect(run(at(0x66, 0x0f, 0x7f))).toBe(13);
  expect(run(at(0x0f, 0x2b))).toBe(13);
  expect(run(at(0x0f, 0x58))).toBe(13);
  expect(run(at(0x0f, 0x10))).toBe(NO_FAULT);
  expect(run(at(0xf3, 0x0f, 0x6f))).toBe(NO_FAULT);
  expect(run(at(0xf2, 0x0f, 0x10))).toBe(NO_FAULT);
});

test('fences, prefetches and CLFLUSH do nothing, and CLFLUSH is not there for registers', () => {
  for (const modrm of [0xe8, 0xf0, 0xf8, 0xff]) {
    expect(run([0x0f, 0xae, modrm])).toBe(NO_FAULT);
  }
  expect(run([0x0f, 0xae, 0x3e, 0, 0x20])).toBe(NO_FAULT);
  expect(run([0x66, 0x0f, 0xae, 0xf8])).toBe(6);
  // A prefetch beyond the segment limit is ignored: 67 0F 18 0D with a 32-bit offset.
  expect(run([0x67, 0x0f, 0x18, 0x0d, 0, 0, 0, 0x70])).toBe(NO_FAULT);
});

// Goal: a row that cannot be executed at all is found here, whatever its opcode.
test('every MMX and SSE row runs in its register or memory form', () => {
  const rows = allRows().filter(
    ({ operands, pattern }) =>
      operands.some((kind) => 'PQNVWU'.includes(kind[0]!)) || pattern.includes('0F AE'),
  );
  expect(rows.length).toBeGreaterThan(250);
  for (const { pattern, mnemonic, operands } of rows) {
    const tokens = pattern.replace('NP ', '').split(' ');
    const digit = tokens.at(-1)!.startsWith('/') ? Number(tokens.pop()!.slice(1)) : 0;
    const hasFixed = tokens.at(-1)!.includes('+');
    const bytes = tokens.map((token) => Number.parseInt(token, 16));
    const isMemory = operands.some((kind) => kind.startsWith('M'));
    if (!hasFixed) bytes.push((isMemory ? 0x06 : 0xc0) | (digit << 3));
    if (isMemory) bytes.push(DATA & 0xff, DATA >> 8);
    if (operands.includes('Ib')) bytes.push(1);
    machine.ram.fill(0, DATA, DATA + 512);
    machine.ram.set([0x80, 0x1f], DATA + 24);
    if (mnemonic === 'LDMXCSR') machine.ram.set([0x80, 0x1f], DATA);
    expect(run(bytes), `${mnemonic} ${pattern} ${operands.join()}`).toBe(NO_FAULT);
  }
});
