// A bare machine in real mode with a program, and ports and registers that note what is done to
// them: the same board for every accelerator, as even a KVM without hardware runs real mode.

import { SEG_BASE, SEG_SELECTOR, SEGMENT, SEGMENT_BYTES } from '../../src/cpu/state-layout.ts';
import type { Accelerator, RunExit } from '../../src/cpu/vcpu.ts';
import { MemoryRegion } from '../../src/memory/memory-region.ts';
import { type BareMachine, createBareMachine } from '../oracle/bare-machine.ts';

const RAM_BYTES = 0x8_0000;
export const CODE = 0x1000;
export const STACK = 0x7000;
/** Ports 0x80–0x83 and memory from here on note what is done to them. */
export const PORT = 0x80;
export const DEVICE_GPA = 0xa_0000;
const DEVICE_BYTES = 0x1_0000;
const SLICE_NS = 2_000_000;
/** Slices until a program must have ended: some hundred ms where a host has other work. */
const SLICES_MAX = 2000;

/** One access to a port or register, such as `out 81/1 5a` or `read a0004/2`. */
export type AccessLog = string[];

export interface RealModeBoard {
  readonly machine: BareMachine;
  readonly log: AccessLog;
  /** What reads of port or register give, by offset. */
  readValue: (offset: number, sizeBytes: number) => number;
  /** Called with each access, within it. */
  onAccess: () => void;
  /** Runs until the program halts or shuts down. @throws if it does neither */
  finish(): RunExit;
}

/** A board whose processor is about to run `program` at CODE; interrupts are off. */
export function realModeBoard(
  accelerator: Accelerator,
  program: readonly number[],
  ramBytes = RAM_BYTES,
): RealModeBoard {
  const machine = createBareMachine(accelerator, ramBytes);
  const log: AccessLog = [];
  const hex = (value: number) => value.toString(16);
  const device = (name: string, first: number, sizeBytes: number, verbs: readonly string[]) =>
    MemoryRegion.io(name, sizeBytes, {
      read(offset, size) {
        log.push(`${verbs[0]} ${hex(first + offset)}/${size}`);
        const value = board.readValue(offset, size);
        board.onAccess();
        return value;
      },
      write(offset, value, size) {
        log.push(`${verbs[1]} ${hex(first + offset)}/${size} ${hex(value)}`);
        board.onAccess();
      },
      valid: { unaligned: true },
      impl: { unaligned: true },
    });
  machine.ports.root.addSubregion(PORT, device('ports', PORT, 4, ['in', 'out']));
  if (ramBytes <= DEVICE_GPA) {
    const registers = device('registers', DEVICE_GPA, DEVICE_BYTES, ['read', 'write']);
    machine.memory.root.addSubregion(DEVICE_GPA, registers);
  }
  machine.ram.set(program, CODE);
  machine.noteWrite(0, machine.ram.length);
  const { state } = machine.vcpu;
  for (let segment = 0; segment < 6; segment++) {
    const at = SEGMENT + segment * SEGMENT_BYTES;
    state.set32(at + SEG_SELECTOR, 0);
    state.setWide(at + SEG_BASE, 0);
  }
  state.eip = CODE;
  state.eflags = 2;
  state.setReg32(4, STACK);
  machine.vcpu.synchronize();
  const board: RealModeBoard = {
    machine,
    log,
    readValue: () => 0,
    onAccess: () => {},
    finish() {
      for (let slice = 0; slice < SLICES_MAX; slice++) {
        const exit = machine.vcpu.run(100_000, SLICE_NS);
        if (exit.kind !== 'budget') return exit;
      }
      throw new Error(`The program did not end: EIP is 0x${hex(machine.vcpu.state.eip)}`);
    },
  };
  return board;
}
