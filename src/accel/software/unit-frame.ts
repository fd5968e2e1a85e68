// The body of a unit around its instructions: registers and flags in locals, the ways between
// blocks, and the exits, where what changed is written back.

import {
  EIP,
  EIP_BIAS,
  FUEL,
  FUEL_HELD,
  GPR,
  GPR_BYTES,
  PAGE_EIP,
  PAGE_RECORDS,
} from '../../cpu/state-layout.ts';
import {
  type FunctionBuilder,
  type FunctionReference,
  i32,
  type Label,
  type Local,
  load,
  type Value,
} from '../../wasm/index.ts';
import { isCodeAt } from './code-rows.ts';
import type { CallTargets } from './engine-site.ts';
import { RECORD_BYTES, RECORD_HANDLER, RECORD_SHIFT } from './record.ts';
import { loadState, storeState } from './state-access.ts';
import { ENTRY_PAGE_SHIFT } from './unit-entries.ts';
import type { FlagForm, UnitFlagStore } from './unit-flags.ts';
import { UnitFlow } from './unit-flow.ts';
import { pageOf, type UnitBlock, type UnitInstruction, type UnitRegion } from './unit-region.ts';

const REGISTER_COUNT = 8;
const PAGE_BITS = 12;
const PAGE_BYTES = 1 << PAGE_BITS;

/** Functions and types that exits need. */
export interface UnitTargets extends CallTargets {
  /** (eip, fuel): the interpreter's jump. */
  readonly jump: FunctionReference;
  /** Byte address of the numbers of entries, u16 by function table index. */
  readonly entryNumbers: number;
  /** (record, fuel): goes on at a record that is none of the unit's. */
  readonly leave: FunctionReference;
  /** (handler, record, fuel): calls a handler. */
  readonly dispatch: FunctionReference;
}

export class UnitFrame {
  readonly f: FunctionBuilder;
  readonly targets: UnitTargets;
  readonly flags: UnitFlagStore;
  /** Instructions that may still run; those of the current block are already taken off. */
  readonly fuel: Local;
  /** 1 once something wants attention: the instruction under way is the last. */
  readonly pending: Local;
  /** EIP of the start of the root page. */
  readonly base: Local;
  /** Where `finish` inside an instruction leads. */
  instructionEnd: Label | undefined;
  readonly #region: UnitRegion;
  /** Block indexes by the offset of their start. */
  readonly #indexes: ReadonlyMap<number, number>;
  readonly #enter: Local;
  readonly #registers: readonly Local[];
  readonly #written = new Set<number>();
  /** Read or written. */
  readonly #used = new Set<number>();
  /** By block: the form of the flags that it wants. */
  readonly #flagForms: readonly FlagForm[];
  readonly #exitAt: Local;
  readonly #exitHandler: Local;
  /** Bit i: page i of the unit's is known to be where it was translated. */
  readonly #reached: Local;
  #flow: UnitFlow | undefined;
  /** The block being emitted. */
  #block: UnitBlock;
  #exitLabel: Label | undefined;
  #exitJumpLabel: Label | undefined;

  /**
   * @param f a handler: of record and fuel
   * @param flagForms the form of the flags that each block of the region wants
   */
  constructor(
    f: FunctionBuilder,
    targets: UnitTargets,
    region: UnitRegion,
    flags: UnitFlagStore,
    flagForms: readonly FlagForm[],
  ) {
    this.f = f;
    this.flags = flags;
    this.#flagForms = flagForms;
    this.targets = targets;
    this.#region = region;
    this.#block = region.blocks[0]!;
    this.#indexes = new Map(region.blocks.map(({ start }, index) => [start, index]));
    this.#enter = f.local('i32');
    this.fuel = f.local('i32');
    this.base = f.local('i32');
    this.pending = f.local('i32');
    this.#exitAt = f.local('i32');
    this.#exitHandler = f.local('i32');
    this.#reached = f.local('i32');
    this.#registers = Array.from({ length: REGISTER_COUNT }, () => f.local('i32'));
  }

  register(number: number): Value {
    this.#used.add(number);
    return this.#registers[number]!;
  }

  setRegister(number: number, value: Value): void {
    this.#written.add(number);
    this.#used.add(number);
    this.f.set(this.#registers[number]!, value);
  }

  /** Offsets behind calls in the unit that the current block may return to. */
  get returnsTo(): readonly number[] {
    return this.#block.returnsTo;
  }

  /** Emits all blocks, each by `emitBlock`, and then the exits. */
  build(emitBlock: (block: UnitBlock) => void): void {
    const { f } = this;
    const flow = new UnitFlow(f, this.#region.structure, this.#enter, (index) => {
      this.#block = this.#region.blocks[index]!;
      this.flags.enterBlock(this.#flagForms[index]!);
      emitBlock(this.#block);
    });
    this.#flow = flow;
    f.block((exitJump) => {
      this.#exitJumpLabel = exitJump;
      f.block((exit) => {
        this.#exitLabel = exit;
        flow.emit();
      });
      this.#emitExit();
    });
    this.#writeBack();
    f.if(this.pending, () => this.#stopAt(this.#exitAt));
    f.returnCall(this.targets.jump, this.#exitAt, this.fuel);
    f.first(() => this.#emitEntry());
  }

  /** Takes a block's fuel, or leaves it to the interpreter if there is not enough. */
  beginBlock(first: UnitInstruction, count: number): void {
    this.f.if(this.fuel.ltS(count), () => this.exitInterpret(first, 0));
    this.f.set(this.fuel, this.fuel.sub(count));
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
      this.flags.leaveTo(this.#flagForms[index]!);
      this.#flow!.goTo(index);
    } else if (pageOf(offset) === pageOf(from)) {
      this.flags.leave();
      this.f.set(this.#exitAt, i32(offset));
      this.f.set(this.#exitHandler, i32(0));
      this.f.br(this.#exitLabel!);
    } else {
      this.exitJump(this.base.add(offset));
    }
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
    const bit = 1 << index;
    f.if(this.#reached.and(bit).eqz(), () => {
      const pageEip = this.base.add(page * PAGE_BYTES);
      const records = i32(pages[index]!.records);
      const isThere = f.call(this.targets.shared(isCodeAt), pageEip, records);
      f.if(isThere.eqz(), otherwise);
      f.set(this.#reached, this.#reached.or(bit));
    });
  }

  /** Returns to the run loop with EIP at `offset`; gives back the fuel of `left` instructions. */
  exitTo(offset: number, left: number): void {
    this.flags.leaveRarely();
    this.f.set(this.#exitAt, i32(offset));
    this.f.set(this.fuel, this.fuel.add(left));
    this.f.set(this.pending, i32(1));
    this.f.br(this.#exitLabel!);
  }

  /** Lets the interpreter run `instruction`, giving back the fuel of `left` instructions. */
  exitInterpret(instruction: UnitInstruction, left: number): void {
    this.flags.leaveRarely();
    this.f.set(this.#exitAt, i32(instruction.offset));
    this.f.set(this.#exitHandler, i32(instruction.handler));
    this.f.set(this.fuel, this.fuel.add(left));
    this.f.br(this.#exitLabel!);
  }

  /** Continues at an EIP anywhere. */
  exitJump(eip: Value): void {
    this.flags.leave();
    this.f.set(this.#exitAt, eip);
    this.f.br(this.#exitJumpLabel!);
  }

  #emitEntry(): void {
    const { f } = this;
    // Which entry's record it is stands beside its table index.
    const handler = load('i32_16u', f.param(0), RECORD_HANDLER);
    f.set(this.#enter, load('i32_16u', handler.shl(1), this.targets.entryNumbers));
    f.set(this.fuel, f.param(1).add(1));
    f.set(this.base, loadState(PAGE_EIP));
    if (this.#region.pages.length > 1) this.#emitEntryPage();
    for (const number of this.#used) {
      f.set(this.#registers[number]!, loadState(GPR + number * GPR_BYTES));
    }
    this.flags.loadAll();
  }

  /** Finds the root page from the one that the entry lies on. */
  #emitEntryPage(): void {
    const { f } = this;
    const index = f.let(this.#enter.shrU(ENTRY_PAGE_SHIFT));
    f.set(this.#enter, this.#enter.and((1 << ENTRY_PAGE_SHIFT) - 1));
    f.set(this.#reached, i32(1).shl(index));
    for (const [number, { page }] of this.#region.pages.entries()) {
      if (page === 0) continue;
      f.if(index.eq(number), () => f.set(this.base, this.base.sub(page * PAGE_BYTES)));
    }
  }

  /** To the run loop, or to the interpreter. */
  #emitExit(): void {
    const { f } = this;
    this.#writeBack();
    f.if(this.pending.or(this.fuel.eqz()), () => this.#stopAt(this.base.add(this.#exitAt)));
    const records = this.#emitExitPage();
    const inPage = this.#exitAt.and(PAGE_BYTES - 1);
    const record = f.let(records.add(inPage.mul(RECORD_BYTES)));
    f.if(this.#exitHandler.eqz(), () => f.returnCall(this.targets.leave, record, this.fuel));
    f.returnCall(this.targets.dispatch, this.#exitHandler, record, this.fuel.sub(1));
  }

  /** Lets the interpreter be in the page that is left; gives its records. */
  #emitExitPage(): Value {
    const { f } = this;
    const { pages } = this.#region;
    if (pages.length === 1) return loadState(PAGE_RECORDS);
    const records = f.local('i32');
    for (const { page, records: known } of pages) {
      f.if(this.#exitAt.shrS(PAGE_BITS).eq(page), () => f.set(records, i32(known)));
    }
    const pageEip = f.let(this.base.add(this.#exitAt.and(-PAGE_BYTES)));
    storeState(f, PAGE_EIP, pageEip);
    storeState(f, PAGE_RECORDS, records);
    storeState(f, EIP_BIAS, pageEip.sub(records.shrU(RECORD_SHIFT)));
    return records;
  }

  #stopAt(eip: Value): void {
    const { f } = this;
    storeState(f, EIP, eip);
    storeState(f, FUEL, this.fuel.add(loadState(FUEL_HELD)));
    f.return();
  }

  /** Registers that some instruction of the unit writes, and the flags. */
  #writeBack(): void {
    const { f } = this;
    for (const number of this.#written) {
      f.store('i64', i32(0), this.#registers[number]!.extendU(), GPR + number * GPR_BYTES);
    }
    this.flags.writeBack(this.targets);
  }
}
