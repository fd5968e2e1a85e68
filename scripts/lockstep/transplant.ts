// Puts QEMU's state at some instruction into a bare Quire machine, so that both go on from there.

import { ATTR_UNUSABLE } from '../../src/cpu/descriptor.ts';
import {
  CPL,
  CR0,
  CR2,
  CR3,
  CR4,
  DR,
  EFER,
  GDTR_BASE,
  GDTR_LIMIT,
  IDTR_BASE,
  IDTR_LIMIT,
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
import type { BareMachine } from '../../test/oracle/bare-machine.ts';
import type { RegisterDump } from './register-dump.ts';

const ATTRIBUTE_BITS = 0xf0ff;
const MASK_64 = (1n << 64n) - 1n;

/** Writes memory from address 0 on and all registers that a dump shows. MSRs stay as they are. */
export function transplant(machine: BareMachine, dump: RegisterDump, memory: Uint8Array): void {
  machine.ram.set(memory.subarray(0, machine.ram.length));
  machine.noteWrite(0, machine.ram.length);
  const { state } = machine.vcpu;
  dump.registers.forEach((value, i) => {
    state.setReg32(i, value);
  });
  state.eip = dump.eip;
  state.eflags = dump.eflags;
  state.set32(CPL, dump.cpl);
  dump.segments.forEach((segment, i) => {
    const at = SEGMENT + i * SEGMENT_BYTES;
    state.set32(at + SEG_SELECTOR, segment.selector);
    state.setWide(at + SEG_BASE, segment.base);
    state.set32(at + SEG_LIMIT, segment.limit);
    const attributes = (segment.flags >>> 8) & ATTRIBUTE_BITS;
    const isUsable = (attributes & 0x80) !== 0;
    state.set32(at + SEG_ATTRIBUTES, isUsable ? attributes : ATTR_UNUSABLE);
  });
  [state.view.setUint32(GDTR_BASE, dump.gdt[0], true), state.set32(GDTR_LIMIT, dump.gdt[1])];
  [state.view.setUint32(IDTR_BASE, dump.idt[0], true), state.set32(IDTR_LIMIT, dump.idt[1])];
  const control = { CR0, CR2, CR3, CR4, EFER };
  for (const [name, offset] of Object.entries(control))
    state.setWide(offset, dump.control.get(name)!);
  [0, 1, 2, 3, 6, 7].forEach((index, i) => {
    state.setWide(DR + index * 8, dump.debug[i]!);
  });
  const { fpu } = dump;
  if (fpu) {
    state.set32(X87_CONTROL, fpu.control);
    state.set32(X87_STATUS, fpu.status & ~0x3800);
    state.set32(X87_TOP, (fpu.status >> 11) & 7);
    state.set32(MXCSR, fpu.mxcsr);
    fpu.registers.forEach(([significand, signExponent], i) => {
      state.view.setBigUint64(X87 + i * 16, significand, true);
      state.view.setBigUint64(X87 + i * 16 + 8, BigInt(signExponent), true);
      state.u8[X87_EMPTY + i] = (fpu.tags >> i) & 1 ? 0 : 1;
    });
    fpu.xmm.forEach((value, i) => {
      state.view.setBigUint64(XMM + i * 16, value & MASK_64, true);
      state.view.setBigUint64(XMM + i * 16 + 8, value >> 64n, true);
    });
  }
  machine.vcpu.synchronize();
}
