// What is behind each page of a guest-physical space (the seed, II: phys_page_find and
// phys_page_find_alloc): a radix tree over page numbers. A big region is a few leaves high in the
// tree, so a space of 2^52 bytes costs what is mapped in it, not what it could hold.
//
// A node is 256 slots of 32 bits. A slot is a value, for all pages below it, or NODE | node index.

import { ADDRESS_BITS_MAX, PAGE_BITS } from '../base/pages.ts';

const SLOT_BITS = 8;
const SLOT_COUNT = 1 << SLOT_BITS;
const NODE = 0x8000_0000;
/** Largest value a page can have. */
export const PAGE_VALUE_MAX = 0x7fff_ffff;

/** Maps page numbers to small numbers; every page is 0 at first. */
export class PhysPageMap {
  readonly addressBits: number;
  readonly pageCount: number;
  readonly #levelCount: number;
  #slots = new Uint32Array(SLOT_COUNT * 4);
  #usedNodeCount = 1;
  readonly #freeNodes: number[] = [];

  /** @throws {RangeError} unless 12 ≤ addressBits ≤ 52 */
  constructor(addressBits: number = ADDRESS_BITS_MAX) {
    if (!Number.isInteger(addressBits) || addressBits < PAGE_BITS || addressBits > ADDRESS_BITS_MAX)
      throw new RangeError(
        `Cannot create page map as addressBits must be ${PAGE_BITS} to ${ADDRESS_BITS_MAX}: ` +
          `got ${addressBits}`,
      );
    this.addressBits = addressBits;
    this.pageCount = 2 ** (addressBits - PAGE_BITS);
    this.#levelCount = Math.max(1, Math.ceil((addressBits - PAGE_BITS) / SLOT_BITS));
  }

  /** Nodes in use, the root among them: what the map costs, at 1 KiB each. */
  get nodeCount(): number {
    return this.#usedNodeCount - this.#freeNodes.length;
  }

  // Hot: on each access that is not to the range of the last one, up to 10^6 times a second.
  /** Value of page `index`, which must be below `pageCount`. */
  find(index: number): number {
    const slots = this.#slots;
    const low = index >>> 0; // The low 32 bits serve four levels; only the fifth needs the others.
    let level = this.#levelCount - 1;
    let slot = level === 4 ? slots[(index - low) / 0x1_0000_0000]! : NODE;
    if (level === 4) level--;
    for (; slot >= NODE && level >= 0; level--)
      slot = slots[(slot & ~NODE) * SLOT_COUNT + ((low >>> (level * SLOT_BITS)) & 0xff)]!;
    return slot;
  }

  /**
   * Gives `count` pages from `first` on one value.
   * @throws {RangeError} if they do not lie in the space, or the value is above PAGE_VALUE_MAX
   */
  set(first: number, count: number, value: number): void {
    if (first < 0 || count < 0 || first > this.pageCount || count > this.pageCount - first)
      throw new RangeError(
        `Cannot map ${count} pages from page ${first} as they must lie in ${this.pageCount} pages`,
      );
    if (!Number.isInteger(value) || value < 0 || value > PAGE_VALUE_MAX)
      throw new RangeError(`Cannot map pages to value ${value} as it must be below 2^31`);
    if (count > 0) this.#setIn(0, this.#levelCount - 1, first, count, value);
  }

  /** Every page becomes 0. */
  clear(): void {
    this.#slots.fill(0, 0, SLOT_COUNT);
    this.#usedNodeCount = 1;
    this.#freeNodes.length = 0;
  }

  /** `first` counts from the start of the node's own range. */
  #setIn(node: number, level: number, first: number, count: number, value: number): void {
    const spanPages = SLOT_COUNT ** level;
    let rest = count;
    let at = first;
    while (rest > 0) {
      const slotIndex = Math.floor(at / spanPages);
      const inSlot = at - slotIndex * spanPages;
      const here = Math.min(rest, spanPages - inSlot);
      const slotAt = node * SLOT_COUNT + slotIndex;
      const slot = this.#slots[slotAt]!;
      if (here === spanPages) {
        if (slot >= NODE) this.#release(slot - NODE, level - 1);
        this.#slots[slotAt] = value;
      } else if (slot !== value) {
        const child = slot >= NODE ? slot - NODE : this.#create(slot);
        this.#slots[slotAt] = NODE + child;
        this.#setIn(child, level - 1, inSlot, here, value);
        this.#collapse(slotAt, child);
      }
      at += here;
      rest -= here;
    }
  }

  /** A node whose slots all hold the same value becomes that value. */
  #collapse(slotAt: number, child: number): void {
    const slots = this.#slots;
    const start = child * SLOT_COUNT;
    const value = slots[start]!;
    if (value >= NODE) return;
    for (let index = 1; index < SLOT_COUNT; index++) if (slots[start + index] !== value) return;
    slots[slotAt] = value;
    this.#freeNodes.push(child);
  }

  #create(value: number): number {
    const node = this.#freeNodes.pop() ?? this.#usedNodeCount++;
    const start = node * SLOT_COUNT;
    if (start + SLOT_COUNT > this.#slots.length) {
      const grown = new Uint32Array(this.#slots.length * 2);
      grown.set(this.#slots);
      this.#slots = grown;
    }
    this.#slots.fill(value, start, start + SLOT_COUNT);
    return node;
  }

  #release(node: number, level: number): void {
    const start = node * SLOT_COUNT;
    for (let index = 0; level > 0 && index < SLOT_COUNT; index++) {
      const slot = this.#slots[start + index]!;
      if (slot >= NODE) this.#release(slot - NODE, level - 1);
    }
    this.#freeNodes.push(node);
  }
}
