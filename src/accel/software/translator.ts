// Finds hot code by sampling, translates it, and takes translations back when their code is stored
// to. Units are compiled in small batches, at once or on other threads while the interpreter goes
// on; a unit whose code changed meanwhile is not installed.

import { PAGE_SIZE } from '../../base/pages.ts';
import type { CPUState } from '../../cpu/state.ts';
import { PAGE_EIP, PAGE_RECORDS } from '../../cpu/state-layout.ts';
import type { CodePages } from '../../memory/code-pages.ts';
import type { FunctionBuilder } from '../../wasm/index.ts';
import type { CodeCache } from './code-cache.ts';
import { coverageOf, findHotRegion } from './hot-region.ts';
import type { HandlerLayout, HandlerMeaning } from './interpreter-module.ts';
import { CODE_KEY, CODE_KEY_FLAT, RECORD_BYTES } from './record.ts';
import type { RecordedPath } from './recorded-path.ts';
import type { UnitEntries } from './unit-entries.ts';
import { FLAGS_ANY, type FlagForm } from './unit-flags.ts';
import { flagFormsOf, mustDefer, UnitModule } from './unit-module.ts';
import { type ReaderParts, recordsAt, UnitReader } from './unit-reader.ts';
import {
  findRegion,
  isTightLoop,
  pageOf,
  type UnitInstruction,
  type UnitPage,
  type UnitRegion,
} from './unit-region.ts';

/** Samples in a page before code of it is translated. */
const HEAT_MIN = 4;
/** A page whose units were taken back this often stays with the interpreter. */
const REWRITES_MAX = 16;
/**
 * Most units of one module. A module costs the host as much as a few units, and pages of its own
 * for its code.
 */
const BATCH_MAX = 64;
/** Units wait for others until so many instructions ran in all that wait. */
const WAIT_INSTRUCTIONS = 100_000;
/**
 * A path is recorded after so many samples in one unit without another between, and after so many
 * instructions in any but those of paths.
 */
const STREAK_MIN = 8;
const COLD_INSTRUCTIONS_MIN = 40_000_000;
/** How much of a path a unit must have, so that it stays in there: 0 to 1. */
const LOOP_COVERAGE_MIN = 0.9;
/** Most instructions of a unit that others have too, in place of going there. */
const SMALL_MAX = 48;
/** A unit that straddled pages so often is made anew with a look at the TLB for each access. */
const STRADDLES_MAX = 1000;

/** Where code is: in the records of a slot, whose page begins at an EIP. */
interface CodePlace {
  readonly slot: number;
  readonly pageEip: number;
  readonly offset: number;
}

/** What a unit has of one page. */
interface UnitPart {
  readonly slot: number;
  /** Offsets [start, end) in the page of bytes of its instructions. */
  readonly ranges: readonly (readonly [number, number])[];
}

/** A translated piece of code, or one that is being compiled. */
export interface Unit {
  /** Of its root. */
  readonly slot: number;
  readonly region: UnitRegion;
  readonly parts: readonly UnitPart[];
  /** In the function table. */
  readonly place: number;
  /** Its entries' records and table indexes; none before it is installed. */
  entries: readonly (readonly [record: number, entry: number])[];
  isDropped: boolean;
  /** Made of the recorded path of a loop. */
  readonly isHot: boolean;
  /** See UnitSource. */
  readonly keepsLocals: boolean;
  /** Relies on a flat CS. */
  readonly isFlat: boolean;
  /** See UnitSource. */
  readonly knowsPages: boolean;
  /** By block of the region. */
  readonly flagForms: readonly FlagForm[];
}

function instructionCount({ blocks }: UnitRegion): number {
  return blocks.reduce((sum, { instructions }) => sum + instructions.length, 0);
}

/** The record where a block of a region begins. */
function recordOf({ blocks, pages }: UnitRegion, block: number): number {
  const { start } = blocks[block]!;
  const { records } = pages.find(({ page }) => page === pageOf(start))!;
  return records + (start & (PAGE_SIZE - 1)) * RECORD_BYTES;
}

interface PageHeat {
  samples: number;
  rewrites: number;
  readonly units: Set<Unit>;
  /** Offsets that units were made for. */
  readonly roots: Set<number>;
  /** By offset: place of the unit that has the byte, the last of several; 0 for none. */
  readonly covered: Uint16Array;
}

export class Translator {
  /** Since the start; ms of the host's clock. */
  readonly counters = {
    units: 0,
    hot: 0,
    spanning: 0,
    dropped: 0,
    evicted: 0,
    failed: 0,
    modules: 0,
    moduleBytes: 0,
    buildMs: 0,
    compileMs: 0,
  };
  /**
   * Whether other threads compile while the interpreter goes on, so that nothing waits for a
   * module; a page's own thread needs that. Elsewhere it costs more than it gives: a module takes a
   * ms or two, and the way to another thread and back as long as a slice or more.
   */
  compilesInBackground = false;
  /** Whether all units keep registers in locals: for tests. */
  keepsLocals = false;
  /** Set when a path should be recorded from EIP on, for `addPath`. */
  wantsPath = false;
  /** Of all units together: bounds the host's memory, a few hundred bytes each. */
  instructionsMax = 800_000;
  /** By place: units that wait, are being compiled, or are there. */
  readonly #units = new Map<number, Unit>();
  /** Units that are there, the oldest first, and how many instructions they have. */
  readonly #installed = new Set<Unit>();
  #installedInstructions = 0;
  readonly #state: CPUState;
  readonly #cache: CodeCache;
  readonly #entries: UnitEntries;
  readonly #imports: object;
  readonly #onEntriesChange: () => void;
  readonly #u16: Uint16Array;
  readonly #reading: ReaderParts;
  readonly #pages = new Map<number, PageHeat>();
  /** Units that wait to be compiled, and instructions that ran in them meanwhile. */
  #queue: { readonly unit: Unit; readonly body: FunctionBuilder }[] = [];
  #module = new UnitModule();
  #waited = 0;
  #compilingCount = 0;
  /** Instructions in other units than those of paths since a path was recorded. */
  #coldInstructions = 0;
  #lastSampled: Unit | undefined;
  #streak = 0;
  /** Whether instructions with a meaning are left to the interpreter. */
  readonly #deferred = new Map<HandlerMeaning, boolean>();

  constructor(options: {
    readonly state: CPUState;
    readonly buffer: ArrayBufferLike;
    readonly cache: CodeCache;
    readonly codePages: CodePages;
    readonly interpreter: HandlerLayout;
    readonly entries: UnitEntries;
    /** What units import: env and engine. */
    readonly imports: object;
    /** Called when a unit is entered where none was, or another. */
    onEntriesChange(): void;
  }) {
    this.#state = options.state;
    this.#cache = options.cache;
    this.#entries = options.entries;
    this.#imports = options.imports;
    this.#onEntriesChange = () => options.onEntriesChange();
    this.#u16 = new Uint16Array(options.buffer);
    const { state, cache, interpreter, entries } = options;
    this.#reading = {
      ...{ state, cache, interpreter, entries },
      buffer: new Uint8Array(options.buffer),
      isDeferred: (instruction) => this.#isDeferred(instruction),
      isTaken: (slot, offset) => this.#isTaken(slot, offset),
      isUsable: (slot) => (this.#pages.get(slot)?.rewrites ?? 0) <= REWRITES_MAX,
    };
    options.codePages.onInvalidate((ramOffset, sizeBytes) => {
      this.#invalidate(ramOffset, sizeBytes);
      return undefined; // The decodings that units were made from keep their lines.
    });
    options.cache.onSlotWiped = (slot) => this.#forget(slot);
  }

  /** Whether units wait for the host to compile them. */
  get isCompiling(): boolean {
    return this.#compilingCount > 0;
  }

  /**
   * Called by the run loop when a slice ended by itself: the code at EIP counts as hot.
   * @param instructions how many ran since the last sample
   * @returns whether it is translated already, or about to be
   */
  sample(instructions: number): boolean {
    const here = this.#whereabouts();
    if (here === undefined) return false;
    const page = this.#page(here.slot);
    const place = page.covered[here.offset]!;
    if (place !== 0) {
      const unit = this.#units.get(place);
      if (unit) this.#countIn(unit, instructions);
      return true;
    }
    if (page.rewrites > REWRITES_MAX || ++page.samples < HEAT_MIN) return false;
    this.#planSoon(here, true);
    return true;
  }

  /** Counts a sample, so many instructions, in the unit that has the code where it was. */
  #countIn(unit: Unit, instructions: number): void {
    if (!this.#installed.has(unit)) {
      this.#waited += instructions;
      if (this.#waited >= WAIT_INSTRUCTIONS) this.#compileSoon();
      return;
    }
    if (unit.knowsPages && this.#entries.straddlesOf(unit.place) > STRADDLES_MAX) {
      this.#remake(unit);
      return;
    }
    if (unit.isHot) return;
    this.#coldInstructions += instructions;
    this.#streak = unit === this.#lastSampled ? this.#streak + 1 : 1;
    this.#lastSampled = unit;
    const isMuch = this.#coldInstructions >= COLD_INSTRUCTIONS_MIN;
    if (isMuch || this.#streak === STREAK_MIN) this.wantsPath = true;
  }

  /** Its accesses by one register often lie in two pages: they look at the TLB one by one. */
  #remake(unit: Unit): void {
    this.#drop(unit);
    this.#queueUnit(unit.slot, unit.region, unit.isHot, false);
    this.#compileSoon();
  }

  /**
   * Makes a unit of what was recorded, if it has most of it: then it is a loop, which stays in the
   * unit. Of other paths units would be large, dear to compile, and left soon.
   */
  addPath(path: RecordedPath, coverageMin = LOOP_COVERAGE_MIN): void {
    this.#coldInstructions = 0;
    const hottest = path.hottest();
    const records = hottest < 0 ? 0 : recordsAt(this.#reading, hottest - (hottest % PAGE_SIZE));
    if (records === 0) return;
    const offset = hottest % PAGE_SIZE;
    const pageStart = hottest - offset;
    const reader = new UnitReader(this.#reading, pageStart, records, false);
    const graph = path.graphFrom(pageStart);
    const region = findHotRegion(reader, graph, offset);
    if (coverageOf(region, graph) < coverageMin) return;
    if (this.#queueUnit(this.#cache.slotOf(records), region, true)) this.#compileSoon();
  }

  /** Called by the run loop when code at EIP, which is no unit's entry, was gone to often. */
  want(): void {
    const here = this.#whereabouts();
    if (here === undefined) return;
    const page = this.#page(here.slot);
    if (this.#waitingAt(here.slot, here.offset)) return;
    if (page.rewrites <= REWRITES_MAX && !page.roots.has(here.offset)) this.#planSoon(here, false);
  }

  /** The page of records that EIP lies in; undefined where code is run one by one. */
  #whereabouts(): CodePlace | undefined {
    const { u32, eip } = this.#state;
    const pageEip = u32[PAGE_EIP >> 2]!;
    const offset = (eip - pageEip) >>> 0;
    const slot = this.#cache.slotOf(u32[PAGE_RECORDS >> 2]!);
    return slot < 0 || offset >= PAGE_SIZE ? undefined : { slot, pageEip, offset };
  }

  #planSoon(place: CodePlace, isByChance: boolean): void {
    if (this.#plan(place, false, isByChance) && this.#queue.length >= BATCH_MAX)
      this.#compileSoon();
  }

  /** Translates the code at EIP, in the page of `records`, at once, however cold: for tests. */
  translateAt(records: number, offset: number): void {
    const slot = this.#cache.slotOf(records);
    if (slot < 0 || this.#page(slot).covered[offset] !== 0) return;
    const pageEip = (this.#state.eip - offset) >>> 0;
    if (!this.#plan({ slot, pageEip, offset }, true)) return;
    const { units, bytes } = this.#takeQueue();
    this.#install(units, new WebAssembly.Module(bytes));
  }

  /** Units that are there, the oldest first. */
  get units(): ReadonlySet<Unit> {
    return this.#installed;
  }

  /** Instructions of the units that are there. */
  get installedInstructions(): number {
    return this.#installedInstructions;
  }

  /** Forgets everything that was noted under a CODE_KEY. */
  forgetKeys(): void {
    this.#entries.forgetKeys();
  }

  /** Takes every unit back. */
  clear(): void {
    for (const slot of [...this.#pages.keys()]) this.#forget(slot);
  }

  #page(slot: number): PageHeat {
    let page = this.#pages.get(slot);
    if (!page) {
      page = {
        samples: 0,
        rewrites: 0,
        units: new Set(),
        roots: new Set(),
        covered: new Uint16Array(PAGE_SIZE),
      };
      this.#pages.set(slot, page);
    }
    return page;
  }

  /** Finds a unit for the code at a place and queues it. */
  #plan({ slot, pageEip, offset }: CodePlace, decodes: boolean, isByChance = false): boolean {
    const records = this.#cache.recordsOfSlot(slot);
    const reader = new UnitReader(this.#reading, pageEip, records, decodes);
    const region = findRegion(reader, offset, isByChance);
    this.#page(slot).roots.add(offset);
    return this.#queueUnit(slot, region, false);
  }

  #queueUnit(slot: number, region: UnitRegion, isHot: boolean, knowsPages = true): boolean {
    if (region.blocks.length === 0) return false;
    this.#makeRoom(region);
    const parts = region.pages.map((page) => this.#partOf(region, page));
    const place = this.#entries.takePlace();
    const keepsLocals = isHot || isTightLoop(region) || this.keepsLocals;
    const unit: Unit = {
      ...{ slot, region, parts, place, isHot, keepsLocals, knowsPages },
      flagForms: flagFormsOf(region, keepsLocals),
      isFlat: (this.#state.u32[CODE_KEY >> 2]! & CODE_KEY_FLAT) !== 0,
      ...{ entries: [], isDropped: false },
    };
    this.#units.set(place, unit);
    for (const part of parts) {
      const page = this.#page(part.slot);
      page.units.add(unit);
      this.#tellRanges(part.slot, page);
      for (const [start, end] of part.ranges) page.covered.fill(place, start, end);
    }
    this.#build(unit);
    return true;
  }

  #build(unit: Unit): void {
    const startMs = Date.now();
    try {
      const body = this.#module.build({ ...unit, cell: this.#entries.cellOf(unit.place) });
      this.#queue.push({ unit, body });
    } catch {
      this.#fail([unit]);
    }
    this.counters.buildMs += Date.now() - startMs;
  }

  /**
   * Never the guest's business: what cannot be translated is interpreted, and stays covered, so
   * that it is not tried again.
   */
  #fail(units: readonly Unit[]): void {
    for (const { place } of units) this.#units.delete(place);
    this.counters.failed += units.length;
  }

  #partOf({ blocks }: UnitRegion, { page, records }: UnitPage): UnitPart {
    const pageStart = page * PAGE_SIZE;
    const ranges = blocks.map(({ start, instructions }): [number, number] => [
      Math.max(0, start - pageStart),
      Math.min(PAGE_SIZE, instructions.at(-1)!.next - pageStart),
    ]);
    return {
      slot: this.#cache.slotOf(records),
      ranges: ranges.filter(([start, end]) => start < end),
    };
  }

  /** The module of all that waits, and begins another. */
  #takeQueue(): { units: Unit[]; bytes: Uint8Array } {
    const queue = this.#queue.filter(({ unit }) => !unit.isDropped);
    const bytes = this.#module.toBytes(
      queue.map(({ unit, body }) => ({ root: unit.region.root, body })),
    );
    this.#queue = [];
    this.#module = new UnitModule();
    return { units: queue.map(({ unit }) => unit), bytes };
  }

  #compileSoon(): void {
    this.#waited = 0;
    if (this.#queue.length === 0) return;
    const { units, bytes } = this.#takeQueue();
    if (units.length === 0) return;
    const onFailure = (): void => this.#fail(units);
    const startMs = Date.now();
    const install = (module: WebAssembly.Module): void => {
      this.#install(units, module);
      this.counters.compileMs += Date.now() - startMs;
    };
    this.counters.moduleBytes += bytes.length;
    try {
      if (!this.compilesInBackground) {
        install(new WebAssembly.Module(bytes));
        return;
      }
      this.#compilingCount++;
      WebAssembly.compile(bytes)
        .then(install)
        .catch(onFailure)
        .finally(() => this.#compilingCount--);
    } catch {
      onFailure();
    }
  }

  #install(units: readonly Unit[], module: WebAssembly.Module): void {
    const { exports } = new WebAssembly.Instance(module, this.#imports);
    this.counters.modules++;
    for (const [index, unit] of units.entries()) {
      if (unit.isDropped) continue;
      this.#makeRoom(unit.region);
      this.#entries.setUnit(unit.place, exports[`u${index}`], unit.isFlat);
      unit.entries = this.#enter(unit);
      this.counters.units++;
      if (unit.isHot) this.counters.hot++;
      if (unit.region.pages.length > 1) this.counters.spanning++;
      this.#installed.add(unit);
      this.#installedInstructions += instructionCount(unit.region);
    }
    this.#onEntriesChange();
  }

  /** Takes the oldest units back while there is no room for another. */
  #makeRoom(region: UnitRegion): void {
    const instructionsMax = this.instructionsMax - instructionCount(region);
    for (const oldest of this.#installed) {
      const hasRoom = this.#entries.hasRoom(region.entries.length);
      if (hasRoom && this.#installedInstructions <= instructionsMax) return;
      this.#drop(oldest);
      this.counters.evicted++;
    }
  }

  /** Puts entries into records; the code of units that began there before stays with them. */
  #enter({ region, place, isHot, flagForms }: Unit): [number, number][] {
    const { blocks, entries, structure } = region;
    const added: [number, number][] = [];
    for (const block of entries) {
      const { start } = blocks[block]!;
      const record = recordOf(region, block);
      const number = structure.enterNumbers.get(block)!;
      const handler = this.#u16[record >>> 1]!;
      const isEntered = this.#entries.unitOf(handler) !== 0;
      if (isEntered && !isHot && start !== region.root) continue;
      const wantsFlags = flagForms[block] !== FLAGS_ANY;
      added.push([record, this.#entries.add(record, { place, number, wantsFlags, start })]);
    }
    return added;
  }

  /**
   * Whether a unit is entered at an offset, or will be, so that others end there: half as much is
   * compiled, for few more exits. What is small others have too: going there would cost more.
   */
  #isTaken(slot: number, offset: number): boolean {
    const record = this.#cache.recordsOfSlot(slot) + offset * RECORD_BYTES;
    const place = this.#entries.unitOf(this.#u16[record >>> 1]!);
    const unit = this.#units.get(place) ?? this.#waitingAt(slot, offset);
    return unit !== undefined && instructionCount(unit.region) > SMALL_MAX;
  }

  /** The unit that will be entered at an offset once it is compiled. */
  #waitingAt(slot: number, offset: number): Unit | undefined {
    const unit = this.#units.get(this.#pages.get(slot)?.covered[offset] ?? 0);
    if (unit === undefined || this.#installed.has(unit)) return undefined;
    const record = this.#cache.recordsOfSlot(slot) + offset * RECORD_BYTES;
    const { region } = unit;
    return region.entries.some((block) => recordOf(region, block) === record) ? unit : undefined;
  }

  #isDeferred(instruction: UnitInstruction): boolean {
    let known = this.#deferred.get(instruction.meaning);
    if (known === undefined) {
      known = mustDefer(instruction);
      this.#deferred.set(instruction.meaning, known);
    }
    return known;
  }

  #invalidate(ramOffset: number, sizeBytes: number): void {
    for (let at = ramOffset; at < ramOffset + sizeBytes; ) {
      const pageStart = at - (at % PAGE_SIZE);
      const from = at - pageStart;
      const to = Math.min(PAGE_SIZE, ramOffset + sizeBytes - pageStart);
      for (const slot of this.#cache.slotsOf(pageStart / PAGE_SIZE)) {
        const page = this.#pages.get(slot);
        if (!page) continue;
        for (const unit of page.units) {
          if (!this.#usesBytes(unit, slot, from, to)) continue;
          this.#drop(unit);
          page.rewrites++;
        }
      }
      at = pageStart + PAGE_SIZE;
    }
  }

  /** Has stores into what units were made from come here. */
  #tellRanges(slot: number, { units }: PageHeat): void {
    const parts = [...units].flatMap((unit) => unit.parts).filter((part) => part.slot === slot);
    this.#cache.setUnitRanges(
      slot,
      parts.flatMap(({ ranges }) => ranges),
    );
  }

  #usesBytes({ parts }: Unit, slot: number, from: number, to: number): boolean {
    for (const part of parts) {
      if (part.slot !== slot) continue;
      for (const [start, end] of part.ranges) if (start < to && end > from) return true;
    }
    return false;
  }

  #drop(unit: Unit): void {
    if (unit.isDropped) return;
    for (const [record, entry] of unit.entries) this.#entries.remove(record, entry);
    this.#entries.givePlace(unit.place);
    this.#onEntriesChange();
    this.#units.delete(unit.place);
    for (const { slot, ranges } of unit.parts) {
      const page = this.#page(slot);
      for (const [start, end] of ranges) page.covered.fill(0, start, end);
      page.units.delete(unit);
      this.#tellRanges(slot, page);
    }
    this.#page(unit.slot).roots.delete(unit.region.root);
    unit.isDropped = true;
    if (this.#installed.delete(unit)) this.#installedInstructions -= instructionCount(unit.region);
    this.counters.dropped++;
    // It may be the one that is running: it must not start another instruction.
    this.#state.requestEvent();
  }

  /** A slot's records went, and with them its entries. */
  #forget(slot: number): void {
    const page = this.#pages.get(slot);
    if (!page) return;
    for (const unit of page.units) this.#drop(unit);
    this.#pages.delete(slot);
  }
}
