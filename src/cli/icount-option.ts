// `--icount`: time by instructions. QEMU documentation, "Invocation", `-icount`.

import type { InstructionTiming } from '../machine/run-pace.ts';
import { UsageError } from './command.ts';
import { parseChoice } from './values.ts';

/** A guest of a millisecond an instruction would wait for ever. */
const SHIFT_MAX = 20;

/**
 * `shift=N,sleep=on|off`, or N alone: an instruction takes 2^N ns.
 * @throws {UsageError} for any other key, without a shift, or with `auto`, which follows the host
 */
export function parseICount(text: string): InstructionTiming {
  let shift: string | undefined;
  let sleeps = true;
  for (const part of text.split(',')) {
    const [key, value] = part.includes('=') ? part.split('=', 2) : ['shift', part];
    if (key === 'sleep') sleeps = parseChoice('--icount sleep=', value!, ['on', 'off']) === 'on';
    else if (key === 'shift') shift = value;
    else throw new UsageError(`Option "--icount" must be shift=N or sleep=on|off, got "${part}"`);
  }
  const isNumber = shift !== undefined && /^\d{1,2}$/.test(shift) && Number(shift) <= SHIFT_MAX;
  if (!isNumber)
    throw new UsageError(
      `Option "--icount shift=" must be a number from 0 to ${SHIFT_MAX}, got "${shift ?? ''}"`,
    );
  return { nsPerInstruction: 2 ** Number(shift), sleeps };
}
