// Where output of a guest goes: `--serial`, once for each port, and what is like it.

import { SERIAL_COUNT_MAX } from '../machine/serial-ports.ts';
import { UsageError } from './command.ts';

/** Where serial output goes. */
export type SerialTarget =
  | { readonly kind: 'stdio' }
  | { readonly kind: 'file'; readonly path: string }
  | { readonly kind: 'none' };

/** @throws {UsageError} if it is not stdio, file:PATH or none */
export function parseOutput(option: string, text: string): SerialTarget {
  if (text === 'stdio' || text === 'none') return { kind: text };
  if (text.startsWith('file:') && text.length > 'file:'.length)
    return { kind: 'file', path: text.slice('file:'.length) };
  throw new UsageError(`Option "${option}" must be stdio, file:PATH or none, got "${text}"`);
}

/**
 * The serial ports, COM1 first; at least one.
 * @throws {UsageError} if there are more than four, or two want the terminal
 */
export function parseSerials(texts: readonly string[], preset: string): readonly SerialTarget[] {
  const targets = (texts.length === 0 ? [preset] : texts).map((text) =>
    parseOutput('--serial', text),
  );
  if (targets.length > SERIAL_COUNT_MAX)
    throw new UsageError(
      `Option "--serial" may be given ${SERIAL_COUNT_MAX} times, for COM1 to COM4, ` +
        `got ${targets.length}`,
    );
  if (targets.filter(({ kind }) => kind === 'stdio').length > 1)
    throw new UsageError('Option "--serial" must be stdio for one port only');
  return targets;
}
