// Lazy loads: the machine runs while its memory comes.

import { expect, test } from 'vitest';
import { softwareAccelerator } from '../src/accel/software/index.ts';
import { nodeHost } from '../src/cli/node-host.ts';
import { NODE_PLATFORM, ZSTD } from '../src/cli/snapshot/node-platform.ts';
import type { Machine } from '../src/machine/machine.ts';
import { cloneMachine } from '../src/snapshot/clone.ts';
import { MachineSnapshots } from '../src/snapshot/machine-snapshots.ts';
import { MemoryStore } from '../src/snapshot/memory-store.ts';
import { ResetPoint } from '../src/snapshot/reset-point.ts';
import {
  blankMachine,
  countedMemory,
  countedPart,
  countingMachine,
  countOf,
  GUEST_RAM_BYTES,
} from './snapshot-guest.ts';

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

const snapshotsOf = (machine: Machine, store: MemoryStore): MachineSnapshots =>
  new MachineSnapshots(machine, { store, platform: NODE_PLATFORM, compression: ZSTD });

const isCounted = (machine: Machine): boolean =>
  Buffer.compare(
    Buffer.from(countedPart(machine).buffer),
    Buffer.from(countedMemory(countOf(machine)).buffer),
  ) === 0;

/** A store with a snapshot of a guest that has counted for a while. */
async function saved(): Promise<{ store: MemoryStore; source: Machine }> {
  const store = new MemoryStore(NODE_PLATFORM);
  const source = countingMachine();
  source.vcpu.run(6_000);
  const snapshots = snapshotsOf(source, store);
  await snapshots.save('full');
  source.vcpu.run(600);
  await snapshots.save('s', { kind: 'incremental' });
  return { store, source };
}

test('a lazily loaded machine runs at once, and is right when all is there', async () => {
  const { store, source } = await saved();
  const machine = blankMachine({ isBlank: true });
  const snapshots = snapshotsOf(machine, store);
  await snapshots.load('s', { isLazy: true });
  expect(snapshots.lazy!.missingCount).toBeGreaterThan(0);
  machine.vcpu.run(12_345);
  source.vcpu.run(12_345);
  await snapshots.lazy!.done;
  expect(snapshots.lazy!.missingCount).toBe(0);
  await snapshots.close();
  expect(machine.memory.ramList.missing).toBeUndefined();
  expect(Buffer.compare(machine.pc.ram.bytes, source.pc.ram.bytes)).toBe(0);
  expect(isCounted(machine)).toBe(true);
});

test('it may be running, and be saved in the middle', async () => {
  const { store } = await saved();
  const machine = blankMachine();
  const snapshots = snapshotsOf(machine, store);
  machine.start();
  await turn();
  await snapshots.load('s', { isLazy: true });
  const [again] = await Promise.all([
    snapshots.save('again', { kind: 'full' }),
    snapshots.save('later', { kind: 'incremental' }),
  ]);
  expect(again.isIncremental).toBe(false);
  await machine.pause();
  for (const tag of ['again', 'later']) {
    const other = blankMachine({ isBlank: true });
    await snapshotsOf(other, store).load(tag);
    expect(isCounted(other)).toBe(true);
  }
});

test('another load in the middle replaces it', async () => {
  const { store } = await saved();
  const machine = blankMachine({ isBlank: true });
  const snapshots = snapshotsOf(machine, store);
  await snapshots.load('s', { isLazy: true });
  const { done } = snapshots.lazy!;
  machine.vcpu.run(50);
  await snapshots.load('full');
  await done;
  expect(isCounted(machine)).toBe(true);
  machine.vcpu.run(500);
  expect(isCounted(machine)).toBe(true);
});

test('it may be cloned in the middle, and taken back to a point', async () => {
  const { store, source } = await saved();
  const machine = blankMachine({ isBlank: true });
  const snapshots = snapshotsOf(machine, store);
  await snapshots.load('s', { isLazy: true });
  const options = {
    memoryBytes: GUEST_RAM_BYTES,
    accelerator: softwareAccelerator,
    host: nodeHost,
  };
  const { machine: clone, done } = await cloneMachine(machine, options);
  const point = await ResetPoint.take(machine);
  expect(snapshots.lazy!.missingCount).toBeGreaterThan(0);
  for (const each of [machine, clone, source]) each.vcpu.run(2_000);
  await Promise.all([done, snapshots.lazy!.done]);
  for (const each of [machine, clone])
    expect(Buffer.compare(each.pc.ram.bytes, source.pc.ram.bytes)).toBe(0);
  await point.reset();
  expect(isCounted(machine)).toBe(true);
  expect(countOf(machine)).toBeLessThan(countOf(clone));
  machine.vcpu.run(2_000);
  expect(Buffer.compare(machine.pc.ram.bytes, source.pc.ram.bytes)).toBe(0);
});

// Goal: failures 14 and 15: losing the store is a clear error, and never zeros.
test('a machine whose store is lost half-way stops with that error', async () => {
  const { store } = await saved();
  const machine = blankMachine({ isBlank: true });
  const snapshots = snapshotsOf(machine, store);
  await snapshots.load('s', { isLazy: true });
  store.blobs.clear();
  await expect(snapshots.lazy!.done).rejects.toMatchObject({ code: 'MISSING_BLOB' });
  const end = await machine.run();
  expect(end).toMatchObject({ kind: 'failure', error: { code: 'MISSING_BLOB' } });
  await expect(snapshots.save('t', { kind: 'full' })).rejects.toThrow();
});
