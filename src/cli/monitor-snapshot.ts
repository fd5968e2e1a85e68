// The monitor's commands on snapshots. They take a while, so their text comes later.

import type { MonitorCommand, MonitorTarget } from './monitor.ts';
import type { MachineStore, OnFraction } from './snapshot/machine-store.ts';

/** What the monitor needs of a machine's snapshots. */
export type MonitorSnapshots = Pick<MachineStore, 'save' | 'load' | 'delete' | 'list'>;

function tagOf(args: readonly string[], example: string): string {
  const [tag, ...rest] = args;
  if (tag === undefined || rest.length > 0) throw new RangeError(`Which one? Such as: ${example}`);
  return tag;
}

type SnapshotCommand = (
  snapshots: MonitorSnapshots,
  args: readonly string[],
  onFraction: OnFraction,
) => Promise<string>;

const COMMANDS: ReadonlyMap<string, SnapshotCommand> = new Map<string, SnapshotCommand>([
  [
    'savevm',
    async (snapshots, args, onFraction) => snapshots.save(tagOf(args, 'savevm before'), onFraction),
  ],
  [
    'loadvm',
    async (snapshots, args, onFraction) => snapshots.load(tagOf(args, 'loadvm before'), onFraction),
  ],
  ['delvm', async (snapshots, args) => snapshots.delete(tagOf(args, 'delvm before'))],
  ['info snapshots', async (snapshots) => snapshots.list()],
]);

function later(): string {
  return 'Snapshots are for a machine of "quire run"\n';
}

/** For the monitor's lists; {@link runSnapshotLine} does the work. */
export const SNAPSHOT_COMMANDS: readonly MonitorCommand[] = [
  { name: 'savevm', args: 'TAG', summary: 'Save the machine; it runs on meanwhile', run: later },
  { name: 'loadvm', args: 'TAG', summary: 'Put it into a state that was saved', run: later },
  { name: 'delvm', args: 'TAG', summary: 'Forget a snapshot', run: later },
];

export const SNAPSHOTS_INFO: MonitorCommand = {
  name: 'snapshots',
  args: '',
  summary: 'Snapshots; * is what the next one builds upon',
  run: later,
};

/**
 * Runs a line if it is about snapshots: what it prints, later. It never throws for what was typed.
 * @returns undefined if it is about something else
 */
export function runSnapshotLine(
  target: Pick<MonitorTarget, 'snapshots'>,
  line: string,
  onFraction: OnFraction = () => {},
): Promise<string> | undefined {
  const words = line.trim().split(/\s+/);
  const count = words[0] === 'info' ? 2 : 1;
  const command = COMMANDS.get(words.slice(0, count).join(' '));
  const { snapshots } = target;
  if (command === undefined || snapshots === undefined) return undefined;
  return command(snapshots, words.slice(count), onFraction).catch(
    (error: unknown) => `Error: ${error instanceof Error ? error.message : String(error)}\n`,
  );
}
