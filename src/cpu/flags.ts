// EFLAGS bits, and the lazy form of the arithmetic ones.
// Intel SDM volume 1, section 3.4.3 "EFLAGS Register".
//
// Arithmetic stores two words and computes no flag:
//   FLAG_RESULT  i64  the result, sign-extended from its operand size
//   FLAG_AUX     i32  bit 31 carry out of the top bit (CF)
//                     bit 30 carry out of the bit below: CF ^ bit 30 = OF
//                     bit 3  carry out of bit 3 (AF)
//                     bits 8–15 parity correction: PF = even parity of (result ^ aux >> 8) & 0xff
//                     bit 0  sign correction: SF = (result < 0) ^ bit 0
//   ZF = (FLAG_RESULT == 0).
// The corrections let any combination of flags be written (ZF and SF together, say).

export const FLAG_CF = 1 << 0;
export const FLAG_PF = 1 << 2;
export const FLAG_AF = 1 << 4;
export const FLAG_ZF = 1 << 6;
export const FLAG_SF = 1 << 7;
export const FLAG_TF = 1 << 8;
export const FLAG_IF = 1 << 9;
export const FLAG_DF = 1 << 10;
export const FLAG_OF = 1 << 11;
export const FLAG_IOPL = 3 << 12;
export const FLAG_NT = 1 << 14;
export const FLAG_RF = 1 << 16;
export const FLAG_VM = 1 << 17;
export const FLAG_AC = 1 << 18;
export const FLAG_VIF = 1 << 19;
export const FLAG_VIP = 1 << 20;
export const FLAG_ID = 1 << 21;
export const FLAGS_ARITHMETIC = FLAG_CF | FLAG_PF | FLAG_AF | FLAG_ZF | FLAG_SF | FLAG_OF;
/** Bit 1 is always set. */
export const FLAGS_FIXED = 2;
/** Every bit that a 32-bit processor implements. */
export const FLAGS_ALL = 0x3f7fd5;

export const AUX_CARRY = 1 << 31;
export const AUX_CARRY_BELOW = 1 << 30;
export const AUX_ADJUST = 1 << 3;
export const AUX_SIGN = 1;
export const AUX_PARITY_SHIFT = 8;

function hasEvenParity(byte: number): boolean {
  let bits = byte ^ (byte >> 4);
  bits ^= bits >> 2;
  bits ^= bits >> 1;
  return (bits & 1) === 0;
}

/**
 * Arithmetic flags out of their lazy form; `resultLow` and `resultHigh` are FLAG_RESULT's halves.
 */
export function arithmeticFlags(resultLow: number, resultHigh: number, aux: number): number {
  const carry = aux >>> 31;
  const overflow = carry ^ ((aux >>> 30) & 1);
  const sign = (resultHigh >>> 31) ^ (aux & 1);
  return (
    carry |
    (hasEvenParity((resultLow ^ (aux >> AUX_PARITY_SHIFT)) & 0xff) ? FLAG_PF : 0) |
    (aux & AUX_ADJUST ? FLAG_AF : 0) |
    ((resultLow | resultHigh) === 0 ? FLAG_ZF : 0) |
    (sign << 7) |
    (overflow << 11)
  );
}

/**
 * The aux word that, together with a result of `flags & ZF ? 0 : 1`, stands for `flags`.
 * The result's low byte is then 0 or 1, its sign 0.
 */
export function auxOfFlags(flags: number): number {
  const carry = flags & FLAG_CF;
  const overflow = (flags >> 11) & 1;
  const low = flags & FLAG_ZF ? 0 : 1;
  // The correction byte is chosen so that (low ^ correction) has the parity that PF wants.
  const correction = (flags & FLAG_PF ? 0 : 1) ^ low;
  return (
    (carry << 31) |
    ((carry ^ overflow) << 30) |
    (correction << AUX_PARITY_SHIFT) |
    (flags & FLAG_AF ? AUX_ADJUST : 0) |
    ((flags >> 7) & 1)
  );
}
