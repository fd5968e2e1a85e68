// A store in memory, for tests and for pages in a browser that keep nothing.

import {
  blobsOfAttachment,
  decodeAttachment,
  findAttachment,
  soundAttachments,
  withAttachment,
  withoutOrphans,
} from './attachment.ts';
import {
  checkDigest,
  checkDigestSync,
  type Digest,
  digestOf,
  type SnapshotPlatform,
} from './digest.ts';
import { BLOB_BYTES_MAX, MANIFEST_BYTES_MAX, TAGS_MAX } from './limits.ts';
import { type Descriptor, MANIFEST_TYPE, namedBlobs } from './manifest.ts';
import { reachableBlobs } from './reachable.ts';
import { SnapshotError } from './snapshot-error.ts';
import {
  type BlobKey,
  type CancelOptions,
  checkTag,
  type GCReport,
  missingBlob,
  type SnapshotStore,
  type SnapshotStoreWriter,
  type TagEntry,
  unknownTag,
} from './store.ts';

const PIECE_BYTES = 2 ** 20;

/** A store in memory, gone with its program: for tests, and for snapshots that only go back. */
export class MemoryStore implements SnapshotStore {
  /** For tests, which break what is in it. */
  readonly blobs = new Map<Digest, Uint8Array>();
  readonly #platform: SnapshotPlatform;
  readonly #tags = new Map<string, Descriptor>();
  /** Manifests of attachments. */
  #attachments: Descriptor[] = [];
  #writerCount = 0;

  constructor(platform: SnapshotPlatform) {
    this.#platform = platform;
  }

  async has({ digest, size }: BlobKey): Promise<boolean> {
    return this.blobs.get(digest)?.length === size;
  }

  async isWhole(key: BlobKey): Promise<boolean> {
    const bytes = this.blobs.get(key.digest);
    if (bytes?.length !== key.size) return false;
    return (await digestOf(this.#platform, bytes)) === key.digest;
  }

  async firstMissing(keys: readonly BlobKey[]): Promise<BlobKey | undefined> {
    return keys.find(({ digest, size }) => this.blobs.get(digest)?.length !== size);
  }

  getBlobSync(key: BlobKey): Uint8Array {
    const bytes = this.blobs.get(key.digest);
    if (bytes === undefined) throw missingBlob(key.digest);
    checkDigestSync(this.#platform, key, bytes);
    return bytes.slice();
  }

  async getBlob(key: BlobKey, options: CancelOptions = {}): Promise<Uint8Array> {
    options.signal?.throwIfAborted();
    const bytes = this.blobs.get(key.digest);
    if (bytes === undefined) throw missingBlob(key.digest);
    await checkDigest(this.#platform, key, bytes);
    return bytes.slice();
  }

  async *streamBlob({ digest }: BlobKey, offset: number): AsyncGenerator<Uint8Array> {
    const bytes = this.blobs.get(digest);
    if (bytes === undefined) throw missingBlob(digest);
    for (let start = offset; start < bytes.length; start += PIECE_BYTES)
      yield bytes.slice(start, start + PIECE_BYTES);
  }

  async list(): Promise<readonly TagEntry[]> {
    const entries = [...this.#tags].map(([tag, manifest]) => ({ tag, manifest }));
    return entries.sort((a, b) => (a.tag < b.tag ? -1 : 1));
  }

  async resolve(tag: string): Promise<Descriptor> {
    const manifest = this.#tags.get(tag);
    if (manifest === undefined) throw unknownTag(tag);
    return manifest;
  }

  async attachmentOf(subject: Digest, artifactType: string): Promise<Descriptor | undefined> {
    return findAttachment(this.#attachments, subject, artifactType);
  }

  async openWriter(): Promise<SnapshotStoreWriter> {
    this.#writerCount++;
    let isOpen = true;
    return {
      putBlob: (key, content, options) => this.#putBlob(key, content, options),
      putManifest: (tag, bytes) => this.#putManifest(tag, bytes),
      putAttachment: (bytes) => this.#putAttachment(bytes),
      close: async () => {
        if (isOpen) this.#writerCount--;
        isOpen = false;
      },
    };
  }

  async deleteTag(tag: string): Promise<void> {
    if (!this.#tags.delete(tag)) throw unknownTag(tag);
    this.#dropOrphans();
  }

  async gc(options: { readonly isDryRun?: boolean } = {}): Promise<GCReport> {
    if (this.#writerCount > 0)
      throw new SnapshotError(
        'BUSY',
        `Cannot collect garbage as no writer must be open: ${this.#writerCount} are`,
      );
    const attachments = await soundAttachments(this, this.#attachments);
    const attached = attachments.map((manifest) => ({ tag: '(attachment)', manifest }));
    const reached = await reachableBlobs(this, [...(await this.list()), ...attached]);
    if (options.isDryRun !== true) this.#attachments = attachments;
    const report = { keptCount: 0, keptBytes: 0, removedCount: 0, removedBytes: 0 };
    for (const [digest, bytes] of [...this.blobs]) {
      const isKept = reached.has(digest);
      report[isKept ? 'keptCount' : 'removedCount']++;
      report[isKept ? 'keptBytes' : 'removedBytes'] += bytes.length;
      if (!isKept && options.isDryRun !== true) this.blobs.delete(digest);
    }
    return report;
  }

  async #putBlob(
    key: BlobKey,
    content: Uint8Array | AsyncIterable<Uint8Array>,
    options: CancelOptions = {},
  ): Promise<boolean> {
    if (await this.isWhole(key)) return false;
    const bytes = await gather(key, content, options);
    await checkDigest(this.#platform, key, bytes);
    this.blobs.set(key.digest, bytes);
    return true;
  }

  async #putManifest(tag: string, bytes: Uint8Array): Promise<Descriptor> {
    checkTag(tag);
    if (bytes.length > MANIFEST_BYTES_MAX || this.#tags.size >= TAGS_MAX)
      throw new SnapshotError('TOO_LARGE', `Cannot keep snapshot "${tag}" as a limit is passed`);
    const missing = await this.firstMissing(namedBlobs(bytes, tag));
    if (missing !== undefined) throw missingBlob(missing.digest, tag);
    const digest = await digestOf(this.#platform, bytes);
    const manifest = { mediaType: MANIFEST_TYPE, digest, size: bytes.length };
    this.blobs.set(digest, bytes.slice());
    this.#tags.set(tag, manifest);
    this.#dropOrphans();
    return manifest;
  }

  async #putAttachment(bytes: Uint8Array): Promise<Descriptor | undefined> {
    const digest = await digestOf(this.#platform, bytes);
    const attachment = decodeAttachment(bytes, digest);
    const missing = await this.firstMissing(blobsOfAttachment(attachment));
    if (missing !== undefined) throw missingBlob(missing.digest, digest);
    const manifest = { mediaType: MANIFEST_TYPE, digest, size: bytes.length };
    const all = withAttachment(this.#attachments, manifest, attachment);
    const kept = withoutOrphans([...this.#tags.values()], all);
    if (!kept.some((one) => one.digest === digest)) return undefined;
    this.blobs.set(digest, bytes.slice());
    this.#attachments = kept;
    return manifest;
  }

  #dropOrphans(): void {
    this.#attachments = withoutOrphans([...this.#tags.values()], this.#attachments);
  }
}

async function gather(
  { digest, size }: BlobKey,
  content: Uint8Array | AsyncIterable<Uint8Array>,
  { signal }: CancelOptions,
): Promise<Uint8Array> {
  if (content instanceof Uint8Array) return content.slice();
  if (size > BLOB_BYTES_MAX)
    throw new SnapshotError('TOO_LARGE', `Cannot keep blob "${digest}" as it is too large`);
  const bytes = new Uint8Array(size);
  let filled = 0;
  for await (const piece of content) {
    signal?.throwIfAborted();
    if (filled + piece.length > size)
      throw new SnapshotError(
        'CORRUPT',
        `Cannot keep blob "${digest}" as it must have ${size} bytes: more come`,
      );
    bytes.set(piece, filled);
    filled += piece.length;
  }
  return bytes.subarray(0, filled);
}
