// FBLD and FBSTP: 18 decimal digits and a sign in ten bytes, which wait in scratch space.
// Intel SDM volume 1, section 4.7 "BCD and Packed BCD Integers"; volume 2, FBLD, FBSTP.

import type { CPUState } from '../state.ts';
import { SCRATCH } from '../state-layout.ts';
import {
  classOf,
  isNegative,
  roundFloat80,
  roundInteger,
  scaledOf,
  signedZero,
} from './float80.ts';
import type { X87Registers } from './registers.ts';
import { PENDING_FLAGS, STATUS_C1, STATUS_IE, STATUS_SF } from './status-word.ts';

const DIGIT_BYTES = 9;
const SIGN_BYTE = SCRATCH + DIGIT_BYTES;
const LIMIT = 10n ** 18n;
/** The packed decimal indefinite: 0xffff, then 0xc000 and zeros (table 4-4). */
const INDEFINITE_BYTES = [0, 0, 0, 0, 0, 0, 0, 0xc0, 0xff, 0xff];

/** Pushes the number in scratch space; what is not a digit counts as its value. */
export function loadDecimal(state: CPUState, x87: X87Registers): void {
  let integer = 0n;
  for (let index = DIGIT_BYTES - 1; index >= 0; index--) {
    const byte = state.u8[SCRATCH + index]!;
    integer = integer * 100n + BigInt((byte >> 4) * 10 + (byte & 15));
  }
  const negative = (state.u8[SIGN_BYTE]! & 0x80) !== 0;
  x87.clearC1();
  if (!x87.isEmpty(7)) {
    if (x87.raise(STATUS_IE | STATUS_SF | STATUS_C1)) return;
    x87.push({ significand: 3n << 62n, signExponent: 0xffff });
    return;
  }
  const scaled = { isNegative: negative, magnitude: integer, scale: 0 };
  const bits = integer === 0n ? signedZero(negative) : roundFloat80(scaled, x87.control).bits;
  x87.push(bits);
}

/** ST(0) as ten bytes into scratch space; the flags go to PENDING_FLAGS. */
export function storeDecimal(state: CPUState, x87: X87Registers): void {
  const bits = x87.read(0);
  const kind = classOf(bits);
  const negative = isNegative(bits);
  const isNumber = kind === 'zero' || kind === 'normal' || kind === 'denormal';
  let flags = 0;
  let integer = 0n;
  if (x87.isEmpty(0)) flags = STATUS_IE | STATUS_SF;
  else if (!isNumber) flags = STATUS_IE;
  else if (kind !== 'zero') {
    ({ integer, flags } = roundInteger(scaledOf(bits), x87.control));
    if (integer >= LIMIT) flags = STATUS_IE;
  }
  state.set32(PENDING_FLAGS, flags);
  if (flags & STATUS_IE) {
    state.u8.set(INDEFINITE_BYTES, SCRATCH);
    return;
  }
  for (let index = 0; index < DIGIT_BYTES; index++) {
    const pair = Number(integer % 100n);
    state.u8[SCRATCH + index] = (Math.floor(pair / 10) << 4) | (pair % 10);
    integer /= 100n;
  }
  state.u8[SIGN_BYTE] = negative ? 0x80 : 0;
}
