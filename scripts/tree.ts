// The files of the repository, as the checks see them.

import { readdirSync, readFileSync } from 'node:fs';

const NOT_OURS = new Set(['node_modules', 'dist', 'build', '.git', '.quire']);

/** Every file that is not generated or installed, by its path from the root, `/` between names. */
export function repositoryFiles(folder = '.'): string[] {
  const paths: string[] = [];
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    const path = folder === '.' ? entry.name : `${folder}/${entry.name}`;
    if (entry.isDirectory() && !NOT_OURS.has(entry.name)) paths.push(...repositoryFiles(path));
    else if (entry.isFile() && !/\.(log|cpuprofile)$/.test(path)) paths.push(path);
  }
  return paths.sort();
}

/** Lines of a text file, without their ends. */
export function linesOf(path: string): string[] {
  return readFileSync(path, 'utf8').split('\n');
}
