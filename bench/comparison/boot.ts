// `npm run bench -- boot`: how long Debian's 686 kernel takes to the prompt of a BusyBox shell. The
// same kernel, initrd, command line and 128 MiB in every system, each in a process of its own.
// docs/benchmarks.md says how to read the table.

import { compare, findSystems, PROCESS_START, type SystemRuns, spanOf } from './compare.ts';
import { compileChildren } from './compile.ts';
import { debianJob, PROMPT } from './debian.ts';
import { parseComparison } from './options.ts';
import { FIRST_OUTPUT } from './plan.ts';
import { circumstances, printCircumstances, saveResults } from './results.ts';
import { formatCount, formatMs, formatRatio, printTable } from './table.ts';

const TIMEOUT_SECONDS = 900;

/** One row for each system: from the start of its process, from the guest's first output. */
export function printBoot(results: readonly SystemRuns[], last = PROMPT.mark): void {
  const quire = results.find(({ name }) => name === 'quire');
  const ours = spanOf(quire, PROCESS_START.name, last);
  const rows = results.map((system) => {
    const first = spanOf(system, PROCESS_START.name, FIRST_OUTPUT);
    const all = spanOf(system, PROCESS_START.name, last);
    const guest = spanOf(system, FIRST_OUTPUT, last);
    const rate = all && all.cpuMs > 0 ? all.instructions / all.cpuMs / 1000 : 0;
    return [
      system.title,
      formatMs(first?.wallMs),
      formatMs(all?.wallMs),
      formatMs(guest?.wallMs),
      formatMs(all?.cpuMs),
      formatMs(guest?.cpuMs),
      formatCount(all?.instructions),
      rate === 0 ? '–' : rate.toFixed(0),
      formatRatio(ours?.wallMs, all?.wallMs),
      formatRatio(ours?.cpuMs, all?.cpuMs),
    ];
  });
  const head = [
    ...['system', 'first output', last, 'between', `CPU to ${last}`, 'CPU between'],
    ...['instructions', 'M/CPU s', 'Quire ÷ it', 'in CPU'],
  ];
  printTable(head, rows);
}

export async function boot(args: readonly string[]): Promise<void> {
  const options = parseComparison(args, { timeoutSeconds: TIMEOUT_SECONDS });
  compileChildren();
  const systems = await findSystems(options);
  const { packages, ...job } = await debianJob([PROMPT], { workload: false });
  const at = circumstances();
  printCircumstances('boot', at);
  process.stdout.write(`${packages.join(', ')}; ${job.commandLine}; ${options.runCount} runs\n`);
  const results = await compare(systems, job, options, 'boot');
  printBoot(results);
  if (options.isSaving) saveResults('boot', at, { packages, systems: results });
}
