// What the blocks of a unit want of the flags where they begin. What an instruction does to the
// flags no table says: it is emitted once for a witness.

import type { FunctionBuilder, Value } from '../../wasm/index.ts';
import type { HandlerMeaning } from './interpreter-module.ts';
import {
  type CarriedFlags,
  FLAGS_ANY,
  FLAGS_CARRY,
  FLAGS_WORDS,
  type FlagForm,
  type UnitFlagStore,
} from './unit-flags.ts';
import type { UnitInstruction } from './unit-region.ts';

/** What an instruction does to the flags. */
export interface FlagEffect {
  /** What it wants of the flags before it. */
  readonly reads: FlagForm;
  /** FLAGS_WORDS: sets all of them; FLAGS_CARRY: CF; FLAGS_ANY: none for sure. */
  readonly sets: FlagForm;
  /** Sets flags in a part that may not run. */
  readonly changesInBranch: boolean;
  /** Has rare exits. */
  readonly mayLeave: boolean;
}

/** Stands in for the flags while an instruction is emitted to see what it does with them. */
export class FlagWitness implements UnitFlagStore {
  readonly f: FunctionBuilder;
  #depth = 0;
  #reads: FlagForm = FLAGS_ANY;
  #sets: FlagForm = FLAGS_ANY;
  #changesInBranch = false;
  #mayLeave = false;

  constructor(f: FunctionBuilder) {
    this.f = f;
  }

  effect(): FlagEffect {
    const changesInBranch = this.#changesInBranch;
    const mayLeave = this.#mayLeave;
    if (changesInBranch) return { reads: FLAGS_WORDS, sets: FLAGS_ANY, changesInBranch, mayLeave };
    return { reads: this.#reads, sets: this.#sets, changesInBranch, mayLeave };
  }

  enterInstruction(): void {
    this.#depth = this.f.depth;
  }

  noteOperation(): void {
    this.#set(FLAGS_WORDS);
  }

  noteCarry(): boolean {
    this.#set(FLAGS_CARRY);
    return true;
  }

  operation(): undefined {}

  loadCarry(): Value {
    if (this.#sets === FLAGS_ANY && this.#reads === FLAGS_ANY) this.#reads = FLAGS_CARRY;
    return this.f.local('i32');
  }

  loadResult(): Value {
    this.#read();
    return this.f.local('i64');
  }

  loadAux(): Value {
    this.#read();
    return this.f.local('i32');
  }

  storeWords(): void {
    this.#set(FLAGS_WORDS);
  }

  storeResult(): void {
    this.#read();
    this.#set(FLAGS_WORDS);
  }

  storeAux(): void {
    this.storeResult();
  }

  loadAll(): void {}
  settle(): void {}
  endBlock(): void {}
  enterBlock(): void {}
  leaveTo(): void {}
  carry(): CarriedFlags {
    throw new Error('Cannot carry flags where there is one block only');
  }
  leaveRarely(): boolean {
    this.#mayLeave = true;
    return false;
  }
  leave(): boolean {
    return false;
  }
  putForOthers(): void {}
  putStaged(): void {}
  writeBack(): void {}

  #read(): void {
    if (this.#sets !== FLAGS_WORDS) this.#reads = FLAGS_WORDS;
  }

  #set(what: FlagForm): void {
    if (this.f.depth !== this.#depth) this.#changesInBranch = true;
    else if (what > this.#sets) this.#sets = what;
  }
}

const EFFECTS = new WeakMap<HandlerMeaning, { any: FlagEffect; exact: Map<number, FlagEffect> }>();

/** Emits the instruction for a witness, with a constant immediate or one that is not known. */
export type WitnessRun = (instruction: UnitInstruction, isImmediateKnown: boolean) => FlagEffect;

/** What an instruction does to the flags; found once for each handler. */
export function flagEffectOf(instruction: UnitInstruction, run: WitnessRun): FlagEffect {
  const { meaning, immediate } = instruction;
  let known = EFFECTS.get(meaning);
  if (!known) {
    known = { any: run(instruction, false), exact: new Map() };
    EFFECTS.set(meaning, known);
  }
  // A shift by a constant sets flags for sure, or none.
  if (!known.any.changesInBranch || !meaning.compiled.hasImmediate) return known.any;
  let exact = known.exact.get(immediate & 0xff);
  if (!exact) {
    exact = run(instruction, true);
    known.exact.set(immediate & 0xff, exact);
  }
  return exact;
}

/** A block as far as flags are concerned. */
export interface FlagBlock {
  /** Of its instructions, in order. */
  readonly effects: readonly FlagEffect[];
  /** Indexes of the blocks that it leads to. */
  readonly successors: readonly number[];
  /** Whether it leaves the unit in a way that may be hot: the state wants words. */
  readonly doesLeave: boolean;
}

/** The form of the flags that each block wants at its start. */
export function flagNeeds(blocks: readonly FlagBlock[]): FlagForm[] {
  const needs: FlagForm[] = blocks.map(() => FLAGS_ANY);
  for (let hasChanged = true; hasChanged; ) {
    hasChanged = false;
    for (let index = blocks.length - 1; index >= 0; index--) {
      const need = needAtStart(blocks[index]!, needs);
      if (need !== needs[index]) hasChanged = true;
      needs[index] = need;
    }
  }
  return needs;
}

function needAtStart({ effects, successors, doesLeave }: FlagBlock, needs: FlagForm[]): FlagForm {
  let need: FlagForm = doesLeave ? FLAGS_WORDS : FLAGS_ANY;
  for (const successor of successors) need = larger(need, needs[successor]!);
  for (let index = effects.length - 1; index >= 0; index--) {
    const { reads, sets } = effects[index]!;
    if (sets === FLAGS_WORDS || sets === need) need = FLAGS_ANY;
    need = larger(need, reads);
  }
  return need;
}

function larger(a: FlagForm, b: FlagForm): FlagForm {
  return a > b ? a : b;
}
