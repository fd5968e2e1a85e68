// Where each page of a snapshot in the making is: given and zeros, given and in
// a blob, or not given.

import { PAGE_SIZE } from '../base/pages.ts';
import type { IndexedBlock, PageIndex, PageRun } from './page-index.ts';

const NOT_GIVEN = -2;
const ZEROS = -1;

/** Pages of one block. */
class BlockPages {
  readonly blobs: Int32Array;
  readonly blobPages: Uint16Array;

  constructor(pageCount: number) {
    this.blobs = new Int32Array(pageCount).fill(NOT_GIVEN);
    this.blobPages = new Uint16Array(pageCount);
  }
}

/** The pages of all blocks; blobs are numbers of the caller's. */
export class PageMap {
  readonly blocks: readonly IndexedBlock[];
  readonly #pages: readonly BlockPages[];
  readonly #indexById: ReadonlyMap<string, number>;

  constructor(blocks: readonly IndexedBlock[]) {
    this.blocks = blocks;
    this.#pages = blocks.map(({ sizeBytes }) => new BlockPages(sizeBytes / PAGE_SIZE));
    this.#indexById = new Map(blocks.map(({ id }, index) => [id, index]));
  }

  /** Index of a block, or undefined. */
  indexOf(id: string): number | undefined {
    return this.#indexById.get(id);
  }

  isGiven(blockIndex: number, page: number): boolean {
    return this.#pages[blockIndex]!.blobs[page] !== NOT_GIVEN;
  }

  setZeros(blockIndex: number, page: number): void {
    this.#pages[blockIndex]!.blobs[page] = ZEROS;
  }

  set(blockIndex: number, page: number, blobIndex: number, blobPage: number): void {
    const pages = this.#pages[blockIndex]!;
    pages.blobs[page] = blobIndex;
    pages.blobPages[page] = blobPage;
  }

  /**
   * Takes every page that was not given from `parent`, whose blocks are the same.
   * @param blobOf the number that a blob of the parent gets; asked once for each run
   */
  inherit(parent: PageIndex, blobOf: (blobIndex: number) => number): void {
    for (const run of parent.runs) {
      const blob = blobOf(run.blobIndex);
      for (let i = 0; i < run.pageCount; i++)
        if (!this.isGiven(run.blockIndex, run.firstPage + i))
          this.set(run.blockIndex, run.firstPage + i, blob, run.blobPage + i);
    }
    for (const { blobs } of this.#pages)
      for (let page = 0; page < blobs.length; page++)
        if (blobs[page] === NOT_GIVEN) blobs[page] = ZEROS;
  }

  /** The first page that was not given, or undefined. */
  firstHole(): { readonly blockId: string; readonly page: number } | undefined {
    for (const [index, { blobs }] of this.#pages.entries()) {
      const page = blobs.indexOf(NOT_GIVEN);
      if (page >= 0) return { blockId: this.blocks[index]!.id, page };
    }
    return undefined;
  }

  /** How many pages of each blob are in use. */
  liveCounts(blobCount: number): Uint32Array {
    const counts = new Uint32Array(blobCount);
    for (const { blobs } of this.#pages)
      for (const blob of blobs) if (blob >= 0) counts[blob] = counts[blob]! + 1;
    return counts;
  }

  /** Runs, by block, then page. */
  *runs(): Generator<PageRun> {
    for (const [blockIndex, { blobs, blobPages }] of this.#pages.entries()) {
      for (let page = 0; page < blobs.length; ) {
        const blobIndex = blobs[page]!;
        const blobPage = blobPages[page]!;
        let count = 1;
        while (
          page + count < blobs.length &&
          blobs[page + count] === blobIndex &&
          blobPages[page + count] === blobPage + count
        )
          count++;
        if (blobIndex >= 0)
          yield { blockIndex, firstPage: page, pageCount: count, blobIndex, blobPage };
        page += blobIndex < 0 ? skip(blobs, page, blobIndex) : count;
      }
    }
  }
}

/** How many entries from `page` on are `value`. */
function skip(blobs: Int32Array, page: number, value: number): number {
  let end = page + 1;
  while (end < blobs.length && blobs[end] === value) end++;
  return end - page;
}
