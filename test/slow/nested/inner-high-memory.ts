// Runs in the nested rig: test/guests/high-memory.S on KVM, in a machine of 6 GiB. Its RAM and the
// kernel's dirty log are looked at from outside, by guest-physical address.
//
//   usage: node inner-high-memory.js PROGRAM

import { readFileSync } from 'node:fs';
import { kvmAccelerator } from '../../../src/accel/kvm/kvm-accelerator.ts';
import { nodeHost } from '../../../src/cli/node-host.ts';
import { Machine } from '../../../src/machine/machine.ts';
import { DIRTY_MIGRATION } from '../../../src/memory/dirty-memory.ts';

const GIB = 2 ** 30;
const WINDOW_BYTES = 0x20_0000;
const WINDOWS = [
  4 * GIB,
  5 * GIB - WINDOW_BYTES,
  6 * GIB - WINDOW_BYTES,
  6 * GIB,
  6.5 * GIB - WINDOW_BYTES,
];
const PAGE = 4096;

const machine = Machine.create({
  ...{ memoryBytes: 6 * GIB, accelerator: kvmAccelerator(), host: nodeHost },
  kernel: readFileSync(process.argv[2]!),
});
let output = '';
let isDone = (): void => {};
const done = new Promise<void>((resolve) => {
  isDone = resolve;
});
machine.onSerial = (bytes) => {
  output += Buffer.from(bytes).toString('latin1');
  if (/DONE/.test(output)) isDone();
};
machine.onEnd = (end) => {
  console.log(end);
  isDone();
};
const { dirty } = machine.memory.guest;
dirty.harvest(DIRTY_MIGRATION);
machine.start();
const timer = setTimeout(isDone, 300_000);
await done;
clearTimeout(timer);
await machine.pause();
console.log(output);

machine.addressSpace.syncDirtyLog();
const harvest = dirty.harvest(DIRTY_MIGRATION);
let errorCount = /DONE/.test(output) && !/FAIL/.test(output) ? 0 : 1;
for (const [index, start] of WINDOWS.entries())
  for (const gpa of [start, start + 0x500, start + WINDOW_BYTES - 4]) {
    const value = machine.addressSpace.read(gpa, 4);
    const isLogged = harvest.has(
      machine.addressSpace.ramOffsetOf(gpa) / PAGE - (gpa % PAGE) / PAGE,
    );
    if (value === 0x5a00_0000 + index && isLogged) continue;
    errorCount++;
    console.log(`0x${gpa.toString(16)}: 0x${value.toString(16)}, logged ${isLogged}`);
  }
console.log(`high memory: ${errorCount} errors, ${harvest.dirtyCount} pages dirty`);
machine.close();
process.exitCode = errorCount === 0 ? 0 : 1;
