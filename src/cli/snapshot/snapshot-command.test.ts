import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, expect, test } from 'vitest';
import {
  contentOf,
  loadRAM,
  saveFull,
  TEST_CONFIG,
  TEST_SECTIONS,
  testPage,
  testRAM,
} from '../../../test/snapshot-fixture.ts';
import { SnapshotReader } from '../../snapshot/snapshot-reader.ts';
import { UsageError } from '../command.ts';
import { DirectoryStore } from './directory-store.ts';
import { NODE_PLATFORM } from './node-platform.ts';
import { snapshotCommand } from './snapshot-command.ts';

const FIXTURE = fileURLToPath(new URL('../../../test/fixtures/snapshot-v1', import.meta.url));
let path = '';

beforeEach(() => {
  path = join(mkdtempSync(join(tmpdir(), 'quire-command-')), 'store');
  cpSync(FIXTURE, path, { recursive: true });
});
afterEach(() => rmSync(join(path, '..'), { recursive: true, force: true }));

async function run(...args: string[]): Promise<{ code: number; out: string }> {
  let out = '';
  const write = (text: string): void => {
    out += text;
  };
  const code = await snapshotCommand.run([...args, '--store', path], {
    out: { write },
    err: { write: () => {} },
  });
  return { code, out };
}

// Written by the release that brought format 1. It must load for ever: never make it anew.
test('a store of format version 1 loads', async () => {
  const store = await DirectoryStore.open(path, { create: false });
  const ram = testRAM({ 'pc.ram': [1, 2, 0, 3, 3, 0, 9, 8], 'vga/vram': [5, 0, 6] });
  const full = await SnapshotReader.open(store, NODE_PLATFORM, 'full');
  expect(contentOf(await loadRAM(full))).toEqual(contentOf(ram));
  ram.get('pc.ram')!.set(testPage(77), 3 * 4096);
  const next = await SnapshotReader.open(store, NODE_PLATFORM, 'incremental');
  expect(contentOf(await loadRAM(next))).toEqual(contentOf(ram));
  expect(next.manifest.parent).toBe(full.digest);
  expect(next.config).toEqual(TEST_CONFIG);
  expect(next.sections).toEqual(TEST_SECTIONS.map((one) => ({ instance: 0, ...one })));
});

test('ls and show tell what is there, for people and for programs', async () => {
  expect((await run('ls')).out).toMatch(/^TAG .*\nfull +2026-11-18 11:06:40 +44 KiB +32 KiB /);
  const rows = JSON.parse((await run('ls', '--json')).out) as { tag: string }[];
  expect(rows.map(({ tag }) => tag)).toEqual(['full', 'incremental']);
  const shown = (await run('show', 'incremental')).out;
  expect(shown).toContain('  vga/vram  12 KiB, of which 8 KiB not zeros\n');
  expect(shown).toContain('  isa/serial#1  version 1, 1 field\n');
  expect(shown).toMatch(/made from {2}sha256:/);
  const json = JSON.parse((await run('show', 'full', '--json')).out) as { config: object };
  expect(json.config).toEqual(TEST_CONFIG);
});

test('diff ends with 1 where snapshots differ and says how', async () => {
  expect(await run('diff', 'full', 'full')).toEqual({ code: 0, out: '' });
  const found = await run('diff', 'full', 'incremental');
  expect(found).toEqual({ code: 1, out: 'block pc.ram: 1 page: 3\n' });
});

test('verify names what is damaged and goes on with the others; ls shows both', async () => {
  expect((await run('verify')).code).toBe(0);
  const store = await DirectoryStore.open(path);
  const reader = await SnapshotReader.open(store, NODE_PLATFORM, 'incremental');
  const parent = await SnapshotReader.open(store, NODE_PLATFORM, 'full');
  const shared = new Set(parent.manifest.pages.map(({ digest }) => digest));
  const own = reader.manifest.pages.find(({ digest }) => !shared.has(digest))!.digest.slice(7);
  const file = join(path, 'blobs', 'sha256', own);
  const bytes = Uint8Array.from(readFileSync(file));
  bytes[7] = bytes[7]! ^ 1;
  writeFileSync(file, bytes);
  const { code, out } = await run('verify');
  expect(code).toBe(1);
  expect(out).toMatch(/^full: whole.*\nincremental: Cannot use blob "sha256:/);
  rmSync(file);
  expect((await run('ls')).out).toMatch(/incremental +Cannot find blob "sha256:/);
});

test('rm and gc free what nobody needs, and only that', async () => {
  const count = () => readdirSync(join(path, 'blobs', 'sha256')).length;
  const before = count();
  await run('rm', 'full');
  const dry = (await run('gc', '--dry-run', '--json')).out;
  expect(count()).toBe(before);
  const report = JSON.parse((await run('gc', '--json')).out) as { removedCount: number };
  expect(JSON.parse(dry)).toEqual(report);
  expect(count()).toBe(before - report.removedCount);
  expect((await run('verify')).code).toBe(0);
  await expect(run('rm', 'full')).rejects.toThrow('Cannot find snapshot "full"');
});

test('a store that is not there is not made by looking at it', async () => {
  rmSync(path, { recursive: true });
  await expect(run('ls')).rejects.toThrow('it is not there');
});

test('an empty store says so', async () => {
  rmSync(path, { recursive: true });
  await saveFull(await DirectoryStore.open(path), NODE_PLATFORM, 'a', testRAM({ ram: [1] }));
  await run('rm', 'a');
  expect((await run('ls')).out).toBe(`No snapshots in "${path}"\n`);
});

test('a command line without sense says what it wants', async () => {
  await expect(run()).rejects.toThrow(UsageError);
  await expect(run('lss')).rejects.toThrow('did you mean "ls"');
  await expect(run('diff', 'one')).rejects.toThrow('Usage: quire snapshot diff TAG TAG');
  await expect(run('push', 'full', 'nowhere')).rejects.toThrow('must be HOST/NAME[:TAG]');
});
