// Where snapshots are kept if nobody says.

import { homedir } from 'node:os';
import { join } from 'node:path';

/** QUIRE_STORE, or `quire/snapshots` in XDG_DATA_HOME, or `~/.local/share/quire/snapshots`. */
export function storeFolder(env: NodeJS.ProcessEnv = process.env): string {
  if (env.QUIRE_STORE) return env.QUIRE_STORE;
  return join(env.XDG_DATA_HOME || join(homedir(), '.local', 'share'), 'quire', 'snapshots');
}
