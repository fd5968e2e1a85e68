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

const THERE = 0;
const MISSING = 1;
const UNTOUCHED = 2;

/** Which pages are missing, and who fetches them; which of those that came nobody has touched. */
export class MissingPages {
  /** THERE, MISSING or UNTOUCHED. */
  readonly #states: Uint8Array;
  readonly #fetch: PageFetcher;
  #count = 0;

  /** @param fetch is told of the first touch of an untouched page, too */
  constructor(pageCount: number, fetch: PageFetcher) {
    this.#states = new Uint8Array(pageCount);
    this.#fetch = fetch;
  }

  /** How many pages are missing. */
  get count(): number {
    return this.#count;
  }

  has(pageIndex: number): boolean {
    return this.#states[pageIndex] === MISSING;
  }

  /** Says that pages are missing, before anybody can touch them; each is said once. */
  add(pageIndex: number, count = 1): void {
    this.#count += count;
    this.#states.fill(MISSING, pageIndex, pageIndex + count);
  }

  /**
   * Says that a page is there, just before it is written. Each page arrives once.
   * @param isUntouched whether its first touch is to be told
   * @returns whether it was missing; if not, whoever has it must not write it
   */
  arrive(pageIndex: number, isUntouched = false): boolean {
    if (this.#states[pageIndex] !== MISSING) return false;
    this.#states[pageIndex] = isUntouched ? UNTOUCHED : THERE;
    this.#count--;
    return true;
  }

  /** Says that the first touch of a page that is there need not be told. */
  see(pageIndex: number): void {
    if (this.#states[pageIndex] === UNTOUCHED) this.#states[pageIndex] = THERE;
  }

  // Hot: on each slow-path access while pages are missing.
  /** Fetches the pages of a range that are missing. @throws what the fetcher throws */
  claim(ramOffset: number, sizeBytes: number): void {
    const first = pageIndex(ramOffset);
    const end = first + pagesTouched(ramOffset, sizeBytes);
    for (let page = first; page < end; page++) if (this.#states[page] !== THERE) this.#fetch(page);
  }
}
