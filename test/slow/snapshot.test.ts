// Debian computes a sum, is saved in the middle, killed, and loaded by another process: the sum is
// right. The guest is fetched once, into the cache.

import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { fetchReason, GuestProcess } from './guest-process.ts';

const reason = fetchReason('debian-686');
const why = reason === undefined ? '' : ` (${reason})`;
const MIB = 2 ** 20;
const FILE_MIB = 48;
/** How often the file goes into one sum, so that there is a middle to be saved in. */
const ROUNDS = 8;

/** Of zeros and a line behind them, again and again. */
function expectedSumOf(): string {
  const hash = createHash('md5');
  const zeros = Buffer.alloc(FILE_MIB * MIB);
  for (let round = 0; round < ROUNDS; round++) hash.update(zeros).update('quire\n');
  return hash.digest('hex');
}

test.skipIf(reason !== undefined)(
  `md5sum saved half-way goes on in a new process, loaded whole or lazily${why}`,
  async () => {
    const folder = mkdtempSync(join(tmpdir(), 'quire-snapshots-'));
    const expectedSum = expectedSumOf();
    const options = ['--guest', 'debian-686', '--snapshots', folder];
    const first = new GuestProcess(...options);
    try {
      await first.expect(/quire:\/root# /, 180);
      first.type(`dd if=/dev/zero of=/big bs=1M count=${FILE_MIB}; echo quire >> /big\n`);
      await first.expect(/root# /, 60);
      const files = Array.from({ length: ROUNDS }, () => '/big').join(' ');
      first.type(`cat ${files} | md5sum & echo be''gun\n`);
      await first.expect(/begun\r?\n/, 60);
      first.type('\x01c');
      await first.expect(/\(quire\) /, 10);
      first.type('savevm middle\n');
      await first.expect(/Saved "middle": all of RAM.*pause/, 60);
      expect(first.output).not.toContain(expectedSum);
    } finally {
      await first.close('SIGKILL');
    }
    try {
      for (const how of [[], ['--lazy']]) {
        const next = new GuestProcess(...options, '--loadvm', 'middle', ...how);
        try {
          await next.expect(new RegExp(`${expectedSum}  -`), 240);
          expect(next.output).not.toMatch(/Linux version/);
        } finally {
          await next.close();
        }
      }
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  },
  600_000,
);
