// memtest86+ is saved half-way, killed, and goes on in another process without an error: a byte of
// tested RAM that came back wrong would be one. The guest is fetched once, into the cache.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { fetchReason, GuestProcess } from './guest-process.ts';

const GUEST = 'memtest86+';
const TEST_SECONDS = 120;

/** Number of the next test that it shows. */
async function nextTest(guest: GuestProcess, pattern = /#\d+ +\[/): Promise<number> {
  return Number.parseInt((await guest.expect(pattern, TEST_SECONDS)).slice(1), 10);
}

test('memtest86+ saved half-way goes on in new processes, loaded whole or lazily', async ({
  skip,
}) => {
  const reason = fetchReason(GUEST);
  skip(reason !== undefined, reason);
  const folder = mkdtempSync(join(tmpdir(), 'quire-snapshots-'));
  const options = ['--guest', GUEST, '-m', '8M', '--snapshots', folder];
  let saved = 0;
  try {
    const first = new GuestProcess(...options);
    try {
      saved = await nextTest(first, /#[3-9] +\[/);
      first.type('\x01c');
      await first.expect(/\(quire\) /, 10);
      first.type('savevm middle\n');
      await first.expect(/Saved "middle": all of RAM.*pause/, 60);
    } finally {
      await first.close('SIGKILL');
    }
    for (const how of [[], ['--lazy']]) {
      const next = new GuestProcess(...options, '--loadvm', 'middle', ...how);
      try {
        while ((await nextTest(next)) <= saved);
        expect(next.output).not.toMatch(/Memtest86\+ v/);
        expect(next.output).not.toMatch(/Errors: +[1-9]/);
      } finally {
        await next.close();
      }
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}, 500_000);
