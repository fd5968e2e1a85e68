// The one door through which every writer of RAM reports: slow-path stores, DMA, the debugger,
// loading of snapshots. A writer that goes around it leaves stale code and pages missing from
// snapshots.

import { PAGE_OFFSET_MASK, PAGE_SIZE, pageIndex } from '../base/pages.ts';
import { type CodePages, lineMask } from './code-pages.ts';
import { DIRTY_ALL, DIRTY_CODE, type DirtyMemory } from './dirty-memory.ts';
import type { RAMBlock } from './ram-block.ts';
import type { RAMListListener } from './ram-list.ts';

/** Called before bytes of a range change, so that they can still be copied. */
export type BeforeWriteListener = (ramOffset: number, sizeBytes: number) => void;

/** Tells code pages and dirty bytes what was written. A listener of a RAM list, too. */
export class RAMWrites implements RAMListListener {
  readonly dirty: DirtyMemory;
  readonly codePages: CodePages | undefined;
  #beforeListeners: readonly BeforeWriteListener[] = [];

  constructor(options: { dirty: DirtyMemory; codePages?: CodePages }) {
    this.dirty = options.dirty;
    this.codePages = options.codePages;
    if (options.codePages !== undefined) options.codePages.dirty = options.dirty;
  }

  // Hot: called for each slow-path store, up to 10^6 times a second.
  /**
   * Says that RAM bytes were written: code on their lines is dropped, their pages become dirty for
   * every client. CODE stays clear while the page has code on other lines. Call it before the bytes
   * change or right after, but before the guest runs on.
   */
  note(ramOffset: number, sizeBytes: number): void {
    const bytes = this.dirty.bytes;
    const page = pageIndex(ramOffset);
    const inPage = ramOffset & PAGE_OFFSET_MASK;
    if (inPage + sizeBytes > PAGE_SIZE || sizeBytes <= 0) {
      this.#noteLong(ramOffset, sizeBytes);
      return;
    }
    if (bytes[page] === DIRTY_ALL) return; // Dirty for CODE too, hence without code.
    const codePages = this.codePages;
    if (codePages === undefined) {
      bytes[page] = DIRTY_ALL;
      return;
    }
    if ((codePages.masks[page]! & lineMask(inPage, sizeBytes)) !== 0)
      codePages.invalidate(ramOffset, sizeBytes);
    bytes[page] = codePages.masks[page] === 0 ? DIRTY_ALL : DIRTY_ALL & ~DIRTY_CODE;
  }

  /**
   * Says which of `pageCount` pages from `ramOffset` on were written, as an accelerator logged it:
   * bit i of `words`, 32 to a word, least first. Bits past the last page are ignored.
   */
  noteBitmap(ramOffset: number, pageCount: number, words: Uint32Array): void {
    const firstPage = pageIndex(ramOffset);
    const wholeWords = Math.floor(pageCount / 32);
    for (let index = 0; index < wholeWords; index++)
      if (words[index] !== 0) this.#noteWord(firstPage + index * 32, words[index]!);
    const rest = pageCount % 32;
    if (rest > 0) this.#noteWord(firstPage + wholeWords * 32, words[wholeWords]! & ~(-1 << rest));
  }

  #noteWord(page: number, word: number): void {
    const { codePages } = this;
    let code = 0;
    if (codePages !== undefined && !codePages.isEmpty)
      for (let at = 0; at < 32; at++) code |= codePages.masks[page + at]!;
    if (code === 0) {
      this.dirty.markWord(page, word);
      return;
    }
    for (let bits = word; bits !== 0; bits &= bits - 1)
      this.note((page + (31 - Math.clz32(bits & -bits))) * PAGE_SIZE, PAGE_SIZE);
  }

  // Hot: called before each slow-path store.
  /**
   * Says that RAM bytes are about to be written. Stores that hit the TLB do not come here: whoever
   * listens clears a dirty bit of its own on the pages it waits for, and then each page's first
   * store does.
   */
  before(ramOffset: number, sizeBytes: number): void {
    for (const listener of this.#beforeListeners) listener(ramOffset, sizeBytes);
  }

  /** `listener` runs before every write of RAM that does not hit the TLB. It must not throw. */
  addBeforeListener(listener: BeforeWriteListener): void {
    this.#beforeListeners = [...this.#beforeListeners, listener];
  }

  /** Takes back `addBeforeListener`. */
  removeBeforeListener(listener: BeforeWriteListener): void {
    this.#beforeListeners = this.#beforeListeners.filter((other) => other !== listener);
  }

  /** @internal A new block's bytes are dirty for everybody. */
  onAlloc(block: RAMBlock): void {
    this.note(block.ramOffset, block.sizeBytes);
  }

  /** @internal Code made from a block goes with it. */
  onFree(block: RAMBlock): void {
    this.note(block.ramOffset, block.sizeBytes);
  }

  #noteLong(ramOffset: number, sizeBytes: number): void {
    if (sizeBytes > 0 && this.codePages?.isEmpty !== false) {
      const end = pageIndex(ramOffset + sizeBytes - 1) + 1;
      this.dirty.bytes.fill(DIRTY_ALL, pageIndex(ramOffset), end);
      return;
    }
    let start = ramOffset;
    let rest = sizeBytes;
    while (rest > 0) {
      const size = Math.min(rest, PAGE_SIZE - (start & PAGE_OFFSET_MASK));
      this.note(start, size);
      start += size;
      rest -= size;
    }
  }
}
