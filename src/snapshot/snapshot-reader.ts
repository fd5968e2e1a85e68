// A snapshot opened for reading: what it is, its device state, and its pages, one blob at a time.

import { PAGE_SIZE } from '../base/pages.ts';
import { atOnce, type Compression, type Digest, type SnapshotPlatform } from './digest.ts';
import { CONFIG_BYTES_MAX, MANIFEST_BYTES_MAX } from './limits.ts';
import {
  blobsOf,
  type Descriptor,
  decodeManifest,
  failure,
  type LayerDescriptor,
  parseJSON,
  type SnapshotManifest,
} from './manifest.ts';
import { decodePageIndex, findRun, type PageIndex, type PageRun } from './page-index.ts';
import { decodeSections, type LoadedSection } from './sections.ts';
import { SnapshotError } from './snapshot-error.ts';
import { type CancelOptions, missingBlob, type SnapshotStore } from './store.ts';

/** Pages of one block that follow each other. */
export interface PagesRead {
  readonly blockId: string;
  readonly firstPage: number;
  /** Whole pages, the caller's to keep. */
  readonly bytes: Uint8Array;
}

/** Where a page is: a blob and the page in it, or nowhere, as it is zeros. */
export type PagePlace = { readonly blobIndex: number; readonly blobPage: number } | 'zeros';

/** Gives the bytes of pages of a block, for them to be written. */
export type PageTarget = (blockIndex: number, firstPage: number, pageCount: number) => Uint8Array;

/** How many blobs are read ahead of the one in use, or at once. */
const AHEAD_COUNT = 4;

/**
 * A snapshot of a store. `open` has read and checked everything but the pages, and that their blobs
 * are there; a machine that compares itself with `blocks`, `config` and `sections` first is
 * untouched by a snapshot that is not for it.
 */
export class SnapshotReader {
  /** The tag it was opened by, or its digest. */
  readonly name: string;
  readonly digest: Digest;
  /** Of the manifest. */
  readonly descriptor: Descriptor;
  readonly manifest: SnapshotManifest;
  /** The machine's configuration: JSON, the machine's own. */
  readonly config: Readonly<Record<string, unknown>>;
  readonly sections: readonly LoadedSection[];
  readonly pageIndex: PageIndex;
  readonly #store: SnapshotStore;
  readonly #platform: SnapshotPlatform;

  private constructor(
    fields: Pick<
      SnapshotReader,
      'name' | 'descriptor' | 'manifest' | 'config' | 'sections' | 'pageIndex'
    >,
    store: SnapshotStore,
    platform: SnapshotPlatform,
  ) {
    this.name = fields.name;
    this.digest = fields.descriptor.digest;
    this.descriptor = fields.descriptor;
    this.manifest = fields.manifest;
    this.config = fields.config;
    this.sections = fields.sections;
    this.pageIndex = fields.pageIndex;
    this.#store = store;
    this.#platform = platform;
  }

  /**
   * Opens the snapshot of a tag, or of a manifest's descriptor.
   * @throws {SnapshotError} whatever is wrong with it, the pages' content excepted
   */
  static async open(
    store: SnapshotStore,
    platform: SnapshotPlatform,
    which: string | Descriptor,
    options: CancelOptions = {},
  ): Promise<SnapshotReader> {
    const descriptor = typeof which === 'string' ? await store.resolve(which) : which;
    const name = typeof which === 'string' ? which : which.digest;
    if (descriptor.size > MANIFEST_BYTES_MAX)
      throw new SnapshotError('TOO_LARGE', `Cannot read manifest of "${name}": it is too large`);
    const manifest = decodeManifest(await store.getBlob(descriptor, options), name);
    const configBytes = await store.getBlob(manifest.config, options);
    const config = parseJSON(configBytes, CONFIG_BYTES_MAX, failure(`config of "${name}"`, name));
    const read = (layer: LayerDescriptor) => readLayer(store, platform, layer, options);
    const sections = decodeSections(await read(manifest.state));
    const pageIndex = decodePageIndex(await read(manifest.pageIndex));
    checkPageLayers(name, manifest, pageIndex);
    const fields = { name, descriptor, manifest, config, sections, pageIndex };
    const reader = new SnapshotReader(fields, store, platform);
    const missing = await store.firstMissing(blobsOf(manifest));
    if (missing !== undefined) throw missingBlob(missing.digest, name);
    return reader;
  }

  /** Where page `page` of block `blockIndex` is. */
  placeOf(blockIndex: number, page: number): PagePlace {
    const run = findRun(this.pageIndex, blockIndex, page);
    if (run === undefined) return 'zeros';
    return { blobIndex: run.blobIndex, blobPage: run.blobPage + (page - run.firstPage) };
  }

  /** The runs that blob `blobIndex` serves, in the order of the guest's memory. */
  runsOfBlob(blobIndex: number): readonly PageRun[] {
    this.#runsByBlob ??= groupByBlob(this.pageIndex);
    return this.#runsByBlob[blobIndex]!;
  }
  #runsByBlob: PageRun[][] | undefined;

  /**
   * The pages of one blob, verified and no longer compressed.
   * @throws {SnapshotError} `MISSING_BLOB`, `CORRUPT`, `IO`
   */
  async readBlob(blobIndex: number, options: CancelOptions = {}): Promise<Uint8Array> {
    return readLayer(this.#store, this.#platform, this.manifest.pages[blobIndex]!, options);
  }

  /**
   * The same at once, where store and platform can: for a page that a guest touches.
   * @throws {SnapshotError} as `readBlob`
   * @throws {TypeError} if store or platform answer later only
   */
  readBlobSync(blobIndex: number): Uint8Array {
    const layer = this.manifest.pages[blobIndex]!;
    if (this.#store.getBlobSync === undefined)
      throw new TypeError('Cannot read a blob at once as the store must answer at once here');
    const stored = this.#store.getBlobSync(layer);
    const compression = compressionOf(this.#platform, layer);
    if (compression === undefined) return stored;
    return undone(layer, () => {
      return atOnce(compression.decompress(stored, layer.rawSize), compression.suffix);
    });
  }

  /**
   * Every page that is not zeros, each once, blob by blob. What it does not yield is zeros.
   * @param blobIndexes which blobs, and in which order: all of them if not given
   * @throws {SnapshotError} from the step at which a blob cannot be read
   */
  async *pages(
    options: CancelOptions = {},
    blobIndexes: Iterable<number> = this.pageIndex.blobs.keys(),
  ): AsyncGenerator<PagesRead> {
    const ahead: { blobIndex: number; bytes: Promise<Uint8Array> }[] = [];
    const queue = blobIndexes[Symbol.iterator]();
    const fill = (): void => {
      while (ahead.length < AHEAD_COUNT) {
        const next = queue.next();
        if (next.done === true) return;
        const bytes = this.readBlob(next.value, options);
        bytes.catch(() => {}); // It is reported in its turn, or not at all if an earlier one fails.
        ahead.push({ blobIndex: next.value, bytes });
      }
    };
    for (fill(); ahead.length > 0; fill()) {
      const { blobIndex, bytes } = ahead.shift()!;
      const content = await bytes;
      options.signal?.throwIfAborted();
      for (const run of this.runsOfBlob(blobIndex)) {
        const start = run.blobPage * PAGE_SIZE;
        yield {
          blockId: this.pageIndex.blocks[run.blockIndex]!.id,
          firstPage: run.firstPage,
          bytes: content.subarray(start, start + run.pageCount * PAGE_SIZE),
        };
      }
    }
  }

  /**
   * Reads blobs to where their pages belong, several at once, and without a copy where that can be.
   * If it fails, what was there is lost; nothing is written any more when it returns.
   * @param onBlob called after each blob
   * @throws {SnapshotError} why the first of those that failed cannot be read
   */
  async readInto(
    target: PageTarget,
    blobIndexes: Iterable<number>,
    options: CancelOptions = {},
    onBlob: (blobIndex: number) => void = () => {},
  ): Promise<void> {
    const queue = blobIndexes[Symbol.iterator]();
    const failures: unknown[] = [];
    const work = async (): Promise<void> => {
      try {
        for (let next = queue.next(); next.done !== true; next = queue.next()) {
          if (failures.length > 0) return;
          await this.#readOneInto(target, next.value, options);
          onBlob(next.value);
        }
      } catch (error) {
        failures.push(error);
      }
    };
    await Promise.all(Array.from({ length: AHEAD_COUNT }, work));
    if (failures.length > 0) throw failures[0];
  }

  async #readOneInto(target: PageTarget, blobIndex: number, options: CancelOptions): Promise<void> {
    const layer = this.manifest.pages[blobIndex]!;
    const runs = this.runsOfBlob(blobIndex);
    const [first] = runs;
    const isWhole = runs.length === 1 && first!.pageCount * PAGE_SIZE === layer.size;
    if (isWhole && layer.compression === undefined && this.#store.getBlobInto !== undefined) {
      const bytes = target(first!.blockIndex, first!.firstPage, first!.pageCount);
      return this.#store.getBlobInto(layer, bytes, options);
    }
    const content = await this.readBlob(blobIndex, options);
    for (const { blockIndex, firstPage, pageCount, blobPage } of runs) {
      const start = blobPage * PAGE_SIZE;
      target(blockIndex, firstPage, pageCount).set(
        content.subarray(start, start + pageCount * PAGE_SIZE),
      );
    }
  }
}

/** A layer's bytes, verified by digest and no longer compressed. */
async function readLayer(
  store: SnapshotStore,
  platform: SnapshotPlatform,
  layer: LayerDescriptor,
  options: CancelOptions,
): Promise<Uint8Array> {
  const stored = await store.getBlob(layer, options);
  const compression = compressionOf(platform, layer);
  if (compression === undefined) return stored;
  let raw: Uint8Array;
  try {
    raw = await compression.decompress(stored, layer.rawSize);
  } catch (cause) {
    throw notUndone(layer, cause);
  }
  return undone(layer, () => raw);
}

/** How a layer is compressed; undefined if it is not. @throws {SnapshotError} if nobody knows */
function compressionOf(
  { compressions }: SnapshotPlatform,
  { compression: suffix, digest }: LayerDescriptor,
): Compression | undefined {
  if (suffix === undefined) return undefined;
  const found = compressions.find((one) => one.suffix === suffix);
  if (found !== undefined) return found;
  throw new SnapshotError(
    'UNKNOWN_COMPRESSION',
    `Cannot read blob "${digest}" as its compression must be known here: it is "${suffix}"`,
    { subject: digest },
  );
}

/** What `decompress` gives, if that has the size which the manifest states. */
function undone(layer: LayerDescriptor, decompress: () => Uint8Array): Uint8Array {
  let raw: Uint8Array;
  try {
    raw = decompress();
  } catch (cause) {
    if (cause instanceof TypeError) throw cause;
    throw notUndone(layer, cause);
  }
  if (raw.length !== layer.rawSize) throw notUndone(layer, new Error(`it has ${raw.length}`));
  return raw;
}

function notUndone({ digest, compression, rawSize }: LayerDescriptor, cause: unknown): Error {
  return new SnapshotError(
    'CORRUPT',
    `Cannot read blob "${digest}" as it must be ${compression} of ${rawSize} bytes: ` +
      `${cause instanceof Error ? cause.message : String(cause)}`,
    { subject: digest, cause },
  );
}

/** Manifest and page index must speak of the same blobs. */
function checkPageLayers(name: string, manifest: SnapshotManifest, index: PageIndex): void {
  const fail = (detail: string): never => {
    throw new SnapshotError('CORRUPT', `Cannot read snapshot "${name}": ${detail}`, {
      subject: name,
    });
  };
  if (manifest.pages.length !== index.blobs.length)
    fail(`the page index names ${index.blobs.length} blobs, the manifest ${manifest.pages.length}`);
  for (const [i, { digest, pageCount }] of index.blobs.entries()) {
    const layer = manifest.pages[i]!;
    if (layer.digest !== digest)
      fail(`blob ${i} is "${digest}" in the page index, "${layer.digest}" in the manifest`);
    if (layer.rawSize !== pageCount * PAGE_SIZE)
      fail(`blob ${i} must come to ${pageCount} pages, it states ${layer.rawSize} bytes`);
  }
}

function groupByBlob(index: PageIndex): PageRun[][] {
  const byBlob: PageRun[][] = index.blobs.map(() => []);
  for (const run of index.runs) byBlob[run.blobIndex]!.push(run);
  return byBlob;
}
