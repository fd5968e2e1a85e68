// A core file on disk: written aside, and under its name only when it is whole. Zeros are holes.

import { open, rename, rm } from 'node:fs/promises';
import type { CoreImage } from '../../snapshot/core-image.ts';

/** How a core file is written. */
export interface CoreFileOptions {
  readonly signal?: AbortSignal;
  /** How far it is, 0 to 1. */
  readonly onProgress?: (part: number) => void;
}

/**
 * Writes a core to `path`, in place of what is there.
 * @throws {SnapshotError} if a blob cannot be read
 * @throws {Error} the host's, if it cannot be written; what was there stays in both cases
 */
export async function writeCoreFile(
  image: CoreImage,
  path: string,
  { signal, onProgress }: CoreFileOptions = {},
): Promise<void> {
  const aside = `${path}.${process.pid}.part`;
  const file = await open(aside, 'wx', 0o600);
  try {
    try {
      await file.truncate(image.sizeBytes);
      let doneBytes = 0;
      for await (const { fileOffset, bytes } of image.parts(
        signal === undefined ? {} : { signal },
      )) {
        let written = 0;
        while (written < bytes.length) {
          const rest = bytes.subarray(written);
          written += (await file.write(rest, 0, rest.length, fileOffset + written)).bytesWritten;
        }
        doneBytes += bytes.length;
        onProgress?.(Math.min(1, doneBytes / image.sizeBytes));
      }
      signal?.throwIfAborted();
    } finally {
      await file.close();
    }
    await rename(aside, path);
  } catch (error) {
    await rm(aside, { force: true });
    throw error;
  }
}
