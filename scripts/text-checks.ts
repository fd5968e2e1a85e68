// Checks that read the tree as text.

import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { COMMANDS } from '../src/cli/commands.ts';
import { missingEntries, readLock } from './complete-lock.ts';
import { linesOf, repositoryFiles } from './tree.ts';

const COLUMNS_MAX = 100;
const FILE_LINES_MAX = 600;
/** A file whose first lines say that it is a table may be long. */
const TABLE_MARK = /\btable\b/i;
const TABLE_MARK_LINES = 6;

/** Lines of code wider than the house's limit. */
export function longLines(): string[] {
  const findings: string[] = [];
  for (const path of repositoryFiles().filter((name) => /\.(ts|mjs|js|S|c)$/.test(name))) {
    linesOf(path).forEach((line, index) => {
      if ([...line].length > COLUMNS_MAX) findings.push(`${path}:${index + 1}: ${line.length}`);
    });
  }
  return findings;
}

/** Source files with too much in them. */
export function longFiles(): string[] {
  const findings: string[] = [];
  for (const path of repositoryFiles().filter((name) => /^src\/.*\.ts$/.test(name))) {
    const lines = linesOf(path);
    const isTable = lines.slice(0, TABLE_MARK_LINES).some((line) => TABLE_MARK.test(line));
    if (lines.length > FILE_LINES_MAX && !isTable) findings.push(`${path}: ${lines.length} lines`);
  }
  return findings;
}

/** Tests that docs/failures.md names and that are not where it says: `file`: *name*. */
export function deadTests(): string[] {
  const findings: string[] = [];
  const page = readFileSync('docs/failures.md', 'utf8');
  for (const [, path, name] of page.matchAll(/`([\w./-]+\.(?:ts|S))`: \*([^*]+)\*/g)) {
    const text = existsSync(path!) ? readFileSync(path!, 'utf8') : '';
    if (!text.includes(name!)) findings.push(`${path}: ${name}`);
  }
  return findings;
}

/** `npm run x` and `quire y` in README and docs/ that name no script and no command. */
export function deadCommands(): string[] {
  const manifest = JSON.parse(readFileSync('package.json', 'utf8')) as {
    scripts: Record<string, string>;
  };
  const findings: string[] = [];
  const pages = repositoryFiles().filter((name) =>
    /^(README|CHANGELOG|docs\/.*)\.?.*\.md$/.test(name),
  );
  for (const path of pages) {
    linesOf(path).forEach((line, index) => {
      const place = `${path}:${index + 1}`;
      for (const [, name] of line.matchAll(/\bnpm run ([\w:-]+)/g))
        if (!(name! in manifest.scripts)) findings.push(`${place}: npm run ${name}`);
      for (const [, name] of line.matchAll(/\bnpm (start|test)\b/g))
        if (!(name! in manifest.scripts)) findings.push(`${place}: npm ${name}`);
      // Only as a command: at the start of a code span or of a line in a code block.
      for (const [, name] of line.matchAll(/(?:`|^\s*(?:\$ )?(?:npx )?)quire ([a-z]+)/g))
        if (!COMMANDS.some((command) => command.name === name))
          findings.push(`${place}: quire ${name}`);
    });
  }
  return findings;
}

/** Hosts that this machine's own package clients use: the tree names none of them. */
function registryHosts(): string[] {
  const npm = spawnSync('npm', ['config', 'get', 'registry'], { encoding: 'utf8' }).stdout ?? '';
  const apt = ['/etc/apt/sources.list', '/etc/apt/sources.list.d/debian.sources']
    .filter((path) => existsSync(path))
    .map((path) => readFileSync(path, 'utf8'));
  const addresses = [npm, ...apt].join('\n').matchAll(/https?:\/\/([^/\s]+)/g);
  return [...new Set([...addresses].map(([, host]) => host!))];
}

/** Registry hosts and absolute paths of a developer's machine, anywhere in the tree. */
export function foreignPlaces(): string[] {
  const hosts = registryHosts();
  // The checkout's own folder, unless it is so short that the name proves nothing.
  const here = process.cwd().split('/').length > 2 ? process.cwd() : undefined;
  const findings: string[] = [];
  for (const path of repositoryFiles()) {
    const text = readFileSync(path, 'utf8');
    for (const needle of here === undefined ? hosts : [...hosts, here])
      if (text.includes(needle)) findings.push(`${path}: ${needle}`);
  }
  return findings;
}

/** Optional packages without an entry, for which `npm ci` would refuse the lock file. */
export function lockedPlatforms(): string[] {
  return missingEntries(readLock()).map(([name]) => `${name} is missing: npm run lock`);
}

/** A lock file with addresses would tie every machine to the registry of the one that wrote it. */
export function lockedAddresses(): string[] {
  return linesOf('package-lock.json').flatMap((line, index) =>
    line.includes('"resolved"') ? [`package-lock.json:${index + 1}: ${line.trim()}`] : [],
  );
}
