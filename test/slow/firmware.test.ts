// Media that nobody here made, through Debian's SeaBIOS, by the real command line.

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, expect, test } from 'vitest';
import { findFetched, guestByName } from '../../src/cli/guests/store.ts';
import { fetchReason, GuestProcess } from './guest-process.ts';

const BOOT_SECONDS = 15 * 60;
const FIRMWARE = 'seabios';

let guest: GuestProcess | undefined;
const folders: string[] = [];
afterEach(async () => {
  await guest?.close();
  guest = undefined;
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true });
});

function createFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'quire-firmware-'));
  folders.push(folder);
  return folder;
}

/** Runs a guest until its screen shows `pattern`, and returns the debug console's log. */
async function runToScreen(name: string, pattern: string, ...options: string[]): Promise<string> {
  const log = join(createFolder(), 'log');
  guest = new GuestProcess(
    ...['--guest', name, '--serial', 'none', '--debugcon', `file:${log}`],
    ...['--screen-exit-on', pattern, '--timeout', String(BOOT_SECONDS), ...options],
  );
  const code = await guest.exitCode();
  console.log(`${name}: "${pattern}" after ${guest.elapsedSeconds.toFixed(1)} s`);
  expect([code, guest.output.slice(-500)]).toEqual([0, expect.any(String)]);
  return readFileSync(log, 'latin1');
}

test('SeaBIOS shows its banner and offers its boot menu', async ({ skip }) => {
  const reason = fetchReason(FIRMWARE);
  skip(reason !== undefined, reason);
  const log = await runToScreen(FIRMWARE, 'Press ESC for boot menu', '--boot', 'menu=on');
  expect(log).toMatch(/SeaBIOS \(version /);
  expect(log).toContain('Found QEMU fw_cfg');
  expect(log).toContain('PCI: map device bdf=00:02.0  bar 0, addr fd000000');
  expect(log).toMatch(/table\(50434146\)=0x\w+ \(via rsdt\)/);
});

test('SeaBIOS is told of RAM below and above the PCI hole', async ({ skip }) => {
  const reason = fetchReason(FIRMWARE);
  skip(reason !== undefined, reason);
  const log = await runToScreen(FIRMWARE, 'No bootable device', '-m', '3680');
  expect(log).toMatch(/: 0000000000100000 - 00000000dfff\w000 = 1 RAM/);
  expect(log).toContain(': 0000000100000000 - 0000000106000000 = 1 RAM');
});

test('Escape opens the boot menu, with the drives in it', async ({ skip }) => {
  const reason = fetchReason(FIRMWARE) ?? fetchReason('memtest86+iso');
  skip(reason !== undefined, reason);
  guest = new GuestProcess(
    ...['--guest', 'memtest86+iso', '--serial', 'none', '--boot', 'menu=on'],
    ...['--screen-exit-on', 'Select boot device', '--timeout', String(BOOT_SECONDS)],
    ...['--debugcon', 'stdio'],
  );
  await guest.expect(/Press ESC for boot menu/, BOOT_SECONDS);
  guest.type('sendkey esc\n');
  expect(await guest.exitCode()).toBe(0);
});

test.each([
  ['da', 'Booting from DVD/CD'],
  ['ad', 'Booting from Floppy'],
])('--boot order=%s of two media: %s', async (order, pattern) => {
  const reasons = [FIRMWARE, 'grub-cdrom', 'grub-floppy'].map(fetchReason);
  const reason = reasons.find((each) => each !== undefined);
  if (reason !== undefined) throw new Error(reason);
  const floppy = findFetched(guestByName('grub-floppy'))!.floppyPath!;
  const options = ['--fda', floppy, '--boot', `order=${order}`];
  const log = await runToScreen('grub-cdrom', pattern, ...options);
  expect(log.match(/Booting from [A-Z].*/g)).toEqual([`${pattern}...`]);
});

test('a floppy disk without a boot record is passed over, as is a blank disk and CD', async ({
  skip,
}) => {
  const reason = fetchReason(FIRMWARE);
  skip(reason !== undefined, reason);
  const folder = createFolder();
  const [floppy, disk, disc] = ['a.img', 'c.img', 'd.iso'].map((name) => join(folder, name));
  for (const path of [floppy, disk, disc]) writeFileSync(path!, new Uint8Array(1_474_560));
  const drives = ['--fda', floppy!, '--hda', disk!, '--cdrom', disc!];
  const log = await runToScreen(FIRMWARE, 'No bootable', '--boot', 'order=acd', ...drives);
  expect(log.match(/Boot failed: .*/g)).toEqual([
    'Boot failed: not a bootable disk',
    'Boot failed: not a bootable disk',
    expect.stringMatching(/^Boot failed: Could not read from CDROM \(code \w+\)$/),
  ]);
});

test.each([
  ['memtest86+iso', 'Test #[3-9]'],
  ['grub-floppy', 'GNU GRUB +version 2'],
  ['grub-cdrom', 'GNU GRUB +version 2'],
  ['ipxe', 'iPXE 1\\.\\d'],
])('%s starts from its medium: %s', async (name, pattern) => {
  const reason = fetchReason(FIRMWARE) ?? fetchReason(name);
  if (reason !== undefined) throw new Error(reason);
  const log = await runToScreen(name, pattern);
  expect(log).toContain('Booting from 0000:7c00');
});

test('GRUB comes to its prompt when c is typed', async ({ skip }) => {
  const reason = fetchReason(FIRMWARE) ?? fetchReason('grub-cdrom');
  skip(reason !== undefined, reason);
  guest = new GuestProcess(
    ...['--guest', 'grub-cdrom', '--serial', 'none', '--debugcon', 'stdio'],
    ...['--screen-exit-on', 'grub>', '--timeout', String(BOOT_SECONDS)],
  );
  await guest.expect(/Booting from 0000:7c00/, BOOT_SECONDS);
  const timer = setInterval(() => guest?.type('sendkey c\n'), 5000);
  const code = await guest.exitCode();
  clearInterval(timer);
  expect(code).toBe(0);
});

test('iPXE comes to its prompt by Ctrl-B', async ({ skip }) => {
  const reason = fetchReason(FIRMWARE) ?? fetchReason('ipxe');
  skip(reason !== undefined, reason);
  guest = new GuestProcess(
    ...['--guest', 'ipxe', '--serial', 'none', '--debugcon', 'stdio'],
    ...['--screen-exit-on', 'iPXE>', '--timeout', String(BOOT_SECONDS)],
  );
  await guest.expect(/Booting from 0000:7c00/, BOOT_SECONDS);
  // Not at once: a key that ISOLINUX sees stops it. What is typed early waits for iPXE.
  await new Promise((resolve) => setTimeout(resolve, 3000));
  const timer = setInterval(() => guest?.type('sendkey ctrl-b\n'), 300);
  const code = await guest.exitCode();
  clearInterval(timer);
  expect(code).toBe(0);
});

test("Debian's installer comes to its first screen", async ({ skip }) => {
  const reason = fetchReason('debian-installer');
  skip(reason !== undefined, reason);
  guest = new GuestProcess(
    ...['--guest', 'debian-installer', '--serial', 'none'],
    ...['--screen-exit-on', 'Select a language', '--timeout', String(BOOT_SECONDS)],
  );
  expect(await guest.exitCode()).toBe(0);
  console.log(`debian-installer: first screen after ${guest.elapsedSeconds.toFixed(1)} s`);
});

test('an option ROM with a bad checksum is left out by the firmware, which goes on', async ({
  skip,
}) => {
  const reason = fetchReason(FIRMWARE);
  skip(reason !== undefined, reason);
  const folder = createFolder();
  const rom = new Uint8Array(0x8000);
  rom.set([0x55, 0xaa, 0x40, 0xf4, 0xeb, 0xfd]); // Halts for ever, if anybody calls it.
  const path = join(folder, 'bad.rom');
  writeFileSync(path, rom);
  guest = new GuestProcess(
    ...['--guest', FIRMWARE, '--vgabios', path, '--serial', 'none', '--debugcon', 'stdio'],
    ...['--exit-on', 'No bootable device', '--timeout', String(BOOT_SECONDS)],
  );
  expect(await guest.exitCode()).toBe(0);
  expect(guest.output).not.toContain('Running option rom at c000');
});

// Goal: what is flashed is on disk after a restart. The firmware is ours: it programs a byte of
// the chip that it runs in, and tells what was there before and is there now.
test('what a guest programs into its flash chip is in the file, and stays', async () => {
  const folder = createFolder();
  const flash = join(folder, 'flash.bin');
  const image = new Uint8Array(0x1_0000).fill(0xff);
  // A chip that is not in read-array mode cannot be run from, so this copies itself to RAM:
  // mov ax, 0xf000; mov ds, ax; xor ax, ax; mov es, ax; mov si, 0xff20; mov di, 0x7000;
  // mov cx, 0x40; cld; rep movsb; jmp 0:0x7000
  const copy = [
    ...[0xb8, 0x00, 0xf0, 0x8e, 0xd8, 0x31, 0xc0, 0x8e, 0xc0, 0xbe, 0x20, 0xff],
    ...[0xbf, 0x00, 0x70, 0xb9, 0x40, 0x00, 0xfc, 0xf3, 0xa4, 0xea, 0x00, 0x70, 0x00, 0x00],
  ];
  // mov al, [0]; out 0xe9, al; mov byte [0], 0x40; the same with 0x12 and 0xff; mov al, [0];
  // out 0xe9, al; hlt
  const program = [
    ...[0xa0, 0x00, 0x00, 0xe6, 0xe9],
    ...[0xc6, 0x06, 0x00, 0x00, 0x40, 0xc6, 0x06, 0x00, 0x00, 0x12],
    ...[0xc6, 0x06, 0x00, 0x00, 0xff, 0xa0, 0x00, 0x00, 0xe6, 0xe9, 0xf4, 0xeb, 0xfd],
  ];
  image.set(copy, 0xff00);
  image.set(program, 0xff20);
  image.set([0xea, 0x00, 0xff, 0x00, 0xf0], 0xfff0);
  image[0] = 0x13;
  writeFileSync(flash, image);
  for (const said of ['\\x13\\x12', '\\x12\\x12']) {
    guest = new GuestProcess(
      ...['--pflash', flash, '--vgabios', 'none', '--serial', 'none', '--debugcon', 'stdio'],
      ...['--exit-on', said, '--timeout', '60'],
    );
    expect(await guest.exitCode()).toBe(0);
    expect([...readFileSync(flash).subarray(0, 2)]).toEqual([0x12, 0xff]);
  }
});
