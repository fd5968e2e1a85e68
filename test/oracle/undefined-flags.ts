// Which flags an instruction leaves undefined, so that two processors may differ there. Each entry
// is the section "Flags Affected" (or "FPU Flags Affected") of the instruction
// in Intel SDM volume 2.

import { register } from './encoding.ts';
import type { GeneratedCase } from './generate.ts';

const CF = 1 << 0;
const PF = 1 << 2;
const AF = 1 << 4;
const ZF = 1 << 6;
const SF = 1 << 7;
const OF = 1 << 11;

/** C0, C2 and C3 of the x87 status word; C1 (bit 9) mostly tells about rounding. */
const C0 = 1 << 8;
const C1 = 1 << 9;
const C2 = 1 << 10;
const C3 = 1 << 14;

const BY_MNEMONIC: Readonly<Record<string, number>> = {
  AAA: OF | SF | ZF | PF, // "AAA": OF, SF, ZF, PF undefined.
  AAS: OF | SF | ZF | PF,
  AAD: OF | AF | CF, // "AAD", "AAM": OF, AF, CF undefined.
  AAM: OF | AF | CF,
  DAA: OF, // "DAA", "DAS": OF undefined.
  DAS: OF,
  AND: AF, // "AND", "OR", "XOR", "TEST": AF undefined.
  OR: AF,
  XOR: AF,
  TEST: AF,
  MUL: SF | ZF | AF | PF, // "MUL", "IMUL": SF, ZF, AF, PF undefined.
  IMUL: SF | ZF | AF | PF,
  DIV: CF | OF | SF | ZF | AF | PF, // "DIV", "IDIV": all undefined.
  IDIV: CF | OF | SF | ZF | AF | PF,
  BT: OF | SF | AF | PF, // "BT": CF defined, ZF unchanged, the others undefined.
  BTS: OF | SF | AF | PF,
  BTR: OF | SF | AF | PF,
  BTC: OF | SF | AF | PF,
  BSF: CF | OF | SF | AF | PF, // "BSF", "BSR": all but ZF undefined.
  BSR: CF | OF | SF | AF | PF,
};

/** Count of a shift or rotate as the processor masks it (SDM "SAL/SAR/SHL/SHR", "RCL/RCR…"). */
function shiftCount(c: GeneratedCase): number {
  const last = c.form.operands.at(-1);
  if (last === '1') return 1;
  return (last === 'CL' ? register(c.view, 1) : c.immediate) & 31;
}

/** Size in bits of the operand that a shift works on. */
function shiftBits(c: GeneratedCase): number {
  return c.form.operands[0] === 'Eb' ? 8 : c.operandBytes * 8;
}

/** EFLAGS bits that are undefined after this case. */
export function undefinedFlags(c: GeneratedCase): number {
  const { mnemonic } = c.form;
  switch (mnemonic) {
    case 'SHL':
    case 'SHR':
    case 'SAR': {
      // "AF undefined for a non-zero count; OF for counts other than 1; CF of SHL and SHR where the
      // count is greater than or equal to the size". A count of 0 changes nothing.
      const count = shiftCount(c);
      if (count === 0) return 0;
      const isBeyond = mnemonic !== 'SAR' && count >= shiftBits(c);
      return AF | (count === 1 ? 0 : OF) | (isBeyond ? CF : 0);
    }
    case 'ROL':
    case 'ROR':
    case 'RCL':
    case 'RCR':
      return shiftCount(c) > 1 ? OF : 0; // "OF undefined for multi-bit rotates".
    case 'SHLD':
    case 'SHRD': {
      // "AF undefined; OF for counts above 1; all flags for counts above the operand size".
      const count = shiftCount(c);
      if (count === 0) return 0;
      if (count > shiftBits(c)) return CF | OF | SF | ZF | AF | PF;
      return AF | (count === 1 ? 0 : OF);
    }
    default:
      return BY_MNEMONIC[mnemonic] ?? 0;
  }
}

/** Whether the destination itself is undefined ("SHLD": a count above the operand size). */
export function isResultUndefined(c: GeneratedCase): boolean {
  if (c.form.mnemonic !== 'SHLD' && c.form.mnemonic !== 'SHRD') return false;
  return shiftCount(c) > shiftBits(c);
}

const COMPARES = /^F(U?COM(P|PP)?|ICOMP?|TST|XAM)$/;
const DEFINES_ALL = /^(F(LDENV|RSTOR|NINIT|NSAVE|PREM1?)|FWAIT)$/;
/** IE of the status word. */
const INVALID = 1;
const REDUCTIONS = /^F(SIN|COS|SINCOS|PTAN)$/;

/**
 * Status word bits (C0–C3) that are undefined after an x87 instruction.
 * @param status the status word afterwards
 */
export function undefinedConditionCodes(c: GeneratedCase, status: number): number {
  const { mnemonic, options } = c.form;
  if (!options.has('x87')) return 0;
  // "FPREM", "FPTAN": what C2 is after an invalid operation is not said.
  const isInvalid = (status & INVALID) !== 0;
  if (isInvalid && (REDUCTIONS.test(mnemonic) || /^FPREM/.test(mnemonic))) return C0 | C1 | C2 | C3;
  // "FCOMI": C1 is "set to 0"; "FCMOVcc": "set to 0 if stack underflow occurred". AMD leaves it.
  if (/^F(CMOV|U?COMIP?$)/.test(mnemonic))
    return C1 | (mnemonic.startsWith('FCMOV') ? C0 | C2 | C3 : 0);
  if (DEFINES_ALL.test(mnemonic)) return 0;
  if (COMPARES.test(mnemonic)) return 0; // C0, C2, C3 are the result; C1 is 0 or tells of a fault.
  // "FSIN": C1 rounding, C2 out of range, C0 and C3 undefined. How a transcendental result was
  // rounded is not promised to anybody (SDM volume 1, 8.3.10), so C1 goes too.
  if (REDUCTIONS.test(mnemonic)) return C0 | C3 | C1;
  if (c.form.settings.get('approximate') === 'x87') return C0 | C1 | C2 | C3;
  // "FNSTENV", "FNSTCW", "FNSTSW", "FNCLEX", "FLDCW": all four undefined.
  if (/^F(NST(ENV|CW|SW)|NCLEX|LDCW|FREE|NOP)$/.test(mnemonic)) return C0 | C1 | C2 | C3;
  return C0 | C2 | C3;
}
