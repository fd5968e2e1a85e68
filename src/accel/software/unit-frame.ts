// The body of a unit around its instructions: registers and flags in locals, the ways between
// blocks, and the exits, where flags are written back.

import { GPR, GPR_BYTES, TLB_BASE } from '../../cpu/state-layout.ts';
import {
  type FunctionBuilder,
  type FunctionReference,
  i32,
  type Label,
  type Local,
  load,
  type Value,
} from '../../wasm/index.ts';
import type { CallTargets } from './engine-site.ts';
import { CALL_DEPTH, CALL_DEPTH_MAX, CODE_KEY } from './record.ts';
import { isReturned, returned, returnedEip, returnedFuel } from './run-result.ts';
import { loadState, storeState } from './state-access.ts';
import { rowAddress } from './tlb-fill.ts';
import {
  CELL_PAGES,
  CELL_STRADDLES,
  ENTER_NUMBER_MASK,
  ENTER_WANTS_FLAGS,
} from './unit-entries.ts';
import { type CarriedFlags, FLAGS_ANY, type FlagForm, type UnitFlagStore } from './unit-flags.ts';
import { UnitFlow } from './unit-flow.ts';
import { fuelNeeds, fuelOf } from './unit-fuel.ts';
import { type KnownPage, KnownPages } from './unit-pages.ts';
import {
  isCall,
  pageOf,
  type UnitBlock,
  type UnitInstruction,
  type UnitRegion,
  waysOf,
} from './unit-region.ts';

const REGISTER_COUNT = 8;
const PAGE_BITS = 12;
const PAGE_BYTES = 1 << PAGE_BITS;

/**
 * Where an exit to the interpreter leads, in one word: below the instructions of the block whose
 * fuel was not used, then the offset in the page, then the page's index among the unit's. Negative
 * for an exit to an EIP.
 */
const EXIT_OFFSET_SHIFT = 8;
const EXIT_PAGE_SHIFT = EXIT_OFFSET_SHIFT + PAGE_BITS;
/** In it, too: an access was not in the page that was known. */
const EXIT_STRADDLES = 1 << (EXIT_PAGE_SHIFT + 5);
const EXIT_JUMPS = -1;
/** The same behind a RET: to the WebAssembly function that called, if it was one. */
const EXIT_RETURNS = -2;

/** A unit to be made. */
export interface UnitSource {
  readonly region: UnitRegion;
  /** Byte address of its cell (UnitEntries). */
  readonly cell: number;
  /**
   * Whether registers and flags stay in locals as long as it runs: that suits long loops. Otherwise
   * they lie in memory between blocks, and it is compiled and entered in far less time.
   */
  readonly keepsLocals: boolean;
  /** Whether it runs only while CS has base 0 and spans 4 GiB. */
  readonly isFlat: boolean;
  /** Whether accesses by the same register look at the TLB once. */
  readonly knowsPages: boolean;
  /** The form of the flags that each block wants where it begins. */
  readonly flagForms: readonly FlagForm[];
}

/** Functions that exits need: InterpreterContext has them. */
export interface UnitTargets extends CallTargets {
  readonly go: FunctionReference;
  readonly interpret: FunctionReference;
  readonly reach: FunctionReference;
}

/** What is known on the only way to a block. */
interface Carried {
  /** Those whose locals are loaded. */
  readonly registers: readonly number[];
  readonly flags: CarriedFlags;
  readonly roots: readonly object[];
  readonly pages: ReadonlyMap<object, KnownPage> | undefined;
}

function freshRoots(): object[] {
  return Array.from({ length: REGISTER_COUNT }, () => ({}));
}

/** By block: how many ways lead to it; entries have one more. */
function countWays({ blocks, entries }: UnitRegion): number[] {
  const indexes = new Map(blocks.map(({ start }, index) => [start, index]));
  const counts = blocks.map(() => 0);
  for (const entry of entries) counts[entry]!++;
  for (const offset of blocks.flatMap(waysOf)) {
    const index = indexes.get(offset);
    if (index !== undefined) counts[index]!++;
  }
  return counts;
}

export class UnitFrame {
  readonly f: FunctionBuilder;
  readonly targets: UnitTargets;
  readonly flags: UnitFlagStore;
  readonly pages: KnownPages | undefined;
  /** Instructions that may still run; those of the current block are already taken off. */
  readonly fuel: Local;
  /** EIP of the start of the root page. */
  readonly base: Local;
  readonly isCodeFlat: boolean;
  /** Where `finish` inside an instruction leads. */
  #instructionEnd: Label | undefined;
  readonly #region: UnitRegion;
  /** Block indexes by the offset of their start. */
  readonly #indexes: ReadonlyMap<number, number>;
  readonly #enter: Local;
  readonly #registers: readonly Local[];
  /** Registers stay in locals from block to block; else each block loads what it uses. */
  readonly #keepsLocals: boolean;
  /** By register: the scope in which the current block loaded or set it. */
  readonly #loaded = new Map<number, number>();
  /** By register: what its value is a small distance from. */
  #roots: object[] = freshRoots();
  /** Scopes of the block and of the instruction under emission. */
  #blockScope = 0;
  #instructionScope = 0;
  /** Whether all of the instruction that stands in its own scope surely runs, so far. */
  #isStraight = false;
  /** Written while they are in locals: each exit writes them back. */
  readonly #written = new Set<number>();
  /** Read or written. */
  readonly #used = new Set<number>();
  /** By block: the form of the flags that it wants. */
  readonly #flagForms: readonly FlagForm[];
  readonly #fuelNeeds: readonly number[];
  /** By block: how many ways lead to it; entries have one more. */
  readonly #wayCounts: readonly number[];
  /** By block to which one way leads: what is known there. */
  readonly #carried = new Map<number, Carried>();
  readonly #exitAt: Local;
  readonly #exitEip: Local;
  /** Byte address of the unit's cell (UnitEntries). */
  readonly #cell: number;
  /** Address of the TLB's rows; that of the privilege, which no instruction of a unit changes. */
  #tlb: Local | undefined;
  #flow: UnitFlow | undefined;
  /** The block being emitted. */
  #block: UnitBlock;
  #exitLabel: Label | undefined;
  /** Leads there by way of `putStaged`. */
  #stagedLabel: Label | undefined;

  /**
   * @param f a unit: of ENTER (UnitEntries), EIP of the root page, and fuel
   */
  constructor(
    f: FunctionBuilder,
    targets: UnitTargets,
    flags: UnitFlagStore,
    { region, cell, keepsLocals, isFlat, knowsPages, flagForms }: UnitSource,
  ) {
    this.#keepsLocals = keepsLocals;
    this.isCodeFlat = isFlat;
    this.f = f;
    this.pages = knowsPages ? new KnownPages(f) : undefined;
    this.flags = flags;
    this.#flagForms = flagForms;
    this.targets = targets;
    this.#region = region;
    this.#block = region.blocks[0]!;
    this.#indexes = new Map(region.blocks.map(({ start }, index) => [start, index]));
    this.#wayCounts = countWays(region);
    this.#fuelNeeds = fuelNeeds(region);
    this.#cell = cell;
    this.#enter = f.param(0);
    this.base = f.param(1);
    this.fuel = f.param(2);
    this.#exitAt = f.local('i32');
    this.#exitEip = f.local('i32');
    this.#registers = Array.from({ length: REGISTER_COUNT }, () => f.local('i32'));
  }

  register(number: number): Value {
    if (this.#keepsLocals) this.#used.add(number);
    else if (!this.#isLoaded(number)) {
      this.#loadRegister(number);
      this.#noteLoaded(number);
    }
    return this.#registers[number]!.withRoot(this.#roots[number]!);
  }

  /** Whether what stands here surely runs if the instruction does. */
  get isSure(): boolean {
    return this.#isStraight && this.f.scope === this.#instructionScope;
  }

  #noteLoaded(number: number): void {
    this.#loaded.set(number, this.isSure ? this.#blockScope : this.f.scope);
  }

  /** Whether the register's local has been loaded on every way from the start of the block. */
  #isLoaded(number: number): boolean {
    const scope = this.#loaded.get(number);
    return scope !== undefined && this.f.isWithin(scope);
  }

  /** The upper half is zero. */
  #storeRegister(number: number): void {
    this.f.store('i32', i32(0), this.#registers[number]!, GPR + number * GPR_BYTES);
  }

  #loadRegister(number: number): void {
    this.f.set(this.#registers[number]!, loadState(GPR + number * GPR_BYTES));
  }

  setRegister(number: number, value: Value): void {
    this.f.set(this.#registers[number]!, value);
    this.#roots[number] = (this.isSure && value.root) || {};
    if (this.#keepsLocals) {
      this.#used.add(number);
      this.#written.add(number);
      return;
    }
    if (!this.#isLoaded(number)) this.#noteLoaded(number);
    this.#storeRegister(number);
  }

  /** Emits one instruction; `finish` in it leads behind it. */
  inInstruction(emit: () => void): void {
    this.f.block((end) => {
      this.#instructionEnd = end;
      this.#instructionScope = this.f.scope;
      this.#isStraight = true;
      emit();
      this.#isStraight = false;
    });
  }

  /** Ends the instruction. */
  finish(): void {
    this.#isStraight = false;
    this.f.br(this.#instructionEnd!);
  }

  /** Blocks of the unit that the current block's indirect jump may lead to. */
  get targetOffsets(): readonly number[] {
    return this.#block.targets;
  }

  /** Emits all blocks, each by `emitBlock`, and then the exits. */
  build(emitBlock: (block: UnitBlock) => void): void {
    const { f } = this;
    const flow = new UnitFlow(f, this.#region.structure, this.#enter, (index) => {
      this.#block = this.#region.blocks[index]!;
      this.#loaded.clear();
      this.#blockScope = f.scope;
      const carried = this.#carried.get(index);
      for (const number of carried?.registers ?? []) this.#loaded.set(number, f.scope);
      this.flags.enterBlock(this.#flagForms[index]!, carried?.flags);
      this.#roots = carried ? [...carried.roots] : freshRoots();
      this.pages?.enterBlock(carried?.pages);
      this.#beginBlock(index);
      emitBlock(this.#block);
      // Before the next block takes what is carried to it.
      this.flags.endBlock();
      this.pages?.endBlock();
    });
    this.#flow = flow;
    f.block((exit) => {
      this.#exitLabel = exit;
      f.block((staged) => {
        this.#stagedLabel = staged;
        flow.emit();
      });
      this.flags.putStaged();
    });
    this.#emitExit();
    f.first(() => this.#emitEntry());
  }

  /** Address of the TLB row of a linear address, pinned. */
  rowOf(linear: Value): Value {
    this.#tlb ??= this.f.local('i32');
    return rowAddress(this.f, linear, this.#tlb);
  }

  /** Takes the block's fuel, or leaves to the interpreter if there may be too little. */
  #beginBlock(index: number): void {
    const { fuel } = this;
    const need = this.#fuelNeeds[index]!;
    const first = this.#block.instructions[0]!;
    if (need > 0) this.f.if(fuel.ltS(need), () => this.exitInterpret(first, 0));
    const count = fuelOf(this.#block);
    if (count > 0) this.f.set(fuel, fuel.sub(count));
  }

  hasBlock(offset: number): boolean {
    return this.#indexes.has(offset);
  }

  /**
   * Goes to the block at an offset, or leaves the unit for it; the fuel is up to date.
   * @param isReached whether `reach` was called for its page
   */
  goTo(offset: number, isReached = false): void {
    const index = this.#indexes.get(offset);
    const from = this.#block.instructions.at(-1)!.offset;
    if (index !== undefined) {
      const page = isReached ? pageOf(from) : pageOf(offset);
      this.reach(page, from, () => this.exitJump(this.base.add(offset)));
      if (this.#wayCounts[index] === 1) this.#carryTo(index);
      else this.flags.leaveTo(this.#flagForms[index]!);
      this.#flow!.goTo(index);
    } else if (isCall(this.#block.instructions.at(-1)!)) {
      this.callOut(this.f.let(this.base.add(offset)));
    } else {
      this.exitJump(this.base.add(offset));
    }
  }

  /**
   * Calls code at a pinned EIP, none of the unit's, and goes on behind the call if it comes back
   * there and nothing has become of the unit meanwhile.
   */
  callOut(eip: Value): void {
    const { f } = this;
    const { offset, next } = this.#block.instructions.at(-1)!;
    const index = this.#indexes.get(next);
    if (index === undefined || pageOf(offset) !== pageOf(next)) {
      this.exitJump(eip);
      return;
    }
    const depth = f.let(loadState(CALL_DEPTH));
    f.if(depth.geU(CALL_DEPTH_MAX), () => this.exitJump(eip));
    const key = f.let(loadState(CODE_KEY));
    storeState(f, CALL_DEPTH, depth.add(1));
    if (this.#keepsLocals) this.#storeAll();
    this.flags.putForOthers(this.targets);
    const result = f.call(this.targets.go, eip, this.fuel);
    storeState(f, CALL_DEPTH, depth);
    const isBehind = returnedEip(result).eq(this.base.add(next));
    const isSame = loadState(CODE_KEY).eq(key);
    f.if(isReturned(result).and(isBehind).and(isSame).eqz(), () => f.return(result));
    f.set(this.fuel, returnedFuel(result));
    this.#loadAll();
    if (this.#keepsLocals || this.#flagForms[index] !== FLAGS_ANY) this.flags.loadAll(this.targets);
    this.#flow!.goTo(index);
  }

  /** Lets a block begin with what is known here. */
  #carryTo(index: number): void {
    if (this.#carried.has(index)) throw new Error('Cannot come to a block by a way not counted');
    const registers = [...this.#loaded.keys()].filter((number) => this.#isLoaded(number));
    this.#carried.set(index, {
      registers,
      flags: this.flags.carry(),
      roots: [...this.#roots],
      pages: this.pages?.carry(),
    });
  }

  /**
   * Makes sure that a page which is not that of the offset `from` shows what it showed when the
   * unit was made; nothing can change that until the unit ends. If it does not, `otherwise` leaves.
   */
  reach(page: number, from: number, otherwise: () => void): void {
    if (page === pageOf(from)) return;
    const { f } = this;
    const { pages } = this.#region;
    const index = pages.findIndex((known) => known.page === page);
    const place = i32(this.#cell + CELL_PAGES + index * 4);
    f.if(load('i32', place).ne(loadState(CODE_KEY)), () => {
      const pageEip = this.base.add(page * PAGE_BYTES);
      const isThere = f.call(this.targets.reach, place, pageEip, i32(pages[index]!.records));
      f.if(isThere.eqz(), otherwise);
    });
  }

  /** Lets the interpreter run `instruction`, giving back the fuel of `left` instructions. */
  exitInterpret({ offset }: UnitInstruction, left: number, straddles = false): void {
    const page = this.#region.pages.findIndex((known) => known.page === pageOf(offset));
    const inPage = offset & (PAGE_BYTES - 1);
    const isStaged = this.flags.leaveRarely();
    const place = (page << EXIT_PAGE_SHIFT) | (inPage << EXIT_OFFSET_SHIFT);
    this.f.set(this.#exitAt, i32(place | left | (straddles ? EXIT_STRADDLES : 0)));
    this.f.br(isStaged ? this.#stagedLabel! : this.#exitLabel!);
  }

  /** Continues at an EIP anywhere. */
  exitJump(eip: Value): void {
    this.#exitTo(eip, EXIT_JUMPS);
  }

  /** Continues at an EIP that a RET found, unless it is one of the unit's. */
  exitReturn(eip: Value): void {
    this.#exitTo(eip, EXIT_RETURNS);
  }

  #exitTo(eip: Value, how: number): void {
    const isStaged = this.flags.leave();
    this.f.set(this.#exitEip, eip);
    this.f.set(this.#exitAt, i32(how));
    this.f.br(isStaged ? this.#stagedLabel! : this.#exitLabel!);
  }

  /** Stores all registers: which were written is not known before all is emitted. */
  #storeAll(): void {
    for (let number = 0; number < REGISTER_COUNT; number++) {
      this.#used.add(number);
      this.#storeRegister(number);
    }
  }

  /** Loads what others may have changed. */
  #loadAll(): void {
    this.#tlb ??= this.f.local('i32');
    this.f.set(this.#tlb, loadState(TLB_BASE));
    if (!this.#keepsLocals) return;
    for (let number = 0; number < REGISTER_COUNT; number++) this.#loadRegister(number);
  }

  #emitEntry(): void {
    const { f } = this;
    const loadFlags = () => this.flags.loadAll(this.targets);
    if (this.#keepsLocals) loadFlags();
    else f.if(this.#enter.and(ENTER_WANTS_FLAGS), loadFlags);
    f.set(this.#enter, this.#enter.and(ENTER_NUMBER_MASK));
    if (this.#tlb) f.set(this.#tlb, loadState(TLB_BASE));
    if (this.#keepsLocals) {
      for (const number of this.#used) this.#loadRegister(number);
    }
  }

  /** To the interpreter, or to an EIP. */
  #emitExit(): void {
    const { f } = this;
    for (const number of this.#written) this.#storeRegister(number);
    this.flags.writeBack(this.targets);
    f.if(this.#exitAt.eq(EXIT_RETURNS), () => f.return(returned(this.#exitEip, this.fuel)));
    f.if(this.#exitAt.eq(EXIT_JUMPS), () =>
      f.returnCall(this.targets.go, this.#exitEip, this.fuel),
    );
    if (this.pages) {
      f.if(this.#exitAt.and(EXIT_STRADDLES), () => {
        const count = i32(this.#cell + CELL_STRADDLES);
        f.store('i32', count, load('i32', count).add(1));
        f.set(this.#exitAt, this.#exitAt.and(~EXIT_STRADDLES));
      });
    }
    const { pages } = this.#region;
    const [pageEip, records] = [f.local('i32'), f.local('i32')];
    for (const [index, { page, records: known }] of pages.entries()) {
      const set = () => {
        f.set(pageEip, this.base.add(page * PAGE_BYTES));
        f.set(records, i32(known));
      };
      // The first for lack of another.
      if (index === 0) set();
      else f.if(this.#exitAt.shrU(EXIT_PAGE_SHIFT).eq(index), set);
    }
    const inPage = this.#exitAt.shrU(EXIT_OFFSET_SHIFT).and(PAGE_BYTES - 1);
    const left = this.#exitAt.and((1 << EXIT_OFFSET_SHIFT) - 1);
    f.returnCall(this.targets.interpret, pageEip, records, inPage, this.fuel.add(left));
  }
}
