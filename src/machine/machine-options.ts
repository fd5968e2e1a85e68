// What a machine is made of, and what is said of it: its options, its life, its end.

import type { Accelerator } from '../cpu/vcpu.ts';
import type { FirmwareConfig } from './firmware.ts';
import type { Host } from './host.ts';
import type { TypistState } from './key-typist.ts';
import type { InstructionTiming } from './run-pace.ts';
import type { DriveConfig } from './storage.ts';
import type { DeviceConfig } from './virtio.ts';

/** What a machine is made of, and what it starts. Sizes are bytes. */
export interface MachineOptions {
  /**
   * Guest RAM: whole pages, 1 MiB to what fits in 4 GiB with the tables, or to 63.5 GiB if the
   * accelerator has RAM of its own kind.
   */
  readonly memoryBytes: number;
  readonly accelerator: Accelerator;
  readonly host: Host;
  /** A Linux bzImage or a multiboot image. Without it the processor starts in nothing. */
  readonly kernel?: Uint8Array;
  readonly initrd?: Uint8Array;
  /** Multiboot modules, with their strings. */
  readonly modules?: readonly { readonly bytes: Uint8Array; readonly commandLine?: string }[];
  readonly commandLine?: string;
  /** Drives, each at a place of its own. Their media are the machine's to close. */
  readonly drives?: readonly DriveConfig[];
  /** Further devices on the PCI bus. */
  readonly devices?: readonly DeviceConfig[];
  /** Firmware that the processor starts in, instead of a kernel. */
  readonly firmware?: FirmwareConfig;
  /** How many serial ports there are, 1 to 4; default 1. */
  readonly serialCount?: number;
  /** What a triple fault does: stop with a report (the default), or reset as a PC's board would. */
  readonly onTripleFault?: 'stop' | 'reset';
  /** What a reset by the guest does: boot again (the default), or end the run. */
  readonly onGuestReset?: 'reset' | 'stop';
  /** Time goes by the instructions executed; without it, by the host's clock. */
  readonly instructionTiming?: InstructionTiming;
  /** Whether RAM stays zeros until a snapshot is loaded or the machine is reset. */
  readonly isBlank?: boolean;
}

/** Where a machine is in its life; `closed` is for ever. */
export type MachineState = 'created' | 'running' | 'paused' | 'closed';

/** Why a machine stopped by itself. */
export type MachineEnd =
  | { readonly kind: 'power-off' }
  /** The guest reset the machine, and `onGuestReset` is `stop`. */
  | { readonly kind: 'reset' }
  /** The guest's own disaster; `report` shows the processor for people. */
  | { readonly kind: 'disaster'; readonly reason: string; readonly report: string }
  /** Ours: an invariant of Quire is broken, or a callback threw. */
  | { readonly kind: 'failure'; readonly error: unknown };

/** State of a machine that is neither its chips' nor its processor's. */
export interface MachinePending {
  readonly isResetWanted: boolean;
  readonly isPowerOffWanted: boolean;
  /** Why it stopped by itself; never a failure of ours. */
  readonly end: Exclude<MachineEnd, { kind: 'failure' }> | undefined;
  /** Input that the guest has not taken, by serial port. */
  readonly serialInput: readonly Uint8Array[];
  readonly typist: TypistState;
}
