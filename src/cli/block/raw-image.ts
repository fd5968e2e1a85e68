// A raw image file as a block device. One request at a time reaches the file, in the order in which
// they were made; a flush is fsync; nothing is cached here.
//
// A file whose length is not whole sectors reads as zeros behind its end; a write to that last
// sector makes the file longer, so that nothing the guest was told is kept gets lost.

import { randomUUID } from 'node:crypto';
import {
  closeSync,
  fstatSync,
  fsync,
  ftruncateSync,
  openSync,
  read,
  unlinkSync,
  write,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  type BlockDevice,
  type BlockDone,
  type BlockError,
  isInside,
  SECTOR_BYTES,
} from '../../devices/block/block-device.ts';
import type { ProcessLock } from '../process-lock.ts';
import { checkUnlocked, lockImage } from './image-lock.ts';

/** How an image is opened. */
export interface RawImageOptions {
  readonly isReadOnly?: boolean;
  /** What the size is rounded up to, bytes; 512 unless the medium has larger sectors. */
  readonly sectorBytes?: number;
  /** Told in words what is odd about the image. */
  readonly onWarning?: (message: string) => void;
}

/** A step of a request: calls back when the host is done with it. */
type Task = (done: BlockDone) => void;

export class RawImage implements BlockDevice {
  readonly sizeBytes: number;
  readonly isReadOnly: boolean;
  readonly label: string;
  readonly #file: number;
  readonly #lock: ProcessLock | undefined;
  readonly #queue: { readonly task: Task; readonly done: BlockDone }[] = [];
  #isWorking = false;
  #isClosed = false;

  private constructor(
    file: number,
    label: string,
    sizeBytes: number,
    isReadOnly: boolean,
    lock: ProcessLock | undefined,
  ) {
    this.#file = file;
    this.label = label;
    this.sizeBytes = sizeBytes;
    this.isReadOnly = isReadOnly;
    this.#lock = lock;
  }

  /**
   * Opens an image, with a lock if it is to be written.
   * @throws {Error} naming the image, if it cannot be opened, is empty or no plain file
   * @throws {ImageLockedError} if another process writes to it
   */
  static open(path: string, options: RawImageOptions = {}): RawImage {
    const { isReadOnly = false, sectorBytes = SECTOR_BYTES, onWarning } = options;
    const file = openFile(path, isReadOnly);
    let lock: ProcessLock | undefined;
    try {
      const stat = fstatSync(file);
      if (!stat.isFile()) throw new Error(`Cannot open image "${path}" as it must be a plain file`);
      if (stat.size === 0)
        throw new Error(
          `Cannot open image "${path}" as it must hold a sector at least: it is empty`,
        );
      if (isReadOnly) checkUnlocked(path);
      else lock = lockImage(path);
      const sizeBytes = Math.ceil(stat.size / sectorBytes) * sectorBytes;
      if (sizeBytes !== stat.size)
        onWarning?.(
          `Image "${path}" has ${stat.size} bytes, which is not whole sectors of ${sectorBytes}: ` +
            'the rest of the last one reads as zeros',
        );
      return new RawImage(file, path, sizeBytes, isReadOnly, lock);
    } catch (error) {
      lock?.release();
      closeSync(file);
      throw error;
    }
  }

  /** An empty file of `sizeBytes` without a name, which goes with the process: sparse. */
  static temporary(sizeBytes: number): RawImage {
    const path = join(tmpdir(), `quire-overlay-${randomUUID()}`);
    const file = openSync(path, 'wx+', 0o600);
    try {
      unlinkSync(path);
      ftruncateSync(file, sizeBytes);
    } catch (error) {
      closeSync(file);
      throw error;
    }
    return new RawImage(file, 'overlay', sizeBytes, false, undefined);
  }

  read(sector: number, bytes: Uint8Array, done: BlockDone): void {
    if (!isInside(this.sizeBytes, sector, bytes)) {
      done('EIO');
      return;
    }
    this.#enqueue((end) => this.#readFrom(sector * SECTOR_BYTES, bytes, 0, end), done);
  }

  write(sector: number, bytes: Uint8Array, done: BlockDone): void {
    if (this.isReadOnly) done('EROFS');
    else if (!isInside(this.sizeBytes, sector, bytes)) done('EIO');
    else this.#enqueue((end) => this.#writeFrom(sector * SECTOR_BYTES, bytes, 0, end), done);
  }

  flush(done: BlockDone): void {
    if (this.isReadOnly) done(undefined);
    else this.#enqueue((end) => fsync(this.#file, (error) => end(blockError(error))), done);
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    if (!this.#isWorking) this.#release();
  }

  #enqueue(task: Task, done: BlockDone): void {
    if (this.#isClosed) {
      done('EIO');
      return;
    }
    this.#queue.push({ task, done });
    if (!this.#isWorking) this.#next();
  }

  #next(): void {
    const request = this.#queue.shift();
    this.#isWorking = request !== undefined;
    if (request === undefined) {
      if (this.#isClosed) this.#release();
      return;
    }
    request.task((error) => {
      request.done(error);
      this.#next();
    });
  }

  #release(): void {
    closeSync(this.#file);
    this.#lock?.release();
  }

  #readFrom(start: number, bytes: Uint8Array, from: number, done: BlockDone): void {
    read(this.#file, bytes, from, bytes.length - from, start + from, (error, count) => {
      if (error) done(blockError(error));
      else if (count === 0) {
        bytes.fill(0, from); // Behind the end of the file.
        done(undefined);
      } else if (from + count < bytes.length) this.#readFrom(start, bytes, from + count, done);
      else done(undefined);
    });
  }

  #writeFrom(start: number, bytes: Uint8Array, from: number, done: BlockDone): void {
    write(this.#file, bytes, from, bytes.length - from, start + from, (error, count) => {
      if (error) done(blockError(error));
      else if (from + count < bytes.length) this.#writeFrom(start, bytes, from + count, done);
      else done(undefined);
    });
  }
}

function openFile(path: string, isReadOnly: boolean): number {
  try {
    return openSync(path, isReadOnly ? 'r' : 'r+');
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    const why =
      {
        ENOENT: 'no such file',
        EISDIR: 'it is a folder',
        EACCES: isReadOnly ? 'no permission to read it' : 'no permission to write it',
        EROFS: 'its file system is read-only',
      }[code ?? ''] ?? (error as Error).message;
    throw new Error(`Cannot open image "${path}": ${why}`, { cause: error });
  }
}

function blockError(error: NodeJS.ErrnoException | null): BlockError | undefined {
  if (error === null) return undefined;
  return error.code === 'ENOSPC' || error.code === 'EDQUOT' ? 'ENOSPC' : 'EIO';
}
