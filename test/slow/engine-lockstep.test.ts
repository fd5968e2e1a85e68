// A boot of Linux on the interpreter and with the translator, compared at every millionth
// instruction: registers, x87 and SSE state, and now and then all RAM.

import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { fetchReason } from './guest-process.ts';

const MILLION_COUNT = 3000;
const LIMIT_MS = 20 * 60_000;

test(
  `Debian's first ${MILLION_COUNT} million instructions are the same on both engines`,
  async ({ skip }) => {
    const reason = fetchReason('debian-686');
    skip(reason !== undefined, reason);
    const { stdout } = await promisify(execFile)(
      process.execPath,
      ['--import', 'tsx', 'scripts/lockstep-engines.ts', '--count', String(MILLION_COUNT)],
      { timeout: LIMIT_MS },
    );
    expect(stdout).toBe(`no difference in ${MILLION_COUNT} comparisons\n`);
  },
  LIMIT_MS,
);
