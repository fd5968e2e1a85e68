// Builds benchmark kernels with the host's gcc and ld, once for each source and set of symbols.

import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const HERE = fileURLToPath(new URL('.', import.meta.url));

function run(command: string, args: readonly string[]): void {
  const { error, status, stderr } = spawnSync(command, args, { encoding: 'utf8' });
  if (error !== undefined)
    throw new Error(`Cannot build benchmark kernels: "${command}" does not run; install gcc`);
  if (status !== 0) throw new Error(`Cannot build benchmark kernels: ${command}: ${stderr.trim()}`);
}

/** One of this folder's kernels as text. */
export function kernelSource(name: 'bench' | 'snap' | 'lm'): string {
  return readFileSync(join(HERE, `${name}.S`), 'utf8');
}

/**
 * Assembles and links a multiboot kernel under `folder`; its path.
 * @param symbols values that the source expects from outside
 * @throws {Error} if this host has no assembler for it
 */
export function assemble(
  folder: string,
  source: string,
  symbols: Readonly<Record<string, number>> = {},
): string {
  const defines = Object.entries(symbols).map(([name, value]) => `-Wa,--defsym,${name}=${value}`);
  const parts = [source, readFileSync(join(HERE, 'start.inc'), 'utf8'), defines.join()];
  const key = createHash('sha256').update(parts.join('\0')).digest('hex').slice(0, 16);
  const base = join(folder, `kernel-${key}`);
  if (existsSync(`${base}.elf`)) return `${base}.elf`;
  mkdirSync(folder, { recursive: true });
  writeFileSync(`${base}.s`, source);
  run('gcc', ['-m32', `-Wa,-I,${HERE}`, ...defines, '-c', `${base}.s`, '-o', `${base}.o`]);
  run('ld', ['-m', 'elf_i386', '-T', join(HERE, 'link.ld'), `${base}.o`, '-o', `${base}.aside`]);
  renameSync(`${base}.aside`, `${base}.elf`);
  return `${base}.elf`;
}
