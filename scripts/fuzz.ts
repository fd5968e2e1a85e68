// `npm run fuzz -- [--seed N] [--runs N] [FILTER…]`: the property tests, many times over. Without a
// seed each call takes another one; fast-check prints it where a property fails.

import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { repositoryFiles } from './tree.ts';

const RUNS = 2000;

const { values, positionals } = parseArgs({
  options: { seed: { type: 'string' }, runs: { type: 'string', default: String(RUNS) } },
  allowPositionals: true,
});
const files = repositoryFiles()
  .filter((path) => /^(src|test)\/.*\.test\.ts$/.test(path) && !path.startsWith('test/slow/'))
  .filter((path) => readFileSync(path, 'utf8').includes('fuzzOptions'))
  .filter((path) => positionals.length === 0 || positionals.some((part) => path.includes(part)));
if (files.length === 0) throw new Error(`No property test matches ${positionals.join(' ')}`);

const seed = values.seed ?? String(Math.floor(Math.random() * 2 ** 31));
process.stdout.write(`FUZZ_SEED=${seed} FUZZ_RUNS=${values.runs}, ${files.length} files\n`);
const args = ['node_modules/vitest/vitest.mjs', 'run', '--testTimeout=3600000', ...files];
const env = { ...process.env, FUZZ_SEED: seed, FUZZ_RUNS: values.runs };
process.exitCode = spawnSync(process.execPath, args, { stdio: 'inherit', env }).status ?? 1;
