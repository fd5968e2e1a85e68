// Emits the lazy arithmetic flags (flags.ts draws the two words): what each kind of operation
// stores, and how each flag and condition is computed from that.

import { type FunctionBuilder, i32, i64, type Value } from '../wasm/index.ts';
import {
  adjustOf,
  carryOf,
  conditionOf,
  type FlagOperation,
  overflowOf,
  parityOf,
  signOf,
  zeroOf,
} from './flag-operation.ts';
import {
  AUX_ADJUST,
  AUX_CARRY,
  AUX_CARRY_BELOW,
  AUX_PARITY_SHIFT,
  FLAG_AF,
  FLAG_CF,
  FLAG_PF,
  FLAG_SF,
  FLAG_ZF,
} from './flags.ts';

const TOP_CARRIES = AUX_CARRY | AUX_CARRY_BELOW;

/** Where an engine keeps the two words: state memory, or locals. */
export interface FlagStore {
  readonly f: FunctionBuilder;
  loadResult(): Value;
  loadAux(): Value;
  storeResult(value: Value): void;
  storeAux(value: Value): void;
  // An engine that wants no flag computed before it is read (the translator) has these as well.
  /** Takes the operation in place of the two words. */
  noteOperation?(operation: FlagOperation): void;
  /** CF (i32, 0 or 1) changes, and no other flag; false: the words are to be stored. */
  noteCarry?(cf: Value): boolean;
  /** The operation that set the flags last, if that is known. */
  operation?(): FlagOperation | undefined;
  /** CF, i32 0 or 1. */
  loadCarry?(): Value;
  /** Both words together. */
  storeWords?(result: Value, aux: Value): void;
}

export class FlagEmitter {
  readonly #store: FlagStore;

  constructor(store: FlagStore) {
    this.#store = store;
  }

  /** After r = a + b (+ carry). Sizes in bytes; values as operands are, and pinned. */
  add(a: Value, b: Value, r: Value, size: number, hasCarryIn = false): void {
    if (this.#note({ kind: 'add', a, b, r, size, hasCarryIn })) return;
    this.#store.storeAux(topCarries(carriesOfAdd(a, b, r), size));
    this.result(r, size);
  }

  /** After r = a - b (- borrow). */
  sub(a: Value, b: Value, r: Value, size: number, hasCarryIn = false): void {
    if (this.#note({ kind: 'sub', a, b, r, size, hasCarryIn })) return;
    this.#store.storeAux(topCarries(carriesOfSub(a, b, r), size));
    this.result(r, size);
  }

  /** After AND, OR, XOR, TEST: CF = OF = AF = 0. */
  logic(r: Value, size: number): void {
    if (this.#note(logicOperation(r, size))) return;
    this.#store.storeAux(i32(0));
    this.result(r, size);
  }

  /** After r = a + 1, which keeps CF. */
  inc(a: Value, r: Value, size: number): void {
    this.#count('add', a, r, size);
  }

  /** After r = a - 1, which keeps CF. */
  dec(a: Value, r: Value, size: number): void {
    this.#count('sub', a, r, size);
  }

  /** SF, ZF and PF from `r`; `cf` and `of` are i32 0 or 1; AF becomes 0. */
  setResult(r: Value, size: number, cf: Value, of: Value): void {
    const { f } = this.#store;
    const carry = f.let(cf);
    if (this.#store.noteOperation && size !== 8) {
      const overflow = of === cf ? carry : f.let(of);
      this.#note({ ...logicOperation(r, size), carry, overflow });
      return;
    }
    this.#store.storeAux(carry.shl(31).or(carry.xor(of).shl(30)));
    this.result(r, size);
  }

  /** Changes CF (i32, 0 or 1) and keeps the others. */
  setCarry(cf: Value): void {
    if (this.#store.noteCarry?.(cf)) return;
    const { f } = this.#store;
    const aux = f.let(this.#store.loadAux());
    const flip = f.let(aux.shrU(31).xor(cf));
    // OF is the difference of the two top bits: both flip together.
    this.#store.storeAux(aux.xor(flip.shl(31).or(flip.shl(30))));
  }

  /** Changes CF and OF (i32, 0 or 1) and keeps the others (rotates). */
  setCarryOverflow(cf: Value, of: Value): void {
    const { f } = this.#store;
    const carry = f.let(cf);
    const known = this.#store.operation?.();
    if (known) {
      this.#note({ ...known, carry, overflow: f.let(of) });
      return;
    }
    const kept = this.#store.loadAux().and(~TOP_CARRIES);
    this.#store.storeAux(kept.or(carry.shl(31)).or(carry.xor(of).shl(30)));
  }

  /** Changes ZF (i32, 0 or 1) and keeps the others. */
  setZero(zf: Value): void {
    this.setWord(this.word().and(~FLAG_ZF).or(zf.shl(6)));
  }

  /** Sets all six from bits in EFLAGS positions; other bits are ignored. */
  setWord(word: Value): void {
    const { f } = this.#store;
    const flags = f.let(word);
    const low = f.let(flags.shrU(6).and(1).xor(1)); // The result: 0 if ZF, else 1.
    const correction = flags.shrU(2).and(1).xor(1).xor(low);
    const overflow = flags.shrU(11).and(1);
    const carry = flags.and(FLAG_CF);
    const aux = carry
      .shl(31)
      .or(carry.xor(overflow).shl(30))
      .or(correction.shl(AUX_PARITY_SHIFT))
      .or(flags.and(FLAG_AF).shrU(1))
      .or(flags.shrU(7).and(1));
    this.#storeWords(low.extendU(), aux);
  }

  /** All six in EFLAGS positions, i32; other bits are zero. */
  word(): Value {
    return this.cf()
      .or(this.pf().shl(2))
      .or(this.af().shl(4))
      .or(this.zf().shl(6))
      .or(this.sf().shl(7))
      .or(this.of().shl(11));
  }

  cf(): Value {
    const known = this.#store.operation?.();
    if (known) return carryOf(known);
    return this.#store.loadCarry?.() ?? this.#store.loadAux().shrU(31);
  }
  of(): Value {
    const known = this.#store.operation?.();
    if (known) return overflowOf(known);
    const aux = this.#store.f.let(this.#store.loadAux());
    return aux.xor(aux.shl(1)).shrU(31);
  }
  zf(): Value {
    const known = this.#store.operation?.();
    return known ? zeroOf(known) : this.#store.loadResult().eqz();
  }
  sf(): Value {
    const known = this.#store.operation?.();
    if (known) return signOf(known);
    return this.#store.loadResult().shrU(63).wrap().xor(this.#store.loadAux().and(1));
  }
  af(): Value {
    const known = this.#store.operation?.();
    return known ? adjustOf(known) : this.#store.loadAux().shrU(3).and(1);
  }
  pf(): Value {
    const known = this.#store.operation?.();
    if (known) return parityOf(known);
    const low = this.#store.loadResult().wrap();
    return low.xor(this.#store.loadAux().shrU(AUX_PARITY_SHIFT)).and(0xff).popcnt().and(1).xor(1);
  }

  /** Condition code 0–15 as in Jcc (SDM volume 1, appendix B), i32 0 or 1. */
  condition(code: number): Value {
    const known = this.#store.operation?.();
    if (known) return conditionOf(known, code);
    const value = this.#positiveCondition(code >> 1);
    return code & 1 ? value.eqz() : value;
  }

  #positiveCondition(pair: number): Value {
    switch (pair) {
      case 0:
        return this.of();
      case 1:
        return this.cf();
      case 2:
        return this.zf();
      case 3:
        return this.cf().or(this.zf());
      case 4:
        return this.sf();
      case 5:
        return this.pf();
      case 6:
        return this.sf().xor(this.of());
      default:
        return this.sf().xor(this.of()).or(this.zf());
    }
  }

  /** Stores the result word alone: for rows that store aux themselves. */
  result(r: Value, size: number): void {
    if (size === 8) this.#store.storeResult(r);
    else if (size === 4) this.#store.storeResult(r.extendS());
    else this.#store.storeResult((size === 2 ? r.extend16S() : r.extend8S()).extendS());
  }

  #count(kind: 'add' | 'sub', a: Value, r: Value, size: number): void {
    const { f } = this.#store;
    const b = one(a);
    if (this.#store.noteOperation && size !== 8) {
      const carry = f.let(this.cf());
      this.#note({ kind, a, b, r, size, hasCarryIn: false, carry });
      return;
    }
    const carries = kind === 'add' ? carriesOfAdd(a, b, r) : carriesOfSub(a, b, r);
    const top = f.let(topCarries(carries, size));
    const old = f.let(this.#store.loadAux().and(AUX_CARRY));
    const overflowBelow = top.xor(top.shl(1)).xor(old).shrU(1).and(AUX_CARRY_BELOW);
    this.#store.storeAux(old.or(overflowBelow).or(top.and(AUX_ADJUST)));
    this.result(r, size);
  }

  /** Whether the engine has taken the operation. */
  #note(operation: Omit<FlagOperation, 'size'> & { readonly size: number }): boolean {
    const { size } = operation;
    if (!this.#store.noteOperation || (size !== 1 && size !== 2 && size !== 4)) return false;
    this.#store.noteOperation({ ...operation, size });
    return true;
  }

  #storeWords(result: Value, aux: Value): void {
    if (this.#store.storeWords) {
      this.#store.storeWords(result, aux);
      return;
    }
    this.#store.storeAux(aux);
    this.#store.storeResult(result);
  }
}

/** Bit n is the carry out of bit n: the majority of a, b and the carry in, which r shows. */
function carriesOfAdd(a: Value, b: Value, r: Value): Value {
  return a.and(b).or(a.or(b).and(r.not()));
}

/** Bit n is the borrow out of bit n. */
function carriesOfSub(a: Value, b: Value, r: Value): Value {
  return a.not().and(b).or(a.not().or(b).and(r));
}

/** The carries of the two top bits at 31 and 30, and that of bit 3 in place. */
function topCarries(carries: Value, size: number): Value {
  if (size === 4) return carries.and(TOP_CARRIES | AUX_ADJUST);
  if (size === 8) {
    // The tree is small enough to be evaluated twice; both halves are wanted as i32.
    const high = carries.shrU(32).wrap().and(TOP_CARRIES);
    return high.or(carries.wrap().and(AUX_ADJUST));
  }
  const shift = 32 - size * 8;
  return carries.shl(shift).and(TOP_CARRIES).or(carries.and(AUX_ADJUST));
}

/** A result whose CF, OF and AF are 0. */
function logicOperation(r: Value, size: number) {
  return { kind: 'logic', a: r, b: r, r, size, hasCarryIn: false } as const;
}

function one(like: Value): Value {
  return like.type === 'i64' ? i64(1) : i32(1);
}

/** Bits of EFLAGS that SAHF and LAHF move. */
export const FLAGS_LOW_BYTE = FLAG_CF | FLAG_PF | FLAG_AF | FLAG_ZF | FLAG_SF;
