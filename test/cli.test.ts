// The command line as a process: what a user types, what comes back, and with which code.

import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { COMMANDS } from '../src/cli/commands.ts';
import { GUESTS } from '../src/cli/guests/guest-list.ts';

const folder = mkdtempSync(join(tmpdir(), 'quire-test-'));
afterAll(() => rmSync(folder, { recursive: true }));

const [empty, noise, short] = ['empty', 'noise', 'short'].map((name) => join(folder, name));
writeFileSync(empty!, '');
writeFileSync(noise!, Buffer.alloc(65536, 0x5a));
// A setup header that promises a kernel, and nothing behind it.
const header = Buffer.alloc(1024);
header.writeUInt8(4, 0x1f1);
header.writeUInt16LE(0xaa55, 0x1fe);
header.write('HdrS', 0x202, 'latin1');
header.writeUInt16LE(0x020f, 0x206);
writeFileSync(short!, header);

interface Result {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

function quire(args: readonly string[], env: Record<string, string> = {}): Result {
  const result = spawnSync(process.execPath, ['--import', 'tsx', 'src/cli/main.ts', ...args], {
    encoding: 'utf8',
    input: '',
    timeout: 25_000,
    env: { ...process.env, QUIRE_CACHE: join(folder, 'cache'), ...env },
  });
  return { code: result.status, out: result.stdout, err: result.stderr };
}

test('the version is the one of package.json', () => {
  const { version } = JSON.parse(readFileSync('package.json', 'utf8')) as { version: string };
  expect(quire(['--version'])).toEqual({ code: 0, out: `quire ${version}\n`, err: '' });
});

test('help lists every command, and explains each', () => {
  const overview = quire(['help']);
  expect(overview.code).toBe(0);
  for (const { name, summary } of COMMANDS) {
    expect(overview.out).toMatch(new RegExp(`^ +${name} +${summary}$`, 'm'));
    expect(quire(['help', name]).out).toContain(`Usage: quire ${name}`);
  }
});

test('guests are listed, for people and for programs', () => {
  const { code, out } = quire(['guests']);
  expect(code).toBe(0);
  for (const { name } of GUESTS) expect(out).toContain(name);
  expect(out).toContain('not fetched');
  const rows = JSON.parse(quire(['guests', '--json']).out) as { name: string; fetched: null }[];
  expect(rows.map(({ name }) => name)).toEqual(GUESTS.map(({ name }) => name));
  expect(rows.every(({ fetched }) => fetched === null)).toBe(true);
});

test('where there is no apt, the error says what to do instead', () => {
  const { code, err } = quire(['guests', 'fetch', 'debian-686'], { PATH: join(folder, 'nothing') });
  expect(code).toBe(1);
  expect(err).toMatch(/^quire: Cannot fetch the guest: this system has no "apt-get"/);
  expect(err).toContain('--kernel FILE');
});

const BAD_INPUT: readonly [args: string[], code: number, message: string][] = [
  [['rnu'], 2, 'Unknown command "rnu"; did you mean "run"'],
  [['help', 'foo'], 2, 'Unknown command "foo"'],
  [['guests', 'frob'], 2, 'Unknown action "frob"'],
  [['guests', 'fetch'], 2, 'Which guest?'],
  [['guests', 'fetch', 'beos'], 1, 'there is no guest "beos"'],
  [['guests', '--jsom'], 2, 'did you mean "--json"'],
  [['run'], 2, 'What is to run: give --kernel FILE'],
  [['run', '--frob'], 2, 'Unknown option "--frob"'],
  [['run', '--kernel'], 2, 'Option "--kernel" needs a value'],
  [['run', '-kernel', noise!, '-m', 'lots'], 2, 'Option "--memory" must be a size'],
  [['run', '-kernel', noise!, '-m', '0'], 2, 'Option "--memory" must be from 1M to 3680M'],
  [['run', '-kernel', noise!, '-m', '4097K'], 2, 'Option "--memory" must be a multiple of 4K'],
  [['run', '--kernel', join(folder, 'none')], 1, 'Cannot read --kernel'],
  [['run', '--kernel', folder], 1, 'it is a folder'],
  [['run', '--kernel', empty!], 1, 'kernel'],
  [['run', '--kernel', noise!], 1, 'kernel'],
  [['run', '--kernel', short!], 1, 'kernel'],
  [['run', '--kernel', noise!, '--initrd', join(folder, 'none')], 1, 'Cannot read --initrd'],
];

test.each(BAD_INPUT)('quire %j ends with %i and says: %s', (args, code, message) => {
  const result = quire(args);
  expect(result.err).toContain(message);
  expect(result.err).toMatch(/^quire: /);
  // One sentence and, for a wrong command line, where to look; never a stack.
  expect(result.err.trimEnd().split('\n').length).toBe(code === 2 ? 2 : 1);
  if (code === 2) expect(result.err).toMatch(/Try "quire help/);
  expect(result.code).toBe(code);
});
