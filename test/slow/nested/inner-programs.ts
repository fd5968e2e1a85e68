// Runs in the nested rig: the guest programs of test/guests on KVM, with paging and privileges.
//
//   usage: node inner-programs.js PROGRAM…

import { basename } from 'node:path';
import { kvmAccelerator } from '../../../src/accel/kvm/kvm-accelerator.ts';
import { runInQuire } from '../../guests/run-guest.ts';

for (const program of process.argv.slice(2)) {
  console.log(`program ${basename(program)}`);
  console.log(runInQuire(program, kvmAccelerator()));
}
