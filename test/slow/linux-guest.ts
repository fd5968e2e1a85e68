// Debian's kernel with modules of its own package in an initramfs, for tests of devices: a shell at
// the end of an init that inserts them.

import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { writeCPIO } from '../../src/cli/guests/cpio.ts';
import { GuestError } from '../../src/cli/guests/guest-error.ts';
import { fetchGuest, guestByName } from '../../src/cli/guests/store.ts';
import { insertionOrder, type KernelModule, type ModuleSpec } from './kernel-modules.ts';
import { packageFiles } from './package-files.ts';

const architecture = 'i386';
const silent = (): void => {};

/** What the prompt of such a guest looks like. */
export const LINUX_PROMPT = /quire# /;

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
  const patterns = ['./lib/modules/*', './usr/lib/modules/*'];
  const unpacked = await packageFiles({ name, architecture, version, patterns }, 'modules');
  const order = insertionOrder(modules, unpacked);
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

function buildInitramfs(busybox: Uint8Array, modules: readonly KernelModule[]): Uint8Array {
  const insert = modules.map(({ name, file, parameters }) => {
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
