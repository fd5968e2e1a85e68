// The body of a unit around its instructions: registers and flags in locals, the blocks and the
// ways between them, and the exits, where what changed is written back.

import {
  EIP,
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
import type { CallTargets } from './engine-site.ts';
import { RECORD_BYTES, RECORD_HANDLER } from './record.ts';
import { loadState, storeState } from './state-access.ts';
import { FLAGS_ANY, type FlagForm, type UnitFlagStore } from './unit-flags.ts';
import type { UnitInstruction } from './unit-region.ts';

const REGISTER_COUNT = 8;

/** Functions and types that exits need. */
export interface UnitTargets extends CallTargets {
  /** (eip, fuel): the interpreter's jump. */
  readonly jump: FunctionReference;
  readonly handlerType: {
    readonly index: number;
    readonly signature: FunctionReference['signature'];
  };
}

export class UnitFrame {
  readonly f: FunctionBuilder;
  readonly targets: UnitTargets;
  readonly flags: UnitFlagStore;
  /** Instructions that may still run; those of the current block are already taken off. */
  readonly fuel: Local;
  /** 1 once something wants attention: the instruction under way is the last. */
  readonly pending: Local;
  /** Where `finish` inside an instruction leads. */
  instructionEnd: Label | undefined;
  readonly #block: Local;
  readonly #registers: readonly Local[];
  readonly #written = new Set<number>();
  /** By block: the form of the flags that it wants. */
  readonly #flagForms: readonly FlagForm[];
  readonly #exitAt: Local;
  readonly #exitHandler: Local;
  /** Block numbers by the offset of their start. */
  readonly #numbers: ReadonlyMap<number, number>;
  readonly #labels: (Label | undefined)[] = [];
  /** The block being emitted. */
  #current = 0;
  #top: Label | undefined;
  #exitStateLabel: Label | undefined;
  #exitInterpretLabel: Label | undefined;
  #exitJumpLabel: Label | undefined;

  /** @param starts offsets of the blocks, ascending; parameters of `f`: block number, fuel */
  constructor(
    f: FunctionBuilder,
    targets: UnitTargets,
    starts: readonly number[],
    flags: UnitFlagStore,
    flagForms: readonly FlagForm[],
  ) {
    this.f = f;
    this.flags = flags;
    this.#flagForms = flagForms;
    this.targets = targets;
    this.#numbers = new Map(starts.map((start, number) => [start, number]));
    this.#block = f.param(0);
    this.fuel = f.param(1);
    this.pending = f.local('i32');
    this.#exitAt = f.local('i32');
    this.#exitHandler = f.local('i32');
    this.#registers = Array.from({ length: REGISTER_COUNT }, () => f.local('i32'));
    for (const [number, register] of this.#registers.entries()) {
      f.set(register, loadState(GPR + number * GPR_BYTES));
    }
    flags.loadAll();
  }

  register(number: number): Value {
    return this.#registers[number]!;
  }

  setRegister(number: number, value: Value): void {
    this.#written.add(number);
    this.f.set(this.#registers[number]!, value);
  }

  /** Emits all blocks, each by `emitBlock`, and then the exits. */
  build(blockCount: number, emitBlock: (number: number) => void): void {
    const { f } = this;
    f.block((exitJump) => {
      this.#exitJumpLabel = exitJump;
      f.block((exitInterpret) => {
        this.#exitInterpretLabel = exitInterpret;
        f.block((exitState) => {
          this.#exitStateLabel = exitState;
          f.loop((top) => {
            this.#top = top;
            this.#openBlocks(blockCount - 1, blockCount, emitBlock);
          });
          f.unreachable();
        });
        this.#writeBack();
        storeState(f, EIP, loadState(PAGE_EIP).add(this.#exitAt));
        storeState(f, FUEL, this.fuel.add(loadState(FUEL_HELD)));
        f.return();
      });
      this.#emitExitInterpret();
    });
    this.#writeBack();
    f.if(this.pending, () => {
      storeState(f, EIP, this.#exitAt);
      storeState(f, FUEL, this.fuel.add(loadState(FUEL_HELD)));
      f.return();
    });
    f.returnCall(this.targets.jump, this.#exitAt, this.fuel);
  }

  /** Takes a block's fuel, or leaves it to the interpreter if there is not enough. */
  beginBlock(first: UnitInstruction, count: number): void {
    this.f.if(this.fuel.ltS(count), () => this.exitInterpret(first, 0));
    this.f.set(this.fuel, this.fuel.sub(count));
  }

  /** Goes to the block at an offset, or leaves the unit for it; the fuel is up to date. */
  goTo(offset: number): void {
    const number = this.#numbers.get(offset);
    if (number === undefined) {
      this.flags.leave();
      this.f.set(this.#exitAt, i32(offset));
      this.f.set(this.#exitHandler, i32(0));
      this.f.br(this.#exitInterpretLabel!);
      return;
    }
    this.flags.leaveTo(this.#flagForms[number]!);
    if (number > this.#current) {
      this.f.br(this.#labels[number]!);
    } else {
      this.f.set(this.#block, i32(number));
      this.f.br(this.#top!);
    }
  }

  /** The block at the offset comes right behind: it is reached by going on. */
  fallTo(offset: number): void {
    this.flags.leaveTo(this.#flagForms[this.#numbers.get(offset)!]!);
  }

  /** Whether the block at an offset comes right behind the one being emitted. */
  isNext(offset: number): boolean {
    return this.#numbers.get(offset) === this.#current + 1;
  }

  /** Returns to the run loop with EIP at `offset`; gives back the fuel of `left` instructions. */
  exitTo(offset: number, left: number): void {
    this.flags.leaveRarely();
    this.f.set(this.#exitAt, i32(offset));
    this.f.set(this.fuel, this.fuel.add(left));
    this.f.br(this.#exitStateLabel!);
  }

  /** Lets the interpreter run `instruction`, giving back the fuel of `left` instructions. */
  exitInterpret(instruction: UnitInstruction, left: number): void {
    this.flags.leaveRarely();
    this.f.set(this.#exitAt, i32(instruction.offset));
    this.f.set(this.#exitHandler, i32(instruction.handler));
    this.f.set(this.fuel, this.fuel.add(left));
    this.f.br(this.#exitInterpretLabel!);
  }

  /** Continues at an EIP anywhere. */
  exitJump(eip: Value): void {
    this.flags.leave();
    this.f.set(this.#exitAt, eip);
    this.f.br(this.#exitJumpLabel!);
  }

  #openBlocks(number: number, count: number, emitBlock: (number: number) => void): void {
    const { f } = this;
    if (number < 0) {
      const labels = this.#labels.slice(0, count) as Label[];
      f.brTable(this.#block, labels.slice(0, -1), labels.at(-1)!);
      return;
    }
    f.block((label) => {
      this.#labels[number] = label;
      this.#openBlocks(number - 1, count, emitBlock);
    });
    this.#current = number;
    this.flags.enterBlock(this.#flagForms[number] ?? FLAGS_ANY);
    emitBlock(number);
  }

  #emitExitInterpret(): void {
    const { f } = this;
    this.#writeBack();
    f.if(this.fuel.eqz(), () => {
      storeState(f, EIP, loadState(PAGE_EIP).add(this.#exitAt));
      storeState(f, FUEL, loadState(FUEL_HELD));
      f.return();
    });
    const record = f.let(loadState(PAGE_RECORDS).add(this.#exitAt.mul(RECORD_BYTES)));
    f.if(this.#exitHandler.eqz(), () =>
      f.set(this.#exitHandler, load('i32_16u', record, RECORD_HANDLER)),
    );
    f.returnCallIndirect(this.targets.handlerType, this.#exitHandler, record, this.fuel.sub(1));
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
