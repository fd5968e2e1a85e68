// Whether RAM blocks can be saved, and be saved on top of another snapshot's.

import { PAGE_SIZE } from '../base/pages.ts';
import { BLOCKS_MAX, RAM_BYTES_MAX } from './limits.ts';
import { type IndexedBlock, sameBlocks } from './page-index.ts';
import { SnapshotError } from './snapshot-error.ts';

/** @throws {RangeError} if one is not whole pages, two share an id, or a limit is passed */
export function checkBlocks(blocks: readonly IndexedBlock[]): void {
  const ids = new Set<string>();
  let totalBytes = 0;
  for (const { id, sizeBytes } of blocks) {
    if (ids.has(id))
      throw new RangeError(`Cannot save RAM block "${id}" as ids must be unique: two have it`);
    ids.add(id);
    totalBytes += sizeBytes;
    if (!Number.isSafeInteger(sizeBytes) || sizeBytes <= 0 || sizeBytes % PAGE_SIZE !== 0)
      throw new RangeError(
        `Cannot save RAM block "${id}" as it must be whole pages: ${sizeBytes} bytes`,
      );
  }
  if (blocks.length > BLOCKS_MAX || totalBytes > RAM_BYTES_MAX)
    throw new RangeError(
      `Cannot save RAM as it must be at most ${BLOCKS_MAX} blocks and ${RAM_BYTES_MAX} bytes: ` +
        `${blocks.length} blocks, ${totalBytes} bytes`,
    );
}

/**
 * An incremental snapshot has its parent's blocks, in their order.
 * @throws {SnapshotError} `MISMATCH`
 */
export function checkParentBlocks(
  parent: string,
  theirs: readonly IndexedBlock[],
  blocks: readonly IndexedBlock[],
): void {
  const describe = (list: readonly IndexedBlock[]): string =>
    list.map(({ id, sizeBytes }) => `"${id}" of ${sizeBytes} bytes`).join(', ');
  if (!sameBlocks(theirs, blocks))
    throw new SnapshotError(
      'MISMATCH',
      `Cannot build upon snapshot "${parent}" as it must have the machine's RAM blocks: ` +
        `it has ${describe(theirs)}, the machine has ${describe(blocks)}`,
      { subject: parent },
    );
}
