// An operand as both engines emit it: the site says what the instruction's fields are. What it
// needs of them it pins at the start, as a store into its own code line may wipe a record in use.

import type { Operand } from '../../cpu/emitter.ts';
import type { OperandKind } from '../../cpu/operand-kind.ts';
import {
  ES,
  SEG_READ_SPAN,
  SEG_SELECTOR,
  SEG_WRITE_SPAN,
  SEGMENT,
  SEGMENT_BYTES,
  X87,
  XMM,
} from '../../cpu/state-layout.ts';
import { i32, load, select, type Value } from '../../wasm/index.ts';
import type { EngineEmitter } from './engine-emitter.ts';
import { emitLoad, emitModify, emitStore, rawLoad, rawStore } from './memory-access.ts';
import { KIND_FLAT_INDEX, KIND_REGISTER, KIND_SEGMENTED, KIND_SEGMENTED16 } from './record.ts';

const REG_ESI = 6;
const REG_EDI = 7;
const SEGMENT_SHIFT = 5;
const ALIGNED_BYTES = 16;
const VECTOR_GP = 13;
/** MMX writes make the x87 exponent all ones: SDM volume 1, section 9.6.2. */
const MMX_EXPONENT = 0xffff;

export class EngineOperand implements Operand {
  readonly size: number;
  readonly isMemory: boolean;
  readonly #e: EngineEmitter;
  readonly #kind: OperandKind;
  /** Offset of the register in the state area, less that of its bank; registers only. */
  readonly #register: Value | undefined;
  readonly #immediate: Value | undefined;
  // What was computed in a branch holds in that branch only: `scope` says where.
  #offset: { value: Value; scope: number } | undefined;
  #linear: { value: Value; sizeBytes: number; isWrite: boolean; scope: number } | undefined;
  #storeBack: ((value: Value) => void) | undefined;

  constructor(e: EngineEmitter, kind: OperandKind, position: number) {
    this.#e = e;
    this.#kind = kind;
    this.size = kind.size === 0 || kind.isSignExtended ? e.operandSize : kind.size;
    const isForm = 'EQW'.includes(kind.place) && e.variantKind !== KIND_REGISTER;
    this.isMemory = isForm || 'MOXY'.includes(kind.place);
    this.#register = this.#findRegister();
    if ('IJA'.includes(kind.place)) this.#immediate = this.#findImmediate(position);
  }

  read(): Value {
    const { place, fixedRegister } = this.#kind;
    const e = this.#e;
    if (this.#immediate) return this.#immediate;
    if (place === 'fixed') {
      return fixedRegister < 0 ? i32(1) : e.readRegister(fixedRegister, this.size);
    }
    if (this.isMemory) return emitLoad(e.site, this.linear(this.size, false), this.size);
    if (place === 'S') {
      return e.let(load('i32', this.#register!.mul(SEGMENT_BYTES), SEGMENT + SEG_SELECTOR));
    }
    if (this.#bank() === 0) return e.let(e.site.loadRegister(this.#register!, this.size));
    return e.let(rawLoad(this.#register!, this.size, this.#bank()));
  }

  write(value: Value): void {
    if (this.#storeBack) this.#storeBack(value);
    else if (this.isMemory) emitStore(this.#e.site, this.linear(this.size, true), this.size, value);
    else this.#writeRegister(value);
  }

  modify(change: (old: Value) => Value): void {
    this.write(change(this.readForWrite()));
  }

  readForWrite(): Value {
    if (!this.isMemory) return this.read();
    const { old, store } = emitModify(this.#e.site, this.linear(this.size, true), this.size);
    this.#storeBack = store;
    return old;
  }

  offset(): Value {
    const { f } = this.#e;
    if (!this.#offset || !f.isWithin(this.#offset.scope)) {
      this.#offset = { value: this.#e.let(this.#computeOffset()), scope: f.scope };
    }
    return this.#offset.value;
  }

  linear(sizeBytes: number, isWrite: boolean): Value {
    const known = this.#linear;
    const { f } = this.#e;
    const isKnown = known && f.isWithin(known.scope) && known.sizeBytes >= sizeBytes;
    if (isKnown && (known.isWrite || !isWrite)) return known.value;
    const value = this.linearAt(this.offset(), sizeBytes, isWrite);
    const { size } = this;
    if (size === ALIGNED_BYTES && this.#isAlignmentChecked()) {
      this.#e.raiseIf(value.and(ALIGNED_BYTES - 1).ne(0), VECTOR_GP, 0);
    }
    this.#linear = { value, sizeBytes, isWrite, scope: f.scope };
    return value;
  }

  linearAt(offset: Value, sizeBytes: number, isWrite: boolean): Value {
    const e = this.#e;
    if (e.variantKind !== KIND_SEGMENTED && e.variantKind !== KIND_SEGMENTED16) return offset;
    const segment = this.#kind.place === 'Y' ? i32(ES << SEGMENT_SHIFT) : e.site.fields.segment();
    return e.checkedLinear(segment, offset, sizeBytes, isWrite);
  }

  room(offset: Value, isWrite: boolean): Value {
    const e = this.#e;
    if (e.variantKind !== KIND_SEGMENTED && e.variantKind !== KIND_SEGMENTED16) return i32(-1);
    const segment = this.#kind.place === 'Y' ? i32(ES << SEGMENT_SHIFT) : e.site.fields.segment();
    const span = e.let(load('i32', segment, SEGMENT + (isWrite ? SEG_WRITE_SPAN : SEG_READ_SPAN)));
    const inSpan = select(offset.ltU(span), span.sub(offset), i32(0));
    if (e.variantKind === KIND_SEGMENTED) return inSpan;
    const toWrap = e.let(i32(0x1_0000).sub(offset));
    const room = e.let(inSpan);
    return select(room.ltU(toWrap), room, toWrap);
  }

  segment(): Value {
    if (this.#kind.place === 'Y') return i32(ES);
    return this.#e.site.fields.segment().shrU(SEGMENT_SHIFT);
  }

  index(): Value {
    const { place, size } = this.#kind;
    if (place === 'STi' || 'SCD'.includes(place)) return this.#register!;
    if ('PQNVUW'.includes(place)) return this.#register!.shrU(4);
    if (size === 1) throw new TypeError('Cannot take the number of a byte register operand');
    return this.#register!.shrU(3);
  }

  immediate(): Value {
    return this.#immediate!;
  }

  #isAlignmentChecked(): boolean {
    return 'QW'.includes(this.#kind.place) || this.#kind.place === 'M'
      ? !this.#kind.isUnalignedAllowed
      : false;
  }

  /** Start of the register bank that `#register` counts from. */
  #bank(): number {
    if ('PQN'.includes(this.#kind.place)) return X87;
    return 'VUW'.includes(this.#kind.place) ? XMM : 0;
  }

  #writeRegister(value: Value): void {
    const { place, fixedRegister } = this.#kind;
    const { f } = this.#e;
    if (place === 'fixed') this.#e.writeRegister(fixedRegister, this.size, value);
    else if (this.#bank() !== 0) rawStore(f, this.#register!, this.size, value, this.#bank());
    else this.#e.site.storeRegister(this.#register!, this.size, value);
    if (this.#bank() === X87) f.store('i32_16', this.#register!, i32(MMX_EXPONENT), X87 + 8);
  }

  #findRegister(): Value | undefined {
    const { place } = this.#kind;
    const e = this.#e;
    if ('GPVSCD'.includes(place)) return e.let(e.site.fields.reg());
    const isRM = 'EQWRNUZ'.includes(place) || place === 'STi';
    if (isRM && !this.isMemory) return e.let(e.site.fields.base());
    return undefined;
  }

  /** The first immediate lies low in its field; a second one behind it. */
  #findImmediate(position: number): Value {
    const e = this.#e;
    const field = e.site.fields.immediate();
    const { size, isSignExtended, place } = this.#kind;
    if (place !== 'I') return e.let(field);
    if (position > 0) return e.let(field.shrU(position));
    if (isSignExtended && this.size === 2) return e.let(field.and(0xffff));
    if (this.size === 8) return e.let(field.extendS());
    if (size === 1 && !isSignExtended) return e.let(field.and(0xff));
    return e.let(this.size === 2 ? field.and(0xffff) : field);
  }

  #computeOffset(): Value {
    const e = this.#e;
    const { place } = this.#kind;
    const { fields } = e.site;
    const displacement = fields.displacement();
    if (place === 'A' || place === 'O') return displacement;
    if (place === 'X' || place === 'Y') {
      return e.readRegister(place === 'X' ? REG_ESI : REG_EDI, e.addressSize);
    }
    const kind = e.variantKind;
    let sum = e.site.loadRegister(fields.base(), 4).add(displacement);
    if (kind >= KIND_FLAT_INDEX) {
      const index = e.site.loadRegister(fields.index(), 4);
      sum = sum.add(index.shl(fields.scale()));
    }
    return kind === KIND_SEGMENTED16 ? sum.and(0xffff) : sum;
  }
}
