// The processes under measurement run plain JavaScript, without a loader that costs time before the
// guest starts: Quire from dist/, as `npm start` does, and the small files around it from build/.

import { spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';

const HERE = fileURLToPath(new URL('.', import.meta.url));

/** The checkout's folder. */
export const ROOT = fileURLToPath(new URL('../../', import.meta.url));

/** Where everything lies that benchmarks make. */
export const BUILD = join(ROOT, 'build', 'bench');

const FILES = ['plan', 'child', 'quire-child', 'v86-child'];

/**
 * Brings dist/ and the children up to date.
 * @throws {Error} if Quire cannot be built
 */
export function compileChildren(): void {
  const tsc = join(ROOT, 'node_modules', 'typescript', 'bin', 'tsc');
  const built = spawnSync(process.execPath, [tsc, '-b'], { cwd: ROOT, encoding: 'utf8' });
  if (built.status !== 0) process.stderr.write(`npm run build has errors:\n${built.stdout}`);
  else
    spawnSync(process.execPath, [join(ROOT, 'dist', 'cli', 'prebuild.js')], { stdio: 'inherit' });
  mkdirSync(BUILD, { recursive: true });
  for (const name of FILES) {
    const { outputText } = ts.transpileModule(readFileSync(join(HERE, `${name}.ts`), 'utf8'), {
      compilerOptions: {
        module: ts.ModuleKind.ESNext,
        target: ts.ScriptTarget.ES2023,
        verbatimModuleSyntax: true,
        rewriteRelativeImportExtensions: true,
      },
    });
    writeFileSync(join(BUILD, `${name}.js`), outputText);
  }
}
