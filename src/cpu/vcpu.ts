// The seam between a machine and whatever runs its processor. A machine sees only these interfaces;
// the front end injects an accelerator that implements them.

import type { AddressSpace } from '../memory/address-space.ts';
import type { RAMBacking } from '../memory/ram-backing.ts';
import type { CPUState } from './state.ts';

/** Where the processor's INTR pin and interrupt acknowledge lead (local APIC, then the PICs). */
export interface InterruptSource {
  /** Whether an unmasked external interrupt waits; asked only while EFLAGS.IF allows one. */
  hasInterrupt(): boolean;
  /** Acknowledges the interrupt of highest priority and returns its vector, 0–255. */
  acknowledge(): number;
}

/** Everything outside the processor that it can reach. */
export interface CPUWiring {
  /** Guest-physical memory, and the 64 KiB port space. */
  readonly memory: AddressSpace;
  readonly ports: AddressSpace;
  readonly interrupts: InterruptSource;
  /** Time-stamp counter without the guest's own offset: virtual ticks since power-on. */
  readTSC(): bigint;
  /** IA32_APIC_BASE and CR8 belong to the local APIC. */
  readAPICBase(): number;
  writeAPICBase(value: number): void;
  /** Local APIC task priority, as CR8 shows it (0–15). */
  readTPR(): number;
  writeTPR(value: number): void;
}

/** Why `run` came back. */
export type RunExit =
  /** The budget is used up, or a device asked for attention. */
  | { readonly kind: 'budget' }
  /** HLT with no deliverable interrupt: nothing happens before one comes. */
  | { readonly kind: 'halted' }
  /** Triple fault, or code where none can run; `report` shows the state for people. */
  | { readonly kind: 'shutdown'; readonly reason: string; readonly report: string };

/** One processor of a machine, whatever engine runs it: what an `Accelerator` makes. */
export interface VCPU {
  /**
   * The architectural state. Read this property anew after each run: an engine that keeps the state
   * elsewhere brings it here then. The object stays the same. Call `synchronize` after writing.
   */
  readonly state: CPUState;
  /**
   * Whether every store of the guest to a page that is clean for a client is announced by
   * `RAMWrites` before it happens, and a page that is missing can be fetched when it is touched.
   * Where not, only `AddressSpace.syncDirtyLog` tells which pages were written.
   */
  readonly interceptsWrites: boolean;
  /**
   * Runs until `instructionBudget` guest instructions have retired, or sooner (HLT, a request).
   * Never throws for what a guest does.
   * @param sliceNs how long that should take, ns: all that an engine goes by which does not count
   */
  run(instructionBudget: number, sliceNs?: number): RunExit;
  /**
   * Makes `run` return, or look at interrupts, before the next instruction. Callable inside run.
   */
  requestEvent(): void;
  /** Makes a `run` that is under way come back with kind 'budget' after this instruction. */
  requestStop(): void;
  /** Power-on state (SDM volume 3, table 9-1), or INIT. */
  reset(): void;
  /** Raises a non-maskable interrupt. */
  raiseNMI(): void;
  /** A20 gate: true lets address line 20 through. */
  setA20(isEnabled: boolean): void;
  /** Whether a non-maskable interrupt waits: all that the state area does not hold. */
  isNMIPending: boolean;
  /**
   * Forgets cached translations, after state was written from outside.
   * @param keepsCode whether decoded code may stay, as all RAM was written by `RAMWrites`' rules
   */
  synchronize(keepsCode?: boolean): void;
  /** Instructions retired since reset; 0 where nobody counts. */
  readonly instructionCount: number;
  /** Whether it would be quicker for a turn of the host's event loop (code is being compiled). */
  readonly isWaitingForHost?: boolean;
  /** Gives back what it has of the host; callable inside run. Afterwards it runs no more. */
  close?(): void;
}

/** Makes the one processor of a machine. */
export interface Accelerator {
  /** `software`, `kvm` … as `--accel` spells it. */
  readonly name: string;
  /** Bytes it wants for itself in the machine's memory, 64 KiB aligned; zero-filled. */
  readonly reservedBytes: number;
  /**
   * RAM of a kind of its own, zeros; it may have more than 4 GiB. Without it RAM lies in the
   * machine's buffer, and all of it is smaller than 4 GiB.
   * @throws {RangeError} if the host has not that much
   */
  createRAM?(capacityBytes: number): RAMBacking;
  createVCPU(wiring: CPUWiring, memory: MachineMemory): VCPU;
}

/**
 * The one buffer that holds a machine's processor state, TLB, dirty bytes and, if the accelerator
 * has none of its own, RAM (design §2).
 */
export interface MachineMemory {
  /** The WebAssembly.Memory, where the accelerator wants one. */
  readonly wasmMemory: object;
  readonly buffer: ArrayBufferLike;
  /** Where the accelerator's reserved bytes lie. */
  readonly reservedOffset: number;
  readonly ramList: import('../memory/ram-list.ts').RAMList;
  readonly tlb: import('../memory/soft-tlb.ts').SoftTLB;
  readonly dirty: import('../memory/dirty-memory.ts').DirtyMemory;
  readonly codePages: import('../memory/code-pages.ts').CodePages;
}
