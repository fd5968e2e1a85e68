// The seam between an instruction's emission and the engine that it is emitted for: where fields,
// registers and flags are, and how a handler is left. The interpreter and the translator have one
// each; everything else about a row's meaning is the same for both.

import type { SharedFunction } from '../../cpu/emitter.ts';
import type { FlagStore } from '../../cpu/flag-emitter.ts';
import type { FunctionBuilder, FunctionReference, Value } from '../../wasm/index.ts';
import type { SlowPaths } from './slow-paths.ts';

/** Functions outside the one under construction. */
export interface CallTargets {
  readonly slow: Readonly<Record<keyof SlowPaths, FunctionReference>>;
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

export interface EngineSite {
  readonly f: FunctionBuilder;
  readonly targets: CallTargets;
  readonly fields: InstructionFields;
  readonly flagStore: FlagStore;
  /** General register by its offset in the state area, 1, 2 or 4 bytes, zero-extended. */
  loadRegister(offset: Value, size: number): Value;
  storeRegister(offset: Value, size: number, value: Value): void;
  /** Before a call of TypeScript that may want to know how many instructions were executed. */
  noteFuel(): void;
  /** After a call of TypeScript: leaves if it faulted; notes if anything else wants attention. */
  leaveOnFault(): void;
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
