// The root file system of the Debian guests: BusyBox and an init that ends in a shell.

import { writeCPIO } from './cpio.ts';

/**
 * Without setsid and cttyhack the shell has no controlling terminal: no job control, no Ctrl-C.
 * When the shell is left, the machine powers off: an init that ends is a kernel panic.
 */
const INIT = `#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
hostname quire
export HOME=/root TERM=\${TERM:-vt100} PS1='quire:\\w# '
cd /root
echo
uname -a
setsid cttyhack sh
poweroff -f
`;

const FOLDERS = ['bin', 'dev', 'etc', 'proc', 'root', 'sys', 'tmp', 'var'];

/** The initramfs, uncompressed: there is nothing to gain in having the guest unpack it. */
export function buildInitramfs(busybox: Uint8Array): Uint8Array {
  return writeCPIO([
    ...FOLDERS.map((path) => ({ type: 'directory', path }) as const),
    // Before devtmpfs is mounted, the kernel opens this one for init's standard streams.
    { type: 'device', path: 'dev/console', major: 5, minor: 1 },
    { type: 'file', path: 'bin/busybox', body: busybox, mode: 0o755 },
    { type: 'link', path: 'bin/sh', target: 'busybox' },
    { type: 'file', path: 'init', body: Buffer.from(INIT), mode: 0o755 },
  ]);
}
