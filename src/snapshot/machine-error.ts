// The refusals of a machine that compares itself with a snapshot.

import { SnapshotError } from './snapshot-error.ts';

/** Snapshot and machine differ in `subject`: a block, a section, a field of the configuration. */
export function mismatch(subject: string, detail: string): SnapshotError {
  return new SnapshotError('MISMATCH', `Cannot restore "${subject}": ${detail}`, { subject });
}
