// The guest programs on the translator; what they print is compared with QEMU by the quick test.

import { describe, expect, test } from 'vitest';
import { buildGuest, missingTool, runInQuire, selfCheckingGuests } from '../guests/run-guest.ts';
import { eagerTranslator } from '../oracle/eager-translator.ts';

const noCompiler = missingTool('gcc');

describe.skipIf(noCompiler !== undefined)(`guest programs ${noCompiler ?? ''}`, () => {
  test.each(selfCheckingGuests())('%s translated', (name) => {
    const output = runInQuire(buildGuest(name), eagerTranslator);
    expect(output.split('\n').filter((line) => line.includes('FAIL'))).toEqual([]);
    expect(output.trimEnd().split('\n').at(-1)).toBe('DONE');
  });
});
