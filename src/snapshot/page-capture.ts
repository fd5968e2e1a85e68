// The pages of RAM as they are at one instant, given out later: a page that is written meanwhile is
// copied just before (copy before write).

import { PAGE_SIZE, pageIndex, pagesTouched } from '../base/pages.ts';
import type { GuestMemory } from '../memory/guest-memory.ts';

const GIVEN = 0;
const WAITING = 1;
const COPIED = 2;

/**
 * An instant's pages. The caller has cleared a dirty bit of every page that it wants, at this very
 * instant, so that each page's first write is announced by `RAMWrites.before`. End it with `end`.
 */
export class PageCapture {
  readonly #memory: GuestMemory;
  /** GIVEN, WAITING or COPIED, by page of the RAM offset space. */
  readonly #states: Uint8Array;
  readonly #copies = new Map<number, Uint8Array>();
  readonly #onWrite = (ramOffset: number, sizeBytes: number): void =>
    this.#copy(ramOffset, sizeBytes);
  #copiedCount = 0;

  constructor(memory: GuestMemory) {
    this.#memory = memory;
    this.#states = new Uint8Array(memory.ramList.pageCount);
    memory.ramWrites.addBeforeListener(this.#onWrite);
  }

  /** How many pages had to be copied so far. */
  get copiedCount(): number {
    return this.#copiedCount;
  }

  /** Wants pages; call it at the instant. */
  want(ramOffset: number, sizeBytes: number): void {
    const first = pageIndex(ramOffset);
    this.#states.fill(WAITING, first, first + pagesTouched(ramOffset, sizeBytes));
  }

  /** Wants no other pages than these, by number in the RAM offset space, of those it wanted. */
  narrow(pages: Iterable<number>): void {
    const kept = new Uint8Array(this.#states.length);
    for (const page of pages) kept[page] = this.#states[page]!;
    for (const page of this.#copies.keys()) if (kept[page] === GIVEN) this.#copies.delete(page);
    this.#states.set(kept);
  }

  /** Whether a page of the range had to be copied, and was not given out yet. */
  hasCopies(ramOffset: number, sizeBytes: number): boolean {
    const first = pageIndex(ramOffset);
    const end = first + pagesTouched(ramOffset, sizeBytes);
    const copy = this.#states.indexOf(COPIED, first);
    return copy >= 0 && copy < end;
  }

  /** Bytes of a wanted page as of the instant; copy them before the guest runs on. */
  peek(ramOffset: number): Uint8Array {
    const { ramList } = this.#memory;
    ramList.ensure(ramOffset, PAGE_SIZE);
    return this.#copies.get(pageIndex(ramOffset)) ?? ramList.bytesAt(ramOffset, PAGE_SIZE);
  }

  /** The pages of the range were given out: they are not wanted any more. */
  release(ramOffset: number, sizeBytes: number): void {
    const first = pageIndex(ramOffset);
    const end = first + pagesTouched(ramOffset, sizeBytes);
    if (this.#copies.size > 0) for (let page = first; page < end; page++) this.#copies.delete(page);
    this.#states.fill(GIVEN, first, end);
  }

  /** Gives up what is left. A second call does nothing. */
  end(): void {
    this.#memory.ramWrites.removeBeforeListener(this.#onWrite);
    this.#copies.clear();
  }

  #copy(ramOffset: number, sizeBytes: number): void {
    const first = pageIndex(ramOffset);
    const end = first + pagesTouched(ramOffset, sizeBytes);
    for (let page = first; page < end; page++) {
      if (this.#states[page] !== WAITING) continue;
      const start = page * PAGE_SIZE;
      this.#memory.ramList.ensure(start, PAGE_SIZE);
      this.#copies.set(page, this.#memory.ramList.bytesAt(start, PAGE_SIZE).slice());
      this.#states[page] = COPIED;
      this.#copiedCount++;
    }
  }
}
