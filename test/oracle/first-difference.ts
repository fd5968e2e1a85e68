// One form, many random cases, two processors: the first case after which they differ.

import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describeCase, differences } from './compare.ts';
import type { Form } from './forms.ts';
import { type GeneratedCase, generateCase } from './generate.ts';
import type { NativeOracle } from './native.ts';
import type { QuireCaseRunner } from './quire-case.ts';
import { Random } from './random.ts';
import { RECORD_BYTES } from './record.ts';

/** `0F AF IMUL Gv,Ev`: the name of a form's test. */
export function formName(form: Form): string {
  return `${form.opcode} ${form.mnemonic} ${form.operands.join(',')}`.trim();
}

/** FNV-1a, so that each form's cases depend on the seed and its name only. */
function seedOf(name: string, seed: number): number {
  let hash = 0x811c9dc5 ^ seed;
  for (const char of name) hash = Math.imul(hash ^ char.charCodeAt(0), 0x01000193);
  return hash;
}

function disassembly(c: GeneratedCase): string {
  const directory = mkdtempSync(join(tmpdir(), 'quire-oracle-'));
  try {
    const file = join(directory, 'code');
    writeFileSync(file, c.record.subarray(1, 1 + c.lengthBytes));
    const args = [
      '-D',
      '-b',
      'binary',
      '-m',
      'i386',
      '-M',
      'intel',
      `--adjust-vma=${c.start}`,
      file,
    ];
    const lines = spawnSync('objdump', args).stdout?.toString().split('\n') ?? [];
    return lines.filter((line) => /^\s*[0-9a-f]+:\t/.test(line)).join('\n');
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

/** The first difference among `count` cases of `form` as a text for people, or undefined. */
export function firstDifference(
  form: Form,
  oracle: NativeOracle,
  quire: QuireCaseRunner,
  options: { seed: number; count: number },
): string | undefined {
  const { seed, count } = options;
  const random = new Random(seedOf(formName(form), seed));
  const cases = Array.from({ length: count }, () =>
    generateCase(form, random, oracle.hasLowMemory),
  );
  const batch = new Uint8Array(count * RECORD_BYTES);
  cases.forEach((c, i) => {
    batch.set(c.record, i * RECORD_BYTES);
  });
  const results = oracle.run(batch);
  for (const [i, c] of cases.entries()) {
    const native = new DataView(
      results.buffer,
      results.byteOffset + i * RECORD_BYTES,
      RECORD_BYTES,
    );
    let found: string[];
    try {
      found = differences(c, native, quire.run(c.record));
    } catch (error) {
      found = [error instanceof Error ? (error.stack ?? error.message) : String(error)];
    }
    if (found.length === 0) continue;
    const heading = `case ${i}, FUZZ_SEED=${seed}`;
    const listed = found.map((line) => `  ${line}`).join('\n');
    return `${heading}\n${describeCase(c)}\n${disassembly(c)}\n${listed}`;
  }
  return undefined;
}
