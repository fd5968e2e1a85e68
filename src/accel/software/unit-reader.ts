// Reads decoded records of the pages around a hot one as instructions of a unit. Only pages that
// code ran in lately, at the linear addresses that it ran at; only code that is decoded already.

import { PAGE_SIZE } from '../../base/pages.ts';
import type { CPUState } from '../../cpu/state.ts';
import { CS, MODE, SEG_BASE, SEGMENT, SEGMENT_BYTES } from '../../cpu/state-layout.ts';
import type { CodeCache } from './code-cache.ts';
import type { HandlerLayout, HandlerMeaning } from './interpreter-module.ts';
import {
  CODE_ROW_BYTES,
  CODE_ROW_COUNT,
  CODE_ROWS,
  HANDLER_CROSS,
  ISOLATED_RECORDS,
  RECORD_BYTES,
  RECORD_SCALE,
  RECORD_SHIFT,
  RELOADS_OFTEN,
  SCALE_MASK,
} from './record.ts';
import type { UnitEntries } from './unit-entries.ts';
import { type CodeReader, pageOf, type UnitInstruction } from './unit-region.ts';

const PAGE_MASK = PAGE_SIZE - 1;

/** What all readers of a machine share. */
export interface ReaderParts {
  readonly state: CPUState;
  readonly buffer: Uint8Array;
  readonly cache: CodeCache;
  readonly interpreter: HandlerLayout;
  readonly entries: UnitEntries;
  isDeferred(instruction: UnitInstruction): boolean;
  /** Whether other units end at an offset of a slot as one is entered there, or will be. */
  isTaken(slot: number, offset: number): boolean;
  /** Whether code of a slot may be part of units. */
  isUsable(slot: number): boolean;
}

/** First record of the page at a linear address; 0 if no code of units ran there lately. */
export function recordsAt({ state, cache, isUsable }: ReaderParts, linear: number): number {
  const row = CODE_ROWS + ((linear >>> 12) & (CODE_ROW_COUNT - 1)) * CODE_ROW_BYTES;
  if (state.get32(row) !== (linear | state.get32(MODE)) >>> 0) return 0;
  const records = state.get32(row + 4);
  const slot = cache.slotOf(records);
  return slot >= 0 && isUsable(slot) ? records : 0;
}

export class UnitReader implements CodeReader {
  readonly #parts: ReaderParts;
  readonly #u16: Uint16Array;
  readonly #u32: Uint32Array;
  /** Linear address of the root page. */
  readonly #linear: number;
  /** First record by page, 0 for pages that are not at hand. */
  readonly #records = new Map<number, number>();
  readonly #decodes: boolean;

  /**
   * @param pageEip EIP of the first byte of the root page
   * @param decodes whether what is not decoded yet is, for tests; else only what is behind it
   */
  constructor(parts: ReaderParts, pageEip: number, records: number, decodes: boolean) {
    this.#parts = parts;
    const { buffer, byteOffset, byteLength } = parts.buffer;
    this.#u16 = new Uint16Array(buffer, byteOffset, byteLength >>> 1);
    this.#u32 = new Uint32Array(buffer, byteOffset, byteLength >>> 2);
    const codeBase = parts.state.get32(SEGMENT + CS * SEGMENT_BYTES + SEG_BASE);
    this.#linear = (pageEip + codeBase) >>> 0;
    this.#records.set(0, records);
    this.#decodes = decodes;
  }

  isDeferred(instruction: UnitInstruction): boolean {
    return this.#parts.isDeferred(instruction);
  }

  recordsOf(page: number): number {
    let records = this.#records.get(page);
    if (records === undefined) {
      records = this.#find(page);
      this.#records.set(page, records);
    }
    return records;
  }

  #find(page: number): number {
    return recordsAt(this.#parts, (this.#linear + page * PAGE_SIZE) >>> 0);
  }

  isTaken(offset: number): boolean {
    const records = this.recordsOf(pageOf(offset));
    if (records === 0) return false;
    return this.#parts.isTaken(this.#parts.cache.slotOf(records), offset & PAGE_MASK);
  }

  instructionAt(offset: number): UnitInstruction | undefined {
    const records = this.recordsOf(pageOf(offset));
    if (records === 0) return undefined;
    const record = records + (offset & PAGE_MASK) * RECORD_BYTES;
    if (this.#u16[record >>> 1] === 0) {
      if (!this.#decodes) return undefined;
      this.#parts.cache.decodeAt(record);
    }
    const handler = this.#parts.entries.handlerOf(this.#u16[record >>> 1]!);
    if (handler === HANDLER_CROSS) return this.#crossingAt(offset, records);
    return this.#fieldsAt(record, offset, handler);
  }

  /** An instruction that ends in the next page. */
  #crossingAt(offset: number, records: number): UnitInstruction | undefined {
    const { cache } = this.#parts;
    const rest = this.recordsOf(pageOf(offset) + 1);
    // The scratch record is nobody's between two runs of code.
    if (rest === 0 || !cache.decodeAcross(records, offset & PAGE_MASK, rest, ISOLATED_RECORDS)) {
      return undefined;
    }
    const handler = this.#u16[ISOLATED_RECORDS >>> 1]!;
    return this.#fieldsAt(ISOLATED_RECORDS, offset, handler);
  }

  #fieldsAt(record: number, offset: number, handler: number): UnitInstruction | undefined {
    const meaning: HandlerMeaning | undefined = this.#parts.interpreter.meanings[handler];
    if (!meaning) return undefined;
    const { buffer } = this.#parts;
    // A unit would go with the next store to it, and be made again, and again.
    if ((buffer[record + RECORD_SCALE]! & RELOADS_OFTEN) === RELOADS_OFTEN) return undefined;
    return {
      offset,
      next: offset + (buffer[record + 2]! >>> RECORD_SHIFT),
      meaning,
      reg: buffer[record + 3]!,
      base: buffer[record + 4]!,
      index: buffer[record + 5]!,
      scale: buffer[record + 6]! & SCALE_MASK,
      segment: buffer[record + 7]!,
      displacement: this.#u32[(record + 8) >>> 2]! | 0,
      immediate: this.#u32[(record + 12) >>> 2]! | 0,
    };
  }
}
