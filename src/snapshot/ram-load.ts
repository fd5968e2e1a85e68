// A snapshot's pages on their way into a machine. They are held until all are verified, and then
// written in one step; but into guest RAM of a machine that has never run they are read directly:
// nobody can miss what was there, which was zeros, and is again if the load fails.

import { PAGE_SIZE } from '../base/pages.ts';
import type { Machine } from '../machine/machine.ts';
import type { RAMBlock } from '../memory/ram-block.ts';
import { blobsBeyond } from './lazy-pages.ts';
import type { PagesRead, SnapshotReader } from './snapshot-reader.ts';
import type { CancelOptions } from './store.ts';
import { noteFilled, zeroOthers } from './zero-pages.ts';

/**
 * What a load does with the pages of guest RAM: reads and holds, reads directly, or not yet; or has
 * them appear, as an image holds them.
 */
export type RAMLoadKind = 'held' | 'direct' | 'lazy' | RAMImage;

/** The guest RAM of a snapshot in a form that a machine's memory can be made to show at once. */
export interface RAMImage {
  /** Gives a block of guest RAM its content; tells nobody. Must not throw. */
  show(block: RAMBlock): void;
}

/** The pages of one load. */
export class RAMLoad {
  /** Blobs whose pages are held. */
  readonly heldBlobs: readonly number[];
  readonly #machine: Machine;
  readonly #reader: SnapshotReader;
  readonly #cancel: CancelOptions;
  readonly #onProgress: (doneBytes: number, totalBytes: number) => void;
  /** Guest RAM that is not held: block of the machine by number of the page index. */
  readonly #directBlocks: ReadonlyMap<number, RAMBlock>;
  readonly #held: PagesRead[] = [];
  readonly #image: RAMImage | undefined;
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
    const { ram, guestRAM } = machine.pc;
    const others = kind === 'held' ? [] : kind === 'lazy' ? [ram] : guestRAM;
    this.#directBlocks = new Map(
      others.map((block) => [blocks.findIndex(({ id }) => id === block.id), block]),
    );
    this.#image = typeof kind === 'object' ? kind : undefined;
    this.heldBlobs = blobsBeyond(reader, [...this.#directBlocks.keys()]);
    const isLater = kind === 'lazy' || this.#image !== undefined;
    const wanted = isLater ? this.heldBlobs : [...blobs.keys()];
    this.#totalBytes = wanted.reduce((sum, blob) => sum + usedBytes(reader, blob), 0);
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
    const held = new Set(this.heldBlobs);
    await this.#reader.readInto(
      (blockIndex, firstPage, pageCount) => this.#bytesOf(blockIndex, firstPage, pageCount),
      [...this.#reader.pageIndex.blobs.keys()].filter((blob) => !held.has(blob)),
      this.#cancel,
      (blob) => this.#count(usedBytes(this.#reader, blob)),
    );
  }

  /** Makes guest RAM zeros again wherever `readDirect` may have written. */
  undo(): void {
    for (const { blockIndex, firstPage, pageCount } of this.#reader.pageIndex.runs)
      if (this.#directBlocks.has(blockIndex))
        this.#bytesOf(blockIndex, firstPage, pageCount).fill(0);
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
      const isRAM = this.#machine.pc.guestRAM.includes(block);
      if (isRAM && this.#image !== undefined) this.#image.show(block);
      else if (!isRAM || !isBlank) zeroOthers(guest, block, isPresent);
      if (isRAM) guest.ramWrites.note(block.ramOffset, block.sizeBytes);
      else noteFilled(guest, block, isPresent);
    }
  }

  #bytesOf(blockIndex: number, firstPage: number, pageCount: number): Uint8Array {
    const { bytes } = this.#directBlocks.get(blockIndex)!;
    return bytes.subarray(firstPage * PAGE_SIZE, (firstPage + pageCount) * PAGE_SIZE);
  }

  #count(bytes: number): void {
    this.#doneBytes += bytes;
    this.#onProgress(this.#doneBytes, this.#totalBytes);
  }
}

/** Bytes of a blob's pages that the snapshot uses. */
function usedBytes(reader: SnapshotReader, blobIndex: number): number {
  const runs = reader.runsOfBlob(blobIndex);
  return runs.reduce((sum, { pageCount }) => sum + pageCount, 0) * PAGE_SIZE;
}
