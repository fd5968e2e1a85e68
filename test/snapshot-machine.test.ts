// A machine saved and loaded: in the background, incrementally, refused, in the middle of things.

import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { NODE_PLATFORM } from '../src/cli/snapshot/node-platform.ts';
import { HALTED, INTERRUPT_SHADOW } from '../src/cpu/state-layout.ts';
import type { Machine } from '../src/machine/machine.ts';
import { MachineSnapshots } from '../src/snapshot/machine-snapshots.ts';
import { saveSections } from '../src/snapshot/machine-state.ts';
import { MemoryStore } from '../src/snapshot/memory-store.ts';
import { encodeSections } from '../src/snapshot/sections.ts';
import type { SnapshotProgress } from '../src/snapshot/snapshot-builder.ts';
import { fuzzOptions } from './fuzz-options.ts';
import {
  blankMachine,
  countedMemory,
  countedPart,
  countingMachine,
  countOf,
} from './snapshot-guest.ts';

const PAGE = 4096;

function snapshotsOf(machine: Machine, store = new MemoryStore(NODE_PLATFORM)): MachineSnapshots {
  return new MachineSnapshots(machine, {
    store,
    platform: NODE_PLATFORM,
    nowMs: () => performance.now(),
  });
}

const sectionsOf = (machine: Machine): Promise<Uint8Array> =>
  machine.standStill(() => encodeSections(saveSections(machine)));

const ramOf = (machine: Machine): Uint8Array =>
  Buffer.concat(machine.memory.ramList.blocks.map(({ bytes }) => bytes));

/** Whether guest memory is what it must be when `count` was written last. */
const isCounted = (machine: Machine, count = countOf(machine)): boolean =>
  Buffer.compare(
    new Uint8Array(countedPart(machine).buffer),
    new Uint8Array(countedMemory(count).buffer),
  ) === 0;

const turns = async (count: number): Promise<void> => {
  for (let i = 0; i < count; i++) await new Promise((resolve) => setImmediate(resolve));
};

test('progress never goes back, and ends at the end', async () => {
  const source = countingMachine();
  const snapshots = snapshotsOf(source);
  const steps: (readonly [number, number])[] = [];
  const work: [string, () => Promise<unknown>][] = [];
  const onProgress = ({ doneBytes, totalBytes }: SnapshotProgress) =>
    steps.push([doneBytes, totalBytes]);
  const load = (isLazy: boolean) => () =>
    snapshots.load('some', { isLazy, onProgress: (done, total) => steps.push([done, total]) });
  work.push(['full', () => snapshots.save('all', { onProgress })]);
  work.push(['incremental', () => snapshots.save('some', { onProgress })]);
  work.push(['nothing', () => snapshots.save('none', { kind: 'incremental', onProgress })]);
  work.push(['eager', load(false)], ['lazy', load(true)]);
  for (const [name, run] of work) {
    if (name === 'incremental') source.vcpu.run(3_000);
    steps.length = 0;
    await run();
    expect(steps.length, name).toBeGreaterThan(name === 'lazy' ? -1 : 0);
    const [, total] = steps.at(-1) ?? [0, 0];
    for (const [i, [done, of]] of steps.entries()) {
      expect(of, name).toBe(total);
      expect(done, name).toBeGreaterThanOrEqual(steps[i - 1]?.[0] ?? 0);
    }
    expect(steps.at(-1)?.[0] ?? 0, name).toBe(total);
    // What changed is less than everything.
    if (name === 'incremental') expect(total).toBeLessThan(ramOf(source).length / 2);
  }
});

test('a loaded machine is equal bit for bit, and runs on as the saved one does', async () => {
  const source = countingMachine();
  source.vcpu.run(10_007);
  const snapshots = snapshotsOf(source);
  await snapshots.save('one');
  const target = blankMachine({ isBlank: true });
  await snapshotsOf(target, snapshots.store as MemoryStore).load('one');
  expect(await sectionsOf(target)).toEqual(await sectionsOf(source));
  expect(Buffer.compare(ramOf(target), ramOf(source))).toBe(0);
  for (const machine of [source, target]) machine.vcpu.run(5_003);
  expect(await sectionsOf(target)).toEqual(await sectionsOf(source));
  expect(Buffer.compare(ramOf(target), ramOf(source))).toBe(0);
  expect(isCounted(target, countOf(target))).toBe(true);
});

// Goal: what is saved is one instant, though the guest wrote all over its memory meanwhile.
test('a background save holds one instant, and the guest ran on meanwhile', async () => {
  const source = countingMachine();
  const snapshots = snapshotsOf(source);
  source.start();
  await turns(5);
  const saved = await snapshots.save('running');
  const after = countOf(source);
  await source.pause();
  const target = blankMachine({ isBlank: true });
  await snapshotsOf(target, snapshots.store as MemoryStore).load('running');
  const count = countOf(target);
  expect(isCounted(target, count)).toBe(true);
  expect(after).toBeGreaterThan(count);
  expect(saved.copiedPages).toBeGreaterThan(0);
  expect(saved.pauseMs).toBeLessThan(50);
  source.close();
});

test('incremental saves hold what changed, and any of a chain loads', async () => {
  const source = countingMachine();
  const snapshots = snapshotsOf(source);
  await snapshots.save('s0');
  const counts = [countOf(source)];
  for (const tag of ['s1', 's2', 's3']) {
    source.vcpu.run(400);
    const saved = await snapshots.save(tag, { kind: 'incremental' });
    expect(saved.isIncremental).toBe(true);
    expect(saved.pageCount).toBeLessThan(100);
    counts.push(countOf(source));
  }
  const target = blankMachine();
  const loader = snapshotsOf(target, snapshots.store as MemoryStore);
  for (const index of [3, 0, 2, 1]) {
    await loader.load(`s${index}`);
    expect(countOf(target)).toBe(counts[index]);
    expect(isCounted(target, counts[index]!)).toBe(true);
  }
});

// Goal: failures 11.
test('a full save resets the log: an incremental one after it holds later pages only', async () => {
  const source = countingMachine();
  const snapshots = snapshotsOf(source);
  source.vcpu.run(5_000);
  await snapshots.save('full', { kind: 'full' });
  const saved = await snapshots.save('diff', { kind: 'incremental' });
  expect(saved.pageCount).toBe(0);
  source.addressSpace.write(0x5000, 1, 1);
  expect((await snapshots.save('diff2')).pageCount).toBe(1);
});

// Goal: failures 10 (Firecracker 0d0cab9f): the pages of a failed save are in the next one.
test('a save that fails gives its bits back', async () => {
  const source = countingMachine();
  const store = new MemoryStore(NODE_PLATFORM);
  const snapshots = snapshotsOf(source, store);
  await snapshots.save('base');
  source.vcpu.run(300);
  const { openWriter } = store;
  store.openWriter = async () => ({
    ...(await openWriter.call(store)),
    putManifest: () => Promise.reject(new Error('disk full')),
  });
  await expect(snapshots.save('failed')).rejects.toThrow('disk full');
  await expect(snapshots.save('failed', { kind: 'full' })).rejects.toThrow('disk full');
  store.openWriter = openWriter;
  source.vcpu.run(300);
  expect(snapshots.baseTag).toBe('base');
  const saved = await snapshots.save('retry', { kind: 'incremental' });
  expect(saved.isIncremental).toBe(true);
  const target = blankMachine({ isBlank: true });
  await snapshotsOf(target, store).load('retry');
  expect(isCounted(target, countOf(source))).toBe(true);
});

// Goal: failures 12 (Firecracker #5705): several blocks with clean tails.
test('pages of every block come back, whatever was written between saves', async () => {
  const source = blankMachine();
  const snapshots = snapshotsOf(source);
  await snapshots.save('p');
  const target = blankMachine({ isBlank: true });
  const loader = snapshotsOf(target, snapshots.store as MemoryStore);
  const { ramList, guest } = source.memory;
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.tuple(fc.nat(), fc.nat({ max: 255 })), { maxLength: 20 }),
      async (writes) => {
        for (const [at, value] of writes) {
          const block = ramList.blocks[at % ramList.blocks.length]!;
          const offset = at % block.sizeBytes;
          guest.ramWrites.before(block.ramOffset + offset, 1);
          block.bytes[offset] = value;
          guest.ramWrites.note(block.ramOffset + offset, 1);
        }
        await snapshots.save('p', { kind: 'incremental' });
        await loader.load('p');
        for (const { id, bytes } of ramList.blocks)
          expect(Buffer.compare(target.memory.ramList.byId(id)!.bytes, bytes)).toBe(0);
      },
    ),
    fuzzOptions(8),
  );
});

test('a snapshot of another machine is refused by name, and the machine runs on', async () => {
  const store = new MemoryStore(NODE_PLATFORM);
  await snapshotsOf(blankMachine({ memoryBytes: 3 * 2 ** 20 }), store).save('larger');
  await snapshotsOf(blankMachine({ serialCount: 2 }), store).save('serial');
  await snapshotsOf(blankMachine({ devices: [{ kind: 'virtio-balloon-pci' }] }), store).save(
    'balloon',
  );
  const machine = countingMachine();
  machine.vcpu.run(1000);
  const [before, ram] = [await sectionsOf(machine), ramOf(machine)];
  const snapshots = snapshotsOf(machine, store);
  for (const [tag, subject] of [
    ['larger', 'configuration.memoryBytes'],
    ['serial', 'configuration.serialCount'],
    ['balloon', 'configuration.devices'],
  ] as const)
    await expect(snapshots.load(tag)).rejects.toThrow(
      expect.objectContaining({ code: 'MISMATCH', subject }),
    );
  await expect(snapshots.load('nothing')).rejects.toMatchObject({ code: 'UNKNOWN_TAG' });
  expect(await sectionsOf(machine)).toEqual(before);
  expect(Buffer.compare(ramOf(machine), ram)).toBe(0);
});

test('a damaged page is refused before the machine is touched', async () => {
  const store = new MemoryStore(NODE_PLATFORM);
  const source = countingMachine();
  source.vcpu.run(20_000);
  await snapshotsOf(source, store).save('s');
  const largest = [...store.blobs].sort(([, a], [, b]) => b.length - a.length)[0]!;
  largest[1][5] = largest[1][5]! ^ 1;
  const machine = countingMachine();
  machine.vcpu.run(500);
  const [before, ram] = [await sectionsOf(machine), ramOf(machine)];
  await expect(snapshotsOf(machine, store).load('s')).rejects.toMatchObject({ code: 'CORRUPT' });
  expect(await sectionsOf(machine)).toEqual(before);
  expect(Buffer.compare(ramOf(machine), ram)).toBe(0);
});

// Goal: failures 23. HLT, a shadow and an armed timer are the guest's; whether
// it runs is the host's.
test('HLT, an interrupt shadow, a pending NMI and timers are kept', async () => {
  const source = countingMachine();
  source.vcpu.state.set32(HALTED, 1);
  source.vcpu.state.set32(INTERRUPT_SHADOW, 1);
  source.vcpu.raiseNMI();
  await source.standStill(() => source.clock.restore(123_456_789));
  // PIT counter 0, mode 2, 1000 ticks.
  for (const [port, value] of [
    [0x43, 0x34],
    [0x40, 0xe8],
    [0x40, 0x03],
  ] as const)
    source.ports.write(port, 1, value);
  const deadline = source.clock.nextDeadlineNs;
  expect(deadline).toBeLessThan(Number.POSITIVE_INFINITY);
  const snapshots = snapshotsOf(source);
  await snapshots.save('s');
  const target = blankMachine({ isBlank: true });
  await snapshotsOf(target, snapshots.store as MemoryStore).load('s');
  expect(target.state).toBe('created');
  expect(target.clock.nowNs()).toBe(123_456_789);
  expect(target.clock.nextDeadlineNs).toBe(deadline);
  expect(target.vcpu.isNMIPending).toBe(true);
  expect(target.vcpu.state.get32(HALTED)).toBe(1);
  expect(await sectionsOf(target)).toEqual(await sectionsOf(source));
});

// Goal: failures 17 (Firecracker #5764).
test('a byte in the UART transmitter comes out in the loaded machine', async () => {
  const source = countingMachine();
  source.ports.write(0x3fc, 1, 0x0b);
  source.ports.write(0x3f9, 1, 0x02);
  source.ports.write(0x3f8, 1, 0x41);
  const snapshots = snapshotsOf(source);
  await snapshots.save('s');
  const target = blankMachine({ isBlank: true });
  await snapshotsOf(target, snapshots.store as MemoryStore).load('s');
  expect(await sectionsOf(target)).toEqual(await sectionsOf(source));
  const isr = (machine: Machine): number => {
    machine.ports.write(0x20, 1, 0x0a);
    return machine.ports.read(0x20, 1);
  };
  for (let at = 0; at < 3; at++) {
    for (const machine of [source, target])
      if (machine.clock.nextDeadlineNs < Number.POSITIVE_INFINITY)
        await machine.standStill(() => {
          machine.clock.restore(machine.clock.nextDeadlineNs);
          machine.clock.fireDue();
        });
    expect(isr(target)).toBe(isr(source));
    expect(target.ports.read(0x3fa, 1)).toBe(source.ports.read(0x3fa, 1));
    expect(target.ports.read(0x3fd, 1)).toBe(source.ports.read(0x3fd, 1));
    expect(await sectionsOf(target)).toEqual(await sectionsOf(source));
  }
});

test('a crashed machine is loaded crashed', async () => {
  const source = countingMachine();
  source.addressSpace.write(0x1000, 2, 0x0b0f); // ud2, without an IDT
  source.vcpu.synchronize();
  const end = await source.run();
  expect(end).toMatchObject({ kind: 'disaster' });
  const snapshots = snapshotsOf(source);
  await snapshots.save('s');
  const target = blankMachine({ isBlank: true });
  await snapshotsOf(target, snapshots.store as MemoryStore).load('s');
  expect(target.end).toEqual(end);
  expect(() => target.start()).toThrow(/ended/);
});

test('a load into a machine that runs lets it run on from there', async () => {
  const source = countingMachine();
  const snapshots = snapshotsOf(source);
  source.vcpu.run(777);
  await snapshots.save('s');
  const saved = countOf(source);
  source.start();
  await turns(20);
  await snapshots.load('s');
  const loaded = countOf(source);
  await turns(20);
  await source.pause();
  expect(loaded).toBeGreaterThanOrEqual(saved);
  expect(isCounted(source, countOf(source))).toBe(true);
  // What changed since the load is what an incremental save holds.
  await snapshots.save('t', { kind: 'incremental' });
  const target = blankMachine({ isBlank: true });
  await snapshotsOf(target, snapshots.store as MemoryStore).load('t');
  expect(isCounted(target, countOf(source))).toBe(true);
  expect(source.pc.ram.sizeBytes % PAGE).toBe(0);
});
