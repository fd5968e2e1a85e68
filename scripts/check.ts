// The house checks, `npm run check`: what a reader should not have to look for. Each is a name and
// a function that returns one line per finding.

import { spawnSync } from 'node:child_process';
import { pathToFileURL } from 'node:url';
import { undocumentedNames } from './public-names.ts';
import { forbiddenImports } from './rooms.ts';
import {
  deadCommands,
  deadTests,
  foreignPlaces,
  lockedAddresses,
  lockedPlatforms,
  longFiles,
  longLines,
} from './text-checks.ts';

interface Check {
  readonly name: string;
  readonly find: () => string[] | Promise<string[]>;
}

/** Runs a tool of node_modules; its output is the finding if it fails. */
function tool(command: string, ...args: string[]): string[] {
  const result = spawnSync(process.execPath, [`node_modules/${command}`, ...args], {
    encoding: 'utf8',
    env: { ...process.env, NO_COLOR: '1', FORCE_COLOR: '0' },
  });
  if (result.status === 0) return [];
  return `${result.stdout}${result.stderr}`.trimEnd().split('\n');
}

const CHECKS: readonly Check[] = [
  { name: 'types', find: () => tool('typescript/bin/tsc', '-b', '.', 'tsconfig.test.json') },
  { name: 'lint and format', find: () => tool('@biomejs/biome/bin/biome', 'check', '.') },
  { name: 'arrows between rooms and cycles', find: forbiddenImports },
  {
    name: 'unused files, exports and dependencies',
    find: () => tool('knip/bin/knip.js', '--no-progress', '--no-config-hints'),
  },
  { name: 'lines of at most 100 columns', find: longLines },
  { name: 'files of at most 600 lines', find: longFiles },
  { name: 'public names with a comment', find: undocumentedNames },
  { name: 'commands in README and docs that exist', find: deadCommands },
  { name: 'tests in docs/failures.md that exist', find: deadTests },
  { name: 'no registry host and no path of one machine', find: foreignPlaces },
  { name: 'a lock file without addresses', find: lockedAddresses },
  { name: 'a lock file for every platform', find: lockedPlatforms },
];

/** What a run of all checks came to. */
export interface CheckCounts {
  passed: number;
  failed: number;
}

/** Runs every check, prints what it finds, and counts. */
export async function runChecks(): Promise<CheckCounts> {
  const counts = { passed: 0, failed: 0 };
  for (const check of CHECKS) {
    const findings = await check.find();
    process.stdout.write(`${findings.length === 0 ? '✓' : '✗'} ${check.name}\n`);
    for (const line of findings) process.stdout.write(`    ${line}\n`);
    if (findings.length === 0) counts.passed++;
    else counts.failed++;
  }
  return counts;
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const { failed } = await runChecks();
  process.exitCode = failed === 0 ? 0 : 1;
}
