// Which 128-byte lines of RAM hold code that somebody decoded or translated (design section 5).
// Keyed by RAM offset, so that aliases, mirrors, DMA and the debugger all count.

import { assert } from '../base/errors.ts';
import { hex } from '../base/hex.ts';
import { PAGE_OFFSET_MASK, PAGE_SIZE, pageIndex } from '../base/pages.ts';
import { rangeContains } from '../base/ranges.ts';
import { DIRTY_CODE, type DirtyMemory } from './dirty-memory.ts';

/** Size of a code line, bytes; 32 of them are a page. */
export const CODE_LINE_BYTES = 128;
const LINE_BITS = 7;

/**
 * Called before code made from these bytes, all of one page, may run again: drop every unit that
 * touches them. Of the lines that the bytes touch, the page's mask loses those on which no listener
 * has other code; give the bits of lines that are to stay, or nothing where none is.
 */
export type InvalidateListener = (ramOffset: number, sizeBytes: number) => number | undefined;

/**
 * One 32-bit mask per RAM page: bit i says that line i holds decoded code.
 *
 * While a page's mask is not empty its DIRTY_CODE bit is clear, so that stores to it take the slow
 * path, which calls `RAMWrites.note`; a store to a page without code costs nothing.
 */
export class CodePages {
  readonly buffer: ArrayBufferLike;
  /** Byte of `buffer` at which the mask of RAM page 0 lies. */
  readonly offset: number;
  readonly pageCount: number;
  /** One mask per page. */
  readonly masks: Uint32Array;
  /**
   * One word per page for whoever makes code: where it keeps what it made of the page, say. Behind
   * the masks; zero at first, and never looked at here.
   */
  readonly notes: Uint32Array;
  readonly #listeners: InvalidateListener[] = [];
  #dirty: DirtyMemory | undefined;
  /** Pages with a mask that is not empty, or was when it was last looked at here. */
  #filledCount = 0;

  /** @throws {RangeError} if the masks do not lie in `buffer`, aligned to 4 bytes */
  constructor(options: {
    buffer: ArrayBufferLike;
    offset: number;
    pageCount: number;
    dirty?: DirtyMemory;
  }) {
    const { buffer, offset, pageCount, dirty } = options;
    if (
      offset % 4 !== 0 ||
      !Number.isInteger(pageCount) ||
      pageCount < 1 ||
      !rangeContains(0, buffer.byteLength, offset, CodePages.bytesFor(pageCount))
    )
      throw new RangeError(
        `Cannot create code pages as their masks must lie aligned in the buffer: offset is ` +
          `${hex(offset)}, pages ${pageCount}, buffer ${hex(buffer.byteLength)}`,
      );
    this.buffer = buffer;
    this.offset = offset;
    this.pageCount = pageCount;
    this.masks = new Uint32Array(buffer, offset, pageCount);
    this.notes = new Uint32Array(buffer, offset + pageCount * 4, pageCount);
    if (dirty !== undefined) this.dirty = dirty;
  }

  /** Code pages over a buffer of their own. */
  static create(options: { pageCount: number; dirty?: DirtyMemory }): CodePages {
    const buffer = new ArrayBuffer(CodePages.bytesFor(options.pageCount));
    return new CodePages({ buffer, offset: 0, ...options });
  }

  /** Bytes of buffer that `pageCount` pages take. */
  static bytesFor(pageCount: number): number {
    return pageCount * 8;
  }

  /** The dirty bytes whose CODE bit these pages own. */
  get dirty(): DirtyMemory | undefined {
    return this.#dirty;
  }

  set dirty(dirty: DirtyMemory) {
    this.#dirty = dirty;
    dirty.setCodeMasks(this.masks);
  }

  /** `listener` runs whenever bytes that hold code are about to be, or were just, written. */
  onInvalidate(listener: InvalidateListener): void {
    this.#listeners.push(listener);
  }

  /** Says that code was made from these bytes. Their page's next store takes the slow path. */
  addLines(ramOffset: number, sizeBytes: number): void {
    const inPage = ramOffset & PAGE_OFFSET_MASK;
    if (inPage + sizeBytes <= PAGE_SIZE) {
      const lines = lineMask(inPage, sizeBytes);
      if ((this.masks[pageIndex(ramOffset)]! & lines) === lines) return;
    }
    this.#forEachPage(ramOffset, sizeBytes, (page, lines) => {
      const before = this.masks[page]!;
      if (before === 0) this.#filledCount++;
      this.masks[page] = before | lines;
      if (before === 0) this.#dirty?.clear(page * PAGE_SIZE, PAGE_SIZE, DIRTY_CODE);
    });
  }

  /** Whether no page holds code. */
  get isEmpty(): boolean {
    // Whoever makes code may empty masks by itself.
    if (this.#filledCount > 0 && this.masks.every((mask) => mask === 0)) this.#filledCount = 0;
    return this.#filledCount === 0;
  }

  /** Whether any line that the range touches holds code. */
  hasCode(ramOffset: number, sizeBytes: number): boolean {
    let found = 0;
    this.#forEachPage(ramOffset, sizeBytes, (page, lines) => {
      found |= this.masks[page]! & lines;
    });
    return found !== 0;
  }

  /**
   * Drops the code that was made from the range's bytes. Listeners are told the range, cut at page
   * ends, and only if a line that it touches holds code.
   */
  invalidate(ramOffset: number, sizeBytes: number): void {
    this.#forEachPage(ramOffset, sizeBytes, (page, lines, start, size) => {
      if ((this.masks[page]! & lines) === 0) return;
      // The bits go first: a listener that decodes anew must find its own lines kept.
      const left = (this.masks[page]! & ~lines) >>> 0;
      if (left === 0) this.#filledCount--;
      this.masks[page] = left;
      let kept = 0;
      for (const listener of this.#listeners) kept |= listener(start, size) ?? 0;
      kept &= lines;
      if (kept !== 0 && this.masks[page] === 0) this.#filledCount++;
      this.masks[page] = this.masks[page]! | kept;
      this.#settle(page);
    });
  }

  /** Drops all code of the page that holds `ramOffset`. */
  dropPage(ramOffset: number): void {
    const start = ramOffset - (ramOffset & PAGE_OFFSET_MASK);
    this.invalidate(start, PAGE_SIZE);
  }

  /** DIRTY_CODE is set exactly while the page has no code. */
  #settle(page: number): void {
    if (this.masks[page] === 0) this.#dirty?.mark(page * PAGE_SIZE, PAGE_SIZE, DIRTY_CODE);
  }

  #forEachPage(
    ramOffset: number,
    sizeBytes: number,
    visit: (page: number, lines: number, start: number, size: number) => void,
  ): void {
    // The message is made only when it is wanted: every decoded instruction comes here.
    if (!rangeContains(0, this.pageCount * PAGE_SIZE, ramOffset, sizeBytes)) {
      const range = `RAM offset ${hex(ramOffset)}, ${hex(sizeBytes)} bytes`;
      assert(false, `Code lines at ${range}, must lie in RAM`);
    }
    let start = ramOffset;
    let rest = sizeBytes;
    while (rest > 0) {
      const inPage = start & PAGE_OFFSET_MASK;
      const size = Math.min(rest, PAGE_SIZE - inPage);
      visit(pageIndex(start), lineMask(inPage, size), start, size);
      start += size;
      rest -= size;
    }
  }
}

/** Bits of the lines that `size` bytes from `inPage` on touch; they stay within one page. */
export function lineMask(inPage: number, size: number): number {
  const first = inPage >> LINE_BITS;
  const last = (inPage + size - 1) >> LINE_BITS;
  return ((-1 << first) & (-1 >>> (31 - last))) >>> 0;
}
