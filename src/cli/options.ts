// Options in QEMU's manner: `-m 128M`, `--memory 128M`, `--memory=128M`, and the single dash before
// a long name, `-kernel FILE`. QEMU documentation, "Invocation".

import { UsageError } from './command.ts';
import { suggestion } from './suggestion.ts';

/** A row of a command's table of options. */
export interface Option {
  /** Long names first; a name of one letter takes one dash. */
  readonly names: readonly string[];
  /** What stands behind it, such as `FILE`; none for a switch. */
  readonly argument?: string;
  /** May be given several times; its values are in `repeated`, in order. */
  readonly isRepeated?: boolean;
  readonly summary: string;
}

/** Values by the first name of each option given; a switch has the value ''. */
export interface ParsedOptions {
  readonly values: ReadonlyMap<string, string>;
  /** Values of options that may be repeated. */
  readonly repeated: ReadonlyMap<string, readonly string[]>;
  readonly positionals: readonly string[];
}

function dashed(name: string): string {
  return name.length === 1 ? `-${name}` : `--${name}`;
}

/**
 * Takes a command line apart.
 * @throws {UsageError} for an unknown option, one given twice, or one whose value is missing
 */
export function parseOptions(options: readonly Option[], args: readonly string[]): ParsedOptions {
  const values = new Map<string, string>();
  const repeated = new Map<string, string[]>();
  const put = (option: Option, key: string, value: string): void => {
    if (option.isRepeated) repeated.set(key, [...(repeated.get(key) ?? []), value]);
    else values.set(key, value);
  };
  const positionals: string[] = [];
  for (let index = 0; index < args.length; index++) {
    const arg = args[index]!;
    if (arg === '--') {
      positionals.push(...args.slice(index + 1));
      break;
    }
    if (!arg.startsWith('-') || arg === '-') {
      positionals.push(arg);
      continue;
    }
    const equals = arg.indexOf('=');
    const spelled = equals < 0 ? arg : arg.slice(0, equals);
    const name = spelled.replace(/^--?/, '');
    const option = options.find((each) => each.names.includes(name));
    if (option === undefined) {
      const names = options.flatMap((each) => each.names.map(dashed));
      const near = suggestion(name.length === 1 ? spelled : `--${name}`, names);
      throw new UsageError(`Unknown option "${spelled}"${near}`);
    }
    const key = option.names[0]!;
    if (values.has(key)) throw new UsageError(`Option "${spelled}" is given twice`);
    if (option.argument === undefined) {
      if (equals >= 0) throw new UsageError(`Option "${spelled}" takes no value`);
      values.set(key, '');
    } else if (equals >= 0) {
      put(option, key, arg.slice(equals + 1));
    } else {
      const value = args[++index];
      if (value === undefined)
        throw new UsageError(`Option "${spelled}" needs a value: ${option.argument}`);
      put(option, key, value);
    }
  }
  return { values, repeated, positionals };
}

/** The lines of a help text, one option each. */
export function describeOptions(options: readonly Option[]): string {
  return options
    .map(({ names, argument, summary }) => {
      const spelled = names.map(dashed).join(', ');
      const head = `  ${spelled}${argument === undefined ? '' : ` ${argument}`}`;
      return `${head.padEnd(30)} ${summary.replaceAll('\n', `\n${' '.repeat(31)}`)}\n`;
    })
    .join('');
}
