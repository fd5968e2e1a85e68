// What the tags of a store reach: the blobs that `gc` must spare.

import type { Digest } from './digest.ts';
import { MANIFEST_BYTES_MAX } from './limits.ts';
import { type Descriptor, INDEX_TYPE, MANIFEST_TYPE, namedBlobs } from './manifest.ts';
import { SnapshotError } from './snapshot-error.ts';
import type { BlobKey, SnapshotStore, TagEntry } from './store.ts';

/** Manifests behind one tag: an image index of another tool may list several. */
const MANIFESTS_MAX = 2 ** 16;

/**
 * Every blob that `tags` reach, manifests included, with its size.
 * @throws {SnapshotError} if a manifest cannot be read: nobody knows then what it needs
 */
export async function reachableBlobs(
  store: Pick<SnapshotStore, 'getBlob'>,
  tags: readonly TagEntry[],
): Promise<Map<Digest, BlobKey>> {
  const reached = new Map<Digest, BlobKey>();
  const waiting: { descriptor: Descriptor; tag: string }[] = tags.map(({ tag, manifest }) => ({
    descriptor: manifest,
    tag,
  }));
  const seen = new Set<Digest>();
  while (waiting.length > 0) {
    const { descriptor, tag } = waiting.pop()!;
    reached.set(descriptor.digest, descriptor);
    if (seen.has(descriptor.digest)) continue;
    seen.add(descriptor.digest);
    const { mediaType, size } = descriptor;
    if (mediaType !== MANIFEST_TYPE && mediaType !== INDEX_TYPE) continue;
    if (size > MANIFEST_BYTES_MAX || seen.size > MANIFESTS_MAX)
      throw new SnapshotError(
        'TOO_LARGE',
        `Cannot follow "${tag}" as its manifests are too large`,
        {
          subject: tag,
        },
      );
    for (const named of namedBlobs(await store.getBlob(descriptor), tag))
      waiting.push({ descriptor: named, tag });
  }
  return reached;
}
