// Makes a snapshot in a store: pages in any order, state and configuration, then one commit. With a
// parent, pages that are not given are the parent's, by reference: the cost is what changed.

import { assert } from '../base/errors.ts';
import { PAGE_SIZE } from '../base/pages.ts';
import { chooseBlobs } from './blob-choice.ts';
import { checkBlocks, checkParentBlocks } from './block-check.ts';
import type { Compression, Digest, SnapshotPlatform } from './digest.ts';
import { LayerWriter } from './layer-writer.ts';
import { BLOB_PAGES_MAX, CONFIG_BYTES_MAX, LAYERS_MAX } from './limits.ts';
import {
  CONFIG_TYPE,
  type Descriptor,
  encodeJSONText,
  encodeManifest,
  type LayerDescriptor,
  PAGE_INDEX_TYPE,
  PAGES_TYPE,
  STATE_TYPE,
} from './manifest.ts';
import { encodePageIndex, type IndexedBlob, type IndexedBlock } from './page-index.ts';
import { PageMap } from './page-map.ts';
import { encodeSections, type StateSection } from './sections.ts';
import { SnapshotError } from './snapshot-error.ts';
import type { SnapshotReader } from './snapshot-reader.ts';
import {
  type CancelSignal,
  checkTag,
  type SnapshotStore,
  type SnapshotStoreWriter,
} from './store.ts';
import { isZeros } from './zero-pages.ts';

/** How a snapshot is made. */
export interface SnapshotBuilderOptions {
  /** RAM blocks by id; an incremental snapshot has those of its parent. */
  readonly blocks: readonly IndexedBlock[];
  /** Pages that are not given are this snapshot's. It must be of the same store. */
  readonly parent?: SnapshotReader;
  /** How new blobs are compressed; not at all by default. */
  readonly compression?: Compression;
  readonly signal?: CancelSignal;
  /** How far it is: called after each blob, and at the end. */
  readonly onProgress?: (progress: SnapshotProgress) => void;
}

/** How far a save is. */
export interface SnapshotProgress {
  /** RAM looked at so far, bytes; never less than before. */
  readonly doneBytes: number;
  /** RAM to be looked at, bytes: all, or what changed. At the end, `doneBytes` is as much. */
  readonly totalBytes: number;
  /** New bytes in the store. */
  readonly writtenBytes: number;
}

/** What a commit made. */
export interface SnapshotSaved {
  readonly manifest: Descriptor;
  /** New bytes in the store, but for the manifest. */
  readonly writtenBytes: number;
  /** Pages in new blobs; zeros and the parent's are not among them. */
  readonly writtenPages: number;
}

/** Blobs that may be on their way to the store at once. */
const IN_FLIGHT_MAX = 4;

/** A blob being filled. */
interface OpenPack {
  readonly bytes: Uint8Array;
  readonly pages: { blockIndex: number; page: number }[];
}

interface PackedBlob extends IndexedBlob {
  readonly layer: LayerDescriptor;
}

/**
 * A snapshot in the making. End it with `commit` or `abort`; until `commit` has
 * returned, the store's tags are as they were.
 */
export class SnapshotBuilder {
  readonly #writer: SnapshotStoreWriter;
  readonly #layers: LayerWriter;
  readonly #platform: SnapshotPlatform;
  readonly #options: SnapshotBuilderOptions;
  readonly #map: PageMap;
  readonly #blobs: PackedBlob[] = [];
  readonly #indexByDigest = new Map<Digest, number>();
  readonly #inFlight = new Set<Promise<void>>();
  /** Single pages, in the order in which they came. */
  #loose: OpenPack | undefined;
  #givenPages = 0;
  /** How many pages will be given. */
  #totalPages: number;
  #writtenPages = 0;
  #failure: unknown;
  #isDone = false;

  private constructor(
    writer: SnapshotStoreWriter,
    platform: SnapshotPlatform,
    options: SnapshotBuilderOptions,
  ) {
    this.#writer = writer;
    this.#layers = new LayerWriter(writer, platform, options);
    this.#platform = platform;
    this.#options = options;
    this.#map = new PageMap(options.blocks);
    this.#totalPages = options.blocks.reduce((sum, block) => sum + block.sizeBytes / PAGE_SIZE, 0);
  }

  /**
   * Begins a snapshot.
   * @throws {SnapshotError} `MISMATCH` if the parent has other blocks; `BUSY`, `IO`
   * @throws {RangeError} if a block is not whole pages, two share an id, or a limit is passed
   */
  static async open(
    store: SnapshotStore,
    platform: SnapshotPlatform,
    options: SnapshotBuilderOptions,
  ): Promise<SnapshotBuilder> {
    checkBlocks(options.blocks);
    if (options.parent !== undefined)
      checkParentBlocks(options.parent.name, options.parent.pageIndex.blocks, options.blocks);
    return new SnapshotBuilder(await store.openWriter(), platform, options);
  }

  /** Says how many pages will be given, for `onProgress`: all of RAM if nobody says. */
  expect(pageCount: number): void {
    this.#totalPages = pageCount;
  }

  /**
   * Gives pages that follow each other, for a full save. Blobs end where page numbers are multiples
   * of `BLOB_PAGES_MAX`, so that two saves of the same memory share them. Zero pages cost nothing.
   * The bytes up to such a boundary are copied before the call returns; give no more than that at
   * once if they change meanwhile. Await it: that is the back pressure.
   */
  async putRange(blockId: string, firstPage: number, bytes: Uint8Array): Promise<void> {
    const blockIndex = this.#check(blockId, firstPage, bytes);
    const end = firstPage + bytes.length / PAGE_SIZE;
    for (let page = firstPage; page < end; ) {
      const stop = Math.min(end, page - (page % BLOB_PAGES_MAX) + BLOB_PAGES_MAX);
      let pack: OpenPack | undefined;
      for (; page < stop; page++) {
        const start = (page - firstPage) * PAGE_SIZE;
        const one = bytes.subarray(start, start + PAGE_SIZE);
        this.#givenPages++;
        if (isZeros(one)) this.#map.setZeros(blockIndex, page);
        else pack = addPage(pack ?? openPack(stop - page), blockIndex, page, one);
      }
      if (pack === undefined) this.#report();
      await this.#send(pack);
    }
  }

  /**
   * Gives one page, for pages that come in any order; it is copied before the call returns. A page
   * that is given again must not have changed. Await it: that is the back pressure.
   */
  async putPage(blockId: string, page: number, bytes: Uint8Array): Promise<void> {
    const blockIndex = this.#check(blockId, page, bytes);
    assert(bytes.length === PAGE_SIZE, 'putPage() takes one page');
    this.#givenPages++;
    if (isZeros(bytes)) this.#map.setZeros(blockIndex, page);
    else await this.#putLoose(blockIndex, page, bytes);
  }

  /** Whether a page was given: then it need not be given again, whatever happens to it. */
  isGiven(blockId: string, page: number): boolean {
    return this.#map.isGiven(this.#blockIndex(blockId), page);
  }

  /**
   * Completes the snapshot and lets `tag` name it.
   * @param config the machine's configuration, as JSON
   * @throws {SnapshotError} `INCOMPLETE` if a page was never given and there is no parent;
   *   `BAD_TAG`, `BUSY`, `IO`, `MISSING_BLOB`. The tag names then what it named before
   */
  async commit(
    tag: string,
    config: Readonly<Record<string, unknown>>,
    sections: readonly StateSection[],
  ): Promise<SnapshotSaved> {
    try {
      this.#checkOpen();
      checkTag(tag);
      return await this.#commit(tag, config, sections);
    } finally {
      await this.abort();
    }
  }

  /** Gives up, or ends after `commit`. Never throws. */
  async abort(): Promise<void> {
    if (this.#isDone) return;
    this.#isDone = true;
    await Promise.allSettled(this.#inFlight);
    await this.#writer.close();
  }

  async #commit(
    tag: string,
    config: Readonly<Record<string, unknown>>,
    sections: readonly StateSection[],
  ): Promise<SnapshotSaved> {
    const { parent, signal } = this.#options;
    const state = encodeSections(sections);
    const configBytes = encodeJSONText(JSON.stringify(config));
    if (configBytes.length > CONFIG_BYTES_MAX)
      throw new RangeError(
        `Cannot save configuration as it must have at most ${CONFIG_BYTES_MAX} bytes: ` +
          `it has ${configBytes.length}`,
      );
    await this.#flush();
    if (parent === undefined) {
      const hole = this.#map.firstHole();
      if (hole !== undefined)
        throw new SnapshotError(
          'INCOMPLETE',
          `Cannot save snapshot "${tag}" as every page must be given: page ${hole.page} of ` +
            `block "${hole.blockId}" was not`,
          { subject: hole.blockId },
        );
    } else {
      this.#inherit(parent);
      await this.#repack(parent);
    }
    const { blobs, layers, runs } = this.#liveBlobs();
    if (layers.length + 2 > LAYERS_MAX)
      throw new SnapshotError(
        'TOO_LARGE',
        `Cannot save snapshot "${tag}" as it must have at most ${LAYERS_MAX} blobs: it has ` +
          `${layers.length + 2}`,
      );
    const index = encodePageIndex({ blocks: this.#map.blocks, blobs, runs });
    const configLayer = await this.#layers.put(CONFIG_TYPE, configBytes, false);
    const stateLayer = await this.#layers.put(STATE_TYPE, state);
    const indexLayer = await this.#layers.put(PAGE_INDEX_TYPE, index);
    signal?.throwIfAborted();
    const bytes = encodeManifest({
      config: configLayer,
      state: stateLayer,
      pageIndex: indexLayer,
      pages: layers,
      created: new Date(this.#platform.nowMs()).toISOString(),
      tag,
      ...(parent === undefined ? {} : { parent: parent.digest }),
    });
    const manifest = await this.#writer.putManifest(tag, bytes);
    this.#givenPages = this.#totalPages;
    this.#report();
    return {
      manifest,
      writtenBytes: this.#layers.writtenBytes,
      writtenPages: this.#writtenPages,
    };
  }

  #inherit(parent: SnapshotReader): void {
    const numbers = new Map<number, number>();
    this.#map.inherit(parent.pageIndex, (blobIndex) => {
      let number = numbers.get(blobIndex);
      if (number === undefined) {
        const { digest, pageCount } = parent.pageIndex.blobs[blobIndex]!;
        const layer = parent.manifest.pages[blobIndex]!;
        number = this.#addBlob({ digest, pageCount, layer });
        numbers.set(blobIndex, number);
      }
      return number;
    });
  }

  /**
   * Writes the pages of blobs anew of which little is left, and of many small ones. Otherwise a
   * long chain would be read for ever for the sake of a few pages.
   */
  async #repack(parent: SnapshotReader): Promise<void> {
    const live = this.#map.liveCounts(this.#blobs.length);
    const chosen = new Set(chooseBlobs(this.#blobs, live));
    if (chosen.size === 0) return;
    for (const [parentIndex, { digest }] of parent.pageIndex.blobs.entries()) {
      const index = this.#indexByDigest.get(digest);
      if (index === undefined || !chosen.has(index)) continue;
      const bytes = await parent.readBlob(parentIndex, this.#cancel());
      const { blockCount, pageOf } = this.#pagesIn(index);
      for (let i = 0; i < blockCount; i++) {
        const { blockIndex, page, blobPage } = pageOf(i);
        const start = blobPage * PAGE_SIZE;
        await this.#putLoose(blockIndex, page, bytes.subarray(start, start + PAGE_SIZE));
      }
    }
    await this.#flush();
  }

  #pagesIn(blobIndex: number) {
    const pages: { blockIndex: number; page: number; blobPage: number }[] = [];
    for (const run of this.#map.runs())
      if (run.blobIndex === blobIndex)
        for (let i = 0; i < run.pageCount; i++)
          pages.push({
            blockIndex: run.blockIndex,
            page: run.firstPage + i,
            blobPage: run.blobPage + i,
          });
    return { blockCount: pages.length, pageOf: (i: number) => pages[i]! };
  }

  /**
   * Blobs that are in use, numbered anew by the first page that each holds: what the numbers were
   * so far depends on which blob was hashed and compressed first.
   */
  #liveBlobs() {
    const blobs: IndexedBlob[] = [];
    const layers: LayerDescriptor[] = [];
    const numbers = new Map<number, number>();
    const runs = [...this.#map.runs()].map((run) => {
      let number = numbers.get(run.blobIndex);
      if (number === undefined) {
        const { digest, pageCount, layer } = this.#blobs[run.blobIndex]!;
        number = blobs.push({ digest, pageCount }) - 1;
        layers.push(layer);
        numbers.set(run.blobIndex, number);
      }
      return { ...run, blobIndex: number };
    });
    return { blobs, layers, runs };
  }

  async #putLoose(blockIndex: number, page: number, bytes: Uint8Array): Promise<void> {
    this.#loose ??= openPack(BLOB_PAGES_MAX);
    addPage(this.#loose, blockIndex, page, bytes);
    // Given from now on: who asks before the blob is sent must not give it again.
    this.#map.setZeros(blockIndex, page);
    if (this.#loose.pages.length < BLOB_PAGES_MAX) return;
    const full = this.#loose;
    this.#loose = undefined;
    await this.#send(full);
  }

  /** Sends a blob on its way; waits only while too many are. */
  async #send(pack: OpenPack | undefined): Promise<void> {
    if (pack !== undefined) {
      for (const { blockIndex, page } of pack.pages) this.#map.setZeros(blockIndex, page);
      const sending: Promise<void> = this.#store(pack)
        .catch((error: unknown) => {
          this.#failure ??= error;
        })
        .finally(() => this.#inFlight.delete(sending));
      this.#inFlight.add(sending);
    }
    while (this.#inFlight.size >= IN_FLIGHT_MAX) await Promise.race(this.#inFlight);
    this.#checkOpen();
  }

  async #store({ bytes, pages }: OpenPack): Promise<void> {
    const raw = bytes.subarray(0, pages.length * PAGE_SIZE);
    const layer = await this.#layers.put(PAGES_TYPE, raw);
    const blob = this.#addBlob({ digest: layer.digest, pageCount: pages.length, layer });
    for (const [blobPage, { blockIndex, page }] of pages.entries())
      this.#map.set(blockIndex, page, blob, blobPage);
    this.#writtenPages += pages.length;
    this.#report();
  }

  #report(): void {
    this.#options.onProgress?.({
      // A page may be given again.
      doneBytes: Math.min(this.#givenPages, this.#totalPages) * PAGE_SIZE,
      totalBytes: this.#totalPages * PAGE_SIZE,
      writtenBytes: this.#layers.writtenBytes,
    });
  }

  #addBlob(blob: PackedBlob): number {
    const known = this.#indexByDigest.get(blob.digest);
    if (known !== undefined) return known;
    const index = this.#blobs.push(blob) - 1;
    this.#indexByDigest.set(blob.digest, index);
    return index;
  }

  async #flush(): Promise<void> {
    const rest = this.#loose;
    this.#loose = undefined;
    await this.#send(rest);
    await Promise.allSettled(this.#inFlight);
    this.#checkOpen();
  }

  #cancel() {
    const { signal } = this.#options;
    return signal === undefined ? {} : { signal };
  }

  #check(blockId: string, firstPage: number, bytes: Uint8Array): number {
    this.#checkOpen();
    const blockIndex = this.#blockIndex(blockId);
    const { sizeBytes } = this.#map.blocks[blockIndex]!;
    const isInside =
      Number.isSafeInteger(firstPage) &&
      firstPage >= 0 &&
      bytes.length % PAGE_SIZE === 0 &&
      firstPage * PAGE_SIZE + bytes.length <= sizeBytes;
    if (!isInside)
      throw new RangeError(
        `Cannot save pages of block "${blockId}" as they must be whole and lie in it: ` +
          `${bytes.length} bytes at page ${firstPage} of ${sizeBytes} bytes`,
      );
    return blockIndex;
  }

  #blockIndex(blockId: string): number {
    const blockIndex = this.#map.indexOf(blockId);
    if (blockIndex === undefined)
      throw new RangeError(`Cannot save a page as block "${blockId}" must be of the snapshot`);
    return blockIndex;
  }

  /** @throws what made an earlier blob fail */
  #checkOpen(): void {
    assert(!this.#isDone, 'the snapshot was committed or given up');
    if (this.#failure !== undefined) throw this.#failure;
    this.#options.signal?.throwIfAborted();
  }
}

function openPack(pageCount: number): OpenPack {
  return { bytes: new Uint8Array(pageCount * PAGE_SIZE), pages: [] };
}

function addPage(pack: OpenPack, blockIndex: number, page: number, bytes: Uint8Array): OpenPack {
  pack.bytes.set(bytes, pack.pages.length * PAGE_SIZE);
  pack.pages.push({ blockIndex, page });
  return pack;
}
