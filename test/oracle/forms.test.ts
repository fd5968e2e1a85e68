// The list of forms is written from the manual and not from Quire's table; this checks that neither
// of the two has user-mode instructions that the other lacks.

import { expect, test } from 'vitest';
import { allRows, type Row } from '../../src/cpu/instruction-table.ts';
import '../../src/cpu/instructions/index.ts';
import { FORMS } from './forms.ts';

/** `66 0F 6F` from either notation: prefixes, opcode bytes, then `/n`; registers stripped. */
function key(pattern: string): string {
  return pattern
    .replace(/^NP /, '')
    .replace(/\s*\+[ri]$/, '')
    .trim();
}

/** Rows that forms.ts leaves out on purpose, by mnemonic. */
const ELSEWHERE: ReadonlyMap<string, string> = new Map([
  ['CPUID', 'its result is this processor model, tested in src/cpu'],
  ['RDTSC', 'its result is the time'],
  ['RDPMC', 'depends on the host kernel'],
  ['SYSENTER', 'enters the host kernel; guest program state.S'],
  ['SYSEXIT', 'privileged; guest program state.S'],
  ['SGDT', 'the host may hide it (UMIP)'],
  ['SIDT', 'the host may hide it (UMIP)'],
  ['SLDT', 'the host may hide it (UMIP)'],
  ['STR', 'the host may hide it (UMIP)'],
  ['SMSW', 'the host may hide it (UMIP)'],
  ['FXSAVE', 'larger than the window; guest program state.S'],
  ['FXRSTOR', 'larger than the window; guest program state.S'],
  ['FSTP1', 'undocumented; on AMD an empty register is no stack fault'],
  ['UD1', 'raises #UD by definition'],
  ['UD0', 'raises #UD by definition'],
]);

const known = new Set(FORMS.map((form) => key(form.opcode)));

function isCovered(row: Row): boolean {
  if (row.options.isPrivileged || ELSEWHERE.has(row.mnemonic.split(' ').at(-1)!)) return true;
  const own = key(row.pattern);
  // A row for all digits, or one without a mandatory prefix, may be several forms and the reverse.
  const prefix = `${own} /`;
  return (
    known.has(own) ||
    known.has(own.replace(/ \/\d$/, '')) ||
    [...known].some((form) => form.startsWith(prefix))
  );
}

test('every user-mode row of the instruction table has a form', () => {
  const missing = allRows()
    .filter((row) => !isCovered(row))
    .map((row) => `${row.pattern} ${row.mnemonic} ${row.operands.join(',')}`);
  expect(missing).toEqual([]);
});

test('no form is listed twice', () => {
  const names = FORMS.map((form) => `${form.opcode} ${form.operands.join(',')}`);
  expect(names.filter((name, i) => names.indexOf(name) !== i)).toEqual([]);
});
