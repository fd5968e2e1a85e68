// A block device in memory that keeps only what was written: for tests, overlays and browsers.

import {
  type BlockDevice,
  type BlockDone,
  type BlockError,
  isInside,
  SECTOR_BYTES,
} from './block-device.ts';

/** Bytes are kept in pieces of this size. */
const CHUNK_BYTES = 1 << 16;

/** Zeros at first; memory is taken for the pieces that are written. */
export class MemoryDevice implements BlockDevice {
  readonly sizeBytes: number;
  readonly isReadOnly: boolean;
  readonly label: string;
  readonly #chunks = new Map<number, Uint8Array>();

  /** @throws {RangeError} if the size is not whole sectors */
  constructor(sizeBytes: number, options: { isReadOnly?: boolean; label?: string } = {}) {
    if (!Number.isSafeInteger(sizeBytes) || sizeBytes < 0 || sizeBytes % SECTOR_BYTES !== 0)
      throw new RangeError(
        `Cannot create block device as its size must be a multiple of 512: got ${sizeBytes}`,
      );
    this.sizeBytes = sizeBytes;
    this.isReadOnly = options.isReadOnly ?? false;
    this.label = options.label ?? 'memory';
  }

  /** A device that holds a copy of `bytes`, with zeros up to a whole sector. */
  static from(
    bytes: Uint8Array,
    options: { isReadOnly?: boolean; label?: string } = {},
  ): MemoryDevice {
    const sizeBytes = Math.ceil(bytes.length / SECTOR_BYTES) * SECTOR_BYTES;
    const device = new MemoryDevice(sizeBytes, options);
    device.#store(0, bytes);
    return device;
  }

  read(sector: number, bytes: Uint8Array, done: BlockDone): void {
    if (!isInside(this.sizeBytes, sector, bytes)) {
      done('EIO');
      return;
    }
    const start = sector * SECTOR_BYTES;
    for (let at = 0; at < bytes.length; ) {
      const index = Math.floor((start + at) / CHUNK_BYTES);
      const from = (start + at) % CHUNK_BYTES;
      const size = Math.min(bytes.length - at, CHUNK_BYTES - from);
      const chunk = this.#chunks.get(index);
      if (chunk === undefined) bytes.fill(0, at, at + size);
      else bytes.set(chunk.subarray(from, from + size), at);
      at += size;
    }
    done(undefined);
  }

  write(sector: number, bytes: Uint8Array, done: BlockDone): void {
    let error: BlockError | undefined;
    if (this.isReadOnly) error = 'EROFS';
    else if (!isInside(this.sizeBytes, sector, bytes)) error = 'EIO';
    else this.#store(sector * SECTOR_BYTES, bytes);
    done(error);
  }

  flush(done: BlockDone): void {
    done(undefined);
  }

  close(): void {
    this.#chunks.clear();
  }

  #store(start: number, bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length; ) {
      const index = Math.floor((start + at) / CHUNK_BYTES);
      const from = (start + at) % CHUNK_BYTES;
      const size = Math.min(bytes.length - at, CHUNK_BYTES - from);
      let chunk = this.#chunks.get(index);
      if (chunk === undefined) {
        chunk = new Uint8Array(CHUNK_BYTES);
        this.#chunks.set(index, chunk);
      }
      chunk.set(bytes.subarray(at, at + size), from);
      at += size;
    }
  }
}
