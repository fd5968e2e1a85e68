// The guest programs on the translator; what they print is compared with QEMU by the quick test.

import { readdirSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { buildGuest, missingTool, runInQuire } from '../guests/run-guest.ts';
import { eagerTranslator } from '../oracle/eager-translator.ts';

const names = readdirSync(new URL('../guests', import.meta.url)).filter((name) =>
  name.endsWith('.S'),
);
const noCompiler = missingTool('gcc');

describe.skipIf(noCompiler !== undefined)(`guest programs ${noCompiler ?? ''}`, () => {
  test.each(names)('%s translated', (name) => {
    const output = runInQuire(buildGuest(name.slice(0, -2)), eagerTranslator);
    expect(output.split('\n').filter((line) => line.includes('FAIL'))).toEqual([]);
    expect(output.trimEnd().split('\n').at(-1)).toBe('DONE');
  });
});
