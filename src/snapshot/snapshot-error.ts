// The error of everything that reads, writes or moves snapshots.

/** Stable names for programs to branch on; the message is for people and may change. */
export type SnapshotErrorCode =
  /** The folder, manifest or blob is of another kind than a snapshot. */
  | 'NOT_A_SNAPSHOT'
  /** Written by a newer release in a format that this one does not know. */
  | 'NEWER_VERSION'
  /** Bytes are not what their digest says, or break the format. */
  | 'CORRUPT'
  /** A stated size or count is over the limit. */
  | 'TOO_LARGE'
  /** A blob that the snapshot needs is not in the store. */
  | 'MISSING_BLOB'
  /** No snapshot has that tag, or the tag cannot be one. */
  | 'UNKNOWN_TAG'
  | 'BAD_TAG'
  /** Compressed in a way that this host cannot undo. */
  | 'UNKNOWN_COMPRESSION'
  /** Pages were neither given nor kept, so that the snapshot would have holes. */
  | 'INCOMPLETE'
  /** Snapshot and machine differ: a block, a size, a device, the configuration. */
  | 'MISMATCH'
  /** Somebody else writes to the store. */
  | 'BUSY'
  /** The host refused: disk full, no permission, no such folder. */
  | 'IO'
  /** The registry refused or cannot be reached. */
  | 'REGISTRY'
  | 'UNAUTHORIZED';

/** What else is known of a failure. */
export interface SnapshotErrorDetail {
  /** What is concerned: a tag, a digest, a section or a block. */
  readonly subject?: string;
  /** Where in `subject`, bytes. */
  readonly offset?: number;
  readonly cause?: unknown;
}

/** A snapshot cannot be read, written or moved. The machine and the store are as they were. */
export class SnapshotError extends Error {
  override readonly name = 'SnapshotError';
  readonly code: SnapshotErrorCode;
  readonly subject: string | undefined;
  readonly offset: number | undefined;

  constructor(code: SnapshotErrorCode, message: string, detail: SnapshotErrorDetail = {}) {
    super(message, detail.cause === undefined ? undefined : { cause: detail.cause });
    this.code = code;
    this.subject = detail.subject;
    this.offset = detail.offset;
  }
}
