// Rows about single flags and EFLAGS as a whole. Intel SDM volume 2: CLC … STI, PUSHF, POPF.

import { i32 } from '../../wasm/index.ts';
import type { Emitter } from '../emitter.ts';
import { FLAG_DF, FLAG_IF } from '../flags.ts';
import { type RowOptions, row } from '../instruction-table.ts';
import { CPL, EFLAGS_REST } from '../state-layout.ts';

row('F8', 'CLC', '', (e) => e.flags.setCarry(i32(0)));
row('F9', 'STC', '', (e) => e.flags.setCarry(i32(1)));
row('F5', 'CMC', '', (e) => e.flags.setCarry(e.flags.cf().xor(1)));

row('FC', 'CLD', '', (e) => e.storeState32(EFLAGS_REST, e.loadState32(EFLAGS_REST).and(~FLAG_DF)));
row('FD', 'STD', '', (e) => e.storeState32(EFLAGS_REST, e.loadState32(EFLAGS_REST).or(FLAG_DF)));

/** CPL ≤ IOPL: IF may be changed in every mode (SDM volume 2, tables of CLI and STI). */
function mayChangeIF(e: Emitter) {
  const iopl = e.loadState32(EFLAGS_REST).shrU(12).and(3);
  return e.loadState32(CPL).leU(iopl);
}

// A kernel's most frequent system instructions: the plain case is inline. Clearing IF makes nothing
// deliverable; setting it where it is set already changes nothing.
row('FA', 'CLI', '', (e) =>
  e.f.if(
    mayChangeIF(e),
    () => e.storeState32(EFLAGS_REST, e.loadState32(EFLAGS_REST).and(~FLAG_IF)),
    () => e.system('cli'),
  ),
);
row('FB', 'STI', '', (e) => {
  const isSet = e.loadState32(EFLAGS_REST).and(FLAG_IF).ne(0);
  e.f.if(mayChangeIF(e).and(isSet).eqz(), () => e.system('sti'));
});

const SIZED: RowOptions = { usesOperandSize: true };
row('9C', 'PUSHF', '', (e) => e.system(e.operandSize === 2 ? 'pushf16' : 'pushf32'), SIZED);
row('9D', 'POPF', '', (e) => e.system(e.operandSize === 2 ? 'popf16' : 'popf32'), SIZED);
