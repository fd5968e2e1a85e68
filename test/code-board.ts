// Machine code on a bare machine: bytes are put somewhere, run until HLT, and the registers looked
// at. For tests of what the engine keeps of code, and when it must forget.

import type { CPUState } from '../src/cpu/state.ts';
import {
  CPL,
  CR0,
  CR3,
  CS,
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
import { type BareMachine, createBareMachine } from './oracle/bare-machine.ts';

const GDT = 0x1000;
const IDT = 0x2000;
const HANDLERS = 0x3000;
const STACK = 0x8000;
const PAGE_DIRECTORY = 0x1_0000;
const PAGE_TABLE = 0x1_1000;
const CR0_PE = 1;
const CR0_PG = 0x8000_0000;
/** Vectors whose exception pushes an error code. */
const WITH_ERROR = new Set([8, 10, 11, 12, 13, 14, 17]);
/** Of a whole test: none takes a hundredth. */
const INSTRUCTIONS_MAX = 20_000_000;

export const EAX = 0;
export const ECX = 1;
export const EDX = 2;
export const EBX = 3;
export const ESP = 4;

/** What ended a run: HLT, an exception with its error code and return address, or a disaster. */
export type CodeEnd =
  | 'hlt'
  | { readonly vector: number; readonly error: number; readonly eip: number }
  | { readonly shutdown: string };

/** Little-endian bytes of a doubleword. */
export function u32(value: number): number[] {
  return [value & 0xff, (value >>> 8) & 0xff, (value >>> 16) & 0xff, (value >>> 24) & 0xff];
}

/** MOV EAX, `value` and RET. */
export function answer(value: number): number[] {
  return [0xb8, ...u32(value), 0xc3];
}

export class CodeBoard {
  readonly machine: BareMachine;
  readonly state: CPUState;
  /** CS as each run finds it: exceptions load another. */
  #code: readonly [selector: number, base: number, limit: number] = [8, 0, 0xffff_ffff];

  /** Flat protected mode, ring 0, no paging. Below 0x20000 lie its tables and stack. */
  constructor(accelerator: Accelerator, ramBytes = 4 << 20) {
    this.machine = createBareMachine(accelerator, ramBytes);
    this.state = this.machine.vcpu.state;
    this.put(GDT, [
      ...[0, 0, 0, 0, 0, 0, 0, 0],
      ...[0xff, 0xff, 0, 0, 0, 0x9b, 0xcf, 0],
      ...[0xff, 0xff, 0, 0, 0, 0x93, 0xcf, 0],
    ]);
    for (let vector = 0; vector < 32; vector++) {
      // Each handler is one HLT, so that EIP says which vector it was.
      this.put(HANDLERS + vector * 16, [0xf4]);
      const entry = HANDLERS + vector * 16;
      this.put(IDT + vector * 8, [...u32((8 << 16) | entry), 0, 0x8e, 0, 0]);
    }
    this.enterProtected();
  }

  enterProtected(codeBase = 0, codeLimit = 0xffff_ffff): void {
    const { state } = this;
    state.setWide(GDTR_BASE, GDT);
    state.set32(GDTR_LIMIT, 0x17);
    state.setWide(IDTR_BASE, IDT);
    state.set32(IDTR_LIMIT, 0xff);
    state.setWide(CR0, CR0_PE | 0x10);
    state.set32(CPL, 0);
    for (let segment = 0; segment < 6; segment++) {
      const isCode = segment === 1;
      this.#setSegment(
        segment,
        isCode ? 8 : 16,
        isCode ? codeBase : 0,
        isCode ? codeLimit : 0xffff_ffff,
      );
      const at = SEGMENT + segment * SEGMENT_BYTES;
      state.set32(at + SEG_ATTRIBUTES, isCode ? 0xc09b : 0xc093);
    }
    this.#code = [8, codeBase, codeLimit];
    this.machine.vcpu.synchronize();
  }

  /** Real mode, CS at paragraph `code`, other segments at 0; exceptions halt by the IVT at 0. */
  enterReal(code: number): void {
    const { state } = this;
    state.setWide(CR0, 0x10);
    state.setWide(IDTR_BASE, 0);
    state.set32(IDTR_LIMIT, 0x3ff);
    for (let vector = 0; vector < 32; vector++) this.put(vector * 4, u32(HANDLERS + vector * 16));
    for (let segment = 0; segment < 6; segment++) {
      const selector = segment === 1 ? code : 0;
      this.#setSegment(segment, selector, selector * 16, 0xffff);
      const at = SEGMENT + segment * SEGMENT_BYTES;
      state.set32(at + SEG_ATTRIBUTES, segment === 1 ? 0x9b : 0x93);
    }
    this.#code = [code, code * 16, 0xffff];
    this.machine.vcpu.synchronize();
  }

  #setSegment(segment: number, selector: number, base: number, limit: number): void {
    const at = SEGMENT + segment * SEGMENT_BYTES;
    this.state.set32(at + SEG_SELECTOR, selector);
    this.state.setWide(at + SEG_BASE, base);
    this.state.set32(at + SEG_LIMIT, limit);
  }

  /** Turns paging on: the first 4 MiB are mapped one to one, supervisor, writable. */
  enablePaging(): void {
    this.put(PAGE_DIRECTORY, u32(PAGE_TABLE | 7));
    for (let page = 0; page < 1024; page++) this.mapPage(page * 4096, page * 4096);
    this.state.setWide(CR3, PAGE_DIRECTORY);
    this.state.setWide(CR0, this.state.cr0 | CR0_PG);
    this.machine.vcpu.synchronize();
  }

  /** Writes the page table entry of `linear` below 4 MiB, as a device would: no TLB is told. */
  mapPage(linear: number, gpa: number, rights = 3): void {
    this.put(PAGE_TABLE + (linear >>> 12) * 4, u32(gpa | rights));
  }

  /** Writes by the way of DMA and the debugger. */
  put(gpa: number, bytes: readonly number[]): void {
    this.machine.memory.addressSpace.writeBytes(gpa, Uint8Array.from(bytes));
  }

  reg(index: number): number {
    return this.state.reg32(index) >>> 0;
  }

  /** Runs from `eip` to HLT or to an exception, with a fresh stack. */
  run(eip: number): CodeEnd {
    const { state, machine } = this;
    state.eip = eip;
    state.set32(HALTED, 0);
    state.setReg32(ESP, STACK);
    // Only where an exception has left another CS: synchronize() forgets all code, and what is
    // tested is that an engine forgets enough without it.
    if (state.segBase(CS) !== this.#code[1] || state.segLimit(CS) !== this.#code[2]) {
      this.#setSegment(CS, ...this.#code);
      machine.vcpu.synchronize();
    }
    const exit = machine.vcpu.run(INSTRUCTIONS_MAX);
    if (exit.kind === 'shutdown') return { shutdown: exit.reason };
    if (exit.kind === 'budget') return { shutdown: 'still running' };
    const isReal = (state.cr0 & CR0_PE) === 0;
    const index = (state.eip - 1 - HANDLERS) / 16;
    if (!Number.isInteger(index) || index < 0 || index > 31) return 'hlt';
    const esp = this.reg(ESP) & (isReal ? 0xffff : 0xffff_ffff);
    const hasError = !isReal && WITH_ERROR.has(index);
    const { addressSpace } = machine.memory;
    const at = hasError ? esp + 4 : esp;
    return {
      vector: index,
      error: hasError ? addressSpace.read(esp, 4) : 0,
      eip: addressSpace.read(at, isReal ? 2 : 4),
    };
  }

  /** CALLs `target` from 0x20000; gives EAX, or what ended it otherwise. */
  call(target: number): number | CodeEnd {
    // mov edx, target; call edx; hlt
    this.put(0x2_0000, [0xba, ...u32(target), 0xff, 0xd2, 0xf4]);
    const end = this.run(0x2_0000);
    return end === 'hlt' ? this.reg(EAX) : end;
  }
}
