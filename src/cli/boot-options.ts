// `--boot`: what firmware is told of the order of drives and of its menu. QEMU documentation,
// "Invocation", `-boot`.

import { UsageError } from './command.ts';
import { parseChoice } from './values.ts';

export interface BootConfig {
  /** Letters, first choice first: `a` floppy, `c` disk, `d` CD-ROM, `n` network; '' for any. */
  readonly order: string;
  readonly hasMenu: boolean;
}

/**
 * `order=LETTERS,menu=on|off`, or the letters alone.
 * @throws {UsageError} for any other key or letter, or a letter that is there twice
 */
export function parseBoot(text: string | undefined): BootConfig {
  let order = '';
  let hasMenu = false;
  for (const part of text === undefined ? [] : text.split(',')) {
    const equals = part.indexOf('=');
    const [key, value] =
      equals < 0 ? ['order', part] : [part.slice(0, equals), part.slice(equals + 1)];
    if (key === 'menu') hasMenu = parseChoice('--boot menu=', value, ['on', 'off']) === 'on';
    else if (key === 'order') order = value;
    else
      throw new UsageError(`Option "--boot" must be order=LETTERS or menu=on|off, got "${part}"`);
  }
  if (!/^[acdn]*$/.test(order) || new Set(order).size !== order.length)
    throw new UsageError(
      `Option "--boot order=" must be letters out of a, c, d and n, each once, got "${order}"`,
    );
  return { order, hasMenu };
}
