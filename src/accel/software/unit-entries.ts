// Where units are entered. A unit is one function, with a place in the function table; each of its
// entries has a table index too, which stands in its record in place of the interpreter's handler.
// All these indexes lead to one handler (`enterUnit`), which finds here what to call.
//
// The tables, by function table index of what stands in a record:
//   u32 ENTER    number of the entry, whether it wants flags of a certain form, place of the unit
//   i32 START    offset of the entry from the unit's root page
//   u16 ORIGINAL the interpreter's handler for the record
// and by place of a unit, less that of the first:
//   u32 EIP of the root page, u32 CODE_KEY_FLAT if it relies on a flat CS, u32 how often it was
//   left because an access was in another page than the one before it by the same register, and
//   for each page of the unit the CODE_KEY as of which it was found mapped there: u32s

import { CODE_KEY_FLAT, RECORD_HANDLER } from './record.ts';

/** Entries of all units together, and units. */
export const UNIT_ENTRIES_MAX = 40_000;
export const UNITS_MAX = 16_000;
const HANDLERS_MAX = 0x1_0000;

/** Pages of one unit. */
export const UNIT_PAGES_MAX = 32;

/** ENTER: the entry's number, whether its block wants flags of a certain form, the unit's place. */
export const ENTER_NUMBER_MASK = 0x7ff;
export const ENTER_WANTS_FLAGS = 0x8000;
export const ENTER_UNIT_SHIFT = 16;

/** Where the tables lie from ENTRIES_BASE on, and their size. */
export const ENTER_BYTES = 8;
export const ENTER_START = 4;
export const ORIGINALS = HANDLERS_MAX * ENTER_BYTES;
export const CELLS = ORIGINALS + HANDLERS_MAX * 2;
export const CELL_BASE = 0;
export const CELL_FLAT = 4;
export const CELL_STRADDLES = 8;
export const CELL_PAGES = 12;
export const CELL_BYTES = CELL_PAGES + 4 * UNIT_PAGES_MAX;
/**
 * Behind them the jump cache: where units are entered, by EIP. A row: u32 EIP, u32 CODE_KEY, then
 * what the unit is called with: u32 ENTER, u32 EIP of the root page.
 */
export const JUMP_CACHE = CELLS + UNITS_MAX * CELL_BYTES;
export const JUMP_CACHE_BITS = 14;
export const JUMP_ROW_SHIFT = 4;
const JUMP_CACHE_BYTES = 1 << (JUMP_CACHE_BITS + JUMP_ROW_SHIFT);
export const ENTRY_TABLES_BYTES = JUMP_CACHE + JUMP_CACHE_BYTES;

/** Hands out numbers; the last one given back is the next. */
class Places {
  readonly #free: number[] = [];
  #fresh: number;
  readonly #end: number;

  constructor(first: number, count: number) {
    this.#fresh = first;
    this.#end = first + count;
  }

  get freeCount(): number {
    return this.#free.length + this.#end - this.#fresh;
  }

  take(): number {
    return this.#free.pop() ?? this.#fresh++;
  }

  give(place: number): void {
    this.#free.push(place);
  }
}

export class UnitEntries {
  readonly #offset: number;
  readonly #table: WebAssembly.Table;
  readonly #u16: Uint16Array;
  readonly #u32: Uint32Array;
  readonly #entries: Places;
  readonly #units: Places;
  readonly #firstUnit: number;
  readonly #enterUnit: unknown;

  constructor(options: {
    readonly table: WebAssembly.Table;
    readonly buffer: ArrayBufferLike;
    /** Size of the function table without units: the handlers of the interpreter. */
    readonly handlerCount: number;
    /** Byte address of the tables. */
    readonly offset: number;
    /** The handler of all entries. */
    readonly enterUnit: unknown;
  }) {
    const { handlerCount } = options;
    this.#offset = options.offset;
    this.#table = options.table;
    this.#u16 = new Uint16Array(options.buffer);
    this.#u32 = new Uint32Array(options.buffer);
    this.#enterUnit = options.enterUnit;
    this.#firstUnit = handlerCount + UNIT_ENTRIES_MAX;
    this.#entries = new Places(handlerCount, UNIT_ENTRIES_MAX);
    this.#units = new Places(this.#firstUnit, UNITS_MAX);
    for (let handler = 0; handler < handlerCount; handler++) {
      this.#u16[this.#originalAt(handler)] = handler;
    }
  }

  /** Whether there is room for a unit with so many entries. */
  hasRoom(entryCount: number): boolean {
    return this.#units.freeCount > 0 && this.#entries.freeCount >= entryCount;
  }

  /** A place for a unit that is going to be compiled. */
  takePlace(): number {
    // Only now, as it takes some ms, which the start of a machine has not.
    if (this.#table.length < this.#firstUnit) {
      this.#table.grow(UNIT_ENTRIES_MAX, this.#enterUnit);
      this.#table.grow(UNITS_MAX);
    }
    return this.#units.take();
  }

  /** Lets a place be called; the unit there may rely on a flat CS. */
  setUnit(place: number, unit: unknown, isFlat: boolean): void {
    const cell = this.cellOf(place) >>> 2;
    this.#u32.fill(0, cell, cell + CELL_BYTES / 4);
    this.#u32[cell + CELL_FLAT / 4] = isFlat ? CODE_KEY_FLAT : 0;
    this.#table.set(place, unit);
  }

  givePlace(place: number): void {
    this.#table.set(place, null);
    this.#units.give(place);
  }

  /** Forgets everything that was noted under a CODE_KEY. */
  forgetKeys(): void {
    const jumps = (this.#offset + JUMP_CACHE) >>> 2;
    this.#u32.fill(0, jumps, jumps + JUMP_CACHE_BYTES / 4);
    for (let place = this.#firstUnit; place < this.#firstUnit + UNITS_MAX; place++) {
      const pages = (this.cellOf(place) + CELL_PAGES) >>> 2;
      this.#u32.fill(0, pages, pages + UNIT_PAGES_MAX);
    }
  }

  /** Byte address of what a unit keeps between its runs. */
  cellOf(place: number): number {
    return this.#offset + CELLS + (place - this.#firstUnit) * CELL_BYTES;
  }

  /** How often a unit was left because an access was in another page than the one before. */
  straddlesOf(place: number): number {
    return this.#u32[(this.cellOf(place) + CELL_STRADDLES) >>> 2]!;
  }

  /**
   * Lets a unit be called in place of the handler of the record at `record`.
   * @param at place of the unit, number of the entry, whether it wants flags of a certain form,
   *   offset of the entry from the root page
   */
  add(
    record: number,
    at: { place: number; number: number; wantsFlags: boolean; start: number },
  ): number {
    const entry = this.#entries.take();
    const place = (record + RECORD_HANDLER) >>> 1;
    this.#u16[this.#originalAt(entry)] = this.handlerOf(this.#u16[place]!);
    const word = (this.#offset + entry * ENTER_BYTES) >>> 2;
    const flags = at.wantsFlags ? ENTER_WANTS_FLAGS : 0;
    this.#u32[word] = at.number | flags | (at.place << ENTER_UNIT_SHIFT);
    this.#u32[word + 1] = at.start;
    this.#u16[place] = entry;
    return entry;
  }

  /** Gives the record its handler back, if it has the entry still. */
  remove(record: number, entry: number): void {
    const at = (record + RECORD_HANDLER) >>> 1;
    if (this.#u16[at] === entry) this.#u16[at] = this.handlerOf(entry);
    this.#entries.give(entry);
  }

  /** Place of the unit that is entered where a record says `index`; 0 if none is. */
  unitOf(index: number): number {
    if (this.handlerOf(index) === index) return 0;
    return this.#u32[(this.#offset + index * ENTER_BYTES) >>> 2]! >>> ENTER_UNIT_SHIFT;
  }

  /** The interpreter's handler behind what a record says. */
  handlerOf(index: number): number {
    return this.#u16[this.#originalAt(index)]!;
  }

  #originalAt(index: number): number {
    return (this.#offset + ORIGINALS) / 2 + index;
  }
}
