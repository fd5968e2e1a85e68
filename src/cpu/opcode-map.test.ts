import { expect, test } from 'vitest';
import type { Row } from './instruction-table.ts';
import { NO_ROW, OpcodeMap, PREFIX_66, PREFIX_NONE } from './opcode-map.ts';

function row(pattern: string, operands: readonly string[] = []): Row {
  return { pattern, mnemonic: pattern, operands, meaning: () => {}, options: {} };
}

test.each([
  ['the same opcode', [row('90'), row('90')]],
  ['an opcode in a run of eight', [row('40+r', ['Zv']), row('43')]],
  ['the same digit', [row('80 /0', ['Eb', 'Ib']), row('80 /0', ['Mb'])]],
  ['the same prefix', [row('66 0F 10', ['Vpd', 'Wpd']), row('66 0F 10', ['Vpd', 'Mq'])]],
  ['register forms of both', [row('8B', ['Gv', 'Ev']), row('8B', ['Gv', 'Rv'])]],
])('two rows are refused that claim %s', (_what, rows) => {
  expect(() => new OpcodeMap(rows)).toThrow(/claims the same encoding/);
});

test('rows of one opcode share it by digit, form, prefix and fixed byte', () => {
  const map = new OpcodeMap([
    row('0F 01 /2', ['M']),
    row('0F 01 D8+i'),
    row('0F 01 /3', ['Ev']),
    row('66 0F 01 /3', ['Mq']),
  ]);
  const find = (modrm: number, prefix = PREFIX_NONE): number => map.find(1, 0x01, prefix, modrm);
  expect(find(0x10)).toBe(0); // [eax], digit 2
  expect(find(0xd0)).toBe(NO_ROW); // eax, digit 2: memory only
  expect(find(0x58)).toBe(2);
  expect([find(0xd8), find(0xdf)]).toEqual([1, 1]); // A fixed byte is closer than a digit.
  expect([find(0x58, PREFIX_66), find(0xd8, PREFIX_66)]).toEqual([3, 1]);
  expect(map.hasModRM(1, 0x01)).toBe(true);
  expect(map.find(0, 0x01, PREFIX_NONE, 0x10)).toBe(NO_ROW);
});

test('rows of one opcode agree whether a ModRM byte follows', () => {
  expect(() => new OpcodeMap([row('80', ['Ib']), row('80 /0', ['Eb'])])).toThrow(/ModRM/);
});
