// The file of a flash chip: read whole, and written where the guest flashes, at once.

import { closeSync, fstatSync, openSync, readSync, writeSync } from 'node:fs';
import type { FlashConfig } from '../machine/firmware.ts';
import { lockImage } from './block/image-lock.ts';

/** More than any BIOS; the machine has its own, stricter limit. */
const FILE_BYTES_MAX = 64 * 2 ** 20;

export interface FlashFile extends FlashConfig {
  close(): void;
}

/**
 * Opens it for reading and writing, with a lock.
 * @param onWarning told once, in words, if what was flashed cannot be written
 * @throws {Error} naming the file, if it cannot be opened, is in use or too large
 */
export function openFlash(path: string, onWarning: (message: string) => void): FlashFile {
  let file: number;
  try {
    file = openSync(path, 'r+');
  } catch (error) {
    throw new Error(`Cannot open --pflash "${path}": ${(error as Error).message}`, {
      cause: error,
    });
  }
  let hasFailed = false;
  try {
    const { size } = fstatSync(file);
    if (size > FILE_BYTES_MAX)
      throw new Error(
        `Cannot open --pflash "${path}" as it must have at most 64 MiB: it has ${size} bytes`,
      );
    const lock = lockImage(path);
    const image = new Uint8Array(size);
    readSync(file, image, 0, size, 0);
    return {
      image,
      onChange(offset, bytes) {
        try {
          writeSync(file, bytes, 0, bytes.length, offset);
        } catch (error) {
          if (!hasFailed) onWarning(`Cannot write --pflash "${path}": ${(error as Error).message}`);
          hasFailed = true;
        }
      },
      close() {
        closeSync(file);
        lock.release();
      },
    };
  } catch (error) {
    closeSync(file);
    throw error;
  }
}
