import { expect, test } from 'vitest';
import { formatRegisters } from './report.ts';
import { CPUState } from './state.ts';
import {
  A20_MASK,
  CR0,
  CS,
  DR,
  DS,
  EFER,
  GDTR_LIMIT,
  IDTR_LIMIT,
  LDTR,
  MXCSR,
  SEG_ATTRIBUTES,
  SEG_BASE,
  SEG_LIMIT,
  SEG_SELECTOR,
  SEGMENT,
  SEGMENT_BYTES,
  STATE_BYTES,
  TR,
  X87_CONTROL,
  X87_EMPTY,
} from './state-layout.ts';

function setSegment(
  state: CPUState,
  segment: number,
  [selector, base, limit, attributes]: readonly [number, number, number, number],
): void {
  const row = SEGMENT + segment * SEGMENT_BYTES;
  state.set32(row + SEG_SELECTOR, selector);
  state.setWide(row + SEG_BASE, base);
  state.set32(row + SEG_LIMIT, limit);
  state.set32(row + SEG_ATTRIBUTES, attributes);
}

/** A processor after reset. */
function resetState(): CPUState {
  const state = new CPUState(new ArrayBuffer(STATE_BYTES));
  for (let segment = 0; segment < 6; segment++) setSegment(state, segment, [0, 0, 0xffff, 0x93]);
  setSegment(state, CS, [0xf000, 0xffff_0000, 0xffff, 0x9b]);
  setSegment(state, LDTR, [0, 0, 0xffff, 0x82]);
  setSegment(state, TR, [0, 0, 0xffff, 0x8b]);
  state.eip = 0xfff0;
  state.eflags = 2;
  state.setReg32(2, 0x663);
  state.set32(GDTR_LIMIT, 0xffff);
  state.set32(IDTR_LIMIT, 0xffff);
  state.setWide(CR0, 0x6000_0010);
  state.setWide(DR + 6 * 8, 0xffff_0ff0);
  state.setWide(DR + 7 * 8, 0x400);
  state.set32(X87_CONTROL, 0x37f);
  state.set32(MXCSR, 0x1f80);
  state.set32(A20_MASK, 0xffff_ffff);
  state.u8.fill(1, X87_EMPTY, X87_EMPTY + 8);
  return state;
}

// Printed by `info registers` of QEMU 7.2 for a pentium2 that has not run yet.
const QEMU_RESET = `EAX=00000000 EBX=00000000 ECX=00000000 EDX=00000663
ESI=00000000 EDI=00000000 EBP=00000000 ESP=00000000
EIP=0000fff0 EFL=00000002 [-------] CPL=0 II=0 A20=1 SMM=0 HLT=0
ES =0000 00000000 0000ffff 00009300
CS =f000 ffff0000 0000ffff 00009b00
SS =0000 00000000 0000ffff 00009300
DS =0000 00000000 0000ffff 00009300
FS =0000 00000000 0000ffff 00009300
GS =0000 00000000 0000ffff 00009300
LDT=0000 00000000 0000ffff 00008200
TR =0000 00000000 0000ffff 00008b00
GDT=     00000000 0000ffff
IDT=     00000000 0000ffff
CR0=60000010 CR2=00000000 CR3=00000000 CR4=00000000
DR0=00000000 DR1=00000000 DR2=00000000 DR3=00000000 
DR6=ffff0ff0 DR7=00000400
EFER=0000000000000000
FCW=037f FSW=0000 [ST=0] FTW=00 MXCSR=00001f80
FPR0=0000000000000000 0000 FPR1=0000000000000000 0000
FPR2=0000000000000000 0000 FPR3=0000000000000000 0000
FPR4=0000000000000000 0000 FPR5=0000000000000000 0000
FPR6=0000000000000000 0000 FPR7=0000000000000000 0000
XMM00=0000000000000000 0000000000000000 XMM01=0000000000000000 0000000000000000
XMM02=0000000000000000 0000000000000000 XMM03=0000000000000000 0000000000000000
XMM04=0000000000000000 0000000000000000 XMM05=0000000000000000 0000000000000000
XMM06=0000000000000000 0000000000000000 XMM07=0000000000000000 0000000000000000
`;

test('a processor after reset is printed as QEMU prints it', () => {
  expect(formatRegisters(resetState())).toBe(QEMU_RESET);
});

test('descriptors are explained in protected mode', () => {
  const state = resetState();
  state.setWide(CR0, 0x11);
  setSegment(state, CS, [0x60, 0, 0xffff_ffff, 0xc09b]);
  setSegment(state, DS, [0x7b, 0, 0xffff_ffff, 0xc0f3]);
  setSegment(state, TR, [0x80, 0xff40_1000, 0x206b, 0x8b]);
  state.eflags = 0x846;
  state.view.setBigUint64(EFER, 0x800n, true);
  const text = formatRegisters(state);
  expect(text).toContain('CS =0060 00000000 ffffffff 00cf9b00 DPL=0 CS32 [-RA]\n');
  expect(text).toContain('DS =007b 00000000 ffffffff 00cff300 DPL=3 DS   [-WA]\n');
  expect(text).toContain('TR =0080 ff401000 0000206b 00008b00 DPL=0 TSS32-busy\n');
  expect(text).toContain('EFL=00000846 [-O-Z-P-]');
  expect(text).toContain('EFER=0000000000000800\n');
});
