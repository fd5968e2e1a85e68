// What generated code calls when it cannot go on by itself: accesses that miss the TLB or hit a row
// with a flag, segment checks in full, code that is not decoded or not found.

import type { Signature, ValueType } from '../../wasm/index.ts';

/** Slow paths in TypeScript; sizes in bytes. Wide ones pass the value through SCRATCH. */
export interface SlowPaths {
  load(linear: number, size: number): number;
  loadForStore(linear: number, size: number): number;
  store(linear: number, value: number, size: number): void;
  loadWide(linear: number, size: number): void;
  loadWideForStore(linear: number, size: number): void;
  storeWide(linear: number, size: number): void;
  /** Segment check in full: linear address, or a fault recorded. */
  checkAccess(segment: number, offset: number, size: number, isWrite: number): number;
  /** Decodes at a record. */
  decode(record: number): void;
  /** Finds the code at EIP: 0 row filled, 1 fault recorded, else a record to run. */
  findCode(): number;
  /** Decodes the instruction at a record that crosses into the next page: as findCode. */
  findCrossing(record: number): number;
}

function signature(paramCount: number, hasResult: boolean): Signature {
  return {
    params: new Array<ValueType>(paramCount).fill('i32'),
    results: hasResult ? ['i32'] : [],
  };
}

/** The same as WebAssembly imports; all are i32. */
export const SLOW_SIGNATURES: Readonly<Record<keyof SlowPaths, Signature>> = {
  load: signature(2, true),
  loadForStore: signature(2, true),
  store: signature(3, false),
  loadWide: signature(2, false),
  loadWideForStore: signature(2, false),
  storeWide: signature(2, false),
  checkAccess: signature(4, true),
  decode: signature(1, false),
  findCode: signature(0, true),
  findCrossing: signature(1, true),
};
