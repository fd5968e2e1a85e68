// The options that comparisons share.

import { UsageError } from '../../src/cli/command.ts';
import { type Option, parseOptions } from '../../src/cli/options.ts';
import { parseSeconds } from '../../src/cli/values.ts';
import { SYSTEM_NAMES, type SystemName } from './systems.ts';

const SHARED: readonly Option[] = [
  {
    names: ['runs'],
    argument: 'N',
    summary: 'Runs of each system, of which the medians are shown',
  },
  { names: ['only'], argument: 'NAMES', summary: `Some of ${SYSTEM_NAMES.join(',')}` },
  { names: ['timeout'], argument: 'SECONDS', summary: 'Longest time for one run' },
  { names: ['save'], summary: 'Write the figures to bench/results/ as JSON' },
];

/** What a comparison was asked for. */
export interface ComparisonOptions {
  readonly runCount: number;
  readonly systems: readonly SystemName[];
  readonly timeoutSeconds: number;
  readonly isSaving: boolean;
  /** All values, for options of one comparison only. */
  readonly values: ReadonlyMap<string, string>;
}

/**
 * A whole number from the command line.
 * @throws {UsageError} if it is none, or below `min`
 */
export function parseCount(option: string, text: string, min = 1): number {
  const count = Number(text);
  if (Number.isSafeInteger(count) && count >= min) return count;
  throw new UsageError(`Option "${option}" must be a whole number from ${min}, got "${text}"`);
}

function parseSystems(text: string): SystemName[] {
  const names = text.split(',');
  const unknown = names.find((name) => !(SYSTEM_NAMES as readonly string[]).includes(name));
  if (unknown !== undefined)
    throw new UsageError(
      `Option "--only" must be of ${SYSTEM_NAMES.join(', ')} with commas between, got "${unknown}"`,
    );
  return SYSTEM_NAMES.filter((name) => names.includes(name));
}

/** @throws {UsageError} if an option or its value makes no sense */
export function parseComparison(
  args: readonly string[],
  defaults: { readonly timeoutSeconds: number },
  own: readonly Option[] = [],
): ComparisonOptions {
  const { values, positionals } = parseOptions([...SHARED, ...own], args);
  if (positionals.length > 0) throw new UsageError(`Unexpected "${positionals[0]}"`);
  const timeout = values.get('timeout');
  return {
    runCount: parseCount('--runs', values.get('runs') ?? '1'),
    systems: parseSystems(values.get('only') ?? SYSTEM_NAMES.join(',')),
    timeoutSeconds:
      timeout === undefined ? defaults.timeoutSeconds : parseSeconds('--timeout', timeout),
    isSaving: values.has('save'),
    values,
  };
}
