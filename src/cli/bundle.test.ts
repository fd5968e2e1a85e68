import { mkdirSync, mkdtempSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { readyBundle } from './bundle.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'quire-bundle-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

/** A file that was written at a time, in seconds. */
function put(name: string, time: number): void {
  const path = join(folder, name);
  mkdirSync(join(path, '..'), { recursive: true });
  writeFileSync(path, '');
  utimesSync(path, time, time);
}

test('without a bundle the command line comes from its files', () => {
  expect(readyBundle(folder)).toBeUndefined();
});

test('a package has a bundle and nothing of the compiler', () => {
  put('bundle/command-line.js', 100);
  expect(readyBundle(folder)).toBe('../bundle/command-line.js');
});

test('a bundle is used until something is compiled anew', () => {
  put('bundle/command-line.js', 100);
  put('.core.tsbuildinfo', 99);
  put('.cli.tsbuildinfo', 99);
  expect(readyBundle(folder)).toBe('../bundle/command-line.js');
  put('.core.tsbuildinfo', 101);
  expect(readyBundle(folder)).toBeUndefined();
  put('.core.tsbuildinfo', 99);
  put('.cli.tsbuildinfo', 101);
  expect(readyBundle(folder)).toBeUndefined();
});
