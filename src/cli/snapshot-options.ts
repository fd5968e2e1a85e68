// The options of `quire run` on snapshots.

import { UsageError } from './command.ts';
import type { Option } from './options.ts';
import { storeFolder } from './snapshot/store-location.ts';

export const SNAPSHOT_OPTIONS: readonly Option[] = [
  {
    names: ['loadvm'],
    argument: 'TAG',
    summary: 'Go on from a snapshot; other options say the same machine again',
  },
  { names: ['lazy'], summary: 'Run at once, and load RAM as the guest touches it' },
  {
    names: ['snapshots'],
    argument: 'FOLDER',
    summary: 'Where snapshots are; else QUIRE_STORE, else ~/.local/share/quire/snapshots',
  },
];

export interface SnapshotConfig {
  readonly folder: string;
  readonly loadTag?: string;
  readonly isLazy: boolean;
}

/** @throws {UsageError} if a value makes no sense */
export function parseSnapshots(values: ReadonlyMap<string, string>): SnapshotConfig {
  const folder = values.get('snapshots') ?? storeFolder();
  if (folder === '') throw new UsageError('Option "--snapshots" must name a folder, got ""');
  const loadTag = values.get('loadvm');
  const isLazy = values.has('lazy');
  return loadTag === undefined ? { folder, isLazy } : { folder, loadTag, isLazy };
}
