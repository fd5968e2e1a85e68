// One dirty byte per RAM page (the seed, I.2). Whatever writes RAM sets all its bits; each client
// tests, clears, harvests and merges back its own. Generated code reads these bytes.

import { hex } from '../base/hex.ts';
import { PAGE_SIZE, pageIndex, pagesTouched } from '../base/pages.ts';
import { rangeContains } from '../base/ranges.ts';

/** Framebuffers: which pages of video memory changed since the last frame. */
export const DIRTY_VGA = 0x1;
/** Code: clear while decoded or translated code was made from the page. `CodePages` owns it. */
export const DIRTY_CODE = 0x2;
/** Snapshots and migration: which pages changed since they were last taken. */
export const DIRTY_MIGRATION = 0x8;
/** Clones: which pages changed since one was made, so that its maker still has what they held. */
export const DIRTY_CLONE = 0x10;
/** Reset points: which pages changed since a machine was last put back. */
export const DIRTY_RESET = 0x20;
/**
 * Pages that may be other than zeros. Whoever allocates a block whose zeros somebody will look for
 * clears it; a block's first stores are slower then, so guest RAM keeps it set.
 */
export const DIRTY_FILLED = 0x40;
/** What a store leaves: dirty for every client, present and future. */
export const DIRTY_ALL = 0xff;

/** Four pages' bits, least first, as four dirty bytes. */
const SPREAD = Uint32Array.from({ length: 16 }, (_, four) => {
  let bytes = 0;
  for (let bit = 0; bit < 4; bit++) if ((four & (1 << bit)) !== 0) bytes |= DIRTY_ALL << (bit * 8);
  return bytes;
});

/** Bits of a word that are set: by twos, fours and eights, which the product adds up. */
function bitCount(word: number): number {
  const twos = word - ((word >>> 1) & 0x5555_5555);
  const fours = (twos & 0x3333_3333) + ((twos >>> 2) & 0x3333_3333);
  return Math.imul((fours + (fours >>> 4)) & 0x0f0f_0f0f, 0x0101_0101) >>> 24;
}

/** Called after bits were cleared and before anyone reads the pages; see `onClean`. */
export type CleanListener = (ramOffset: number, sizeBytes: number) => void;

/** The pages that were dirty for one client when it harvested them. */
export class DirtyHarvest {
  readonly client: number;
  /** First page that the bits below stand for: a multiple of 32. */
  readonly firstPageIndex: number;
  /** Bit (page − firstPageIndex), 32 to a word; 0 for pages that were not looked at. */
  readonly words: Uint32Array;

  /** @internal */
  constructor(client: number, firstPageIndex: number, words: Uint32Array) {
    this.client = client;
    this.firstPageIndex = firstPageIndex;
    this.words = words;
  }

  /** How many pages were dirty. Counted at each call: a harvest is taken while a machine waits. */
  get dirtyCount(): number {
    let count = 0;
    for (const word of this.words) count += bitCount(word);
    return count;
  }

  /** Whether page `pageIndex` of the RAM offset space was dirty. */
  has(pageIndex: number): boolean {
    const bit = pageIndex - this.firstPageIndex;
    if (bit < 0 || bit >= this.words.length * 32) return false;
    return ((this.words[bit >>> 5]! >>> (bit & 31)) & 1) !== 0;
  }

  /** The dirty pages in ascending order, as page numbers of the RAM offset space. */
  *pages(): Generator<number> {
    for (let index = 0; index < this.words.length; index++) {
      for (let word = this.words[index]!; word !== 0; word = (word & (word - 1)) >>> 0)
        yield this.firstPageIndex + index * 32 + (31 - Math.clz32(word & -word));
    }
  }
}

/**
 * The dirty bytes of all RAM. Fresh RAM is dirty for every client.
 *
 * Clearing re-arms: once bits are gone, every clean listener runs (the TLB takes the write access
 * off its rows) and only then does the call return, so that a page read afterwards can miss no
 * store. Clients must read a page after they cleared its bit, never before.
 */
export class DirtyMemory {
  readonly buffer: ArrayBufferLike;
  /** Byte of `buffer` that belongs to RAM page 0. */
  readonly offset: number;
  readonly pageCount: number;
  /** One byte per page. */
  readonly bytes: Uint8Array;
  readonly #words: Uint32Array;
  /** Masks of code lines by page, once `CodePages` shares them. */
  #codeMasks: Uint32Array | undefined;
  readonly #cleanListeners: CleanListener[] = [];

  /** @throws {RangeError} if the bytes do not lie in `buffer`, aligned to 4 bytes */
  constructor(options: { buffer: ArrayBufferLike; offset: number; pageCount: number }) {
    const { buffer, offset, pageCount } = options;
    if (
      offset % 4 !== 0 ||
      !Number.isInteger(pageCount) ||
      pageCount < 1 ||
      !rangeContains(0, buffer.byteLength, offset, DirtyMemory.bytesFor(pageCount))
    )
      throw new RangeError(
        `Cannot create dirty memory as its bytes must lie aligned in the buffer: offset is ` +
          `${hex(offset)}, pages ${pageCount}, buffer ${hex(buffer.byteLength)}`,
      );
    this.buffer = buffer;
    this.offset = offset;
    this.pageCount = pageCount;
    this.bytes = new Uint8Array(buffer, offset, pageCount);
    this.#words = new Uint32Array(buffer, offset, pageCount >>> 2);
    this.bytes.fill(DIRTY_ALL);
  }

  /** Dirty memory over a buffer of its own. */
  static create(options: { pageCount: number }): DirtyMemory {
    const { pageCount } = options;
    const buffer = new ArrayBuffer(DirtyMemory.bytesFor(pageCount));
    return new DirtyMemory({ buffer, offset: 0, pageCount });
  }

  /** Bytes of buffer that `pageCount` pages take. */
  static bytesFor(pageCount: number): number {
    return (pageCount + 3) & ~3;
  }

  /** `listener` runs each time bits were cleared, with the range in which that happened. */
  onClean(listener: CleanListener): void {
    this.#cleanListeners.push(listener);
  }

  /** @internal From now on CODE stays clear wherever `masks` says that a page holds code. */
  setCodeMasks(masks: Uint32Array): void {
    this.#codeMasks = masks;
  }

  /**
   * Sets `bits` on every page that the range touches; an empty range touches none. CODE stays clear
   * on pages that hold code. Whoever changed bytes calls `RAMWrites.note` instead.
   */
  mark(ramOffset: number, sizeBytes: number, bits = DIRTY_ALL): void {
    const first = this.#firstPage(ramOffset, sizeBytes);
    const end = first + pagesTouched(ramOffset, sizeBytes);
    const { bytes } = this;
    const masks = (bits & DIRTY_CODE) !== 0 ? this.#codeMasks : undefined;
    if (bits === DIRTY_ALL && masks === undefined) bytes.fill(DIRTY_ALL, first, end);
    else if (masks === undefined) this.#replace(first, end, DIRTY_ALL, bits);
    else
      for (let page = first; page < end; page++)
        bytes[page] = bytes[page]! | (masks[page] === 0 ? bits : bits & ~DIRTY_CODE);
  }

  // Hot: for each 32 pages of an accelerator's log that are not all clean.
  /**
   * Makes up to 32 pages dirty for everybody: bit i of `word` stands for `firstPage + i`. Pages
   * that hold code are not for this: see `RAMWrites.noteBitmap`. @internal
   */
  markWord(firstPage: number, word: number): void {
    const { bytes } = this;
    const words = this.#words;
    const first = firstPage >>> 2;
    if ((firstPage & 3) === 0 && first + 8 <= words.length) {
      for (let four = 0; four < 8; four++)
        words[first + four] = words[first + four]! | SPREAD[(word >>> (four * 4)) & 0xf]!;
      return;
    }
    for (let rest = word; rest !== 0; rest &= rest - 1)
      bytes[firstPage + (31 - Math.clz32(rest & -rest))] = DIRTY_ALL;
  }

  /** Whether any page of the range is clean for one of the clients in `bits`. */
  hasClean(ramOffset: number, sizeBytes: number, bits: number): boolean {
    const first = this.#firstPage(ramOffset, sizeBytes);
    const end = first + pagesTouched(ramOffset, sizeBytes);
    const { bytes } = this;
    const words = this.#words;
    const wordBits = Math.imul(bits, 0x01010101);
    for (let page = first; page < end; page++) {
      if ((page & 3) === 0) {
        const wordEnd = end >>> 2;
        let word = page >>> 2;
        while (word < wordEnd && (words[word]! & wordBits) === wordBits) word++;
        page = word * 4;
        if (page >= end) return false;
      }
      if ((bytes[page]! & bits) !== bits) return true;
    }
    return false;
  }

  /** Whether any page of the range is dirty for one of the clients in `bits`. */
  isDirty(ramOffset: number, sizeBytes: number, bits: number): boolean {
    const first = this.#firstPage(ramOffset, sizeBytes);
    return this.#next(first, first + pagesTouched(ramOffset, sizeBytes), bits) >= 0;
  }

  /** Clears `bits` on every page that the range touches, then re-arms. */
  clear(ramOffset: number, sizeBytes: number, bits: number): void {
    const first = this.#firstPage(ramOffset, sizeBytes);
    const count = pagesTouched(ramOffset, sizeBytes);
    this.#replace(first, first + count, DIRTY_ALL & ~bits, 0);
    this.#rearm(first, count);
  }

  /** Leaves of each byte of pages [first, end) what is in `kept`, and adds `added`; by fours. */
  #replace(first: number, end: number, kept: number, added: number): void {
    const { bytes } = this;
    const words = this.#words;
    const wordKept = Math.imul(kept, 0x01010101);
    const wordAdded = Math.imul(added, 0x01010101);
    let page = first;
    for (; page < end && (page & 3) !== 0; page++) bytes[page] = (bytes[page]! & kept) | added;
    const wordEnd = end >>> 2;
    for (; page >>> 2 < wordEnd; page += 4)
      words[page >>> 2] = (words[page >>> 2]! & wordKept) | wordAdded;
    for (; page < end; page++) bytes[page] = (bytes[page]! & kept) | added;
  }

  /** How many pages of the range are dirty for one of the clients in `bits`. */
  count(bits: number, ramOffset = 0, sizeBytes = this.pageCount * PAGE_SIZE): number {
    const first = this.#firstPage(ramOffset, sizeBytes);
    const end = first + pagesTouched(ramOffset, sizeBytes);
    let count = 0;
    for (let page = this.#next(first, end, bits); page >= 0; page = this.#next(page + 1, end, bits))
      count++;
    return count;
  }

  /**
   * Takes a client's bits: returns which pages were dirty, leaves none, and re-arms. Whoever fails
   * to use the harvest gives it back with {@link DirtyMemory.merge}.
   * @param client one bit
   */
  harvest(client: number, ramOffset = 0, sizeBytes = this.pageCount * PAGE_SIZE): DirtyHarvest {
    const first = this.#firstPage(ramOffset, sizeBytes);
    const count = pagesTouched(ramOffset, sizeBytes);
    const end = first + count;
    const base = first & ~31;
    const taken = new Uint32Array(Math.ceil((end - base) / 32));
    if (this.#take(first, end, client, taken)) this.#rearm(first, count);
    return new DirtyHarvest(client, base, taken);
  }

  /**
   * Moves the client's bits of pages [first, end) to `taken`; its bit 0 is page `first & ~31`.
   * @returns whether there were any
   */
  #take(first: number, end: number, client: number, taken: Uint32Array): boolean {
    const { bytes } = this;
    const words = this.#words;
    const base = first & ~31;
    const shift = 31 - Math.clz32(client);
    const wordBits = Math.imul(client, 0x01010101);
    let page = first;
    let any = 0;
    while (page < end) {
      if ((page & 3) !== 0 || end - page < 4) {
        if ((bytes[page]! & client) !== 0) {
          any = 1;
          bytes[page] = bytes[page]! & ~client;
          const bit = page - base;
          taken[bit >>> 5] = taken[bit >>> 5]! | (1 << (bit & 31));
        }
        page++;
        continue;
      }
      const wordEnd = end >>> 2;
      for (let word = page >>> 2; word < wordEnd; word++) {
        const found = words[word]! & wordBits;
        if (found === 0) continue;
        any = 1;
        words[word] = words[word]! & ~wordBits;
        // The client's bits of four bytes, one from each, gathered to four neighbours.
        const spread = found >>> shift;
        const four = (spread | (spread >>> 7) | (spread >>> 14) | (spread >>> 21)) & 0xf;
        const bit = word * 4 - base;
        taken[bit >>> 5] = taken[bit >>> 5]! | (four << (bit & 31));
      }
      page = wordEnd * 4;
    }
    return any !== 0;
  }

  /** Gives a harvest back: its pages are dirty again for its client, others stay as they are. */
  merge(harvest: DirtyHarvest): void {
    const { words, client, firstPageIndex } = harvest;
    const { bytes } = this;
    for (let index = 0; index < words.length; index++) {
      const page = firstPageIndex + index * 32;
      for (let word = words[index]!; word !== 0; word &= word - 1) {
        const bit = 31 - Math.clz32(word & -word);
        bytes[page + bit] = bytes[page + bit]! | client;
      }
    }
  }

  /** Calls `onRun` for each run of neighbouring dirty pages, in ascending order. */
  forEachRun(bits: number, onRun: (ramOffset: number, sizeBytes: number) => void): void {
    const bytes = this.bytes;
    let page = this.#next(0, this.pageCount, bits);
    while (page >= 0) {
      let end = page + 1;
      while (end < this.pageCount && (bytes[end]! & bits) !== 0) end++;
      onRun(page * PAGE_SIZE, (end - page) * PAGE_SIZE);
      page = this.#next(end, this.pageCount, bits);
    }
  }

  /** First page in [page, end) with one of `bits`, or −1; clean pages are skipped by fours. */
  #next(page: number, end: number, bits: number): number {
    const bytes = this.bytes;
    const words = this.#words;
    const wordBits = Math.imul(bits, 0x01010101);
    let at = page;
    while (at < end) {
      if ((at & 3) === 0 && end - at >= 4) {
        const wordEnd = end >>> 2;
        let word = at >>> 2;
        while (word < wordEnd && (words[word]! & wordBits) === 0) word++;
        at = word * 4;
        if (at >= end) return -1;
      }
      if ((bytes[at]! & bits) !== 0) return at;
      at++;
    }
    return -1;
  }

  #rearm(firstPage: number, pageCount: number): void {
    if (pageCount === 0) return;
    for (const listener of this.#cleanListeners)
      listener(firstPage * PAGE_SIZE, pageCount * PAGE_SIZE);
  }

  #firstPage(ramOffset: number, sizeBytes: number): number {
    if (!rangeContains(0, this.pageCount * PAGE_SIZE, ramOffset, sizeBytes))
      throw new RangeError(
        `Cannot use dirty bytes at RAM offset ${hex(ramOffset)} as the range must lie in RAM: ` +
          `${hex(sizeBytes)} bytes of ${hex(this.pageCount * PAGE_SIZE)}`,
      );
    return pageIndex(ramOffset);
  }
}
