// Finds hot code by sampling, translates it, and takes translations back when their code is stored
// to. Units are compiled in batches, on other threads where the host can, while the interpreter goes
// on; a unit whose code changed meanwhile is not installed.

import type { CPUState } from '../../cpu/state.ts';
import { PAGE_EIP, PAGE_RECORDS } from '../../cpu/state-layout.ts';
import type { CodePages } from '../../memory/code-pages.ts';
import type { CodeCache } from './code-cache.ts';
import type { HandlerLayout, HandlerMeaning } from './interpreter-module.ts';
import { RECORD_BYTES, RECORD_SHIFT } from './record.ts';
import type { UnitEntries } from './unit-entries.ts';
import { buildUnits, mustDefer } from './unit-module.ts';
import {
  type CodeReader,
  findRegion,
  type UnitInstruction,
  type UnitRegion,
} from './unit-region.ts';

const PAGE_BYTES = 4096;
/** Samples in a page before code of it is translated. */
const HEAT_MIN = 4;
/** A page whose units were taken back this often stays with the interpreter. */
const REWRITES_MAX = 16;
/** Units of one module, and instructions for which the first of them waits for others. */
const BATCH_MAX = 16;
const WAIT_INSTRUCTIONS = 160_000;

interface Unit {
  readonly slot: number;
  readonly region: UnitRegion;
  /** Table indexes of its entries, in the region's order; none before it is installed. */
  entries: readonly number[];
  /** Offsets [start, end) of its instructions. */
  readonly ranges: readonly (readonly [number, number])[];
  isDropped: boolean;
}

interface PageHeat {
  samples: number;
  rewrites: number;
  readonly units: Set<Unit>;
  /** 1 for each offset at which an instruction of a unit starts. */
  readonly covered: Uint8Array;
}

export class Translator {
  readonly counters = { units: 0, instructions: 0, dropped: 0, failed: 0, modules: 0 };
  readonly #state: CPUState;
  readonly #cache: CodeCache;
  readonly #interpreter: HandlerLayout;
  readonly #entries: UnitEntries;
  readonly #imports: object;
  readonly #u8: Uint8Array;
  readonly #u16: Uint16Array;
  readonly #u32: Uint32Array;
  readonly #pages = new Map<number, PageHeat>();
  /** Units that wait to be compiled, and instructions since the first of them came. */
  #queue: Unit[] = [];
  #waited = 0;
  /** By handler: whether instructions with it are left to the interpreter. */
  readonly #deferred = new Map<number, boolean>();

  constructor(options: {
    readonly state: CPUState;
    readonly buffer: ArrayBufferLike;
    readonly cache: CodeCache;
    readonly codePages: CodePages;
    readonly interpreter: HandlerLayout;
    readonly entries: UnitEntries;
    /** What units import: env and engine. */
    readonly imports: object;
  }) {
    this.#state = options.state;
    this.#cache = options.cache;
    this.#interpreter = options.interpreter;
    this.#entries = options.entries;
    this.#imports = options.imports;
    this.#u8 = new Uint8Array(options.buffer);
    this.#u16 = new Uint16Array(options.buffer);
    this.#u32 = new Uint32Array(options.buffer);
    options.codePages.onInvalidate((ramOffset, sizeBytes) =>
      this.#invalidate(ramOffset, sizeBytes),
    );
    options.cache.onSlotWiped = (slot) => this.#forget(slot);
  }

  /**
   * Called by the run loop when a slice ended by itself: the code at EIP counts as hot.
   * @param instructions how many ran since the last sample
   * @returns whether it is translated already, or about to be
   */
  sample(instructions: number): boolean {
    if (this.#queue.length > 0) this.#waited += instructions;
    if (this.#waited >= WAIT_INSTRUCTIONS) this.#compileSoon();
    const { u32 } = this.#state;
    const records = u32[PAGE_RECORDS >> 2]!;
    const offset = (this.#state.eip - u32[PAGE_EIP >> 2]!) >>> 0;
    const slot = this.#cache.slotOf(records);
    if (slot < 0 || offset >= PAGE_BYTES) return false;
    const page = this.#page(slot);
    if (page.covered[offset] !== 0) return true;
    if (page.rewrites > REWRITES_MAX || ++page.samples < HEAT_MIN) return false;
    if (this.#plan(slot, page, records, offset) && this.#queue.length >= BATCH_MAX) {
      this.#compileSoon();
    }
    return true;
  }

  /** Translates the code at an offset of the page of records at once, however cold: for tests. */
  translateAt(records: number, offset: number): void {
    const slot = this.#cache.slotOf(records);
    if (slot < 0) return;
    const page = this.#page(slot);
    if (page.covered[offset] !== 0 || !this.#plan(slot, page, records, offset)) return;
    const units = this.#takeQueue();
    this.#install(units, new WebAssembly.Module(this.#build(units)));
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

  /** Finds a unit for the code at `sampled` and queues it. */
  #plan(slot: number, page: PageHeat, records: number, sampled: number): boolean {
    const reader: CodeReader = {
      instructionAt: (offset) => this.#instructionAt(records, offset),
      isDeferred: (instruction) => this.#isDeferred(instruction),
    };
    const region = findRegion(reader, sampled);
    if (region.blocks.length === 0) return false;
    const ranges: [number, number][] = [];
    for (const { instructions } of region.blocks) {
      const last = instructions.at(-1)!;
      ranges.push([instructions[0]!.offset, last.next]);
      for (const { offset } of instructions) page.covered[offset] = 1;
    }
    const unit: Unit = { slot, region, entries: [], ranges, isDropped: false };
    page.units.add(unit);
    this.#queue.push(unit);
    return true;
  }

  #takeQueue(): Unit[] {
    const units = this.#queue.filter(({ isDropped }) => !isDropped);
    this.#queue = [];
    this.#waited = 0;
    return units;
  }

  #build(units: readonly Unit[]): Uint8Array {
    return buildUnits(
      units.map(({ region }) => region),
      this.#entries.numbersOffset,
    );
  }

  #compileSoon(): void {
    const units = this.#takeQueue();
    if (units.length === 0) return;
    // Never the guest's business: what cannot be translated is interpreted, and stays covered, so
    // that it is not tried again.
    const onFailure = (): void => {
      this.counters.failed += units.length;
    };
    try {
      WebAssembly.compile(this.#build(units))
        .then((module) => this.#install(units, module))
        .catch(onFailure);
    } catch {
      onFailure();
    }
  }

  #install(units: readonly Unit[], module: WebAssembly.Module): void {
    const { exports } = new WebAssembly.Instance(module, this.#imports);
    this.counters.modules++;
    for (const [index, unit] of units.entries()) {
      const { blocks, entries, structure } = unit.region;
      if (unit.isDropped || this.#entries.freeCount < entries.length) continue;
      const records = this.#cache.recordsOfSlot(unit.slot);
      unit.entries = entries.map((block) => {
        const record = records + blocks[block]!.start * RECORD_BYTES;
        const number = structure.enterNumbers.get(block)!;
        return this.#entries.add(record, number, exports[`u${index}`]);
      });
      this.counters.units++;
      for (const { instructions } of blocks) this.counters.instructions += instructions.length;
    }
  }

  #instructionAt(records: number, offset: number): UnitInstruction | undefined {
    if (offset < 0 || offset >= PAGE_BYTES) return undefined;
    const at = records + offset * RECORD_BYTES;
    if (this.#u16[at >>> 1] === 0) this.#cache.decodeAt(at);
    const handler = this.#entries.handlerOf(this.#u16[at >>> 1]!);
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
    const { blocks, entries } = unit.region;
    for (const [index, entry] of unit.entries.entries()) {
      const { start } = blocks[entries[index]!]!;
      this.#entries.remove(records + start * RECORD_BYTES, entry);
    }
    for (const [start, end] of unit.ranges) page.covered.fill(0, start, end);
    page.units.delete(unit);
    unit.isDropped = true;
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
