import { mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { countingMachine } from '../../test/snapshot-guest.ts';
import { buildInterpreterBytes, usePrebuiltInterpreter } from '../accel/software/index.ts';
import { readPrebuiltInterpreter, writePrebuiltInterpreter } from './prebuilt-interpreter.ts';

const ECX = 1;
let folder = '';
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'quire-prebuilt-'));
  mkdirSync(join(folder, 'accel', 'software'), { recursive: true });
  writeFileSync(join(folder, '.core.tsbuildinfo'), 'one state of the sources');
  expect(readPrebuiltInterpreter(folder)).toBeUndefined();
  writePrebuiltInterpreter(folder);
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

// Goal: what starts quickly is what would have been built, or machines differ by how they start.
test('the file holds what a process would build, and a stamp', () => {
  const bytes = readPrebuiltInterpreter(folder)!;
  const fresh = buildInterpreterBytes();
  expect(bytes.length - fresh.length).toBeLessThan(128);
  expect(Buffer.compare(bytes.subarray(0, fresh.length), fresh)).toBe(0);
});

test('a machine runs with it', () => {
  let askedCount = 0;
  usePrebuiltInterpreter(() => {
    askedCount++;
    return readPrebuiltInterpreter(folder);
  });
  for (let count = 0; count < 2; count++) {
    const machine = countingMachine();
    machine.vcpu.run(60);
    expect(machine.vcpu.state.reg32(ECX)).toBe(10); // Six instructions a round.
    machine.close();
  }
  expect(askedCount).toBe(1);
});

test('it is not made again for the same sources', () => {
  const path = join(folder, 'accel', 'software', 'interpreter.wasm');
  const before = statSync(path, { bigint: true }).mtimeNs;
  writePrebuiltInterpreter(folder);
  expect(statSync(path, { bigint: true }).mtimeNs).toBe(before);
});

// Goal: `tsc -b` alone, after an edit, must not leave a file behind that is used.
test('it is not used for other sources; without any it is', () => {
  writeFileSync(join(folder, '.core.tsbuildinfo'), 'another state');
  expect(readPrebuiltInterpreter(folder)).toBeUndefined();
  rmSync(join(folder, '.core.tsbuildinfo'));
  expect(readPrebuiltInterpreter(folder)).toBeDefined();
});
