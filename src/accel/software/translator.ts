// Finds hot code by sampling, translates it, and takes translations back when their code is stored
// to. A unit is entered through its entries' records: their handler is then a stub of the unit.

import type { CPUState } from '../../cpu/state.ts';
import { PAGE_EIP, PAGE_RECORDS } from '../../cpu/state-layout.ts';
import type { CodePages } from '../../memory/code-pages.ts';
import type { CodeCache } from './code-cache.ts';
import type { HandlerLayout, HandlerMeaning } from './interpreter-module.ts';
import { RECORD_BYTES, RECORD_SHIFT } from './record.ts';
import { buildUnit, mustDefer } from './unit-module.ts';
import { findRegion, type PageReader, type UnitInstruction } from './unit-region.ts';

const PAGE_BYTES = 4096;
/** Entries of all units together. */
export const UNIT_ENTRIES_MAX = 40_000;
/** Samples in a page before code of it is translated. */
const HEAT_MIN = 24;
/** A page whose units were taken back this often stays with the interpreter. */
const REWRITES_MAX = 16;

interface Unit {
  readonly slot: number;
  /** Table indexes of its stubs, and the offsets where they stand. */
  readonly stubs: readonly number[];
  readonly entries: readonly number[];
  /** Offsets [start, end) of its instructions. */
  readonly ranges: readonly (readonly [number, number])[];
}

interface PageHeat {
  samples: number;
  rewrites: number;
  readonly units: Set<Unit>;
  /** 1 for each offset at which an instruction of a unit starts. */
  readonly covered: Uint8Array;
}

export class Translator {
  readonly counters = { units: 0, instructions: 0, dropped: 0, failed: 0, compileMs: 0 };
  readonly #state: CPUState;
  readonly #cache: CodeCache;
  readonly #interpreter: HandlerLayout;
  readonly #table: WebAssembly.Table;
  readonly #imports: object;
  readonly #u8: Uint8Array;
  readonly #u16: Uint16Array;
  readonly #u32: Uint32Array;
  readonly #pages = new Map<number, PageHeat>();
  readonly #freeStubs: number[] = [];
  /** The handler that each stub stands for, by table index. */
  readonly #originals = new Map<number, number>();
  /** By handler: whether instructions with it are left to the interpreter. */
  readonly #deferred = new Map<number, boolean>();

  constructor(options: {
    readonly state: CPUState;
    readonly buffer: ArrayBufferLike;
    readonly cache: CodeCache;
    readonly codePages: CodePages;
    readonly interpreter: HandlerLayout;
    readonly table: WebAssembly.Table;
    /** What units import: env and engine. */
    readonly imports: object;
  }) {
    this.#state = options.state;
    this.#cache = options.cache;
    this.#interpreter = options.interpreter;
    this.#table = options.table;
    this.#imports = options.imports;
    this.#u8 = new Uint8Array(options.buffer);
    this.#u16 = new Uint16Array(options.buffer);
    this.#u32 = new Uint32Array(options.buffer);
    for (let index = options.table.length - 1; index >= options.interpreter.handlerCount; index--) {
      this.#freeStubs.push(index);
    }
    options.codePages.onInvalidate((ramOffset, sizeBytes) =>
      this.#invalidate(ramOffset, sizeBytes),
    );
    options.cache.onSlotWiped = (slot) => this.#forget(slot);
  }

  /** Called by the run loop when a slice ended by itself: the code at EIP counts as hot. */
  sample(): void {
    const { u32 } = this.#state;
    const records = u32[PAGE_RECORDS >> 2]!;
    const offset = (this.#state.eip - u32[PAGE_EIP >> 2]!) >>> 0;
    const slot = this.#cache.slotOf(records);
    if (slot < 0 || offset >= PAGE_BYTES) return;
    const page = this.#page(slot);
    if (page.covered[offset] !== 0 || page.rewrites > REWRITES_MAX) return;
    if (++page.samples < HEAT_MIN) return;
    this.#translate(slot, page, records, offset);
  }

  /** Translates the code at an offset of the page of records at once, however cold: for tests. */
  translateAt(records: number, offset: number): void {
    const slot = this.#cache.slotOf(records);
    if (slot < 0) return;
    const page = this.#page(slot);
    if (page.covered[offset] === 0) this.#translate(slot, page, records, offset);
  }

  /** Takes every unit back. */
  clear(): void {
    for (const slot of [...this.#pages.keys()]) this.#forget(slot);
  }

  #page(slot: number): PageHeat {
    let page = this.#pages.get(slot);
    if (!page) {
      page = { samples: 0, rewrites: 0, units: new Set(), covered: new Uint8Array(PAGE_BYTES) };
      this.#pages.set(slot, page);
    }
    return page;
  }

  #translate(slot: number, page: PageHeat, records: number, sampled: number): void {
    const reader: PageReader = {
      instructionAt: (offset) => this.#instructionAt(records, offset),
      isDeferred: (instruction) => this.#isDeferred(instruction),
    };
    const region = findRegion(reader, sampled);
    if (region.blocks.length === 0 || this.#freeStubs.length < region.blocks.length) return;
    let exports: Readonly<Record<string, unknown>>;
    const startMs = Date.now();
    try {
      const module = new WebAssembly.Module(buildUnit(region));
      exports = new WebAssembly.Instance(module, this.#imports).exports;
    } catch {
      // Never the guest's business: what cannot be translated is interpreted.
      this.counters.failed++;
      page.rewrites = REWRITES_MAX + 1;
      return;
    }
    this.counters.compileMs += Date.now() - startMs;
    const stubs: number[] = [];
    const entries = region.blocks.map(({ start }) => start);
    for (const [index, entry] of entries.entries()) {
      const stub = this.#freeStubs.pop()!;
      const at = (records + entry * RECORD_BYTES) >>> 1;
      const handler = this.#u16[at]!;
      this.#originals.set(stub, this.#originals.get(handler) ?? handler);
      this.#table.set(stub, exports[`e${index}`]);
      this.#u16[at] = stub;
      stubs.push(stub);
    }
    const ranges: [number, number][] = [];
    for (const { instructions } of region.blocks) {
      const last = instructions.at(-1)!;
      ranges.push([instructions[0]!.offset, last.next]);
      for (const { offset } of instructions) page.covered[offset] = 1;
      this.counters.instructions += instructions.length;
    }
    page.units.add({ slot, stubs, entries, ranges });
    this.counters.units++;
  }

  #instructionAt(records: number, offset: number): UnitInstruction | undefined {
    const at = records + offset * RECORD_BYTES;
    if (this.#u16[at >>> 1] === 0) this.#cache.decodeAt(at);
    const found = this.#u16[at >>> 1]!;
    const handler = this.#originals.get(found) ?? found;
    const meaning: HandlerMeaning | undefined = this.#interpreter.meanings[handler];
    if (!meaning) return undefined;
    return {
      offset,
      next: offset + (this.#u8[at + 2]! >>> RECORD_SHIFT),
      handler,
      meaning,
      reg: this.#u8[at + 3]!,
      base: this.#u8[at + 4]!,
      index: this.#u8[at + 5]!,
      scale: this.#u8[at + 6]!,
      segment: this.#u8[at + 7]!,
      displacement: this.#u32[(at + 8) >>> 2]! | 0,
      immediate: this.#u32[(at + 12) >>> 2]! | 0,
    };
  }

  #isDeferred(instruction: UnitInstruction): boolean {
    let known = this.#deferred.get(instruction.handler);
    if (known === undefined) {
      known = mustDefer(instruction);
      this.#deferred.set(instruction.handler, known);
    }
    return known;
  }

  #invalidate(ramOffset: number, sizeBytes: number): void {
    for (let at = ramOffset; at < ramOffset + sizeBytes; ) {
      const pageStart = at - (at % PAGE_BYTES);
      const from = at - pageStart;
      const to = Math.min(PAGE_BYTES, ramOffset + sizeBytes - pageStart);
      for (const slot of this.#cache.slotsOf(pageStart / PAGE_BYTES)) {
        const page = this.#pages.get(slot);
        if (!page) continue;
        for (const unit of page.units) {
          if (!unit.ranges.some(([start, end]) => start < to && end > from)) continue;
          this.#drop(page, unit);
          page.rewrites++;
        }
      }
      at = pageStart + PAGE_BYTES;
    }
  }

  #drop(page: PageHeat, unit: Unit): void {
    const records = this.#cache.recordsOfSlot(unit.slot);
    for (const [index, stub] of unit.stubs.entries()) {
      const at = (records + unit.entries[index]! * RECORD_BYTES) >>> 1;
      if (this.#u16[at] === stub) this.#u16[at] = this.#originals.get(stub)!;
      this.#originals.delete(stub);
      this.#table.set(stub, null);
      this.#freeStubs.push(stub);
    }
    for (const [start, end] of unit.ranges) page.covered.fill(0, start, end);
    page.units.delete(unit);
    this.counters.dropped++;
    // It may be the one that is running: it must not start another instruction.
    this.#state.requestEvent();
  }

  /** A slot's records went, and with them its entries. */
  #forget(slot: number): void {
    const page = this.#pages.get(slot);
    if (!page) return;
    for (const unit of page.units) this.#drop(page, unit);
    this.#pages.delete(slot);
  }
}
