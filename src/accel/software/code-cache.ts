// Decoded pages: for each RAM page and mode a run of records in the machine's memory. A page's
// records stay until the page's slot is wanted for another (one not looked up for a while goes);
// single records go when their line is stored to.

import { PAGE_SIZE } from '../../base/pages.ts';
import type { DecodedInstruction, Decoder } from '../../cpu/decoder.ts';
import { DECODE_OK, DECODE_SHORT, DECODE_TOO_LONG } from '../../cpu/decoder.ts';
import {
  DS,
  ES,
  MODE_CODE32,
  MODE_FLAT,
  MODE_STACK32,
  SS,
  ZERO_REGISTER,
} from '../../cpu/state-layout.ts';
import { CODE_LINE_BYTES, type CodePages, lineMask } from '../../memory/code-pages.ts';
import { CROSSINGS_BYTES, Crossings } from './crossings.ts';
import { variantIndex } from './interpreter-module.ts';
import {
  HANDLER_CROSS,
  HANDLER_LEAVE,
  HANDLER_TOO_LONG,
  HANDLER_UNDEFINED,
  IMMEDIATE_RELOADS,
  KIND_FAR_BRANCH,
  KIND_FLAT,
  KIND_FLAT_INDEX,
  KIND_PAGE_BRANCH,
  KIND_REGISTER,
  KIND_SEGMENTED,
  KIND_SEGMENTED16,
  PAGE_RECORDS_BYTES,
  RECORD_BYTES,
  RECORD_SHIFT,
  SLOT_BYTES,
  SLOT_CODE_BYTES,
  SLOT_HAS_CROSSINGS,
  SLOT_IS_USED,
  SLOT_PAGE,
  SLOT_SHARED_BYTES,
} from './record.ts';

/** Mode bits that decodings depend on, and how many combinations there are. */
const MODE_MASK = MODE_CODE32 | MODE_STACK32 | MODE_FLAT;
const MODE_COUNT = 8;
/** How many instructions are decoded at once. */
const DECODE_AHEAD = 24;
const INSTRUCTION_BYTES_MAX = 15;
const SEGMENT_FIELD_SHIFT = 5;
const LINES_PER_PAGE = PAGE_SIZE / CODE_LINE_BYTES;
/** Words of the records of one line. */
const LINE_WORDS = (CODE_LINE_BYTES * RECORD_BYTES) >>> 2;

/** Slots of decoded pages; each takes SLOT_BYTES of the reserved area. */
export const SLOT_COUNT = 6000;
const SLOTS_BYTES = SLOT_COUNT * SLOT_BYTES;
export const CODE_CACHE_BYTES = SLOTS_BYTES + CROSSINGS_BYTES;
/** In the note of a RAM page, beside the mode: there is a slot, and only this one. */
const NOTE_IS_SLOT = 8;

/** What a row needs at decode time, in flat arrays: see `RowTraits`. */
interface RowTraits {
  readonly isBranch: boolean;
  readonly usesAddressSize: boolean;
  readonly isString: boolean;
  readonly endsBlock: boolean;
  readonly hasNoIndex: boolean;
  /** Ends in one immediate, of the operand size. */
  readonly endsInImmediate: boolean;
}

const traitsByDecoder = new WeakMap<Decoder, readonly RowTraits[]>();

/** The same for every machine. */
function traitsOf(decoder: Decoder): readonly RowTraits[] {
  let traits = traitsByDecoder.get(decoder);
  if (traits !== undefined) return traits;
  traits = decoder.map.rows.map(({ kinds, row, hasModRM, isBranch }) => ({
    isBranch,
    // With a ModRM byte the memory forms say it, and the register form has no address.
    usesAddressSize: row.options.usesAddressSize === true && !hasModRM,
    isString: kinds.some(({ place }) => place === 'X' || place === 'Y'),
    endsBlock: row.options.endsBlock === true,
    hasNoIndex: kinds.some(({ place }) => place === 'O'),
    endsInImmediate:
      kinds.filter(({ place }) => 'IJAO'.includes(place)).length === 1 &&
      kinds.some(({ place, size }) => place === 'I' && size === 0),
  }));
  traitsByDecoder.set(decoder, traits);
  return traits;
}

export class CodeCache {
  readonly #decoder: Decoder;
  readonly #handlers: Uint16Array;
  readonly #traits: readonly RowTraits[];
  readonly #u8: Uint8Array;
  readonly #u16: Uint16Array;
  readonly #u32: Uint32Array;
  readonly #ramBase: number;
  readonly #base: number;
  readonly #codePages: CodePages;
  readonly #crossings: Crossings;
  /** Slot by RAM page × MODE_COUNT + mode. */
  readonly #slotOf = new Map<number, number>();
  /** The same key by slot, or -1. */
  readonly #keyOf = new Int32Array(SLOT_COUNT).fill(-1);
  /** By slot: which 128-byte lines have records, so that only those need be wiped. */
  readonly #lines = new Uint32Array(SLOT_COUNT);
  #hand = 0;
  #freeSlot = 0;
  /** Called before a slot's records change hands: look-ups of them must be forgotten. */
  onEvict: () => void = () => {};
  /** Called before a slot's records are wiped as a whole. */
  onSlotWiped: (slot: number) => void = () => {};
  /** For `info jit` and benchmarks. */
  readonly counters = { decoded: 0, invalidated: 0, evicted: 0 };

  constructor(options: {
    readonly decoder: Decoder;
    readonly handlers: Uint16Array;
    readonly buffer: ArrayBufferLike;
    readonly ramBase: number;
    readonly reservedOffset: number;
    readonly codePages: CodePages;
  }) {
    this.#decoder = options.decoder;
    this.#handlers = options.handlers;
    this.#u8 = new Uint8Array(options.buffer);
    this.#u16 = new Uint16Array(options.buffer);
    this.#u32 = new Uint32Array(options.buffer);
    this.#ramBase = options.ramBase;
    this.#base = options.reservedOffset;
    this.#codePages = options.codePages;
    this.#crossings = new Crossings(options.buffer, options.reservedOffset + SLOTS_BYTES);
    this.#traits = traitsOf(options.decoder);
    options.codePages.onInvalidate((ramOffset, sizeBytes) =>
      this.#invalidate(ramOffset, sizeBytes),
    );
  }

  /** Byte address of the records of a RAM page in a mode; a slot is made if there is none. */
  recordsOf(ramPage: number, mode: number): number {
    const key = ramPage * MODE_COUNT + (mode & MODE_MASK);
    let slot = this.#slotOf.get(key);
    if (slot === undefined) {
      slot = this.#takeSlot();
      this.#slotOf.set(key, slot);
      this.#keyOf[slot] = key;
      this.#u32[(this.recordsOfSlot(slot) + SLOT_PAGE) >>> 2] = this.#ramBase + ramPage * PAGE_SIZE;
      this.#note(ramPage);
    }
    const records = this.#base + slot * SLOT_BYTES;
    this.#u8[records + SLOT_IS_USED] = 1;
    return records;
  }

  /** Number of the slot whose records begin at `records`, or -1. */
  slotOf(records: number): number {
    const slot = (records - this.#base) / SLOT_BYTES;
    return Number.isInteger(slot) && slot >= 0 && slot < SLOT_COUNT ? slot : -1;
  }

  recordsOfSlot(slot: number): number {
    return this.#base + slot * SLOT_BYTES;
  }

  /** Brings a page's note up to date: generated code finds the only slot there. */
  #note(ramPage: number): void {
    const slots = this.slotsOf(ramPage);
    const [slot] = slots;
    const mode = slots.length === 1 ? this.#keyOf[slot!]! & (MODE_COUNT - 1) : 0;
    const isOnly = slots.length === 1;
    this.#codePages.notes[ramPage] = isOnly ? this.recordsOfSlot(slot!) | NOTE_IS_SLOT | mode : 0;
  }

  /** Slots that hold decodings of a RAM page, one for each mode. */
  slotsOf(ramPage: number): number[] {
    const slots: number[] = [];
    for (let mode = 0; mode < MODE_COUNT; mode++) {
      const slot = this.#slotOf.get(ramPage * MODE_COUNT + mode);
      if (slot !== undefined) slots.push(slot);
    }
    return slots;
  }

  /** Fills the record at `record`, and those of the instructions that follow it. */
  decodeAt(record: number): void {
    const slot = Math.floor((record - this.#base) / SLOT_BYTES);
    const start = this.#base + slot * SLOT_BYTES;
    const key = this.#keyOf[slot]!;
    const ramOffset = Math.floor(key / MODE_COUNT) * PAGE_SIZE;
    const mode = key & (MODE_COUNT - 1);
    const page = this.#ramBase + ramOffset;
    const first = (record - start) >>> RECORD_SHIFT;
    let offset = first;
    for (let count = 0; count < DECODE_AHEAD && offset < PAGE_SIZE; count++) {
      const at = start + offset * RECORD_BYTES;
      if (count > 0 && this.#u16[at >>> 1] !== 0) break;
      const status = this.#decoder.decode(
        this.#u8,
        page + offset,
        page + PAGE_SIZE,
        (mode & MODE_CODE32) !== 0,
      );
      this.counters.decoded++;
      if (status !== DECODE_OK) {
        this.#writeFailure(at, status);
        // The decision rests on all bytes up to the page's end, or to the longest instruction's.
        offset = Math.min(offset + INSTRUCTION_BYTES_MAX, PAGE_SIZE);
        break;
      }
      const { instruction } = this.#decoder;
      this.#writeRecord(at, mode, offset, instruction);
      offset += instruction.lengthBytes;
      if (this.#traits[instruction.rowIndex]!.endsBlock) break;
    }
    this.#markCode(slot, ramOffset, first, offset);
  }

  /**
   * Decodes one instruction from bytes outside any page into `record`, with the
   * next record leaving.
   * @returns DECODE_OK, DECODE_SHORT if `size` bytes are not enough, or why it faults
   */
  decodeIsolated(bytes: Uint8Array, size: number, mode: number, record: number): number {
    const status = this.#decoder.decode(bytes, 0, size, (mode & MODE_CODE32) !== 0);
    this.counters.decoded++;
    if (status === DECODE_SHORT) return status;
    for (let next = 0; next <= INSTRUCTION_BYTES_MAX; next++) {
      this.#u16[(record + next * RECORD_BYTES) >>> 1] = HANDLER_LEAVE;
    }
    if (status !== DECODE_OK) this.#writeFailure(record, status);
    else this.#writeRecord(record, mode, -1, this.#decoder.instruction);
    return status;
  }

  /**
   * Decodes the instruction at an offset of a page that ends in the page behind it, into a record
   * outside any page. Its bytes in the second page count as code of that page from then on.
   * @param records of the first page
   * @param rest records of the second page
   * @returns false if that is no instruction
   */
  decodeAcross(records: number, offset: number, rest: number, record: number): boolean {
    const keys = [records, rest].map((start) => this.#keyOf[this.slotOf(start)]!);
    const [first, second] = keys.map((key) => Math.floor(key / MODE_COUNT) * PAGE_SIZE);
    const inFirst = PAGE_SIZE - offset;
    const inSecond = INSTRUCTION_BYTES_MAX - inFirst;
    const bytes = new Uint8Array(INSTRUCTION_BYTES_MAX);
    const from = this.#ramBase + first! + offset;
    bytes.set(this.#u8.subarray(from, from + inFirst));
    const to = this.#ramBase + second!;
    bytes.set(this.#u8.subarray(to, to + inSecond), inFirst);
    const mode = keys[0]! & (MODE_COUNT - 1);
    const status = this.decodeIsolated(bytes, bytes.length, mode, record);
    if (status !== DECODE_OK) return false;
    const size = (this.#u8[record + 2]! >>> RECORD_SHIFT) - inFirst;
    if (size <= 0) return false;
    this.#markCode(this.slotOf(rest), second!, 0, size);
    return true;
  }

  /** Forgets everything: after RAM was replaced from outside. */
  clear(): void {
    for (const [key, slot] of this.#slotOf) {
      this.#wipe(slot);
      this.#codePages.notes[Math.floor(key / MODE_COUNT)] = 0;
      this.#codePages.dropPage(Math.floor(key / MODE_COUNT) * PAGE_SIZE);
    }
    this.#slotOf.clear();
    this.#keyOf.fill(-1);
    this.#freeSlot = 0;
    this.onEvict();
  }

  #writeFailure(at: number, status: number): void {
    this.#u32.fill(0, at >>> 2, (at >>> 2) + 4);
    this.#u16[at >>> 1] =
      status === DECODE_SHORT
        ? HANDLER_CROSS
        : status === DECODE_TOO_LONG
          ? HANDLER_TOO_LONG
          : HANDLER_UNDEFINED;
  }

  /** @param offset within the page, or -1 for an isolated instruction */
  #writeRecord(at: number, mode: number, offset: number, from: DecodedInstruction): void {
    const traits = this.#traits[from.rowIndex]!;
    let { immediate } = from;
    let kind: number;
    if (traits.isBranch) {
      kind = KIND_FAR_BRANCH;
      const distance = from.lengthBytes + immediate;
      const target = offset + distance;
      const isPlain = from.operandSize === 4 && (mode & MODE_CODE32) !== 0 && offset >= 0;
      if (traits.usesAddressSize && from.addressSize === 2) kind = KIND_SEGMENTED16;
      else if (isPlain && target >= 0 && target < PAGE_SIZE) {
        kind = KIND_PAGE_BRANCH;
        immediate = distance * RECORD_BYTES;
      }
    } else {
      kind = this.#addressKind(from, traits, mode);
    }
    const isStackFlat = (mode & (MODE_FLAT | MODE_STACK32)) === (MODE_FLAT | MODE_STACK32);
    const variant = variantIndex(from.rowIndex, from.operandSize, kind, isStackFlat);
    this.#u16[at >>> 1] = this.#handlers[variant]!;
    this.#u8[at + 2] = from.lengthBytes * RECORD_BYTES;
    this.#u8[at + 3] = from.reg;
    this.#u8[at + 4] = from.base;
    this.#u8[at + 5] = from.index;
    const reloads = traits.endsInImmediate && from.operandSize === 4;
    this.#u8[at + 6] = from.scale | (reloads ? IMMEDIATE_RELOADS : 0);
    this.#u8[at + 7] = from.segment << SEGMENT_FIELD_SHIFT;
    this.#u32[(at + 8) >>> 2] = from.displacement;
    this.#u32[(at + 12) >>> 2] = immediate;
  }

  #addressKind(from: DecodedInstruction, traits: RowTraits, mode: number): number {
    if (!from.isMemory) {
      return traits.usesAddressSize && from.addressSize === 2 ? KIND_SEGMENTED16 : KIND_REGISTER;
    }
    if (from.addressSize === 2) return KIND_SEGMENTED16;
    const { segment } = from;
    const isFlat = (mode & MODE_FLAT) !== 0 && (segment === DS || segment === SS || segment === ES);
    if (!isFlat) return KIND_SEGMENTED;
    if (traits.isString || traits.hasNoIndex) return KIND_FLAT;
    return from.hasIndex && from.index !== ZERO_REGISTER ? KIND_FLAT_INDEX : KIND_FLAT;
  }

  #takeSlot(): number {
    if (this.#freeSlot < SLOT_COUNT) {
      const slot = this.#freeSlot++;
      this.#writeLeave(slot);
      return slot;
    }
    for (;;) {
      const isUsed = this.recordsOfSlot(this.#hand) + SLOT_IS_USED;
      if (this.#u8[isUsed] === 0) break;
      this.#u8[isUsed] = 0;
      this.#hand = (this.#hand + 1) % SLOT_COUNT;
    }
    const oldest = this.#hand;
    this.#hand = (this.#hand + 1) % SLOT_COUNT;
    const key = this.#keyOf[oldest]!;
    this.#slotOf.delete(key);
    this.#note(Math.floor(key / MODE_COUNT));
    this.#wipe(oldest);
    this.#writeLeave(oldest);
    this.counters.evicted++;
    this.onEvict();
    if (!this.#hasAnyMode(Math.floor(key / MODE_COUNT))) {
      this.#codePages.dropPage(Math.floor(key / MODE_COUNT) * PAGE_SIZE);
    }
    return oldest;
  }

  #hasAnyMode(ramPage: number): boolean {
    for (let mode = 0; mode < MODE_COUNT; mode++) {
      if (this.#slotOf.has(ramPage * MODE_COUNT + mode)) return true;
    }
    return false;
  }

  #wipe(slot: number): void {
    this.onSlotWiped(slot);
    this.#dropCrossings(slot);
    const start = this.recordsOfSlot(slot) >>> 2;
    const lines = this.#lines[slot]!;
    for (let line = 0; line < LINES_PER_PAGE; line++) {
      if ((lines & (1 << line)) === 0) continue;
      this.#u32.fill(0, start + line * LINE_WORDS, start + (line + 1) * LINE_WORDS);
    }
    const bits = this.recordsOfSlot(slot) + SLOT_CODE_BYTES;
    this.#u8.fill(0, bits, bits + PAGE_SIZE / 8);
    this.setUnitRanges(slot, []);
    this.#lines[slot] = 0;
  }

  /**
   * Says on which bytes [start, end) of a slot's page units depend: a store to one comes to
   * TypeScript, and the translator hears of it from CodePages.
   */
  setUnitRanges(slot: number, ranges: readonly (readonly [number, number])[]): void {
    const records = this.recordsOfSlot(slot);
    const bits = records + SLOT_SHARED_BYTES;
    this.#u8.fill(0, bits, bits + PAGE_SIZE / 8);
    for (const [start, end] of ranges) this.#setBits(bits, start, end);
    if (this.#u8[records + SLOT_HAS_CROSSINGS] !== 0) this.#setBits(bits, 0, INSTRUCTION_BYTES_MAX);
  }

  /**
   * Keeps the instruction in ISOLATED_RECORDS, which begins at the record `owner` and has its last
   * `sizeBytes` at the start of a RAM page.
   */
  keepCrossing(owner: number, ramPage: number, mode: number, sizeBytes: number): void {
    const rest = this.recordsOf(ramPage, mode);
    // To make room for the second page the first may have gone.
    if (this.#u16[owner >>> 1] !== HANDLER_CROSS) return;
    this.#crossings.keep(owner, rest);
    this.#u8[rest + SLOT_HAS_CROSSINGS] = 1;
    this.#setBits(rest + SLOT_SHARED_BYTES, 0, INSTRUCTION_BYTES_MAX);
    this.#markCode(this.slotOf(rest), ramPage * PAGE_SIZE, 0, sizeBytes);
  }

  /** Forgets the instructions that end in a slot's page. */
  #dropCrossings(slot: number): void {
    const rest = this.recordsOfSlot(slot);
    if (this.#u8[rest + SLOT_HAS_CROSSINGS] === 0) return;
    this.#crossings.dropInto(rest);
    // Its shared bytes stay so until units come or go: a store there is slower, and no more.
    this.#u8[rest + SLOT_HAS_CROSSINGS] = 0;
  }

  /** Says that the bytes [from, to) of a slot's page, which begins at `ramOffset`, are code. */
  #markCode(slot: number, ramOffset: number, from: number, to: number): void {
    this.#lines[slot] = this.#lines[slot]! | lineMask(from, to - from);
    this.#codePages.addLines(ramOffset + from, to - from);
    this.#setBits(this.recordsOfSlot(slot) + SLOT_CODE_BYTES, from, to);
  }

  /** Sets the bits [from, to) of a bitmap. */
  #setBits(bits: number, from: number, to: number): void {
    for (let offset = from; offset < to; offset++) {
      const at = bits + (offset >>> 3);
      if ((offset & 7) === 0 && offset + 8 <= to) {
        this.#u8[at] = 0xff;
        offset += 7;
      } else this.#u8[at] = this.#u8[at]! | (1 << (offset & 7));
    }
  }

  /** Whether one of the bytes [from, to) was decoded; if so, forgets that. */
  #takeCodeBits(slot: number, from: number, to: number): boolean {
    const bits = this.recordsOfSlot(slot) + SLOT_CODE_BYTES;
    let found = 0;
    for (let offset = from; offset < to; offset++) {
      const at = bits + (offset >>> 3);
      const mask = (offset & 7) === 0 && offset + 8 <= to ? 0xff : 1 << (offset & 7);
      found |= this.#u8[at]! & mask;
      this.#u8[at] = this.#u8[at]! & ~mask;
      if (mask === 0xff) offset += 7;
    }
    return found !== 0;
  }

  /** The lines on which a slot has code. */
  #linesWithCode(slot: number): number {
    const bits = (this.recordsOfSlot(slot) + SLOT_CODE_BYTES) >>> 2;
    let lines = 0;
    for (let line = 0; line < LINES_PER_PAGE; line++) {
      const at = bits + line * 4;
      const isCode = this.#u32[at]! | this.#u32[at + 1]! | this.#u32[at + 2]! | this.#u32[at + 3]!;
      if (isCode !== 0) lines |= 1 << line;
    }
    return lines;
  }

  #writeLeave(slot: number): void {
    const at = this.recordsOfSlot(slot) + PAGE_RECORDS_BYTES - RECORD_BYTES;
    this.#u16[at >>> 1] = HANDLER_LEAVE;
  }

  /**
   * Drops the records of instructions that touch the range, in every mode of its page.
   * @returns the page's lines that have code still
   */
  #invalidate(ramOffset: number, sizeBytes: number): number {
    const ramPage = Math.floor(ramOffset / PAGE_SIZE);
    const from = ramOffset - ramPage * PAGE_SIZE;
    let lines = 0;
    for (const slot of this.slotsOf(ramPage)) {
      if (this.#takeCodeBits(slot, from, from + sizeBytes))
        this.#dropRecords(slot, from, from + sizeBytes);
      if (from < INSTRUCTION_BYTES_MAX) this.#dropCrossings(slot);
      lines |= this.#linesWithCode(slot);
    }
    return lines;
  }

  #dropRecords(slot: number, from: number, to: number): void {
    const start = this.recordsOfSlot(slot);
    // An instruction that began before the range may reach into it; one that could not be decoded
    // has no length, and depends on what follows it.
    for (let offset = Math.max(0, from - INSTRUCTION_BYTES_MAX + 1); offset < from; offset++) {
      const at = start + offset * RECORD_BYTES;
      const length = this.#u8[at + 2]! >>> RECORD_SHIFT;
      if (this.#u16[at >>> 1] !== 0 && (length === 0 || offset + length > from)) {
        this.#u32.fill(0, at >>> 2, (at >>> 2) + 4);
      }
    }
    const first = (start + from * RECORD_BYTES) >>> 2;
    this.#u32.fill(0, first, first + (((to - from) * RECORD_BYTES) >>> 2));
    this.counters.invalidated++;
  }
}
