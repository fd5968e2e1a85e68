// Lazy loads bring pages in the order in which the last run touched them.

import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, expect, test } from 'vitest';
import { DirectoryStore } from '../src/cli/snapshot/directory-store.ts';
import { NODE_PLATFORM } from '../src/cli/snapshot/node-platform.ts';
import { enterProtectedMode } from '../src/machine/boot/boot-target.ts';
import type { Machine } from '../src/machine/machine.ts';
import { writeAttachment } from '../src/snapshot/attachment.ts';
import { MachineSnapshots } from '../src/snapshot/machine-snapshots.ts';
import { MemoryStore } from '../src/snapshot/memory-store.ts';
import { SnapshotError } from '../src/snapshot/snapshot-error.ts';
import { SnapshotReader } from '../src/snapshot/snapshot-reader.ts';
import type { SnapshotStore } from '../src/snapshot/store.ts';
import {
  decodeTouchOrder,
  encodeTouchOrder,
  TOUCH_ORDER_TYPE,
} from '../src/snapshot/touch-order.ts';
import { verifySnapshot } from '../src/snapshot/verify.ts';
import { FakeHost } from './fake-host.ts';
import { fuzzOptions } from './fuzz-options.ts';
import { blankMachine } from './snapshot-guest.ts';

const MIB = 2 ** 20;
const RAM_MIB = 12;
const CODE_GPA = 0x1000;
const TAG = 's';
/** What the guest reads, MiB. Its code is in the first. */
const READS = [9, 4, 7];

const closers: (() => void)[] = [];
afterEach(() => {
  for (const close of closers.splice(0)) close();
});

function directory(): string {
  const path = mkdtempSync(join(tmpdir(), 'quire-order-'));
  closers.push(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

/** A guest that reads a word of some MiB, one after the other, and then stands on the spot. */
function reader(reads: readonly number[]): Machine {
  const machine = blankMachine({ memoryBytes: RAM_MIB * MIB });
  const code = reads.flatMap((mib) => [0xa1, 0, 0, mib << 4, 0]); // mov eax, [mib << 20]
  machine.addressSpace.loadBytes(CODE_GPA, Uint8Array.from([...code, 0xeb, 0xfe]));
  for (let mib = 1; mib < RAM_MIB; mib++) machine.addressSpace.write(mib * MIB, 4, mib);
  enterProtectedMode(machine.vcpu.state, {
    eip: CODE_GPA,
    gdtGpa: 0,
    gdtBytes: 8,
    codeSelector: 0x10,
    dataSelector: 0x18,
  });
  machine.vcpu.synchronize();
  return machine;
}

const blank = (): Machine => blankMachine({ memoryBytes: RAM_MIB * MIB, isBlank: true });
const snapshotsOf = (machine: Machine, store: SnapshotStore): MachineSnapshots =>
  new MachineSnapshots(machine, { store, platform: NODE_PLATFORM });

async function save(store: SnapshotStore, reads: readonly number[] = READS): Promise<void> {
  await snapshotsOf(reader(reads), store).save(TAG);
}

/** Loads lazily and runs: at once, or when all is there. */
async function loadAndRun(
  store: SnapshotStore,
  { count = 20, isLate = false } = {},
): Promise<string[]> {
  const machine = blank();
  const notes: string[] = [];
  const snapshots = snapshotsOf(machine, store);
  await snapshots.load(TAG, { isLazy: true, onNote: (note) => notes.push(note) });
  if (isLate) await snapshots.lazy!.done;
  machine.vcpu.run(count);
  await snapshots.lazy!.done;
  for (let mib = 1; mib < RAM_MIB; mib++)
    expect(machine.pc.ram.bytes[mib * MIB], `MiB ${mib}`).toBe(mib);
  await snapshots.close();
  expect(machine.memory.ramList.missing).toBeUndefined();
  machine.close();
  return notes;
}

/** Which MiB a lazy load brings, in order, while the guest stands still. */
async function backgroundOrder(store: SnapshotStore): Promise<number[]> {
  const { pageIndex } = await SnapshotReader.open(store, NODE_PLATFORM, TAG);
  const order: number[] = [];
  const getBlob = store.getBlob.bind(store);
  const watched = Object.create(store, {
    getBlob: {
      value: (key: Parameters<typeof getBlob>[0]) => {
        const blob = pageIndex.blobs.findIndex(({ digest }) => digest === key.digest);
        const run = pageIndex.runs.find(({ blobIndex }) => blobIndex === blob);
        if (run !== undefined && pageIndex.blocks[run.blockIndex]!.id === 'pc.ram')
          order.push(Math.floor((run.firstPage * 4096) / MIB));
        return getBlob(key);
      },
    },
  }) as SnapshotStore;
  // A store's private fields are its own.
  for (const name of ['attachmentOf', 'openWriter', 'resolve', 'firstMissing', 'list'] as const)
    Object.defineProperty(watched, name, { value: store[name].bind(store) });
  const snapshots = snapshotsOf(blank(), watched);
  await snapshots.load(TAG, { isLazy: true });
  await snapshots.lazy!.done;
  await snapshots.close();
  return order;
}

const REST = [1, 2, 3, 5, 6, 8, 10, 11];

test('the next lazy load brings what the last run touched first, then the rest', async () => {
  const store = new MemoryStore(NODE_PLATFORM);
  await save(store);
  const { digest } = await store.resolve(TAG);
  expect(await backgroundOrder(store)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]);
  expect(await loadAndRun(store)).toEqual([]);
  expect(await backgroundOrder(store)).toEqual([0, ...READS, ...REST]);
  // Nothing was touched this time, which is no news.
  expect(await backgroundOrder(store)).toEqual([0, ...READS, ...REST]);
  // A run that touches less: what is known of others comes behind.
  await loadAndRun(store, { count: 1 });
  expect(await backgroundOrder(store)).toEqual([0, ...READS, ...REST]);
  expect((await store.resolve(TAG)).digest).toBe(digest);
  expect((await verifySnapshot(store, NODE_PLATFORM, TAG)).note).toBeUndefined();
});

test('what came in the background before it was touched counts, too', async () => {
  const store = new MemoryStore(NODE_PLATFORM);
  await save(store);
  await loadAndRun(store, { isLate: true });
  expect(await backgroundOrder(store)).toEqual([0, ...READS, ...REST]);
});

test('it is kept after the first seconds of the guest, without anybody asking', async () => {
  const store = new MemoryStore(NODE_PLATFORM);
  await save(store);
  const host = new FakeHost();
  const machine = blankMachine({ memoryBytes: RAM_MIB * MIB, isBlank: true, host });
  const snapshots = snapshotsOf(machine, store);
  await snapshots.load(TAG, { isLazy: true });
  await snapshots.lazy!.done;
  machine.vcpu.run(20);
  machine.clock.start();
  for (const seconds of [3, 3]) {
    expect(machine.memory.ramList.missing).toBeDefined();
    host.timeMs += seconds * 1000;
    machine.clock.fireDue();
  }
  expect(machine.memory.ramList.missing).toBeUndefined();
  await snapshots.lazy!.touched;
  const { digest } = await store.resolve(TAG);
  await expect
    .poll(() => store.attachmentOf(digest, TOUCH_ORDER_TYPE), { interval: 1 })
    .toBeDefined();
  machine.close();
});

test('gc keeps it while a tag names its snapshot, and no longer', async () => {
  const path = directory();
  for (const store of [new MemoryStore(NODE_PLATFORM), await DirectoryStore.open(path)]) {
    await save(store);
    await loadAndRun(store);
    const { digest } = await store.resolve(TAG);
    expect((await store.gc()).removedCount).toBe(0);
    expect(await backgroundOrder(store)).toEqual([0, ...READS, ...REST]);
    await snapshotsOf(reader([1]), store).save(TAG);
    expect(await store.attachmentOf(digest, TOUCH_ORDER_TYPE)).toBeUndefined();
    await loadAndRun(store);
    await store.deleteTag(TAG);
    await store.gc();
    expect(await store.gc()).toMatchObject({ keptCount: 0, removedCount: 0 });
  }
  expect(readdirSync(join(path, 'blobs', 'sha256'))).toEqual([]);
  expect(JSON.parse(readFileSync(join(path, 'index.json'), 'utf8')).manifests).toEqual([]);
});

// Goal: no gc may take what a machine is about to need, whatever happens to the tag.
test('gc is refused while a lazy load is under way', async () => {
  const store = await DirectoryStore.open(directory());
  await save(store);
  const machine = blank();
  const snapshots = snapshotsOf(machine, store);
  await snapshots.load(TAG, { isLazy: true });
  const getBlob = store.getBlob.bind(store);
  let goOn: () => void = () => {};
  const gate = new Promise<void>((resolve) => {
    goOn = resolve;
  });
  store.getBlob = async (...args) => {
    await gate;
    return getBlob(...args);
  };
  await store.deleteTag(TAG);
  await expect(store.gc()).rejects.toThrow('load lazily from it');
  expect(snapshots.lazy!.missingCount).toBeGreaterThan(0);
  goOn();
  await snapshots.lazy!.done;
  await snapshots.close();
  expect((await store.gc()).keptCount).toBe(0);
  expect(machine.pc.ram.bytes[9 * MIB]).toBe(9);
});

test('a snapshot that goes while it runs takes its order along', async () => {
  const store = new MemoryStore(NODE_PLATFORM);
  await save(store);
  const machine = blank();
  const snapshots = snapshotsOf(machine, store);
  await snapshots.load(TAG, { isLazy: true });
  machine.vcpu.run(20);
  await snapshots.lazy!.done;
  await store.deleteTag(TAG);
  await snapshots.close();
  await store.gc();
  expect(store.blobs.size).toBe(0);
});

// Goal: it only costs time; no load may fail for its sake, nor gc be refused.
test('one that is damaged, lost or foreign is a note, and gc takes it away', async () => {
  const path = directory();
  const store = await DirectoryStore.open(path);
  await save(store);
  const subject = await store.resolve(TAG);
  const foreign = encodeTouchOrder([{ id: 'other', sizeBytes: 4096 }], []);
  const blobFile = (digest: string) => join(path, 'blobs', 'sha256', digest.slice(7));
  const damages: [string, () => Promise<void>][] = [
    [
      'must be of the snapshot',
      async () =>
        void (await writeAttachment(store, NODE_PLATFORM, subject, TOUCH_ORDER_TYPE, foreign)),
    ],
    [
      'digest',
      async () => {
        const manifest = (await store.attachmentOf(subject.digest, TOUCH_ORDER_TYPE))!;
        const bytes = readFileSync(blobFile(manifest.digest));
        bytes[20] = bytes[20]! ^ 1;
        writeFileSync(blobFile(manifest.digest), bytes);
      },
    ],
    [
      'Cannot find blob',
      async () => {
        const manifest = (await store.attachmentOf(subject.digest, TOUCH_ORDER_TYPE))!;
        const { layers } = JSON.parse(readFileSync(blobFile(manifest.digest), 'utf8'));
        rmSync(blobFile(layers[0].digest));
      },
    ],
  ];
  for (const [message, damage] of damages) {
    await loadAndRun(store);
    await damage();
    const { note } = await verifySnapshot(store, NODE_PLATFORM, TAG);
    expect(note).toContain(message);
    const notes = await loadAndRun(store, { count: 1 });
    expect(notes[0]).toContain(message);
    await store.gc();
  }
  await loadAndRun(store);
  expect(await backgroundOrder(store)).toEqual([0, ...READS, ...REST]);
});

test('no bytes are taken for an order that are none', () => {
  const blocks = [
    { id: 'a', sizeBytes: 3 * 4096 },
    { id: 'b', sizeBytes: 4096 },
  ];
  const index = { blocks, blobs: [], runs: [] };
  const touches = [
    { blockIndex: 0, page: 2 },
    { blockIndex: 1, page: 0 },
  ];
  const good = encodeTouchOrder(blocks, touches);
  expect(decodeTouchOrder(good, index)).toEqual(touches);
  // Version 1 for ever, by docs/snapshot-format.md: header; "a", 0x3000; "b", 0x1000; two touches.
  const golden =
    '514f52440100000002000000020000000100610030000000000000010062001000000000000' +
    '000000000020000000100000000000000';
  expect(Buffer.from(good).toString('hex')).toBe(golden);
  fc.assert(
    fc.property(fc.nat({ max: good.length - 1 }), fc.nat({ max: 255 }), (at, value) => {
      for (const bytes of [good.slice(0, at), good.with(at, value)]) {
        try {
          for (const { blockIndex, page } of decodeTouchOrder(bytes, index))
            expect(page * 4096).toBeLessThan(blocks[blockIndex]!.sizeBytes);
        } catch (error) {
          expect(error).toBeInstanceOf(SnapshotError);
        }
      }
    }),
    fuzzOptions(300),
  );
});
