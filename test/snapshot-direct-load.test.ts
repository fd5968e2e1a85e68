// Loads into a machine that has never run: its RAM is written while it is read, so a failure must
// leave zeros, and a machine that takes the next load.

import { mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { DirectoryStore } from '../src/cli/snapshot/directory-store.ts';
import { NODE_PLATFORM, ZSTD } from '../src/cli/snapshot/node-platform.ts';
import type { Machine } from '../src/machine/machine.ts';
import { MachineSnapshots } from '../src/snapshot/machine-snapshots.ts';
import { SnapshotReader } from '../src/snapshot/snapshot-reader.ts';
import {
  blankMachine,
  countedMemory,
  countedPart,
  countingMachine,
  countOf,
} from './snapshot-guest.ts';

let folder = '';
let store: DirectoryStore;
beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'quire-direct-'));
  store = await DirectoryStore.open(folder);
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const MEMORY_BYTES = 4 << 20;
const options = () => ({ store, platform: NODE_PLATFORM });
const blank = (): Machine => blankMachine({ isBlank: true, memoryBytes: MEMORY_BYTES });

const isCounted = (machine: Machine): boolean =>
  Buffer.compare(
    new Uint8Array(countedPart(machine).buffer),
    new Uint8Array(countedMemory(countOf(machine)).buffer),
  ) === 0;

const isZeros = ({ pc }: Machine): boolean => pc.ram.bytes.every((byte) => byte === 0);

/** Snapshots `full`, and `more`, whose pages lie in blobs of both. */
async function saveTwo(isCompressed = false): Promise<Machine> {
  const source = countingMachine({ memoryBytes: MEMORY_BYTES });
  // Behind what the guest writes, so that there are several blobs.
  source.addressSpace.writeBytes(3 << 20, new Uint8Array(1 << 20).fill(7));
  const snapshots = new MachineSnapshots(source, {
    ...options(),
    ...(isCompressed ? { compression: ZSTD } : {}),
  });
  source.vcpu.run(5_000);
  await snapshots.save('full');
  source.vcpu.run(777);
  await snapshots.save('more', { kind: 'incremental' });
  return source;
}

/** Path of the last blob of pages of guest RAM. */
async function lastBlob(tag: string): Promise<string> {
  const { pageIndex } = await SnapshotReader.open(store, NODE_PLATFORM, tag);
  const ram = pageIndex.blocks.findIndex(({ sizeBytes }) => sizeBytes === MEMORY_BYTES);
  const run = pageIndex.runs.findLast(({ blockIndex }) => blockIndex === ram)!;
  return join(folder, 'blobs', 'sha256', pageIndex.blobs[run.blobIndex]!.digest.slice(7));
}

test.each([false, true])('whole and incremental ones arrive (zstd: %s)', async (isCompressed) => {
  const source = await saveTwo(isCompressed);
  for (const tag of ['full', 'more']) {
    const machine = blank();
    let doneBytes = 0;
    let total = -1;
    await new MachineSnapshots(machine, options()).load(tag, {
      onProgress: (done, totalBytes) => {
        doneBytes = done;
        total = totalBytes;
      },
    });
    expect(isCounted(machine)).toBe(true);
    expect(machine.pc.ram.bytes[MEMORY_BYTES - 1]).toBe(7);
    expect(doneBytes).toBe(total);
    if (tag === 'more') expect(countOf(machine)).toBe(countOf(source));
  }
});

// Goal: nothing unverified is left in a machine, and no half of a snapshot.
test.each([
  [
    'flipped',
    (path: string) => {
      const bytes = readFileSync(path);
      bytes[bytes.length >> 1]! ^= 1;
      writeFileSync(path, bytes);
    },
    'CORRUPT',
  ],
  ['cut off', (path: string) => truncateSync(path, 4096), 'MISSING_BLOB'],
] as const)(
  'a blob that is %s leaves zeros, and the next load is right',
  async (_how, harm, code) => {
    await saveTwo();
    const machine = blank();
    const snapshots = new MachineSnapshots(machine, options());
    const path = await lastBlob('more');
    const good = readFileSync(path);
    harm(path);
    await expect(snapshots.load('more')).rejects.toMatchObject({ code });
    expect(isZeros(machine)).toBe(true);
    expect(machine.state).toBe('created');
    writeFileSync(path, good);
    await snapshots.load('more');
    expect(isCounted(machine)).toBe(true);
    machine.vcpu.run(1_000);
    expect(isCounted(machine)).toBe(true);
  },
);

test('a load that is given up leaves zeros', async () => {
  await saveTwo();
  const machine = blank();
  const controller = new AbortController();
  const load = new MachineSnapshots(machine, options()).load('full', {
    signal: controller.signal,
    onProgress: () => controller.abort(),
  });
  await expect(load).rejects.toThrow(/abort/i);
  expect(isZeros(machine)).toBe(true);
});

test('a machine that is started while its RAM comes runs what was loaded', async () => {
  await saveTwo();
  const machine = blank();
  await new MachineSnapshots(machine, options()).load('full', {
    onProgress: (done, total) => {
      if (done === total) machine.start();
    },
  });
  const count = countOf(machine);
  for (let i = 0; i < 1000 && countOf(machine) === count; i++)
    await new Promise((resolve) => setImmediate(resolve));
  await machine.pause();
  expect(countOf(machine)).toBeGreaterThan(count);
  expect(isCounted(machine)).toBe(true);
});

// Goal: what a guest has written is not taken for the zeros of a machine that never ran.
test('a machine that ran before its RAM came is loaded all the same', async () => {
  await saveTwo();
  const machine = blank();
  let isFirst = true;
  await new MachineSnapshots(machine, options()).load('full', {
    onProgress: () => {
      if (!isFirst) return;
      isFirst = false;
      machine.start(); // Video memory is read first, and the machine is not held yet.
      void machine.pause();
      machine.addressSpace.write(0x18_0000, 4, 0x1234_5678);
      machine.addressSpace.write(0x28_0000, 4, 0x1234_5678);
    },
  });
  expect(isCounted(machine)).toBe(true);
  expect(machine.pc.ram.bytes[0x28_0000]).toBe(0);
});
