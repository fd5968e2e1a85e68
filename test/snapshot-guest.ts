// A guest for tests of snapshots: a loop that counts, and writes each count to another page, so
// that its memory at any instant can be computed from the count alone.

import { softwareAccelerator } from '../src/accel/software/index.ts';
import { nodeHost } from '../src/cli/node-host.ts';
import { enterProtectedMode } from '../src/machine/boot/boot-target.ts';
import { Machine, type MachineOptions } from '../src/machine/machine.ts';

const MIB = 2 ** 20;
const CODE_GPA = 0x1000;
export const GUEST_RAM_BYTES = 2 * MIB;
const START = 0x10_0000;
const STEP = 0x1004;
/** Words per loop iteration. */
const LOOP = [
  ...[0x41], //                               inc ecx
  ...[0x89, 0x0f], //                         mov [edi], ecx
  ...[0x81, 0xc7, 0x04, 0x10, 0x00, 0x00], // add edi, 0x1004
  ...[0x81, 0xe7, 0xfc, 0xff, 0x1f, 0x00], // and edi, 0x1ffffc
  ...[0x81, 0xcf, 0x00, 0x00, 0x10, 0x00], // or edi, 0x100000
  ...[0xeb, 0xe9], //                         jmp back
];

/** A machine that is about to count. */
export function countingMachine(options: Partial<MachineOptions> = {}): Machine {
  const machine = blankMachine(options);
  machine.addressSpace.loadBytes(CODE_GPA, Uint8Array.from(LOOP));
  enterProtectedMode(machine.vcpu.state, {
    eip: CODE_GPA,
    gdtGpa: 0,
    gdtBytes: 8,
    codeSelector: 0x10,
    dataSelector: 0x18,
  });
  machine.vcpu.state.setReg32(1, 0);
  machine.vcpu.state.setReg32(7, START);
  machine.vcpu.synchronize();
  return machine;
}

/** A machine whose RAM is zeros. */
export function blankMachine(options: Partial<MachineOptions> = {}): Machine {
  return Machine.create({
    memoryBytes: GUEST_RAM_BYTES,
    accelerator: softwareAccelerator,
    host: nodeHost,
    ...options,
  });
}

/** What the counted part of memory holds when `count` was written last. */
export function countedMemory(count: number): Uint32Array {
  const words = new Uint32Array(MIB / 4);
  let at = START;
  for (let value = 1; value <= count; value++) {
    words[(at - START) / 4] = value;
    at = (((at + STEP) & 0x1f_fffc) | START) >>> 0;
  }
  return words;
}

/** The counted part of a machine's memory. */
export function countedPart(machine: Machine): Uint32Array {
  const bytes = machine.pc.ram.bytes.slice(START, START + MIB);
  return new Uint32Array(bytes.buffer);
}

/** How many words the guest has written: ECX, less one if it stands before the store. */
export function countOf(machine: Machine): number {
  const { state } = machine.vcpu;
  return state.reg32(1) - (state.eip === CODE_GPA + 1 ? 1 : 0);
}
