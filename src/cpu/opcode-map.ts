// Look-up from opcode, prefix and ModRM byte to the row of the instruction table, made from the
// patterns of the rows. A table per opcode: 4 prefix classes × 256 ModRM values.

import type { Row } from './instruction-table.ts';
import { allowedForms, needsModRM, type OperandKind, parseOperandKind } from './operand-kind.ts';

/** Prefix classes: which mandatory prefix is in effect. */
export const PREFIX_NONE = 0;
export const PREFIX_66 = 1;
export const PREFIX_F3 = 2;
export const PREFIX_F2 = 3;
const PREFIX_CLASSES = 4;
/** From here on a ModRM byte names a register. */
const MODRM_REGISTER = 0xc0;

/** No row: the opcode is undefined. */
export const NO_ROW = -1;

interface Pattern {
  /** 0 for one-byte opcodes, 1 for those behind 0F. */
  readonly map: 0 | 1;
  readonly opcode: number;
  readonly opcodeCount: number;
  readonly prefixes: readonly number[];
  readonly hasPrefix: boolean;
  readonly digit: number;
  readonly fixedModRM: number;
  readonly fixedModRMCount: number;
}

export interface CompiledRow {
  readonly row: Row;
  readonly index: number;
  readonly kinds: readonly OperandKind[];
  readonly pattern: Pattern;
  readonly hasModRM: boolean;
  /** Has an immediate. */
  readonly hasImmediate: boolean;
  /** Jumps by a distance that the code holds. */
  readonly isBranch: boolean;
}

const PREFIX_TOKENS: Readonly<Record<string, number>> = {
  NP: PREFIX_NONE,
  '66': PREFIX_66,
  F3: PREFIX_F3,
  F2: PREFIX_F2,
};

/** @throws {RangeError} if the pattern is not well formed */
export function parsePattern(row: Row): Pattern {
  const tokens = row.pattern.split(' ');
  let prefixes = [0, 1, 2, 3];
  const { rep } = row.options;
  let hasPrefix = rep !== undefined;
  if (rep === 'none') prefixes = [PREFIX_NONE, PREFIX_66];
  if (rep === 'rep') prefixes = [PREFIX_F3];
  if (rep === 'repne') prefixes = [PREFIX_F2];
  if (tokens.length > 1 && tokens[0]! in PREFIX_TOKENS) {
    prefixes = [PREFIX_TOKENS[tokens.shift()!]!];
    hasPrefix = true;
  }
  let map: 0 | 1 = 0;
  if (tokens[0] === '0F' && tokens.length > 1) {
    map = 1;
    tokens.shift();
  }
  const [opcode, opcodeCount] = parseByte(row, tokens.shift());
  let digit = -1;
  let fixedModRM = -1;
  let fixedModRMCount = 1;
  const rest = tokens.shift();
  if (rest?.startsWith('/')) digit = Number(rest.slice(1));
  else if (rest !== undefined) [fixedModRM, fixedModRMCount] = parseByte(row, rest);
  if (tokens.length > 0) throw new RangeError(`Cannot read pattern "${row.pattern}"`);
  return { map, opcode, opcodeCount, prefixes, hasPrefix, digit, fixedModRM, fixedModRMCount };
}

/** A byte, or with `+r` or `+i` the first of eight. */
function parseByte(row: Row, token: string | undefined): [number, number] {
  const match = /^([0-9A-F]{2})(\+[ri])?$/.exec(token ?? '');
  if (!match) throw new RangeError(`Cannot read pattern "${row.pattern}" at "${token}"`);
  return [Number.parseInt(match[1]!, 16), match[2] ? 8 : 1];
}

function compileRow(row: Row, index: number): CompiledRow {
  const kinds = row.operands.map(parseOperandKind);
  const pattern = parsePattern(row);
  const hasModRM = kinds.some(needsModRM) || pattern.digit >= 0 || pattern.fixedModRM >= 0;
  const places = kinds.map(({ place }) => place);
  return {
    ...{ row, index, kinds, pattern, hasModRM },
    hasImmediate: places.includes('I'),
    isBranch: places.includes('J'),
  };
}

/** How closely a row says what it matches; the closest wins. */
function specificity({ pattern }: CompiledRow): number {
  return (pattern.fixedModRM >= 0 ? 4 : pattern.digit >= 0 ? 2 : 0) + (pattern.hasPrefix ? 1 : 0);
}

/** The ModRM bytes that a row matches, as runs [start, end, start, end, …]. */
function modrmRuns({ pattern, kinds }: CompiledRow): number[] {
  if (pattern.fixedModRM >= 0) {
    return [pattern.fixedModRM, pattern.fixedModRM + pattern.fixedModRMCount];
  }
  const forms = kinds.map(allowedForms);
  const start = forms.includes('register') ? MODRM_REGISTER : 0;
  const end = forms.includes('memory') ? MODRM_REGISTER : 256;
  if (pattern.digit < 0) return [start, end];
  const runs: number[] = [];
  for (let mod = start; mod < end; mod += 64) {
    const first = mod + pattern.digit * 8;
    runs.push(first, first + 8);
  }
  return runs;
}

/** What `#fill` needs of a row. */
interface Candidate {
  readonly compiled: CompiledRow;
  readonly rank: number;
  readonly runs: readonly number[];
}

function doOverlap(one: Candidate, other: Candidate): boolean {
  const { prefixes } = other.compiled.pattern;
  if (!one.compiled.pattern.prefixes.some((prefix) => prefixes.includes(prefix))) return false;
  for (let i = 0; i < one.runs.length; i += 2)
    for (let j = 0; j < other.runs.length; j += 2)
      if (one.runs[i]! < other.runs[j + 1]! && other.runs[j]! < one.runs[i + 1]!) return true;
  return false;
}

export class OpcodeMap {
  readonly rows: readonly CompiledRow[];
  /** By map × 256 + opcode: whether a ModRM byte follows. */
  readonly #hasModRM = new Uint8Array(512);
  /** By map × 256 + opcode: row index by prefix class × 256 + ModRM (or 0). */
  readonly #tables: (Int16Array | undefined)[] = new Array(512).fill(undefined);

  /** @throws {RangeError} if two rows claim the same encoding, or ModRM use is contradictory */
  constructor(rows: readonly Row[]) {
    this.rows = rows.map(compileRow);
    const byOpcode = new Map<number, CompiledRow[]>();
    for (const compiled of this.rows) {
      const { map, opcode, opcodeCount } = compiled.pattern;
      for (let extra = 0; extra < opcodeCount; extra++) {
        const key = map * 256 + opcode + extra;
        const list = byOpcode.get(key);
        if (list) list.push(compiled);
        else byOpcode.set(key, [compiled]);
      }
    }
    for (const [key, candidates] of byOpcode) this.#fill(key, candidates);
  }

  hasModRM(map: number, opcode: number): boolean {
    return this.#hasModRM[map * 256 + opcode] === 1;
  }

  /** Row index, or NO_ROW. Without a ModRM byte pass 0. */
  find(map: number, opcode: number, prefixClass: number, modrm: number): number {
    const table = this.#tables[map * 256 + opcode];
    return table ? table[prefixClass * 256 + modrm]! : NO_ROW;
  }

  #fill(key: number, candidates: CompiledRow[]): void {
    const hasModRM = candidates[0]!.hasModRM;
    if (candidates.some((candidate) => candidate.hasModRM !== hasModRM)) {
      throw new RangeError(
        `Cannot map opcode 0x${key.toString(16)} as its rows differ in having a ModRM byte: ` +
          candidates.map(({ row }) => `${row.mnemonic} "${row.pattern}"`).join(', '),
      );
    }
    this.#hasModRM[key] = hasModRM ? 1 : 0;
    // A map is made at each start, in code that is not hot yet: runs are filled, not cells.
    const found = candidates.map((compiled): Candidate => {
      const runs = hasModRM ? modrmRuns(compiled) : [0, 1];
      return { compiled, rank: specificity(compiled), runs };
    });
    found.sort((one, other) => one.rank - other.rank);
    const table = new Int16Array(PREFIX_CLASSES * 256).fill(NO_ROW);
    for (const [at, candidate] of found.entries()) {
      const { compiled, rank, runs } = candidate;
      for (let i = at - 1; i >= 0 && found[i]!.rank === rank; i--)
        if (doOverlap(found[i]!, candidate)) this.#refuseTwo(found[i]!.compiled, compiled);
      for (const prefix of compiled.pattern.prefixes)
        for (let i = 0; i < runs.length; i += 2)
          table.fill(compiled.index, prefix * 256 + runs[i]!, prefix * 256 + runs[i + 1]!);
    }
    this.#tables[key] = table;
  }

  #refuseTwo(one: CompiledRow, other: CompiledRow): never {
    throw new RangeError(
      `Cannot map "${other.row.pattern}" ${other.row.mnemonic} as "${one.row.pattern}" ` +
        `${one.row.mnemonic} claims the same encoding`,
    );
  }
}
