// Where snapshots are kept: blobs by digest, and tags that name manifests. A folder on Node, a map
// in tests; whatever keeps these promises will do.

import type { Digest } from './digest.ts';
import { TAG_LENGTH_MAX } from './limits.ts';
import type { Descriptor } from './manifest.ts';
import { SnapshotError } from './snapshot-error.ts';

/** What an `AbortSignal` has; the core knows no platform. */
export interface CancelSignal {
  readonly aborted: boolean;
  throwIfAborted(): void;
}

/** How long work is stopped early. */
export interface CancelOptions {
  readonly signal?: CancelSignal;
}

/** How a blob is put. */
export interface PutOptions extends CancelOptions {
  /** The digest was just computed from these very bytes, which nobody changes: not once more. */
  readonly isHashed?: boolean;
}

/** Which blob, and how long it is. */
export type BlobKey = Pick<Descriptor, 'digest' | 'size'>;

/** A tag and the manifest it names. */
export interface TagEntry {
  readonly tag: string;
  readonly manifest: Descriptor;
}

/** What `gc` found and did. */
export interface GCReport {
  readonly keptCount: number;
  readonly keptBytes: number;
  readonly removedCount: number;
  readonly removedBytes: number;
}

/**
 * Puts blobs and commits a snapshot. While one is open, `gc` in any process is refused, so that no
 * blob that `has` said is there goes before the manifest that needs it comes.
 */
export interface SnapshotStoreWriter {
  /**
   * Keeps a blob. One that is there already is not written again, unless its bytes are others.
   * @returns whether it was written
   * @throws {SnapshotError} `CORRUPT` if the content is not what `key` says; nothing is kept then.
   *   `IO` if the host refuses
   */
  putBlob(
    key: BlobKey,
    content: Uint8Array | AsyncIterable<Uint8Array>,
    options?: PutOptions,
  ): Promise<boolean>;
  /**
   * Keeps a manifest and lets `tag` name it, in one step: before it, the tag names what it named;
   * after it, everything the manifest names is on stable storage.
   * @throws {SnapshotError} `MISSING_BLOB` if a blob it names is not there; `BAD_TAG`, `BUSY`, `IO`
   */
  putManifest(tag: string, bytes: Uint8Array): Promise<Descriptor>;
  /**
   * Keeps the manifest of an attachment, whose blobs are there, in place of the snapshot's last one
   * of that type. The snapshot stays as it is.
   * @returns undefined if no tag names the snapshot: nothing is kept then
   * @throws {SnapshotError} `NOT_A_SNAPSHOT`, `CORRUPT`, `MISSING_BLOB`, `BUSY`, `IO`
   */
  putAttachment(bytes: Uint8Array): Promise<Descriptor | undefined>;
  /** Lets go. Blobs without a manifest stay until `gc`. Never throws. */
  close(): Promise<void>;
}

/** A store of snapshots. Every byte that it returns has been compared with its digest. */
export interface SnapshotStore {
  /**
   * Whether a blob is there and its bytes are what `key` says. They are compared once in the life
   * of the store's object.
   * @throws {SnapshotError} `IO`
   */
  isWhole(key: BlobKey): Promise<boolean>;
  /** Whether a blob is there, with the size that `key` states. It is not read: see `isWhole`. */
  has(key: BlobKey): Promise<boolean>;
  /** The first of `keys` that is not there, or undefined; quicker than asking for each. */
  firstMissing(keys: readonly BlobKey[]): Promise<BlobKey | undefined>;
  /**
   * A blob's bytes, which the caller owns.
   * @throws {SnapshotError} `MISSING_BLOB`, `CORRUPT`, `TOO_LARGE`, `IO`
   */
  getBlob(key: BlobKey, options?: CancelOptions): Promise<Uint8Array>;
  /**
   * A blob's bytes at once, verified, where the host can: for a guest that touches a page.
   * @throws as `getBlob`
   */
  getBlobSync?(key: BlobKey): Uint8Array;
  /**
   * Reads a blob into `target`, which has its size, and verifies it there: for one who has no use
   * for a copy of his own. If it fails, what `target` held is lost, and nothing writes it any more.
   * @throws as `getBlob`
   */
  getBlobInto?(key: BlobKey, target: Uint8Array, options?: CancelOptions): Promise<void>;
  /**
   * A blob from byte `offset` on, in pieces. Only the whole has a digest, so pieces are not
   * verified: for a receiver that verifies, such as a registry.
   */
  streamBlob(key: BlobKey, offset: number): AsyncIterable<Uint8Array>;
  /** All tags, by name. */
  list(): Promise<readonly TagEntry[]>;
  /**
   * The manifest that a tag names.
   * @throws {SnapshotError} `UNKNOWN_TAG`
   */
  resolve(tag: string): Promise<Descriptor>;
  /** The manifest of what is attached to a snapshot, by artifact type; undefined if nothing is. */
  attachmentOf(subject: Digest, artifactType: string): Promise<Descriptor | undefined>;
  /** Opens a writer; close it. @throws {SnapshotError} `BUSY` while `gc` runs, `IO` */
  openWriter(): Promise<SnapshotStoreWriter>;
  /**
   * Forgets a tag, and what is attached to a snapshot without one. The blobs stay until `gc`.
   * @throws {SnapshotError} `UNKNOWN_TAG`, `BUSY`, `IO`
   */
  deleteTag(tag: string): Promise<void>;
  /**
   * Removes every blob that no tag reaches, and attachments that are damaged.
   * @throws {SnapshotError} `BUSY` while a writer is open anywhere; `CORRUPT`, `MISSING_BLOB` if a
   *   manifest cannot be read, so that nobody knows what it needs: nothing is removed then
   */
  gc(options?: { readonly isDryRun?: boolean }): Promise<GCReport>;
}

const TAG = /^[a-zA-Z0-9_][a-zA-Z0-9._-]*$/;

/**
 * A tag as registries take it: OCI distribution specification 1.1, "Pulling manifests".
 * @throws {SnapshotError} `BAD_TAG`
 */
export function checkTag(tag: string): void {
  if (tag.length <= TAG_LENGTH_MAX && TAG.test(tag)) return;
  throw new SnapshotError(
    'BAD_TAG',
    `Cannot use tag "${tag.slice(0, TAG_LENGTH_MAX)}" as it must have 1 to ${TAG_LENGTH_MAX} ` +
      'letters, digits, dots, dashes and underscores, and start with a letter, digit or underscore',
    { subject: tag },
  );
}

/** The error for a blob that is not there. */
export function missingBlob(digest: Digest, neededBy?: string): SnapshotError {
  const by = neededBy === undefined ? '' : `, "${neededBy}" needs it`;
  return new SnapshotError(
    'MISSING_BLOB',
    `Cannot find blob "${digest}" as it must be in the store${by}`,
    { subject: digest },
  );
}

/** The error for a tag that is not there. */
export function unknownTag(tag: string): SnapshotError {
  return new SnapshotError('UNKNOWN_TAG', `Cannot find snapshot "${tag}" as no tag has that name`, {
    subject: tag,
  });
}
