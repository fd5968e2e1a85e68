// The host's x87 (native.c) and the rows, on the same records; see native.c for their layout.

import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, statSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import {
  SCRATCH,
  X87,
  X87_CONTROL,
  X87_EMPTY,
  X87_STATUS,
  X87_TOP,
} from '../../src/cpu/state-layout.ts';
import { OPERAND, RAISED, type X87Machine } from './row-module.ts';

const SOURCE = fileURLToPath(new URL('./native.c', import.meta.url));
const BUILD = fileURLToPath(new URL('../../build/x87/', import.meta.url));
export const CASE_BYTES = 40;
export const RESULT_BYTES = 56;

/** The program, or why there is none. */
function buildNative(): { program: string } | { reason: string } {
  if (process.arch !== 'x64') return { reason: `the host is ${process.arch}, not x64` };
  const program = `${BUILD}native`;
  try {
    mkdirSync(BUILD, { recursive: true });
    if (!existsSync(program) || statSync(program).mtimeMs < statSync(SOURCE).mtimeMs)
      execFileSync('gcc', ['-O1', SOURCE, '-o', program], { stdio: 'pipe' });
    return { program };
  } catch (error) {
    return { reason: `gcc cannot build test/x87/native.c: ${String(error).split('\n')[0]}` };
  }
}

export const native = buildNative();

/** What the host makes of the cases. */
export function runNative(program: string, cases: readonly Uint8Array[]): Uint8Array[] {
  const input = Buffer.concat(cases);
  const { stdout, status } = spawnSync(program, { input, maxBuffer: 1 << 28 });
  if (status !== 0) throw new Error(`test/x87/native.c ended with status ${status}`);
  return cases.map(
    (_, n) => new Uint8Array(stdout.subarray(n * RESULT_BYTES, (n + 1) * RESULT_BYTES)),
  );
}

/** Runs a case on the rows, and gives the record that native.c would. */
export function runRows(
  machine: X87Machine,
  bytes: Uint8Array,
  pattern: string,
  index: number,
): Uint8Array {
  const { state, view } = machine;
  const input = new DataView(bytes.buffer, bytes.byteOffset);
  machine.bytes.fill(0, X87, X87 + 128);
  machine.bytes.fill(0, SCRATCH, SCRATCH + 64);
  state.u8.fill(1, X87_EMPTY, X87_EMPTY + 6);
  state.u8.fill(0, X87_EMPTY + 6, X87_EMPTY + 8);
  state.set32(X87_TOP, 6);
  state.set32(X87_STATUS, 0);
  state.set32(X87_CONTROL, input.getUint32(4, true));
  machine.bytes.set(bytes.subarray(8, 18), X87 + 6 * 16);
  machine.bytes.set(bytes.subarray(24, 34), X87 + 7 * 16);
  machine.bytes.set(bytes.subarray(24, 40), OPERAND);
  view.setUint32(RAISED, 0, true);
  machine.run(pattern, index);
  const result = new Uint8Array(RESULT_BYTES);
  const output = new DataView(result.buffer);
  const top = state.get32(X87_TOP);
  output.setUint32(0, state.get32(X87_STATUS) | (top << 11), true);
  for (const i of [0, 1]) {
    const slot = X87 + ((top + i) & 7) * 16;
    result.set(machine.bytes.subarray(slot, slot + 10), 8 + i * 16);
  }
  result.set(machine.bytes.subarray(OPERAND, OPERAND + 16), 40);
  return result;
}

export const hex = (bytes: Uint8Array, at: number, size: number) =>
  [...bytes.subarray(at, at + size)]
    .reverse()
    .map((b) => b.toString(16).padStart(2, '0'))
    .join('');

/** ST(0), ST(1), status and memory as people read them. */
export function describe(bytes: Uint8Array): string {
  return [
    `sw=${hex(bytes, 0, 2)}`,
    `st0=${hex(bytes, 16, 2)}:${hex(bytes, 8, 8)}`,
    `st1=${hex(bytes, 32, 2)}:${hex(bytes, 24, 8)}`,
    `mem=${hex(bytes, 40, 10)}`,
  ].join(' ');
}

export function isEmptyIn(machine: X87Machine, index: number): boolean {
  return machine.state.u8[X87_EMPTY + ((machine.state.get32(X87_TOP) + index) & 7)] === 1;
}
