// What generated code returns to whoever called it, an i64: 0 where the run ends, or less than 0
// after a RET of the guest that found no way on within its unit. Then the low half is the EIP
// returned to, and what is above but for the sign is the fuel.

import type { Value } from '../../wasm/index.ts';

export const RUN_ENDS = 0;

const SIGN = 1 << 31;

export function returned(eip: Value, fuel: Value): Value {
  return fuel.or(SIGN).extendU().shl(32).or(eip.extendU());
}

export function isReturned(result: Value): Value {
  return result.ltS(0);
}

export function returnedEip(result: Value): Value {
  return result.wrap();
}

export function returnedFuel(result: Value): Value {
  return result.shrU(32).wrap().and(~SIGN);
}
