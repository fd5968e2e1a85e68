// Runs in the nested rig: loads what a software processor saved, goes on with it on KVM, saves
// while the guest writes, and does so again in another process.
//
//   usage: node inner-snapshots.js FOLDER FROM TO…

import { GuestProcess } from '../guest-process.ts';
import { Chain, expectRounds, save } from './chain-guest.ts';

const [folder = '', ...tags] = process.argv.slice(2);
const chain = new Chain();
try {
  for (let index = 0; index + 1 < tags.length; index++) {
    const [from, to] = [tags[index]!, tags[index + 1]!];
    const guest = new GuestProcess(
      ...['--accel', 'kvm', '--guest', 'debian-686', '--snapshots', folder, '--loadvm', from],
    );
    try {
      const first = await expectRounds(guest, chain, 3);
      console.log(`from "${from}": round ${first} after ${guest.elapsedSeconds.toFixed(1)} s`);
      await save(guest, to);
      const last = await expectRounds(guest, chain, 2);
      console.log(`saved as "${to}", round ${last} after ${guest.elapsedSeconds.toFixed(1)} s`);
    } finally {
      await guest.close('SIGKILL');
    }
  }
} catch (error) {
  console.error(error);
  process.exitCode = 1;
}
