// How the translator emits one instruction of a unit: fields are constants, registers and flags are
// locals, and what is rare bails out: the interpreter runs the instruction anew.

import type { FlagStore } from '../../cpu/flag-emitter.ts';
import { ZERO_REGISTER } from '../../cpu/state-layout.ts';
import { type FunctionBuilder, i32, type Value } from '../../wasm/index.ts';
import type { CallTargets, EngineSite, InstructionFields, SitePages } from './engine-site.ts';
import type { UnitFrame } from './unit-frame.ts';
import { branchTarget, isCall, isReturn, pageOf, type UnitInstruction } from './unit-region.ts';

/** The instruction cannot be translated as it always needs TypeScript or the interpreter. */
export class Deferred extends Error {
  override readonly name = 'Deferred';
}

export class UnitSite implements EngineSite {
  readonly f: FunctionBuilder;
  readonly targets: CallTargets;
  readonly fields: InstructionFields;
  readonly flagStore: FlagStore;
  readonly #frame: UnitFrame;
  readonly #instruction: UnitInstruction;
  /** Instructions of the block from this one on: their fuel was taken when the block began. */
  readonly #left: number;
  readonly #scope: number;
  /** Where the target of the branch is known to be at hand. */
  #reachedScope = -1;
  readonly slow = undefined;
  readonly pages: SitePages | undefined;
  readonly isCodeFlat: boolean;

  constructor(
    frame: UnitFrame,
    instruction: UnitInstruction,
    left: number,
    constant = i32(instruction.immediate),
  ) {
    this.#frame = frame;
    this.#instruction = instruction;
    this.#left = left;
    this.f = frame.f;
    this.isCodeFlat = frame.isCodeFlat;
    this.targets = frame.targets;
    this.#scope = frame.f.scope;
    const { reg, base, index, scale, segment, displacement } = instruction;
    this.fields = {
      reg: () => i32(reg),
      base: () => i32(base),
      index: () => i32(index),
      scale: () => i32(scale),
      segment: () => i32(segment),
      displacement: () => i32(displacement),
      immediate: () => constant,
    };
    this.flagStore = frame.flags;
    const { pages } = frame;
    this.pages = pages && {
      find: (linear, isWrite) => pages.find(linear, isWrite),
      note: (linear, known) => {
        if (frame.isSure) pages.note(linear, known);
      },
      leave: () => frame.exitInterpret(instruction, left, true),
    };
  }

  loadRegister(offset: Value, size: number): Value {
    const place = Number(offset.constant);
    if (place === ZERO_REGISTER) return i32(0);
    const whole = this.#frame.register(place >> 3);
    if (size === 4) return whole;
    return size === 2 ? whole.and(0xffff) : whole.shrU((place & 7) * 8).and(0xff);
  }

  storeRegister(offset: Value, size: number, value: Value): void {
    const place = Number(offset.constant);
    const number = place >> 3;
    if (size === 4) {
      this.#frame.setRegister(number, value);
      return;
    }
    const shift = (place & 7) * 8;
    const mask = size === 2 ? 0xffff : 0xff << shift;
    const kept = this.#frame.register(number).and(~mask);
    const part = size === 2 ? value.and(0xffff) : value.and(0xff).shl(shift);
    this.#frame.setRegister(number, kept.or(part));
  }

  rowOf(linear: Value): Value {
    return this.#frame.rowOf(linear);
  }

  currentEip(): Value {
    return this.#frame.base.add(this.#instruction.offset);
  }

  nextEip(): Value {
    return this.#frame.base.add(this.#instruction.next);
  }

  jump(eip: Value): void {
    const frame = this.#frame;
    for (const offset of frame.targetOffsets) {
      this.f.if(eip.eq(frame.base.add(offset)), () => frame.goTo(offset));
    }
    if (isReturn(this.#instruction)) frame.exitReturn(eip);
    else if (isCall(this.#instruction)) frame.callOut(eip);
    else frame.exitJump(eip);
  }

  isNear(): boolean {
    const target = branchTarget(this.#instruction);
    if (target === undefined || !this.#frame.hasBlock(target)) return false;
    // Nothing of the instruction has been done: it can be left to the interpreter.
    if (!this.f.isWithin(this.#reachedScope)) {
      const { offset } = this.#instruction;
      this.#frame.reach(pageOf(target), offset, () => this.leave());
      this.#reachedScope = this.f.scope;
    }
    return true;
  }

  branchNear(): void {
    const target = branchTarget(this.#instruction)!;
    this.#frame.goTo(target, true);
  }

  finish(): void {
    this.#frame.finish();
  }

  repeat(): void {
    throw new Deferred('repeats');
  }

  raise(): void {
    this.leave();
  }

  system(): void {
    this.leave();
  }

  systemValue(): Value {
    throw new Deferred('needs a value from TypeScript');
  }

  leave(): void {
    if (this.f.scope === this.#scope) throw new Deferred('always needs the interpreter');
    this.#frame.exitInterpret(this.#instruction, this.#left);
  }
}
