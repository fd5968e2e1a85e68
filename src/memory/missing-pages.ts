// Pages of RAM whose content is elsewhere still: a snapshot that is loaded while the machine runs.
// A missing page has no TLB row and no decoded code; whoever reads or writes it comes here first. A
// page that is not there yet is never mistaken for zeros.

import { pageIndex, pagesTouched } from '../base/pages.ts';

/**
 * Fetches page `pageIndex` of the RAM offset space, at once: writes it, and calls
 * `MissingPages.arrive` for it and for whatever else it has written. What it
 * throws reaches whoever touched the page.
 */
export type PageFetcher = (pageIndex: number) => void;

/** Which pages are missing, and who fetches them. */
export class MissingPages {
  readonly #isMissing: Uint8Array;
  readonly #fetch: PageFetcher;
  #count = 0;

  constructor(pageCount: number, fetch: PageFetcher) {
    this.#isMissing = new Uint8Array(pageCount);
    this.#fetch = fetch;
  }

  /** How many pages are missing. */
  get count(): number {
    return this.#count;
  }

  has(pageIndex: number): boolean {
    return this.#isMissing[pageIndex] !== 0;
  }

  /** Says that pages are missing, before anybody can touch them; each is said once. */
  add(pageIndex: number, count = 1): void {
    this.#count += count;
    this.#isMissing.fill(1, pageIndex, pageIndex + count);
  }

  /**
   * Says that a page is there, just before it is written. Each page arrives once.
   * @returns whether it was missing; if not, whoever has it must not write it
   */
  arrive(pageIndex: number): boolean {
    if (this.#isMissing[pageIndex] === 0) return false;
    this.#isMissing[pageIndex] = 0;
    this.#count--;
    return true;
  }

  // Hot: on each slow-path access while pages are missing.
  /** Fetches the pages of a range that are missing. @throws what the fetcher throws */
  claim(ramOffset: number, sizeBytes: number): void {
    const first = pageIndex(ramOffset);
    const end = first + pagesTouched(ramOffset, sizeBytes);
    for (let page = first; page < end; page++) if (this.#isMissing[page] !== 0) this.#fetch(page);
  }
}
