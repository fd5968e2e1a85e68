// The command line: finds the command, prints errors for people, sets the exit code.

import { readFileSync } from 'node:fs';
import { UsageError } from './command.ts';
import { COMMANDS } from './commands.ts';
import { EXIT_ERROR, EXIT_OK, EXIT_USAGE } from './exit-code.ts';
import { overview } from './help-command.ts';
import { suggestion } from './suggestion.ts';

function version(): string {
  const manifest = readFileSync(new URL('../../package.json', import.meta.url), 'utf8');
  return (JSON.parse(manifest) as { version: string }).version;
}

async function main(args: readonly string[]): Promise<number> {
  const [name, ...rest] = args;
  const streams = { out: process.stdout, err: process.stderr };
  if (name === '--version' || name === '-version') {
    streams.out.write(`quire ${version()}\n`);
    return EXIT_OK;
  }
  if (name === undefined || name === '--help' || name === '-help' || name === '-h') {
    streams.out.write(overview());
    return name === undefined ? EXIT_USAGE : EXIT_OK;
  }
  const row = COMMANDS.find((each) => each.name === name);
  try {
    if (row === undefined) {
      const names = COMMANDS.map((each) => each.name);
      throw new UsageError(`Unknown command "${name}"${suggestion(name, names)}`);
    }
    const command = await row.load();
    if (rest.some((arg) => arg === '--help' || arg === '-help')) {
      streams.out.write(command.help);
      return EXIT_OK;
    }
    return await command.run(rest, streams);
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    const isUsage = error instanceof UsageError;
    streams.err.write(`quire: ${error.message}\n`);
    if (isUsage) streams.err.write(`Try "quire help${row === undefined ? '' : ` ${name}`}"\n`);
    return isUsage ? EXIT_USAGE : EXIT_ERROR;
  }
}

// A reader that leaves early, such as `head`, is not an error.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit(EXIT_OK);
  throw error;
});

process.exitCode = await main(process.argv.slice(2));
