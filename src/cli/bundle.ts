// The command line in a few files, as Node takes long to load three hundred. A part of the build,
// made from what the compiler wrote, and used only while that is so.

import { appendFileSync, renameSync, rmSync } from 'node:fs';
import { BUILD_FOLDER, CLI_STATE, CORE_STATE, readStamped, stampFor } from './build-stamp.ts';

const FOLDER = 'bundle';
const ENTRY = 'command-line.js';
const STATES = [CORE_STATE, CLI_STATE];

/**
 * The bundle's first file, relative to this one's folder; undefined if there is none in a build's
 * folder, or it is of other code.
 */
export function readyBundle(folder = BUILD_FOLDER): string | undefined {
  const found = readStamped(`${folder}/${FOLDER}/${ENTRY}`, folder, STATES);
  return found && `../${FOLDER}/${ENTRY}`;
}

/** Makes the bundle, unless it is there. */
export async function writeBundle(folder = BUILD_FOLDER): Promise<void> {
  if (readyBundle(folder) !== undefined) return;
  // Here, as only those who build have this package.
  const { build } = await import('esbuild');
  const path = `${folder}/${FOLDER}`;
  const aside = `${path}.${process.pid}`;
  await build({
    entryPoints: [`${folder}/cli/${ENTRY}`],
    outdir: aside,
    bundle: true,
    // What one command alone needs stays apart.
    splitting: true,
    format: 'esm',
    platform: 'node',
    target: 'node20',
    packages: 'external',
    // Names stay: stack traces and profiles have them.
    minifyWhitespace: true,
    minifySyntax: true,
    logLevel: 'warning',
  });
  appendFileSync(`${aside}/${ENTRY}`, `//${stampFor(folder, STATES)}`);
  // All at once, so that nobody loads half of it.
  rmSync(path, { recursive: true, force: true });
  renameSync(aside, path);
}
