// What tells a guest that it was put back or copied: the generation ID and its event of ACPI.

import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { softwareAccelerator } from '../src/accel/software/index.ts';
import { nodeHost } from '../src/cli/node-host.ts';
import { NODE_PLATFORM } from '../src/cli/snapshot/node-platform.ts';
import { ACPI_ENABLE, GPE_ENABLE, GPE_STATUS } from '../src/devices/acpi-pm.ts';
import { buildDSDT } from '../src/machine/boot/acpi-tables.ts';
import { GENERATION_ID_EVENT, GENERATION_ID_GPA, PM_BASE } from '../src/machine/chipset.ts';
import type { Machine } from '../src/machine/machine.ts';
import type { DeviceConfig } from '../src/machine/virtio.ts';
import { cloneMachine } from '../src/snapshot/clone.ts';
import { MachineSnapshots } from '../src/snapshot/machine-snapshots.ts';
import { MemoryStore } from '../src/snapshot/memory-store.ts';
import { SnapshotReader } from '../src/snapshot/snapshot-reader.ts';
import { blankMachine, GUEST_RAM_BYTES } from './snapshot-guest.ts';

const EVENT_BIT = 1 << GENERATION_ID_EVENT;
/** OCW3: the next read of the 8259 gives its request register. */
const READ_REQUESTS = 0x0a;
const ACPI_COMMAND_PORT = 0xb2;
const IRQ9_BIT = 0x02;
const INITIALIZATION = [
  [0xa0, 0x11],
  [0xa1, 0x70],
  [0xa1, 0x02],
  [0xa1, 0x01],
] as const;

let drawn = 0;
const vmgenid = (): DeviceConfig => ({
  kind: 'vmgenid',
  fillRandom: (bytes) => new DataView(bytes.buffer).setUint32(0, ++drawn, true),
});
const options = () => ({
  memoryBytes: GUEST_RAM_BYTES,
  accelerator: softwareAccelerator,
  host: nodeHost,
  devices: [vmgenid()],
});
const idOf = (machine: Machine): number => machine.addressSpace.read(GENERATION_ID_GPA, 4);
const statusOf = (machine: Machine): number => machine.ports.read(PM_BASE + GPE_STATUS, 2);
const isSCIRaised = (machine: Machine): boolean => {
  machine.ports.write(0xa0, 1, READ_REQUESTS);
  return (machine.ports.read(0xa0, 1) & IRQ9_BIT) !== 0;
};

/** A guest that listens to the event. */
function listener(): Machine {
  const machine = blankMachine(options());
  // The second 8259: edge-triggered, cascaded.
  for (const [port, value] of INITIALIZATION) machine.ports.write(port, 1, value);
  machine.ports.write(ACPI_COMMAND_PORT, 1, ACPI_ENABLE);
  machine.ports.write(PM_BASE + GPE_ENABLE, 2, EVENT_BIT);
  return machine;
}

test('the guest reads the ID and cannot write it; a reset leaves it', () => {
  const machine = listener();
  const id = idOf(machine);
  machine.addressSpace.write(GENERATION_ID_GPA, 4, 0xdead_beef);
  machine.pc.reset();
  expect(idOf(machine)).toBe(id);
  expect(statusOf(machine)).toBe(0);
});

test('each load gives another ID and raises the SCI; the one that was is saved', async () => {
  const store = new MemoryStore(NODE_PLATFORM);
  const source = listener();
  const id = idOf(source);
  const snapshots = new MachineSnapshots(source, { store, platform: NODE_PLATFORM });
  await snapshots.save('one');
  expect([idOf(source), statusOf(source), isSCIRaised(source)]).toEqual([id, 0, false]);
  const { sections } = await SnapshotReader.open(store, NODE_PLATFORM, 'one');
  const saved = sections.find(({ name }) => name === 'vm-generation-id')!.values.get(1);
  expect(Array.from(saved as Uint8Array)[0]).toBe(id);
  const ids = new Set([id]);
  for (const isLazy of [false, true]) {
    const target = blankMachine({ ...options(), isBlank: true });
    ids.add(idOf(target));
    const loads = new MachineSnapshots(target, { store, platform: NODE_PLATFORM });
    await loads.load('one', { isLazy });
    await loads.lazy?.done;
    ids.add(idOf(target));
    expect([statusOf(target), isSCIRaised(target)]).toEqual([EVENT_BIT, true]);
  }
  await snapshots.load('one');
  ids.add(idOf(source));
  expect(ids.size).toBe(6);
  // The guest acknowledges it.
  source.ports.write(PM_BASE + GPE_STATUS, 2, EVENT_BIT);
  expect([statusOf(source), isSCIRaised(source)]).toEqual([0, false]);
});

test('each clone has an ID of its own; the original keeps its', async () => {
  const source = listener();
  const id = idOf(source);
  const clones = [await cloneMachine(source, options()), await cloneMachine(source, options())];
  const ids = clones.map(({ machine }) => idOf(machine));
  expect(new Set([id, ...ids]).size).toBe(3);
  for (const { machine, done } of clones) {
    expect([statusOf(machine), isSCIRaised(machine)]).toEqual([EVENT_BIT, true]);
    await done;
  }
  expect([idOf(source), statusOf(source)]).toEqual([id, 0]);
});

test('a machine without it refuses the snapshot of one that has it; two are refused', async () => {
  const store = new MemoryStore(NODE_PLATFORM);
  await new MachineSnapshots(listener(), { store, platform: NODE_PLATFORM }).save('one');
  const loads = new MachineSnapshots(blankMachine(), { store, platform: NODE_PLATFORM });
  await expect(loads.load('one')).rejects.toThrow('configuration.devices');
  expect(() => blankMachine({ devices: [vmgenid(), vmgenid()] })).toThrow('one "vmgenid" at most');
});

test('ACPI knows the device by its _CID, its address and its event', (context) => {
  if (spawnSync('iasl', ['-v']).status !== 0) return context.skip('iasl is not installed');
  const folder = mkdtempSync(join(tmpdir(), 'quire-dsdt-'));
  const source = (hasGenerationId: boolean): string => {
    const path = join(folder, 'dsdt');
    writeFileSync(`${path}.aml`, buildDSDT({ serialCount: 1, hasFloppy: false, hasGenerationId }));
    expect(spawnSync('iasl', ['-d', `${path}.aml`]).status).toBe(0);
    return readFileSync(`${path}.dsl`, 'utf8').replace(/\s+/g, ' ');
  };
  try {
    const text = source(true);
    expect(text).toMatch(/Device \(VGEN\).*_CID, Package.*"VM_Gen_Counter".*0xFEFFF000, Zero/);
    expect(text).toMatch(/Scope \(\\_GPE\) \{ Method \(_E05, 0, .* Notify \(\\_SB\.VGEN, 0x80\)/);
    expect(source(false)).not.toContain('VGEN');
  } finally {
    rmSync(folder, { recursive: true });
  }
});
