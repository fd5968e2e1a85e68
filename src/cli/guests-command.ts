// `quire guests`: the guests that Quire knows, and fetching them.

import { type Command, type Output, UsageError } from './command.ts';
import { EXIT_OK } from './exit-code.ts';
import type { Progress } from './guests/apt.ts';
import { GUESTS } from './guests/guest-list.ts';
import { cacheFolder, fetchGuest, findFetched, guestByName } from './guests/store.ts';
import { type Option, parseOptions } from './options.ts';

const OPTIONS: readonly Option[] = [{ names: ['json'], summary: 'Print for programs' }];

const MIB = 2 ** 20;
/** Of names and two spaces. */
const NAME_COLUMNS = 18;

/** Progress in one line that is written over on a terminal, and nothing anywhere else. */
export function progressOn(stream: Output & { isTTY?: boolean; columns?: number }): {
  readonly show: Progress;
  readonly end: () => void;
} {
  if (stream.isTTY !== true) return { show() {}, end() {} };
  const clear = '\r\x1b[K';
  return {
    show: (line) => stream.write(clear + line.slice(0, (stream.columns ?? 80) - 1)),
    end: () => stream.write(clear),
  };
}

function list(out: Output, isJSON: boolean): void {
  const rows = GUESTS.map((guest) => ({
    name: guest.name,
    summary: guest.summary,
    memoryBytes: guest.memoryBytes,
    append: guest.append,
    fetched: findFetched(guest)?.packages ?? null,
  }));
  if (isJSON) {
    out.write(`${JSON.stringify(rows)}\n`);
    return;
  }
  for (const { name, summary, memoryBytes, fetched } of rows) {
    // One package may give several files.
    const state = fetched === null ? 'not fetched' : [...new Set(fetched)].join(', ');
    out.write(`${name.padEnd(NAME_COLUMNS)}${summary}, ${memoryBytes / MIB} MiB\n`);
    out.write(`${' '.repeat(NAME_COLUMNS)}${state}\n`);
  }
  out.write(`\nKept in ${cacheFolder()}\n`);
}

export const guestsCommand: Command = {
  help: `Usage: quire guests [--json]
       quire guests fetch NAME...

Lists the guests for "quire run --guest NAME", or fetches some of them now. They come from the
packages of the distribution (Debian or Ubuntu), by its own apt, which verifies them; neither root
nor a change to the system is needed. They are kept in QUIRE_CACHE, or in "quire" under
XDG_CACHE_HOME, or in ~/.cache/quire.
`,
  async run(args, { out, err }) {
    const { values, positionals } = parseOptions(OPTIONS, args);
    const [verb, ...names] = positionals;
    if (verb === undefined) {
      list(out, values.has('json'));
      return EXIT_OK;
    }
    if (verb !== 'fetch') throw new UsageError(`Unknown action "${verb}"; there is "fetch"`);
    if (names.length === 0) throw new UsageError('Which guest? "quire guests" lists them');
    for (const guest of names.map(guestByName)) {
      const progress = progressOn(err);
      try {
        const { packages } = await fetchGuest(guest, progress.show);
        progress.end();
        out.write(`${guest.name}: ${packages.join(', ')}\n`);
      } finally {
        progress.end();
      }
    }
    return EXIT_OK;
  },
};
