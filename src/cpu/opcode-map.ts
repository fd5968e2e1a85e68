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
  return { row, index, kinds, pattern, hasModRM };
}

/** How closely a row says what it matches; the closest wins. */
function specificity({ pattern }: CompiledRow): number {
  return (pattern.fixedModRM >= 0 ? 4 : pattern.digit >= 0 ? 2 : 0) + (pattern.hasPrefix ? 1 : 0);
}

function matchesModRM({ pattern, kinds }: CompiledRow, modrm: number): boolean {
  if (pattern.fixedModRM >= 0) {
    return modrm >= pattern.fixedModRM && modrm < pattern.fixedModRM + pattern.fixedModRMCount;
  }
  if (pattern.digit >= 0 && ((modrm >> 3) & 7) !== pattern.digit) return false;
  const isRegister = modrm >= 0xc0;
  return kinds.every((kind) => {
    const forms = allowedForms(kind);
    return forms === 'both' || (forms === 'register') === isRegister;
  });
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
    const table = new Int16Array(PREFIX_CLASSES * 256).fill(NO_ROW);
    const best = new Int8Array(PREFIX_CLASSES * 256).fill(-1);
    for (const candidate of candidates) {
      const rank = specificity(candidate);
      for (const prefix of candidate.pattern.prefixes) {
        for (let modrm = 0; modrm < (hasModRM ? 256 : 1); modrm++) {
          if (hasModRM && !matchesModRM(candidate, modrm)) continue;
          const cell = prefix * 256 + modrm;
          if (rank === best[cell]) this.#refuseTwo(this.rows[table[cell]!]!, candidate);
          if (rank < best[cell]!) continue;
          best[cell] = rank;
          table[cell] = candidate.index;
        }
      }
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
