// A lazy load: the guest runs while its RAM comes, a blob when one of its pages is touched and the
// others in the background. Each page arrives once; until then it is missing, and nobody sees it.
// For the first seconds it is seen which blobs the guest touches, and in which order: the next load
// brings them in that order in the background.

import type { VirtualTimer } from '../base/device.ts';
import { PAGE_SIZE } from '../base/pages.ts';
import type { Machine } from '../machine/machine.ts';
import { MissingPages } from '../memory/missing-pages.ts';
import type { RAMBlock } from '../memory/ram-block.ts';
import type { SnapshotReader } from './snapshot-reader.ts';
import type { Touch } from './touch-order.ts';

/** How long it is seen what the guest touches, ns of virtual time. */
const WATCH_NS = 5e9;

/** Blobs that serve blocks not among `blockIndexes`, alone or too. */
export function blobsBeyond(reader: SnapshotReader, blockIndexes: readonly number[]): number[] {
  return [...reader.pageIndex.blobs.keys()].filter((blob) =>
    reader.runsOfBlob(blob).some((run) => !blockIndexes.includes(run.blockIndex)),
  );
}

/** The pages of one block, on their way. Pages of other blocks are loaded before. */
export class LazyPages {
  /** Resolves when every page is there or the load was given up; rejects if the store is lost. */
  readonly done: Promise<void>;
  /** What was touched first, one page for each blob, once nobody looks any more. */
  readonly touched: Promise<readonly Touch[]>;
  /** Blobs that serve other blocks, too. */
  readonly eagerBlobs: readonly number[];
  readonly #machine: Machine;
  readonly #reader: SnapshotReader;
  readonly #block: RAMBlock;
  readonly #missing: MissingPages;
  readonly #blockIndex: number;
  readonly #readOrder: () => Promise<readonly Touch[]>;
  readonly #touches: Touch[] = [];
  readonly #watchTimer: VirtualTimer;
  #settle: { resolve(): void; reject(error: unknown): void } = { resolve() {}, reject() {} };
  #tellTouches: (touches: readonly Touch[]) => void = () => {};
  #isStopped = false;
  #isWatching = true;
  #touchedCount = 0;

  /** @param readOrder what an earlier run touched, for the order of the background; never fails */
  constructor(
    machine: Machine,
    reader: SnapshotReader,
    block: RAMBlock,
    readOrder: () => Promise<readonly Touch[]>,
  ) {
    this.#machine = machine;
    this.#reader = reader;
    this.#block = block;
    this.#readOrder = readOrder;
    this.#watchTimer = machine.clock.createTimer(() => this.endWatch());
    const { blocks } = reader.pageIndex;
    this.#blockIndex = blocks.findIndex(({ id }) => id === block.id);
    this.eagerBlobs = blobsBeyond(reader, [this.#blockIndex]);
    this.#missing = new MissingPages(machine.memory.ramList.pageCount, (page) => this.#fetch(page));
    this.done = new Promise((resolve, reject) => {
      this.#settle = { resolve, reject };
    });
    this.done.catch(() => {}); // Whoever wants to know asks.
    this.touched = new Promise((resolve) => {
      this.#tellTouches = resolve;
    });
  }

  /** Pages that are missing. */
  get missingCount(): number {
    return this.#isStopped ? 0 : this.#missing.count;
  }

  /** Blobs that were read because the guest touched one of their pages. */
  get touchedCount(): number {
    return this.#touchedCount;
  }

  /** @internal From now on pages are missing; RAM is zeros elsewhere. */
  begin(loadedBlobs: ReadonlySet<number>): void {
    for (const { blockIndex, blobIndex, firstPage, pageCount } of this.#reader.pageIndex.runs) {
      if (blockIndex !== this.#blockIndex || loadedBlobs.has(blobIndex)) continue;
      this.#missing.add(this.#ramPage(firstPage), pageCount);
    }
    this.#machine.memory.ramList.missing = this.#missing;
    this.#watchTimer.arm(this.#machine.clock.nowNs() + WATCH_NS);
  }

  /** @internal */
  runInBackground(): void {
    this.#loadAll().then(
      () => this.#settle.resolve(),
      (error) => this.#settle.reject(error),
    );
  }

  /** Gives up: what is missing is not wanted any more. */
  stop(): void {
    this.#isStopped = true;
    this.endWatch();
  }

  /** Looks no more at what is touched; what is missing comes all the same. */
  endWatch(): void {
    this.#isWatching = false;
    this.#watchTimer.cancel();
    this.#tellTouches(this.#touches);
    this.#leave();
  }

  /** Once nothing is missing, and nobody looks, the machine is as any other. */
  #leave(): void {
    const { ramList } = this.#machine.memory;
    if (this.#isWatching || this.missingCount > 0) return;
    if (ramList.missing === this.#missing) ramList.missing = undefined;
  }

  async #loadAll(): Promise<void> {
    for (const blobIndex of await this.#backgroundOrder()) {
      if (!this.#isWanted(blobIndex)) continue;
      const bytes = await this.#reader.readBlob(blobIndex);
      if (this.#isStopped || this.#machine.state === 'closed') return;
      this.#install(blobIndex, bytes, this.#isWatching);
      await this.#machine.giveTurn();
    }
    this.#leave();
  }

  /** Blobs as an earlier run touched them, then the others in the order of RAM. */
  async #backgroundOrder(): Promise<Iterable<number>> {
    const order = new Set<number>();
    for (const { blockIndex, page } of await this.#readOrder()) {
      const place = this.#reader.placeOf(blockIndex, page);
      if (place !== 'zeros') order.add(place.blobIndex);
    }
    for (const { blobIndex } of this.#reader.pageIndex.runs) order.add(blobIndex);
    return order;
  }

  #isWanted(blobIndex: number): boolean {
    return this.#reader.runsOfBlob(blobIndex).some(({ blockIndex, firstPage, pageCount }) => {
      if (blockIndex !== this.#blockIndex) return false;
      for (let i = 0; i < pageCount; i++)
        if (this.#missing.has(this.#ramPage(firstPage + i))) return true;
      return false;
    });
  }

  /**
   * Somebody touches a page: its blob is read at once, unless it is there already, and all that it
   * brings is taken.
   */
  #fetch(ramPage: number): void {
    const page = ramPage - this.#block.ramOffset / PAGE_SIZE;
    const place = this.#reader.placeOf(this.#blockIndex, page);
    if (place === 'zeros') return;
    if (this.#missing.has(ramPage)) {
      const bytes = this.#reader.readBlobSync(place.blobIndex);
      this.#touchedCount++;
      this.#install(place.blobIndex, bytes, false);
    }
    for (const run of this.#reader.runsOfBlob(place.blobIndex))
      if (run.blockIndex === this.#blockIndex)
        for (let i = 0; i < run.pageCount; i++) this.#missing.see(this.#ramPage(run.firstPage + i));
    if (this.#isWatching) this.#touches.push({ blockIndex: this.#blockIndex, page });
  }

  #install(blobIndex: number, content: Uint8Array, isUntouched: boolean): void {
    for (const run of this.#reader.runsOfBlob(blobIndex)) {
      if (run.blockIndex !== this.#blockIndex) continue;
      for (let i = 0; i < run.pageCount; i++) {
        const page = run.firstPage + i;
        if (!this.#missing.arrive(this.#ramPage(page), isUntouched)) continue;
        const start = (run.blobPage + i) * PAGE_SIZE;
        // Nobody is told: as far as anyone can see, these bytes have always been there.
        this.#block.bytes.set(content.subarray(start, start + PAGE_SIZE), page * PAGE_SIZE);
      }
    }
  }

  #ramPage(page: number): number {
    return this.#block.ramOffset / PAGE_SIZE + page;
  }
}
