// Addresses as people type them into the monitor: `0x100000`, `$eip`, `$esp + 16`, `$cr3 - 8`.

import type { CPUState } from '../cpu/state.ts';
import { CR0, CR2, CR3, CR4 } from '../cpu/state-layout.ts';

const REGISTERS: ReadonlyMap<string, (state: CPUState) => number> = new Map([
  ['eax', (state: CPUState) => state.reg32(0)],
  ['ecx', (state: CPUState) => state.reg32(1)],
  ['edx', (state: CPUState) => state.reg32(2)],
  ['ebx', (state: CPUState) => state.reg32(3)],
  ['esp', (state: CPUState) => state.reg32(4)],
  ['ebp', (state: CPUState) => state.reg32(5)],
  ['esi', (state: CPUState) => state.reg32(6)],
  ['edi', (state: CPUState) => state.reg32(7)],
  ['eip', (state: CPUState) => state.eip],
  ['pc', (state: CPUState) => state.eip],
  ['cr0', (state: CPUState) => state.get32(CR0)],
  ['cr2', (state: CPUState) => state.get32(CR2)],
  ['cr3', (state: CPUState) => state.get32(CR3)],
  ['cr4', (state: CPUState) => state.get32(CR4)],
]);

function term(text: string, state: CPUState): number {
  if (/^(0x[0-9a-f]+|\d+)$/i.test(text)) return Number(text);
  const read = text.startsWith('$') ? REGISTERS.get(text.slice(1).toLowerCase()) : undefined;
  if (read !== undefined) return read(state);
  throw new RangeError(`The address must be a number or a register such as $esp, got "${text}"`);
}

/**
 * The value of a sum of numbers and registers.
 * @throws {RangeError} if it is not one, or negative, or beyond what a number holds exactly
 */
export function evaluateAddress(text: string, state: CPUState): number {
  const parts = text.replaceAll(/\s+/g, '').split(/([+-])/);
  let sum = term(parts[0]!, state);
  for (let index = 1; index < parts.length; index += 2) {
    const value = term(parts[index + 1]!, state);
    sum += parts[index] === '+' ? value : -value;
  }
  if (sum < 0 || sum > Number.MAX_SAFE_INTEGER)
    throw new RangeError(`The address must be from 0 to 2^53 - 1, got ${sum}`);
  return sum;
}
