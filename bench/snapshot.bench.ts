// What snapshots cost: a guest of 512 MiB of which 256 MiB are touched, half of each page
// noise; then 1 % of the touched pages are written again. The store is a folder of the
// host's temporary files, synced as always. "hash and write" is the bound of a full save:
// SHA-256 and a synced file of the touched bytes, in blobs of a MiB, with nothing else done.
// Blobs are not compressed unless said. With BENCH_CLOCK=cpu in the environment, processor time is
// measured in place of wall time.
//
// Variants "snap.S: …" are beside v86 and QEMU: the guest of that name has touched 256 MiB of 512,
// a word of each page, and is saved to a synced file or store, and loaded.
//
// Found: see docs/benchmarks.md, "Snapshots".

import { createHash } from 'node:crypto';
import {
  closeSync,
  fsyncSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { softwareAccelerator } from '../src/accel/software/index.ts';
import { nodeHost } from '../src/cli/node-host.ts';
import { DirectoryStore } from '../src/cli/snapshot/directory-store.ts';
import { NODE_PLATFORM, ZSTD } from '../src/cli/snapshot/node-platform.ts';
import { cloneMachine, type MachineClone } from '../src/snapshot/clone.ts';
import { MachineSnapshots } from '../src/snapshot/machine-snapshots.ts';
import { ResetPoint } from '../src/snapshot/reset-point.ts';
import { blankMachine } from '../test/snapshot-guest.ts';
import { findSnapshotPeers } from './comparison/snapshot-peers.ts';
import { assemble, kernelSource } from './guests/assemble.ts';
import type { Measurement } from './harness.ts';

const MIB = 2 ** 20;
const PAGE = 4096;
const RAM_BYTES = 512 * MIB;
const TOUCHED_BYTES = 256 * MIB;
const DIRTY_PAGES = Math.floor(TOUCHED_BYTES / PAGE / 100);
const RESET_PAGES = 50;

/** With BENCH_CLOCK=cpu the processor time of all threads, which a machine's other work spares. */
function nowMs(): number {
  if (process.env.BENCH_CLOCK !== 'cpu') return performance.now();
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}

/** One sample: what it took, ms; what comes before and after is not measured. */
type Sample = () => Promise<number>;

/** A sample, and what to do after the last one. */
interface ClosableSample {
  readonly sample: Sample;
  readonly close: () => Promise<void>;
}

/** As `harness.ts` does, for work that is awaited. */
async function variant(
  name: string,
  sampleCount: number,
  create: (folder: string) => Promise<Sample | ClosableSample>,
  extra: Pick<Measurement, 'bytesPerOperation' | 'lowerBound'> = {},
): Promise<void> {
  const [mode, wanted] = process.argv.slice(2);
  if (mode === '--list') process.stdout.write(`${name}\n`);
  if (mode !== '--variant' || wanted !== name) return;
  const folder = mkdtempSync(join(tmpdir(), 'quire-bench-'));
  let close: (() => Promise<void>) | undefined;
  try {
    const created = await create(folder);
    const sample = typeof created === 'function' ? created : created.sample;
    if (typeof created !== 'function') close = created.close;
    await sample();
    const times: number[] = [];
    for (let i = 0; i < sampleCount; i++) times.push((await sample()) * 1e6);
    times.sort((a, b) => a - b);
    const result: Measurement = {
      name,
      minNs: times[0]!,
      medianNs: times[sampleCount >> 1]!,
      maxNs: times[sampleCount - 1]!,
      n: sampleCount,
      ...extra,
    };
    process.stdout.write(`${JSON.stringify(result)}\n`);
  } finally {
    await close?.();
    rmSync(folder, { recursive: true, force: true });
  }
}

function fillNoise(bytes: Uint8Array): void {
  let state = 1;
  const words = new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length >> 2);
  for (let i = 0; i < words.length; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    words[i] = (i & 3) < 2 ? state : i >>> 10;
  }
}

/** A machine with memory as the head says, and its snapshots. */
async function guest(folder: string, isCompressed = false) {
  const machine = blankMachine({ memoryBytes: RAM_BYTES });
  const { ram } = machine.pc;
  fillNoise(ram.bytes.subarray(0, TOUCHED_BYTES));
  machine.memory.guest.ramWrites.note(ram.ramOffset, TOUCHED_BYTES);
  const store = await DirectoryStore.open(join(folder, 'store'));
  const snapshots = new MachineSnapshots(machine, {
    store,
    platform: NODE_PLATFORM,
    nowMs,
    ...(isCompressed ? { compression: ZSTD } : {}),
  });
  let salt = 0;
  /** Writes `count` pages, spread over what is touched. */
  const dirty = (count: number): void => {
    salt++;
    const step = Math.floor(TOUCHED_BYTES / PAGE / count) * PAGE;
    for (let i = 0; i < count; i++) machine.addressSpace.write(0x10_0000 + i * step, 4, salt + i);
  };
  return { machine, snapshots, store, dirty };
}

const timed = async (work: () => unknown): Promise<number> => {
  const start = nowMs();
  await work();
  return nowMs() - start;
};

const BOUND = 'hash and write';
const full = { bytesPerOperation: TOUCHED_BYTES, lowerBound: BOUND };

await variant(
  BOUND,
  5,
  async (folder) => {
    const bytes = new Uint8Array(TOUCHED_BYTES);
    fillNoise(bytes);
    let count = 0;
    return () =>
      timed(() => {
        const run = count++;
        for (let at = 0; at < bytes.length; at += MIB) {
          const blob = bytes.subarray(at, at + MIB);
          createHash('sha256').update(blob).digest();
          const file = openSync(join(folder, `${run}-${at}`), 'w');
          writeSync(file, blob);
          fsyncSync(file);
          closeSync(file);
        }
        for (let at = 0; at < bytes.length; at += MIB) rmSync(join(folder, `${run}-${at}`));
      });
  },
  { bytesPerOperation: TOUCHED_BYTES },
);

for (const isCompressed of [false, true])
  await variant(
    isCompressed ? 'full save, zstd' : 'full save',
    3,
    async (folder) => {
      let count = 0;
      return async () => {
        // A store of its own each time: what is there is not written again.
        const { snapshots, machine } = await guest(join(folder, String(count++)), isCompressed);
        const ms = await timed(() => snapshots.save('s', { kind: 'full' }));
        machine.close();
        return ms;
      };
    },
    full,
  );

await variant('pause of a full save', 9, async (folder) => {
  const { snapshots, dirty } = await guest(folder);
  return async () => {
    dirty(DIRTY_PAGES);
    return (await snapshots.save('s', { kind: 'full' })).pauseMs;
  };
});

await variant(
  'incremental save, 1 % dirty',
  9,
  async (folder) => {
    const { snapshots, dirty } = await guest(folder);
    await snapshots.save('s');
    return async () => {
      dirty(DIRTY_PAGES);
      return timed(() => snapshots.save('s', { kind: 'incremental' }));
    };
  },
  { bytesPerOperation: DIRTY_PAGES * PAGE },
);

await variant('pause of an incremental save', 9, async (folder) => {
  const { snapshots, dirty } = await guest(folder);
  await snapshots.save('s');
  return async () => {
    dirty(DIRTY_PAGES);
    return (await snapshots.save('s', { kind: 'incremental' })).pauseMs;
  };
});

for (const isLazy of [true, false])
  await variant(
    isLazy ? 'lazy load to first instruction' : 'eager load',
    5,
    async (folder) => {
      const { snapshots, store } = await guest(folder);
      await snapshots.save('s');
      return async () => {
        const machine = blankMachine({ memoryBytes: RAM_BYTES, isBlank: true });
        const loader = new MachineSnapshots(machine, { store, platform: NODE_PLATFORM });
        const ms = await timed(async () => {
          await loader.load('s', { isLazy });
          machine.vcpu.run(1);
        });
        machine.close();
        await loader.lazy?.done;
        return ms;
      };
    },
    isLazy ? {} : { bytesPerOperation: TOUCHED_BYTES },
  );

await variant('creation of a machine', 5, async () => {
  return () => timed(() => blankMachine({ memoryBytes: RAM_BYTES, isBlank: true }).close());
});

await variant('clone, creation included', 5, async (folder) => {
  const { machine } = await guest(folder);
  return async () => {
    let clone: MachineClone | undefined;
    const ms = await timed(async () => {
      clone = await cloneMachine(machine, {
        memoryBytes: RAM_BYTES,
        accelerator: softwareAccelerator,
        host: nodeHost,
      });
    });
    clone!.machine.close();
    await clone!.done;
    return ms;
  };
});

await variant('reset of 50 pages', 1000, async (folder) => {
  const { machine, dirty } = await guest(folder);
  const point = await ResetPoint.take(machine);
  return async () => {
    dirty(RESET_PAGES);
    return timed(() => point.resetNow());
  };
});

/** snap.S in a machine of ours, standing still when its memory is touched. */
async function snapGuest(folder: string) {
  const kernel = readFileSync(assemble(folder, kernelSource('snap')));
  const machine = blankMachine({ memoryBytes: RAM_BYTES, kernel });
  await new Promise<void>((resolve) => {
    machine.pc.serial.onByte = () => resolve();
    machine.start();
  });
  await machine.pause();
  return machine;
}

const SNAP_SAMPLES = 3;

await variant('snap.S: Quire saves', SNAP_SAMPLES, async (folder) => {
  const machine = await snapGuest(folder);
  let count = 0;
  return async () => {
    const store = await DirectoryStore.open(join(folder, String(count++)));
    const snapshots = new MachineSnapshots(machine, { store, platform: NODE_PLATFORM });
    return timed(() => snapshots.save('s', { kind: 'full' }));
  };
});

for (const isLazy of [false, true])
  await variant(`snap.S: Quire loads${isLazy ? ' lazily' : ''}`, SNAP_SAMPLES, async (folder) => {
    const store = await DirectoryStore.open(join(folder, 'store'));
    const source = await snapGuest(folder);
    await new MachineSnapshots(source, { store, platform: NODE_PLATFORM }).save('s');
    return async () => {
      const machine = blankMachine({ memoryBytes: RAM_BYTES, isBlank: true });
      const loader = new MachineSnapshots(machine, { store, platform: NODE_PLATFORM });
      const ms = await timed(async () => {
        await loader.load('s', { isLazy });
        machine.vcpu.run(1);
      });
      await loader.lazy?.done;
      machine.close();
      return ms;
    };
  });

const isListing = process.argv[2] === '--list';
const peers = await findSnapshotPeers((why) => {
  if (isListing) process.stderr.write(`${why}\n`);
});
for (const { name, start } of peers)
  for (const verb of ['save', 'load'] as const)
    await variant(`snap.S: ${name} ${verb}s`, SNAP_SAMPLES, async (folder) => {
      const kernelPath = assemble(folder, kernelSource('snap'));
      const peer = await start({ kernelPath, memoryBytes: RAM_BYTES, folder });
      return { sample: peer[verb], close: peer.close };
    });
