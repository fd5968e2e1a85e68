// How two snapshots differ: configuration, sections and their fields, blocks, and pages.

import { PAGE_SIZE } from '../base/pages.ts';
import { type LoadedSection, type SectionValue, sectionKey } from './sections.ts';
import type { PagePlace, SnapshotReader } from './snapshot-reader.ts';
import type { CancelOptions } from './store.ts';

/** Pages of one block that differ. */
export interface BlockDifference {
  readonly blockId: string;
  /** Size in each, bytes; undefined where it is not there. */
  readonly sizeBytes: readonly [number | undefined, number | undefined];
  /** Pages that differ, in ascending order; empty if the sizes do. */
  readonly pages: readonly number[];
}

/** A section that differs. */
export interface SectionDifference {
  /** Its name, and `#` and its instance if it is not the first. */
  readonly section: string;
  /** Version in each; undefined where it is not there. */
  readonly versions: readonly [number | undefined, number | undefined];
  /** Numbers of fields that differ, or are in one only. */
  readonly fields: readonly number[];
}

/** What differs between two snapshots; empty lists where nothing does. */
export interface SnapshotDifference {
  /** Keys of the configuration. */
  readonly config: readonly string[];
  readonly sections: readonly SectionDifference[];
  readonly blocks: readonly BlockDifference[];
}

/** Blobs kept while pages are compared. */
const CACHED_BLOBS = 8;

/**
 * Compares two snapshots. Pages in one place of one blob are equal and are not read.
 * @throws {SnapshotError} if a blob that must be read cannot be
 */
export async function compareSnapshots(
  a: SnapshotReader,
  b: SnapshotReader,
  options: CancelOptions = {},
): Promise<SnapshotDifference> {
  return {
    config: compareConfig(a.config, b.config),
    sections: compareSections(a.sections, b.sections),
    blocks: await compareBlocks(a, b, options),
  };
}

function compareConfig(
  a: Readonly<Record<string, unknown>>,
  b: Readonly<Record<string, unknown>>,
): string[] {
  const keys = [...new Set([...Object.keys(a), ...Object.keys(b)])].sort();
  return keys.filter((key) => JSON.stringify(a[key]) !== JSON.stringify(b[key]));
}

function compareSections(
  a: readonly LoadedSection[],
  b: readonly LoadedSection[],
): SectionDifference[] {
  const inA = new Map(a.map((section) => [sectionKey(section), section]));
  const inB = new Map(b.map((section) => [sectionKey(section), section]));
  const differences: SectionDifference[] = [];
  for (const section of new Set([...inA.keys(), ...inB.keys()])) {
    const one = inA.get(section);
    const other = inB.get(section);
    const ids = new Set([...(one?.values.keys() ?? []), ...(other?.values.keys() ?? [])]);
    const fields = [...ids]
      .filter((id) => !isSameValue(one?.values.get(id), other?.values.get(id)))
      .sort((x, y) => x - y);
    if (fields.length > 0 || one?.version !== other?.version)
      differences.push({ section, versions: [one?.version, other?.version], fields });
  }
  return differences;
}

function isSameValue(a: SectionValue | undefined, b: SectionValue | undefined): boolean {
  if (typeof a !== 'object' || typeof b !== 'object') return Object.is(a, b);
  if (a.length !== b.length || a instanceof Uint8Array !== b instanceof Uint8Array) return false;
  for (let i = 0; i < a.length; i++) if (!Object.is(a[i], b[i])) return false;
  return true;
}

async function compareBlocks(
  a: SnapshotReader,
  b: SnapshotReader,
  options: CancelOptions,
): Promise<BlockDifference[]> {
  const ids = [...a.pageIndex.blocks, ...b.pageIndex.blocks].map(({ id }) => id);
  const pagesOfA = new PageReader(a, options);
  const pagesOfB = new PageReader(b, options);
  const differences: BlockDifference[] = [];
  for (const blockId of new Set(ids)) {
    const [indexA, indexB] = [a, b].map(({ pageIndex }) =>
      pageIndex.blocks.findIndex(({ id }) => id === blockId),
    ) as [number, number];
    const sizeA = a.pageIndex.blocks[indexA]?.sizeBytes;
    const sizeB = b.pageIndex.blocks[indexB]?.sizeBytes;
    const pages: number[] = [];
    if (sizeA !== undefined && sizeA === sizeB) {
      for (const page of storedPages(a, indexA, b, indexB)) {
        const placeA = a.placeOf(indexA, page);
        const placeB = b.placeOf(indexB, page);
        if (isSamePlace(a, placeA, b, placeB)) continue;
        const [bytesA, bytesB] = [await pagesOfA.read(placeA), await pagesOfB.read(placeB)];
        if (!isSameBytes(bytesA, bytesB)) pages.push(page);
      }
    }
    if (pages.length > 0 || sizeA !== sizeB)
      differences.push({ blockId, sizeBytes: [sizeA, sizeB], pages });
  }
  return differences;
}

/** Pages that are not zeros in one of them, ascending. */
function storedPages(
  a: SnapshotReader,
  indexA: number,
  b: SnapshotReader,
  indexB: number,
): number[] {
  const pages = new Set<number>();
  for (const [{ pageIndex }, index] of [[a, indexA] as const, [b, indexB] as const])
    for (const run of pageIndex.runs)
      if (run.blockIndex === index)
        for (let i = 0; i < run.pageCount; i++) pages.add(run.firstPage + i);
  return [...pages].sort((x, y) => x - y);
}

function isSamePlace(
  a: SnapshotReader,
  placeA: PagePlace,
  b: SnapshotReader,
  placeB: PagePlace,
): boolean {
  if (placeA === 'zeros' || placeB === 'zeros') return placeA === placeB;
  const blobA = a.pageIndex.blobs[placeA.blobIndex]!;
  const blobB = b.pageIndex.blobs[placeB.blobIndex]!;
  return blobA.digest === blobB.digest && placeA.blobPage === placeB.blobPage;
}

function isSameBytes(a: Uint8Array, b: Uint8Array): boolean {
  for (let i = 0; i < PAGE_SIZE; i++) if (a[i] !== b[i]) return false;
  return true;
}

/** Pages of a snapshot by place, with the last few blobs kept. */
class PageReader {
  readonly #reader: SnapshotReader;
  readonly #options: CancelOptions;
  readonly #zeros = new Uint8Array(PAGE_SIZE);
  readonly #cache = new Map<number, Uint8Array>();

  constructor(reader: SnapshotReader, options: CancelOptions) {
    this.#reader = reader;
    this.#options = options;
  }

  async read(place: PagePlace): Promise<Uint8Array> {
    if (place === 'zeros') return this.#zeros;
    let bytes = this.#cache.get(place.blobIndex);
    if (bytes === undefined) {
      bytes = await this.#reader.readBlob(place.blobIndex, this.#options);
      if (this.#cache.size >= CACHED_BLOBS) {
        const [oldest] = this.#cache.keys();
        this.#cache.delete(oldest!);
      }
      this.#cache.set(place.blobIndex, bytes);
    }
    return bytes.subarray(place.blobPage * PAGE_SIZE, (place.blobPage + 1) * PAGE_SIZE);
  }
}
