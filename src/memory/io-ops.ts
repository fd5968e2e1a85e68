// What a device gives to be read and written, and which accesses it takes.

/**
 * A device's side of an I/O region. Offsets count from the region's first byte; values are unsigned
 * and little-endian. What `read` returns is cut to `sizeBytes`.
 */
export interface IoOps {
  /** @param opaque what was registered with these operations */
  read(offset: number, sizeBytes: number, opaque?: unknown): number;
  write(offset: number, value: number, sizeBytes: number, opaque?: unknown): void;
  /** 64-bit accesses as one; without these the address space makes two halves, low one first. */
  read64?(offset: number, opaque?: unknown): bigint;
  write64?(offset: number, value: bigint, opaque?: unknown): void;
  /**
   * What the bus may ask: wider accesses are split, narrower ones are treated as unassigned.
   * Without `unaligned`, unaligned accesses are split into aligned ones. Default 1 to 4 bytes.
   */
  readonly valid?: IoSizes;
  /**
   * What the callbacks implement: wider accesses are split; for narrower ones an aligned access of
   * `minBytes` is made and cut, and a narrow write is first joined with what is read there. A
   * device whose reads have side effects sets `valid.minBytes` instead. Default 1 to 4 bytes.
   */
  readonly impl?: IoSizes;
}

/** Access sizes; 1, 2 or 4 bytes. */
export interface IoSizes {
  readonly minBytes?: number;
  readonly maxBytes?: number;
  readonly unaligned?: boolean;
}

/** Value bits of an access of 1, 2 or 4 bytes, by size. */
export const VALUE_MASKS: readonly number[] = [0, 0xff, 0xffff, 0xffffff, 0xffffffff];
