import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { KVM, STRUCTS } from './abi.ts';

/** Why the headers cannot be compiled here; undefined where they can. */
function missing(): string | undefined {
  const { error, status } = spawnSync('gcc', ['-x', 'c', '-fsyntax-only', '-'], {
    input: '#include <linux/kvm.h>\n',
  });
  if (error) return 'gcc is not installed';
  return status === 0 ? undefined : 'linux/kvm.h is missing (Debian package linux-libc-dev)';
}

/** What the kernel's headers say, by name: numbers, sizes, offsets. */
function compiled(): Map<string, number> {
  const lines = ['#include <linux/kvm.h>', '#include <signal.h>', '#include <time.h>'];
  lines.push('#include <stddef.h>', '#include <stdio.h>', 'int main(void) {');
  const print = (name: string, expression: string) =>
    lines.push(`  printf("${name}=%llu\\n", (unsigned long long)(${expression}));`);
  for (const name of Object.keys(KVM)) print(name, `(unsigned)${name}`);
  for (const { name, at } of STRUCTS) {
    print(name, `sizeof(${name})`);
    for (const field of Object.keys(at)) print(`${name}.${field}`, `offsetof(${name}, ${field})`);
  }
  lines.push('}');
  const folder = mkdtempSync(join(tmpdir(), 'quire-abi-'));
  try {
    const program = join(folder, 'abi');
    writeFileSync(`${program}.c`, lines.join('\n'));
    execFileSync('gcc', ['-D_GNU_SOURCE', '-o', program, `${program}.c`]);
    const output = execFileSync(program, { encoding: 'utf8' });
    return new Map(
      output
        .trimEnd()
        .split('\n')
        .map((line) => line.split('='))
        .map(([name, value]) => [name!, Number(value)]),
    );
  } finally {
    rmSync(folder, { recursive: true });
  }
}

const reason = missing();

test.skipIf(reason !== undefined)(
  `structures and numbers are those of the kernel's headers ${reason ?? ''}`,
  () => {
    const ours = new Map<string, number>(Object.entries(KVM));
    for (const { name, sizeBytes, at } of STRUCTS) {
      ours.set(name, sizeBytes);
      for (const [field, offset] of Object.entries(at)) ours.set(`${name}.${field}`, offset);
    }
    expect(ours.size).toBeGreaterThan(200);
    expect(Object.fromEntries(ours)).toEqual(Object.fromEntries(compiled()));
  },
);
