// The arithmetic flags of a unit. While a block is emitted the last operation that set them is
// known, and readers are emitted for it. At the ways between blocks, and at exits, they take one of
// two forms in locals, which only exits turn into the state's two words (flags.ts):
//
//   words   RESULT and AUX as the state has them; KIND is 0
//   packed  KIND  bit 0 packed, bit 1 a difference, bit 2 CARRY is CF, bit 3 B is OF,
//                 bits 8–12 32 − operand bits
//           R     the result, and B the second operand; the first follows from them
//
// CARRY (0 or 1) is CF where a block asks for it at its start.

import type { SharedFunction } from '../../cpu/emitter.ts';
import type { FlagStore } from '../../cpu/flag-emitter.ts';
import { carriesOf, carryOf, type FlagOperation, overflowOf } from '../../cpu/flag-operation.ts';
import { AUX_ADJUST, AUX_CARRY, AUX_CARRY_BELOW } from '../../cpu/flags.ts';
import { FLAG_AUX, FLAG_RESULT } from '../../cpu/state-layout.ts';
import {
  type FunctionBuilder,
  i32,
  type Local,
  load,
  select,
  type Value,
} from '../../wasm/index.ts';
import type { CallTargets } from './engine-site.ts';
import { loadState, storeState } from './state-access.ts';

/** What a block wants of the flags where it begins: each includes those before it. */
export const FLAGS_ANY = 0;
export const FLAGS_CARRY = 1;
export const FLAGS_WORDS = 2;
export type FlagForm = typeof FLAGS_ANY | typeof FLAGS_CARRY | typeof FLAGS_WORDS;

const KIND_PACKED = 1;
const KIND_DIFFERENCE = 2;
const KIND_HAS_CARRY = 4;
const KIND_HAS_OVERFLOW = 8;
const KIND_SHIFT = 8;

/** What is known of the flags at a point of a block. */
type FlagState =
  | { readonly form: 'words' }
  /** As the block found them: in one of the two forms. `carry`: CF, if it is known. */
  | { readonly form: 'found'; readonly carry?: Value; readonly isChanged: boolean }
  | { readonly form: 'operation'; readonly operation: FlagOperation };

/** What a unit's frame asks of the flags beside what FlagEmitter does. */
export interface UnitFlagStore extends FlagStore {
  /** Where the unit is entered. */
  loadAll(): void;
  /** A block begins, to which every way brings the flags in `form`. */
  enterBlock(form: FlagForm): void;
  /**
   * @param changesInBranch whether flags change in a part of the instruction that may not run
   * @param mayLeave whether it has rare exits
   */
  enterInstruction(changesInBranch: boolean, mayLeave: boolean): void;
  /** Rare exits follow: what they need is done once for all, where that costs nothing. */
  settle(): void;
  /** On the way to a block that wants `form`; what is known here stays known for the other ways. */
  leaveTo(form: FlagForm): void;
  /** On the way to a rare exit. */
  leaveRarely(): void;
  /** On the way to an exit that may be hot. */
  leave(): void;
  writeBack(targets: CallTargets): void;
}

const WORDS: FlagState = { form: 'words' };

/** A flag changed in a branch of an instruction that was not seen to do so. */
function unexpected(what: string): never {
  throw new Error(`Cannot translate as flags are ${what} where the instruction did not before`);
}

export class UnitFlags implements UnitFlagStore {
  readonly f: FunctionBuilder;
  readonly #result: Local;
  readonly #aux: Local;
  readonly #kind: Local;
  readonly #r: Local;
  readonly #b: Local;
  readonly #carry: Local;
  #state: FlagState = WORDS;
  /** Whether the locals say what `#state` does. */
  #isPut = true;
  /** Depth of the instruction under way: what stands deeper may not run. */
  #depth = 0;
  /** Values that outlive their instruction, and those of states that are past. */
  #kept: readonly Value[] = [];
  #past: Value[] = [];

  constructor(f: FunctionBuilder) {
    this.f = f;
    this.#result = f.local('i64');
    this.#aux = f.local('i32');
    this.#kind = f.local('i32');
    this.#r = f.local('i32');
    this.#b = f.local('i32');
    this.#carry = f.local('i32');
  }

  loadAll(): void {
    this.f.set(this.#result, load('i64', i32(0), FLAG_RESULT));
    this.f.set(this.#aux, loadState(FLAG_AUX));
    this.f.set(this.#carry, this.#aux.shrU(31));
    this.f.set(this.#kind, i32(0));
  }

  enterBlock(form: FlagForm): void {
    this.#become(WORDS);
    if (form === FLAGS_WORDS) return;
    const carry = form === FLAGS_ANY ? {} : { carry: this.#carry };
    this.#state = { form: 'found', ...carry, isChanged: false };
    this.#isPut = true;
  }

  enterInstruction(changesInBranch: boolean, mayLeave: boolean): void {
    this.#depth = this.f.depth;
    for (const value of this.#past) this.f.release(value);
    this.#past = [];
    if (changesInBranch) {
      this.#putWords();
      this.#become(WORDS);
    } else if (mayLeave) this.settle();
  }

  settle(): void {
    // Setting locals is free in optimized code; computing words is not.
    if (this.#isPut || !this.#isPackable()) return;
    this.#put();
    this.#isPut = true;
  }

  leaveTo(form: FlagForm): void {
    if (form === FLAGS_WORDS) {
      this.#putWords();
      return;
    }
    this.#put();
    if (form === FLAGS_ANY) return;
    const carry = this.loadCarry();
    if (carry !== this.#carry) this.f.set(this.#carry, carry);
  }

  leaveRarely(): void {
    this.#put();
  }

  /** With words, where they are known. */
  leave(): void {
    if (this.#state.form === 'found') this.#put();
    else this.#putWords();
  }

  writeBack(targets: CallTargets): void {
    const { f } = this;
    const kind = this.#kind;
    f.if(kind, () => {
      const aux = this.#aux;
      f.set(aux, f.call(targets.shared(packedAux), kind, this.#r, this.#b, this.#carry, aux));
      const shift = kind.shrU(KIND_SHIFT);
      const extended = this.#r.shl(shift).shrS(shift).extendS();
      f.set(this.#result, select(kind.and(KIND_PACKED), extended, this.#result));
    });
    f.store('i64', i32(0), this.#result, FLAG_RESULT);
    storeState(f, FLAG_AUX, this.#aux);
  }

  // What FlagEmitter asks.

  operation(): FlagOperation | undefined {
    return this.#state.form === 'operation' ? this.#state.operation : undefined;
  }

  noteOperation(operation: FlagOperation): void {
    if (this.f.depth === this.#depth) {
      this.#become({ form: 'operation', operation });
      return;
    }
    if (this.#state.form !== 'words') unexpected('set in a branch');
    // Both are evaluated before either is set: they may say what the other was.
    const aux = this.f.let(auxOf(operation));
    this.f.set(this.#result, resultOf(operation));
    this.f.set(this.#aux, aux);
  }

  noteCarry(cf: Value): boolean {
    const state = this.#state;
    if (this.f.depth !== this.#depth || state.form === 'words') return false;
    const carry = this.f.let(cf);
    if (state.form === 'found') this.#become({ form: 'found', carry, isChanged: true });
    else this.#become({ form: 'operation', operation: { ...state.operation, carry } });
    return true;
  }

  loadCarry(): Value {
    const state = this.#state;
    if (state.form === 'operation') return carryOf(state.operation);
    if (state.form === 'found') return state.carry ?? unexpected('read');
    return this.#aux.shrU(31);
  }

  loadResult(): Value {
    const state = this.#state;
    if (state.form === 'operation') return resultOf(state.operation);
    return state.form === 'found' ? unexpected('read') : this.#result;
  }

  loadAux(): Value {
    const state = this.#state;
    if (state.form === 'operation') return auxOf(state.operation);
    return state.form === 'found' ? unexpected('read') : this.#aux;
  }

  storeWords(result: Value, aux: Value): void {
    const { f } = this;
    if (f.depth !== this.#depth && this.#state.form !== 'words') unexpected('set in a branch');
    const pinned = f.let(aux);
    f.set(this.#result, result);
    f.set(this.#aux, pinned);
    f.set(this.#kind, i32(0));
    this.#become(WORDS);
  }

  storeResult(value: Value): void {
    this.storeWords(value, this.loadAux());
  }

  storeAux(value: Value): void {
    this.storeWords(this.loadResult(), value);
  }

  #become(state: FlagState): void {
    this.#state = state;
    this.#isPut = state.form === 'words';
    const values = valuesOf(state);
    for (const value of values) this.f.keep(value);
    this.#past.push(...this.#kept.filter((value) => !values.includes(value)));
    this.#kept = values;
  }

  #isPackable(): boolean {
    if (this.#state.form !== 'operation') return true;
    const { kind, hasCarryIn, overflow } = this.#state.operation;
    return !hasCarryIn && (!overflow || kind === 'logic');
  }

  /** Sets the locals from what is known, in whichever form is the cheaper. */
  #put(): void {
    const { f } = this;
    const state = this.#state;
    if (this.#isPut) return;
    if (state.form === 'found') {
      if (!state.isChanged) return;
      f.set(this.#carry, state.carry!);
      f.set(this.#kind, this.#kind.or(KIND_HAS_CARRY));
      return;
    }
    if (state.form === 'words') return;
    const { kind, b, r, size, carry, overflow } = state.operation;
    if (!this.#isPackable()) {
      this.#putWords();
      return;
    }
    let word = KIND_PACKED | ((32 - size * 8) << KIND_SHIFT);
    if (kind === 'sub') word |= KIND_DIFFERENCE;
    if (carry) {
      word |= KIND_HAS_CARRY;
      f.set(this.#carry, carry);
    }
    if (overflow) word |= KIND_HAS_OVERFLOW;
    f.set(this.#kind, i32(word));
    f.set(this.#r, r);
    // A result alone is a sum with zero, which has no carries.
    f.set(this.#b, kind === 'logic' ? (overflow ?? i32(0)) : b);
  }

  /** Sets the locals to words. */
  #putWords(): void {
    const { f } = this;
    const state = this.#state;
    if (state.form === 'words') return;
    if (state.form === 'found') unexpected('read');
    f.set(this.#result, resultOf(state.operation));
    f.set(this.#aux, auxOf(state.operation));
    f.set(this.#kind, i32(0));
  }
}

/** The pinned values that a state refers to. */
function valuesOf(state: FlagState): Value[] {
  if (state.form === 'words') return [];
  if (state.form === 'found') return state.carry ? [state.carry] : [];
  const { a, b, r, carry, overflow } = state.operation;
  return [a, b, r, carry, overflow].filter((value) => value !== undefined);
}

/** FLAG_RESULT of an operation. */
function resultOf({ r, size }: FlagOperation): Value {
  if (size === 4) return r.extendS();
  return (size === 2 ? r.extend16S() : r.extend8S()).extendS();
}

/** FLAG_AUX of an operation. */
function auxOf(operation: FlagOperation): Value {
  const { kind, size, carry, overflow } = operation;
  if (kind === 'logic') {
    if (!carry) return i32(0);
    const below = overflow ? carry.xor(overflow) : carry;
    return carry.shl(31).or(below.shl(30));
  }
  const carries = carriesOf(operation);
  const adjust = carries.and(AUX_ADJUST);
  if (carry || overflow) {
    const cf = carry ?? carryOf(operation);
    const below = cf.xor(overflow ?? overflowOf(operation));
    return cf.shl(31).or(below.shl(30)).or(adjust);
  }
  if (size === 4) return carries.and(AUX_CARRY | AUX_CARRY_BELOW | AUX_ADJUST);
  return carries
    .shl(32 - size * 8)
    .and(AUX_CARRY | AUX_CARRY_BELOW)
    .or(adjust);
}

/** (KIND, R, B, CARRY, AUX) → AUX for the state, for a KIND that is not 0. */
export const packedAux: SharedFunction = {
  name: 'packedAux',
  params: ['i32', 'i32', 'i32', 'i32', 'i32'],
  result: 'i32',
  build(f) {
    const [kind, r, b, carry, aux] = [0, 1, 2, 3, 4].map((index) => f.param(index)) as [
      Local,
      Local,
      Local,
      Local,
      Local,
    ];
    const overflow = f.let(select(kind.and(KIND_HAS_OVERFLOW), b, i32(0)));
    f.if(kind.and(KIND_HAS_OVERFLOW), () => f.set(b, i32(0)));
    f.if(kind.and(KIND_PACKED), () => {
      // A difference r = a − b is the sum a = r + b: its borrows are that sum's carries.
      const isDifference = f.let(kind.and(KIND_DIFFERENCE));
      const first = f.let(select(isDifference, r, r.sub(b)));
      const sum = f.let(select(isDifference, r.add(b), r));
      const carries = f.let(first.and(b).or(first.or(b).and(sum.not())));
      const top = carries.shl(kind.shrU(KIND_SHIFT)).and(AUX_CARRY | AUX_CARRY_BELOW);
      f.set(aux, top.or(carries.and(AUX_ADJUST)));
    });
    f.if(kind.and(KIND_HAS_CARRY), () => {
      // OF is the difference of the two top bits: both flip together.
      const flip = f.let(aux.shrU(31).xor(carry));
      f.set(aux, aux.xor(flip.shl(31).or(flip.shl(30))));
    });
    f.return(aux.xor(overflow.shl(30)));
  },
};
