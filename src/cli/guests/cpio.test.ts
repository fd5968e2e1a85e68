import { spawnSync } from 'node:child_process';
import { expect, test } from 'vitest';
import { type CPIOEntry, writeCPIO } from './cpio.ts';
import { buildInitramfs } from './initramfs.ts';

interface ReadEntry {
  readonly mode: number;
  readonly body: string;
  readonly rdev: readonly [number, number];
}

/** A reader written from the format's description alone, so that the two can disagree. */
function read(archive: Uint8Array): Map<string, ReadEntry> {
  const entries = new Map<string, ReadEntry>();
  const bytes = Buffer.from(archive);
  for (let at = 0; ; ) {
    expect(at % 4).toBe(0);
    const header = bytes.toString('latin1', at, at + 110);
    expect(header).toMatch(/^070701[0-9a-f]{104}$/);
    const field = (index: number) =>
      Number.parseInt(header.slice(6 + index * 8, 14 + index * 8), 16);
    const [mode, size, nameSize] = [field(1), field(6), field(11)];
    const name = bytes.toString('utf8', at + 110, at + 110 + nameSize - 1);
    const bodyAt = (at + 110 + nameSize + 3) & ~3;
    if (name === 'TRAILER!!!') return entries;
    const body = bytes.toString('latin1', bodyAt, bodyAt + size);
    entries.set(name, { mode, body, rdev: [field(9), field(10)] });
    at = (bodyAt + size + 3) & ~3;
  }
}

const ENTRIES: readonly CPIOEntry[] = [
  { type: 'directory', path: 'dev' },
  { type: 'device', path: 'dev/console', major: 5, minor: 1 },
  // Lengths 0 to 4 meet every padding of a body; the names every padding of a name.
  ...[0, 1, 2, 3, 4].map(
    (length) =>
      ({ type: 'file', path: 'f'.repeat(length + 1), body: Buffer.alloc(length, 'x') }) as const,
  ),
  { type: 'file', path: 'init', body: Buffer.from('#!/bin/sh\n'), mode: 0o755 },
  { type: 'link', path: 'dev/fd', target: '/proc/self/fd' },
];

test('what is written is read back', () => {
  const found = read(writeCPIO(ENTRIES));
  expect([...found.keys()]).toEqual(ENTRIES.map((entry) => entry.path));
  expect(found.get('dev')!.mode).toBe(0o040755);
  expect(found.get('dev/console')).toEqual({ mode: 0o020600, body: '', rdev: [5, 1] });
  expect(found.get('init')).toEqual({ mode: 0o100755, body: '#!/bin/sh\n', rdev: [0, 0] });
  expect(found.get('dev/fd')).toMatchObject({ mode: 0o120777, body: '/proc/self/fd' });
  expect(found.get('fff')!.body).toBe('xx');
});

const lister = ['cpio', 'bsdtar'].find(
  (name) => spawnSync(name, ['--version']).error === undefined,
);

test.skipIf(lister === undefined)(
  'a real program lists it (skipped where neither cpio nor bsdtar is installed)',
  () => {
    const args = lister === 'cpio' ? ['-t', '--quiet'] : ['-tf', '-'];
    const result = spawnSync(lister!, args, { input: writeCPIO(ENTRIES), encoding: 'utf8' });
    expect(result.status).toBe(0);
    const names = result.stdout
      .trim()
      .split('\n')
      .map((name) => name.replace(/\/$/, ''));
    expect(names).toEqual(ENTRIES.map((entry) => entry.path));
  },
);

test.each([
  ['', 'must be relative and not empty'],
  ['/a', 'must be relative and not empty'],
  ['a/', 'must be relative and not empty'],
  ['b/a', '"b" must stand before it'],
])('the path "%s" is refused', (path, message) => {
  expect(() => writeCPIO([{ type: 'directory', path }])).toThrow(message);
});

test('a path that is there already is refused', () => {
  const entry: CPIOEntry = { type: 'directory', path: 'a' };
  expect(() => writeCPIO([entry, entry])).toThrow('is there already');
});

test('the initramfs has an init that can run, a console, and BusyBox', () => {
  const found = read(buildInitramfs(Buffer.from('ELF')));
  expect(found.get('init')!.mode & 0o111).toBe(0o111);
  expect(found.get('init')!.body).toMatch(/^#!\/bin\/busybox sh\n/);
  expect(found.get('bin/busybox')).toMatchObject({ body: 'ELF', mode: 0o100755 });
  expect(found.get('dev/console')!.rdev).toEqual([5, 1]);
  for (const folder of ['proc', 'sys', 'dev', 'tmp']) expect(found.has(folder)).toBe(true);
});
