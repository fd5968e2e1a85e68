// What can go wrong between an emulator's author and the memory system. Guests cannot cause these.

/** Stable names for programs to branch on; the message is for people and may change. */
export type MemoryErrorCode =
  /** No run of free RAM offset space is large enough. */
  | 'OUT_OF_SPACE'
  /** A RAM block of this id exists. */
  | 'DUPLICATE_ID'
  /** A RAM offset, or a view, that lies in no block. */
  | 'OUTSIDE_BLOCK'
  /** Every I/O memory type is in use. */
  | 'TABLE_FULL'
  /** A region is where it cannot be: in two containers, in itself, outside the address space. */
  | 'REGION';

/** The memory system cannot do what its user asked. */
export class MemoryError extends Error {
  override readonly name = 'MemoryError';
  readonly code: MemoryErrorCode;

  constructor(code: MemoryErrorCode, message: string) {
    super(message);
    this.code = code;
  }
}
