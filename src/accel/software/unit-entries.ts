// Where units are entered: each entry has a function table index of its own, which stands in its
// record in place of the interpreter's handler. A unit is one function for all its entries; which
// of them it was called for, it reads from a table beside the records.

import { RECORD_HANDLER } from './record.ts';

/** Entries of all units together. */
export const UNIT_ENTRIES_MAX = 40_000;
const HANDLERS_MAX = 0x1_0000;
/** An entry's number, and above it the index of its page among those of its unit. */
export const ENTRY_PAGE_SHIFT = 13;
/** Size of the table from a function table index to a entry number: u16 each. */
export const ENTRY_NUMBERS_BYTES = 2 * HANDLERS_MAX;

export class UnitEntries {
  /** Byte address of the table of entry numbers. */
  readonly numbersOffset: number;
  readonly #table: WebAssembly.Table;
  readonly #u16: Uint16Array;
  /** Entries that were given back; those from `#fresh` to `#end` were never taken. */
  readonly #free: number[] = [];
  #fresh: number;
  readonly #end: number;
  /** The handler that each entry stands for, by table index. */
  readonly #originals = new Map<number, number>();

  constructor(options: {
    readonly table: WebAssembly.Table;
    readonly buffer: ArrayBufferLike;
    /** First table index that is no handler of the interpreter. */
    readonly firstIndex: number;
    readonly numbersOffset: number;
  }) {
    this.numbersOffset = options.numbersOffset;
    this.#table = options.table;
    this.#u16 = new Uint16Array(options.buffer);
    this.#fresh = options.firstIndex;
    this.#end = options.table.length;
  }

  get freeCount(): number {
    return this.#free.length + this.#end - this.#fresh;
  }

  /**
   * Lets `unit` be called in place of the handler of the record at `record`.
   * @param at number of the entry, and index of the page among the unit's that it lies on
   */
  add(record: number, at: { number: number; page: number }, unit: unknown): number {
    const entry = this.#free.pop() ?? this.#fresh++;
    const place = (record + RECORD_HANDLER) >>> 1;
    this.#originals.set(entry, this.handlerOf(this.#u16[place]!));
    this.#table.set(entry, unit);
    this.#u16[(this.numbersOffset >>> 1) + entry] = at.number | (at.page << ENTRY_PAGE_SHIFT);
    this.#u16[place] = entry;
    return entry;
  }

  /** Gives the record its handler back, if it has the entry still. */
  remove(record: number, entry: number): void {
    const at = (record + RECORD_HANDLER) >>> 1;
    if (this.#u16[at] === entry) this.#u16[at] = this.#originals.get(entry)!;
    this.#originals.delete(entry);
    this.#table.set(entry, null);
    this.#free.push(entry);
  }

  /** The interpreter's handler behind what a record says. */
  handlerOf(index: number): number {
    return this.#originals.get(index) ?? index;
  }
}
