// A snapshot's pages on their way into a machine. They are held until all are verified, and then
// written in one step; but into guest RAM of a machine that has never run they are read directly:
// nobody can miss what was there, which was zeros, and is again if the load fails.

import { PAGE_SIZE } from '../base/pages.ts';
import type { Machine } from '../machine/machine.ts';
import { blobsBeyond } from './lazy-pages.ts';
import type { PagesRead, SnapshotReader } from './snapshot-reader.ts';
import type { CancelOptions } from './store.ts';
import { noteFilled, zeroOthers } from './zero-pages.ts';

/** What a load does with the pages of guest RAM: reads and holds, reads directly, or not yet. */
export type RAMLoadKind = 'held' | 'direct' | 'lazy';

/** The pages of one load. */
export class RAMLoad {
  /** Blobs whose pages are held. */
  readonly heldBlobs: readonly number[];
  readonly #machine: Machine;
  readonly #reader: SnapshotReader;
  readonly #cancel: CancelOptions;
  readonly #onProgress: (doneBytes: number, totalBytes: number) => void;
  /** Guest RAM in the page index; -1 if the index lacks it. */
  readonly #ramIndex: number;
  readonly #held: PagesRead[] = [];
  readonly #totalBytes: number;
  #doneBytes = 0;

  constructor(
    machine: Machine,
    reader: SnapshotReader,
    kind: RAMLoadKind,
    cancel: CancelOptions,
    onProgress: (doneBytes: number, totalBytes: number) => void = () => {},
  ) {
    this.#machine = machine;
    this.#reader = reader;
    this.#cancel = cancel;
    this.#onProgress = onProgress;
    const { blocks, blobs } = reader.pageIndex;
    this.#ramIndex = blocks.findIndex(({ id }) => id === machine.pc.ram.id);
    this.#totalBytes = blobs.reduce((sum, { pageCount }) => sum + pageCount, 0) * PAGE_SIZE;
    this.heldBlobs = kind === 'held' ? [...blobs.keys()] : blobsBeyond(reader, this.#ramIndex);
  }

  /** Reads and verifies what is held. @throws {SnapshotError} as `SnapshotReader.pages` */
  async readHeld(): Promise<void> {
    for await (const run of this.#reader.pages(this.#cancel, this.heldBlobs)) {
      this.#held.push(run);
      this.#count(run.bytes.length);
    }
  }

  /**
   * Reads the other blobs into guest RAM, which must be zeros. Call it inside `standStill`, and
   * `undo` if it, or what follows, fails.
   * @throws {SnapshotError} as `SnapshotReader.readInto`
   */
  async readDirect(): Promise<void> {
    const { ram } = this.#machine.pc;
    const held = new Set(this.heldBlobs);
    const { blobs } = this.#reader.pageIndex;
    await this.#reader.readInto(
      (_block, firstPage, pageCount) =>
        ram.bytes.subarray(firstPage * PAGE_SIZE, (firstPage + pageCount) * PAGE_SIZE),
      [...blobs.keys()].filter((blob) => !held.has(blob)),
      this.#cancel,
      (blob) => this.#count(blobs[blob]!.pageCount * PAGE_SIZE),
    );
  }

  /** Makes guest RAM zeros again wherever `readDirect` may have written. */
  undo(): void {
    const { bytes } = this.#machine.pc.ram;
    for (const { blockIndex, firstPage, pageCount } of this.#reader.pageIndex.runs)
      if (blockIndex === this.#ramIndex)
        bytes.fill(0, firstPage * PAGE_SIZE, (firstPage + pageCount) * PAGE_SIZE);
  }

  /** Writes all RAM: what is held, and zeros elsewhere; guest RAM that is `isBlank` has these. */
  write(isBlank: boolean): void {
    const { guest } = this.#machine.memory;
    for (const block of guest.ramList.blocks) {
      guest.ramWrites.before(block.ramOffset, block.sizeBytes);
      const isPresent = new Uint8Array(block.sizeBytes / PAGE_SIZE);
      for (const { blockId, firstPage, bytes } of this.#held) {
        if (blockId !== block.id) continue;
        block.bytes.set(bytes, firstPage * PAGE_SIZE);
        isPresent.fill(1, firstPage, firstPage + bytes.length / PAGE_SIZE);
      }
      const isRAM = block === this.#machine.pc.ram;
      if (!isRAM || !isBlank) zeroOthers(guest, block, isPresent);
      if (isRAM) guest.ramWrites.note(block.ramOffset, block.sizeBytes);
      else noteFilled(guest, block, isPresent);
    }
  }

  #count(bytes: number): void {
    this.#doneBytes += bytes;
    this.#onProgress(this.#doneBytes, this.#totalBytes);
  }
}
