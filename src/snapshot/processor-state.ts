// The processor's section: what of cpu/state-layout.ts is architectural, as raw bytes under field
// numbers. The state area's other fields follow from these, or live within one instruction.

import { CPUState } from '../cpu/state.ts';
import * as layout from '../cpu/state-layout.ts';
import type { VCPU } from '../cpu/vcpu.ts';
import { mismatch } from './machine-error.ts';
import type { LoadedSection, SectionValue, StateSection } from './sections.ts';
import { SnapshotError } from './snapshot-error.ts';

export const PROCESSOR_SECTION = 'cpu';
export const PROCESSOR_VERSION = 1;

/** A saved run of bytes of the state area. */
export interface ProcessorField {
  /** Its number in the section, never used again for another. */
  readonly id: number;
  readonly name: string;
  /** In the state area, bytes. */
  readonly offset: number;
  readonly sizeBytes: number;
  /** Version of the section that brought it. */
  readonly since: number;
  /** Why these bytes are impossible, or undefined. */
  readonly problem?: (bytes: DataView) => string | undefined;
}

const SEGMENT_COUNT = 8;
const SELECTOR_MAX = 0xffff;
/** Descriptor bits 40–55: type, S, DPL, P, AVL, L, D/B, G; bit 16 marks an unusable segment. */
const ATTRIBUTES_MAX = 0x1_ffff;
const VECTOR_MAX = 31;
const A20_OFF = 0xffef_ffff;
const A20_ON = 0xffff_ffff;

function word(id: number, name: string, offset: number, max?: number): ProcessorField {
  const problem = (bytes: DataView): string | undefined => {
    const value = bytes.getUint32(0, true);
    return max === undefined || value <= max ? undefined : `must be at most ${max}, got ${value}`;
  };
  return { id, name, offset, sizeBytes: 4, since: 1, problem };
}

function wide(id: number, name: string, offset: number, count = 1): ProcessorField {
  return { id, name, offset, sizeBytes: 8 * count, since: 1 };
}

function oneOf(...values: readonly number[]) {
  return (bytes: DataView): string | undefined => {
    const value = bytes.getUint32(0, true);
    return values.includes(value) ? undefined : `cannot be ${value}`;
  };
}

function everyByteAtMost(max: number) {
  return (bytes: DataView): string | undefined => {
    for (let i = 0; i < bytes.byteLength; i++)
      if (bytes.getUint8(i) > max) return `must hold bytes of at most ${max}`;
    return undefined;
  };
}

function exceptionProblem(bytes: DataView): string | undefined {
  const vector = bytes.getUint32(0, true);
  return vector <= VECTOR_MAX || vector === layout.NO_EXCEPTION ? undefined : `cannot be ${vector}`;
}

/** Segment registers without their spans, which follow from the rest: 20 of each 32 bytes. */
function segmentFields(): ProcessorField[] {
  const names = ['es', 'cs', 'ss', 'ds', 'fs', 'gs', 'ldtr', 'tr'];
  return Array.from({ length: SEGMENT_COUNT }, (_, index) => ({
    id: 40 + index,
    name: names[index]!,
    offset: layout.SEGMENT + index * layout.SEGMENT_BYTES,
    sizeBytes: layout.SEG_READ_SPAN,
    since: 1,
    problem: (bytes: DataView) =>
      bytes.getUint32(layout.SEG_SELECTOR, true) <= SELECTOR_MAX &&
      bytes.getUint32(layout.SEG_ATTRIBUTES, true) <= ATTRIBUTES_MAX
        ? undefined
        : 'must have a selector and attributes that exist',
  }));
}

/** Every saved field. */
export const PROCESSOR_FIELDS: readonly ProcessorField[] = [
  wide(1, 'general registers', layout.GPR, 16),
  wide(2, 'eip', layout.EIP),
  wide(3, 'flag result', layout.FLAG_RESULT),
  word(4, 'flag carries', layout.FLAG_AUX),
  word(5, 'eflags', layout.EFLAGS_REST),
  word(6, 'cpl', layout.CPL, 3),
  { ...word(7, 'exception', layout.EXCEPTION_VECTOR), problem: exceptionProblem },
  word(8, 'exception error', layout.EXCEPTION_ERROR),
  word(9, 'exception has error', layout.EXCEPTION_HAS_ERROR, 1),
  word(10, 'interrupt shadow', layout.INTERRUPT_SHADOW, 2),
  word(11, 'halted', layout.HALTED, 1),
  word(12, 'pending debug', layout.PENDING_DEBUG),
  word(13, 'nmi blocked', layout.NMI_BLOCKED, 1),
  wide(14, 'gdtr base', layout.GDTR_BASE),
  word(15, 'gdtr limit', layout.GDTR_LIMIT),
  wide(16, 'idtr base', layout.IDTR_BASE),
  word(17, 'idtr limit', layout.IDTR_LIMIT),
  wide(18, 'cr0', layout.CR0),
  wide(19, 'cr2', layout.CR2),
  wide(20, 'cr3', layout.CR3),
  wide(21, 'cr4', layout.CR4),
  wide(22, 'cr8', layout.CR8),
  wide(23, 'efer', layout.EFER),
  wide(24, 'debug registers', layout.DR, 8),
  wide(25, 'model-specific registers', layout.MSR, layout.MSR_SLOT_COUNT),
  wide(26, 'x87 registers', layout.X87, 16),
  wide(27, 'xmm registers', layout.XMM, 32),
  word(28, 'x87 control', layout.X87_CONTROL, 0xffff),
  word(29, 'x87 status', layout.X87_STATUS, 0xffff),
  word(30, 'x87 top', layout.X87_TOP, 7),
  { ...wide(31, 'x87 empty', layout.X87_EMPTY), problem: everyByteAtMost(1) },
  word(32, 'x87 opcode', layout.X87_OPCODE, 0x7ff),
  wide(33, 'x87 instruction pointer', layout.X87_IP),
  word(34, 'x87 code segment', layout.X87_CS, SELECTOR_MAX),
  wide(35, 'x87 data pointer', layout.X87_DP),
  word(36, 'x87 data segment', layout.X87_DS, SELECTOR_MAX),
  word(37, 'mxcsr', layout.MXCSR, 0xffff),
  wide(38, 'instruction count', layout.INSTRUCTION_COUNT),
  { ...word(39, 'a20 mask', layout.A20_MASK), problem: oneOf(A20_ON, A20_OFF) },
  ...segmentFields(),
  wide(48, 'page-directory pointers', layout.PDPTE, 4),
];

/** Fields of state-layout.ts that are not saved, and why. */
export const PROCESSOR_EXCUSED: Readonly<Record<string, string>> = {
  ZERO_REGISTER: 'is always zero',
  NEXT_EIP: 'is computed before it is used, by the instruction that uses it',
  MODE: 'follows from segment registers and privilege',
  ATTENTION: 'belongs to a run under way; synchronize() has the run loop look at everything',
  FUEL: 'belongs to a run under way',
  FUEL_HELD: 'belongs to a run under way',
  TLB_BASE: 'follows from the privilege',
  EIP_BIAS: 'is where decoded code lies in this process',
  PAGE_EIP: 'is where decoded code lies in this process',
  PAGE_RECORDS: 'is where decoded code lies in this process',
  LARGE_PAGES_FIRST: 'belongs to the TLB, which is empty after a load',
  LARGE_PAGES_LAST: 'belongs to the TLB, which is empty after a load',
  SCRATCH: 'lives within one instruction',
  SIMD_RAISED: 'is 0 between instructions',
  SIMD_FAULT: 'is 0 between instructions',
  ENGINE: 'is the engine\u2019s own',
};

const NMI_PENDING_FIELD = 100;

/** The processor's section. Call it between two instructions. */
export function saveProcessor(vcpu: VCPU): StateSection {
  const { u8 } = vcpu.state;
  const values = new Map<number, SectionValue>();
  for (const { id, offset, sizeBytes } of PROCESSOR_FIELDS)
    values.set(id, u8.slice(offset, offset + sizeBytes));
  values.set(NMI_PENDING_FIELD, vcpu.isNMIPending);
  return { name: PROCESSOR_SECTION, version: PROCESSOR_VERSION, values };
}

function refuse(detail: string): SnapshotError {
  return mismatch(PROCESSOR_SECTION, detail);
}

/** @throws {SnapshotError} `MISMATCH` naming the field that is missing, unknown or impossible */
export function checkProcessor(section: LoadedSection): void {
  for (const { id, name, sizeBytes, since, problem } of PROCESSOR_FIELDS) {
    const value = section.values.get(id);
    if (value === undefined && since > section.version) continue;
    if (!(value instanceof Uint8Array) || value.length !== sizeBytes)
      throw refuse(`field "${name}" (${id}) must be ${sizeBytes} bytes`);
    const found = problem?.(new DataView(value.buffer, value.byteOffset, value.byteLength));
    if (found !== undefined) throw refuse(`field "${name}" (${id}) ${found}`);
  }
  if (typeof section.values.get(NMI_PENDING_FIELD) !== 'boolean')
    throw refuse(`field "nmi pending" (${NMI_PENDING_FIELD}) must be true or false`);
  const known = new Set([NMI_PENDING_FIELD, ...PROCESSOR_FIELDS.map(({ id }) => id)]);
  for (const id of section.values.keys())
    if (!known.has(id)) throw refuse(`field ${id} is not known`);
}

/**
 * Writes a section that `checkProcessor` has passed.
 * @param keepsCode as `VCPU.synchronize` takes it
 */
export function restoreProcessor(vcpu: VCPU, section: LoadedSection, keepsCode: boolean): void {
  writeState(vcpu.state, section);
  vcpu.isNMIPending = section.values.get(NMI_PENDING_FIELD) as boolean;
  vcpu.synchronize(keepsCode);
}

/**
 * A processor's state by itself, to be looked at.
 * @throws {SnapshotError} as `checkProcessor`; `NEWER_VERSION`
 */
export function readProcessor(section: LoadedSection): CPUState {
  if (section.version > PROCESSOR_VERSION)
    throw new SnapshotError(
      'NEWER_VERSION',
      `Cannot read "${PROCESSOR_SECTION}" as its version must be at most ${PROCESSOR_VERSION}: ` +
        `the snapshot has ${section.version}`,
      { subject: PROCESSOR_SECTION },
    );
  checkProcessor(section);
  const state = new CPUState(new ArrayBuffer(layout.STATE_BYTES));
  writeState(state, section);
  return state;
}

function writeState(state: CPUState, section: LoadedSection): void {
  for (const { id, offset } of PROCESSOR_FIELDS) {
    const value = section.values.get(id);
    if (value !== undefined) state.u8.set(value as Uint8Array, offset);
  }
}
