// The seam between an instruction's emission and the engine that it is emitted for: where fields,
// registers and flags are, and how a handler is left. The interpreter and the translator have one
// each; everything else about a row's meaning is the same for both.

import type { SharedFunction } from '../../cpu/emitter.ts';
import type { FlagStore } from '../../cpu/flag-emitter.ts';
import type { FunctionBuilder, FunctionReference, Value } from '../../wasm/index.ts';
import type { KnownPage } from './unit-pages.ts';

/** Functions outside the one under construction. */
export interface CallTargets {
  /** The function for a shared piece. */
  shared(piece: SharedFunction): FunctionReference;
}

/**
 * The decoded fields of the instruction, as record.ts lays them out; i32, safe to use at any time.
 */
export interface InstructionFields {
  reg(): Value;
  base(): Value;
  index(): Value;
  scale(): Value;
  /** Segment × 32. */
  segment(): Value;
  displacement(): Value;
  immediate(): Value;
}

/** Accesses that cannot be made at once. Each leaves the handler if it faults. */
export interface SlowAccesses {
  load(linear: Value, size: number): Value;
  /** As `load`; the write is checked as well. */
  loadForStore(linear: Value, size: number): Value;
  store(linear: Value, size: number, value: Value): void;
  /** Linear address of an offset in the segment whose fields start at `field`, checked in full. */
  checkedLinear(field: Value, offset: Value, size: number, isWrite: boolean): Value;
}

/** Pages that were reached by a register, as `Value.root` tells of addresses. */
export interface SitePages {
  find(linear: Value, isWrite: boolean): KnownPage | undefined;
  note(linear: Value, known: KnownPage): void;
  /** Leaves as an address is not in the page that was found for it. */
  leave(): void;
}

export interface EngineSite {
  readonly f: FunctionBuilder;
  readonly targets: CallTargets;
  readonly fields: InstructionFields;
  readonly flagStore: FlagStore;
  /** General register by its offset in the state area, 1, 2 or 4 bytes, zero-extended. */
  loadRegister(offset: Value, size: number): Value;
  storeRegister(offset: Value, size: number, value: Value): void;
  /** Address of the TLB row of a linear address, pinned. */
  rowOf(linear: Value): Value;
  /** Pages that accesses before this one have reached; units know some. */
  readonly pages: SitePages | undefined;
  /** What becomes of accesses that row or segment do not allow as they stand; a unit leaves. */
  readonly slow: SlowAccesses | undefined;
  /** Whether CS surely spans 4 GiB, so that no target is beyond its limit. */
  readonly isCodeFlat: boolean;
  /** Leaves the instruction to the interpreter, with nothing of it done yet; for units. */
  leave(): void;
  /** EIP of this instruction, and of the one behind it. */
  currentEip(): Value;
  nextEip(): Value;
  /** Continues at a pinned EIP that is known to be within the limit. */
  jump(eip: Value): void;
  /** Whether the site itself sees to it that the target of a relative branch can be gone to. */
  isNear(): boolean;
  /** Continues at the target of a relative branch that stays in the page, or is near. */
  branchNear(): void;
  finish(): void;
  repeat(): void;
  raise(vector: number, errorCode: number): void;
  system(method: string, args: readonly Value[]): void;
  systemValue(method: string, args: readonly Value[]): Value;
}
