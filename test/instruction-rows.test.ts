// Goal: every row of the instruction table can be emitted: types are checked while building, and
// WebAssembly accepts the module. What the rows do is compared with a real processor elsewhere.

import { expect, test } from 'vitest';
import { buildInterpreter } from '../src/accel/software/interpreter-module.ts';
import { systemMethodArguments } from '../src/accel/software/system-methods.ts';
import { allRows } from '../src/cpu/instruction-table.ts';
import '../src/cpu/instructions/index.ts';
import { OpcodeMap } from '../src/cpu/opcode-map.ts';

test('every row emits by itself', () => {
  const methods = systemMethodArguments();
  const failures: string[] = [];
  for (const row of allRows()) {
    try {
      buildInterpreter(new OpcodeMap([row]), methods);
    } catch (error) {
      failures.push(`${row.pattern} ${row.mnemonic} ${row.operands.join()}: ${error}`);
    }
  }
  expect(failures).toEqual([]);
});

test('WebAssembly accepts the module of all rows', () => {
  const { bytes, handlerCount } = buildInterpreter(
    new OpcodeMap(allRows()),
    systemMethodArguments(),
  );
  expect(handlerCount).toBeGreaterThan(allRows().length);
  expect(new WebAssembly.Module(bytes)).toBeInstanceOf(WebAssembly.Module);
});
