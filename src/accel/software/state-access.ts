// Fields of the state area, as generated code reads and writes them.

import { EIP_BIAS } from '../../cpu/state-layout.ts';
import { type FunctionBuilder, i32, load, type Value } from '../../wasm/index.ts';
import { RECORD_SHIFT } from './record.ts';

/** An i32 field of the state. */
export function loadState(offset: number): Value {
  return load('i32', i32(0), offset);
}

export function storeState(f: FunctionBuilder, offset: number, value: Value): void {
  f.store('i32', i32(0), value, offset);
}

/** EIP of a record of the running page. */
export function eipOf(record: Value): Value {
  return record.shrU(RECORD_SHIFT).add(loadState(EIP_BIAS));
}
