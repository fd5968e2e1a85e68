// The page index: which page of which RAM block lies where in which blob. A page in no run is
// zeros. It names every blob the snapshot's RAM needs, its own and its parent's alike, so that a
// snapshot of any chain is loaded from this one list. docs/snapshot-format.md, "Page index".

import { PAGE_SIZE } from '../base/pages.ts';
import { ByteBuilder, ByteReader } from './byte-reader.ts';
import { bytesOfDigest, DIGEST_BYTES, type Digest, digestOfBytes } from './digest.ts';
import {
  BLOB_PAGES_MAX,
  BLOCKS_MAX,
  INDEX_BYTES_MAX,
  LAYERS_MAX,
  NAME_BYTES_MAX,
  RAM_BYTES_MAX,
} from './limits.ts';
import { SnapshotError } from './snapshot-error.ts';

/** A RAM block of a snapshot. */
export interface IndexedBlock {
  readonly id: string;
  /** Whole pages, bytes. */
  readonly sizeBytes: number;
}

/** A blob of pages. */
export interface IndexedBlob {
  /** Of its bytes as they are stored, compressed or not. */
  readonly digest: Digest;
  readonly pageCount: number;
}

/** Pages of a block that follow each other in a blob, too. */
export interface PageRun {
  /** Into `PageIndex.blocks`. */
  readonly blockIndex: number;
  /** In the block. */
  readonly firstPage: number;
  readonly pageCount: number;
  /** Into `PageIndex.blobs`. */
  readonly blobIndex: number;
  /** In the blob. */
  readonly blobPage: number;
}

/** Where all RAM of a snapshot is. */
export interface PageIndex {
  readonly blocks: readonly IndexedBlock[];
  readonly blobs: readonly IndexedBlob[];
  /** By block, then page; none overlap. */
  readonly runs: readonly PageRun[];
}

const MAGIC = 0x58_49_50_51; // "QPIX"
const VERSION = 1;
const HEADER_BYTES = 20;
const BLOB_BYTES = DIGEST_BYTES + 4;
const BLOCK_BYTES_MIN = 2 + 1 + 8;
const RUN_BYTES = 20;
const RUNS_MAX = Math.floor(INDEX_BYTES_MAX / RUN_BYTES);

/** The bytes of an index. */
export function encodePageIndex(index: PageIndex): Uint8Array {
  const builder = new ByteBuilder();
  builder.u32(MAGIC);
  builder.u16(VERSION);
  builder.u16(0);
  builder.u32(index.blocks.length);
  builder.u32(index.blobs.length);
  builder.u32(index.runs.length);
  for (const { digest, pageCount } of index.blobs) {
    builder.put(bytesOfDigest(digest));
    builder.u32(pageCount);
  }
  for (const { id, sizeBytes } of index.blocks) {
    builder.name(id, NAME_BYTES_MAX);
    builder.u64(sizeBytes);
  }
  for (const run of index.runs) {
    builder.u32(run.blockIndex);
    builder.u32(run.firstPage);
    builder.u32(run.pageCount);
    builder.u32(run.blobIndex);
    builder.u32(run.blobPage);
  }
  return builder.finish();
}

/**
 * An index from its bytes. Every run lies in its block and its blob, and none overlap.
 * @throws {SnapshotError} `NOT_A_SNAPSHOT`, `NEWER_VERSION`, `CORRUPT`, `TOO_LARGE`
 */
export function decodePageIndex(bytes: Uint8Array): PageIndex {
  const reader = new ByteReader(bytes, 'page index');
  if (bytes.length < HEADER_BYTES || reader.u32() !== MAGIC)
    throw new SnapshotError(
      'NOT_A_SNAPSHOT',
      'Cannot read page index as its magic must be "QPIX"',
      { subject: 'page index', offset: 0 },
    );
  const version = reader.u16();
  if (version > VERSION)
    reader.fail('NEWER_VERSION', `version must be at most ${VERSION}, got ${version}`);
  if (version < 1 || reader.u16() !== 0) reader.fail('CORRUPT', 'the header must be of version 1');
  const blockCount = reader.count('blocks', reader.u32(), BLOCKS_MAX, BLOCK_BYTES_MIN);
  const blobCount = reader.count('blobs', reader.u32(), LAYERS_MAX, BLOB_BYTES);
  const runCount = reader.count('runs', reader.u32(), RUNS_MAX, RUN_BYTES);
  const blobs = decodeBlobs(reader, blobCount);
  const blocks = decodeBlocks(reader, blockCount);
  const runs = decodeRuns(reader, runCount, blocks, blobs);
  reader.end();
  return { blocks, blobs, runs };
}

function decodeBlobs(reader: ByteReader, count: number): IndexedBlob[] {
  const blobs: IndexedBlob[] = [];
  const digests = new Set<Digest>();
  for (let i = 0; i < count; i++) {
    const digest = digestOfBytes(reader.take(DIGEST_BYTES));
    const pageCount = reader.u32();
    if (pageCount < 1 || pageCount > BLOB_PAGES_MAX)
      reader.fail('TOO_LARGE', `a blob must have 1 to ${BLOB_PAGES_MAX} pages, got ${pageCount}`);
    if (digests.has(digest)) reader.fail('CORRUPT', `blob "${digest}" is there twice`);
    digests.add(digest);
    blobs.push({ digest, pageCount });
  }
  return blobs;
}

function decodeBlocks(reader: ByteReader, count: number): IndexedBlock[] {
  const blocks: IndexedBlock[] = [];
  const ids = new Set<string>();
  let totalBytes = 0;
  for (let i = 0; i < count; i++) {
    const id = reader.name(NAME_BYTES_MAX);
    const sizeBytes = reader.u64();
    if (ids.has(id)) reader.fail('CORRUPT', `block "${id}" is there twice`);
    ids.add(id);
    if (sizeBytes === 0 || sizeBytes % PAGE_SIZE !== 0)
      reader.fail('CORRUPT', `block "${id}" must be whole pages, got ${sizeBytes} bytes`);
    totalBytes += sizeBytes;
    if (totalBytes > RAM_BYTES_MAX)
      reader.fail('TOO_LARGE', `all blocks must have at most ${RAM_BYTES_MAX} bytes together`);
    blocks.push({ id, sizeBytes });
  }
  return blocks;
}

function decodeRuns(
  reader: ByteReader,
  count: number,
  blocks: readonly IndexedBlock[],
  blobs: readonly IndexedBlob[],
): PageRun[] {
  const runs: PageRun[] = [];
  let block = 0;
  let end = 0;
  for (let i = 0; i < count; i++) {
    const blockIndex = reader.u32();
    const firstPage = reader.u32();
    const pageCount = reader.u32();
    const blobIndex = reader.u32();
    const blobPage = reader.u32();
    if (blockIndex >= blocks.length)
      reader.fail('CORRUPT', `run ${i} is of block ${blockIndex}, there are ${blocks.length}`);
    if (blobIndex >= blobs.length)
      reader.fail('CORRUPT', `run ${i} is in blob ${blobIndex}, there are ${blobs.length}`);
    if (blockIndex < block || (blockIndex === block && firstPage < end))
      reader.fail('CORRUPT', `run ${i} must start behind the run before it`);
    if (pageCount < 1 || firstPage + pageCount > blocks[blockIndex]!.sizeBytes / PAGE_SIZE)
      reader.fail('CORRUPT', `run ${i} must lie in block "${blocks[blockIndex]!.id}"`);
    if (blobPage + pageCount > blobs[blobIndex]!.pageCount)
      reader.fail('CORRUPT', `run ${i} must lie in blob "${blobs[blobIndex]!.digest}"`);
    block = blockIndex;
    end = firstPage + pageCount;
    runs.push({ blockIndex, firstPage, pageCount, blobIndex, blobPage });
  }
  return runs;
}

/** Whether two lists of blocks are the same, in the same order. */
export function sameBlocks(a: readonly IndexedBlock[], b: readonly IndexedBlock[]): boolean {
  const isSame = ({ id, sizeBytes }: IndexedBlock, i: number): boolean =>
    b[i]!.id === id && b[i]!.sizeBytes === sizeBytes;
  return a.length === b.length && a.every(isSame);
}

/** The run that holds a page, or undefined where the page is zeros. */
export function findRun(index: PageIndex, blockIndex: number, page: number): PageRun | undefined {
  const { runs } = index;
  let low = 0;
  let high = runs.length;
  // The last run that starts at the page or before it.
  while (low < high) {
    const middle = (low + high) >>> 1;
    const run = runs[middle]!;
    const isBefore =
      run.blockIndex < blockIndex || (run.blockIndex === blockIndex && run.firstPage <= page);
    if (isBefore) low = middle + 1;
    else high = middle;
  }
  const run = runs[low - 1];
  if (run === undefined || run.blockIndex !== blockIndex) return undefined;
  return page < run.firstPage + run.pageCount ? run : undefined;
}
