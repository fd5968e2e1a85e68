// General, segment, control and debug registers between our layout and the kernel's structures.

import { ATTR_PRESENT, ATTR_UNUSABLE } from '../../cpu/descriptor.ts';
import type { CPUState } from '../../cpu/state.ts';
import {
  CPL,
  CR0,
  CR2,
  CR3,
  CR4,
  CS,
  DR,
  DS,
  EFER,
  EIP,
  ES,
  FS,
  GDTR_BASE,
  GDTR_LIMIT,
  GPR,
  GPR_BYTES,
  GS,
  IDTR_BASE,
  IDTR_LIMIT,
  LDTR,
  PDPTE,
  SEG_ATTRIBUTES,
  SEG_BASE,
  SEG_LIMIT,
  SEG_SELECTOR,
  SEGMENT,
  SEGMENT_BYTES,
  SS,
  TR,
} from '../../cpu/state-layout.ts';
import { KVM, KVM_DEBUGREGS, KVM_DTABLE, KVM_REGS, KVM_SEGMENT, KVM_SREGS2 } from './abi.ts';

const CR0_PE = 1;
const FLAG_VM = 1 << 17;

/** The kernel's field of each general register, in encoding order. */
const GPR_FIELDS: readonly number[] = [
  ...(['rax', 'rcx', 'rdx', 'rbx', 'rsp', 'rbp', 'rsi', 'rdi'] as const).map(
    (name) => KVM_REGS.at[name],
  ),
  ...Array.from({ length: 8 }, (_, index) => KVM_REGS.at.r8 + index * 8),
];

const SEGMENT_FIELDS: readonly (readonly [segment: number, at: number])[] = [
  [ES, KVM_SREGS2.at.es],
  [CS, KVM_SREGS2.at.cs],
  [SS, KVM_SREGS2.at.ss],
  [DS, KVM_SREGS2.at.ds],
  [FS, KVM_SREGS2.at.fs],
  [GS, KVM_SREGS2.at.gs],
  [LDTR, KVM_SREGS2.at.ldt],
  [TR, KVM_SREGS2.at.tr],
];

const CONTROL_FIELDS: readonly (readonly [offset: number, at: number])[] = [
  [CR0, KVM_SREGS2.at.cr0],
  [CR2, KVM_SREGS2.at.cr2],
  [CR3, KVM_SREGS2.at.cr3],
  [CR4, KVM_SREGS2.at.cr4],
  [EFER, KVM_SREGS2.at.efer],
];

const DEBUG_FIELDS: readonly (readonly [register: number, at: number])[] = [
  ...Array.from({ length: 4 }, (_, index) => [index, KVM_DEBUGREGS.at.db + index * 8] as const),
  [6, KVM_DEBUGREGS.at.dr6],
  [7, KVM_DEBUGREGS.at.dr7],
];

/** General registers, EIP and EFLAGS, as `struct kvm_regs`. */
export function storeRegisters(state: CPUState, regs: DataView): void {
  for (const [index, at] of GPR_FIELDS.entries())
    regs.setBigUint64(at, state.u64[(GPR + index * GPR_BYTES) >> 3]!, true);
  regs.setBigUint64(KVM_REGS.at.rip, state.u64[EIP >> 3]!, true);
  regs.setBigUint64(KVM_REGS.at.rflags, BigInt(state.eflags), true);
}

export function fetchRegisters(state: CPUState, regs: DataView): void {
  for (const [index, at] of GPR_FIELDS.entries())
    state.u64[(GPR + index * GPR_BYTES) >> 3] = regs.getBigUint64(at, true);
  state.eip = regs.getUint32(KVM_REGS.at.rip, true);
  state.eflags = regs.getUint32(KVM_REGS.at.rflags, true);
}

/** Segment, control and table registers, as the beginning of both forms of the structure. */
export function storeSpecial(state: CPUState, sregs: DataView): void {
  const isProtected = (state.cr0 & CR0_PE) !== 0;
  for (const [segment, at] of SEGMENT_FIELDS) storeSegment(state, segment, sregs, at);
  // The kernel knows no level but that of the stack segment.
  const dpl = isProtected ? state.cpl : 0;
  sregs.setUint8(KVM_SREGS2.at.ss + KVM_SEGMENT.at.dpl, dpl);
  for (const [offset, at] of CONTROL_FIELDS) sregs.setBigUint64(at, state.u64[offset >> 3]!, true);
  storeTable(state, GDTR_BASE, GDTR_LIMIT, sregs, KVM_SREGS2.at.gdt);
  storeTable(state, IDTR_BASE, IDTR_LIMIT, sregs, KVM_SREGS2.at.idt);
}

export function fetchSpecial(state: CPUState, sregs: DataView): void {
  for (const [segment, at] of SEGMENT_FIELDS) fetchSegment(state, segment, sregs, at);
  for (const [offset, at] of CONTROL_FIELDS) state.u64[offset >> 3] = sregs.getBigUint64(at, true);
  fetchTable(state, GDTR_BASE, GDTR_LIMIT, sregs, KVM_SREGS2.at.gdt);
  fetchTable(state, IDTR_BASE, IDTR_LIMIT, sregs, KVM_SREGS2.at.idt);
  state.set32(CPL, levelOf(state, sregs));
}

function levelOf(state: CPUState, sregs: DataView): number {
  if ((state.cr0 & CR0_PE) === 0) return 0;
  if ((state.eflags & FLAG_VM) !== 0) return 3;
  return sregs.getUint8(KVM_SREGS2.at.ss + KVM_SEGMENT.at.dpl) & 3;
}

/** PAE's four page-directory pointers, which only the second form of the structure has. */
export function storePagePointers(state: CPUState, sregs: DataView): void {
  sregs.setBigUint64(KVM_SREGS2.at.flags, BigInt(KVM.KVM_SREGS2_FLAGS_PDPTRS_VALID), true);
  for (let index = 0; index < 4; index++)
    sregs.setBigUint64(KVM_SREGS2.at.pdptrs + index * 8, state.u64[(PDPTE >> 3) + index]!, true);
}

/** @returns whether the kernel had them to give: it has only while PAE paging is on */
export function fetchPagePointers(state: CPUState, sregs: DataView): boolean {
  const flags = sregs.getUint32(KVM_SREGS2.at.flags, true);
  if ((flags & KVM.KVM_SREGS2_FLAGS_PDPTRS_VALID) === 0) return false;
  for (let index = 0; index < 4; index++)
    state.u64[(PDPTE >> 3) + index] = sregs.getBigUint64(KVM_SREGS2.at.pdptrs + index * 8, true);
  return true;
}

export function storeDebug(state: CPUState, area: DataView): void {
  for (const [register, at] of DEBUG_FIELDS)
    area.setBigUint64(at, state.u64[(DR >> 3) + register]!, true);
}

export function fetchDebug(state: CPUState, area: DataView): void {
  for (const [register, at] of DEBUG_FIELDS)
    state.setWide(DR + register * 8, area.getUint32(at, true));
}

function storeSegment(state: CPUState, segment: number, sregs: DataView, start: number): void {
  const { at } = KVM_SEGMENT;
  const attributes = state.segAttributes(segment);
  const isUnusable = (attributes & ATTR_UNUSABLE) !== 0;
  sregs.setBigUint64(
    start + at.base,
    state.u64[(SEGMENT + segment * SEGMENT_BYTES + SEG_BASE) >> 3]!,
    true,
  );
  sregs.setUint32(start + at.limit, state.segLimit(segment), true);
  sregs.setUint16(start + at.selector, state.selector(segment), true);
  const bits: readonly (readonly [at: number, shift: number, mask: number])[] = SEGMENT_BITS;
  for (const [field, shift, mask] of bits)
    sregs.setUint8(start + field, (attributes >> shift) & mask);
  sregs.setUint8(start + at.unusable, isUnusable ? 1 : 0);
}

/** Where each field of the kernel's lies in SEG_ATTRIBUTES: descriptor bits 40–55. */
const SEGMENT_BITS = [
  [KVM_SEGMENT.at.type, 0, 0xf],
  [KVM_SEGMENT.at.s, 4, 1],
  [KVM_SEGMENT.at.dpl, 5, 3],
  [KVM_SEGMENT.at.present, 7, 1],
  [KVM_SEGMENT.at.avl, 12, 1],
  [KVM_SEGMENT.at.l, 13, 1],
  [KVM_SEGMENT.at.db, 14, 1],
  [KVM_SEGMENT.at.g, 15, 1],
] as const;

function fetchSegment(state: CPUState, segment: number, sregs: DataView, start: number): void {
  const { at } = KVM_SEGMENT;
  let attributes = 0;
  for (const [field, shift] of SEGMENT_BITS) attributes |= sregs.getUint8(start + field) << shift;
  const isUnusable = sregs.getUint8(start + at.unusable) !== 0 || (attributes & ATTR_PRESENT) === 0;
  const to = SEGMENT + segment * SEGMENT_BYTES;
  state.set32(to + SEG_SELECTOR, sregs.getUint16(start + at.selector, true));
  // Ours has no other bits in a segment that cannot be used.
  state.set32(to + SEG_ATTRIBUTES, isUnusable ? ATTR_UNUSABLE : attributes);
  state.setWide(to + SEG_BASE, isUnusable ? 0 : sregs.getUint32(start + at.base, true));
  state.set32(to + SEG_LIMIT, isUnusable ? 0 : sregs.getUint32(start + at.limit, true));
}

function storeTable(
  state: CPUState,
  base: number,
  limit: number,
  sregs: DataView,
  start: number,
): void {
  sregs.setBigUint64(start + KVM_DTABLE.at.base, state.u64[base >> 3]!, true);
  sregs.setUint16(start + KVM_DTABLE.at.limit, state.get32(limit), true);
}

function fetchTable(
  state: CPUState,
  base: number,
  limit: number,
  sregs: DataView,
  start: number,
): void {
  state.setWide(base, sregs.getUint32(start + KVM_DTABLE.at.base, true));
  state.set32(limit, sregs.getUint16(start + KVM_DTABLE.at.limit, true));
}
