// The command line in a few files, which Node loads in a third of the time that it takes for three
// hundred. A part of the build, made from what the compiler wrote, and used only while that is so.

import { rmSync, statSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

/** Where the build's own files lie; of a checkout, `dist`. */
const BUILD_FOLDER = fileURLToPath(new URL('..', import.meta.url));
const FOLDER = 'bundle';
const ENTRY = 'command-line';
/** What the compiler writes each time it compiles something anew; a package has none. */
const BUILD_STATES = ['.core.tsbuildinfo', '.cli.tsbuildinfo'];

function timeOf(path: string): number | undefined {
  return statSync(path, { throwIfNoEntry: false })?.mtimeMs;
}

/** The bundle's first file in a build's folder; undefined if there is none, or it is outdated. */
export function readyBundle(folder = BUILD_FOLDER): string | undefined {
  const path = `${folder}/${FOLDER}/${ENTRY}.js`;
  const time = timeOf(path);
  if (time === undefined) return undefined;
  const isOutdated = BUILD_STATES.some((name) => (timeOf(`${folder}/${name}`) ?? 0) > time);
  return isOutdated ? undefined : `../${FOLDER}/${ENTRY}.js`;
}

/** Makes the bundle, unless it is up to date. */
export async function writeBundle(folder = BUILD_FOLDER): Promise<void> {
  if (readyBundle(folder) !== undefined) return;
  // Of the packages only what is needed to build: users of the command line do not have it.
  const { build } = await import('esbuild');
  rmSync(`${folder}/${FOLDER}`, { recursive: true, force: true });
  await build({
    entryPoints: [`${folder}/cli/${ENTRY}.js`],
    outdir: `${folder}/${FOLDER}`,
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
}
