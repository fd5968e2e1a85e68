// Debian's kernel with its own virtio drivers: a disk, entropy and a balloon, through the real
// command line; the disk is then looked at by the host's tools.

import { spawnSync } from 'node:child_process';
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
import { fetchReason, GuestProcess } from './guest-process.ts';
import { LINUX_PROMPT, type LinuxGuest, linuxGuestOrReason } from './linux-guest.ts';

const BOOT_SECONDS = 15 * 60;
const ANSWER_SECONDS = 300;
const SECTOR_BYTES = 512;
const DISK_BYTES = 64 << 20;
const APPEND = 'console=ttyS0,115200 cryptomgr.notests';
const DRIVERS = ['virtio_blk', 'virtio_rng', 'virtio_balloon', 'crc32c_generic', 'ext4'];

let folder: string;
let linux: LinuxGuest | undefined;
let guest: GuestProcess | undefined;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'quire-virtio-'));
});
afterEach(async () => {
  await guest?.close();
  guest = undefined;
  rmSync(folder, { recursive: true, force: true });
  if (linux !== undefined) rmSync(linux.folder, { recursive: true, force: true });
  linux = undefined;
});

function createDisk(): string {
  const path = join(folder, 'disk.img');
  const file = openSync(path, 'w');
  ftruncateSync(file, DISK_BYTES);
  closeSync(file);
  return path;
}

async function boot(disk: string, ...options: string[]): Promise<GuestProcess> {
  const { kernelPath, initrdPath } = linux!;
  guest = new GuestProcess(
    ...['-m', '128M', '--kernel', kernelPath, '--initrd', initrdPath, '--append', APPEND],
    ...['--drive', `if=virtio,file=${disk}`, ...options],
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
function firstPartition(disk: string): string {
  const image = readFileSync(disk);
  const entry = 446;
  expect(image.readUInt16LE(510)).toBe(0xaa55);
  const start = image.readUInt32LE(entry + 8) * SECTOR_BYTES;
  const size = image.readUInt32LE(entry + 12) * SECTOR_BYTES;
  expect(size).toBeGreaterThan(DISK_BYTES / 2);
  const path = join(folder, 'partition.img');
  writeFileSync(path, image.subarray(start, start + size));
  return path;
}

/** Partition, file system, two files, all of it written through /dev/vda. Their digests. */
async function fillDisk(): Promise<string[]> {
  await run("printf 'n\\np\\n1\\n\\n\\nw\\n' | fdisk /dev/vda");
  await run('mke2fs /dev/vda1');
  await run('mount -t ext2 /dev/vda1 /mnt');
  await run('seq 1 100000 > /mnt/numbers');
  await run('dd if=/dev/urandom of=/mnt/random bs=64k count=64');
  const before = await run('md5sum /mnt/numbers /mnt/random');
  // Not out of the guest's cache.
  await run('umount /mnt');
  await run('echo 3 > /proc/sys/vm/drop_caches');
  await run('mount -t ext2 /dev/vda1 /mnt');
  const after = await run('md5sum /mnt/numbers /mnt/random');
  const digests = (text: string) => text.match(/[0-9a-f]{32}/g) ?? [];
  expect(digests(before)).toHaveLength(2);
  expect(digests(after)).toEqual(digests(before));
  await run('umount /mnt');
  return digests(before);
}

function checkDisk(disk: string, digests: readonly string[]): void {
  const partition = firstPartition(disk);
  const fsck = spawnSync('e2fsck', ['-fn', partition], { encoding: 'utf8' });
  expect(fsck.status, `${fsck.stdout}${fsck.stderr}`).toBe(0);
  for (const [i, name] of ['numbers', 'random'].entries()) {
    const path = join(folder, name);
    spawnSync('debugfs', ['-R', `dump /${name} ${path}`, partition]);
    const md5 = spawnSync('md5sum', [path], { encoding: 'utf8' });
    expect(md5.stdout.slice(0, 32)).toBe(digests[i]);
  }
}

async function powerOff(): Promise<void> {
  guest!.type('exit\r');
  await guest!.expect(/reboot: Power down/, ANSWER_SECONDS);
  expect(await guest!.exitCode()).toBe(0);
}

test('Linux partitions, formats and checks a disk, draws entropy and gives memory back', async ({
  skip,
}) => {
  skip(spawnSync('e2fsck', ['-V']).error !== undefined, 'this host has no e2fsck');
  const found = await linuxGuestOrReason(['virtio_pci', ...DRIVERS]);
  if (typeof found === 'string') return skip(found);
  linux = found;
  const disk = createDisk();
  await boot(disk, '--device', 'virtio-rng-pci', '--device', 'virtio-balloon-pci');
  const { elapsedSeconds } = guest!;
  console.log(`virtio: prompt after ${elapsedSeconds.toFixed(1)} s`);
  expect(await run('cat /sys/class/misc/hw_random/rng_current')).toMatch(/virtio_rng/);
  const drawn = await run('head -c 65536 /dev/hwrng > /tmp/drawn; gzip -c /tmp/drawn | wc -c');
  // What is random does not shrink.
  expect(Number(/^(\d+)/m.exec(drawn.slice(drawn.indexOf('\n') + 1))?.[1])).toBeGreaterThan(65536);

  const digests = await fillDisk();

  const total = async () => Number(/Mem: +(\d+)/.exec(await run('free'))?.[1]);
  const before = await total();
  guest!.type('\x01cballoon 64\ninfo balloon\n');
  await guest!.expect(/balloon: actual=\d+/, ANSWER_SECONDS);
  guest!.type('\x01c');
  await run('sleep 3');
  const after = await total();
  expect(before - after).toBe(64 << 10);
  guest!.type('\x01cinfo balloon\nballoon 128\n');
  await guest!.expect(/balloon: actual=64\s/, ANSWER_SECONDS);
  guest!.type('\x01c');
  await run('sleep 3');
  expect(await total()).toBe(before);
  // What came back is memory as any other.
  await run('mount -t tmpfs tmpfs /tmp');
  await run('dd if=/dev/zero of=/tmp/much bs=1M count=48');

  await powerOff();
  checkDisk(disk, digests);
});

test('the same disk by the legacy interface, and a read-only one', async ({ skip }) => {
  skip(spawnSync('e2fsck', ['-V']).error !== undefined, 'this host has no e2fsck');
  const found = await linuxGuestOrReason(['virtio_pci force_legacy=1', ...DRIVERS]);
  if (typeof found === 'string') return skip(found);
  linux = found;
  const disk = createDisk();
  const fixed = join(folder, 'fixed.img');
  writeFileSync(fixed, Buffer.alloc(1 << 20, 'fixed text\n'));
  await boot(disk, '--drive', `if=virtio,file=${fixed},readonly=on`);
  // Bit 32 of the features is VERSION_1: not there, by a legacy driver.
  const features = await run('cat /sys/bus/virtio/devices/virtio0/features');
  expect(/^[01]{64}/m.exec(features)?.[0][32]).toBe('0');
  expect(await run('cat /sys/block/vda/serial')).toMatch(/virtio0/);
  expect(await run('cat /sys/block/vdb/ro')).toMatch(/^1/m);
  expect(await run('head -n 2 /dev/vdb')).toMatch(/fixed text\s+fixed text/);
  guest!.type('echo x > /dev/vdb; echo "=$?="\r');
  expect(await guest!.expect(/=\d+=/, ANSWER_SECONDS)).toBe('=1=');
  await guest!.expect(LINUX_PROMPT, ANSWER_SECONDS);
  const digests = await fillDisk();
  await powerOff();
  checkDisk(disk, digests);
});

/**
 * A boot sector, at 0x7c00 in real mode: reads sector 1 by INT 13h function 42h (drive in DL,
 * address packet at SI), sends it to COM1 up to a zero, writes it to sector 2 by function 43h, and
 * says so.
 */
function bootSector(): Buffer {
  const packet = (sector: number) => [16, 0, 1, 0, 0, 0x80, 0, 0, sector, 0, 0, 0, 0, 0, 0, 0];
  const code = [
    ...[0x31, 0xc0, 0x8e, 0xd8, 0x8e, 0xd0, 0xbc, 0x00, 0x70], // ds = ss = 0, sp = 0x7000
    ...[0xbe, 0x80, 0x7c, 0xb4, 0x42, 0xcd, 0x13, 0x72, 0x18], // si = 0x7c80; int 13h; jc fail
    ...[0xbe, 0x00, 0x80, 0xe8, 0x1b, 0x00], // mov si, 0x8000; call puts
    ...[0xbe, 0x90, 0x7c, 0xb8, 0x00, 0x43, 0xcd, 0x13, 0x72, 0x08], // si = 0x7c90; jc fail
    ...[0xbe, 0xa0, 0x7c, 0xe8, 0x0b, 0x00, 0xeb, 0x06], // puts "written"; jmp end
    ...[0xbe, 0xb0, 0x7c, 0xe8, 0x03, 0x00], // fail: puts "failed"
    ...[0xf4, 0xeb, 0xfd], // end: hlt; jmp end
    ...[0x52, 0xac, 0x84, 0xc0, 0x74, 0x06], // puts: push dx; lodsb; test al, al; jz done
    ...[0xba, 0xf8, 0x03, 0xee, 0xeb, 0xf5], // mov dx, 0x3f8; out dx, al; jmp to the lodsb
    ...[0x5a, 0xc3], // done: pop dx; ret
  ];
  const sector = Buffer.alloc(SECTOR_BYTES);
  Buffer.from(code).copy(sector);
  Buffer.from([...packet(1), ...packet(2)]).copy(sector, 0x80);
  sector.write('written\n', 0xa0);
  sector.write('failed\n', 0xb0);
  // One active partition, and the signature.
  sector[446] = 0x80;
  sector[450] = 0x83;
  sector.writeUInt32LE(8, 454);
  sector.writeUInt32LE(100, 458);
  sector.writeUInt16LE(0xaa55, 510);
  return sector;
}

test('SeaBIOS boots from a virtio disk, and reads and writes it', async ({ skip }) => {
  const reason = fetchReason('seabios');
  skip(reason !== undefined, reason);
  const disk = join(folder, 'boot.img');
  const image = Buffer.alloc(1 << 20);
  bootSector().copy(image);
  image.write('hello from sector one\n', SECTOR_BYTES);
  writeFileSync(disk, image);
  guest = new GuestProcess(
    ...['-m', '64M', '--drive', `if=virtio,file=${disk}`, '--exit-on', 'written|failed'],
    ...['--timeout', '120'],
  );
  expect(await guest.exitCode(), guest.output).toBe(0);
  expect(guest.output).toMatch(/hello from sector one\s+written/);
  const after = readFileSync(disk);
  const sector = (index: number) =>
    after.subarray(SECTOR_BYTES * index, SECTOR_BYTES * (index + 1));
  expect(sector(2).equals(sector(1))).toBe(true);
});
