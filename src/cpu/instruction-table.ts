// The instruction table: one row per instruction form, in Intel's notation, with its meaning.
// Intel SDM volume 2, appendix A "Opcode Map", section A.2 "Key to Abbreviations".
//
// Pattern: [prefix] opcode [/digit | fixed ModRM byte [+i]], such as
//   '01'  '0F AF'  '80 /0'  '50+r'  'F3 0F 58'  'NP 0F 58'  'D9 E8'  'D8 C0+i'
// NP, 66, F3, F2 are mandatory prefixes; a row without one takes any.
//
// Operands: E G M R I J O X Y S C D P Q N V W U A as in appendix A, with widths b w d q v z y dq ps
// pd ss sd p t; Z is the register in the low opcode bits; sIb is a byte sign-extended to the
// operand size; AL CL DX eAX 1 are themselves; STi is ST(i) in the low ModRM bits.

import type { Emitter, Operand } from './emitter.ts';

export type Meaning = (e: Emitter, ...operands: Operand[]) => void;

export interface RowOptions {
  /** Uses the stack through `push`, `peekStack`: gets a variant for flat 32-bit stacks. */
  readonly usesStack?: boolean;
  /** Uses the address size without a memory operand (LOOP, string instructions). */
  readonly usesAddressSize?: boolean;
  /** Has variants by operand size although no operand shows it (PUSHF, IRET, string rows). */
  readonly usesOperandSize?: boolean;
  /** Ends a straight run: decoding ahead stops here. */
  readonly endsBlock?: boolean;
  /** Accepts LOCK with a memory destination. */
  readonly allowsLock?: boolean;
  /** Which REP prefixes select this row: none, REP/REPE (F3), REPNE (F2); string rows only. */
  readonly rep?: 'none' | 'rep' | 'repne';
  /** Not valid with CPL 3 (for test selection only; the meaning still checks). */
  readonly isPrivileged?: boolean;
}

export interface Row {
  readonly pattern: string;
  readonly mnemonic: string;
  /** Operand kinds, such as ['Ev', 'Gv']. */
  readonly operands: readonly string[];
  readonly meaning: Meaning;
  readonly options: RowOptions;
}

const ROWS: Row[] = [];

/** Adds one row. `operands` is a comma-separated list, empty for none. */
export function row(
  pattern: string,
  mnemonic: string,
  operands: string,
  meaning: Meaning,
  options: RowOptions = {},
): void {
  const kinds = operands === '' ? [] : operands.split(',').map((kind) => kind.trim());
  ROWS.push({ pattern, mnemonic, operands: kinds, meaning, options });
}

/** All rows that have been added, in order. */
export function allRows(): readonly Row[] {
  return ROWS;
}
