// `quire run` fed by a pipe that nobody closes, as a program that drives it would leave it.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';

/** A multiboot kernel that halts for ever. */
function haltingKernel(): Uint8Array {
  const base = 0x100000;
  const header = [0x1badb002, 0x10000, -(0x1badb002 + 0x10000), base, base, 0, 0, base + 32];
  return Uint8Array.of(...new Uint8Array(Int32Array.from(header).buffer), 0xf4, 0xeb, 0xfd);
}

// Goal: an input that stays open kept the process alive after the guest had been left.
test('Ctrl-A x ends the process although its input stays open', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'quire-pipe-'));
  const kernel = join(folder, 'kernel');
  writeFileSync(kernel, haltingKernel());
  const args = ['--import', 'tsx', 'src/cli/main.ts', 'run', '-m', '16', '--kernel', kernel];
  const child = spawn(process.execPath, args, { stdio: ['pipe', 'ignore', 'ignore'] });
  try {
    child.stdin.write('\x01x');
    expect(await once(child, 'exit')).toEqual([0, null]);
  } finally {
    child.kill('SIGKILL');
    rmSync(folder, { recursive: true });
  }
}, 60_000);
