// docs/cli.md names each thing that the command line has.

import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { COMMANDS } from '../src/cli/commands.ts';
import { MONITOR_COMMANDS } from '../src/cli/monitor.ts';
import { INFO_COMMANDS } from '../src/cli/monitor-info.ts';
import { RUN_OPTIONS } from '../src/cli/run-options.ts';

const text = readFileSync('docs/cli.md', 'utf8');
/** Whether `words` begin a piece of code in it. */
const isNamed = (words: string) =>
  text.split('`').some((piece, index) => index % 2 === 1 && `${piece} `.startsWith(`${words} `));

test.each(RUN_OPTIONS.flatMap(({ names }) => names))('docs/cli.md has the option %s', (name) => {
  const isDrive = /^hd[bc]$/.test(name); // It says `--hda` … `--hdd`.
  expect(isDrive || isNamed(name.length === 1 ? `-${name}` : `--${name}`)).toBe(true);
});

test.each(MONITOR_COMMANDS.map(({ name }) => name).filter((name) => name !== 'info'))(
  'docs/cli.md has the monitor command %s',
  (name) => {
    expect(isNamed(name)).toBe(true);
  },
);

test.each(INFO_COMMANDS.map(({ name }) => name))('docs/cli.md has info %s', (name) => {
  expect(isNamed(`info ${name}`)).toBe(true);
});

test.each(COMMANDS.map(({ name }) => name))('docs/cli.md has quire %s', (name) => {
  expect(text).toContain(`quire ${name}`);
});

test('docs/cli.md says each thing once', () => {
  const heads = [...text.matchAll(/^\| (`.*?) \|/gm)].map(([, head]) => head);
  expect(heads.filter((head, index) => heads.indexOf(head) !== index)).toEqual([]);
});
