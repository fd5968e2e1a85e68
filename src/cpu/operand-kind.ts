// The operand notation of the instruction table, taken apart: where an operand is, how wide it is,
// and what it adds to the encoding. Intel SDM volume 2, appendix A.2.

export type Place =
  /** General register or memory by ModRM.rm; M memory only, R register only. */
  | 'E'
  | 'M'
  | 'R'
  /** General register by ModRM.reg, or by the low opcode bits (Z). */
  | 'G'
  | 'Z'
  /** MMX register by reg (P), by rm (N), or rm and memory (Q). */
  | 'P'
  | 'N'
  | 'Q'
  /** XMM register by reg (V), by rm (U), or rm and memory (W). */
  | 'V'
  | 'U'
  | 'W'
  /** Segment, control, debug register by reg. */
  | 'S'
  | 'C'
  | 'D'
  /** Immediate, branch displacement, far pointer, absolute address. */
  | 'I'
  | 'J'
  | 'A'
  | 'O'
  /** String source DS:ESI and destination ES:EDI. */
  | 'X'
  | 'Y'
  /** ST(i) in ModRM.rm. */
  | 'STi'
  /** A fixed register or the number 1: nothing in the encoding. */
  | 'fixed';

export interface OperandKind {
  readonly text: string;
  readonly place: Place;
  /** Bytes; 0 for "the operand size" (v and z). */
  readonly size: number;
  /** A byte immediate that is sign-extended to the operand size. */
  readonly isSignExtended: boolean;
  /** Register number of a fixed operand; -1 if it is the number 1 or not fixed. */
  readonly fixedRegister: number;
  /** 16-byte memory that need not be aligned (MOVUPS, MOVDQU …). */
  readonly isUnalignedAllowed: boolean;
}

const WIDTHS: Readonly<Record<string, number>> = {
  '': 0,
  b: 1,
  w: 2,
  d: 4,
  q: 8,
  v: 0,
  z: 0,
  y: 4,
  t: 10,
  p: 0,
  a: 0,
  s: 6,
  dq: 16,
  dqu: 16,
  x: 16,
  ps: 16,
  pd: 16,
  ss: 4,
  sd: 8,
};

const FIXED: Readonly<Record<string, { size: number; register: number }>> = {
  AL: { size: 1, register: 0 },
  CL: { size: 1, register: 1 },
  AX: { size: 2, register: 0 },
  DX: { size: 2, register: 2 },
  eAX: { size: 0, register: 0 },
  '1': { size: 1, register: -1 },
};

const PLACES = 'EMRGZPNQVUWSCDIJAOXY';

/** @throws {RangeError} if the notation is not known */
export function parseOperandKind(text: string): OperandKind {
  const fixed = FIXED[text];
  const plain = { text, isSignExtended: false, fixedRegister: -1, isUnalignedAllowed: false };
  if (fixed) return { ...plain, place: 'fixed', size: fixed.size, fixedRegister: fixed.register };
  if (text === 'STi') return { ...plain, place: 'STi', size: 10 };
  if (text === 'sIb') return { ...plain, place: 'I', size: 1, isSignExtended: true };
  const place = text[0]!;
  const size = WIDTHS[text.slice(1)];
  if (!PLACES.includes(place) || size === undefined) {
    throw new RangeError(`Cannot read operand kind "${text}" as it is not in the notation`);
  }
  return { ...plain, place: place as Place, size, isUnalignedAllowed: text.endsWith('dqu') };
}

/** Whether the operand shows the operand size, so that its row needs a variant for each. */
export function dependsOnOperandSize(kind: OperandKind): boolean {
  return kind.size === 0 && kind.text !== 'M';
}

/** Whether the kind needs a ModRM byte. */
export function needsModRM(kind: OperandKind): boolean {
  return 'EMRGPNQVUWSCD'.includes(kind.place) || kind.place === 'STi';
}

/** Which ModRM forms the operand allows. */
export function allowedForms(kind: OperandKind): 'both' | 'memory' | 'register' {
  if (kind.place === 'M') return 'memory';
  if (['R', 'N', 'U', 'STi', 'C', 'D'].includes(kind.place)) return 'register';
  return 'both';
}
