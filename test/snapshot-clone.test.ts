// Clones: a machine copied while it runs, in one process.

import { expect, test } from 'vitest';
import { softwareAccelerator } from '../src/accel/software/index.ts';
import { nodeHost } from '../src/cli/node-host.ts';
import type { Machine } from '../src/machine/machine.ts';
import { cloneMachine } from '../src/snapshot/clone.ts';
import { saveSections } from '../src/snapshot/machine-state.ts';
import { encodeSections } from '../src/snapshot/sections.ts';
import {
  countedMemory,
  countedPart,
  countingMachine,
  countOf,
  GUEST_RAM_BYTES,
} from './snapshot-guest.ts';

const OPTIONS = {
  memoryBytes: GUEST_RAM_BYTES,
  accelerator: softwareAccelerator,
  host: nodeHost,
};

const isCounted = (machine: Machine): boolean =>
  Buffer.compare(
    Buffer.from(countedPart(machine).buffer),
    Buffer.from(countedMemory(countOf(machine)).buffer),
  ) === 0;

const sectionsOf = (machine: Machine): Promise<Uint8Array> =>
  machine.standStill(() => encodeSections(saveSections(machine)));

test('a clone is equal, and both go on by themselves', async () => {
  const source = countingMachine();
  source.vcpu.run(5_000);
  const { machine, done } = await cloneMachine(source, OPTIONS);
  expect(await sectionsOf(machine)).toEqual(await sectionsOf(source));
  source.vcpu.run(2_000);
  machine.vcpu.run(77);
  const count = countOf(machine);
  await done;
  expect(countOf(source)).toBeGreaterThan(count);
  for (const each of [source, machine]) expect(isCounted(each)).toBe(true);
  machine.vcpu.run(3_000);
  for (const each of [source, machine]) expect(isCounted(each)).toBe(true);
});

test('clones of a running machine, and clones of clones', async () => {
  const source = countingMachine();
  source.start();
  const clones = await Promise.all([cloneMachine(source, OPTIONS), cloneMachine(source, OPTIONS)]);
  const grandchild = await cloneMachine(clones[0]!.machine, OPTIONS);
  clones[1]!.machine.start();
  await Promise.all([...clones, grandchild].map(({ done }) => done));
  await clones[1]!.machine.pause();
  await source.pause();
  for (const { machine } of [...clones, grandchild]) expect(isCounted(machine)).toBe(true);
  expect(isCounted(source)).toBe(true);
});

test('a clone of another machine is refused', async () => {
  const source = countingMachine();
  await expect(cloneMachine(source, { ...OPTIONS, serialCount: 2 })).rejects.toMatchObject({
    code: 'MISMATCH',
    subject: 'configuration.serialCount',
  });
});
