// Runs one job in one system: a process of its own, its marks, and its end in any case.

import { type ChildProcess, spawn } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import type { Readable } from 'node:stream';
import type { Job, Report } from './job.ts';
import { type Mark, nowMs, PlanWatch } from './plan.ts';
import type { Start } from './systems.ts';

/** One run. Times of the marks count from the start of the process. */
export interface Run {
  readonly marks: readonly Mark[];
  /** Why the plan was not followed to its end. */
  readonly failure?: string;
}

const KILL_AFTER_MS = 2000;
const TAIL_CHARS = 400;
const NS_PER_MS = 1e6;

const alive = new Set<ChildProcess>();
process.on('exit', () => {
  for (const child of alive) child.kill('SIGKILL');
});
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
  process.once(signal, () => process.exit(1));

/** Processor time of a process with all its threads, ms. proc(5), "/proc/pid/schedstat". */
function cpuMsOf(pid: number): number {
  let sum = 0;
  try {
    for (const task of readdirSync(`/proc/${pid}/task`)) {
      const text = readFileSync(`/proc/${pid}/task/${task}/schedstat`, 'latin1');
      sum += Number(text.split(' ')[0]) / NS_PER_MS;
    }
  } catch {
    // No such file on this host, or a thread that has just ended.
  }
  return sum === 0 ? Number.NaN : sum;
}

function eachLine(stream: Readable, onLine: (line: string) => void): void {
  let rest = '';
  stream.on('data', (data: Buffer) => {
    const lines = (rest + data.toString()).split('\n');
    rest = lines.pop()!;
    for (const line of lines) onLine(line);
  });
}

/** Runs `start` until its plan is through, it ends by itself, or `timeoutSeconds` have passed. */
export function runJob(start: Start, job: Job, timeoutSeconds: number): Promise<Run> {
  const startMs = nowMs();
  const child = spawn(start.command, start.args, { stdio: ['pipe', 'pipe', 'pipe', 'pipe'] });
  alive.add(child);
  const marks: Mark[] = [];
  let tail = '';
  let failure: string | undefined = 'it ended before the guest was through';
  let killTimer: NodeJS.Timeout | undefined;

  const stop = (why: string | undefined): void => {
    failure = why;
    child.kill('SIGTERM');
    killTimer ??= setTimeout(() => child.kill('SIGKILL'), KILL_AFTER_MS);
  };
  const onMark = (mark: Mark): void => void marks.push({ ...mark, ms: mark.ms - startMs });
  const timer = setTimeout(
    () => stop(`the guest was not through after ${timeoutSeconds} s`),
    timeoutSeconds * 1000,
  );

  const watch = new PlanWatch(job.plan, () => ({ ms: nowMs(), cpuMs: cpuMsOf(child.pid ?? 0) }), {
    mark: onMark,
    type: (text) => child.stdin.write(text),
    done: () => stop(undefined),
  });
  const onOutput = (data: Buffer): void => {
    tail = (tail + data.toString('latin1')).slice(-TAIL_CHARS);
  };
  child.stdin.on('error', () => {});
  child.stderr.on('data', onOutput);
  child.stdout.on('data', (data: Buffer) => {
    onOutput(data);
    if (!start.isReporting) for (const byte of data) watch.feed(byte);
  });
  if (start.isReporting)
    eachLine(child.stdio[3] as Readable, (line) => {
      const report = JSON.parse(line) as Report;
      if (report.kind === 'mark') onMark(report.mark);
      else failure = report.kind === 'done' ? undefined : `the guest stopped: ${report.reason}`;
    });

  return new Promise((resolve) => {
    child.on('error', (error) => {
      failure = error.message;
    });
    child.on('close', () => {
      alive.delete(child);
      clearTimeout(timer);
      clearTimeout(killTimer);
      resolve(failure === undefined ? { marks } : { marks, failure: `${failure}\n${tail}` });
    });
  });
}
