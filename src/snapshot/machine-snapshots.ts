// Snapshots of one machine: saved in the background while it runs on, loaded whole or not at all,
// and what changed since the last one.
//
// A save holds the machine still for one instant: it takes the MIGRATION bits, wants every page of
// RAM (or every page that was dirty) from a `PageCapture`, and copies device and processor state.
// The guest runs on, and pages go to the store at their leisure. If the save fails, the bits go
// back, so that the next incremental save misses nothing.

import { PAGE_SIZE } from '../base/pages.ts';
import type { Machine } from '../machine/machine.ts';
import { DIRTY_MIGRATION, type DirtyHarvest } from '../memory/dirty-memory.ts';
import type { RAMBlock } from '../memory/ram-block.ts';
import type { RAMList } from '../memory/ram-list.ts';
import type { Compression, Digest, SnapshotPlatform } from './digest.ts';
import { LazyPages } from './lazy-pages.ts';
import { BLOB_PAGES_MAX } from './limits.ts';
import { blocksOf, compareBlocks, compareConfigurations, sortedBlocks } from './machine-compare.ts';
import { mismatch } from './machine-error.ts';
import {
  type CheckedSections,
  checkSections,
  restoreSections,
  saveSections,
} from './machine-state.ts';
import { OrderKeeper } from './order-keeper.ts';
import { PageCapture } from './page-capture.ts';
import { type RAMImage, RAMLoad } from './ram-load.ts';
import type { StateSection } from './sections.ts';
import { SnapshotBuilder, type SnapshotProgress, type SnapshotSaved } from './snapshot-builder.ts';
import { SnapshotError } from './snapshot-error.ts';
import { SnapshotReader } from './snapshot-reader.ts';
import type { CancelSignal, SnapshotStore } from './store.ts';

/** How a machine is saved. */
export interface SaveOptions {
  /**
   * `incremental`: on top of the snapshot that was saved or loaded last, or an error if there is
   * none. `auto`, the default: so if possible, else `full`.
   */
  readonly kind?: 'auto' | 'full' | 'incremental';
  /** The parent of an incremental snapshot, if it must be this one. */
  readonly parent?: string;
  readonly signal?: CancelSignal;
  readonly onProgress?: (progress: SnapshotProgress) => void;
}

/** What a save made. */
export interface MachineSaved extends SnapshotSaved {
  readonly tag: string;
  readonly isIncremental: boolean;
  /** Pages looked at: all, or those that were dirty. */
  readonly pageCount: number;
  /** How long the machine stood still, host ms. */
  readonly pauseMs: number;
  /** Pages that the guest wrote before they had been given out. */
  readonly copiedPages: number;
}

/** How a machine is loaded. */
export interface LoadOptions {
  readonly signal?: CancelSignal;
  /**
   * Whether the machine may run before its RAM is there: pages come when they are touched, and in
   * the background. The store must be one that can be read at once. An accelerator that does not
   * intercept accesses loads it whole all the same, or shows what `imageOf` has.
   */
  readonly isLazy?: boolean;
  /** Guest RAM as an image, if there is one that this machine's memory can show. */
  readonly imageOf?: (reader: SnapshotReader) => Promise<RAMImage | undefined>;
  /** Told what is wrong with something that a load can do without. */
  readonly onNote?: (message: string) => void;
  /** Bytes of pages read so far, and how many there will be. */
  readonly onProgress?: (doneBytes: number, totalBytes: number) => void;
}

/** What it takes to keep snapshots. */
export interface MachineSnapshotsOptions {
  readonly store: SnapshotStore;
  readonly platform: SnapshotPlatform;
  /** How new blobs are compressed; not at all by default. */
  readonly compression?: Compression;
  /** Monotonic host time, ms, for `pauseMs`. */
  readonly nowMs?: () => number;
}

/** What a save took at its instant. */
interface Instant {
  readonly sections: readonly StateSection[];
  readonly capture: PageCapture;
  /** The MIGRATION bits, to be given back if the save fails. */
  readonly harvest: DirtyHarvest;
}

/**
 * Snapshots of `machine` in a store. One for each machine: it knows which
 * snapshot the MIGRATION bits count from.
 */
export class MachineSnapshots {
  readonly machine: Machine;
  readonly store: SnapshotStore;
  readonly #platform: SnapshotPlatform;
  readonly #compression: Compression | undefined;
  readonly #nowMs: () => number;
  /** The snapshot that MIGRATION bits count from. */
  #base: { readonly tag: string; readonly digest: Digest } | undefined;
  #lazy: LazyPages | undefined;
  /** Resolves when the store need not keep the lazy load's blobs any more. */
  #held: Promise<unknown> = Promise.resolve();
  #hasSaved = false;
  /** Saves and loads come one after the other. */
  #last: Promise<unknown> = Promise.resolve();

  constructor(machine: Machine, options: MachineSnapshotsOptions) {
    this.machine = machine;
    this.store = options.store;
    this.#platform = options.platform;
    this.#compression = options.compression;
    this.#nowMs = options.nowMs ?? (() => 0);
  }

  /** The lazy load under way, or the last one. */
  get lazy(): LazyPages | undefined {
    return this.#lazy;
  }

  /** Tag of the snapshot that the next incremental one builds upon. */
  get baseTag(): string | undefined {
    return this.#base?.tag;
  }

  /**
   * Saves the machine as it is now; it runs on meanwhile. A tag that is taken moves.
   * @throws {SnapshotError} `MISMATCH` if it cannot be incremental but must; as the store and
   *   `SnapshotBuilder` do. The machine is as it was, and so is what the store had
   * @throws {TypeError} if the machine is closed, or has failed
   */
  save(tag: string, options: SaveOptions = {}): Promise<MachineSaved> {
    return this.#inTurn(() => this.#save(tag, options));
  }

  /**
   * Puts the machine into the state of a snapshot. Everything is read and verified before it is
   * touched. It goes on running if it runs, and stands still if it does not.
   * @throws {SnapshotError} `MISMATCH` naming what differs; `CORRUPT`, `MISSING_BLOB` and others as
   *   `SnapshotReader` does. The machine is as it was then
   */
  load(tag: string, options: LoadOptions = {}): Promise<void> {
    return this.#inTurn(() => this.#load(tag, options));
  }

  /**
   * Ends what a lazy load does besides loading: the order in which the guest touched its memory is
   * kept with the snapshot. For a machine that is about to be closed, or was. Never throws.
   */
  async close(): Promise<void> {
    await this.#last;
    this.#lazy?.endWatch();
    await this.#lazy?.touched;
    await this.#last;
    await this.#held;
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#last.then(work);
    this.#last = result.catch(() => {});
    return result;
  }

  async #save(tag: string, options: SaveOptions): Promise<MachineSaved> {
    const parent = await this.#parentFor(options);
    const { signal, onProgress } = options;
    signal?.throwIfAborted();
    const builder = await SnapshotBuilder.open(this.store, this.#platform, {
      blocks: blocksOf(this.machine),
      ...(parent === undefined ? {} : { parent }),
      ...(this.#compression === undefined ? {} : { compression: this.#compression }),
      ...(signal === undefined ? {} : { signal }),
      ...(onProgress === undefined ? {} : { onProgress }),
    });
    const held: { instant?: Instant } = {};
    const give = async (taken: Instant): Promise<number> => {
      const { capture } = taken;
      const dirtyPages = parent === undefined ? undefined : this.#dirtyPages(taken);
      if (dirtyPages !== undefined) builder.expect(dirtyPages.length);
      if (dirtyPages === undefined) await this.#giveAll(builder, capture, signal);
      else await this.#giveDirty(builder, capture, dirtyPages, signal);
      return dirtyPages?.length ?? this.#ramPages;
    };
    try {
      if (!this.#hasSaved) {
        // Code that runs for the first time is slow: better now than while the guest waits.
        saveSections(this.machine);
        await this.machine.giveTurn();
        this.#hasSaved = true;
      }
      const { taken, givenCount, pauseMs } = await this.machine.standStill(async () => {
        const startMs = this.#nowMs();
        const taken = this.#takeInstant();
        held.instant = taken;
        // A guest whose stores nobody sees in time must not run before its pages are given out.
        const isAnnounced = this.machine.vcpu.interceptsWrites;
        const givenCount = isAnnounced ? undefined : await give(taken);
        return { taken, givenCount, pauseMs: this.#nowMs() - startMs };
      });
      const { capture, sections } = taken;
      const pageCount = givenCount ?? (await give(taken));
      const saved = await builder.commit(tag, this.machine.configuration, sections);
      this.#base = { tag, digest: saved.manifest.digest };
      return {
        ...saved,
        tag,
        isIncremental: parent !== undefined,
        pageCount,
        pauseMs,
        copiedPages: capture.copiedCount,
      };
    } catch (error) {
      if (held.instant !== undefined) this.machine.memory.dirty.merge(held.instant.harvest);
      throw error;
    } finally {
      held.instant?.capture.end();
      await builder.abort();
    }
  }

  get #ramPages(): number {
    const { blocks } = this.machine.memory.ramList;
    return blocks.reduce((sum, { sizeBytes }) => sum + sizeBytes / PAGE_SIZE, 0);
  }

  /** The snapshot to build upon, or undefined for a full one. */
  async #parentFor(options: SaveOptions): Promise<SnapshotReader | undefined> {
    const { kind = 'auto', parent, signal } = options;
    if (kind === 'full' && parent === undefined) return undefined;
    const base = this.#base;
    if (base === undefined) {
      if (kind !== 'incremental' && parent === undefined) return undefined;
      throw mismatch(
        parent ?? 'parent',
        'an incremental snapshot needs a parent: this machine was neither saved nor loaded before',
      );
    }
    const cancel = signal === undefined ? {} : { signal };
    if (parent !== undefined) {
      const { digest } = await this.store.resolve(parent);
      if (digest !== base.digest)
        throw mismatch(
          parent,
          `the parent must be the snapshot that was saved or loaded last, which is "${base.tag}"`,
        );
    }
    try {
      const tags = await this.store.list();
      const entry = tags.find(({ manifest }) => manifest.digest === base.digest);
      if (entry === undefined)
        throw new SnapshotError('UNKNOWN_TAG', `Cannot find snapshot "${base.tag}" any more`, {
          subject: base.tag,
        });
      return await SnapshotReader.open(this.store, this.#platform, entry.tag, cancel);
    } catch (error) {
      // A parent that is lost or damaged is nothing to build upon.
      if (error instanceof SnapshotError && kind === 'auto' && parent === undefined)
        return undefined;
      throw error;
    }
  }

  /** Called while the machine stands still. */
  #takeInstant(): Instant {
    const { guest } = this.machine.memory;
    const sections = saveSections(this.machine);
    guest.addressSpace.syncDirtyLog();
    // Taking the bits re-arms the TLB: from here on every page's first store is announced.
    const harvest = guest.dirty.harvest(DIRTY_MIGRATION);
    const capture = new PageCapture(guest);
    const blocks = sortedBlocks(this.machine);
    // More than an incremental save needs; to sort that out takes longer than a guest should wait.
    for (const { ramOffset, sizeBytes } of blocks) capture.want(ramOffset, sizeBytes);
    return { sections, capture, harvest };
  }

  /** RAM offsets of the pages of the instant that were dirty; the others are not wanted. */
  #dirtyPages({ capture, harvest }: Instant): number[] {
    const { ramList } = this.machine.memory;
    const pages = [...harvest.pages()].filter(
      (page) => ramList.blockAt(page * PAGE_SIZE) !== undefined,
    );
    capture.narrow(pages);
    return pages.map((page) => page * PAGE_SIZE);
  }

  async #giveAll(
    builder: SnapshotBuilder,
    capture: PageCapture,
    signal: CancelSignal | undefined,
  ): Promise<void> {
    const scratch = new Uint8Array(BLOB_PAGES_MAX * PAGE_SIZE);
    const { ramList } = this.machine.memory;
    for (const block of sortedBlocks(this.machine)) {
      for (let offset = 0; offset < block.sizeBytes; offset += scratch.length) {
        signal?.throwIfAborted();
        const size = Math.min(scratch.length, block.sizeBytes - offset);
        const ramOffset = block.ramOffset + offset;
        const bytes = captured(ramList, block, capture, offset, size, scratch);
        // The builder has copied the bytes when the call returns, before anything is awaited.
        const given = builder.putRange(block.id, offset / PAGE_SIZE, bytes);
        capture.release(ramOffset, size);
        await given;
        await this.machine.giveTurn();
      }
    }
  }

  async #giveDirty(
    builder: SnapshotBuilder,
    capture: PageCapture,
    pages: readonly number[],
    signal: CancelSignal | undefined,
  ): Promise<void> {
    const { ramList } = this.machine.memory;
    for (const [index, ramOffset] of pages.entries()) {
      const block = ramList.blockAt(ramOffset)!;
      const page = (ramOffset - block.ramOffset) / PAGE_SIZE;
      const given = builder.putPage(block.id, page, capture.peek(ramOffset));
      capture.release(ramOffset, PAGE_SIZE);
      await given;
      if (index % BLOB_PAGES_MAX !== BLOB_PAGES_MAX - 1) continue;
      signal?.throwIfAborted();
      await this.machine.giveTurn();
    }
  }

  async #load(tag: string, options: LoadOptions): Promise<void> {
    const before = this.#lazy;
    // While pages come, `gc` must leave their blobs: the tag may be deleted or moved meanwhile. A
    // store that may only be read has no gc, either. The guest need not wait for it.
    const lease =
      options.isLazy === true ? this.store.openWriter().catch(() => undefined) : undefined;
    try {
      // A machine that is started meanwhile has memory to lose after all.
      if (!(await this.#tryLoad(tag, options))) await this.#tryLoad(tag, options);
    } finally {
      const lazy = this.#lazy === before ? undefined : this.#lazy;
      const release = async (): Promise<void> => {
        await lazy?.done.catch(() => {});
        await (await lease)?.close();
      };
      this.#held = Promise.all([this.#held, release()]);
    }
  }

  /** @returns false if the machine is no longer blank as it was at first, and is untouched */
  async #tryLoad(tag: string, options: LoadOptions): Promise<boolean> {
    const { signal, onProgress } = options;
    const { machine } = this;
    const cancel = signal === undefined ? {} : { signal };
    const reader = await SnapshotReader.open(this.store, this.#platform, tag, cancel);
    const checked = checkMachine(machine, reader);
    const order = new OrderKeeper(this.store, this.#platform, reader, options.onNote);
    // A page that is missing must be noticed when it is touched: else all of them come first.
    const lazy =
      options.isLazy === true && machine.vcpu.interceptsWrites
        ? new LazyPages(machine, reader, machine.pc.ram, () => order.read())
        : undefined;
    const canShow = options.isLazy === true && lazy === undefined;
    const image = canShow ? await options.imageOf?.(reader) : undefined;
    const kind = image ?? (lazy !== undefined ? 'lazy' : machine.isBlank ? 'direct' : 'held');
    const ram = new RAMLoad(machine, reader, kind, cancel, onProgress);
    await ram.readHeld();
    const isDone = await machine.standStill(async () => {
      const { isBlank } = machine;
      if (kind === 'direct' && !isBlank) return false;
      try {
        if (kind === 'direct') await ram.readDirect();
        // Components may refuse; pages, which are all here or found when touched, cannot.
        restoreSections(machine, checked, true);
      } catch (error) {
        if (kind === 'direct') ram.undo();
        throw error;
      }
      this.#lazy?.stop();
      machine.memory.ramList.missing = undefined;
      ram.write(isBlank);
      lazy?.begin(new Set(ram.heldBlobs));
      machine.pc.virtio.onRestored();
      machine.pc.generationId?.renew();
      machine.screen.notify();
      machine.memory.dirty.clear(0, machine.memory.ramList.capacityBytes, DIRTY_MIGRATION);
      this.#lazy = lazy;
      this.#base = { tag, digest: reader.digest };
      return true;
    });
    if (!isDone) return false;
    lazy?.touched.then((touches) => this.#inTurn(() => order.keep(touches)));
    lazy?.runInBackground();
    return true;
  }
}

/**
 * Compares a snapshot with a machine, without touching it.
 * @throws {SnapshotError} `MISMATCH` naming what differs; `NEWER_VERSION`
 */
export function checkMachine(machine: Machine, reader: SnapshotReader): CheckedSections {
  compareConfigurations(machine, reader.config);
  compareBlocks(machine, reader.pageIndex.blocks);
  return checkSections(machine, reader.sections);
}

/** Bytes of a block as of the instant: its own, or copies of them where some were written since. */
function captured(
  ramList: RAMList,
  block: RAMBlock,
  capture: PageCapture,
  offset: number,
  sizeBytes: number,
  scratch: Uint8Array,
): Uint8Array {
  const ramOffset = block.ramOffset + offset;
  ramList.ensure(ramOffset, sizeBytes);
  if (!capture.hasCopies(ramOffset, sizeBytes))
    return block.bytes.subarray(offset, offset + sizeBytes);
  for (let done = 0; done < sizeBytes; done += PAGE_SIZE)
    scratch.set(capture.peek(ramOffset + done), done);
  return scratch.subarray(0, sizeBytes);
}
