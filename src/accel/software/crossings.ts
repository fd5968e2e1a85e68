// Instructions that begin in one page and end in the next, decoded once. The record in the first
// page leads to an entry here, which holds while both pages' bytes stay as they are; generated code
// checks each time that the second page is still mapped where it was (interpreter-module.ts).
//
// An entry: the record, 15 records that leave, then u32 the record that leads here, 0 if none may;
// u32 the first record of the second page.

import { ISOLATED_RECORDS, RECORD_BYTES, RECORD_DISPLACEMENT } from './record.ts';

const ENTRY_COUNT = 2048;
const RECORDS_BYTES = 16 * RECORD_BYTES;
/** Offsets in an entry. */
export const CROSSING_OWNER = RECORDS_BYTES;
export const CROSSING_REST = RECORDS_BYTES + 4;
const ENTRY_BYTES = RECORDS_BYTES + RECORD_BYTES;
/** Size of all entries. */
export const CROSSINGS_BYTES = ENTRY_COUNT * ENTRY_BYTES;

export class Crossings {
  readonly #u8: Uint8Array;
  readonly #u32: Uint32Array;
  readonly #base: number;
  /** Entries by the first record of their second page. */
  readonly #byRest = new Map<number, Set<number>>();
  #next = 0;

  /** @param base byte of the buffer at which the entries begin */
  constructor(buffer: ArrayBufferLike, base: number) {
    this.#u8 = new Uint8Array(buffer);
    this.#u32 = new Uint32Array(buffer);
    this.#base = base;
  }

  /**
   * Keeps what was decoded into ISOLATED_RECORDS for the record `owner`, in place of an older one.
   * @param rest first record of the second page
   */
  keep(owner: number, rest: number): void {
    const entry = this.#entryOf(owner);
    this.#byRest.get(this.#u32[(entry + CROSSING_REST) >>> 2]!)?.delete(entry);
    this.#u8.copyWithin(entry, ISOLATED_RECORDS, ISOLATED_RECORDS + RECORDS_BYTES);
    this.#u32[(entry + CROSSING_OWNER) >>> 2] = owner;
    this.#u32[(entry + CROSSING_REST) >>> 2] = rest;
    this.#u32[(owner + RECORD_DISPLACEMENT) >>> 2] = entry;
    const others = this.#byRest.get(rest);
    if (others) others.add(entry);
    else this.#byRest.set(rest, new Set([entry]));
  }

  /** The entry that the record has already, or the oldest. */
  #entryOf(owner: number): number {
    const known = this.#u32[(owner + RECORD_DISPLACEMENT) >>> 2]!;
    if (known !== 0 && this.#u32[(known + CROSSING_OWNER) >>> 2] === owner) return known;
    const oldest = this.#base + this.#next * ENTRY_BYTES;
    this.#next = (this.#next + 1) % ENTRY_COUNT;
    return oldest;
  }

  /** Forgets the entries whose second page has its first record at `rest`: its bytes changed. */
  dropInto(rest: number): void {
    const entries = this.#byRest.get(rest);
    if (!entries) return;
    for (const entry of entries) this.#u32[(entry + CROSSING_OWNER) >>> 2] = 0;
    this.#byRest.delete(rest);
  }
}
