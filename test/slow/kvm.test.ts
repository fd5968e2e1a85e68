// What KVM runs of everything that the software accelerator runs: the same instruction forms, the
// same guest programs, Debian's SeaBIOS from start to menu and from one accelerator to another.

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import { kvmAccelerator } from '../../src/accel/kvm/kvm-accelerator.ts';
import { emulatedKVM, missingKVM } from '../../src/accel/kvm/missing-kvm.ts';
import { softwareAccelerator } from '../../src/accel/software/index.ts';
import { findFetched, guestByName } from '../../src/cli/guests/store.ts';
import { nodeHost } from '../../src/cli/node-host.ts';
import { NODE_PLATFORM } from '../../src/cli/snapshot/node-platform.ts';
import type { Accelerator } from '../../src/cpu/vcpu.ts';
import { Machine } from '../../src/machine/machine.ts';
import { MachineSnapshots } from '../../src/snapshot/machine-snapshots.ts';
import { MemoryStore } from '../../src/snapshot/memory-store.ts';
import { buildGuest, missingTool, runInQuire, selfCheckingGuests } from '../guests/run-guest.ts';
import { testAccelerator } from '../oracle/accelerator-cases.ts';
import { fetchReason, GuestProcess } from './guest-process.ts';

const CASES_PER_FORM = 200;
const MIB = 2 ** 20;
const FIRMWARE = 'seabios';
const MENU = 'Press ESC for boot menu';
/** Printed about half-way: before it memory is sized, after it disks are looked for. */
const HALF_WAY = 'PCI: map device';

const later = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

const missing = missingKVM();
// Forms and programs need paging, privilege 3 and x87.
const emulated = emulatedKVM();

if (emulated === undefined)
  testAccelerator('kvm', () => kvmAccelerator(), { count: CASES_PER_FORM });
else test.skip(`kvm: instruction forms (${emulated})`, () => {});

const noGuests = emulated ?? missingTool('gcc');

describe.skipIf(noGuests !== undefined)(`guest programs ${noGuests ?? ''}`, () => {
  test.each(selfCheckingGuests())('%s on KVM', (name) => {
    const output = runInQuire(buildGuest(name), kvmAccelerator());
    expect(output.split('\n').filter((line) => line.includes('FAIL'))).toEqual([]);
    expect(output.trimEnd().split('\n').at(-1)).toBe('DONE');
  });
});

const machines: Machine[] = [];
afterEach(() => {
  for (const machine of machines.splice(0)) machine.close();
});

function firmwareMachine(accelerator: Accelerator, isBlank: boolean): Machine {
  const { biosPath, vgaBIOSPath } = findFetched(guestByName(FIRMWARE))!;
  const machine = Machine.create({
    memoryBytes: 32 * MIB,
    accelerator,
    host: nodeHost,
    isBlank,
    firmware: {
      bios: readFileSync(biosPath!),
      vgaBIOS: readFileSync(vgaBIOSPath!),
      hasBootMenu: true,
    },
  });
  machines.push(machine);
  return machine;
}

/** Runs until the debug port has said `pattern`; what it said by then, from `before` on. */
function runUntil(machine: Machine, pattern: string, before: string): Promise<string> {
  let log = before;
  return new Promise((resolve, reject) => {
    machine.onEnd = (end) => reject(new Error(`The machine ended: ${JSON.stringify(end)}`));
    machine.onDebug = (value) => {
      log += String.fromCharCode(value);
      if (!log.endsWith(pattern)) return;
      machine.onDebug = () => {};
      resolve(log);
    };
    machine.start();
  });
}

test('SeaBIOS shows its boot menu on KVM', async ({ skip }) => {
  const reason = missing ?? fetchReason(FIRMWARE);
  skip(reason !== undefined, reason);
  const guest = new GuestProcess(
    ...['--guest', FIRMWARE, '--accel', 'kvm', '--serial', 'none', '--boot', 'menu=on'],
    ...['--screen-exit-on', MENU, '--timeout', '300'],
  );
  const code = await guest.exitCode();
  expect([code, guest.output.slice(-500)]).toEqual([0, expect.any(String)]);
});

// A guest that does nothing but spin, interrupts off, must not take the terminal away.
test('Ctrl-A c, the monitor and Ctrl-A x work while a guest on KVM spins', async ({ skip }) => {
  skip(missing !== undefined, missing);
  const folder = mkdtempSync(join(tmpdir(), 'quire-kvm-'));
  try {
    const bios = new Uint8Array(128 * 1024).fill(0xf4);
    bios.set([0xfa, 0xeb, 0xfe], bios.length - 16); // cli; jmp $ at the reset vector
    const path = join(folder, 'bios.bin');
    writeFileSync(path, bios);
    const guest = new GuestProcess(
      ...['--accel', 'kvm', '--bios', path, '--vgabios', 'none', '-m', '16', '--timeout', '120'],
    );
    await later(3000);
    guest.type('\x01cinfo registers\n');
    await guest.expect(/EIP=0000fff1/, 60);
    guest.type('\x01x');
    expect(await guest.exitCode()).toBe(0);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test.each([
  ['kvm', 'kvm'],
  ['software', 'kvm'],
  ['kvm', 'software'],
])('SeaBIOS is saved half-way on %s and comes to its menu on %s', async (from, to) => {
  const reason = missing ?? fetchReason(FIRMWARE);
  if (reason !== undefined) {
    console.log(`skipped: ${reason}`);
    return;
  }
  const accelerator = (name: string) => (name === 'kvm' ? kvmAccelerator() : softwareAccelerator);
  const store = new MemoryStore(NODE_PLATFORM);
  const first = firmwareMachine(accelerator(from), false);
  const half = await runUntil(first, HALF_WAY, '');
  await new MachineSnapshots(first, { store, platform: NODE_PLATFORM }).save('half');
  // What it says after the save comes again from the one that goes on.
  first.close();
  const second = firmwareMachine(accelerator(to), true);
  await new MachineSnapshots(second, { store, platform: NODE_PLATFORM }).load('half');
  const log = await runUntil(second, MENU, half);
  expect(log).toMatch(/SeaBIOS \(version /);
  expect(log).toContain('PS2 keyboard initialized');
});
