// What a storage device reads and writes: a run of 512-byte sectors that somebody else keeps.
// Errors are values, for a full or broken host disk is the guest's news and no exception of ours.

/** Unit of every sector number here, whatever the sector size of the guest's device. */
export const SECTOR_BYTES = 512;

/**
 * Why a request failed: `EIO` for anything but the others; `ENOSPC` when the host's disk is full;
 * `EROFS` for a write to what is read-only; `ENOMEDIUM` when the drive is empty.
 */
export type BlockError = 'EIO' | 'ENOSPC' | 'EROFS' | 'ENOMEDIUM';

/** Ends a request, exactly once; `undefined` when it worked. */
export type BlockDone = (error: BlockError | undefined) => void;

/**
 * An image, or whatever stands in for one.
 *
 * Requests take effect in the order in which they are made. `done` may be called before the request
 * returns, or at any time later. The array is the callee's until then. What lies outside the device
 * is `EIO`.
 */
export interface BlockDevice {
  /** A multiple of {@link SECTOR_BYTES}. */
  readonly sizeBytes: number;
  readonly isReadOnly: boolean;
  /** What people call it, such as a path; for `info block`. */
  readonly label: string;
  /** Fills `bytes`, whole sectors, from `sector` on. */
  read(sector: number, bytes: Uint8Array, done: BlockDone): void;
  write(sector: number, bytes: Uint8Array, done: BlockDone): void;
  /** Done when every write that was done before is on the medium. */
  flush(done: BlockDone): void;
  /** Lets go of it once what is under way is done; nothing may be asked after that. */
  close(): void;
}

/** Whether `bytes` are whole sectors that lie within the device. */
export function isInside(sizeBytes: number, sector: number, bytes: Uint8Array): boolean {
  const start = sector * SECTOR_BYTES;
  return (
    Number.isInteger(sector) &&
    sector >= 0 &&
    bytes.length % SECTOR_BYTES === 0 &&
    start + bytes.length <= sizeBytes
  );
}
