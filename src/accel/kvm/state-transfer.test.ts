// The whole state of a processor into the kernel and out again, and the areas in between.

import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { fuzzOptions } from '../../../test/fuzz-options.ts';
import { CPUState } from '../../cpu/state.ts';
import * as layout from '../../cpu/state-layout.ts';
import type { CPUWiring } from '../../cpu/vcpu.ts';
import { PROCESSOR_FIELDS } from '../../snapshot/processor-state.ts';
import { KVM, KVM_RUN } from './abi.ts';
import { describeExit } from './exit-report.ts';
import { fetchFPU, storeFPU } from './fpu-area.ts';
import { guestCPUID } from './guest-cpuid.ts';
import { KVMHost } from './kvm-host.ts';
import { emulatedKVM, missingKVM } from './missing-kvm.ts';
import {
  fetchDebug,
  fetchRegisters,
  fetchSpecial,
  storeDebug,
  storeRegisters,
  storeSpecial,
} from './register-area.ts';
import { KERNEL_MSRS, StateTransfer } from './state-transfer.ts';
import { VirtualMachine } from './virtual-machine.ts';

const reason = missingKVM();
const emulated = emulatedKVM();

const wiring = {
  readTSC: () => 0n,
  readTPR: () => 3,
  readAPICBase: () => 0xfee0_0900,
} as unknown as CPUWiring;

const byte = fc.integer({ min: 0, max: 255 });
const u16 = fc.integer({ min: 0, max: 0xffff });
const u32 = fc.nat({ max: 0xffff_ffff });
const wide = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n });

/** What is at random in a state. */
const anyState = fc.record({
  registers: fc.array(u32, { minLength: 8, maxLength: 8 }),
  eip: u32,
  flags: u32,
  bases: fc.array(u32, { minLength: 8, maxLength: 8 }),
  tables: fc.array(u32, { minLength: 2, maxLength: 2 }),
  limits: fc.array(u16, { minLength: 2, maxLength: 2 }),
  cr2: u32,
  breakpoints: fc.array(u32, { minLength: 4, maxLength: 4 }),
  x87: fc.uint8Array({ minLength: 128, maxLength: 128 }),
  xmm: fc.uint8Array({ minLength: 128, maxLength: 128 }),
  control: byte,
  status: u16,
  top: fc.nat({ max: 7 }),
  empty: byte,
  opcode: fc.nat({ max: 0x7ff }),
  pointers: fc.array(u32, { minLength: 2, maxLength: 2 }),
  mxcsr: fc.nat({ max: 0xffbf }),
  sysenter: fc.array(u32, { minLength: 3, maxLength: 3 }),
  tscOffset: wide,
  shadow: fc.constantFrom(0, 1),
  isNMIBlocked: fc.constantFrom(0, 1),
});

type RandomState = typeof anyState extends fc.Arbitrary<infer T> ? T : never;

/** A state of flat protected mode that every processor may have. */
function stateOf(random: RandomState): CPUState {
  const state = new CPUState(new ArrayBuffer(layout.STATE_BYTES));
  for (const [index, value] of random.registers.entries()) state.setReg32(index, value);
  state.eip = random.eip;
  // CF PF AF ZF SF IF DF OF: the others have rules of their own.
  state.eflags = (random.flags & 0xed5) | 2;
  for (const [segment, base] of random.bases.entries()) {
    const at = layout.SEGMENT + segment * layout.SEGMENT_BYTES;
    const attributes = segment === layout.CS ? 0xc09b : segment === layout.TR ? 0x8b : 0xc093;
    state.set32(at + layout.SEG_SELECTOR, (segment + 1) * 8);
    state.set32(at + layout.SEG_ATTRIBUTES, segment === layout.LDTR ? 0x82 : attributes);
    state.setWide(at + layout.SEG_BASE, base);
    state.set32(at + layout.SEG_LIMIT, segment >= layout.LDTR ? 0xfff : 0xffff_ffff);
  }
  state.setWide(layout.GDTR_BASE, random.tables[0]!);
  state.set32(layout.GDTR_LIMIT, random.limits[0]!);
  state.setWide(layout.IDTR_BASE, random.tables[1]!);
  state.set32(layout.IDTR_LIMIT, random.limits[1]!);
  state.setWide(layout.CR0, 0x31);
  state.setWide(layout.CR2, random.cr2);
  state.setWide(layout.CR4, 0x600);
  for (const [index, value] of random.breakpoints.entries())
    state.setWide(layout.DR + index * 8, value);
  state.setWide(layout.DR + 6 * 8, 0xffff_0ff0);
  state.setWide(layout.DR + 7 * 8, 0x400);
  for (let index = 0; index < 8; index++) {
    const at = layout.X87 + index * layout.X87_BYTES;
    state.u8.set(random.x87.subarray(index * 16, index * 16 + 10), at);
    state.u8[layout.X87_EMPTY + index] = (random.empty >> index) & 1;
  }
  state.u8.set(random.xmm, layout.XMM);
  // All exceptions masked, so that status bits raise none; bit 6 is always set.
  state.set32(layout.X87_CONTROL, 0x37f);
  state.set32(layout.X87_STATUS, random.status & 0x4700);
  state.set32(layout.X87_TOP, random.top);
  state.set32(layout.X87_OPCODE, random.opcode);
  state.setWide(layout.X87_IP, random.pointers[0]!);
  state.setWide(layout.X87_DP, random.pointers[1]!);
  state.set32(layout.MXCSR, random.mxcsr);
  for (const [index, value] of random.sysenter.entries())
    state.u64[(layout.MSR >> 3) + 1 + index] = BigInt(value);
  state.u64[(layout.MSR >> 3) + 4] = 0x0007_0406_0007_0406n;
  state.set32(layout.INTERRUPT_SHADOW, random.shadow);
  state.set32(layout.NMI_BLOCKED, random.isNMIBlocked);
  state.set32(layout.EXCEPTION_VECTOR, layout.NO_EXCEPTION);
  state.set32(layout.A20_MASK, 0xffff_ffff);
  return state;
}

/** Every saved field but lazy flags, which are compared as EFLAGS. */
function fieldsOf(state: CPUState): Record<string, string | number> {
  const fields: Record<string, string | number> = { eflags: state.eflags };
  for (const { name, offset, sizeBytes } of PROCESSOR_FIELDS)
    if (!['flag result', 'flag carries', 'eflags'].includes(name))
      fields[name] = Buffer.from(state.u8.slice(offset, offset + sizeBytes)).toString('hex');
  return fields;
}

function area(sizeBytes: number): DataView {
  return new DataView(new ArrayBuffer(sizeBytes));
}

test('registers and FPU come out of the kernel\u2019s structures as they went in', () => {
  fc.assert(
    fc.property(anyState, (random) => {
      const state = stateOf(random);
      const copy = new CPUState(new ArrayBuffer(layout.STATE_BYTES));
      const [regs, sregs, debug, xsave] = [area(144), area(320), area(128), area(4096)];
      storeRegisters(state, regs);
      storeSpecial(state, sregs);
      storeDebug(state, debug);
      storeFPU(state, xsave);
      fetchRegisters(copy, regs);
      fetchSpecial(copy, sregs);
      fetchDebug(copy, debug);
      fetchFPU(copy, xsave);
      const [expected, found] = [fieldsOf(state), fieldsOf(copy)];
      // Not in these structures.
      for (const name of ['interrupt shadow', 'nmi blocked', 'exception', 'a20 mask'])
        found[name] = expected[name]!;
      found['model-specific registers'] = expected['model-specific registers']!;
      expect(found).toEqual(expected);
    }),
    fuzzOptions(100),
  );
});

// Failures 20 and 21: a register that is not moved, or moved in the wrong order, is one lost.
test.skipIf(emulated !== undefined)(
  `partial register file: all state is the same after the kernel had it ${emulated ?? ''}`,
  () => roundTrip([]),
);

test.skipIf(reason !== undefined || emulated === undefined)(
  `the same on a KVM without hardware, but for what it does not keep ${reason ?? ''}`,
  () => roundTrip(['interrupt shadow']),
);

function roundTrip(lost: readonly string[]): void {
  const host = KVMHost.open();
  const vm = new VirtualMachine(host);
  const { calls } = host;
  vm.allowMSRs(KERNEL_MSRS);
  const fd = vm.createVCPU();
  const cpuid = guestCPUID(calls, host.supportedCPUID());
  expect(calls.ioctl(fd, KVM.KVM_SET_CPUID2, cpuid.address)).toBe(0);
  try {
    for (const hasSREGS2 of [true, false]) {
      const transfer = new StateTransfer({ calls, fd, wiring, hasSREGS2 });
      fc.assert(
        fc.property(anyState, (random) => {
          const state = stateOf(random);
          expect(transfer.load(state, false)).toBeUndefined();
          const copy = new CPUState(new ArrayBuffer(layout.STATE_BYTES));
          copy.u8.set(state.u8);
          copy.u8.fill(0x5a, 0, layout.EXCEPTION_VECTOR);
          copy.u8.fill(0x5a, layout.SEGMENT, layout.DR);
          copy.u8.fill(0x5a, layout.X87, layout.SCRATCH);
          transfer.fetch(copy, 0n);
          const [expected, found] = [fieldsOf(state), fieldsOf(copy)];
          // The kernel's form of the FPU has no selectors; its clock went on.
          const ownOnly = ['x87 code segment', 'x87 data segment', 'model-specific registers'];
          for (const name of [...ownOnly, 'cr8', 'exception error', ...lost])
            found[name] = expected[name]!;
          expect(found).toEqual(expected);
          for (let slot = 1; slot <= 4; slot++)
            expect(copy.u64[(layout.MSR >> 3) + slot]).toBe(state.u64[(layout.MSR >> 3) + slot]);
        }),
        fuzzOptions(20),
      );
    }
  } finally {
    calls.close(fd);
    vm.close();
    host.close();
  }
}

test('an exit that ends the guest says why', () => {
  const run = area(KVM_RUN.sizeBytes);
  const { at } = KVM_RUN;
  run.setUint32(at.exit_reason, KVM.KVM_EXIT_INTERNAL_ERROR, true);
  run.setUint32(at['internal.suberror'], KVM.KVM_INTERNAL_ERROR_EMULATION, true);
  expect(describeExit(run)).toBe('KVM_INTERNAL_ERROR_EMULATION');
  run.setUint32(at['internal.ndata'], 4, true);
  run.setUint32(at['emulation_failure.flags'], 1, true);
  run.setUint8(at['emulation_failure.insn_size'], 2);
  run.setUint16(at['emulation_failure.insn_bytes'], 0xe8d9, true);
  expect(describeExit(run)).toBe(
    'KVM_INTERNAL_ERROR_EMULATION: KVM cannot emulate the instruction d9 e8',
  );
  run.setUint32(at['internal.suberror'], 3, true);
  run.setUint32(at['internal.ndata'], 1, true);
  expect(describeExit(run)).toBe('KVM_INTERNAL_ERROR_DELIVERY_EV: 0x1');
  // A count that lies is cut.
  run.setUint32(at['internal.ndata'], 0xffff_ffff, true);
  expect(describeExit(run).split(' ').length).toBe(17);
  run.setUint32(at.exit_reason, KVM.KVM_EXIT_FAIL_ENTRY, true);
  run.setBigUint64(at['fail_entry.hardware_entry_failure_reason'], 0x8000_0021n, true);
  expect(describeExit(run)).toBe(
    'the processor cannot enter the guest: hardware reason 0x80000021',
  );
  run.setUint32(at.exit_reason, 77, true);
  expect(describeExit(run)).toContain('KVM exit 77');
});
