// The interpreter's module as a file of the build, so that a process need not build it. It is used
// only if it was made from the code that runs.

import { createHash } from 'node:crypto';
import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { buildInterpreterBytes } from '../accel/software/index.ts';

/** Where the build's own files lie; of a checkout, `dist`. */
const BUILD_FOLDER = fileURLToPath(new URL('..', import.meta.url));
const FILE = 'accel/software/interpreter.wasm';
/** What the compiler writes each time it compiles the core anew; a package has none. */
const BUILD_STATE = '.core.tsbuildinfo';
const STAMP_LENGTH = 64;
/** A custom section: WebAssembly Core Specification 2.0, section 5.5.3. */
const SECTION_CUSTOM = 0;
const SECTION_NAME = 'quire.stamp';

function readIfThere(path: string): Uint8Array | undefined {
  try {
    return readFileSync(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

/** What the file must bear to belong to the code in `folder`; undefined where nobody compiles. */
function stampOf(folder: string): string | undefined {
  const state = readIfThere(`${folder}/${BUILD_STATE}`);
  return state === undefined ? undefined : createHash('sha256').update(state).digest('hex');
}

/** The module in a build's folder; undefined if there is none, or it is of other code. */
export function readPrebuiltInterpreter(folder = BUILD_FOLDER): Uint8Array | undefined {
  const bytes = readIfThere(`${folder}/${FILE}`);
  if (bytes === undefined) return undefined;
  const stamp = stampOf(folder);
  const found = Buffer.from(bytes.subarray(-STAMP_LENGTH)).toString('latin1');
  return stamp === undefined || stamp === found ? bytes : undefined;
}

/** Makes the file for the code that runs, unless it is there. */
export function writePrebuiltInterpreter(folder = BUILD_FOLDER): void {
  if (readPrebuiltInterpreter(folder) !== undefined) return;
  const stamp = stampOf(folder) ?? '0'.repeat(STAMP_LENGTH);
  const name = Buffer.from(SECTION_NAME);
  const sizeBytes = 1 + name.length + STAMP_LENGTH;
  const path = `${folder}/${FILE}`;
  const aside = `${path}.${process.pid}`;
  writeFileSync(
    aside,
    Buffer.concat([
      buildInterpreterBytes(),
      // Both sizes are below 128, so each is one byte of LEB128.
      Buffer.from([SECTION_CUSTOM, sizeBytes, name.length]),
      name,
      Buffer.from(stamp),
    ]),
  );
  renameSync(aside, path);
}
