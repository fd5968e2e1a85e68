// Snapshots as `quire run` and its monitor use them: a folder that is opened, by code that is
// loaded, when it is first needed.

import { performance } from 'node:perf_hooks';
import type { Machine } from '../../machine/machine.ts';
import type { MachineSnapshots } from '../../snapshot/machine-snapshots.ts';
import type { SnapshotReader } from '../../snapshot/snapshot-reader.ts';
import type { DirectoryStore } from './directory-store.ts';

/** How far work is, 0 to 1. */
export type OnFraction = (part: number) => void;

const MIB = 2 ** 20;

/** What `quire run` needs of a snapshot before there is a machine. */
export interface SavedMachine {
  readonly memoryBytes: number;
  /** Kinds, in their order. */
  readonly devices: readonly string[];
}

/** The machine that was saved under `tag`. @throws {SnapshotError} if it cannot be read */
export async function savedMachine(folder: string, tag: string): Promise<SavedMachine> {
  const { SnapshotReader } = await import('../../snapshot/snapshot-reader.ts');
  const { DirectoryStore } = await import('./directory-store.ts');
  const { NODE_PLATFORM } = await import('./node-platform.ts');
  const store = await DirectoryStore.open(folder, { create: false });
  const { config } = await SnapshotReader.open(store, NODE_PLATFORM, tag);
  const { memoryBytes, devices } = config;
  return {
    memoryBytes: typeof memoryBytes === 'number' ? memoryBytes : 0,
    devices: Array.isArray(devices) ? devices.map(String) : [],
  };
}

/** The snapshots of a machine in a folder. */
export class MachineStore {
  readonly #machine: Machine;
  readonly #folder: string;
  #opened: Promise<MachineSnapshots> | undefined;

  constructor(machine: Machine, folder: string) {
    this.#machine = machine;
    this.#folder = folder;
  }

  /** Saves, on top of the last snapshot if there is one; what was written, for people. */
  async save(tag: string, onFraction: OnFraction = () => {}): Promise<string> {
    const snapshots = await this.#open();
    const saved = await snapshots.save(tag, {
      onProgress: ({ doneBytes, totalBytes }) =>
        onFraction(totalBytes === 0 ? 1 : doneBytes / totalBytes),
    });
    const size = `${(saved.writtenBytes / MIB).toFixed(1)} MiB`;
    const kind = saved.isIncremental ? `${saved.pageCount} pages that changed` : 'all of RAM';
    return `Saved "${tag}": ${kind}, ${size} written, pause ${saved.pauseMs.toFixed(1)} ms\n`;
  }

  /**
   * Loads; the machine runs on if it runs.
   * @param isLazy whether RAM may come later; `onWarning` is then told if it does not
   */
  async load(
    tag: string,
    onFraction: OnFraction = () => {},
    isLazy = false,
    onWarning: (message: string) => void = () => {},
  ): Promise<string> {
    const snapshots = await this.#open();
    const onProgress = (done: number, total: number): void => onFraction(done / total);
    const { RAMImages } = await import('./ram-images.ts');
    const images = new RAMImages(this.#machine, snapshots.store as DirectoryStore, onWarning);
    const imageOf = (reader: SnapshotReader) => images.imageOf(reader);
    try {
      await snapshots.load(tag, { onProgress, isLazy, onNote: onWarning, imageOf });
    } finally {
      images.close();
    }
    if (isLazy) snapshots.lazy?.done.catch((error: unknown) => onWarning((error as Error).message));
    return `Loaded "${tag}"\n`;
  }

  /** Forgets a tag; `quire snapshot gc` frees the room. */
  async delete(tag: string): Promise<string> {
    const { store } = await this.#open();
    await store.deleteTag(tag);
    return `Deleted "${tag}"; "quire snapshot gc" frees what no other one needs\n`;
  }

  /** One line for each snapshot. */
  async list(): Promise<string> {
    const { store, baseTag } = await this.#open();
    const { decodeManifest } = await import('../../snapshot/manifest.ts');
    const lines: string[] = [];
    for (const { tag, manifest } of await store.list()) {
      const { created, pages } = decodeManifest(await store.getBlob(manifest), tag);
      const size = pages.reduce((sum, page) => sum + page.size, 0) / MIB;
      const mark = tag === baseTag ? '*' : ' ';
      lines.push(`${mark} ${tag.padEnd(24)} ${created.padEnd(26)} ${size.toFixed(1)} MiB\n`);
    }
    if (lines.length === 0) return `No snapshots in ${this.#folder}\n`;
    return `  ${'TAG'.padEnd(24)} ${'DATE'.padEnd(26)} RAM\n${lines.join('')}`;
  }

  /** Keeps what a lazy load has seen, for the next one. Never throws. */
  async close(): Promise<void> {
    const snapshots = await this.#opened?.catch(() => undefined);
    await snapshots?.close();
  }

  #open(): Promise<MachineSnapshots> {
    if (this.#opened !== undefined) return this.#opened;
    const opened = openSnapshots(this.#machine, this.#folder);
    this.#opened = opened;
    // A folder that cannot be opened now may be there the next time.
    opened.catch(() => {
      this.#opened = undefined;
    });
    return opened;
  }
}

async function openSnapshots(machine: Machine, folder: string): Promise<MachineSnapshots> {
  const { MachineSnapshots } = await import('../../snapshot/machine-snapshots.ts');
  const { DirectoryStore } = await import('./directory-store.ts');
  const { NODE_PLATFORM, ZSTD } = await import('./node-platform.ts');
  return new MachineSnapshots(machine, {
    store: await DirectoryStore.open(folder),
    platform: NODE_PLATFORM,
    compression: ZSTD,
    nowMs: () => performance.now(),
  });
}
