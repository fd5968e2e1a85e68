// `npm run bench -- NAME…`: runs bench/NAME.bench.ts, each of its variants in a process of its own,
// and prints a table. Without a name it lists what there is. With --json it prints JSON instead.
// `npm run bench -- NAME OPTIONS`, with the name of a comparison, runs that (bench/comparison/).

import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { cpus } from 'node:os';
import { fileURLToPath } from 'node:url';
import { UsageError } from '../src/cli/command.ts';
import type { Measurement } from './harness.ts';

const FOLDER = fileURLToPath(new URL('.', import.meta.url));

/** Whole systems beside each other, or a look at one; loaded when wanted. */
const COMPARISONS: Readonly<Record<string, (args: readonly string[]) => Promise<void>>> = {
  boot: async (args) => (await import('./comparison/boot.ts')).boot(args),
  guests: async (args) => (await import('./comparison/guests.ts')).guests(args),
  workload: async (args) => (await import('./comparison/workload.ts')).workload(args),
  profile: async (args) => (await import('./comparison/profile.ts')).profile(args),
};

function start(file: string, args: readonly string[]): string {
  const result = spawnSync(process.execPath, ['--import', 'tsx', file, ...args], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
    maxBuffer: 1 << 26,
  });
  if (result.status !== 0) throw new Error(`${file} ${args.join(' ')} ended with ${result.status}`);
  return result.stdout;
}

function measure(file: string): Measurement[] {
  const names = start(file, ['--list']).split('\n').filter(Boolean);
  return names.map((name) => JSON.parse(start(file, ['--variant', name])) as Measurement);
}

/** At most four significant digits, in the unit that reads best. */
function formatTime(ns: number): string {
  if (ns < 1e3) return `${ns.toPrecision(3)} ns`;
  if (ns < 1e6) return `${(ns / 1e3).toPrecision(3)} µs`;
  return `${(ns / 1e6).toPrecision(3)} ms`;
}

function formatRow(result: Measurement, all: readonly Measurement[]): string {
  const times = [result.minNs, result.medianNs, result.maxNs].map((ns) =>
    formatTime(ns).padStart(9),
  );
  const rate =
    result.bytesPerOperation === undefined
      ? ''
      : `${(result.bytesPerOperation / result.medianNs).toPrecision(3)} GB/s`;
  const bound = all.find((other) => other.name === result.lowerBound);
  const ratio =
    bound === undefined ? '' : `${(result.medianNs / bound.medianNs).toFixed(1)} × ${bound.name}`;
  const columns = [times.join(' '), String(result.n).padStart(3), rate.padStart(14)];
  return `${result.name.padEnd(36)} ${columns.join(' ')}  ${ratio}`;
}

async function main(args: readonly string[]): Promise<number> {
  const comparison = COMPARISONS[args[0] ?? ''];
  if (comparison !== undefined) {
    try {
      await comparison(args.slice(1));
      return 0;
    } catch (error) {
      process.stderr.write(`${(error as Error).message}\n`);
      return error instanceof UsageError ? 2 : 1;
    }
  }
  const isJSON = args.includes('--json');
  const names = args.filter((arg) => !arg.startsWith('--'));
  const known = readdirSync(FOLDER)
    .filter((file) => file.endsWith('.bench.ts'))
    .map((file) => file.slice(0, -'.bench.ts'.length));
  if (names.length === 0) {
    const all = [...known, ...Object.keys(COMPARISONS)];
    process.stdout.write(`Benchmarks: ${all.join(', ')}\n`);
    return 0;
  }
  for (const name of names) {
    const file = `${FOLDER}${name}.bench.ts`;
    if (!existsSync(file)) {
      process.stderr.write(
        `There is no benchmark "${name}": there are ${known.join(', ')}; and, each alone, ` +
          `${Object.keys(COMPARISONS).join(', ')}\n`,
      );
      return 2;
    }
    const machine = `${cpus()[0]?.model ?? 'unknown processor'}, ${cpus().length} processors`;
    const versions = `Node ${process.versions.node}, V8 ${process.versions.v8}`;
    const results = measure(file);
    if (isJSON) {
      process.stdout.write(
        `${JSON.stringify({ name, machine, versions, results }, undefined, 2)}\n`,
      );
      continue;
    }
    process.stdout.write(`${name}: ${machine}; ${versions}\n`);
    const columns = ['min', 'median', 'max'].map((column) => column.padStart(9)).join(' ');
    process.stdout.write(`${'variant'.padEnd(36)} ${columns}   n           rate  median beside\n`);
    for (const result of results) process.stdout.write(`${formatRow(result, results)}\n`);
  }
  return 0;
}

process.exitCode = await main(process.argv.slice(2));
