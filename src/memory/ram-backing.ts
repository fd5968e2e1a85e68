// Where the bytes of RAM are: in one buffer, or in memory that an accelerator got from its host.

import { PAGE_SIZE } from '../base/pages.ts';

/**
 * RAM offsets from here on lie in a second buffer, and so on: a buffer of 4 GiB is the largest that
 * every JavaScript engine of today has.
 */
export const RAM_CHUNK_BYTES = 2 ** 32;

/** The bytes behind a RAM offset space, zeros at first. */
export interface RAMBacking {
  /** Chunk i is RAM offsets from i × RAM_CHUNK_BYTES on; all but the last are that large. */
  readonly chunks: readonly Uint8Array[];
  /**
   * Makes whole pages zeros without touching them, so that they cost nothing until they are
   * written. Without it they are filled with zeros.
   */
  discard?(ramOffset: number, sizeBytes: number): void;
  /**
   * Makes whole pages show a file of the host's from `fileOffset` on: read when they are touched,
   * copied when they are written. The file must stay as it is. Absent where that is impossible.
   * @param file descriptor, which may be closed afterwards
   * @throws {RangeError} if the host refuses
   */
  readonly mapFile?:
    | ((ramOffset: number, sizeBytes: number, file: number, fileOffset: number) => void)
    | undefined;
}

/** RAM in part of a buffer, as everybody has it who says nothing else. */
export function bufferBacking(
  buffer: ArrayBufferLike,
  baseOffset: number,
  capacityBytes: number,
): RAMBacking {
  return { chunks: [new Uint8Array(buffer, baseOffset, capacityBytes)] };
}

/** Sum of the chunks, bytes. @throws {RangeError} if they cannot be chunks */
export function capacityOf({ chunks }: RAMBacking): number {
  const last = chunks.length - 1;
  const isRight = chunks.every(
    ({ byteLength }, index) =>
      byteLength > 0 &&
      byteLength % PAGE_SIZE === 0 &&
      (index === last ? byteLength <= RAM_CHUNK_BYTES : byteLength === RAM_CHUNK_BYTES),
  );
  if (!isRight || last < 0)
    throw new RangeError(
      'Cannot create RAM list as the chunks of its backing must be 4 GiB each, the last at most ' +
        `that and whole pages: they have ${chunks.map((chunk) => chunk.byteLength).join(', ')}`,
    );
  return last * RAM_CHUNK_BYTES + chunks[last]!.byteLength;
}
