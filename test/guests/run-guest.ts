// Builds a guest program of this folder and runs it under QEMU and on a bare Quire machine; both
// give back what it wrote to COM1.

import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import {
  CPL,
  CR0,
  MODE,
  SEG_ATTRIBUTES,
  SEG_BASE,
  SEG_LIMIT,
  SEG_SELECTOR,
  SEGMENT,
  SEGMENT_BYTES,
} from '../../src/cpu/state-layout.ts';
import type { Accelerator } from '../../src/cpu/vcpu.ts';
import { MemoryRegion } from '../../src/memory/memory-region.ts';
import { type BareMachine, createBareMachine } from '../oracle/bare-machine.ts';

const HERE = dirname(fileURLToPath(import.meta.url));
const BUILD = join(HERE, '../../build/guests');
const MEMORY_MIB = 32;
const QEMU_TIMEOUT_MS = 60_000;
/** What a guest may take: the longest needs a tenth of it. */
const INSTRUCTIONS_MAX = 50_000_000;
const SLICE_INSTRUCTIONS = 1_000_000;
/** The same for an accelerator that does not count: more time than a million of them takes. */
const SLICE_NS = 200_000_000;
const COM1 = 0x3f8;
/** System control port A: bit 1 opens A20. */
const PORT_92 = 0x92;
const PORT_92_A20 = 2;
const LAST_LINE = 'DONE\n';

/** They want machines that their tests make: with disks, with much memory. */
const OTHERS = ['storage.S', 'high-memory.S'];

/** Names of the programs that run on any machine, say OK or FAIL themselves and end with DONE. */
export function selfCheckingGuests(): string[] {
  return readdirSync(HERE)
    .filter((name) => name.endsWith('.S') && !OTHERS.includes(name))
    .map((name) => name.slice(0, -2));
}

/** Why guests cannot be built or run here; undefined where they can. */
export function missingTool(tool: 'gcc' | 'qemu'): string | undefined {
  if (tool === 'qemu') {
    const { error } = spawnSync('qemu-system-i386', ['--version']);
    return error ? 'qemu-system-i386 is not installed (Debian package qemu-system-x86)' : undefined;
  }
  const { status } = spawnSync('gcc', ['-m32', '-x', 'c', '-c', '-o', '/dev/null', '-'], {
    input: 'int x;',
  });
  return status === 0 ? undefined : 'gcc -m32 does not work (Debian package gcc-multilib)';
}

/** Assembles `<name>.S` to a multiboot ELF file and returns its path. */
export function buildGuest(name: string): string {
  mkdirSync(BUILD, { recursive: true });
  const source = join(HERE, `${name}.S`);
  const object = join(BUILD, `${name}.${process.pid}.o`);
  const program = join(BUILD, `${name}.elf`);
  execFileSync('gcc', ['-m32', `-I${HERE}`, '-c', source, '-o', object]);
  execFileSync('ld', ['-m', 'elf_i386', '-T', join(HERE, 'link.ld'), object, '-o', program]);
  rmSync(object);
  return program;
}

/** Serial output under QEMU's TCG. */
export function runInQEMU(program: string, cpu: string): string {
  const serial = `${program}.${process.pid}.serial`;
  rmSync(serial, { force: true });
  spawnSync(
    'qemu-system-i386',
    [
      ...['-accel', 'tcg', '-cpu', cpu, '-m', String(MEMORY_MIB), '-nodefaults'],
      ...['-display', 'none', '-no-reboot', '-serial', `file:${serial}`],
      ...['-device', 'isa-debug-exit,iobase=0xf4', '-kernel', program],
    ],
    { timeout: QEMU_TIMEOUT_MS },
  );
  const output = existsSync(serial) ? readFileSync(serial, 'latin1') : '';
  rmSync(serial, { force: true });
  return output;
}

/**
 * Copies an ELF32 file's loadable segments into `ram`; returns the entry (System V ABI, chapter 5).
 */
function loadELF(ram: Uint8Array, file: Buffer): number {
  const count = file.readUInt16LE(44);
  const table = file.readUInt32LE(28);
  for (let i = 0; i < count; i++) {
    const header = table + i * 32;
    if (file.readUInt32LE(header) !== 1) continue;
    const [offset, , gpa, fileBytes] = [4, 8, 12, 16].map((at) => file.readUInt32LE(header + at));
    ram.set(file.subarray(offset!, offset! + fileBytes!), gpa!);
  }
  return file.readUInt32LE(24);
}

function a20Port(machine: BareMachine): MemoryRegion {
  let value = PORT_92_A20;
  const write = (_port: number, byte: number) => {
    value = byte;
    machine.vcpu.setA20((byte & PORT_92_A20) !== 0);
  };
  return MemoryRegion.io('port92', 1, { read: () => value, write });
}

/**
 * Serial output on a bare machine, with the reason at its end if it stopped before its last line.
 */
export function runInQuire(program: string, accelerator: Accelerator): string {
  const machine = createBareMachine(accelerator, MEMORY_MIB << 20);
  let output = '';
  const onWrite = (_port: number, value: number) => {
    output += String.fromCharCode(value & 0xff);
  };
  const serial = MemoryRegion.io('serial', 1, {
    read: () => 0xff,
    write: onWrite,
    impl: { minBytes: 1, maxBytes: 1 },
  });
  machine.ports.root.addSubregion(COM1, serial);
  machine.ports.root.addSubregion(PORT_92, a20Port(machine));
  const entry = loadELF(machine.ram, readFileSync(program));
  machine.noteWrite(0, machine.ram.length);
  // Multiboot Specification 0.6.96, 3.2 "Machine state": protected mode, flat, no paging.
  const { state } = machine.vcpu;
  state.setWide(CR0, 0x11);
  state.set32(CPL, 0);
  for (let segment = 0; segment < 6; segment++) {
    const at = SEGMENT + segment * SEGMENT_BYTES;
    state.set32(at + SEG_SELECTOR, segment === 1 ? 8 : 16);
    state.set32(at + SEG_ATTRIBUTES, segment === 1 ? 0xc09b : 0xc093);
    state.setWide(at + SEG_BASE, 0);
    state.set32(at + SEG_LIMIT, 0xffffffff);
  }
  state.setReg32(0, 0x2badb002);
  state.eflags = 2;
  state.eip = entry;
  state.set32(MODE, 0);
  machine.vcpu.synchronize();
  for (let used = 0; used < INSTRUCTIONS_MAX; used += SLICE_INSTRUCTIONS) {
    const exit = machine.vcpu.run(SLICE_INSTRUCTIONS, SLICE_NS);
    if (output.endsWith(LAST_LINE)) return output;
    if (exit.kind === 'shutdown') return `${output}\nshutdown: ${exit.reason}\n${exit.report}\n`;
    if (exit.kind === 'halted') return `${output}\nhalted\n`;
  }
  return `${output}\nstill running after ${INSTRUCTIONS_MAX} instructions\n`;
}
