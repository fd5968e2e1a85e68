// The interpreter's module as a file of the build, so that a process need not build it. It is used
// only if it was made from the code that runs.

import { renameSync, writeFileSync } from 'node:fs';
import { buildInterpreterBytes } from '../accel/software/index.ts';
import { BUILD_FOLDER, CORE_STATE, readStamped, STAMP_LENGTH, stampFor } from './build-stamp.ts';

const FILE = 'accel/software/interpreter.wasm';
const STATES = [CORE_STATE];
/** A custom section: WebAssembly Core Specification 2.0, section 5.5.3. */
const SECTION_CUSTOM = 0;
const SECTION_NAME = 'quire.stamp';

/** The module in a build's folder; undefined if there is none, or it is of other code. */
export function readPrebuiltInterpreter(folder = BUILD_FOLDER): Uint8Array | undefined {
  return readStamped(`${folder}/${FILE}`, folder, STATES);
}

/** Makes the file for the code that runs, unless it is there. */
export function writePrebuiltInterpreter(folder = BUILD_FOLDER): void {
  if (readPrebuiltInterpreter(folder) !== undefined) return;
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
      Buffer.from(stampFor(folder, STATES)),
    ]),
  );
  renameSync(aside, path);
}
