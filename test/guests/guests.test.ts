// The guest programs of this folder on Quire, and the same under QEMU. A program knows from the
// manuals what is right and says OK or FAIL itself; QEMU then has to agree line by line, except for
// lines that the program's source names in `# QEMU differs: <beginning of the line> (why)`.

import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { interpreterAccelerator } from '../../src/accel/software/index.ts';
import { buildGuest, missingTool, runInQEMU, runInQuire, selfCheckingGuests } from './run-guest.ts';

const HERE = dirname(fileURLToPath(import.meta.url));
const TEST_TIMEOUT_MS = 60_000;
const QEMU_CPU = 'max';

const noCompiler = missingTool('gcc');
const noQEMU = missingTool('qemu');

/** Lines of `output` but for those that begin with one of `exceptions`. */
function comparable(output: string, exceptions: readonly string[]): string[] {
  return output.split('\n').filter((line) => !exceptions.some((start) => line.startsWith(start)));
}

const qemuNote = noQEMU === undefined ? '' : ` (not compared: ${noQEMU})`;

describe.skipIf(noCompiler !== undefined)(`guest programs ${noCompiler ?? ''}`, () => {
  for (const name of selfCheckingGuests()) {
    test(
      `${name}: what the manuals say, and what QEMU does${qemuNote}`,
      () => {
        const program = buildGuest(name);
        const quire = runInQuire(program, interpreterAccelerator);
        expect(quire.split('\n').filter((line) => line.includes('FAIL'))).toEqual([]);
        expect(quire.trimEnd().split('\n').at(-1)).toBe('DONE');
        if (noQEMU) return;
        const source = readFileSync(join(HERE, `${name}.S`), 'utf8');
        const exceptions = [...source.matchAll(/# QEMU differs: (.*?) \(/g)].map((m) => m[1]!);
        const qemu = runInQEMU(program, QEMU_CPU);
        expect(comparable(quire, exceptions)).toEqual(comparable(qemu, exceptions));
      },
      TEST_TIMEOUT_MS,
    );
  }
});
