// Writes go to one device, and what was never written is read from another: `--snapshot` runs.

import {
  type BlockDevice,
  type BlockDone,
  type BlockError,
  isInside,
  SECTOR_BYTES,
} from './block-device.ts';

/** One entry of the map of written sectors covers so many. */
const GROUP_SECTORS = 32;

/** `base` is never written; `upper` has its size, and holds what was written. */
export class OverlayDevice implements BlockDevice {
  readonly sizeBytes: number;
  readonly isReadOnly = false;
  readonly label: string;
  readonly #base: BlockDevice;
  readonly #upper: BlockDevice;
  /** Bits of written sectors, by group; a group without any has no entry. */
  readonly #written = new Map<number, number>();

  constructor(base: BlockDevice, upper: BlockDevice) {
    if (upper.sizeBytes < base.sizeBytes)
      throw new RangeError(
        `Cannot lay a device over "${base.label}" as it must not be smaller: ` +
          `${upper.sizeBytes} bytes, ${base.sizeBytes} below`,
      );
    this.#base = base;
    this.#upper = upper;
    this.sizeBytes = base.sizeBytes;
    this.label = base.label;
  }

  read(sector: number, bytes: Uint8Array, done: BlockDone): void {
    if (!isInside(this.sizeBytes, sector, bytes)) {
      done('EIO');
      return;
    }
    let waiting = 1;
    let failure: BlockError | undefined;
    const finish: BlockDone = (error) => {
      failure ??= error;
      if (--waiting === 0) done(failure);
    };
    const count = bytes.length / SECTOR_BYTES;
    for (let at = 0; at < count; ) {
      const isWritten = this.#isWritten(sector + at);
      let end = at + 1;
      while (end < count && this.#isWritten(sector + end) === isWritten) end++;
      const part = bytes.subarray(at * SECTOR_BYTES, end * SECTOR_BYTES);
      waiting++;
      (isWritten ? this.#upper : this.#base).read(sector + at, part, finish);
      at = end;
    }
    finish(undefined);
  }

  write(sector: number, bytes: Uint8Array, done: BlockDone): void {
    if (!isInside(this.sizeBytes, sector, bytes)) {
      done('EIO');
      return;
    }
    // Marked first: a later read is behind this write in the upper device's order.
    const count = bytes.length / SECTOR_BYTES;
    for (let at = 0; at < count; at++) this.#mark(sector + at);
    this.#upper.write(sector, bytes, done);
  }

  /** Nothing of an overlay outlives the run. */
  flush(done: BlockDone): void {
    this.#upper.flush(done);
  }

  close(): void {
    this.#upper.close();
    this.#base.close();
  }

  #isWritten(sector: number): boolean {
    const bits = this.#written.get(Math.floor(sector / GROUP_SECTORS)) ?? 0;
    return ((bits >>> (sector % GROUP_SECTORS)) & 1) !== 0;
  }

  #mark(sector: number): void {
    const group = Math.floor(sector / GROUP_SECTORS);
    const bits = this.#written.get(group) ?? 0;
    this.#written.set(group, bits | (1 << (sector % GROUP_SECTORS)));
  }
}
