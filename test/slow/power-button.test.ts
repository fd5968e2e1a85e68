// The power button, with a guest that listens: Debian's kernel hears of it by an ACPI interrupt,
// and BusyBox's acpid, which waits for it, switches the machine off.

import { rmSync } from 'node:fs';
import { afterEach, expect, test } from 'vitest';
import { GuestProcess } from './guest-process.ts';
import { LINUX_PROMPT, type LinuxGuest, linuxGuestOrReason } from './linux-guest.ts';

const BOOT_SECONDS = 15 * 60;
const ANSWER_SECONDS = 300;
const APPEND = 'console=ttyS0,115200 cryptomgr.notests';
/** Where acpid looks for what to do; the name is the event's. */
const ACTION = '/etc/acpi/PWRF/00000080';

let linux: LinuxGuest | undefined;
let guest: GuestProcess | undefined;
afterEach(async () => {
  await guest?.close();
  guest = undefined;
  if (linux !== undefined) rmSync(linux.folder, { recursive: true, force: true });
  linux = undefined;
});

test('system_powerdown reaches a guest that listens, which switches the machine off', async ({
  skip,
}) => {
  const found = await linuxGuestOrReason(['button', 'evdev']);
  if (typeof found === 'string') return skip(found);
  linux = found;
  guest = new GuestProcess(
    ...['-m', '128M', '--kernel', linux.kernelPath, '--initrd', linux.initrdPath],
    ...['--append', APPEND],
  );
  await guest.expect(LINUX_PROMPT, BOOT_SECONDS);
  const run = async (command: string): Promise<void> => {
    guest!.type(`${command}; echo "=$?="\r`);
    expect(await guest!.expect(/=\d+=/, ANSWER_SECONDS)).toBe('=0=');
    await guest!.expect(LINUX_PROMPT, ANSWER_SECONDS);
  };
  await run('grep -i power /proc/bus/input/devices');
  await run(`mkdir -p /var/log /var/run ${ACTION.slice(0, ACTION.lastIndexOf('/'))}`);
  await run(`printf '#!/bin/sh\\ncat /sys/firmware/acpi/interrupts/ff_pwr_btn > /dev/console\\n\
echo button heard > /dev/console\\npoweroff -f\\n' > ${ACTION}`);
  await run(`chmod +x ${ACTION}`);
  await run('acpid -l /tmp/log');
  // It is in the background; what is pressed before it has opened the devices is not told.
  await run('until ls -l /proc/$(pidof acpid)/fd | grep /dev/input/event1; do sleep 1; done');
  guest.type('\x01csystem_powerdown\n');
  await guest.expect(/ 1 +EN +enabled[\s\S]*button heard/, ANSWER_SECONDS);
  await guest.expect(/reboot: Power down/, ANSWER_SECONDS);
  expect(await guest.exitCode()).toBe(0);
});
