// The options of `quire run` that concern the screen.

import { extname } from 'node:path';
import { UsageError } from '../command.ts';
import type { Option } from '../options.ts';
import { parseChoice, parsePattern } from '../values.ts';

export const DISPLAY_OPTIONS: readonly Option[] = [
  {
    names: ['display'],
    argument: 'WHERE',
    summary: 'Screen: none, or terminal: drawn here, and keys typed here (default none)',
  },
  {
    names: ['screenshot'],
    argument: 'FILE',
    summary: 'Write the screen there at the end: a name in .png or .ppm',
  },
  {
    names: ['screen-exit-on'],
    argument: 'PATTERN',
    summary: 'Exit with 0 when the text screen matches the regular expression',
  },
];

/** What a command line says of the screen. */
export interface DisplayConfig {
  readonly kind: 'none' | 'terminal';
  readonly screenshotPath?: string;
  readonly exitOn?: RegExp;
}

/** @throws {UsageError} if a value makes no sense */
export function parseDisplay(values: ReadonlyMap<string, string>): DisplayConfig {
  const screenshotPath = values.get('screenshot');
  const exitOn = values.get('screen-exit-on');
  if (
    screenshotPath !== undefined &&
    !['.png', '.ppm'].includes(extname(screenshotPath).toLowerCase())
  )
    throw new UsageError(
      `Option "--screenshot" must be a file in .png or .ppm, got "${screenshotPath}"`,
    );
  return {
    kind: parseChoice('--display', values.get('display') ?? 'none', ['none', 'terminal']),
    ...(screenshotPath === undefined ? {} : { screenshotPath }),
    ...(exitOn === undefined ? {} : { exitOn: parsePattern('--screen-exit-on', exitOn) }),
  };
}
