// What says whether a file of the build was made from the code that runs: a stamp at its end, the
// hash of what the compiler writes each time it compiles something anew. Times of files would not
// do: they change when a build is copied.

import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

/** Where the build's own files lie; of a checkout, `dist`. */
export const BUILD_FOLDER = fileURLToPath(new URL('..', import.meta.url));
/** What the compiler writes for the core, and for the command line; a package has neither. */
export const CORE_STATE = '.core.tsbuildinfo';
export const CLI_STATE = '.cli.tsbuildinfo';
/** Of a stamp, in bytes and in ASCII characters. */
export const STAMP_LENGTH = 64;

function readIfThere(path: string): Uint8Array | undefined {
  try {
    return readFileSync(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

/** What a file must bear that was made from the code in `folder`; undefined in a package. */
function requiredStamp(folder: string, states: readonly string[]): string | undefined {
  const hash = createHash('sha256');
  let isCompiled = false;
  for (const name of states) {
    const state = readIfThere(`${folder}/${name}`);
    if (state === undefined) continue;
    hash.update(state);
    isCompiled = true;
  }
  return isCompiled ? hash.digest('hex') : undefined;
}

/** The stamp for a file that is made now from the code in `folder`. */
export function stampFor(folder: string, states: readonly string[]): string {
  return requiredStamp(folder, states) ?? '0'.repeat(STAMP_LENGTH);
}

/** A file that ends in a stamp; undefined if there is none, or it was made from other code. */
export function readStamped(
  path: string,
  folder: string,
  states: readonly string[],
): Uint8Array | undefined {
  const bytes = readIfThere(path);
  if (bytes === undefined) return undefined;
  const stamp = requiredStamp(folder, states);
  const found = Buffer.from(bytes.subarray(-STAMP_LENGTH)).toString('latin1');
  return stamp === undefined || stamp === found ? bytes : undefined;
}
