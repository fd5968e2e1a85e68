import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import {
  closeSync,
  existsSync,
  ftruncateSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { pattern, SECTOR } from '../../../test/storage-board.ts';
import type { BlockDevice, BlockError } from '../../devices/block/block-device.ts';
import { ImageLockedError } from './image-lock.ts';
import { openDrives } from './open-drives.ts';
import { RawImage } from './raw-image.ts';

let folder: string;
let open: BlockDevice[] = [];
let child: ChildProcess | undefined;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'quire-test-'));
});
afterEach(() => {
  for (const image of open) image.close();
  open = [];
  child?.kill('SIGKILL');
  child = undefined;
  rmSync(folder, { recursive: true });
});

function make(name: string, bytes: Uint8Array): string {
  const path = join(folder, name);
  writeFileSync(path, bytes);
  return path;
}

function keep<T extends BlockDevice>(image: T): T {
  open.push(image);
  return image;
}

type Result = BlockError | undefined;
const read = (device: BlockDevice, sector: number, bytes: Uint8Array) =>
  new Promise<Result>((resolve) => device.read(sector, bytes, resolve));
const write = (device: BlockDevice, sector: number, bytes: Uint8Array) =>
  new Promise<Result>((resolve) => device.write(sector, bytes, resolve));
const flush = (device: BlockDevice) => new Promise<Result>((resolve) => device.flush(resolve));

test('what is written is read, is in the file after a flush, and in order', async () => {
  const path = make('disk', new Uint8Array(16 * SECTOR));
  const image = keep(RawImage.open(path));
  const order: number[] = [];
  const requests = [1, 2, 3, 4].map((seed, i) =>
    write(image, 2, pattern(2 * SECTOR, seed)).then((error) => {
      expect(error).toBeUndefined();
      order.push(i);
    }),
  );
  expect(await flush(image)).toBeUndefined();
  await Promise.all(requests);
  expect(order).toEqual([0, 1, 2, 3]);
  expect([...readFileSync(path).subarray(2 * SECTOR, 4 * SECTOR)]).toEqual([
    ...pattern(2 * SECTOR, 4),
  ]);
  const bytes = new Uint8Array(2 * SECTOR);
  expect(await read(image, 2, bytes)).toBeUndefined();
  expect(bytes).toEqual(pattern(2 * SECTOR, 4));
  expect(await read(image, 15, bytes)).toBe('EIO');
});

test('an image of odd length reads as zeros behind its end; a write makes it whole', async () => {
  const path = make('odd', pattern(700));
  const warnings: string[] = [];
  const image = keep(RawImage.open(path, { onWarning: (message) => warnings.push(message) }));
  expect(image.sizeBytes).toBe(1024);
  expect(warnings).toEqual([
    `Image "${path}" has 700 bytes, which is not whole sectors of 512: ` +
      'the rest of the last one reads as zeros',
  ]);
  const bytes = new Uint8Array(1024).fill(1);
  await read(image, 0, bytes);
  expect(bytes.subarray(0, 700)).toEqual(pattern(700));
  expect(bytes.subarray(700)).toEqual(new Uint8Array(324));
  await write(image, 1, pattern(SECTOR, 3));
  expect(statSync(path).size).toBe(1024);
});

test('an image beyond 4 GiB is read and written where it should be', async () => {
  const path = join(folder, 'large');
  const file = openSync(path, 'w');
  ftruncateSync(file, 5 * 2 ** 30);
  closeSync(file);
  const image = keep(RawImage.open(path));
  const sector = (5 * 2 ** 30) / SECTOR - 1;
  expect(await write(image, sector, pattern(SECTOR, 8))).toBeUndefined();
  const bytes = new Uint8Array(SECTOR);
  await read(image, sector, bytes);
  expect(bytes).toEqual(pattern(SECTOR, 8));
  await read(image, sector % 2 ** 23, bytes);
  expect(bytes).toEqual(new Uint8Array(SECTOR));
});

test('a file that is cut while it is open reads as zeros, and is no crash', async () => {
  const path = make('cut', pattern(8 * SECTOR));
  const image = keep(RawImage.open(path));
  writeFileSync(path, pattern(SECTOR));
  const bytes = new Uint8Array(4 * SECTOR).fill(1);
  expect(await read(image, 0, bytes)).toBeUndefined();
  expect(bytes.subarray(SECTOR)).toEqual(new Uint8Array(3 * SECTOR));
});

test.each([
  ['missing', 'no such file'],
  ['folder', 'it is a folder'],
  ['empty', 'it is empty'],
])('an image that is %s is refused by name', (name, why) => {
  make('empty', new Uint8Array(0));
  const path = name === 'folder' ? folder : join(folder, name);
  expect(() => RawImage.open(path)).toThrow(why);
  expect(() => RawImage.open(path)).toThrow(`"${path}"`);
  expect(readdirSync(folder)).toEqual(['empty']);
});

test('something that is no plain file is refused', () => {
  expect(() => RawImage.open('/dev/zero')).toThrow('must be a plain file');
});

test('a full disk of the host is ENOSPC', async ({ skip }) => {
  const mount = join(folder, 'full');
  // A file system of its own: a user namespace needs no root.
  const mounted = 'mkdir "$1" && mount -t tmpfs -o size=64k none "$1"';
  const script = `${mounted} && exec node -e '${FILL}' "$1"`;
  const result = spawnSync('unshare', ['-rm', 'sh', '-c', script, 'sh', mount], {
    encoding: 'utf8',
    env: { ...process.env, NODE_OPTIONS: '--import tsx' },
    cwd: process.cwd(),
  });
  skip(/unshare|mount/.test(result.stderr), `no tmpfs of its own: ${result.stderr.trim()}`);
  expect(result.stdout.trim()).toBe('undefined ENOSPC undefined');
});

const FILL = `
import("${join(import.meta.dirname, 'raw-image.ts')}").then(({ RawImage }) => {
  const fs = require("node:fs");
  const path = process.argv[1] + "/disk";
  const file = fs.openSync(path, "w");
  fs.ftruncateSync(file, 1 << 20);
  const image = RawImage.open(path);
  image.write(0, new Uint8Array(4096).fill(1), (one) => {
    image.write(8, new Uint8Array(1 << 19).fill(1), (two) => {
      image.read(0, new Uint8Array(4096), (three) => console.log(String(one), two, String(three)));
    });
  });
});`;

test('a second writer is refused and told who the first is, by whatever name it comes', () => {
  const path = make('disk', new Uint8Array(SECTOR));
  const image = RawImage.open(path);
  symlinkSync(path, join(folder, 'link'));
  for (const name of ['disk', 'link']) {
    const other = join(folder, name);
    expect(() => RawImage.open(other)).toThrow(ImageLockedError);
    expect(() => RawImage.open(other)).toThrow(`process ${process.pid} does`);
    expect(() => RawImage.open(other, { isReadOnly: true })).toThrow(ImageLockedError);
  }
  image.close();
  expect(readdirSync(folder).sort()).toEqual(['disk', 'link']);
  keep(RawImage.open(path));
});

test('readers do not keep each other out', () => {
  const path = make('disc', new Uint8Array(SECTOR));
  keep(RawImage.open(path, { isReadOnly: true }));
  keep(RawImage.open(path, { isReadOnly: true }));
  expect(readdirSync(folder)).toEqual(['disc']);
});

test('the lock of a process that was killed is stale, that of a living one is not', async () => {
  const path = make('disk', new Uint8Array(SECTOR));
  const lockPath = join(folder, '.disk.quire-lock');
  child = spawn(process.execPath, [
    ...['--import', 'tsx', '-e'],
    `import("${join(import.meta.dirname, 'raw-image.ts')}").then(({ RawImage }) => {
       RawImage.open("${path}");
       console.log("open");
       setInterval(() => {}, 1000);
     })`,
  ]);
  await new Promise((resolve) => child!.stdout!.once('data', resolve));
  expect(() => RawImage.open(path)).toThrow(`process ${child!.pid} does`);
  const exited = new Promise((resolve) => child!.once('exit', resolve));
  child.kill('SIGKILL');
  await exited;
  expect(existsSync(lockPath)).toBe(true);
  keep(RawImage.open(path));
  expect(readFileSync(lockPath, 'utf8')).toContain(`"pid":${process.pid}`);
});

test('a lock file with a reused process id, or with nonsense in it, is stale', () => {
  const path = make('disk', new Uint8Array(SECTOR));
  const lockPath = join(folder, '.disk.quire-lock');
  const holder = { pid: process.ppid, host: hostname(), started: '1' };
  for (const text of [JSON.stringify(holder), 'nonsense', '{"pid":-1}', '']) {
    writeFileSync(lockPath, text);
    if (process.platform !== 'linux' && text.includes('started')) continue;
    RawImage.open(path).close();
    expect(existsSync(lockPath)).toBe(false);
  }
  writeFileSync(lockPath, JSON.stringify({ ...holder, host: 'elsewhere' }));
  expect(() => RawImage.open(path)).toThrow('on host "elsewhere"');
});

test('a snapshot drive takes writes, and its image stays as it was', async () => {
  const bytes = pattern(8 * SECTOR);
  const path = make('disk', bytes);
  const [drive] = openDrives(
    [{ interface: 'ide', media: 'disk', index: 0, path, isReadOnly: false, isSnapshot: true }],
    () => {},
  );
  const medium = keep(drive!.medium!);
  expect(await write(medium, 3, pattern(SECTOR, 50))).toBeUndefined();
  const got = new Uint8Array(2 * SECTOR);
  await read(medium, 3, got);
  expect(got.subarray(0, SECTOR)).toEqual(pattern(SECTOR, 50));
  expect(got.subarray(SECTOR)).toEqual(bytes.subarray(4 * SECTOR, 5 * SECTOR));
  expect(new Uint8Array(readFileSync(path))).toEqual(bytes);
  expect(readdirSync(folder)).toEqual(['disk']);
});

test('if one image cannot be opened, none is', () => {
  const path = make('disk', new Uint8Array(SECTOR));
  const spec = { interface: 'ide', media: 'disk', isReadOnly: false, isSnapshot: false } as const;
  const specs = [
    { ...spec, index: 0, path },
    { ...spec, index: 1, path: join(folder, 'missing') },
  ];
  expect(() => openDrives(specs, () => {})).toThrow('no such file');
  expect(readdirSync(folder)).toEqual(['disk']);
});

test('writes that were under way when it was closed still reach the file', async () => {
  const path = make('disk', new Uint8Array(4 * SECTOR));
  const image = RawImage.open(path);
  const done = write(image, 0, pattern(2 * SECTOR, 6));
  image.close();
  expect(await done).toBeUndefined();
  expect([...readFileSync(path).subarray(0, 2 * SECTOR)]).toEqual([...pattern(2 * SECTOR, 6)]);
});
