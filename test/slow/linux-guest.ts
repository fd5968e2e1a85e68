// Debian's kernel with modules of its own package in an initramfs, for tests of devices: a shell at
// the end of an init that inserts them.

import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { APT, unpack } from '../../src/cli/guests/apt.ts';
import { writeCPIO } from '../../src/cli/guests/cpio.ts';
import { GuestError } from '../../src/cli/guests/guest-error.ts';
import { cacheFolder, fetchGuest, guestByName } from '../../src/cli/guests/store.ts';

const ARCHITECTURE = 'i386';
const silent = (): void => {};

/** What the prompt of such a guest looks like. */
export const LINUX_PROMPT = /quire# /;

/** A module to insert, by its name, with parameters behind it: `virtio_pci force_legacy=1`. */
export type ModuleSpec = string;

/**
 * Files for `--kernel` and `--initrd`; the latter in a folder of its own, which the test removes.
 */
export interface LinuxGuest {
  readonly kernelPath: string;
  readonly initrdPath: string;
  readonly folder: string;
}

/**
 * Fetches `debian-686`, its modules and BusyBox, and writes an initramfs that
 * inserts `modules` after what they depend on.
 * @throws {GuestError} if something cannot be fetched
 * @throws {Error} if the kernel's package has no such module
 */
export async function buildLinuxGuest(modules: readonly ModuleSpec[]): Promise<LinuxGuest> {
  const guest = await fetchGuest(guestByName('debian-686'), silent);
  const kernel = guest.packages.find((each) => each.startsWith('linux-image-'))!;
  const [name, version] = kernel.split(' ') as [string, string];
  const cache = join(cacheFolder(), 'modules', `${name}_${version.replaceAll(':', '-')}`);
  if (!existsSync(cache)) await fetchModules(name, version, cache);
  const found = new Map<string, string>();
  for (const entry of readdirSync(cache, { recursive: true, withFileTypes: true }))
    if (entry.name.endsWith('.ko'))
      found.set(plain(entry.name), join(entry.parentPath, entry.name));
  const order = insertionOrder(modules, found);
  const busybox = busyboxOf(readFileSync(guest.initrdPath!));
  const folder = mkdtempSync(join(tmpdir(), 'quire-linux-'));
  const initrdPath = join(folder, 'initrd');
  writeFileSync(initrdPath, buildInitramfs(busybox, order));
  return { kernelPath: guest.kernelPath!, initrdPath, folder };
}

/** Why `buildLinuxGuest` cannot work here, or the guest. */
export async function linuxGuestOrReason(
  modules: readonly ModuleSpec[],
): Promise<LinuxGuest | string> {
  try {
    return await buildLinuxGuest(modules);
  } catch (error) {
    if (error instanceof GuestError) return error.message;
    throw error;
  }
}

async function fetchModules(name: string, version: string, cache: string): Promise<void> {
  const aside = `${cache}.${process.pid}`;
  mkdirSync(aside, { recursive: true });
  try {
    const deb = await download(name, version, aside);
    await unpack(deb, ['./lib/modules/*', './usr/lib/modules/*'], join(aside, 'files'));
    renameSync(join(aside, 'files'), cache);
  } finally {
    rmSync(aside, { recursive: true, force: true });
  }
}

async function download(name: string, version: string, aside: string): Promise<string> {
  const wanted = `${name}:${ARCHITECTURE}`;
  const from = async (apt: APT, folder: string): Promise<string> => {
    const record = apt.find(wanted);
    if (record?.version !== version)
      throw new GuestError('FETCH', `the package lists have no "${wanted}" of version ${version}`);
    return apt.download(record, join(aside, folder), silent);
  };
  try {
    return await from(APT.ofSystem(), 'system');
  } catch (error) {
    if (!(error instanceof GuestError) || error.code !== 'FETCH') throw error;
  }
  const own = APT.createPrivate(join(aside, 'apt'), ARCHITECTURE);
  await own.update(silent);
  return from(own, 'own');
}

/** Files say `virtio-rng.ko` where the kernel says `virtio_rng`. */
function plain(name: string): string {
  return name.replace(/\.ko$/, '').replaceAll('-', '_');
}

/** What a module depends on, by the line "depends=a,b" of its .modinfo section. */
function dependencies(file: string): string[] {
  const text = readFileSync(file).toString('latin1');
  return (/\0depends=([^\0]*)\0/.exec(text)?.[1] ?? '').split(',').filter((each) => each !== '');
}

function insertionOrder(
  modules: readonly ModuleSpec[],
  found: ReadonlyMap<string, string>,
): { file: string; parameters: string }[] {
  const order = new Map<string, { file: string; parameters: string }>();
  const given = new Map(
    modules.map((spec) => {
      const [name = '', ...parameters] = spec.split(' ');
      return [plain(name), parameters.join(' ')] as const;
    }),
  );
  const add = (name: string): void => {
    if (order.has(name)) return;
    const file = found.get(name);
    if (file === undefined) throw new Error(`The kernel's package has no module "${name}"`);
    for (const each of dependencies(file)) add(plain(each));
    order.set(name, { file, parameters: given.get(name) ?? '' });
  };
  for (const name of given.keys()) add(name);
  return [...order.values()];
}

/** BusyBox out of the guest's own archive: see cpio.ts for its form. */
function busyboxOf(archive: Uint8Array): Uint8Array {
  const bytes = Buffer.from(archive);
  for (let at = 0; at < bytes.length; ) {
    const number = (index: number) =>
      Number.parseInt(bytes.toString('latin1', at + 6 + 8 * index, at + 14 + 8 * index), 16);
    const [size, nameSize] = [number(6), number(11)];
    const body = (at + 110 + nameSize + 3) & ~3;
    const name = bytes.toString('latin1', at + 110, at + 110 + nameSize - 1);
    if (name === 'bin/busybox') return bytes.subarray(body, body + size);
    at = (body + size + 3) & ~3;
  }
  throw new Error('The initial RAM disk of the guest has no bin/busybox');
}

function buildInitramfs(
  busybox: Uint8Array,
  modules: readonly { file: string; parameters: string }[],
): Uint8Array {
  const insert = modules.map(({ file, parameters }) => {
    const name = file.slice(dirname(file).length + 1);
    return { path: `lib/${name}`, line: `insmod /lib/${name} ${parameters}`, file };
  });
  const init = `#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
${insert.map(({ line }) => line).join('\n')}
export PS1='quire# '
setsid cttyhack sh
poweroff -f
`;
  return writeCPIO([
    ...['bin', 'dev', 'etc', 'lib', 'mnt', 'proc', 'root', 'sys', 'tmp'].map(
      (path) => ({ type: 'directory', path }) as const,
    ),
    { type: 'device', path: 'dev/console', major: 5, minor: 1 },
    { type: 'file', path: 'bin/busybox', body: busybox, mode: 0o755 },
    { type: 'link', path: 'bin/sh', target: 'busybox' },
    ...insert.map(({ path, file }) => ({ type: 'file', path, body: readFileSync(file) }) as const),
    { type: 'file', path: 'init', body: Buffer.from(init), mode: 0o755 },
  ]);
}
