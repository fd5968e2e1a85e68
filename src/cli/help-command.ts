// `quire help [COMMAND]`.

import { type Command, UsageError } from './command.ts';
import { COMMANDS } from './commands.ts';
import { EXIT_OK } from './exit-code.ts';
import { suggestion } from './suggestion.ts';

/** What `quire` and `quire help` print. */
export function overview(): string {
  const width = Math.max(...COMMANDS.map((row) => row.name.length)) + 2;
  const rows = COMMANDS.map((row) => `  ${row.name.padEnd(width)}${row.summary}`);
  return `Quire, a PC virtual machine built around its memory

Usage: quire COMMAND [OPTIONS]

Commands:
${rows.join('\n')}

  quire --version   Print the version
  quire help run    Explain one command
`;
}

export const helpCommand: Command = {
  help: 'Usage: quire help [COMMAND]\n',
  async run(args, { out }) {
    const [name] = args;
    if (name === undefined) {
      out.write(overview());
      return EXIT_OK;
    }
    const row = COMMANDS.find((each) => each.name === name);
    if (row === undefined) {
      const names = COMMANDS.map((each) => each.name);
      throw new UsageError(`Unknown command "${name}"${suggestion(name, names)}`);
    }
    out.write((await row.load()).help);
    return EXIT_OK;
  },
};
