// The package as others see it: README's example, the entry points, the licence.

import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { expect, test, vi } from 'vitest';

const readme = readFileSync('README.md', 'utf8');
const manifest = JSON.parse(readFileSync('package.json', 'utf8')) as {
  scripts: Record<string, string>;
  exports: Record<string, { types: string; default: string }>;
  files: string[];
  bin: Record<string, string>;
};

test("README's library example runs, and its guest says Hello", async () => {
  const example = /```ts example\n([\s\S]*?)```/.exec(readme)![1]!;
  expect(
    example
      .trim()
      .split('\n')
      .filter((line) => line !== '').length,
  ).toBeLessThanOrEqual(26);
  mkdirSync('build/examples', { recursive: true });
  const path = resolve('build/examples/readme.ts');
  writeFileSync(path, example);

  let said = '';
  const write = vi.spyOn(process.stdout, 'write').mockImplementation((bytes) => {
    said += Buffer.from(bytes as Uint8Array).toString();
    return true;
  });
  try {
    await import(path);
  } finally {
    write.mockRestore();
  }
  expect(said).toBe('Hello');
});

test('README begins with the two commands, and both are scripts', () => {
  const commands = [...readme.matchAll(/^npm ci && npm (\w+)$/gm)].map(([, name]) => name);
  expect(commands).toEqual(['start', 'test']);
  for (const name of commands) expect(manifest.scripts).toHaveProperty(name!);
});

test('each entry point of the package is made from a source file', () => {
  const targets = [
    ...Object.values(manifest.exports).map((entry) => entry.default),
    ...Object.values(manifest.bin),
  ];
  for (const target of targets) {
    const source = target.replace(/^(?:\.\/)?dist\//, 'src/').replace(/\.js$/, '.ts');
    expect(readFileSync(source, 'utf8').length).toBeGreaterThan(0);
  }
  expect(
    readFileSync(manifest.bin.quire!.replace('dist', 'src').replace('.js', '.ts'), 'utf8'),
  ).toMatch(/^#!\/usr\/bin\/env node\n/);
});

test('the licence is the one that the package names', () => {
  const licence = readFileSync('LICENSE', 'utf8');
  expect(licence).toContain('Apache License');
  expect(licence).toContain('The Quire authors');
  expect(manifest.files).toContain('LICENSE');
});
