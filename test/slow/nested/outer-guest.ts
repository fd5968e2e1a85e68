// The outer guest of the nested rig: Debian's own amd64 kernel and an initramfs of ours. It loads
// kvm-amd, sees the host's file system through 9p, and runs one script in there.

import { mkdirSync, mkdtempSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { writeCPIO } from '../../../src/cli/guests/cpio.ts';
import { insertionOrder, type KernelModule } from '../kernel-modules.ts';
import { packageFiles } from '../package-files.ts';

/** Names by which the two shared folders are mounted. */
export const HOST_TAG = 'host';
export const WORK_TAG = 'work';
/** Where the script finds its work folder. */
export const WORK_PATH = '/mnt/work';
/** The script's own name in the work folder, and where its exit code will be. */
export const SCRIPT_NAME = 'script.sh';
export const EXIT_CODE_NAME = 'exit-code';

const ARCHITECTURE = 'amd64';
const MODULES = ['virtio_pci', '9pnet_virtio', '9p', 'kvm_amd'];

/** Files for QEMU, and the folder that holds them, which the test removes. */
export interface OuterGuest {
  readonly kernelPath: string;
  readonly initrdPath: string;
  readonly folder: string;
}

/**
 * Fetches the kernel and BusyBox, and writes the initramfs.
 * @throws {GuestError} if something cannot be fetched
 */
export async function buildOuterGuest(): Promise<OuterGuest> {
  const kernelFiles = await packageFiles(
    {
      name: 'linux-image-amd64',
      architecture: ARCHITECTURE,
      follow: /^linux-image-[\d.-]+-amd64$/,
      patterns: ['./boot/vmlinuz-*', './lib/modules/*', './usr/lib/modules/*'],
    },
    'nested',
  );
  const busyboxFiles = await packageFiles(
    {
      name: 'busybox-static',
      architecture: ARCHITECTURE,
      patterns: ['./bin/busybox', './usr/bin/busybox'],
    },
    'nested',
  );
  const modules = insertionOrder(MODULES, kernelFiles);
  const folder = mkdtempSync(join(tmpdir(), 'quire-nested-'));
  const initrdPath = join(folder, 'initrd');
  const busybox = readFileSync(fileIn(busyboxFiles, 'busybox'));
  writeFileSync(initrdPath, initramfs(busybox, modules));
  mkdirSync(join(folder, 'work'));
  return { kernelPath: fileIn(join(kernelFiles, 'boot'), 'vmlinuz'), initrdPath, folder };
}

function fileIn(folder: string, prefix: string): string {
  const found = readdirSync(folder, { recursive: true, withFileTypes: true }).find(
    (entry) => entry.isFile() && entry.name.startsWith(prefix),
  );
  if (found === undefined) throw new Error(`The package has no file "${prefix}"`);
  return join(found.parentPath, found.name);
}

function initramfs(busybox: Uint8Array, modules: readonly KernelModule[]): Uint8Array {
  const folders = ['bin', 'dev', 'host', 'lib', 'proc', 'sys'];
  return writeCPIO([
    ...folders.map((path) => ({ type: 'directory', path }) as const),
    { type: 'device', path: 'dev/console', major: 5, minor: 1 },
    { type: 'file', path: 'bin/busybox', body: busybox, mode: 0o755 },
    { type: 'link', path: 'bin/sh', target: 'busybox' },
    ...modules.map(
      ({ name, file }) =>
        ({ type: 'file', path: `lib/${name}`, body: readFileSync(file) }) as const,
    ),
    { type: 'file', path: 'init', body: Buffer.from(initScript(modules)), mode: 0o755 },
  ]);
}

/**
 * The host's tree is read-only, so what has to be written is mounted over it. The work folder must
 * let files be mapped (Node maps none of them, but tools that it runs do) and be unmounted before
 * the power goes: 9p writes back late.
 */
function initScript(modules: readonly KernelModule[]): string {
  const mount9p = (tag: string, path: string, options: string): string =>
    `mount -t 9p -o trans=virtio,version=9p2000.L,msize=524288,${options} ${tag} ${path}`;
  return `#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
${modules.map(({ name, parameters }) => `insmod /lib/${name} ${parameters}`).join('\n')}
${mount9p(HOST_TAG, '/host', 'ro,cache=loose')}
for each in proc sys dev; do mount -o bind /$each /host/$each; done
mount -t tmpfs tmpfs /host/mnt
mkdir /host${WORK_PATH}
${mount9p(WORK_TAG, `/host${WORK_PATH}`, 'cache=mmap')}
ifconfig lo up
chroot /host /bin/sh -c 'cd ${WORK_PATH} && . ./environment && exec sh ./${SCRIPT_NAME}'
echo $? > /host${WORK_PATH}/${EXIT_CODE_NAME}
sync
umount /host${WORK_PATH}
poweroff -f
`;
}
