// Runs a job in every system, some times over, and takes medians. Runs of one system do not stand
// together but take turns, so that a load that comes and goes meets all of them.

import type { Job } from './job.ts';
import type { ComparisonOptions } from './options.ts';
import type { Mark } from './plan.ts';
import { type Run, runJob } from './run-job.ts';
import { findSystem, type System, type SystemName } from './systems.ts';

/** What one system did. */
export interface SystemRuns {
  readonly name: SystemName;
  readonly title: string;
  readonly runs: readonly Run[];
}

/** How long something took: between two marks, medians over the runs. */
export interface Span {
  readonly wallMs: number;
  readonly cpuMs: number;
  readonly instructions: number;
}

/** The start of a process, as a mark. */
export const PROCESS_START: Mark = { name: 'start', ms: 0, cpuMs: 0, instructions: 0 };

/** Those of the wanted systems that are here; says of the others why they are not. */
export async function findSystems(options: ComparisonOptions): Promise<System[]> {
  const systems: System[] = [];
  for (const name of options.systems) {
    const found = await findSystem(name);
    if ('missing' in found) process.stdout.write(`Without ${name}: ${found.missing}\n`);
    else {
      systems.push(found);
      process.stdout.write(`${name}: ${found.title}\n`);
    }
  }
  return systems;
}

/** Runs `job` everywhere. `label` is shown on standard error while it goes on. */
export async function compare(
  systems: readonly System[],
  job: Job,
  options: ComparisonOptions,
  label: string,
): Promise<SystemRuns[]> {
  const runs = new Map<SystemName, Run[]>(systems.map(({ name }) => [name, []]));
  for (let index = 0; index < options.runCount; index++) {
    for (const system of systems) {
      process.stderr.write(`${label}: ${system.title}, run ${index + 1} of ${options.runCount}\n`);
      const run = await runJob(system.start(job), job, options.timeoutSeconds);
      if (run.failure !== undefined)
        process.stdout.write(`${label}: ${system.title}: ${run.failure.trimEnd()}\n`);
      runs.get(system.name)!.push(run);
    }
  }
  return systems.map(({ name, title }) => ({ name, title, runs: runs.get(name)! }));
}

/** The middle value; of an even number, the mean of the two in the middle. */
export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const half = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[half]! : (sorted[half - 1]! + sorted[half]!) / 2;
}

/** Where a span begins or ends in a run: the first mark of that name, or a choice of one's own. */
export type MarkChoice = string | ((marks: readonly Mark[]) => Mark | undefined);

function choose(run: Run, choice: MarkChoice): Mark | undefined {
  if (typeof choice === 'function') return choice(run.marks);
  if (choice === PROCESS_START.name) return PROCESS_START;
  return run.marks.find(({ name }) => name === choice);
}

/** Medians between two marks, over the runs that have both; undefined if none has. */
export function spanOf(
  system: SystemRuns | undefined,
  from: MarkChoice,
  to: MarkChoice,
): Span | undefined {
  const spans = (system?.runs ?? []).flatMap((run) => {
    const [start, end] = [choose(run, from), choose(run, to)];
    if (start === undefined || end === undefined) return [];
    return [{ start, end }];
  });
  if (spans.length === 0) return undefined;
  return {
    wallMs: median(spans.map(({ start, end }) => end.ms - start.ms)),
    cpuMs: median(spans.map(({ start, end }) => end.cpuMs - start.cpuMs)),
    instructions: median(
      spans.map(({ start, end }) => (end.instructions ?? 0) - (start.instructions ?? 0)),
    ),
  };
}
