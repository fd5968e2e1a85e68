import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, expect, test } from 'vitest';
import { parsePackage } from './apt.ts';
import { GuestError } from './guest-error.ts';
import { GUESTS } from './guest-list.ts';
import { cacheFolder, fetchGuest, findFetched, guestByName } from './store.ts';

const folders: string[] = [];
afterEach(() => {
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true });
});

const RECORD = `Package: linux-image-686
Source: linux-signed-i386 (6.1.176+1)
Version: 6.1.176-1
Architecture: i386
Depends: linux-image-6.1.0-50-686 (= 6.1.176-1), libc6:any (>= 2), a | b
Size: 1476
SHA256: ${'e6'.repeat(32)}
Description: one
 more

Package: linux-image-686
Version: 1
`;

test('a record of the package lists is understood, and only its first paragraph counts', () => {
  expect(parsePackage(RECORD)).toEqual({
    name: 'linux-image-686',
    architecture: 'i386',
    version: '6.1.176-1',
    depends: ['linux-image-6.1.0-50-686', 'libc6', 'a'],
    sizeBytes: 1476,
    sha256: 'e6'.repeat(32),
  });
});

test.each([
  ['', 'nothing'],
  [RECORD.replace(/SHA256.*\n/, ''), 'no digest'],
  [RECORD.replace(/SHA256: ../, 'SHA256: XX'), 'a digest that is none'],
])('a record is refused: %#', (text) => {
  expect(parsePackage(text)).toBeUndefined();
});

test('the cache lies where the environment says', () => {
  expect(cacheFolder({ QUIRE_CACHE: '/a' })).toBe('/a');
  expect(cacheFolder({ XDG_CACHE_HOME: '/x' })).toBe(join('/x', 'quire'));
  expect(cacheFolder({})).toMatch(/\.cache.quire$/);
});

/** A cache that holds the memory tester, made of `kernel`. */
function cacheWith(kernel: string): string {
  const cache = mkdtempSync(join(tmpdir(), 'quire-test-'));
  folders.push(cache);
  const folder = join(cache, 'guests', 'memtest86+');
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, 'kernel'), kernel);
  const digest = createHash('sha256').update('good').digest('hex');
  const record = { format: 1, packages: ['memtest86+ 6'], files: { kernel: digest } };
  writeFileSync(join(folder, 'guest.json'), JSON.stringify(record));
  return cache;
}

test('a guest in the cache is found while its files are what was written', () => {
  const guest = guestByName('memtest86+');
  const cache = cacheWith('good');
  expect(findFetched(guest, cache)).toEqual({
    kernelPath: join(cache, 'guests', 'memtest86+', 'kernel'),
    packages: ['memtest86+ 6'],
  });
  expect(findFetched(guest, cacheWith('gone bad'))).toBeUndefined();
  expect(findFetched(guest, join(cache, 'nowhere'))).toBeUndefined();
});

test('a record that is cut off counts as no guest', () => {
  const cache = cacheWith('good');
  writeFileSync(join(cache, 'guests', 'memtest86+', 'guest.json'), '{"format": 1, "pack');
  expect(findFetched(guestByName('memtest86+'), cache)).toBeUndefined();
});

test('an unknown guest is an error that names those there are', () => {
  expect(() => guestByName('beos')).toThrow(GuestError);
  for (const { name } of GUESTS) expect(() => guestByName('beos')).toThrow(`"${name}"`);
});

test('a cache folder that cannot be made is named, with the way out', async () => {
  const cache = join(cacheWith('kernel'), 'guests', 'memtest86+', 'kernel', 'below-a-file');
  const failure = fetchGuest(guestByName('memtest86+'), () => {}, cache);
  await expect(failure).rejects.toThrow(
    `Cannot fetch the guest: the cache folder "${cache}" cannot be written: ENOTDIR`,
  );
  await expect(failure).rejects.toThrow(/Name another with QUIRE_CACHE$/);
});
