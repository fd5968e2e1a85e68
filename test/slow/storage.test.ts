// Debian's kernel with its own drivers for IDE, CD-ROM and floppy disk, through the real command
// line; what it wrote is then looked at by the host's tools.

import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  closeSync,
  ftruncateSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { pattern } from '../storage-board.ts';
import { GuestProcess } from './guest-process.ts';
import { LINUX_PROMPT, type LinuxGuest, linuxGuestOrReason } from './linux-guest.ts';

const BOOT_SECONDS = 15 * 60;
const ANSWER_SECONDS = 300;
const SECTOR_BYTES = 512;
const CD_SECTOR_BYTES = 2048;
const DISK_BYTES = 64 << 20;
const FLOPPY_BYTES = 1_474_560;
const PARTITION_BYTES = 40 << 20;
const APPEND = 'console=ttyS0,115200 cryptomgr.notests';
const DRIVERS = [...['ata_piix', 'sd_mod', 'sr_mod', 'isofs', 'floppy', 'crc32c_generic', 'ext4']];

let folder: string;
let linux: LinuxGuest | undefined;
let guest: GuestProcess | undefined;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'quire-storage-'));
});
afterEach(async () => {
  await guest?.close();
  guest = undefined;
  rmSync(folder, { recursive: true, force: true });
  if (linux !== undefined) rmSync(linux.folder, { recursive: true, force: true });
  linux = undefined;
});

function createImage(name: string, content: Uint8Array | number): string {
  const path = join(folder, name);
  if (typeof content !== 'number') writeFileSync(path, content);
  else {
    const file = openSync(path, 'w');
    ftruncateSync(file, content);
    closeSync(file);
  }
  return path;
}

/** ECMA-119: a volume with one file in its root directory. */
function createISO(name: string, body: Uint8Array): Uint8Array {
  const [volume, end, root, file] = [16, 17, 18, 19];
  const sectors = file + Math.ceil(body.length / CD_SECTOR_BYTES);
  const image = Buffer.alloc(sectors * CD_SECTOR_BYTES);
  const both32 = (at: number, value: number) => {
    image.writeUInt32LE(value, at);
    image.writeUInt32BE(value, at + 4);
  };
  const both16 = (at: number, value: number) => {
    image.writeUInt16LE(value, at);
    image.writeUInt16BE(value, at + 2);
  };
  const record = (at: number, sector: number, size: number, flags: number, id: string) => {
    image[at] = (33 + id.length + 1) & ~1;
    both32(at + 2, sector);
    both32(at + 10, size);
    image[at + 25] = flags;
    both16(at + 28, 1);
    image[at + 32] = id.length;
    image.write(id, at + 33, 'latin1');
    return at + image[at]!;
  };
  const at = volume * CD_SECTOR_BYTES;
  image.write('\x01CD001\x01', at, 'latin1');
  image.write('\xffCD001\x01', end * CD_SECTOR_BYTES, 'latin1');
  both32(at + 80, sectors);
  both16(at + 120, 1);
  both16(at + 124, 1);
  both16(at + 128, CD_SECTOR_BYTES);
  record(at + 156, root, CD_SECTOR_BYTES, 2, '\0');
  let next = record(root * CD_SECTOR_BYTES, root, CD_SECTOR_BYTES, 2, '\0');
  next = record(next, root, CD_SECTOR_BYTES, 2, '\x01');
  record(next, file, body.length, 0, `${name};1`);
  image.set(body, file * CD_SECTOR_BYTES);
  return image;
}

const md5 = (bytes: Uint8Array) => createHash('md5').update(bytes).digest('hex');

async function boot(...options: string[]): Promise<GuestProcess> {
  const { kernelPath, initrdPath } = linux!;
  guest = new GuestProcess(
    ...['-m', '128M', '--kernel', kernelPath, '--initrd', initrdPath, '--append', APPEND],
    ...options,
  );
  await guest.expect(LINUX_PROMPT, BOOT_SECONDS);
  return guest;
}

/** Types a command line and returns what it printed. Its exit code must be 0. */
async function run(command: string): Promise<string> {
  const from = guest!.output.length;
  guest!.type(`${command}; echo "=$?="\r`);
  const code = await guest!.expect(/=\d+=/, ANSWER_SECONDS);
  await guest!.expect(LINUX_PROMPT, ANSWER_SECONDS);
  const text = guest!.output.slice(from);
  expect(code, text).toBe('=0=');
  return text;
}

/** The file system of the first partition as a file of its own. */
function extractPartition(disk: string): string {
  const bytes = readFileSync(disk);
  expect(bytes.readUInt16LE(510)).toBe(0xaa55);
  const start = bytes.readUInt32LE(446 + 8) * SECTOR_BYTES;
  const size = bytes.readUInt32LE(446 + 12) * SECTOR_BYTES;
  expect(size).toBeGreaterThanOrEqual(PARTITION_BYTES - (1 << 20));
  const path = join(folder, 'partition.img');
  writeFileSync(path, bytes.subarray(start, start + size));
  return path;
}

test('Linux partitions, formats and fills a disk through ATA, and e2fsck agrees', async ({
  skip,
}) => {
  const found = await linuxGuestOrReason(DRIVERS);
  skip(typeof found === 'string', found as string);
  linux = found as LinuxGuest;
  const checker = spawnSync('e2fsck', ['-V'], { encoding: 'utf8' });
  skip(checker.error !== undefined, 'this host has no e2fsck');

  const disk = createImage('disk.img', DISK_BYTES);
  await boot('--hda', disk);
  const fdisk = `printf 'n\\np\\n1\\n\\n+40M\\nw\\n'`;
  await run(`${fdisk} | fdisk /dev/sda > /dev/null`);
  await run('mke2fs /dev/sda1 > /dev/null && mount -t ext4 /dev/sda1 /mnt');
  await run('cp /bin/busybox /mnt/one && mkdir /mnt/folder && cp /bin/busybox /mnt/folder/two');
  await run('umount /mnt && echo 3 > /proc/sys/vm/drop_caches && mount -t ext4 /dev/sda1 /mnt');
  await run('cmp /bin/busybox /mnt/one && cmp /bin/busybox /mnt/folder/two');
  expect(await run('dmesg')).toContain('QUIRE HARDDISK');
  await run('umount /mnt');
  guest!.type('exit\r');
  expect(await guest!.exitCode()).toBe(0);

  const check = spawnSync('e2fsck', ['-fn', extractPartition(disk)], { encoding: 'utf8' });
  expect(check.status, check.stdout + check.stderr).toBe(0);
  expect(check.stdout).toMatch(/: 14\/\d+ files/);
});

test('Linux reads a CD-ROM through ATAPI and changes it, and a floppy disk both ways', async ({
  skip,
}) => {
  const found = await linuxGuestOrReason(DRIVERS);
  skip(typeof found === 'string', found as string);
  linux = found as LinuxGuest;

  const first = createISO('FIRST.BIN', pattern(300_000, 3));
  const second = createISO('SECOND.BIN', pattern(50_000, 4));
  const floppy = pattern(FLOPPY_BYTES, 5);
  const floppyPath = createImage('floppy.img', floppy);
  const secondPath = createImage('second.iso', second);
  await boot('--cdrom', createImage('first.iso', first), '--fda', floppyPath);

  expect(await run('md5sum /dev/sr0')).toContain(md5(first));
  await run('mount -t iso9660 /dev/sr0 /mnt');
  expect(await run('md5sum /mnt/first.bin')).toContain(md5(pattern(300_000, 3)));
  guest!.type('\x01cinfo block\neject ide1-cd0\n');
  await guest!.expect(/ide1-cd0: .*first\.iso \(raw, read-only\)/, ANSWER_SECONDS);
  await guest!.expect(/Error: Drive "ide1-cd0" is locked by the guest/, ANSWER_SECONDS);
  guest!.type('\x01c\r');
  await guest!.expect(LINUX_PROMPT, ANSWER_SECONDS);
  await run('umount /mnt');
  guest!.type(`\x01cchange ide1-cd0 ${secondPath}\ninfo block\n`);
  await guest!.expect(/second\.iso \(raw, read-only\)/, ANSWER_SECONDS);
  guest!.type('\x01c\r');
  await guest!.expect(LINUX_PROMPT, ANSWER_SECONDS);
  expect(await run('md5sum /dev/sr0')).toContain(md5(second));

  expect(await run('md5sum /dev/fd0')).toContain(md5(floppy));
  await run('head -c 100000 /bin/busybox > /tmp/part');
  await run('dd if=/tmp/part of=/dev/fd0 bs=1000 seek=700 conv=notrunc && sync');
  const part = await run('md5sum /tmp/part');
  guest!.type('exit\r');
  expect(await guest!.exitCode()).toBe(0);

  const written = readFileSync(floppyPath);
  expect(part).toContain(md5(written.subarray(700_000, 800_000)));
  expect(written.subarray(0, 700_000).equals(floppy.subarray(0, 700_000))).toBe(true);
  expect(written.subarray(800_000).equals(floppy.subarray(800_000))).toBe(true);
});

test('with --snapshot the image stays as it was', async ({ skip }) => {
  const found = await linuxGuestOrReason(DRIVERS);
  skip(typeof found === 'string', found as string);
  linux = found as LinuxGuest;
  const content = pattern(8 << 20, 6);
  const disk = createImage('disk.img', content);
  await boot('--snapshot', '--hda', disk);
  expect(await run('md5sum /dev/sda')).toContain(md5(content));
  await run('dd if=/dev/zero of=/dev/sda bs=1M count=8 && sync');
  await run('echo 3 > /proc/sys/vm/drop_caches');
  expect(await run('md5sum /dev/sda')).toContain(md5(new Uint8Array(content.length)));
  guest!.type('exit\r');
  expect(await guest!.exitCode()).toBe(0);
  expect(md5(readFileSync(disk))).toBe(md5(content));
});
