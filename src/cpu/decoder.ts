// Takes x86 machine code apart: prefixes, opcode, ModRM, SIB, displacement, immediates. It knows
// the table's notation and no engine. Intel SDM volume 2, chapter 2 "Instruction Format".

import type { Row } from './instruction-table.ts';
import {
  type CompiledRow,
  NO_ROW,
  OpcodeMap,
  PREFIX_66,
  PREFIX_F2,
  PREFIX_F3,
  PREFIX_NONE,
} from './opcode-map.ts';
import { DS, ES, GPR, SS, ZERO_REGISTER } from './state-layout.ts';

/** Longest instruction, bytes; a longer one is #GP(0). SDM volume 2, section 2.3.11. */
export const INSTRUCTION_BYTES_MAX = 15;

/** Why `decode` gave no instruction. */
export const DECODE_OK = 0;
/** More bytes are needed than were given. */
export const DECODE_SHORT = 1;
/** #UD. */
export const DECODE_UNDEFINED = 2;
/** Longer than 15 bytes: #GP(0). */
export const DECODE_TOO_LONG = 3;

/**
 * One decoded instruction; `decode` overwrites it. Register fields are byte offsets into the state
 * area for general registers, 16 × number for MMX and XMM, and plain numbers for the others.
 */
export class DecodedInstruction {
  rowIndex = NO_ROW;
  lengthBytes = 0;
  operandSize: 2 | 4 = 4;
  addressSize: 2 | 4 = 4;
  isMemory = false;
  /** The operand in ModRM.reg. */
  reg = 0;
  /** The register in ModRM.rm or the low opcode bits; for memory the base register's offset. */
  base = 0;
  /** Index register's offset (ZERO_REGISTER if there is none) and shift count. */
  index = 0;
  scale = 0;
  hasIndex = false;
  segment = 0;
  displacement = 0;
  immediate = 0;
}

/** Register offsets of the 16-bit base + index forms: SDM volume 2, table 2-1. */
const BASE16 = [3, 3, 5, 5, 6, 7, 5, 3].map((register) => GPR + register * 8);
const INDEX16 = [6, 7, 6, 7, -1, -1, -1, -1].map((register) =>
  register < 0 ? ZERO_REGISTER : GPR + register * 8,
);
const SEGMENT16 = [DS, DS, SS, SS, DS, DS, SS, DS];

const SEGMENT_PREFIXES: Readonly<Record<number, number>> = {
  38: 0,
  46: 1,
  54: 2,
  62: 3,
  100: 4,
  101: 5,
};

const MAP_0F = 1;
const REG_ESP = 4;
const REG_EBP = 5;

export class Decoder {
  readonly map: OpcodeMap;
  /** The instruction that `decode` found last. */
  readonly instruction = new DecodedInstruction();
  #bytes: Uint8Array = new Uint8Array(0);
  #position = 0;
  #end = 0;
  #isShort = false;
  #segment = -1;

  /** @throws {RangeError} if the rows contradict one another */
  constructor(rows: readonly Row[]) {
    this.map = new OpcodeMap(rows);
  }

  /**
   * Decodes at `start`, reading no byte at or behind `end`.
   * @param is32 whether operands and addresses are 32 bits wide by default (CS.D)
   * @returns DECODE_OK, with `instruction` filled; or why not
   */
  decode(bytes: Uint8Array, start: number, end: number, is32: boolean): number {
    this.#bytes = bytes;
    this.#position = start;
    this.#end = Math.min(end, start + INSTRUCTION_BYTES_MAX);
    this.#isShort = false;
    this.#segment = -1;
    const status = this.#decodeAll(is32);
    if (this.#isShort) {
      return this.#end === start + INSTRUCTION_BYTES_MAX ? DECODE_TOO_LONG : DECODE_SHORT;
    }
    this.instruction.lengthBytes = this.#position - start;
    return status;
  }

  #decodeAll(is32: boolean): number {
    const found = this.instruction;
    found.operandSize = is32 ? 4 : 2;
    found.addressSize = is32 ? 4 : 2;
    let repeat = PREFIX_NONE;
    let has66 = false;
    let hasLock = false;
    let opcode = this.#u8();
    for (; !this.#isShort; opcode = this.#u8()) {
      if (opcode === 0x66) has66 = true;
      else if (opcode === 0x67) found.addressSize = is32 ? 2 : 4;
      else if (opcode === 0xf0) hasLock = true;
      else if (opcode === 0xf2) repeat = PREFIX_F2;
      else if (opcode === 0xf3) repeat = PREFIX_F3;
      else if (opcode in SEGMENT_PREFIXES) this.#segment = SEGMENT_PREFIXES[opcode]!;
      else break;
    }
    if (has66) found.operandSize = is32 ? 2 : 4;
    let map = 0;
    if (opcode === 0x0f) {
      map = MAP_0F;
      opcode = this.#u8();
    }
    const hasModRM = this.map.hasModRM(map, opcode);
    const modrm = hasModRM ? this.#u8() : 0;
    if (this.#isShort) return DECODE_SHORT;
    const prefixClass = repeat !== PREFIX_NONE ? repeat : has66 ? PREFIX_66 : PREFIX_NONE;
    found.rowIndex = this.map.find(map, opcode, prefixClass, modrm);
    if (found.rowIndex === NO_ROW) {
      // The address is fetched all the same: a fault on its bytes comes before #UD.
      if (hasModRM && modrm < 0xc0) this.#decodeAddress(modrm);
      return DECODE_UNDEFINED;
    }
    const compiled = this.map.rows[found.rowIndex]!;
    this.#decodeOperands(compiled, opcode, modrm);
    if (hasLock && !(compiled.row.options.allowsLock && found.isMemory)) return DECODE_UNDEFINED;
    return DECODE_OK;
  }

  #decodeOperands(compiled: CompiledRow, opcode: number, modrm: number): void {
    const found = this.instruction;
    found.isMemory = compiled.hasModRM && modrm < 0xc0 && compiled.pattern.fixedModRM < 0;
    found.reg = 0;
    found.base = ZERO_REGISTER;
    found.index = ZERO_REGISTER;
    found.scale = 0;
    found.hasIndex = false;
    found.displacement = 0;
    found.immediate = 0;
    found.segment = this.#segment < 0 ? DS : this.#segment;
    if (found.isMemory) this.#decodeAddress(modrm);
    let immediateShift = 0;
    for (const kind of compiled.kinds) {
      const size = kind.size === 0 ? found.operandSize : kind.size;
      switch (kind.place) {
        case 'G':
          found.reg = registerOffset((modrm >> 3) & 7, size);
          break;
        case 'P':
        case 'V':
          found.reg = ((modrm >> 3) & 7) * 16;
          break;
        case 'S':
        case 'C':
        case 'D':
          found.reg = (modrm >> 3) & 7;
          break;
        case 'E':
        case 'R':
          if (!found.isMemory) found.base = registerOffset(modrm & 7, size);
          break;
        case 'Q':
        case 'N':
        case 'W':
        case 'U':
          if (!found.isMemory) found.base = (modrm & 7) * 16;
          break;
        case 'STi':
          found.base = modrm & 7;
          break;
        case 'Z':
          found.base = registerOffset(opcode & 7, size);
          break;
        case 'I': {
          const value = this.#immediate(size, kind.isSignExtended);
          found.immediate |= value << immediateShift;
          immediateShift = size * 8;
          break;
        }
        case 'J':
          found.immediate = this.#immediate(size, true);
          break;
        case 'A':
          found.displacement = this.#immediate(size, false);
          found.immediate = this.#immediate(2, false);
          break;
        case 'O':
          found.isMemory = true;
          found.displacement = this.#immediate(found.addressSize, false);
          break;
        case 'X':
        case 'Y':
          found.isMemory = true;
          break;
        default:
          break;
      }
    }
    if (compiled.kinds.length > 0 && compiled.kinds.every(({ place }) => place === 'Y')) {
      found.segment = ES;
    }
  }

  #decodeAddress(modrm: number): void {
    if (this.instruction.addressSize === 2) this.#address16(modrm);
    else this.#address32(modrm);
  }

  #address32(modrm: number): void {
    const found = this.instruction;
    const mod = modrm >> 6;
    let base = modrm & 7;
    if (base === REG_ESP) {
      const sib = this.#u8();
      base = sib & 7;
      const index = (sib >> 3) & 7;
      if (index !== REG_ESP) {
        found.index = GPR + index * 8;
        found.scale = sib >> 6;
        found.hasIndex = true;
      }
    }
    if (mod === 0 && base === REG_EBP) {
      found.displacement = this.#immediate(4, false);
      return;
    }
    found.base = GPR + base * 8;
    if (this.#segment < 0 && (base === REG_ESP || base === REG_EBP)) found.segment = SS;
    if (mod === 1) found.displacement = this.#immediate(1, true);
    else if (mod === 2) found.displacement = this.#immediate(4, false);
  }

  #address16(modrm: number): void {
    const found = this.instruction;
    const mod = modrm >> 6;
    const rm = modrm & 7;
    if (mod === 0 && rm === 6) {
      found.displacement = this.#immediate(2, false);
      return;
    }
    found.base = BASE16[rm]!;
    found.index = INDEX16[rm]!;
    found.hasIndex = true;
    if (this.#segment < 0) found.segment = SEGMENT16[rm]!;
    if (mod === 1) found.displacement = this.#immediate(1, true);
    else if (mod === 2) found.displacement = this.#immediate(2, true);
  }

  #u8(): number {
    if (this.#position >= this.#end) {
      this.#isShort = true;
      return 0;
    }
    return this.#bytes[this.#position++]!;
  }

  /** 1, 2 or 4 bytes, as i32; zero- or sign-extended. */
  #immediate(size: number, isSigned: boolean): number {
    let value = this.#u8();
    if (size === 1) return isSigned ? (value << 24) >> 24 : value;
    value |= this.#u8() << 8;
    if (size === 2) return isSigned ? (value << 16) >> 16 : value;
    return value | (this.#u8() << 16) | (this.#u8() << 24);
  }
}

/**
 * Where a general register lies in the state: AH CH DH BH are the second bytes of the first four.
 */
export function registerOffset(number: number, size: number): number {
  if (size === 1) return GPR + (number & 3) * 8 + (number >> 2);
  return GPR + number * 8;
}
