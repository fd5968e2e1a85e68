import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { readyBundle, writeBundle } from './bundle.ts';

let folder: string;
/** A build: what the compiler noted, and a command line of two files. */
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'quire-bundle-'));
  mkdirSync(join(folder, 'cli'));
  writeFileSync(join(folder, 'package.json'), '{"type":"module"}');
  writeFileSync(join(folder, '.core.tsbuildinfo'), 'one state of the core');
  writeFileSync(join(folder, '.cli.tsbuildinfo'), 'one state of the command line');
  writeFileSync(join(folder, 'cli', 'word.js'), "export const WORD = 'hello';");
  const main = "import { WORD } from './word.js';\nconsole.log(WORD);";
  writeFileSync(join(folder, 'cli', 'command-line.js'), main);
});
afterEach(() => rmSync(folder, { recursive: true }));

test('a bundle runs without the files that it was made of', async () => {
  expect(readyBundle(folder)).toBeUndefined();
  await writeBundle(folder);
  rmSync(join(folder, 'cli', 'word.js'));
  const path = join(folder, 'cli', readyBundle(folder)!);
  expect(spawnSync(process.execPath, [path], { encoding: 'utf8' }).stdout).toBe('hello\n');
});

// Goal: `tsc -b` alone, after an edit, must not leave a bundle behind that is used.
test.each(['.core.tsbuildinfo', '.cli.tsbuildinfo'])(
  'a bundle is not used where %s is another, whatever the times of the files say',
  async (name) => {
    await writeBundle(folder);
    expect(readyBundle(folder)).toBeDefined();
    writeFileSync(join(folder, name), 'another state');
    utimesSync(join(folder, name), 1, 1);
    expect(readyBundle(folder)).toBeUndefined();
    await writeBundle(folder);
    expect(readyBundle(folder)).toBeDefined();
  },
);

test('a package has a bundle and nothing of the compiler', async () => {
  await writeBundle(folder);
  for (const name of ['.core.tsbuildinfo', '.cli.tsbuildinfo']) rmSync(join(folder, name));
  expect(readyBundle(folder)).toBe('../bundle/command-line.js');
});
