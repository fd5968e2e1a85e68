// The processor's translation cache (the seed, II.2). Generated code reads it directly; whatever is
// not a plain hit on RAM carries a flag bit in its tag and goes to a slow path.
//
// One table per MMU index, `rowCount` rows each. A row is 16 bytes, four little-endian words:
//   [0]  read tag    linear address of the page | TLB_ flags
//   [4]  write tag   the same, for stores
//   [8]  addend      (linear + addend) mod 2^32 is the byte of the buffer
//   [12] guest-physical page number, gpa / 4096 (its low 32 bits)
// Row of an address: (linear >>> 12) & (rowCount − 1). A hit: tag == (linear + size − 1) &
// 0xfffff000.
//
// Behind the tables lies what must be kept when a row is filled, so that generated code can:
//   rowCount × tables words   numbers of the rows that may be valid, each once: the log
//   4 words                   [0] rows in the log  [1] rows ever filled  [2] flushes  [3] free
//   rowCount × tables bytes   TLB_ROW_ bits of each row
//   TLB_STORE_PAGES bytes     by RAM page modulo their number: 1 if a row may be plain for stores

import { hex } from '../base/hex.ts';
import { PAGE_BITS, PAGE_OFFSET_MASK, pageAddress, pageIndex } from '../base/pages.ts';
import { rangeContains } from '../base/ranges.ts';
import type { AddressSpace } from './address-space.ts';
import { DIRTY_ALL } from './dirty-memory.ts';
import type { MemoryListener } from './memory-listener.ts';
import { highAddressOf, IO_MEM_RAM, isReadFromRAM, memTypeOf } from './phys-offset.ts';

/** The tag matches nothing: the row is empty, or the access is not allowed. */
export const TLB_INVALID = 1;
/** Write tag: the store must be noticed; the page is clean for a client, or holds code. */
export const TLB_NOTDIRTY = 2;
/** A device, a subpage, or nothing: the access goes to the address space. */
export const TLB_IO = 4;
/** Write tag: ROM, or ROMD whose writes call back. */
export const TLB_ROM = 8;
/** Somebody watches the page. */
export const TLB_WATCH = 16;

/** Rows of each table, unless stated: 64 MiB of pages, as guests work on more than 16 MiB. */
export const TLB_ROW_COUNT = 16_384;
/** Size of a row, bytes, and its fields' offsets. */
export const TLB_ROW_BYTES = 16;
export const TLB_READ_TAG = 0;
export const TLB_WRITE_TAG = 4;
export const TLB_ADDEND = 8;
export const TLB_GPA_PAGE = 12;

/** States of a row: it is in the log; its translation is global. */
export const TLB_ROW_IS_LOGGED = 1;
export const TLB_ROW_IS_GLOBAL = 2;
/** How many bytes say which RAM pages have rows with a plain write tag, a power of two. */
export const TLB_STORE_PAGES = 0x8000;

const ROW_WORDS = 4;
const PAGE_MASK = 0xfffff000;
const ROW_IS_LOGGED = TLB_ROW_IS_LOGGED;
const ROW_IS_GLOBAL = TLB_ROW_IS_GLOBAL;
const STORE_PAGE_MASK = TLB_STORE_PAGES - 1;
const LOG_COUNT = 0;
const FILL_COUNT = 1;
const FLUSH_COUNT = 2;
const COUNT_WORDS = 4;
/** Up to so many pages are looked up in `#hasStoreRow` before rows are searched. */
const SHORT_RANGE_PAGES = 16;
/** With more rows than this part of all in the log it is cheaper to fill the whole table. */
const LOGGED_FLUSH_PART = 4;

/** One filled row, for listings. */
export interface TLBEntry {
  readonly mmuIndex: number;
  readonly linear: number;
  readonly gpa: number;
  /** TLB_ flags of the two tags. */
  readonly readFlags: number;
  readonly writeFlags: number;
  readonly isGlobal: boolean;
}

// Hot: on each load of an emulator that is not generated code, 10^8 times a second.
/**
 * Byte of the buffer that a load of `sizeBytes` at `linear` reads, or −1 for the slow path.
 * @param words `tlb.words`
 * @param tableWord `tlb.tableWord(mmuIndex)`
 * @param rowMask `tlb.rowCount − 1`
 */
export function lookupLoad(
  words: Int32Array,
  tableWord: number,
  rowMask: number,
  linear: number,
  sizeBytes: number,
): number {
  const row = tableWord + ((linear >>> 12) & rowMask) * 4;
  if (words[row] !== ((linear + sizeBytes - 1) & 0xfffff000)) return -1;
  return (linear + words[row + 2]!) >>> 0;
}

// Hot: on each store of an emulator that is not generated code, 10^8 times a second.
/** As {@link lookupLoad}, for a store. A page that is clean for any client is no hit. */
export function lookupStore(
  words: Int32Array,
  tableWord: number,
  rowMask: number,
  linear: number,
  sizeBytes: number,
): number {
  const row = tableWord + ((linear >>> 12) & rowMask) * 4;
  if (words[row + 1] !== ((linear + sizeBytes - 1) & 0xfffff000)) return -1;
  return (linear + words[row + 2]!) >>> 0;
}

/**
 * Linear pages to bytes of RAM, for loads and stores apart.
 *
 * Setting `addressSpace` wires it: a change of the memory map flushes all rows, and whenever dirty
 * bits are cleared the rows of those pages lose their plain write tag before anyone reads the page.
 */
export class SoftTLB implements MemoryListener {
  readonly buffer: ArrayBufferLike;
  /** Byte of `buffer` at which table 0 lies. */
  readonly offset: number;
  readonly mmuIndexCount: number;
  /** Rows in each table, a power of two. */
  readonly rowCount: number;
  /** All rows; see `tableWord`. */
  readonly words: Int32Array;
  /** Bytes of `buffer` at which log, counts, row states and store pages lie: see above. */
  readonly logOffset: number;
  readonly countsOffset: number;
  readonly rowStatesOffset: number;
  readonly storePagesOffset: number;

  readonly #rowMask: number;
  /** Per row of all tables: TLB_ROW_ bits. */
  readonly #rowStates: Uint8Array;
  /** Rows that may be valid, each once. */
  readonly #log: Uint32Array;
  readonly #counts: Uint32Array;
  #addressSpace: AddressSpace | undefined;
  #dirtyBytes: Uint8Array | undefined;
  /** By RAM page: 1 if a row may have a plain write tag for it, so that most re-arming is free. */
  readonly #hasStoreRow: Uint8Array;
  #ramBase = 0;
  readonly #isRAMElsewhere: boolean;
  #isMapChanged = false;

  /** @throws {RangeError} if rowCount is no power of two, or the rows do not lie in `buffer` */
  constructor(options: {
    buffer: ArrayBufferLike;
    offset: number;
    mmuIndexCount?: number;
    rowCount?: number;
    addressSpace?: AddressSpace;
    /** RAM is not in the buffer that hits go to: all of it takes the slow path. */
    isRAMElsewhere?: boolean;
  }) {
    const { buffer, offset, mmuIndexCount = 2, rowCount = TLB_ROW_COUNT } = options;
    if (!Number.isInteger(rowCount) || rowCount < 1 || (rowCount & (rowCount - 1)) !== 0)
      throw new RangeError(
        `Cannot create TLB as its row count must be a power of two: got ${rowCount}`,
      );
    const size = SoftTLB.bytesFor({ mmuIndexCount, rowCount });
    if (offset % ROW_WORDS !== 0 || !rangeContains(0, buffer.byteLength, offset, size))
      throw new RangeError(
        `Cannot create TLB as its rows must lie aligned in the buffer: offset is ${hex(offset)}, ` +
          `rows take ${hex(size)}, buffer ${hex(buffer.byteLength)}`,
      );
    this.buffer = buffer;
    this.offset = offset;
    this.mmuIndexCount = mmuIndexCount;
    this.rowCount = rowCount;
    this.#rowMask = rowCount - 1;
    const rows = mmuIndexCount * rowCount;
    this.words = new Int32Array(buffer, offset, rows * ROW_WORDS);
    this.logOffset = offset + rows * TLB_ROW_BYTES;
    this.countsOffset = this.logOffset + rows * 4;
    this.rowStatesOffset = this.countsOffset + COUNT_WORDS * 4;
    this.storePagesOffset = this.rowStatesOffset + rows;
    this.#log = new Uint32Array(buffer, this.logOffset, rows);
    this.#counts = new Uint32Array(buffer, this.countsOffset, COUNT_WORDS);
    this.#rowStates = new Uint8Array(buffer, this.rowStatesOffset, rows);
    this.#hasStoreRow = new Uint8Array(buffer, this.storePagesOffset, TLB_STORE_PAGES);
    this.#isRAMElsewhere = options.isRAMElsewhere === true;
    this.words.fill(TLB_INVALID);
    if (options.addressSpace !== undefined) this.addressSpace = options.addressSpace;
  }

  /** A TLB over a buffer of its own. */
  static create(
    options: { mmuIndexCount?: number; rowCount?: number; addressSpace?: AddressSpace } = {},
  ): SoftTLB {
    return new SoftTLB({
      buffer: new ArrayBuffer(SoftTLB.bytesFor(options)),
      offset: 0,
      ...options,
    });
  }

  /** Bytes of buffer that the tables take, and what belongs to them. */
  static bytesFor(options: { mmuIndexCount?: number; rowCount?: number } = {}): number {
    const rows = (options.mmuIndexCount ?? 2) * (options.rowCount ?? TLB_ROW_COUNT);
    return rows * (TLB_ROW_BYTES + 4 + 1) + COUNT_WORDS * 4 + TLB_STORE_PAGES;
  }

  /** Full or partial flushes since the TLB was made. */
  get flushCount(): number {
    return this.#counts[FLUSH_COUNT]!;
  }

  /** Rows filled since the TLB was made. */
  get fillCount(): number {
    return this.#counts[FILL_COUNT]!;
  }

  get addressSpace(): AddressSpace | undefined {
    return this.#addressSpace;
  }

  /** Set once. */
  set addressSpace(space: AddressSpace) {
    if (this.#addressSpace !== undefined)
      throw new TypeError(
        `Cannot give TLB the address space "${space.name}" as it must have none: ` +
          `it has "${this.#addressSpace.name}"`,
      );
    this.#addressSpace = space;
    this.#ramBase = space.ramList?.baseOffset ?? 0;
    this.#dirtyBytes = space.ramWrites?.dirty.bytes;
    space.ramWrites?.dirty.onClean((ramOffset, size) => this.rearmWrites(ramOffset, size));
    space.addListener(this);
  }

  /** Index in `words` of a table's first row. */
  tableWord(mmuIndex: number): number {
    return mmuIndex * this.rowCount * ROW_WORDS;
  }

  /**
   * Fills the row of `linear` with what the address space has behind the page at `gpaPageStart`.
   * RAM is read and written directly; its write tag has TLB_NOTDIRTY while any client wants to
   * know. ROM and ROMD are read directly. All else has TLB_IO in both tags.
   * @param flags TLB_WATCH, to be put in both tags
   */
  fill(
    mmuIndex: number,
    linear: number,
    gpaPageStart: number,
    canRead: boolean,
    canWrite: boolean,
    isGlobal: boolean,
    flags = 0,
  ): void {
    const physOffset = this.#addressSpace!.physOffsetOf(gpaPageStart);
    const tableRow = (linear >>> PAGE_BITS) & this.#rowMask;
    const rowIndex = mmuIndex * this.rowCount + tableRow;
    const page = linear & PAGE_MASK;
    let readFlags = flags;
    let writeFlags = flags;
    let addend = 0;
    if (isReadFromRAM(physOffset) && !this.#isRAMElsewhere) {
      const ramOffset = highAddressOf(physOffset);
      // A page that is not there yet must not be seen: it comes before its row does.
      this.#addressSpace!.ramList?.missing?.claim(ramOffset, 1);
      addend = (this.#ramBase + ramOffset - page) | 0;
      if (memTypeOf(physOffset) !== IO_MEM_RAM) writeFlags |= TLB_ROM;
      else if (
        this.#dirtyBytes !== undefined &&
        this.#dirtyBytes[ramOffset >>> PAGE_BITS] !== DIRTY_ALL
      )
        writeFlags |= TLB_NOTDIRTY;
      else this.#hasStoreRow[(ramOffset >>> PAGE_BITS) & STORE_PAGE_MASK] = 1;
    } else {
      readFlags |= TLB_IO;
      writeFlags |= TLB_IO;
    }
    const words = this.words;
    const word = rowIndex * ROW_WORDS;
    words[word] = page | (canRead ? readFlags : TLB_INVALID);
    words[word + 1] = page | (canWrite ? writeFlags : TLB_INVALID);
    words[word + 2] = addend;
    words[word + 3] = pageIndex(gpaPageStart) | 0;
    const counts = this.#counts;
    if ((this.#rowStates[rowIndex]! & ROW_IS_LOGGED) === 0)
      this.#log[counts[LOG_COUNT]!++] = rowIndex;
    this.#rowStates[rowIndex] = isGlobal ? ROW_IS_LOGGED | ROW_IS_GLOBAL : ROW_IS_LOGGED;
    counts[FILL_COUNT]!++;
  }

  /**
   * After a store through a TLB_NOTDIRTY row was noted: lets further stores hit, if no client wants
   * to know of them any more. Cheap, and safe to call after any noted store.
   */
  makeWritable(mmuIndex: number, linear: number): void {
    const words = this.words;
    const word = (mmuIndex * this.rowCount + ((linear >>> PAGE_BITS) & this.#rowMask)) * ROW_WORDS;
    const page = linear & PAGE_MASK;
    if (words[word + 1] !== (page | TLB_NOTDIRTY)) return;
    const ramPage = (page + words[word + 2]! - this.#ramBase) >>> PAGE_BITS;
    if (this.#dirtyBytes![ramPage] !== DIRTY_ALL) return;
    this.#hasStoreRow[ramPage & STORE_PAGE_MASK] = 1;
    words[word + 1] = page;
  }

  /** Takes the plain write tag off every row whose RAM lies in the range and is not all dirty. */
  rearmWrites(ramOffset: number, sizeBytes: number): void {
    const words = this.words;
    const dirtyBytes = this.#dirtyBytes!;
    const firstPage = pageIndex(ramOffset);
    const lastPage = pageIndex(ramOffset + sizeBytes - 1);
    if (lastPage - firstPage < SHORT_RANGE_PAGES) {
      let found = 0;
      for (let page = firstPage; page <= lastPage; page++)
        found |= this.#hasStoreRow[page & STORE_PAGE_MASK]!;
      if (found === 0) return;
    }
    // All rows are looked at, so that the store pages can be told anew, too.
    const base = this.#ramBase;
    const hasStoreRow = this.#hasStoreRow.fill(0);
    const logCount = this.#counts[LOG_COUNT]!;
    for (let index = 0; index < logCount; index++) {
      const word = this.#log[index]! * ROW_WORDS;
      const tag = words[word + 1]!;
      if ((tag & ~TLB_WATCH & PAGE_OFFSET_MASK) !== 0) continue;
      const ramPage = ((tag & PAGE_MASK) + words[word + 2]! - base) >>> PAGE_BITS;
      const isInRange = ramPage >= firstPage && ramPage <= lastPage;
      if (isInRange && dirtyBytes[ramPage] !== DIRTY_ALL) words[word + 1] = tag | TLB_NOTDIRTY;
      else hasStoreRow[ramPage & STORE_PAGE_MASK] = 1;
    }
  }

  /** Forgets everything. */
  flushAll(): void {
    this.#counts[FLUSH_COUNT]!++;
    const words = this.words;
    const logCount = this.#counts[LOG_COUNT]!;
    if (logCount * LOGGED_FLUSH_PART > this.#log.length) {
      words.fill(TLB_INVALID);
      this.#rowStates.fill(0);
    } else {
      for (let index = 0; index < logCount; index++) this.#empty(this.#log[index]!);
    }
    this.#counts[LOG_COUNT] = 0;
  }

  /** Forgets all but global pages, as a write to CR3 does. */
  flushNonGlobal(): void {
    this.#counts[FLUSH_COUNT]!++;
    const logCount = this.#counts[LOG_COUNT]!;
    let kept = 0;
    for (let index = 0; index < logCount; index++) {
      const row = this.#log[index]!;
      if ((this.#rowStates[row]! & ROW_IS_GLOBAL) !== 0) this.#log[kept++] = row;
      else this.#empty(row);
    }
    this.#counts[LOG_COUNT] = kept;
  }

  /** Forgets one 4 KiB page, global or not, at every MMU index. */
  flushPage(linear: number): void {
    this.#counts[FLUSH_COUNT]!++;
    const row = (linear >>> PAGE_BITS) & this.#rowMask;
    const page = linear & PAGE_MASK;
    for (let mmuIndex = 0; mmuIndex < this.mmuIndexCount; mmuIndex++)
      this.#dropIfAt(mmuIndex * this.rowCount + row, page, 0);
  }

  /** Forgets the pages of a range of linear addresses: a large page, say. */
  flushRange(linear: number, sizeBytes: number): void {
    this.#counts[FLUSH_COUNT]!++;
    const page = linear & PAGE_MASK;
    const lastBytes = (linear & PAGE_OFFSET_MASK) + sizeBytes - 1;
    const logCount = this.#counts[LOG_COUNT]!;
    for (let index = 0; index < logCount; index++)
      this.#dropIfAt(this.#log[index]!, page, lastBytes);
  }

  /** The rows that hold something, by table and row. */
  *entries(): Generator<TLBEntry> {
    const rows = this.#log.slice(0, this.#counts[LOG_COUNT]).sort();
    for (const row of rows) {
      const word = row * ROW_WORDS;
      const readTag = this.words[word]!;
      const writeTag = this.words[word + 1]!;
      if ((readTag & writeTag & TLB_INVALID) !== 0) continue;
      yield {
        mmuIndex: Math.floor(row / this.rowCount),
        linear: (readTag & PAGE_MASK) >>> 0,
        gpa: pageAddress(this.words[word + 3]! >>> 0),
        readFlags: readTag & PAGE_OFFSET_MASK,
        writeFlags: writeTag & PAGE_OFFSET_MASK,
        isGlobal: (this.#rowStates[row]! & ROW_IS_GLOBAL) !== 0,
      };
    }
  }

  /** @internal */
  begin(): void {
    this.#isMapChanged = false;
  }

  /** @internal */
  regionAdd(): void {
    this.#isMapChanged = true;
  }

  /** @internal */
  regionDel(): void {
    this.#isMapChanged = true;
  }

  /** @internal */
  commit(): void {
    if (this.#isMapChanged) this.flushAll();
  }

  #empty(row: number): void {
    const words = this.words;
    const word = row * ROW_WORDS;
    words[word] = TLB_INVALID;
    words[word + 1] = TLB_INVALID;
    this.#rowStates[row] = 0;
  }

  /** Makes a row miss if its page begins within `lastBytes` from `page` on; it stays in the log. */
  #dropIfAt(row: number, page: number, lastBytes: number): void {
    const words = this.words;
    const word = row * ROW_WORDS;
    const distance = ((words[word]! & PAGE_MASK) - page) >>> 0;
    if (distance > lastBytes) return;
    words[word] = words[word]! | TLB_INVALID;
    words[word + 1] = words[word + 1]! | TLB_INVALID;
  }
}
