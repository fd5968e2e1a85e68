// Runs a case on one of Quire's accelerators, in the surroundings that native.c gives it: the same
// linear addresses for code and data, flat segments with Linux's selectors, privilege 3, paging on.
//
// Guest-physical memory, bytes:
//   0x1000 GDT  0x2000 IDT  0x3000 TSS  0x4000 page directory  0x5000 page table of the first 4 MiB
//   0x6000 page table of 0x400000  0xd000 page table of SYSTEM_BASE
//   0x7000 handlers, 16 bytes a vector, each begins with HLT
//   0xa000 end of the privilege 0 stack  0x10000 code area  0x20000 data page
// The first 64 KiB also lie at SYSTEM_BASE for privilege 0; the low name of the data page is at
// LOW_BASE. Nothing else is mapped.

import { ATTR_UNUSABLE } from '../../src/cpu/descriptor.ts';
import type { CPUState } from '../../src/cpu/state.ts';
import {
  CPL,
  CR0,
  CR3,
  CR4,
  EFER,
  GDTR_BASE,
  GDTR_LIMIT,
  HALTED,
  IDTR_BASE,
  IDTR_LIMIT,
  INTERRUPT_SHADOW,
  MXCSR,
  SEG_ATTRIBUTES,
  SEG_BASE,
  SEG_LIMIT,
  SEG_SELECTOR,
  SEGMENT,
  SEGMENT_BYTES,
  X87,
  X87_CONTROL,
  X87_EMPTY,
  X87_STATUS,
  X87_TOP,
  XMM,
} from '../../src/cpu/state-layout.ts';
import type { Accelerator } from '../../src/cpu/vcpu.ts';
import { type BareMachine, createBareMachine } from './bare-machine.ts';
import { FX_CONTROL, FX_MXCSR, FX_ST, FX_STATUS, FX_TAGS, FX_XMM } from './fpu-image.ts';
import {
  CASE_CODE,
  CASE_LENGTH,
  CASE_OFFSET,
  CASE_OPTIONS,
  CODE_BASE,
  CODE_BYTES,
  DATA_BASE,
  hashOutside,
  LOW_BASE,
  NO_VECTOR,
  OPTION_TRAP_IS_RESULT,
  PAGE_BYTES,
  RECORD_BYTES,
  RECORD_EFLAGS,
  RECORD_FX,
  RECORD_GPR,
  RECORD_WINDOW,
  RESULT_CR2,
  RESULT_EIP,
  RESULT_ERROR,
  RESULT_OUTSIDE,
  RESULT_SEGMENTS,
  RESULT_VECTOR,
  USER_CS,
  USER_DS,
  WINDOW_BYTES,
  WINDOW_OFFSET,
} from './record.ts';

const RAM_BYTES = 0x10_0000;
const SYSTEM_BASE = 0xc000_0000;
const GDT = 0x1000;
const IDT = 0x2000;
const TSS = 0x3000;
const DIRECTORY = 0x4000;
const TABLE_LOW = 0x5000;
const TABLE_USER = 0x6000;
const TABLE_SYSTEM = 0xd000;
const HANDLERS = 0x7000;
const KERNEL_STACK = 0xa000;
const CODE = 0x1_0000;
const DATA = 0x2_0000;

const KERNEL_CS = 0x10;
const TSS_SELECTOR = 0x38;
const PRESENT = 1;
const WRITABLE = 2;
const USER = 4;
const ACCESSED_AND_DIRTY = 0x60;
const INT3 = 0xcc;
const HLT = 0xf4;
/**
 * PE, MP, ET, NE, WP, AM, PG: as Linux has them (SDM volume 3, 2.5). AM does nothing without AC.
 */
const CR0_VALUE = 0x8005_0033;
/** OSFXSR and OSXMMEXCPT. */
const CR4_VALUE = 0x600;
/** A repeated string instruction may be left and resumed; more than this is a hang. */
const STEPS_MAX = 600;
const RESULT_GPR = RECORD_GPR;
const SEGMENT_ORDER = [3, 0, 4, 5]; // DS ES FS GS as state-layout.ts numbers them.

/** Runs cases in the form of record.ts. */
export interface QuireCaseRunner {
  /** The result of one case, valid until the next call. */
  run(record: Uint8Array): DataView;
}

/** Vectors that push an error code (SDM volume 3, table 6-1). */
const HAS_ERROR_CODE = new Set([8, 10, 11, 12, 13, 14, 17]);

/** A runner on a machine of its own. */
export function createCaseRunner(accelerator: Accelerator): QuireCaseRunner {
  const machine = createBareMachine(accelerator, RAM_BYTES);
  buildTables(machine);
  const ramView = new DataView(machine.ram.buffer, machine.ram.byteOffset, RAM_BYTES);
  const result = new Uint8Array(RECORD_BYTES);
  const resultView = new DataView(result.buffer);
  return {
    run(record) {
      const input = new DataView(record.buffer, record.byteOffset, RECORD_BYTES);
      const length = record[CASE_LENGTH]!;
      const offset = input.getUint32(CASE_OFFSET, true);
      const start = CODE_BASE + offset;
      placeCase(machine, record, offset, length);
      loadState(machine, input, start);

      result.fill(0);
      const isTrapResult = (input.getUint32(CASE_OPTIONS, true) & OPTION_TRAP_IS_RESULT) !== 0;
      let isDone = false;
      for (let step = 0; step < STEPS_MAX && !isDone; step++) {
        const exit = machine.vcpu.run(1);
        if (exit.kind === 'shutdown')
          throw new Error(`Quire shut down: ${exit.reason}\n${exit.report}`);
        const { state } = machine.vcpu;
        const eip = state.eip;
        if (eip >= SYSTEM_BASE) {
          readFault(state, ramView, resultView, isTrapResult);
          isDone = true;
        } else if (eip !== start && eip >= CODE_BASE && eip < CODE_BASE + CODE_BYTES) {
          resultView.setUint32(RESULT_VECTOR, NO_VECTOR, true);
          resultView.setUint32(RESULT_EIP, eip, true);
          resultView.setUint32(RESULT_GPR + 16, state.reg32(4), true);
          resultView.setUint32(RECORD_EFLAGS, state.eflags, true);
          isDone = true;
        }
      }
      const { state } = machine.vcpu;
      if (!isDone) throw new Error(`Quire did not finish the instruction in ${STEPS_MAX} steps`);
      for (let i = 0; i < 8; i++) {
        if (i !== 4) resultView.setUint32(RESULT_GPR + i * 4, state.reg32(i), true);
      }
      SEGMENT_ORDER.forEach((segment, i) => {
        resultView.setUint16(RESULT_SEGMENTS + i * 2, state.selector(segment), true);
      });
      saveFPU(state, resultView);
      const window = machine.ram.subarray(DATA + WINDOW_OFFSET, DATA + PAGE_BYTES);
      result.set(window, RECORD_WINDOW);
      const page = machine.ram.subarray(DATA, DATA + WINDOW_OFFSET);
      const hash = hashOutside(page);
      resultView.setUint32(RESULT_OUTSIDE, hash, true);
      if (hash !== 0) {
        page.fill(0);
        machine.noteWrite(DATA, WINDOW_OFFSET);
      }
      const room = Math.min(length, CODE_BYTES - offset);
      machine.ram.fill(INT3, CODE + offset, CODE + offset + room);
      return resultView;
    },
  };
}

function placeCase(machine: BareMachine, record: Uint8Array, offset: number, length: number): void {
  const room = Math.min(length, CODE_BYTES - offset);
  machine.ram.set(record.subarray(CASE_CODE, CASE_CODE + room), CODE + offset);
  machine.noteWrite(CODE + offset, room);
  machine.ram.set(
    record.subarray(RECORD_WINDOW, RECORD_WINDOW + WINDOW_BYTES),
    DATA + WINDOW_OFFSET,
  );
  machine.noteWrite(DATA + WINDOW_OFFSET, WINDOW_BYTES);
}

function descriptor(view: DataView, at: number, low: number, high: number): void {
  view.setUint32(at, low, true);
  view.setUint32(at + 4, high, true);
}

function buildTables(machine: BareMachine): void {
  const view = new DataView(machine.ram.buffer, machine.ram.byteOffset, RAM_BYTES);
  // As in 64-bit Linux, arch/x86 uses these selectors: 2 and 3 kernel, 4 and 5 user; all flat.
  descriptor(view, GDT + 0x10, 0xffff, 0x00cf9b00);
  descriptor(view, GDT + 0x18, 0xffff, 0x00cf9300);
  descriptor(view, GDT + 0x20, 0xffff, 0x00cffb00);
  descriptor(view, GDT + 0x28, 0xffff, 0x00cff300);
  const tss = SYSTEM_BASE + TSS;
  const high = 0x8b00 | ((tss >>> 16) & 0xff) | (tss & 0xff000000);
  descriptor(view, GDT + TSS_SELECTOR, 0x67 | ((tss & 0xffff) << 16), high >>> 0);
  for (let vector = 0; vector < 256; vector++) {
    const handler = SYSTEM_BASE + HANDLERS + (vector & 0xff) * 16;
    const dpl = vector === 3 || vector === 4 ? 3 : 0;
    const low = (KERNEL_CS << 16) | (handler & 0xffff);
    descriptor(view, IDT + vector * 8, low >>> 0, (handler & 0xffff0000) | 0x8e00 | (dpl << 13));
    machine.ram[HANDLERS + vector * 16] = HLT;
  }
  view.setUint32(TSS + 4, SYSTEM_BASE + KERNEL_STACK, true);
  view.setUint32(TSS + 8, 0x18, true);
  view.setUint16(TSS + 0x66, 0x68, true); // I/O map beyond the limit: no port is allowed.

  const bits = PRESENT | WRITABLE | ACCESSED_AND_DIRTY;
  view.setUint32(DIRECTORY, TABLE_LOW | bits | USER, true);
  view.setUint32(DIRECTORY + 4, TABLE_USER | bits | USER, true);
  view.setUint32(DIRECTORY + (SYSTEM_BASE >>> 22) * 4, TABLE_SYSTEM | bits, true);
  for (let page = 0; page < 16; page++) {
    view.setUint32(TABLE_SYSTEM + page * 4, page * PAGE_BYTES + bits, true);
  }
  view.setUint32(TABLE_LOW + (LOW_BASE / PAGE_BYTES) * 4, DATA | bits | USER, true);
  const userEntry = (linear: number) => TABLE_USER + ((linear >>> 12) & 0x3ff) * 4;
  view.setUint32(userEntry(CODE_BASE), CODE | bits | USER, true);
  view.setUint32(userEntry(CODE_BASE + PAGE_BYTES), (CODE + PAGE_BYTES) | bits | USER, true);
  view.setUint32(userEntry(DATA_BASE), DATA | bits | USER, true);
  machine.ram.fill(INT3, CODE, CODE + CODE_BYTES);
  machine.noteWrite(0, RAM_BYTES);
}

function setSegment(
  state: CPUState,
  segment: number,
  fields: { selector: number; attributes: number; base?: number; limit?: number },
): void {
  const at = SEGMENT + segment * SEGMENT_BYTES;
  state.set32(at + SEG_SELECTOR, fields.selector);
  state.set32(at + SEG_ATTRIBUTES, fields.attributes);
  state.setWide(at + SEG_BASE, fields.base ?? 0);
  state.set32(at + SEG_LIMIT, fields.limit ?? 0xffffffff);
}

const FLAT_CODE_3 = 0xc0fb;
const FLAT_DATA_3 = 0xc0f3;

function loadState(machine: BareMachine, input: DataView, start: number): void {
  const { state } = machine.vcpu;
  state.clearException();
  state.set32(HALTED, 0);
  state.set32(INTERRUPT_SHADOW, 0);
  for (let i = 0; i < 8; i++) state.setReg32(i, input.getUint32(RECORD_GPR + i * 4, true));
  state.eflags = input.getUint32(RECORD_EFLAGS, true);
  state.eip = start;
  state.setWide(CR0, CR0_VALUE);
  state.setWide(CR3, DIRECTORY);
  state.setWide(CR4, CR4_VALUE);
  state.setWide(EFER, 0);
  state.setWide(GDTR_BASE, SYSTEM_BASE + GDT);
  state.set32(GDTR_LIMIT, TSS_SELECTOR + 7);
  state.setWide(IDTR_BASE, SYSTEM_BASE + IDT);
  state.set32(IDTR_LIMIT, 0x7ff);
  state.set32(CPL, 3);
  setSegment(state, 1, { selector: USER_CS, attributes: FLAT_CODE_3 });
  for (const segment of [0, 2, 3]) {
    setSegment(state, segment, { selector: USER_DS, attributes: FLAT_DATA_3 });
  }
  for (const segment of [4, 5, 6])
    setSegment(state, segment, { selector: 0, attributes: ATTR_UNUSABLE, limit: 0 });
  setSegment(state, 7, {
    selector: TSS_SELECTOR,
    attributes: 0x8b,
    base: SYSTEM_BASE + TSS,
    limit: 0x67,
  });
  loadFPU(state, input);
  machine.vcpu.synchronize();
}

function loadFPU(state: CPUState, input: DataView): void {
  const fx = RECORD_FX;
  const status = input.getUint16(fx + FX_STATUS, true);
  const top = (status >>> 11) & 7;
  state.set32(X87_CONTROL, input.getUint16(fx + FX_CONTROL, true));
  state.set32(X87_STATUS, status & ~0x3800);
  state.set32(X87_TOP, top);
  const tags = input.getUint8(fx + FX_TAGS);
  for (let i = 0; i < 8; i++) {
    state.u8[X87_EMPTY + i] = (tags >> i) & 1 ? 0 : 1;
    const from = fx + FX_ST + i * 16;
    const to = X87 + ((top + i) & 7) * 16;
    for (let k = 0; k < 16; k++) state.u8[to + k] = k < 10 ? input.getUint8(from + k) : 0;
    for (let k = 0; k < 16; k++)
      state.u8[XMM + i * 16 + k] = input.getUint8(fx + FX_XMM + i * 16 + k);
  }
  state.set32(MXCSR, input.getUint32(fx + FX_MXCSR, true));
}

function saveFPU(state: CPUState, out: DataView): void {
  const fx = RECORD_FX;
  const top = state.get32(X87_TOP) & 7;
  out.setUint16(fx + FX_CONTROL, state.get32(X87_CONTROL), true);
  out.setUint16(fx + FX_STATUS, (state.get32(X87_STATUS) & ~0x3800) | (top << 11), true);
  let tags = 0;
  for (let i = 0; i < 8; i++) {
    if (state.u8[X87_EMPTY + i] === 0) tags |= 1 << i;
    const from = X87 + ((top + i) & 7) * 16;
    for (let k = 0; k < 10; k++) out.setUint8(fx + FX_ST + i * 16 + k, state.u8[from + k]!);
    for (let k = 0; k < 16; k++)
      out.setUint8(fx + FX_XMM + i * 16 + k, state.u8[XMM + i * 16 + k]!);
  }
  out.setUint8(fx + FX_TAGS, tags);
  out.setUint32(fx + FX_MXCSR, state.get32(MXCSR), true);
}

/** Reads vector, error code and the interrupted EIP, EFLAGS and ESP from the privilege 0 stack. */
function readFault(state: CPUState, ram: DataView, out: DataView, isTrapResult: boolean): void {
  const vector = (state.eip - SYSTEM_BASE - HANDLERS) >>> 4;
  let at = state.reg32(4) - SYSTEM_BASE;
  if (HAS_ERROR_CODE.has(vector)) {
    out.setUint32(RESULT_ERROR, ram.getUint32(at, true), true);
    at += 4;
  }
  const eip = ram.getUint32(at, true);
  const isFiller = vector === 3 && !isTrapResult;
  out.setUint32(RESULT_VECTOR, isFiller ? NO_VECTOR : vector, true);
  out.setUint32(RESULT_EIP, isFiller ? eip - 1 : eip, true);
  if (vector === 14) out.setUint32(RESULT_CR2, state.cr2, true);
  out.setUint32(RECORD_EFLAGS, ram.getUint32(at + 8, true), true);
  out.setUint32(RESULT_GPR + 16, ram.getUint32(at + 12, true), true);
}
