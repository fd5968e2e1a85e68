// Real guests, unmodified, from the distribution's packages, through the real command line.

import { afterEach, expect, test } from 'vitest';
import { fetchReason, GuestProcess } from './guest-process.ts';

const BOOT_SECONDS = 15 * 60;
const ANSWER_SECONDS = 120;
const PROMPT = /quire:\S*# /;

let guest: GuestProcess | undefined;
afterEach(async () => {
  await guest?.close();
  guest = undefined;
});

for (const name of ['debian-686', 'debian-686-pae'])
  test(`${name} boots to a prompt, answers uname and free, and powers off`, async ({ skip }) => {
    const reason = fetchReason(name);
    skip(reason !== undefined, reason);
    guest = new GuestProcess('--guest', name);
    await guest.expect(PROMPT, BOOT_SECONDS);
    console.log(`${name}: prompt after ${guest.elapsedSeconds.toFixed(1)} s`);

    guest.type('uname -a\r');
    const version = name.replace('debian-', '');
    const uname = new RegExp(`Linux quire \\S+-${version} .* i686 GNU/Linux`);
    await guest.expect(uname, ANSWER_SECONDS);
    await guest.expect(PROMPT, ANSWER_SECONDS);

    guest.type('free\r');
    const line = await guest.expect(/Mem: +\d+ +\d+ +\d+/, ANSWER_SECONDS);
    const [total, used, free] = line.match(/\d+/g)!.map(Number);
    // 128 MiB less what the kernel keeps for itself.
    expect(total).toBeGreaterThan(100_000);
    expect(total).toBeLessThan(131_072);
    expect(used! + free!).toBeLessThanOrEqual(total!);
    await guest.expect(PROMPT, ANSWER_SECONDS);

    // The monitor sees the machine whose guest this is.
    guest.type('\x01cinfo status\ninfo ramblock\n');
    await guest.expect(/VM status: running/, ANSWER_SECONDS);
    await guest.expect(/pc\.ram/, ANSWER_SECONDS);
    guest.type('\x01cexit\r');
    await guest.expect(/reboot: Power down/, ANSWER_SECONDS);
    expect(await guest.exitCode()).toBe(0);
  });

test('--exit-on ends a boot as soon as its pattern is there', async ({ skip }) => {
  const reason = fetchReason('debian-686');
  skip(reason !== undefined, reason);
  const seconds = String(BOOT_SECONDS);
  guest = new GuestProcess(
    ...['--guest', 'debian-686', '--exit-on', 'Linux version \\d', '--timeout', seconds],
  );
  expect(await guest.exitCode()).toBe(0);
  expect(guest.output).toContain('Linux version 6');
  expect(guest.output).not.toMatch(PROMPT);
});

test('memtest86+ runs its tests up to the bit-fade one without an error', async ({ skip }) => {
  const reason = fetchReason('memtest86+');
  skip(reason !== undefined, reason);
  guest = new GuestProcess('--guest', 'memtest86+', '-m', '8M');
  await guest.expect(/Memtest86\+ v/, 60);
  // It shows the test under way now and then, so short ones may never be seen.
  await guest.expect(/#10 +\[Bit fade/, BOOT_SECONDS);
  console.log(`memtest86+: bit fade after ${guest.elapsedSeconds.toFixed(1)} s`);
  expect(guest.output).toMatch(/Errors: +0/);
  expect(guest.output).not.toMatch(/Errors: +[1-9]/);
});
