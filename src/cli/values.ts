// Values of options, from text: sizes, seconds, choices.

import { UsageError } from './command.ts';

const SUFFIX_BYTES: Readonly<Record<string, number>> = {
  B: 1,
  K: 2 ** 10,
  M: 2 ** 20,
  G: 2 ** 30,
  T: 2 ** 40,
};
const PAGE_BYTES = 4096;

/** The first megabyte, with the PC's holes in it, must be there. */
const MEMORY_BYTES_MIN = 2 ** 20;
/** RAM shares 4 GiB with the display's, and with the processor's own tables. */
export const MEMORY_BYTES_MAX = 3680 * 2 ** 20;

/**
 * A size of memory in bytes, as QEMU reads it: a number and one of B K M G T, MiB without one.
 * @param bytesMax what the accelerator can do
 * @throws {UsageError} if it is not a size, not whole pages, or no machine can have it
 */
export function parseMemorySize(
  option: string,
  text: string,
  bytesMax: number = MEMORY_BYTES_MAX,
): number {
  const match = /^(?:size=)?(\d+(?:\.\d+)?)([BKMGT]?)$/i.exec(text);
  if (match === null)
    throw new UsageError(
      `Option "${option}" must be a size such as 128M or 1G, MiB without a suffix, got "${text}"`,
    );
  const bytes = Number(match[1]) * SUFFIX_BYTES[match[2]!.toUpperCase() || 'M']!;
  if (bytes < MEMORY_BYTES_MIN || bytes > bytesMax)
    throw new UsageError(
      `Option "${option}" must be from ${MEMORY_BYTES_MIN / 2 ** 20}M to ` +
        `${bytesMax / 2 ** 20}M, got "${text}"`,
    );
  if (bytes % PAGE_BYTES !== 0)
    throw new UsageError(`Option "${option}" must be a multiple of 4K, got "${text}"`);
  return bytes;
}

/** @throws {UsageError} if it is not a positive number of seconds; 24 days are the most */
export function parseSeconds(option: string, text: string): number {
  const seconds = /^\d+(\.\d+)?$/.test(text) ? Number(text) : Number.NaN;
  // A timer of the host holds 31 bits of milliseconds.
  if (!(seconds > 0) || seconds * 1000 >= 2 ** 31)
    throw new UsageError(`Option "${option}" must be a number of seconds, got "${text}"`);
  return seconds;
}

/** @throws {UsageError} if it is none of `choices` */
export function parseChoice<T extends string>(
  option: string,
  text: string,
  choices: readonly T[],
): T {
  const found = choices.find((choice) => choice === text);
  if (found !== undefined) return found;
  throw new UsageError(`Option "${option}" must be ${choices.join(' or ')}, got "${text}"`);
}

/** @throws {UsageError} if it is not a regular expression */
export function parsePattern(option: string, text: string): RegExp {
  try {
    return new RegExp(text, 'm');
  } catch (error) {
    const why = (error as Error).message.replace(/^Invalid regular expression: /, '');
    throw new UsageError(`Option "${option}" must be a regular expression: ${why}`);
  }
}
