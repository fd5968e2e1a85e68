// Looks at the guest's code from outside: linear reads through Quire's own page tables, the few
// instruction classes that lockstep must know, and disassembly by objdump for people.

import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CS, MODE, MODE_CODE32 } from '../../src/cpu/state-layout.ts';
import type { BareMachine } from '../../test/oracle/bare-machine.ts';

const CR0_PG = 0x8000_0000;
const CR4_PSE = 0x10;
const CR4_PAE = 0x20;
const LARGE = 0x80;
const PRESENT = 1;

/**
 * Guest-physical address of `linear`, or undefined where nothing is mapped (SDM volume 3, 4.3–4.4).
 */
export function translate(machine: BareMachine, linear: number): number | undefined {
  const { state } = machine.vcpu;
  if ((state.cr0 & CR0_PG) === 0) return linear >>> 0;
  const read = (gpa: number) => machine.memory.addressSpace.read(gpa, 4);
  if (state.cr4 & CR4_PAE) {
    const pointer = read((state.cr3 & ~31) + (linear >>> 30) * 8);
    if (!(pointer & PRESENT)) return undefined;
    const entry = read((pointer & ~0xfff) + ((linear >>> 21) & 511) * 8);
    if (!(entry & PRESENT)) return undefined;
    if (entry & LARGE) return ((entry & 0xffe00000) | (linear & 0x1fffff)) >>> 0;
    const page = read((entry & ~0xfff) + ((linear >>> 12) & 511) * 8);
    return page & PRESENT ? ((page & ~0xfff) | (linear & 0xfff)) >>> 0 : undefined;
  }
  const entry = read((state.cr3 & ~0xfff) + (linear >>> 22) * 4);
  if (!(entry & PRESENT)) return undefined;
  if (entry & LARGE && state.cr4 & CR4_PSE) {
    return ((entry & 0xffc00000) | (linear & 0x3fffff)) >>> 0;
  }
  const page = read((entry & ~0xfff) + ((linear >>> 12) & 1023) * 4);
  return page & PRESENT ? ((page & ~0xfff) | (linear & 0xfff)) >>> 0 : undefined;
}

/** Up to `count` bytes at linear address `linear`; fewer where mapping ends. */
export function readLinear(machine: BareMachine, linear: number, count: number): Uint8Array {
  const bytes: number[] = [];
  for (let i = 0; i < count; i++) {
    const gpa = translate(machine, (linear + i) >>> 0);
    if (gpa === undefined) break;
    bytes.push(machine.memory.addressSpace.read(gpa, 1));
  }
  return Uint8Array.from(bytes);
}

/** Linear address of the instruction at `eip` of the current code segment. */
export function codeAddress(machine: BareMachine, eip: number): number {
  return (machine.vcpu.state.segBase(CS) + eip) >>> 0;
}

const PREFIXES = new Set([0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x66, 0x67, 0xf0, 0xf2, 0xf3]);

function opcodeOf(bytes: Uint8Array): { opcode: number; digit: number } {
  let i = 0;
  while (PREFIXES.has(bytes[i]!)) i++;
  const isTwoByte = bytes[i] === 0x0f;
  if (isTwoByte) i++;
  return { opcode: bytes[i]! | (isTwoByte ? 0x0f00 : 0), digit: (bytes[i + 1]! >> 3) & 7 };
}

/** IN, INS, RDTSC, RDMSR, RDPMC, CPUID: their result is the surroundings', not the processor's. */
export function isInput(bytes: Uint8Array): boolean {
  const { opcode } = opcodeOf(bytes);
  return [0xe4, 0xe5, 0xec, 0xed, 0x6c, 0x6d, 0x0f31, 0x0f32, 0x0f33, 0x0fa2].includes(opcode);
}

/** Arithmetic flags that some processor may leave otherwise (SDM volume 2, "Flags Affected"). */
export function looseFlags(bytes: Uint8Array): number {
  const { opcode, digit } = opcodeOf(bytes);
  const [AF, ALL] = [0x10, 0x8d5];
  if ([0xf6, 0xf7].includes(opcode) && digit >= 4) return ALL;
  if ([0x69, 0x6b, 0x0faf, 0x0fbc, 0x0fbd, 0xd4, 0xd5, 0x27, 0x2f, 0x37, 0x3f].includes(opcode))
    return ALL;
  if ([0x0fa3, 0x0fab, 0x0fb3, 0x0fbb, 0x0fba].includes(opcode)) return ALL & ~0x41;
  if ([0xc0, 0xc1, 0xd0, 0xd1, 0xd2, 0xd3].includes(opcode)) return AF | 0x801;
  if ([0x0fa4, 0x0fa5, 0x0fac, 0x0fad].includes(opcode)) return AF | 0x801;
  return AF;
}

/** One instruction as objdump prints it, or its bytes where objdump is missing. */
export function disassemble(machine: BareMachine, eip: number): string {
  const bytes = readLinear(machine, codeAddress(machine, eip), 15);
  const plain = Buffer.from(bytes).toString('hex');
  const directory = mkdtempSync(join(tmpdir(), 'quire-disassembly-'));
  try {
    const file = join(directory, 'code');
    writeFileSync(file, bytes);
    const isWide = (machine.vcpu.state.get32(MODE) & MODE_CODE32) !== 0;
    const { stdout } = spawnSync('objdump', [
      '-D',
      '-b',
      'binary',
      '-m',
      isWide ? 'i386' : 'i8086',
      '-M',
      'intel',
      `--adjust-vma=${eip}`,
      file,
    ]);
    const line = stdout
      ?.toString()
      .split('\n')
      .find((text) => /^\s*[0-9a-f]+:\t/.test(text));
    return line?.trim().replace(/\t/g, ' ') ?? plain;
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}
