import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';

const hasScript = spawnSync('script', ['--version']).error === undefined;
if (!hasScript) console.log('skipped: the terminal tests need "script" of util-linux');

/** Runs the probe on a terminal of its own, between two looks at the terminal's settings. */
function probe(way: string): { before: string; after: string; code: number; output: string } {
  const folder = mkdtempSync(join(tmpdir(), 'quire-test-'));
  try {
    const [before, after, code] = ['before', 'after', 'code'].map((name) => join(folder, name));
    const command =
      `stty -g > ${before}; "${process.execPath}" --import tsx test/terminal-probe.ts ${way}; ` +
      `echo $? > ${code}; stty -g > ${after}`;
    const result = spawnSync('script', ['-qec', command, '/dev/null'], {
      encoding: 'utf8',
      // Open and silent: at the end of its input, script would send the end of file.
      stdio: ['pipe', 'pipe', 'pipe'],
      timeout: 20_000,
    });
    return {
      before: readFileSync(before!, 'utf8'),
      after: readFileSync(after!, 'utf8'),
      code: Number(readFileSync(code!, 'utf8')),
      output: result.stdout,
    };
  } finally {
    rmSync(folder, { recursive: true });
  }
}

test.skipIf(!hasScript).each([
  ['close', 0],
  ['exit', 0],
  ['throw', 1],
  ['reject', 1],
  ['SIGINT', 130],
  ['SIGTERM', 143],
  ['SIGHUP', 129],
  ['SIGQUIT', 131],
])('the terminal is as it was after %s, and the code is %i', (way, code) => {
  const result = probe(way);
  expect(result.output).toContain('raw: true');
  expect(result.after).toBe(result.before);
  expect(result.code).toBe(code);
});
