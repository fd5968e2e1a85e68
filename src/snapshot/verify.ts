// Reads a whole snapshot and compares every byte with its digest, and nothing else.

import type { SnapshotPlatform } from './digest.ts';
import { OrderKeeper } from './order-keeper.ts';
import { SnapshotReader } from './snapshot-reader.ts';
import type { CancelOptions, SnapshotStore } from './store.ts';

/** What was read. */
export interface VerifyReport {
  readonly blobCount: number;
  /** As stored. */
  readonly storedBytes: number;
  /** Pages that are not zeros. */
  readonly pageCount: number;
  /** What is wrong with something that a load can do without. */
  readonly note?: string;
}

/**
 * Verifies one snapshot: that it opens, and that each of its pages is what its digest says.
 * @throws {SnapshotError} what is wrong, at the first thing that is
 */
export async function verifySnapshot(
  store: SnapshotStore,
  platform: SnapshotPlatform,
  tag: string,
  options: CancelOptions & {
    readonly onProgress?: (doneBlobs: number, blobs: number) => void;
  } = {},
): Promise<VerifyReport> {
  const reader = await SnapshotReader.open(store, platform, tag, options);
  const { manifest, pageIndex } = reader;
  const layers = [manifest.config, manifest.state, manifest.pageIndex, ...manifest.pages];
  for (const blobIndex of pageIndex.blobs.keys()) {
    await reader.readBlob(blobIndex, options);
    options.onProgress?.(blobIndex + 1, pageIndex.blobs.length);
  }
  let note: string | undefined;
  const order = new OrderKeeper(store, platform, reader, (message) => {
    note = message;
  });
  await order.read();
  return {
    ...(note === undefined ? {} : { note }),
    blobCount: layers.length,
    storedBytes: layers.reduce((sum, { size }) => sum + size, 0),
    pageCount: pageIndex.runs.reduce((sum, run) => sum + run.pageCount, 0),
  };
}
