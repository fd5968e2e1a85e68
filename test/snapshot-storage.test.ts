// Snapshots in the middle of disks at work: the guest goes on in a fresh machine as it would have.

import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { NODE_PLATFORM } from '../src/cli/snapshot/node-platform.ts';
import { MemoryDevice } from '../src/devices/block/memory-device.ts';
import type { Machine } from '../src/machine/machine.ts';
import { MachineSnapshots } from '../src/snapshot/machine-snapshots.ts';
import { MemoryStore } from '../src/snapshot/memory-store.ts';
import { fuzzOptions } from './fuzz-options.ts';
import { buildGuest, missingTool } from './guests/run-guest.ts';
import { blankMachine } from './snapshot-guest.ts';
import { contentOf, HeldDevice, SECTOR } from './storage-board.ts';
import { RingDriver } from './virtio-driver.ts';

const reason = missingTool('gcc');
const kernel = reason === undefined ? readFileSync(buildGuest('storage')) : new Uint8Array();
const DISK_SECTORS = 256;
const NOTIFY_OFFSET = 0x3000;
const [NOTIFY, SUM, END] = [0x9000, 0x9004, 0x9008];
const [RINGS, HEADER, STATUS, WRITTEN, READ] = [0x1_0000, 0x1_3000, 0x1_3010, 0x1_4000, 0x1_5000];
const DATA_BYTES = 1024;
/** The guest needs a tenth of it. */
const STEPS_MAX = 20_000;
/** Somewhat less than the guest runs: about 75,000, depending on how long it waits. */
const INSTRUCTIONS = 70_000;

/** A machine with disks whose requests end when it is stepped on. */
interface Guest {
  readonly machine: Machine;
  readonly disks: readonly HeldDevice[];
}

function createGuest(media: readonly MemoryDevice[], isBlank: boolean): Guest {
  const disks = media.map((medium) => new HeldDevice(medium));
  const machine = blankMachine({
    isBlank,
    memoryBytes: 4 << 20,
    ...(isBlank ? {} : { kernel }),
    drives: (['ide', 'virtio'] as const).map((bus, i) => ({
      interface: bus,
      media: 'disk',
      index: 0,
      medium: disks[i]!,
    })),
  });
  return { machine, disks };
}

/** The guest at its first instruction, its virtio queue set up as `guests/storage.S` says. */
function startGuest(): Guest {
  const guest = createGuest(
    [0, 1].map(() => new MemoryDevice(DISK_SECTORS * SECTOR)),
    false,
  );
  const { addressSpace, pc } = guest.machine;
  const { config } = pc.virtio.functions[0]!;
  config.writeByte(4, 7);
  const bar = config.addressOf(4)!;
  const ring = new RingDriver(addressSpace, RINGS, 8);
  for (const [offset, sizeBytes, value] of [
    [0x08, 4, 1],
    [0x0c, 4, 1],
    [0x14, 1, 0x0b],
    [0x18, 2, ring.size],
    [0x20, 4, ring.descriptors],
    [0x28, 4, ring.available],
    [0x30, 4, ring.used],
    [0x1c, 2, 1],
    [0x14, 1, 0x0f],
  ] as const)
    addressSpace.write(bar + offset, sizeBytes, value);
  for (const [first, data, flags] of [
    [0, WRITTEN, 1],
    [3, READ, 3],
  ] as const) {
    const at = ring.descriptors + 16 * first;
    ring.writeDescriptor(at, HEADER, 16, 1, first + 1);
    ring.writeDescriptor(at + 16, data, DATA_BYTES, flags, first + 2);
    ring.writeDescriptor(at + 32, STATUS, 1, 2, 0);
  }
  addressSpace.write(NOTIFY, 4, bar + NOTIFY_OFFSET);
  return guest;
}

const hasEnded = ({ machine }: Guest): boolean => machine.addressSpace.read(END, 4) !== 0;

/** Runs so many instructions; requests come back after that, but not those of the disk `held`. */
function step({ machine, disks }: Guest, count: number, held?: HeldDevice): void {
  machine.vcpu.run(count);
  for (const disk of disks) if (disk !== held) disk.release();
  machine.clock.restore(machine.clock.nowNs() + 10_000);
  machine.clock.fireDue();
}

const digestOf = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

/** Runs to the end; the checksum and what the disks hold. */
function finish(guest: Guest): unknown {
  const { addressSpace } = guest.machine;
  for (let i = 0; i < STEPS_MAX && !hasEnded(guest); i++) step(guest, 100);
  const result = {
    end: addressSpace.read(END, 4),
    sum: addressSpace.read(SUM, 4),
    disks: guest.disks.map(({ inner }) => digestOf(contentOf(inner, 0, DISK_SECTORS))),
  };
  guest.machine.close();
  return result;
}

const snapshotsOf = (machine: Machine, store: MemoryStore): MachineSnapshots =>
  new MachineSnapshots(machine, { store, platform: NODE_PLATFORM });

/** A fresh machine in the state of `source`, with a copy of its disks. */
async function transfer(source: Guest, isLazy: boolean): Promise<Guest> {
  const store = new MemoryStore(NODE_PLATFORM);
  await snapshotsOf(source.machine, store).save('s');
  const media = source.disks.map(({ inner }) =>
    MemoryDevice.from(contentOf(inner, 0, DISK_SECTORS)),
  );
  const target = createGuest(media, true);
  const loader = snapshotsOf(target.machine, store);
  await loader.load('s', { isLazy });
  if (isLazy) await loader.lazy!.done;
  return target;
}

// Goal: failures 18 and 19.
test.skipIf(reason !== undefined)(
  `failures 18 and 19: disks at work, saved at any instruction, go on in fresh machines${
    reason === undefined ? '' : ` (${reason})`
  }`,
  async () => {
    const expected = finish(startGuest());
    expect(expected).toMatchObject({ end: 1 });
    const inFlight = new Set<number>();
    await fc.assert(
      fc.asyncProperty(
        fc.array(
          fc.record({
            count: fc.integer({ min: 1, max: INSTRUCTIONS }),
            slice: fc.integer({ min: 20, max: 500 }),
            // Goes on until this disk has a request under way; none of both at 2.
            heldDisk: fc.integer({ min: 0, max: 2 }),
            isLazy: fc.boolean(),
          }),
          { minLength: 1, maxLength: 2 },
        ),
        async (moments) => {
          const guests = [startGuest()];
          for (const { count, slice, heldDisk, isLazy } of moments) {
            const guest = guests.at(-1)!;
            for (let at = 0; at < count && !hasEnded(guest); at += slice)
              step(guest, Math.min(slice, count - at));
            const held = guest.disks[heldDisk];
            while (held?.heldCount === 0 && !hasEnded(guest)) step(guest, 7, held);
            if (held !== undefined && held.heldCount > 0) inFlight.add(heldDisk);
            guests.push(await transfer(guest, isLazy));
          }
          for (const guest of guests) expect(finish(guest)).toEqual(expected);
        },
      ),
      {
        ...fuzzOptions(8),
        examples: [
          [
            [
              { count: 5000, slice: 333, heldDisk: 0, isLazy: false },
              { count: 9000, slice: 444, heldDisk: 1, isLazy: true },
            ],
          ],
          [[{ count: 20_000, slice: 500, heldDisk: 1, isLazy: false }]],
        ],
      },
    );
    expect(inFlight).toEqual(new Set([0, 1]));
  },
  60_000,
);
