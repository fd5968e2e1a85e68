// Machines of 4 GiB and more, for accelerators that have RAM of their own kind: what the guest is
// told of its memory, that all of it is there, and that a snapshot holds it.

import { expect, test } from 'vitest';
import { softwareAccelerator } from '../src/accel/software/index.ts';
import { NODE_PLATFORM } from '../src/cli/snapshot/node-platform.ts';
import type { Accelerator } from '../src/cpu/vcpu.ts';
import { memoryMap } from '../src/machine/boot/e820.ts';
import { Machine, type MachineOptions } from '../src/machine/machine.ts';
import { DIRTY_MIGRATION } from '../src/memory/dirty-memory.ts';
import { MachineSnapshots } from '../src/snapshot/machine-snapshots.ts';
import { MemoryStore } from '../src/snapshot/memory-store.ts';
import { FakeHost } from './fake-host.ts';
import { BACKING_KINDS } from './ram-backings.ts';
import { scriptedAccelerator } from './scripted-vcpu.ts';

const PAGE = 4096;
const MIB = 2 ** 20;
const GIB = 2 ** 30;
const HOLE = 0xe000_0000;

function create(
  createRAM: NonNullable<Accelerator['createRAM']>,
  memoryBytes: number,
  options: Partial<MachineOptions> = {},
): Machine {
  // Its processor never runs: it would look for RAM in the machine's buffer.
  const accelerator = { ...softwareAccelerator, createRAM };
  return Machine.create({ memoryBytes, host: new FakeHost(), ...options, accelerator });
}

/** CMOS bytes 0x5b to 0x5d: memory above 4 GiB in units of 64 KiB. */
function highMemoryInCMOS({ ports }: Machine): number {
  return [0x5b, 0x5c, 0x5d].reduce((sum, index, place) => {
    ports.write(0x70, 1, index);
    return sum + ports.read(0x71, 1) * 2 ** (8 * place);
  }, 0);
}

/** File `etc/e820` of the firmware's configuration device: start, size and type of each entry. */
function e820OfFirmware({ ports }: Machine): number[][] {
  const select = (key: number) => ports.write(0x510, 2, key);
  const bytes = (count: number) => Array.from({ length: count }, () => ports.read(0x511, 1));
  const big = (count: number) => bytes(count).reduce((value, byte) => value * 256 + byte, 0);
  const little = (count: number) =>
    bytes(count).reduceRight((value, byte) => value * 256 + byte, 0);
  select(0x19);
  for (let left = big(4); left > 0; left--) {
    const [sizeBytes, key] = [big(4), big(2)];
    bytes(2);
    const name = String.fromCharCode(...bytes(56)).replace(/\0.*$/, '');
    if (name !== 'etc/e820') continue;
    select(key);
    return Array.from({ length: sizeBytes / 20 }, () => [little(8), little(8), little(4)]);
  }
  throw new Error('The firmware is told of no file "etc/e820"');
}

for (const { name, reason, create: createRAM } of BACKING_KINDS)
  test(`${name}: a machine of 6 GiB has them, below the hole and from 4 GiB on`, ({ skip }) => {
    skip(reason !== undefined, reason);
    const bios = new Uint8Array(128 * 1024);
    const machine = create(createRAM, 6 * GIB, { firmware: { bios } });
    const { addressSpace, memory } = machine;
    const high = 6 * GIB - HOLE;
    expect(memory.ramList.blocks.slice(0, 3).map(({ id, sizeBytes }) => [id, sizeBytes])).toEqual([
      ['pc.ram', HOLE],
      ['pc.ram.1', 2 * GIB],
      ['pc.ram.2', high - 2 * GIB],
    ]);
    const ends = [0, HOLE - 4, 4 * GIB, 6 * GIB - 4, 6 * GIB, 4 * GIB + high - 4];
    for (const [index, gpa] of ends.entries()) addressSpace.write(gpa, 4, 0x5100 + index);
    expect(ends.map((gpa) => addressSpace.read(gpa, 4))).toEqual(ends.map((_, i) => 0x5100 + i));
    for (const gpa of [HOLE, 4 * GIB - 4 - 128 * 1024, 4 * GIB + high])
      expect(addressSpace.kindOf(gpa)).toBe('unassigned');

    expect(highMemoryInCMOS(machine)).toBe(high / 0x1_0000);
    const map = [
      [0, HOLE, 1],
      [4 * GIB, high, 1],
    ];
    expect(e820OfFirmware(machine)).toEqual(expect.arrayContaining(map));
    expect(memoryMap(6 * GIB)).toContainEqual({ start: 4 * GIB, sizeBytes: high, type: 1 });
  });

test('a snapshot holds what is above 4 GiB, and loads into an equal machine', async ({ skip }) => {
  const { reason, create: createRAM } = BACKING_KINDS.at(-1)!;
  skip(reason !== undefined, reason);
  const size = 4 * GIB + 64 * MIB;
  const store = new MemoryStore(NODE_PLATFORM);
  const open = (memoryBytes: number, isBlank: boolean) => {
    const machine = create(createRAM, memoryBytes, { isBlank });
    return {
      machine,
      snapshots: new MachineSnapshots(machine, { store, platform: NODE_PLATFORM }),
    };
  };
  const places = [MIB, HOLE - PAGE, 4 * GIB, size - HOLE + 4 * GIB - 4];
  const source = open(size, false);
  for (const gpa of places) source.machine.addressSpace.write(gpa, 4, 0x1234_5678);
  await source.snapshots.save('full');
  source.machine.addressSpace.write(4 * GIB + 40, 4, 0xabcd);
  expect(source.machine.memory.dirty.count(DIRTY_MIGRATION)).toBe(1);
  expect(await source.snapshots.save('more')).toMatchObject({ pageCount: 1 });

  const copy = open(size, true);
  await copy.snapshots.load('more');
  const read = (gpa: number) => copy.machine.addressSpace.read(gpa, 4);
  expect(places.map(read)).toEqual(places.map(() => 0x1234_5678));
  expect(read(4 * GIB + 40)).toBe(0xabcd);
  expect(read(4 * GIB + 44)).toBe(0);
  await expect(open(5 * GIB, true).snapshots.load('more')).rejects.toThrow(/memoryBytes/);
});

test('63.5 GiB are the most, and 4 GiB where RAM is of the ordinary kind', () => {
  const none = () => ({ chunks: [] });
  expect(() => create(none, 64 * GIB)).toThrow('its memory must be at most 65024 MiB');
  const accelerator = scriptedAccelerator([() => ({ kind: 'halted' })]);
  const host = new FakeHost();
  expect(() => Machine.create({ memoryBytes: 4 * GIB, accelerator, host })).toThrow(
    /small enough for a buffer of 4 GiB/,
  );
});
