// Where and when figures were taken, and keeping them.

import { spawnSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { cpus, loadavg, totalmem } from 'node:os';
import { join } from 'node:path';
import { ROOT } from './compile.ts';

/** The machine and the versions that figures belong to. */
export interface Circumstances {
  readonly date: string;
  readonly processor: string;
  readonly processorCount: number;
  readonly memoryBytes: number;
  /** Mean number of processes that wanted to run in the minute before. */
  readonly load: number;
  readonly node: string;
  readonly v8: string;
  readonly commit: string;
}

export function circumstances(): Circumstances {
  const git = spawnSync('git', ['describe', '--always', '--dirty'], {
    cwd: ROOT,
    encoding: 'utf8',
  });
  return {
    date: new Date().toISOString(),
    processor: cpus()[0]?.model.trim() ?? 'unknown',
    processorCount: cpus().length,
    memoryBytes: totalmem(),
    load: loadavg()[0]!,
    node: process.versions.node,
    v8: process.versions.v8,
    commit: git.status === 0 ? git.stdout.trim() : 'unknown',
  };
}

export function printCircumstances(name: string, at: Circumstances): void {
  process.stdout.write(
    `${name}: ${at.processor}, ${at.processorCount} processors; Node ${at.node}, V8 ${at.v8}; ` +
      `commit ${at.commit}\n`,
  );
  if (at.load > at.processorCount / 2)
    process.stdout.write(
      `The machine is busy (load ${at.load.toFixed(1)}): compare processor time, not wall time\n`,
    );
}

/** Writes `bench/results/NAME-DATE.json`. */
export function saveResults(name: string, at: Circumstances, results: unknown): void {
  const folder = join(ROOT, 'bench', 'results');
  mkdirSync(folder, { recursive: true });
  const path = join(folder, `${name}-${at.date.replace(/[:.]/g, '-')}.json`);
  writeFileSync(path, `${JSON.stringify({ name, circumstances: at, results }, null, 2)}\n`);
  process.stdout.write(`Saved ${path}\n`);
}
