// Which device stands behind each I/O memory type (the seed, II.1: cpu_register_io_memory), and the
// access to it: splitting and joining where it does not take every size (IO_MEM_SUBWIDTH).

import { MemoryError } from './errors.ts';
import { type IoOps, type IoSizes, VALUE_MASKS } from './io-ops.ts';
import {
  encodeMemType,
  IO_MEM_FIRST_DEVICE_INDEX,
  IO_MEM_ROMD,
  IO_MEM_SUBPAGE,
  IO_MEM_SUBWIDTH,
  IO_MEM_TYPE_COUNT,
  memTypeIndexOf,
} from './phys-offset.ts';

// A constant of another module costs a check at each use in hot code.
const MASKS = VALUE_MASKS;

/** One registered device: its operations with their limits worked out. */
export class IoMemory {
  readonly ops: IoOps;
  readonly opaque: unknown;
  /** Memory type: index and flags. */
  readonly memType: number;
  readonly validMinBytes: number;
  /** Widest single call: what is both valid and implemented. */
  readonly maxBytes: number;
  readonly implMinBytes: number;
  readonly isUnalignedTaken: boolean;
  /** Bit s is set if an aligned access of s bytes goes to the callback as it is (s = 1, 2, 4). */
  readonly directSizes: number;
  /** Accesses that were too narrow, or that the device made to itself, since it was registered. */
  refusedCount = 0;
  /**
   * A callback is running. What reaches the device meanwhile is its own doing, by DMA to its own
   * registers, and is refused as unassigned: a guest could recurse without end.
   */
  #isBusy = false;

  /** @internal */
  constructor(ops: IoOps, opaque: unknown, memTypeIndex: number, flags: number) {
    const { valid, impl } = ops;
    checkSizes('valid', valid);
    checkSizes('impl', impl);
    this.ops = ops;
    this.opaque = opaque;
    this.validMinBytes = valid?.minBytes ?? 1;
    this.implMinBytes = impl?.minBytes ?? 1;
    this.maxBytes = Math.min(valid?.maxBytes ?? 4, impl?.maxBytes ?? 4);
    this.isUnalignedTaken = valid?.unaligned === true && impl?.unaligned !== false;
    let direct = 0;
    for (const size of [1, 2, 4]) {
      const isTaken = size >= this.validMinBytes && size >= this.implMinBytes;
      if (isTaken && size <= this.maxBytes) direct |= 1 << size;
    }
    this.directSizes = direct;
    const takesAll = direct === 0b10110;
    this.memType = encodeMemType(memTypeIndex, takesAll ? flags : flags | IO_MEM_SUBWIDTH);
  }

  // Hot: every port and MMIO read, up to 10^6 times a second.
  /** Reads 1, 2 or 4 bytes at `offset` of the region, splitting and joining as the device wants. */
  read(offset: number, sizeBytes: number): number {
    if (this.#isBusy) {
      this.refusedCount++;
      return MASKS[sizeBytes]!;
    }
    this.#isBusy = true;
    try {
      const isDirect = ((this.directSizes >>> sizeBytes) & 1) !== 0;
      if (!isDirect || ((offset & (sizeBytes - 1)) !== 0 && !this.isUnalignedTaken))
        return this.#readParts(offset, sizeBytes);
      return (this.ops.read(offset, sizeBytes, this.opaque) & MASKS[sizeBytes]!) >>> 0;
    } finally {
      this.#isBusy = false;
    }
  }

  // Hot: every port and MMIO write, up to 10^6 times a second.
  /** Writes 1, 2 or 4 bytes at `offset` of the region. */
  write(offset: number, sizeBytes: number, value: number): void {
    if (this.#isBusy) {
      this.refusedCount++;
      return;
    }
    this.#isBusy = true;
    try {
      const isDirect = ((this.directSizes >>> sizeBytes) & 1) !== 0;
      if (!isDirect || ((offset & (sizeBytes - 1)) !== 0 && !this.isUnalignedTaken))
        this.#writeParts(offset, sizeBytes, value);
      else this.ops.write(offset, (value & MASKS[sizeBytes]!) >>> 0, sizeBytes, this.opaque);
    } finally {
      this.#isBusy = false;
    }
  }

  /** Reads 8 bytes if the device takes that at once, or else returns undefined. */
  read64(offset: number): bigint | undefined {
    if (this.ops.read64 === undefined || this.#isBusy) return undefined;
    this.#isBusy = true;
    try {
      return BigInt.asUintN(64, this.ops.read64(offset, this.opaque));
    } finally {
      this.#isBusy = false;
    }
  }

  /** Writes 8 bytes if the device takes that at once, or else returns false. */
  write64(offset: number, value: bigint): boolean {
    if (this.ops.write64 === undefined || this.#isBusy) return false;
    this.#isBusy = true;
    try {
      this.ops.write64(offset, BigInt.asUintN(64, value), this.opaque);
      return true;
    } finally {
      this.#isBusy = false;
    }
  }

  /** Largest part of an access that may be asked of the device at once, before widening. */
  #partBytes(offset: number, restBytes: number): number {
    let size = restBytes >= 4 ? 4 : restBytes >= 2 ? 2 : 1;
    if (size > this.maxBytes) size = this.maxBytes;
    if (!this.isUnalignedTaken) while ((offset & (size - 1)) !== 0) size >>= 1;
    return size;
  }

  #readParts(offset: number, sizeBytes: number): number {
    let value = 0;
    for (let done = 0; done < sizeBytes; ) {
      const at = offset + done;
      const size = this.#partBytes(at, sizeBytes - done);
      value |= this.#readPart(at, size) << (done * 8);
      done += size;
    }
    return value >>> 0;
  }

  #readPart(offset: number, sizeBytes: number): number {
    const mask = MASKS[sizeBytes]!;
    if (sizeBytes < this.validMinBytes) {
      this.refusedCount++;
      return mask;
    }
    const wide = this.implMinBytes;
    if (sizeBytes >= wide) return this.ops.read(offset, sizeBytes, this.opaque) & mask;
    const inWide = offset & (wide - 1);
    // An unaligned narrow access may reach over the end of the wide one; the rest is read apart.
    const size = Math.min(sizeBytes, wide - inWide);
    const low = this.ops.read(offset - inWide, wide, this.opaque) >>> (inWide * 8);
    if (size === sizeBytes) return low & mask;
    const high = this.#readPart(offset + size, sizeBytes - size);
    return ((low & MASKS[size]!) | (high << (size * 8))) & mask;
  }

  #writeParts(offset: number, sizeBytes: number, value: number): void {
    for (let done = 0; done < sizeBytes; ) {
      const at = offset + done;
      const size = this.#partBytes(at, sizeBytes - done);
      this.#writePart(at, size, ((value >>> (done * 8)) & MASKS[size]!) >>> 0);
      done += size;
    }
  }

  #writePart(offset: number, sizeBytes: number, value: number): void {
    if (sizeBytes < this.validMinBytes) {
      this.refusedCount++;
      return;
    }
    const wide = this.implMinBytes;
    if (sizeBytes >= wide) {
      this.ops.write(offset, value, sizeBytes, this.opaque);
      return;
    }
    const inWide = offset & (wide - 1);
    const size = Math.min(sizeBytes, wide - inWide);
    const shift = inWide * 8;
    const bits = MASKS[size]! << shift;
    const before = this.ops.read(offset - inWide, wide, this.opaque);
    const joined = (before & ~bits) | ((value << shift) & bits);
    this.ops.write(offset - inWide, (joined & MASKS[wide]!) >>> 0, wide, this.opaque);
    if (size < sizeBytes) this.#writePart(offset + size, sizeBytes - size, value >>> (size * 8));
  }
}

/** All I/O memory types of an address space. Indexes 0–3 are RAM, ROM, UNASSIGNED and NOTDIRTY. */
export class IoMemoryTable {
  readonly #entries: (IoMemory | undefined)[] = new Array(IO_MEM_TYPE_COUNT).fill(undefined);
  #count = 0;
  #firstFreeIndex = IO_MEM_FIRST_DEVICE_INDEX;

  /** How many device types are registered. */
  get count(): number {
    return this.#count;
  }

  /** How many more can be. */
  get freeCount(): number {
    return IO_MEM_TYPE_COUNT - IO_MEM_FIRST_DEVICE_INDEX - this.#count;
  }

  /**
   * Registers a device's operations.
   * @param opaque handed back to each callback
   * @param flags IO_MEM_ROMD or IO_MEM_SUBPAGE; IO_MEM_SUBWIDTH follows from the operations
   * @returns the memory type, `mem_type_index << 3 | flags`
   * @throws {MemoryError} `TABLE_FULL`
   */
  register(ops: IoOps, opaque?: unknown, flags = 0): number {
    let index = this.#firstFreeIndex;
    while (index < IO_MEM_TYPE_COUNT && this.#entries[index] !== undefined) index++;
    if (index >= IO_MEM_TYPE_COUNT)
      throw new MemoryError(
        'TABLE_FULL',
        `Cannot register I/O memory as at most ` +
          `${IO_MEM_TYPE_COUNT - IO_MEM_FIRST_DEVICE_INDEX} types may be in use at once: all are`,
      );
    const entry = new IoMemory(ops, opaque, index, flags & (IO_MEM_ROMD | IO_MEM_SUBPAGE));
    this.#entries[index] = entry;
    this.#firstFreeIndex = index + 1;
    this.#count++;
    return entry.memType;
  }

  /**
   * Frees the index of a memory type for another device.
   * @throws {RangeError} if it is reserved or not registered
   */
  unregister(memType: number): void {
    const index = memTypeIndexOf(memType);
    if (this.#entries[index] === undefined)
      throw new RangeError(
        `Cannot unregister I/O memory type ${index} as a device must have registered it: ` +
          (index < IO_MEM_FIRST_DEVICE_INDEX ? 'it is reserved' : 'it is free'),
      );
    this.#entries[index] = undefined;
    this.#firstFreeIndex = Math.min(this.#firstFreeIndex, index);
    this.#count--;
  }

  /** The device of a memory type or |phys_offset|, or undefined for reserved and free indexes. */
  find(memType: number): IoMemory | undefined {
    return this.#entries[memTypeIndexOf(memType)];
  }
}

/**
 * Refuses limits that no access could meet.
 * @throws {RangeError}
 * @internal
 */
export function checkSizes(field: 'valid' | 'impl', sizes: IoSizes | undefined): void {
  const minBytes = sizes?.minBytes ?? 1;
  const maxBytes = sizes?.maxBytes ?? 4;
  const areSizes = [minBytes, maxBytes].every((size) => size === 1 || size === 2 || size === 4);
  if (!areSizes || minBytes > maxBytes)
    throw new RangeError(
      `Cannot use I/O operations as ${field} sizes must be 1, 2 or 4, and minBytes not above ` +
        `maxBytes: got ${minBytes} to ${maxBytes}`,
    );
}
