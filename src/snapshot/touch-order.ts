// In which order a run touched the memory that it was loaded from, one page for each blob: the next
// lazy load fetches in that order. It is an attachment of the snapshot; one that is damaged, or
// speaks of other memory, is as good as none. docs/snapshot-format.md, "Touch order".

import { PAGE_SIZE } from '../base/pages.ts';
import { ByteBuilder, ByteReader } from './byte-reader.ts';
import { BLOCKS_MAX, LAYERS_MAX, NAME_BYTES_MAX } from './limits.ts';
import { type IndexedBlock, type PageIndex, sameBlocks } from './page-index.ts';

/** Artifact type and media type of a touch order; the number is the version of the format. */
export const TOUCH_ORDER_TYPE = 'application/vnd.quire.touch-order.v1';

const MAGIC = 0x4452_4f51; // "QORD"
const VERSION = 1;
const TOUCH_BYTES = 8;
const BLOCK_BYTES_MIN = 2 + 1 + 8;

/** A page that was touched, by number in its block. */
export interface Touch {
  readonly blockIndex: number;
  readonly page: number;
}

/** The bytes of an order. */
export function encodeTouchOrder(
  blocks: readonly IndexedBlock[],
  touches: readonly Touch[],
): Uint8Array {
  const builder = new ByteBuilder();
  builder.u32(MAGIC);
  builder.u16(VERSION);
  builder.u16(0);
  builder.u32(blocks.length);
  builder.u32(touches.length);
  for (const { id, sizeBytes } of blocks) {
    builder.name(id, NAME_BYTES_MAX);
    builder.u64(sizeBytes);
  }
  for (const { blockIndex, page } of touches) {
    builder.u32(blockIndex);
    builder.u32(page);
  }
  return builder.finish();
}

/**
 * An order from its bytes, of memory that `index` describes.
 * @throws {SnapshotError} `NOT_A_SNAPSHOT`, `NEWER_VERSION`, `CORRUPT`, `TOO_LARGE`; `MISMATCH` if
 *   it is of other memory
 */
export function decodeTouchOrder(bytes: Uint8Array, { blocks }: PageIndex): Touch[] {
  const reader = new ByteReader(bytes, 'touch order');
  if (reader.u32() !== MAGIC) reader.fail('NOT_A_SNAPSHOT', 'its magic must be "QORD"');
  const version = reader.u16();
  if (version > VERSION)
    reader.fail('NEWER_VERSION', `version must be at most ${VERSION}, got ${version}`);
  if (version < 1 || reader.u16() !== 0) reader.fail('CORRUPT', 'the header must be of version 1');
  const blockCount = reader.count('blocks', reader.u32(), BLOCKS_MAX, BLOCK_BYTES_MIN);
  const touchCount = reader.count('touches', reader.u32(), LAYERS_MAX, TOUCH_BYTES);
  const theirs: IndexedBlock[] = [];
  for (let i = 0; i < blockCount; i++)
    theirs.push({ id: reader.name(NAME_BYTES_MAX), sizeBytes: reader.u64() });
  if (!sameBlocks(theirs, blocks))
    reader.fail('MISMATCH', 'it must be of the snapshot\u2019s RAM blocks');
  const touches: Touch[] = [];
  for (let i = 0; i < touchCount; i++) {
    const blockIndex = reader.u32();
    const page = reader.u32();
    const block = blocks[blockIndex];
    if (block === undefined || page >= block.sizeBytes / PAGE_SIZE)
      reader.fail('CORRUPT', `touch ${i} must lie in a block: page ${page} of block ${blockIndex}`);
    touches.push({ blockIndex, page });
  }
  reader.end();
  return touches;
}
