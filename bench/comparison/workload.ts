// `npm run bench -- workload`: after the boot, what a user's programs cost:
// bench/guests/workload.sh in the BusyBox shell, each of its steps timed where its `M:` line comes
// out of the serial port.

import { printBoot } from './boot.ts';
import { compare, findSystems, type Span, type SystemRuns, spanOf } from './compare.ts';
import { compileChildren } from './compile.ts';
import { debianJob, PROMPT } from './debian.ts';
import { parseComparison } from './options.ts';
import type { Step } from './plan.ts';
import { circumstances, printCircumstances, saveResults } from './results.ts';
import { formatMs, formatRatio, printTable } from './table.ts';

const TIMEOUT_SECONDS = 3600;
const START = 'start';
/** The marks of bench/guests/workload.sh, in its order. */
const STEPS = [
  ...['shell-loop', 'dd', 'generate', 'md5sum', 'sha256sum', 'gzip', 'gunzip', 'fork-exec'],
  ...['awk-float', 'bzip2'],
];
/** For `--quick`: loops of the script are divided by it. */
const QUICK_DIVISOR = 50;

function markStep(name: string): Step {
  return { mark: `M:${name}`, pattern: `M:${name}\\s` };
}

/** CPU time and, in brackets, wall time. */
function formatSpan(span: Span | undefined): string {
  return span === undefined ? '–' : `${formatMs(span.cpuMs)} (${formatMs(span.wallMs)})`;
}

function printSteps(results: readonly SystemRuns[]): void {
  const find = (name: string) => results.find((system) => system.name === name);
  const others = results.filter(({ name }) => name !== 'quire');
  const head = ['step', ...results.map(({ name }) => name), ...others.map((o) => `÷ ${o.name}`)];
  const rowOf = (label: string, from: string, to: string): string[] => {
    const ours = spanOf(find('quire'), from, to);
    return [
      label,
      ...results.map((system) => formatSpan(spanOf(system, from, to))),
      ...others.map((other) => formatRatio(ours?.cpuMs, spanOf(other, from, to)?.cpuMs)),
    ];
  };
  const marks = [START, ...STEPS].map((name) => `M:${name}`);
  const rows = STEPS.map((name, index) => rowOf(name, marks[index]!, marks[index + 1]!));
  rows.push(rowOf('total', marks[0]!, marks.at(-1)!));
  process.stdout.write('\nCPU time (wall time); "÷" is Quire over the other, in CPU time\n');
  printTable(head, rows);
}

export async function workload(args: readonly string[]): Promise<void> {
  const own = [{ names: ['quick'], summary: 'Short loops: shows only that everything runs' }];
  const options = parseComparison(args, { timeoutSeconds: TIMEOUT_SECONDS }, own);
  const divisor = options.values.has('quick') ? QUICK_DIVISOR : 1;
  compileChildren();
  const systems = await findSystems(options);
  const prompt = { ...PROMPT, type: `sh /workload ${divisor}\n` };
  const steps = [prompt, markStep(START), ...STEPS.map(markStep)];
  const { packages, ...job } = await debianJob(steps, { workload: true });
  const at = circumstances();
  printCircumstances('workload', at);
  process.stdout.write(`${packages.join(', ')}; ${options.runCount} runs\n`);
  const results = await compare(systems, job, options, 'workload');
  printBoot(results);
  printSteps(results);
  if (options.isSaving) saveResults('workload', at, { packages, divisor, systems: results });
}
