// Loads that map a snapshot's RAM from a file: instant, and never one that somebody touched.

import {
  appendFileSync,
  chmodSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { softwareAccelerator } from '../../src/accel/software/index.ts';
import { DirectoryStore } from '../../src/cli/snapshot/directory-store.ts';
import { NODE_PLATFORM } from '../../src/cli/snapshot/node-platform.ts';
import { RAMImages } from '../../src/cli/snapshot/ram-images.ts';
import type { Accelerator } from '../../src/cpu/vcpu.ts';
import { Machine } from '../../src/machine/machine.ts';
import { MachineSnapshots } from '../../src/snapshot/machine-snapshots.ts';
import { FakeHost } from '../fake-host.ts';
import { BACKING_KINDS } from '../ram-backings.ts';

const MIB = 2 ** 20;
const PAGE = 4096;
const { reason, create: createRAM } = BACKING_KINDS.at(-1)!;
/** It never runs; like KVM, it has RAM of the host's and says nothing of what it writes. */
const accelerator: Accelerator = {
  ...softwareAccelerator,
  createRAM,
  createVCPU(wiring, memory) {
    const vcpu = softwareAccelerator.createVCPU(wiring, memory);
    return Object.defineProperty(vcpu, 'interceptsWrites', { value: false });
  },
};

let folder: string;
beforeEach(({ skip }) => {
  skip(reason !== undefined, reason);
  folder = mkdtempSync(join(tmpdir(), 'quire-images-'));
});
afterEach(() => {
  if (folder !== undefined) rmSync(folder, { recursive: true, force: true });
});

const imagesFolder = () => join(folder, '.quire', 'ram');
const imageFile = () =>
  join(imagesFolder(), readdirSync(imagesFolder()).find((name) => name.endsWith('.ram'))!);

/** A machine with its snapshots in the folder, and how it loads. */
async function open(isBlank: boolean) {
  const machine = Machine.create({
    ...{ memoryBytes: 8 * MIB, accelerator, host: new FakeHost(), isBlank },
  });
  const store = await DirectoryStore.open(folder);
  const snapshots = new MachineSnapshots(machine, { store, platform: NODE_PLATFORM });
  const notes: string[] = [];
  const load = async (tag: string) => {
    const images = new RAMImages(machine, store, (note) => void notes.push(note));
    let doneBytes = 0;
    try {
      await snapshots.load(tag, {
        isLazy: true,
        imageOf: (reader) => images.imageOf(reader),
        onProgress: (done) => {
          doneBytes = done;
        },
      });
    } finally {
      images.close();
    }
    return doneBytes;
  };
  const read = (gpa: number) => machine.addressSpace.read(gpa, 4);
  const write = (gpa: number, value: number) => machine.addressSpace.write(gpa, 4, value);
  return { machine, snapshots, store, load, read, write, notes };
}

test('RAM is as saved, costs nothing to load, and writes are one machine\u2019s', async () => {
  const source = await open(false);
  source.write(MIB, 0x1111);
  source.write(8 * MIB - 4, 0x2222);
  source.machine.addressSpace.loadBytes(3 * MIB, new Uint8Array(2 * MIB).fill(7));
  await source.snapshots.save('one');
  const first = await open(true);
  await first.load('one');
  const before = statSync(imageFile());
  expect(before.mode & 0o777).toBe(0o444);
  expect(before.size).toBe(8 * MIB);
  expect(before.blocks * 512).toBeLessThan(4 * MIB);

  const second = await open(true);
  // What the display has is read, and of guest RAM what shares a blob with it.
  const readBytes = await second.load('one');
  const other = await open(true);
  await other.snapshots.load('one');
  expect(readBytes).toBeLessThan(2 * MIB);
  const ramOf = ({ machine }: typeof other) => machine.pc.ram.bytes;
  expect(Buffer.compare(ramOf(second), ramOf(other))).toBe(0);
  expect([second.read(MIB), second.read(8 * MIB - 4)]).toEqual([0x1111, 0x2222]);

  second.write(MIB, 0x3333);
  second.machine.memory.guest.discard(8 * MIB - PAGE, PAGE);
  expect([second.read(MIB), second.read(8 * MIB - 4)]).toEqual([0x3333, 0]);
  expect([first.read(MIB), first.read(8 * MIB - 4)]).toEqual([0x1111, 0x2222]);
  expect(statSync(imageFile()).mtimeMs).toBe(before.mtimeMs);
  // What follows is a snapshot of what this machine has, in few pages.
  expect(await second.snapshots.save('two')).toMatchObject({ isIncremental: true, pageCount: 2 });
  await first.load('two');
  expect([first.read(MIB), first.read(8 * MIB - 4)]).toEqual([0x3333, 0]);
  expect(first.notes).toEqual([]);
});

test('an image that somebody touched, or part of one, is made anew', async () => {
  const source = await open(false);
  source.write(2 * MIB, 0x4444);
  await source.snapshots.save('one');
  const damages: (() => void)[] = [
    () => {
      chmodSync(imageFile(), 0o644);
      writeFileSync(imageFile(), new Uint8Array(8 * MIB).fill(1));
    },
    () => {
      const { atime, mtime } = statSync(imageFile());
      chmodSync(imageFile(), 0o644);
      appendFileSync(imageFile(), 'x');
      utimesSync(imageFile(), atime, mtime);
    },
    () => rmSync(imageFile()),
    () => {
      rmSync(imageFile());
      writeFileSync(`${join(imagesFolder(), 'ab')}.ram.999999999.part`, 'cut off');
    },
  ];
  for (const damage of [() => {}, ...damages]) {
    if (damage !== damages[0] || readdirSync(folder).includes('.quire')) {
      const machine = await open(true);
      await machine.load('one');
      expect(machine.read(2 * MIB)).toBe(0x4444);
    }
    damage();
    const after = await open(true);
    await after.load('one');
    expect(after.read(2 * MIB)).toBe(0x4444);
    expect(after.read(3 * MIB)).toBe(0);
    expect(readdirSync(imagesFolder()).length).toBe(2);
  }
});

test('images go with their snapshots, and a store that may not be written has none', async () => {
  const source = await open(false);
  await source.snapshots.save('one');
  source.write(MIB, 5);
  await source.snapshots.save('two');
  const machine = await open(true);
  await machine.load('one');
  await machine.store.deleteTag('one');
  await machine.load('two');
  expect(readdirSync(imagesFolder()).length).toBe(2);
  expect(machine.read(MIB)).toBe(5);

  rmSync(imagesFolder(), { recursive: true });
  writeFileSync(imagesFolder(), 'in the way');
  const other = await open(true);
  await other.load('two');
  expect(other.read(MIB)).toBe(5);
  expect(other.notes).toEqual([expect.stringMatching(/^Cannot keep the image of "two": E/)]);
});
