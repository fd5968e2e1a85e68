// `npm run bench -- guests`: bare kernels that each load one part of a processor, and kernels with
// many pages of hot code. Each test is timed by two bytes that it writes to the serial port.

import { UsageError } from '../../src/cli/command.ts';
import type { Option } from '../../src/cli/options.ts';
import { assemble, kernelSource } from '../guests/assemble.ts';
import { codePagesSource } from '../guests/code-pages.ts';
import { compare, findSystems, median, type SystemRuns, spanOf } from './compare.ts';
import { BUILD, compileChildren } from './compile.ts';
import type { Job } from './job.ts';
import { type ComparisonOptions, parseComparison, parseCount } from './options.ts';
import { circumstances, printCircumstances, saveResults } from './results.ts';
import type { System } from './systems.ts';
import { formatMs, formatRatio, printTable } from './table.ts';

const TIMEOUT_SECONDS = 600;
const MEMORY_BYTES = 128 << 20;
/** Calls in a round of the code-page kernels: the same for any number of pages. */
const CALLS_PER_ROUND = 600_000;
const PAGE_COUNTS = [600, 1200, 5000];
/** Enough for a translator to get warm. */
export const ROUND_COUNT = 20;
const QUICK_DIVISOR = 50;

/** The tests of bench/guests/bench.S. */
const TESTS: Readonly<Record<string, string>> = {
  a: '1e9 ALU instructions',
  b: '52 M load, add, store',
  c: '20 M calls to another page',
  d: '6.4 M indirect calls, 64 pages',
  e: '100 k patches of code and calls',
  f: '1 M stores beside running code',
  h: '20 M x87 add and multiply',
  i: '60 M addsd and mulsd',
  j: '500 × 1 MiB rep movsd',
  k: 'b with paging',
  l: '50 × 12,000 pages, a load each',
  m: '150 × 4,000 pages, a load each',
  n: '100 k CR3 reloads, 16+16 pages',
};

const OPTIONS: readonly Option[] = [
  { names: ['tests'], argument: 'LETTERS', summary: 'Some of the tests of bench.S, or none' },
  { names: ['pages'], argument: 'COUNTS', summary: 'Numbers of hot code pages, or none' },
  { names: ['rounds'], argument: 'N', summary: 'Rounds over the hot code pages' },
  { names: ['quick'], summary: 'Short loops: shows only that everything runs' },
];

/**
 * Letters of tests, in the order in which they run.
 * @throws {UsageError} if there is no such test
 */
export function parseTests(text: string): string[] {
  if (text === 'none') return [];
  const letters = [...text.replaceAll(',', '')];
  const unknown = letters.find((letter) => !(letter in TESTS));
  if (unknown !== undefined)
    throw new UsageError(
      `Option "--tests" must be of ${Object.keys(TESTS).join('')}, got "${unknown}"`,
    );
  return Object.keys(TESTS).filter((letter) => letters.includes(letter));
}

function parsePages(text: string): number[] {
  return text === 'none' ? [] : text.split(',').map((count) => parseCount('--pages', count));
}

function multibootJob(kernelPath: string): Job {
  return {
    format: 'multiboot',
    kernelPath,
    commandLine: '',
    memoryBytes: MEMORY_BYTES,
    plan: { kind: 'letters', last: 'z' },
    // A Pentium II has no SSE2.
    qemuCPU: 'qemu32',
  };
}

/**
 * A job that runs some of the tests.
 * @throws {Error} if this host cannot build the kernel
 */
export function testsJob(tests: readonly string[], divisor: number): Job {
  const bits = tests.map((letter) => 1 << (letter.charCodeAt(0) - 'a'.charCodeAt(0)));
  const symbols = { TESTS: bits.reduce((sum, bit) => sum | bit, 0), DIVISOR: divisor };
  return multibootJob(assemble(BUILD, kernelSource('bench'), symbols));
}

/** A job with many pages of hot code; throws as `testsJob` does. */
export function pagesJob(pageCount: number, roundCount: number, divisor = 1): Job {
  const repeatCount = Math.max(1, Math.round(CALLS_PER_ROUND / divisor / pageCount));
  return multibootJob(assemble(BUILD, codePagesSource({ pageCount, repeatCount, roundCount })));
}

/** The smaller of two that may be missing. */
function best(a: number | undefined, b: number | undefined): number | undefined {
  return a === undefined || b === undefined ? (a ?? b) : Math.min(a, b);
}

function ratios(results: readonly SystemRuns[], msOf: (system?: SystemRuns) => number | undefined) {
  const find = (name: string) => msOf(results.find((system) => system.name === name));
  const ours = find('quire');
  const interpreter = find('v86-interpreter');
  return [
    formatRatio(ours, best(interpreter, find('v86'))),
    formatRatio(ours, interpreter),
    formatRatio(ours, find('qemu')),
  ];
}

const RATIO_HEAD = ['÷ v86 best', '÷ v86 interp', '÷ QEMU'];

function printTests(results: readonly SystemRuns[], tests: readonly string[]): void {
  for (const [kind, unit] of [
    ['cpuMs', 'CPU time'],
    ['wallMs', 'wall time'],
  ] as const) {
    const rows = tests.map((letter) => {
      const msOf = (system?: SystemRuns) => spanOf(system, letter, letter.toUpperCase())?.[kind];
      const times = results.map((system) => formatMs(msOf(system)));
      return [`${letter}: ${TESTS[letter]}`, ...times, ...ratios(results, msOf)];
    });
    process.stdout.write(`\nTests, ${unit}; "÷" is Quire over the other\n`);
    printTable(['test', ...results.map(({ name }) => name), ...RATIO_HEAD], rows);
  }
}

/** CPU time of each round, medians over the runs, ms. */
function roundsOf(system: SystemRuns | undefined): number[] {
  const runs = (system?.runs ?? []).map(({ marks }) => {
    const ends = marks.filter(({ name }) => name === 'w' || name === 'x');
    return ends.slice(1).map((mark, index) => mark.cpuMs - ends[index]!.cpuMs);
  });
  const count = Math.min(...runs.map((rounds) => rounds.length));
  if (runs.length === 0 || count === 0) return [];
  return Array.from({ length: count }, (_, index) => median(runs.map((rounds) => rounds[index]!)));
}

/** The second half of the rounds, by when a translator should be warm. */
function warmMs(system: SystemRuns | undefined): number | undefined {
  const rounds = roundsOf(system);
  return rounds.length === 0 ? undefined : median(rounds.slice(rounds.length >> 1));
}

function printPages(results: readonly SystemRuns[], pageCount: number): void {
  process.stdout.write(`\n${pageCount} hot code pages, CPU time of a round; warm: second half\n`);
  const rows = results.map((system) => {
    const rounds = roundsOf(system);
    return [
      system.title,
      formatMs(rounds[0]),
      formatMs(warmMs(system)),
      formatMs(rounds.length === 0 ? undefined : Math.max(...rounds)),
      rounds.map((ms) => ms.toFixed(0)).join(' '),
    ];
  });
  printTable(['system', 'first', 'warm', 'longest', 'each round, ms'], rows);
  const [toBest, toInterpreter, toQEMU] = ratios(results, warmMs);
  process.stdout.write(
    `Quire, warm: ${toBest} × v86's best, ${toInterpreter} × its interpreter, ${toQEMU} × QEMU\n`,
  );
}

async function runTests(
  systems: readonly System[],
  options: ComparisonOptions,
  tests: readonly string[],
  divisor: number,
): Promise<SystemRuns[]> {
  const results = await compare(systems, testsJob(tests, divisor), options, 'tests');
  printTests(results, tests);
  return results;
}

export async function guests(args: readonly string[]): Promise<void> {
  const options = parseComparison(args, { timeoutSeconds: TIMEOUT_SECONDS }, OPTIONS);
  const { values } = options;
  const tests = parseTests(values.get('tests') ?? Object.keys(TESTS).join(''));
  const pageCounts = parsePages(values.get('pages') ?? PAGE_COUNTS.join(','));
  const roundCount = parseCount('--rounds', values.get('rounds') ?? String(ROUND_COUNT));
  const divisor = values.has('quick') ? QUICK_DIVISOR : 1;
  compileChildren();
  const systems = await findSystems(options);
  const at = circumstances();
  printCircumstances('guests', at);
  const results: Record<string, unknown> = {};
  if (tests.length > 0) results.tests = await runTests(systems, options, tests, divisor);
  for (const pageCount of pageCounts) {
    const job = pagesJob(pageCount, roundCount, divisor);
    const runs = await compare(systems, job, options, `${pageCount} pages`);
    printPages(runs, pageCount);
    results[`${pageCount} pages`] = { roundCount, systems: runs };
  }
  if (options.isSaving) saveResults('guests', at, { divisor, ...results });
}
