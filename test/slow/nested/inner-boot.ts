// Runs in the nested rig: boots a guest on KVM to its prompt, asks it who it is, and has it power
// off. Prints what it saw; its exit code says whether that was right.

import { GuestProcess } from '../guest-process.ts';
import { expectPrompt } from './chain-guest.ts';

const guest = new GuestProcess(
  ...['--accel', 'kvm', '--guest', 'debian-686'],
  ...['--append', 'console=ttyS0,115200 cryptomgr.notests quiet'],
);
try {
  await expectPrompt(guest);
  console.log(`prompt after ${guest.elapsedSeconds.toFixed(1)} s`);
  guest.type('uname -a; cat /proc/interrupts; echo quire | md5sum\r');
  await guest.expect(/Linux quire \S+-686 .* i686 GNU\/Linux/, 300);
  // Of "quire" and a newline, as every md5sum says.
  await guest.expect(/c57147903892825fb13151404d82e99d/, 300);
  guest.type('exit\r');
  const code = await guest.exitCode();
  console.log(`power off after ${guest.elapsedSeconds.toFixed(1)} s, exit code ${code}`);
  process.exitCode = code ?? 1;
} catch (error) {
  console.error(error);
  process.exitCode = 1;
} finally {
  await guest.close();
}
