// Goal: the integer and system rows claim exactly the encodings that a P6 has, without conflicts.

import { expect, test } from 'vitest';
import { allRows } from '../instruction-table.ts';
import { NO_ROW, OpcodeMap, PREFIX_F2, PREFIX_F3, PREFIX_NONE } from '../opcode-map.ts';
import './index.ts';

const map = new OpcodeMap(allRows());

/** Whether any prefix and ModRM byte lead to a row. */
function isClaimed(page: number, opcode: number): boolean {
  for (let prefix = 0; prefix < 4; prefix++) {
    for (let modrm = 0; modrm < 256; modrm++) {
      if (map.find(page, opcode, prefix, modrm) !== NO_ROW) return true;
    }
  }
  return false;
}

function mnemonicOf(page: number, opcode: number, modrm = 0, prefix = PREFIX_NONE): string {
  const index = map.find(page, opcode, prefix, modrm);
  return index === NO_ROW ? '#UD' : map.rows[index]!.row.mnemonic;
}

// One-byte opcodes that are no instruction of the integer unit (SDM volume 2, table A-2): prefixes,
// the 0F escape, WAIT and the x87 escapes, which other files have.
const PREFIXES = [0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x66, 0x67, 0xf0, 0xf2, 0xf3, 0x0f];
const X87_OPCODES = [0x9b, 0xd8, 0xd9, 0xda, 0xdb, 0xdc, 0xdd, 0xde, 0xdf];

test('every one-byte opcode but prefixes and x87 has a row', () => {
  const missing: number[] = [];
  for (let opcode = 0; opcode < 256; opcode++) {
    if (X87_OPCODES.includes(opcode)) continue;
    if (isClaimed(0, opcode) === PREFIXES.includes(opcode)) missing.push(opcode);
  }
  expect(missing.map((opcode) => opcode.toString(16))).toEqual([]);
});

// Integer and system opcodes of the 0F map that a P6 has (SDM volume 2, table A-3).
const TWO_BYTE: readonly (readonly [number, number])[] = [
  [0x00, 0x03],
  [0x06, 0x06],
  [0x08, 0x09],
  [0x0b, 0x0b],
  [0x19, 0x23],
  [0x30, 0x35],
  [0x40, 0x4f],
  [0x80, 0xa5],
  [0xa8, 0xa9],
  [0xab, 0xad],
  [0xaf, 0xb7],
  [0xb9, 0xc1],
  [0xc7, 0xcf],
];

test('every integer opcode behind 0F has a row', () => {
  const missing: string[] = [];
  for (const [first, last] of TWO_BYTE) {
    for (let opcode = first; opcode <= last; opcode++) {
      if (!isClaimed(1, opcode)) missing.push(opcode.toString(16));
    }
  }
  expect(missing).toEqual([]);
});

// Not on a P6, or #UD on purpose: SYSCALL and SYSRET (AMD, long mode), 3DNow!, 0F 24–27 (test
// registers of the 386 and 486), GETSEC, RSM (outside SMM), POPCNT and JMPE, UD0, three-byte maps.
const UNDEFINED_TWO_BYTE = [
  0x04, 0x05, 0x07, 0x0a, 0x0c, 0x0e, 0x0f, 0x24, 0x25, 0x26, 0x27, 0x36, 0x37, 0x38, 0x39, 0x3a,
  0x3b, 0x3c, 0x3d, 0x3e, 0x3f, 0xa6, 0xa7, 0xaa, 0xb8, 0xff,
];

test('opcodes that a P6 has not are undefined', () => {
  const claimed = UNDEFINED_TWO_BYTE.filter((opcode) => isClaimed(1, opcode));
  expect(claimed.map((opcode) => opcode.toString(16))).toEqual([]);
});

test('holes in the groups are undefined', () => {
  const register = (digit: number) => 0xc0 | (digit << 3);
  const undefinedDigits = (page: number, opcode: number, modrm: (digit: number) => number) =>
    [0, 1, 2, 3, 4, 5, 6, 7].filter(
      (digit) => map.find(page, opcode, PREFIX_NONE, modrm(digit)) === NO_ROW,
    );
  const memory = (digit: number) => digit << 3;
  expect(undefinedDigits(0, 0xfe, register)).toEqual([2, 3, 4, 5, 6, 7]);
  expect(undefinedDigits(0, 0xff, memory)).toEqual([7]);
  // Far transfers through a register do not exist.
  expect(undefinedDigits(0, 0xff, register)).toEqual([3, 5, 7]);
  expect(undefinedDigits(0, 0x8f, memory)).toEqual([1, 2, 3, 4, 5, 6, 7]);
  expect(undefinedDigits(0, 0xc6, memory)).toEqual([1, 2, 3, 4, 5, 6, 7]);
  expect(undefinedDigits(0, 0x8c, register)).toEqual([6, 7]);
  expect(undefinedDigits(0, 0x8e, register)).toEqual([1, 6, 7]);
  expect(undefinedDigits(1, 0x00, register)).toEqual([6, 7]);
  expect(undefinedDigits(1, 0x01, memory)).toEqual([5]);
  expect(undefinedDigits(1, 0x01, register)).toEqual([0, 1, 2, 3, 5, 7]);
  expect(undefinedDigits(1, 0xba, register)).toEqual([0, 1, 2, 3]);
  expect(undefinedDigits(1, 0xc7, register)).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
  expect(mnemonicOf(0, 0x8d, 0xc0)).toBe('#UD');
  expect(mnemonicOf(0, 0x62, 0xc0)).toBe('#UD');
});

test('prefixes choose between rows of one opcode', () => {
  expect(mnemonicOf(0, 0x90)).toBe('NOP');
  expect(mnemonicOf(0, 0x90, 0, PREFIX_F3)).toBe('PAUSE');
  expect(mnemonicOf(0, 0xa6)).toBe('CMPS');
  expect(mnemonicOf(0, 0xa6, 0, PREFIX_F3)).toBe('REPE CMPS');
  expect(mnemonicOf(0, 0xa6, 0, PREFIX_F2)).toBe('REPNE CMPS');
  expect(mnemonicOf(0, 0xa4, 0, PREFIX_F2)).toBe('REP MOVS');
  // TZCNT is not offered: F3 does nothing to BSF (SDM volume 2, TZCNT).
  expect(mnemonicOf(1, 0xbc, 0, PREFIX_F3)).toBe('BSF');
});

// LOCK with another instruction is #UD (SDM volume 2, LOCK).
test('LOCK goes with the instructions that Intel lists', () => {
  const lockable = new Set(
    allRows()
      .filter(({ options }) => options.allowsLock)
      .map(({ mnemonic }) => mnemonic),
  );
  const listed =
    'ADD ADC AND BTC BTR BTS CMPXCHG CMPXCHG8B DEC INC NEG NOT OR SBB SUB XOR XADD XCHG';
  expect([...lockable].sort()).toEqual(listed.split(' ').sort());
});
