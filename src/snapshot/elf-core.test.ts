import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { type CoreRegisters, elfCoreHeader } from './elf-core.ts';

const REGISTERS: CoreRegisters = {
  eax: 1,
  ecx: 2,
  edx: 3,
  ebx: 4,
  esp: 0x2000,
  ebp: 5,
  esi: 6,
  edi: 7,
  eip: 0xc0001000,
  eflags: 0x202,
  cs: 8,
  ss: 16,
  ds: 24,
  es: 32,
  fs: 40,
  gs: 48,
};

test('gdb opens the core: registers and memory are what they were', (context) => {
  if (spawnSync('gdb', ['--version']).status !== 0) return context.skip('gdb is not installed');
  const folder = mkdtempSync(join(tmpdir(), 'quire-core-'));
  try {
    const low = new Uint8Array(0x3000);
    low.set([0xef, 0xbe, 0xad, 0xde], 0x1234);
    const rom = new Uint8Array(0x1000).fill(0x90);
    const header = elfCoreHeader(
      [
        { gpa: 0, sizeBytes: low.length },
        { gpa: 0xffff_f000, sizeBytes: rom.length }, // It ends exactly at 4 GiB.
      ],
      [REGISTERS],
    );
    const path = join(folder, 'core');
    writeFileSync(path, Buffer.concat([header, low, rom]));
    const commands = ['info registers', 'x/1xw 0x1234', 'x/1xb 0xffffff00'];
    const args = commands.flatMap((command) => ['-ex', command]);
    const { stdout } = spawnSync('gdb', ['-nx', '-batch', '-c', path, ...args], {
      encoding: 'utf8',
    });
    for (const [name, value] of Object.entries(REGISTERS))
      expect(stdout).toMatch(new RegExp(`^${name} +0x${value.toString(16)}\\b`, 'm'));
    expect(stdout).toContain('0x1234:\t0xdeadbeef');
    expect(stdout).toContain('0xffffff00:\t0x90');
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

// Goal: crash (8.0, netdump.c) follows the program headers only if the first segment has no
// alignment or starts off a page; else it takes the file for memory in one piece.
test('crash follows the program headers: no segment states an alignment', () => {
  const regions = [0, 0x10_0000].map((gpa) => ({ gpa, sizeBytes: 0x1000 }));
  const header = Buffer.from(elfCoreHeader(regions, [REGISTERS]));
  const alignments = regions.map((_, i) => header.readUInt32LE(52 + 32 * (i + 1) + 28));
  expect(alignments).toEqual([0, 0]);
});

test('memory above 4 GiB is refused: the file has 32-bit addresses', () => {
  const region = { gpa: 0xffff_f000, sizeBytes: 0x2000 };
  expect(() => elfCoreHeader([region], [])).toThrow(/must be below 4 GiB/);
});
