// The processor's whole state between our state area and the kernel: all in before the guest runs,
// all out after it. What the kernel has no place for stays in the state area.

import { PAT_RESET } from '../../cpu/msr.ts';
import * as slot from '../../cpu/msr-slots.ts';
import type { CPUState } from '../../cpu/state.ts';
import {
  EXCEPTION_ERROR,
  INTERRUPT_SHADOW,
  MSR,
  NMI_BLOCKED,
  PDPTE,
} from '../../cpu/state-layout.ts';
import type { CPUWiring } from '../../cpu/vcpu.ts';
import {
  KVM,
  KVM_DEBUGREGS,
  KVM_MSR_ENTRY,
  KVM_MSRS,
  KVM_REGS,
  KVM_SEGMENT,
  KVM_SREGS,
  KVM_SREGS2,
  KVM_VCPU_EVENTS,
  KVM_XSAVE,
} from './abi.ts';
import { fetchFPU, storeFPU } from './fpu-area.ts';
import type { HostBytes, LinuxCalls } from './linux-calls.ts';
import {
  fetchDebug,
  fetchPagePointers,
  fetchRegisters,
  fetchSpecial,
  storeDebug,
  storePagePointers,
  storeRegisters,
  storeSpecial,
} from './register-area.ts';
import type { MSRRange } from './virtual-machine.ts';

const TSC = 0x10;
const APIC_BASE = 0x1b;
const SYSENTER_CS = 0x174;
const PAT = 0x277;
const EFER = 0xc000_0080;
const CR0_PG = 0x8000_0000;
const CR4_PAE = 0x20;
/** Of the type of a task state segment. */
const TYPE_BUSY = 2;
/** INTERRUPT_SHADOW: behind STI, behind a load of SS. */
const SHADOW_STI = 1;
const SHADOW_STACK = 2;
/** Breakpoint and overflow. */
const SOFT_EXCEPTIONS = [3, 4];

/** MSRs that the kernel keeps; all others are ours, and the guest's accesses come to us. */
export const KERNEL_MSRS: readonly MSRRange[] = [
  [TSC, 1],
  [APIC_BASE, 1],
  [SYSENTER_CS, 3],
  [PAT, 1],
  [EFER, 1],
];

/** Those of them that have a slot in our state. */
const STORED_MSRS: readonly (readonly [number: number, slot: number])[] = [
  [SYSENTER_CS, slot.MSR_SLOT_SYSENTER_CS],
  [SYSENTER_CS + 1, slot.MSR_SLOT_SYSENTER_ESP],
  [SYSENTER_CS + 2, slot.MSR_SLOT_SYSENTER_EIP],
  [PAT, slot.MSR_SLOT_PAT],
];

/** What the kernel was delivering to the guest when it stopped. */
export interface HeldEvents {
  /** An external interrupt that was acknowledged and has not reached the guest, or −1. */
  readonly interruptVector: number;
  /** A non-maskable interrupt that has not reached the guest though it counts as taken. */
  readonly isNMIInjected: boolean;
  readonly isNMIPending: boolean;
}

/** Moves the state of one processor of the kernel's, whose file descriptor is `fd`. */
export class StateTransfer {
  readonly #calls: LinuxCalls;
  readonly #fd: number;
  readonly #wiring: CPUWiring;
  readonly #hasSREGS2: boolean;
  readonly #isHostEmulated: boolean;
  readonly #regs: HostBytes;
  readonly #sregs: HostBytes;
  readonly #debug: HostBytes;
  readonly #events: HostBytes;
  readonly #xsave: HostBytes;
  readonly #msrs: HostBytes;
  /** Registers that the kernel knows by number but does not hold: they stay as they are. */
  readonly #refused = new Set<number>();

  constructor(options: {
    calls: LinuxCalls;
    fd: number;
    wiring: CPUWiring;
    /** Whether the kernel has KVM_CAP_SREGS2. */
    hasSREGS2: boolean;
    /** Whether the host's own processor is QEMU's emulation. */
    isHostEmulated?: boolean;
  }) {
    const { calls, fd, wiring, hasSREGS2 } = options;
    this.#isHostEmulated = options.isHostEmulated === true;
    this.#calls = calls;
    this.#fd = fd;
    this.#wiring = wiring;
    this.#hasSREGS2 = hasSREGS2;
    this.#regs = calls.allocate(KVM_REGS.sizeBytes);
    this.#sregs = calls.allocate(KVM_SREGS2.sizeBytes);
    this.#debug = calls.allocate(KVM_DEBUGREGS.sizeBytes);
    this.#events = calls.allocate(KVM_VCPU_EVENTS.sizeBytes);
    this.#xsave = calls.allocate(KVM_XSAVE.sizeBytes);
    this.#msrs = calls.allocate(KVM_MSRS.sizeBytes + KVM_MSR_ENTRY.sizeBytes);
  }

  /**
   * State area → kernel. A pending exception is not moved: deliver it first.
   * @param isNMIPending whether a non-maskable interrupt waits
   * @returns undefined, or what the kernel refused and why
   */
  load(state: CPUState, isNMIPending: boolean): string | undefined {
    storeSpecial(state, this.#sregs.view);
    // That emulation ends itself over a busy task register, which a processor always has.
    if (this.#isHostEmulated) clearTaskBusy(this.#sregs.view);
    const { view } = this.#sregs;
    const { at } = KVM_SREGS2;
    view.setBigUint64(at.cr8, BigInt(this.#wiring.readTPR()), true);
    view.setBigUint64(at.apic_base, BigInt(this.#wiring.readAPICBase()), true);
    if (this.#hasSREGS2) {
      if (isPAEPaging(state)) storePagePointers(state, view);
      else view.setBigUint64(at.flags, 0n, true);
    } else new Uint8Array(view.buffer).fill(0, KVM_SREGS.at.interrupt_bitmap);
    storeRegisters(state, this.#regs.view);
    storeFPU(state, this.#xsave.view);
    storeDebug(state, this.#debug.view);
    const setSpecial = this.#hasSREGS2 ? KVM.KVM_SET_SREGS2 : KVM.KVM_SET_SREGS;
    const problem =
      this.#call(setSpecial, this.#sregs, 'segment and control registers') ??
      this.#call(KVM.KVM_SET_REGS, this.#regs, 'general registers') ??
      this.#call(KVM.KVM_SET_XSAVE, this.#xsave, 'x87 and SSE registers') ??
      this.#call(KVM.KVM_SET_DEBUGREGS, this.#debug, 'debug registers');
    if (problem !== undefined) return problem;
    this.#loadMSRs(state);
    // Last: setting registers drops what the kernel was about to deliver.
    return this.#loadEvents(state, isNMIPending);
  }

  /**
   * Kernel → state area. HALTED, A20 and the instruction count are not the kernel's.
   * @param lagTicks how far the kernel's counter went on while the machine stood still
   */
  fetch(state: CPUState, lagTicks: bigint): HeldEvents {
    const getSpecial = this.#hasSREGS2 ? KVM.KVM_GET_SREGS2 : KVM.KVM_GET_SREGS;
    this.#call(KVM.KVM_GET_REGS, this.#regs, '');
    this.#call(getSpecial, this.#sregs, '');
    this.#call(KVM.KVM_GET_XSAVE, this.#xsave, '');
    this.#call(KVM.KVM_GET_DEBUGREGS, this.#debug, '');
    this.#call(KVM.KVM_GET_VCPU_EVENTS, this.#events, '');
    fetchRegisters(state, this.#regs.view);
    fetchSpecial(state, this.#sregs.view);
    if (isPAEPaging(state)) this.#fetchPagePointers(state);
    fetchFPU(state, this.#xsave.view);
    fetchDebug(state, this.#debug.view);
    for (const [number, index] of STORED_MSRS) {
      if (this.#refused.has(number)) continue;
      const value = this.getMSR(number);
      if (value !== undefined) state.u64[(MSR >> 3) + index] = value;
    }
    const tsc = this.getMSR(TSC) ?? 0n;
    state.u64[(MSR >> 3) + slot.MSR_SLOT_TSC_OFFSET] = BigInt.asUintN(
      64,
      tsc - lagTicks - this.#wiring.readTSC(),
    );
    return this.#fetchEvents(state);
  }

  /** A register that the kernel keeps, or undefined. */
  getMSR(number: number): bigint | undefined {
    const { view, address } = this.#fillMSR(number, 0n);
    if (this.#calls.ioctl(this.#fd, KVM.KVM_GET_MSRS, address) !== 1) return undefined;
    return view.getBigUint64(KVM_MSRS.at.entries + KVM_MSR_ENTRY.at.data, true);
  }

  /** @returns whether the kernel took the value */
  setMSR(number: number, value: bigint): boolean {
    const { address } = this.#fillMSR(number, value);
    return this.#calls.ioctl(this.#fd, KVM.KVM_SET_MSRS, address) === 1;
  }

  /** The guest's time-stamp counter goes back by so many ticks. */
  turnBackTSC(ticks: bigint): void {
    const now = this.getMSR(TSC);
    if (now !== undefined) this.setMSR(TSC, BigInt.asUintN(64, now - ticks));
  }

  #loadMSRs(state: CPUState): void {
    for (const [number, index] of STORED_MSRS) {
      const value = state.u64[(MSR >> 3) + index]!;
      // The state area may be blank: no processor has such a table.
      const isBlankPAT = number === PAT && value === 0n;
      if (this.setMSR(number, isBlankPAT ? PAT_RESET : value)) this.#refused.delete(number);
      else this.#refused.add(number);
    }
    const offset = state.u64[(MSR >> 3) + slot.MSR_SLOT_TSC_OFFSET]!;
    this.setMSR(TSC, BigInt.asUintN(64, this.#wiring.readTSC() + offset));
  }

  #loadEvents(state: CPUState, isNMIPending: boolean): string | undefined {
    const { at } = KVM_VCPU_EVENTS;
    const { view, bytes } = this.#events;
    bytes.fill(0);
    const shadow = state.get32(INTERRUPT_SHADOW);
    const kernelShadow =
      (shadow & SHADOW_STI ? KVM.KVM_X86_SHADOW_INT_STI : 0) |
      (shadow & SHADOW_STACK ? KVM.KVM_X86_SHADOW_INT_MOV_SS : 0);
    view.setUint8(at['interrupt.shadow'], kernelShadow);
    view.setUint8(at['nmi.pending'], isNMIPending ? 1 : 0);
    view.setUint8(at['nmi.masked'], state.get32(NMI_BLOCKED));
    const flags = KVM.KVM_VCPUEVENT_VALID_NMI_PENDING | KVM.KVM_VCPUEVENT_VALID_SHADOW;
    view.setUint32(at.flags, flags, true);
    return this.#call(KVM.KVM_SET_VCPU_EVENTS, this.#events, 'pending events');
  }

  #fetchEvents(state: CPUState): HeldEvents {
    const { at } = KVM_VCPU_EVENTS;
    const { view } = this.#events;
    const read = (offset: number) => view.getUint8(offset);
    const shadow = read(at['interrupt.shadow']);
    const isSTI = (shadow & KVM.KVM_X86_SHADOW_INT_STI) !== 0;
    // AMD's processors have one shadow, and say both: then the one that holds back less.
    const isStack = !isSTI && (shadow & KVM.KVM_X86_SHADOW_INT_MOV_SS) !== 0;
    state.set32(INTERRUPT_SHADOW, isSTI ? SHADOW_STI : isStack ? SHADOW_STACK : 0);
    state.set32(NMI_BLOCKED, read(at['nmi.masked']) === 0 ? 0 : 1);
    state.clearException();
    const isInjected = read(at['exception.injected']) !== 0;
    // INT3 and INTO run again, as software interrupts do: EIP is at them still.
    const isSoft = isInjected && SOFT_EXCEPTIONS.includes(read(at['exception.nr']));
    if ((isInjected && !isSoft) || read(at['exception.pending']) !== 0) {
      const hasError = read(at['exception.has_error_code']) !== 0;
      const error = view.getUint32(at['exception.error_code'], true);
      state.raiseException(read(at['exception.nr']), hasError ? error : undefined);
    } else state.set32(EXCEPTION_ERROR, 0);
    // A software interrupt is not complete: its instruction runs again, as EIP is still there.
    const isInterrupt = read(at['interrupt.injected']) !== 0 && read(at['interrupt.soft']) === 0;
    return {
      interruptVector: isInterrupt ? read(at['interrupt.nr']) : -1,
      isNMIInjected: read(at['nmi.injected']) !== 0,
      isNMIPending: read(at['nmi.pending']) !== 0,
    };
  }

  #fetchPagePointers(state: CPUState): void {
    if (this.#hasSREGS2 && fetchPagePointers(state, this.#sregs.view)) return;
    for (let index = 0; index < 4; index++) {
      const gpa = (state.cr3 & ~0x1f) >>> 0;
      state.u64[(PDPTE >> 3) + index] = this.#wiring.memory.read64(gpa + index * 8);
    }
  }

  #fillMSR(number: number, value: bigint): HostBytes {
    const { view } = this.#msrs;
    const entry = KVM_MSRS.at.entries;
    view.setUint32(KVM_MSRS.at.nmsrs, 1, true);
    view.setUint32(entry + KVM_MSR_ENTRY.at.index, number, true);
    view.setBigUint64(entry + KVM_MSR_ENTRY.at.data, value, true);
    return this.#msrs;
  }

  #call(request: number, argument: HostBytes, what: string): string | undefined {
    if (this.#calls.ioctl(this.#fd, request, argument.address) >= 0) return undefined;
    return `KVM refuses the ${what}: ${this.#calls.errno()}`;
  }
}

function clearTaskBusy(sregs: DataView): void {
  const at = KVM_SREGS2.at.tr + KVM_SEGMENT.at.type;
  sregs.setUint8(at, sregs.getUint8(at) & ~TYPE_BUSY);
}

function isPAEPaging(state: CPUState): boolean {
  return (state.cr0 & CR0_PG) !== 0 && (state.cr4 & CR4_PAE) !== 0;
}
