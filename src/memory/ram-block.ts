// One run of guest RAM: the unit that is mapped, saved and migrated.

/**
 * A run of guest RAM. It has no guest address: a `MemoryRegion` gives it one, or several.
 *
 * Made by `RAMList.alloc` and `RAMList.allocFrom`. Writing through `bytes` tells nobody: call
 * `RAMWrites.note` as well, or code is stale and pages are missing from the next snapshot.
 */
export class RAMBlock {
  /** Identity across snapshots and migration: `<device path>/<name>`, or `<name>`. */
  readonly id: string;
  /** Where it starts in the RAM offset space, bytes; a multiple of the page size. */
  readonly ramOffset: number;
  /** Whole pages, bytes. */
  readonly sizeBytes: number;
  /** How many bytes its maker asked for; up to a page less than `sizeBytes`. */
  readonly usedBytes: number;
  /** Its bytes, the very ones the processor works on. */
  readonly bytes: Uint8Array;

  /** @internal */
  constructor(fields: {
    id: string;
    ramOffset: number;
    sizeBytes: number;
    usedBytes: number;
    bytes: Uint8Array;
  }) {
    this.id = fields.id;
    this.ramOffset = fields.ramOffset;
    this.sizeBytes = fields.sizeBytes;
    this.usedBytes = fields.usedBytes;
    this.bytes = fields.bytes;
  }
}
