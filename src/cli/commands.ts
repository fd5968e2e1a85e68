// The table of commands. Each is loaded when it is called, so that `quire --version` is quick.

import type { Command } from './command.ts';

/** A row of the table: what `quire help` lists, and how to get the command itself. */
interface CommandRow {
  readonly name: string;
  readonly summary: string;
  readonly load: () => Promise<Command>;
}

export const COMMANDS: readonly CommandRow[] = [
  {
    name: 'run',
    summary: 'Run a machine',
    load: async () => (await import('./run-command.ts')).runCommand,
  },
  {
    name: 'guests',
    summary: 'List and fetch the guests that Quire knows',
    load: async () => (await import('./guests-command.ts')).guestsCommand,
  },
  {
    name: 'snapshot',
    summary: 'List, compare, verify, move and export snapshots',
    load: async () => (await import('./snapshot/snapshot-command.ts')).snapshotCommand,
  },
  {
    name: 'help',
    summary: 'Explain a command',
    load: async () => (await import('./help-command.ts')).helpCommand,
  },
];
