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
//
// These lie in locals in a unit that keeps registers in locals; in others, and between units, in
// memory (FLAG_ in record.ts).

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
import { FLAG_B, FLAG_CARRY, FLAG_KIND, FLAG_R } from './record.ts';
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

/** What is known of the flags on one way between blocks. */
export interface CarriedFlags {
  readonly state: FlagState;
  readonly isPut: boolean;
}

/** What a unit's frame asks of the flags beside what FlagEmitter does. */
export interface UnitFlagStore extends FlagStore {
  /** Where the unit is entered: makes them words, with CARRY. */
  loadAll(targets: CallTargets): void;
  /** A block was emitted: nothing is kept for what follows it. */
  endBlock(): void;
  /**
   * A block begins, to which every way brings the flags in `form`; or the only way to it, with what
   * is known there.
   */
  enterBlock(form: FlagForm, carried?: CarriedFlags): void;
  /**
   * @param changesInBranch whether flags change in a part of the instruction that may not run
   * @param mayLeave whether it has rare exits
   */
  enterInstruction(changesInBranch: boolean, mayLeave: boolean): void;
  /** Rare exits follow: what they need is done once for all, where that costs nothing. */
  settle(): void;
  /** On the way to a block that wants `form`; what is known here stays known for the other ways. */
  leaveTo(form: FlagForm): void;
  /** On the way to a block that no other way leads to: nothing is done. */
  carry(): CarriedFlags;
  /** On the way to a rare exit: whether it must pass `putStaged`. */
  leaveRarely(): boolean;
  /** On the way to an exit that may be hot: whether it must pass `putStaged`. */
  leave(): boolean;
  /** Puts them where other units look for them. */
  putForOthers(targets: CallTargets): void;
  /** Where exits come together: puts what they staged. */
  putStaged(): void;
  writeBack(targets: CallTargets): void;
}

const WORDS: FlagState = { form: 'words' };

/** A flag changed in a branch of an instruction that was not seen to do so. */
function unexpected(what: string): never {
  throw new Error(`Cannot translate as flags are ${what} where the instruction did not before`);
}

/** Where the parts of the flags lie. */
interface FlagPlaces {
  readonly result: FlagPlace;
  readonly aux: FlagPlace;
  readonly kind: FlagPlace;
  readonly r: FlagPlace;
  readonly b: FlagPlace;
  readonly carry: FlagPlace;
}

interface FlagPlace {
  get(): Value;
  set(value: Value): void;
}

function placesInLocals(f: FunctionBuilder): FlagPlaces {
  const place = (local: Local): FlagPlace => ({
    get: () => local,
    set: (value) => f.set(local, value),
  });
  const [aux, kind, r, b, carry] = Array.from({ length: 5 }, () => place(f.local('i32')));
  return {
    result: place(f.local('i64')),
    ...{ aux: aux!, kind: kind!, r: r!, b: b!, carry: carry! },
  };
}

function placesInMemory(f: FunctionBuilder): FlagPlaces {
  const place = (offset: number): FlagPlace => ({
    get: () => f.let(loadState(offset)),
    set: (value) => storeState(f, offset, value),
  });
  return {
    result: {
      get: () => f.let(load('i64', i32(0), FLAG_RESULT)),
      set: (value) => f.store('i64', i32(0), value, FLAG_RESULT),
    },
    ...{ aux: place(FLAG_AUX), kind: place(FLAG_KIND), r: place(FLAG_R), b: place(FLAG_B) },
    carry: place(FLAG_CARRY),
  };
}

export class UnitFlags implements UnitFlagStore {
  readonly f: FunctionBuilder;
  readonly #places: FlagPlaces;
  readonly #isInMemory: boolean;
  #state: FlagState = WORDS;
  /** Whether the places say what `#state` does. */
  #isPut = true;
  /** Depth of the instruction under way: what stands deeper may not run. */
  #depth = 0;
  /** Values that outlive their instruction, and those of states that are past. */
  #kept: readonly Value[] = [];
  #past: Value[] = [];

  /** KIND, R and B on the way to the exits, where those lie in memory. */
  readonly #staged: readonly [kind: Local, r: Local, b: Local] | undefined;

  /** @param isInMemory whether flags lie in memory between blocks, and not in locals */
  constructor(f: FunctionBuilder, isInMemory: boolean) {
    this.f = f;
    this.#isInMemory = isInMemory;
    this.#places = isInMemory ? placesInMemory(f) : placesInLocals(f);
    if (isInMemory) this.#staged = [f.local('i32'), f.local('i32'), f.local('i32')];
  }

  loadAll(targets: CallTargets): void {
    const { f } = this;
    f.if(loadState(FLAG_KIND), () => void f.call(targets.shared(settleFlags)));
    const { result, aux, carry } = this.#places;
    if (!this.#isInMemory) {
      result.set(load('i64', i32(0), FLAG_RESULT));
      aux.set(loadState(FLAG_AUX));
    }
    carry.set(aux.get().shrU(31));
  }

  endBlock(): void {
    for (const value of [...this.#past, ...this.#kept]) this.f.release(value);
    this.#past = [];
    this.#kept = [];
  }

  enterBlock(form: FlagForm, carried?: CarriedFlags): void {
    if (carried) {
      this.#state = carried.state;
      this.#isPut = carried.isPut;
      this.#kept = valuesOf(carried.state);
      for (const value of this.#kept) this.f.reserve(value);
      return;
    }
    this.#become(WORDS);
    if (form === FLAGS_WORDS) return;
    const carry = form === FLAGS_ANY ? {} : { carry: this.#places.carry.get() };
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
    } else if (mayLeave && !this.#isInMemory) this.settle();
  }

  carry(): CarriedFlags {
    return { state: this.#state, isPut: this.#isPut };
  }

  settle(): void {
    // Setting places is cheap or free; computing words is not.
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
    // What the block found is there still.
    if (this.#state.form !== 'found' || this.#state.isChanged) {
      this.#places.carry.set(this.loadCarry());
    }
  }

  leaveRarely(): boolean {
    if (this.#stage()) return true;
    this.#put();
    return false;
  }

  /** With words, where they are known, if they do not go to memory as they are. */
  leave(): boolean {
    if (this.#isInMemory || this.#state.form === 'found') return this.leaveRarely();
    this.#putWords();
    return false;
  }

  /** Leaves it to `putStaged` to put packed flags into memory: far less code for each exit. */
  #stage(): boolean {
    const state = this.#state;
    if (!this.#staged || this.#isPut || state.form !== 'operation' || !this.#isPackable())
      return false;
    const [kind, r, b] = this.#staged;
    this.#pack(state.operation, (values) => {
      this.f.set(kind, values.kind);
      this.f.set(r, values.r);
      this.f.set(b, values.b);
    });
    return true;
  }

  putForOthers(targets: CallTargets): void {
    if (this.#isInMemory) this.#put();
    else {
      this.leave();
      this.writeBack(targets);
    }
  }

  putStaged(): void {
    if (!this.#staged) return;
    const [kind, r, b] = this.#staged;
    this.#places.kind.set(kind);
    this.#places.r.set(r);
    this.#places.b.set(b);
  }

  writeBack(targets: CallTargets): void {
    const { f } = this;
    if (this.#isInMemory) return;
    const { result, aux, kind: kindPlace, r, b, carry } = this.#places;
    const kind = kindPlace.get();
    f.if(kind, () => {
      aux.set(f.call(targets.shared(packedAux), kind, r.get(), b.get(), carry.get(), aux.get()));
      result.set(select(kind.and(KIND_PACKED), packedResult(kind, r.get()), result.get()));
    });
    f.store('i64', i32(0), result.get(), FLAG_RESULT);
    storeState(f, FLAG_AUX, aux.get());
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
    this.#places.result.set(resultOf(operation));
    this.#places.aux.set(aux);
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
    return this.#places.aux.get().shrU(31);
  }

  loadResult(): Value {
    const state = this.#state;
    if (state.form === 'operation') return resultOf(state.operation);
    return state.form === 'found' ? unexpected('read') : this.#places.result.get();
  }

  loadAux(): Value {
    const state = this.#state;
    if (state.form === 'operation') return auxOf(state.operation);
    return state.form === 'found' ? unexpected('read') : this.#places.aux.get();
  }

  storeWords(result: Value, aux: Value): void {
    const { f } = this;
    if (f.depth !== this.#depth && this.#state.form !== 'words') unexpected('set in a branch');
    const pinned = f.let(aux);
    this.#places.result.set(result);
    this.#places.aux.set(pinned);
    this.#places.kind.set(i32(0));
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

  /** Sets the places from what is known, in whichever form is the cheaper. */
  #put(): void {
    const state = this.#state;
    const places = this.#places;
    if (this.#isPut) return;
    if (state.form === 'found') {
      if (!state.isChanged) return;
      places.carry.set(state.carry!);
      places.kind.set(places.kind.get().or(KIND_HAS_CARRY));
      return;
    }
    if (state.form === 'words') return;
    if (!this.#isPackable()) {
      this.#putWords();
      return;
    }
    this.#pack(state.operation, (values) => {
      places.kind.set(values.kind);
      places.r.set(values.r);
      places.b.set(values.b);
    });
  }

  /** Packs what an operation did to the flags: CARRY at its place, the rest by `put`. */
  #pack(
    { kind, b, r, size, carry, overflow }: FlagOperation,
    put: (values: { kind: Value; r: Value; b: Value }) => void,
  ): void {
    let word = KIND_PACKED | ((32 - size * 8) << KIND_SHIFT);
    if (kind === 'sub') word |= KIND_DIFFERENCE;
    if (carry) {
      word |= KIND_HAS_CARRY;
      this.#places.carry.set(carry);
    }
    if (overflow) word |= KIND_HAS_OVERFLOW;
    // A result alone is a sum with zero, which has no carries.
    put({ kind: i32(word), r, b: kind === 'logic' ? (overflow ?? i32(0)) : b });
  }

  /** Sets the places to words. */
  #putWords(): void {
    const state = this.#state;
    if (state.form === 'words') return;
    if (state.form === 'found') unexpected('read');
    this.#places.result.set(resultOf(state.operation));
    this.#places.aux.set(auxOf(state.operation));
    this.#places.kind.set(i32(0));
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

/** FLAG_RESULT of packed flags. */
function packedResult(kind: Value, r: Value): Value {
  const shift = kind.shrU(KIND_SHIFT);
  return r.shl(shift).shrS(shift).extendS();
}

/** Makes flags that units left in memory, of whatever form, the two words of the state. */
export const settleFlags: SharedFunction = {
  name: 'settleFlags',
  params: [],
  build(f, { call }) {
    const kind = f.let(loadState(FLAG_KIND));
    f.if(kind.eqz(), () => f.return());
    const r = f.let(loadState(FLAG_R));
    const [b, carry, aux] = [loadState(FLAG_B), loadState(FLAG_CARRY), loadState(FLAG_AUX)];
    storeState(f, FLAG_AUX, call(packedAux, kind, r, b, carry, aux));
    f.if(kind.and(KIND_PACKED), () => f.store('i64', i32(0), packedResult(kind, r), FLAG_RESULT));
    storeState(f, FLAG_KIND, i32(0));
  },
};

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
