// The RAM offset space and the blocks in it (the seed, I.1): allocation, release, and the two
// translations between a RAM offset and the bytes of the host. Guests never see these offsets.

import { hex } from '../base/hex.ts';
import { isPageAligned, PAGE_SIZE, roundUpToPage } from '../base/pages.ts';
import { rangeContains } from '../base/ranges.ts';
import { MemoryError } from './errors.ts';
import type { MissingPages } from './missing-pages.ts';
import { bufferBacking, capacityOf, RAM_CHUNK_BYTES, type RAMBacking } from './ram-backing.ts';
import { RAMBlock } from './ram-block.ts';

/** Longest id of a block, as a snapshot stores it. */
export const RAM_BLOCK_ID_LENGTH_MAX = 255;

/** A block to be made. */
export interface RAMBlockOptions {
  /** Such as `pc.ram`. */
  readonly name: string;
  /** Path of the device that owns it, such as `0000:00:02.0`; the id becomes `<path>/<name>`. */
  readonly devicePath?: string;
  /** Rounded up to whole pages. */
  readonly sizeBytes: number;
}

/** Told of every block that comes and goes. */
export interface RAMListListener {
  onAlloc?(block: RAMBlock): void;
  /** Called while the block's bytes are still its own. */
  onFree?(block: RAMBlock): void;
}

/** A run of a buffer. */
export interface RAMListOptions {
  /** Zeros from `baseOffset` on, as a fresh one is. */
  readonly buffer: ArrayBufferLike;
  /** Whole pages. */
  readonly baseOffset: number;
  readonly capacityBytes: number;
}

/**
 * All RAM of a machine: one contiguous space of offsets over a buffer, or over several.
 *
 * RAM offset 0 is byte `baseOffset` of `buffer`. Blocks are whole pages, never overlap, never lie
 * in two buffers and keep their offset for life.
 */
export class RAMList {
  /** That of RAM offset 0. */
  readonly buffer: ArrayBufferLike;
  /** Byte of `buffer` at which RAM offset 0 lies; a multiple of the page size. */
  readonly baseOffset: number;
  /** Size of the RAM offset space, bytes. */
  readonly capacityBytes: number;
  /** The space, used or not, in pieces of RAM_CHUNK_BYTES, for accesses wider than a byte. */
  readonly chunkViews: readonly DataView[];

  /** Pages that are to be fetched before anybody sees them, if there are any. */
  missing: MissingPages | undefined;

  /** From biggest to smallest: most lookups end at the first. */
  readonly #blocks: RAMBlock[] = [];
  readonly #listeners: RAMListListener[] = [];
  #lastHit: RAMBlock | undefined;
  /** RAM offsets in each chunk from which on nothing was ever handed out, and is still zero. */
  readonly #untouchedOffsets: number[];

  readonly #backing: RAMBacking;

  /**
   * @throws {RangeError} if the space is not whole pages inside `buffer` below 4 GiB, or the
   *   backing is not in chunks
   */
  constructor(options: RAMListOptions | { readonly backing: RAMBacking }) {
    const backing = 'backing' in options ? options.backing : checkedBacking(options);
    const first = backing.chunks[0]!;
    this.capacityBytes = capacityOf(backing);
    this.buffer = first.buffer;
    this.baseOffset = first.byteOffset;
    this.#backing = backing;
    this.#untouchedOffsets = backing.chunks.map((_, index) => index * RAM_CHUNK_BYTES);
    this.chunkViews = backing.chunks.map(
      ({ buffer, byteOffset, byteLength }) => new DataView(buffer, byteOffset, byteLength),
    );
  }

  /** A RAM list over a buffer of its own. */
  static create(options: { capacityBytes: number }): RAMList {
    const { capacityBytes } = options;
    return new RAMList({ buffer: new ArrayBuffer(capacityBytes), baseOffset: 0, capacityBytes });
  }

  /** Pages in the RAM offset space: what `DirtyMemory` and `CodePages` are made for. */
  get pageCount(): number {
    return this.capacityBytes / PAGE_SIZE;
  }

  /**
   * The whole space, used or not, while it is one piece.
   * @throws {TypeError} if it is larger than RAM_CHUNK_BYTES
   */
  get bytes(): Uint8Array {
    const { chunks } = this.#backing;
    if (chunks.length > 1)
      throw new TypeError(
        `Cannot view all RAM as it must be one piece of ${hex(RAM_CHUNK_BYTES)} bytes at most: ` +
          `it is ${chunks.length}`,
      );
    return chunks[0]!;
  }

  /** The blocks, from biggest to smallest. */
  get blocks(): readonly RAMBlock[] {
    return this.#blocks;
  }

  /**
   * Makes a block of zeros.
   * @throws {RangeError} if the name is empty or the size not positive
   * @throws {MemoryError} `DUPLICATE_ID`, `OUT_OF_SPACE`
   */
  alloc(options: RAMBlockOptions): RAMBlock {
    const { name, devicePath, sizeBytes: usedBytes } = options;
    const id = devicePath === undefined || devicePath === '' ? name : `${devicePath}/${name}`;
    if (name === '' || id.length > RAM_BLOCK_ID_LENGTH_MAX)
      throw new RangeError(
        `Cannot allocate RAM block "${id}" as its name must not be empty nor its id longer than ` +
          `${RAM_BLOCK_ID_LENGTH_MAX} characters: it has ${id.length}`,
      );
    if (!isCount(usedBytes) || usedBytes === 0)
      throw new RangeError(
        `Cannot allocate RAM block "${id}" as its size must be positive: ${usedBytes}`,
      );
    if (this.byId(id) !== undefined)
      throw new MemoryError(
        'DUPLICATE_ID',
        `Cannot allocate RAM block "${id}" as ids must be unique: a block of ` +
          `${hex(this.byId(id)!.sizeBytes)} bytes has it`,
      );
    const sizeBytes = roundUpToPage(usedBytes);
    const ramOffset = this.#findFree(id, sizeBytes);
    const bytes = this.bytesAt(ramOffset, sizeBytes);
    const chunkIndex = Math.floor(ramOffset / RAM_CHUNK_BYTES);
    const untouchedOffset = this.#untouchedOffsets[chunkIndex]!;
    const dirtyBytes = Math.min(sizeBytes, Math.max(0, untouchedOffset - ramOffset));
    if (dirtyBytes > 0) this.zero(ramOffset, dirtyBytes);
    this.#untouchedOffsets[chunkIndex] = Math.max(untouchedOffset, ramOffset + sizeBytes);
    const block = new RAMBlock({ id, ramOffset, sizeBytes, usedBytes, bytes });
    const at = this.#blocks.findIndex((other) => other.sizeBytes < sizeBytes);
    this.#blocks.splice(at < 0 ? this.#blocks.length : at, 0, block);
    for (const listener of this.#listeners) listener.onAlloc?.(block);
    return block;
  }

  /**
   * Makes a block that starts as a copy of `bytes`, such as a ROM image; zeros fill its last page.
   * @throws as {@link RAMList.alloc}
   */
  allocFrom(options: { name: string; devicePath?: string; bytes: Uint8Array }): RAMBlock {
    const { bytes, ...names } = options;
    const block = this.alloc({ ...names, sizeBytes: bytes.byteLength });
    block.bytes.set(bytes);
    return block;
  }

  /**
   * Gives a block's run back. Its bytes may belong to another block from then on.
   * @throws {MemoryError} `OUTSIDE_BLOCK` if the block is not of this list, or freed already
   */
  free(block: RAMBlock): void {
    const at = this.#blocks.indexOf(block);
    if (at < 0)
      throw new MemoryError(
        'OUTSIDE_BLOCK',
        `Cannot free RAM block "${block.id}" as it must be in this RAM list: it is not`,
      );
    for (const listener of this.#listeners) listener.onFree?.(block);
    this.#blocks.splice(at, 1);
    if (this.#lastHit === block) this.#lastHit = undefined;
  }

  /** Makes whole pages zeros, and tells nobody: see `GuestMemory.discard`. @internal */
  zero(ramOffset: number, sizeBytes: number): void {
    if (this.#backing.discard === undefined) this.bytesAt(ramOffset, sizeBytes).fill(0);
    else this.#backing.discard(ramOffset, sizeBytes);
  }

  /** As `RAMBacking.mapFile`, if the backing can; tells nobody. @internal */
  get mapFile(): RAMBacking['mapFile'] {
    return this.#backing.mapFile?.bind(this.#backing);
  }

  /**
   * The bytes of a range that lies in one block, or in several that are neighbours in one buffer.
   * Unlike `view` it asks nobody whether they are there.
   */
  bytesAt(ramOffset: number, sizeBytes: number): Uint8Array {
    if (ramOffset < RAM_CHUNK_BYTES)
      return this.#backing.chunks[0]!.subarray(ramOffset, ramOffset + sizeBytes);
    const index = Math.floor(ramOffset / RAM_CHUNK_BYTES);
    const start = ramOffset - index * RAM_CHUNK_BYTES;
    return this.#backing.chunks[index]!.subarray(start, start + sizeBytes);
  }

  /** Has the bytes of a range there, for those who read `bytes` themselves. */
  ensure(ramOffset: number, sizeBytes: number): void {
    this.missing?.claim(ramOffset, sizeBytes);
  }

  /** `listener` is told of blocks from now on, not of those that are there. */
  addListener(listener: RAMListListener): void {
    this.#listeners.push(listener);
  }

  /** The block of this id, or undefined. */
  byId(id: string): RAMBlock | undefined {
    return this.#blocks.find((block) => block.id === id);
  }

  /** The block that holds `ramOffset`, or undefined. The last one found is tried first. */
  blockAt(ramOffset: number): RAMBlock | undefined {
    const last = this.#lastHit;
    if (last !== undefined && holds(last, ramOffset)) return last;
    for (const block of this.#blocks) {
      if (holds(block, ramOffset)) {
        this.#lastHit = block;
        return block;
      }
    }
    return undefined;
  }

  /**
   * The bytes of a range of RAM offsets; the inverse of {@link RAMList.offsetOf}.
   * @throws {MemoryError} `OUTSIDE_BLOCK` if the range does not lie in one block
   */
  view(ramOffset: number, sizeBytes: number): Uint8Array {
    const block = this.blockAt(ramOffset);
    if (
      block === undefined ||
      !isCount(sizeBytes) ||
      !rangeContains(block.ramOffset, block.sizeBytes, ramOffset, sizeBytes)
    )
      throw new MemoryError(
        'OUTSIDE_BLOCK',
        `Cannot view RAM at offset ${hex(ramOffset)} as the range must lie in one block: ` +
          `${hex(sizeBytes)} bytes, ${describe(block)}`,
      );
    this.ensure(ramOffset, sizeBytes);
    return this.bytesAt(ramOffset, sizeBytes);
  }

  /**
   * The RAM offset of a host view's first byte.
   * @throws {MemoryError} `OUTSIDE_BLOCK` if the view is of other memory, or not inside one block
   */
  offsetOf(hostView: ArrayBufferView): number {
    const { chunks } = this.#backing;
    const index = chunks.findIndex(({ buffer }) => buffer === hostView.buffer);
    const inChunk = index < 0 ? -1 : hostView.byteOffset - chunks[index]!.byteOffset;
    const ramOffset = index * RAM_CHUNK_BYTES + inChunk;
    const block = inChunk < 0 ? undefined : this.blockAt(ramOffset);
    if (
      block === undefined ||
      !rangeContains(block.ramOffset, block.sizeBytes, ramOffset, hostView.byteLength)
    )
      throw new MemoryError(
        'OUTSIDE_BLOCK',
        `Cannot find RAM offset of a view as it must lie in one block: ` +
          `byte ${hex(hostView.byteOffset)}, ${hex(hostView.byteLength)} bytes, ${describe(block)}`,
      );
    return ramOffset;
  }

  /** The smallest free run that is large enough, so that large ones stay whole. */
  #findFree(id: string, sizeBytes: number): number {
    const byOffset = [...this.#blocks].sort((a, b) => a.ramOffset - b.ramOffset);
    let best = -1;
    let bestBytes = Number.POSITIVE_INFINITY;
    let largestBytes = 0;
    let cursor = 0;
    const look = (start: number, end: number): void => {
      largestBytes = Math.max(largestBytes, end - start);
      if (end - start < sizeBytes || end - start >= bestBytes) return;
      best = start;
      bestBytes = end - start;
    };
    for (let index = 0; index <= byOffset.length; index++) {
      const next = byOffset[index];
      const gapEnd = next?.ramOffset ?? this.capacityBytes;
      // A gap that reaches into the next chunk is two.
      while (cursor < gapEnd) {
        const end = Math.min(gapEnd, nextChunk(cursor));
        look(cursor, end);
        cursor = end;
      }
      if (next !== undefined) cursor = next.ramOffset + next.sizeBytes;
    }
    if (best < 0)
      throw new MemoryError(
        'OUT_OF_SPACE',
        `Cannot allocate RAM block "${id}" as ${hex(sizeBytes)} bytes must be free in one run: ` +
          `the largest is ${hex(largestBytes)} of ${hex(this.capacityBytes)}`,
      );
    return best;
  }
}

function nextChunk(ramOffset: number): number {
  return (Math.floor(ramOffset / RAM_CHUNK_BYTES) + 1) * RAM_CHUNK_BYTES;
}

function checkedBacking({ buffer, baseOffset, capacityBytes }: RAMListOptions): RAMBacking {
  if (!isCount(baseOffset) || !isPageAligned(baseOffset))
    throw new RangeError(
      `Cannot create RAM list as baseOffset must be a multiple of ${PAGE_SIZE}: ` +
        `baseOffset is ${baseOffset}`,
    );
  if (!isCount(capacityBytes) || capacityBytes === 0 || !isPageAligned(capacityBytes))
    throw new RangeError(
      `Cannot create RAM list as capacityBytes must be a positive multiple of ${PAGE_SIZE}: ` +
        `capacityBytes is ${capacityBytes}`,
    );
  if (!rangeContains(0, Math.min(buffer.byteLength, 2 ** 32), baseOffset, capacityBytes))
    throw new RangeError(
      `Cannot create RAM list as it must lie in the buffer and below 4 GiB: ` +
        `baseOffset is ${hex(baseOffset)}, capacity ${hex(capacityBytes)}, ` +
        `buffer ${hex(buffer.byteLength)}`,
    );
  return bufferBacking(buffer, baseOffset, capacityBytes);
}

function isCount(value: number): boolean {
  return Number.isSafeInteger(value) && value >= 0;
}

function holds(block: RAMBlock, ramOffset: number): boolean {
  return ramOffset >= block.ramOffset && ramOffset - block.ramOffset < block.sizeBytes;
}

function describe(block: RAMBlock | undefined): string {
  if (block === undefined) return 'no block is there';
  return `block "${block.id}" has ${hex(block.sizeBytes)} at ${hex(block.ramOffset)}`;
}
