// `push` and `pull`: snapshots to and from any OCI registry. What is there already is not
// sent, so a transfer that was cut off goes on where it was. OCI distribution specification 1.1.

import { checkDigest } from '../../snapshot/digest.ts';
import { BLOB_BYTES_MAX, MANIFEST_BYTES_MAX } from '../../snapshot/limits.ts';
import {
  blobsOf,
  type Descriptor,
  decodeManifest,
  MANIFEST_TYPE,
} from '../../snapshot/manifest.ts';
import { SnapshotError } from '../../snapshot/snapshot-error.ts';
import type { DirectoryStore } from './directory-store.ts';
import { NODE_PLATFORM } from './node-platform.ts';
import { pullAttachments, pushAttachments } from './registry-attachments.ts';
import { RegistryClient } from './registry-client.ts';
import { download } from './registry-download.ts';
import type { RegistryReference } from './registry-reference.ts';
import { Upload, type UploadOptions } from './registry-upload.ts';

/** How far a transfer is. */
export interface TransferProgress {
  readonly doneBlobs: number;
  readonly blobCount: number;
  /** Sent or received now; what was there already is not counted. */
  readonly movedBytes: number;
}

export interface TransferOptions extends UploadOptions {
  readonly onProgress?: (progress: TransferProgress) => void;
}

/** What was moved. */
export interface TransferReport {
  readonly manifest: Descriptor;
  readonly movedBlobs: number;
  readonly movedBytes: number;
  /** Blobs that were there already. */
  readonly presentBlobs: number;
  /** Why what is attached to the snapshot did not come along, if it did not. */
  readonly note?: string;
}

const AT_ONCE = 4;

/**
 * Sends a snapshot to a registry; the manifest goes last, so that nobody can pull half of it.
 * @throws {SnapshotError} `REGISTRY`, `UNAUTHORIZED`; run it again to go on
 */
export async function push(
  store: DirectoryStore,
  tag: string,
  to: RegistryReference,
  options: TransferOptions = {},
): Promise<TransferReport> {
  const manifest = await store.resolve(tag);
  const bytes = await store.getBlob(manifest);
  const blobs = blobsOf(decodeManifest(bytes, tag));
  const upload = new Upload(store, new RegistryClient(to, options), options);
  const moved = await transfer(blobs, options, (blob) => upload.send(blob));
  await upload.client.send({
    method: 'PUT',
    path: `manifests/${to.tag ?? manifest.digest}`,
    headers: { 'content-type': MANIFEST_TYPE },
    body: bytes,
    expect: [201],
  });
  const note = await noteOf(() => pushAttachments(store, upload, manifest.digest));
  return { manifest, ...moved, ...note };
}

/**
 * Fetches a snapshot from a registry and lets `tag` name it. Each blob is
 * verified before it is kept.
 * @throws {SnapshotError} `REGISTRY`, `UNAUTHORIZED`, `CORRUPT`, `NOT_A_SNAPSHOT`
 */
export async function pull(
  store: DirectoryStore,
  tag: string,
  from: RegistryReference,
  options: TransferOptions = {},
): Promise<TransferReport> {
  const client = new RegistryClient(from, options);
  const response = await client.send({
    method: 'GET',
    path: `manifests/${from.digest ?? from.tag}`,
    headers: { accept: MANIFEST_TYPE },
    expect: [200],
  });
  const bytes = await client.body(response, MANIFEST_BYTES_MAX);
  if (from.digest !== undefined)
    await checkDigest(NODE_PLATFORM, { digest: from.digest, size: bytes.length }, bytes);
  const blobs = blobsOf(decodeManifest(bytes, `${from.host}/${from.repository}`));
  const { signal } = options;
  const writer = await store.openWriter();
  try {
    const moved = await transfer(blobs, options, async (blob) => {
      if (await store.isWhole(blob)) return 0;
      if (blob.size > BLOB_BYTES_MAX)
        throw new SnapshotError('TOO_LARGE', `Cannot pull blob "${blob.digest}": it is too large`);
      const content = download(client, blob);
      await writer.putBlob(blob, content, signal === undefined ? {} : { signal });
      return blob.size;
    });
    const manifest = await writer.putManifest(tag, bytes);
    const note = await noteOf(() => pullAttachments(store, writer, client, manifest.digest));
    return { manifest, ...moved, ...note };
  } finally {
    await writer.close();
  }
}

/** What is wrong with something that a snapshot can do without. */
async function noteOf(work: () => Promise<void>): Promise<{ note?: string }> {
  try {
    await work();
    return {};
  } catch (error) {
    if (!(error instanceof SnapshotError)) throw error;
    return { note: `The order in which it was touched did not come along: ${error.message}` };
  }
}

/** Moves blobs, a few at once. @param move how many bytes it moved; 0 if it was there */
async function transfer(
  blobs: readonly Descriptor[],
  options: TransferOptions,
  move: (blob: Descriptor) => Promise<number>,
): Promise<Pick<TransferReport, 'movedBlobs' | 'movedBytes' | 'presentBlobs'>> {
  const queue = [...blobs];
  let doneBlobs = 0;
  let movedBlobs = 0;
  let movedBytes = 0;
  let failure: unknown;
  const work = async (): Promise<void> => {
    for (;;) {
      const blob = failure === undefined ? queue.shift() : undefined;
      if (blob === undefined) return;
      try {
        options.signal?.throwIfAborted();
        const bytes = await move(blob);
        doneBlobs++;
        if (bytes > 0) movedBlobs++;
        movedBytes += bytes;
        options.onProgress?.({ doneBlobs, blobCount: blobs.length, movedBytes });
      } catch (error) {
        failure ??= error;
      }
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));
  if (failure !== undefined) throw failure;
  return { movedBlobs, movedBytes, presentBlobs: doneBlobs - movedBlobs };
}
