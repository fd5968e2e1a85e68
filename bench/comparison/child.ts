// What the processes of Quire and v86 have in common: the job, the reports, the guest's output.

import { writeSync } from 'node:fs';
import type { Job, Report } from './job.ts';
import { nowMs, PlanWatch } from './plan.ts';

const REPORT_FD = 3;
const NEWLINE = 10;

function report(line: Report): void {
  writeSync(REPORT_FD, `${JSON.stringify(line)}\n`);
}

/** The guest stopped by itself: reports why, and ends the process. */
export function endEarly(reason: string): never {
  report({ kind: 'end', reason });
  process.exit(1);
}

/**
 * Takes the guest's serial output, byte by byte, until the plan is through and the process ends.
 * Whole lines go on to standard output, where they help to see what went wrong.
 */
export function watchGuest<J extends Job>(
  start: (job: J) => { readonly instructions: () => number; readonly type: (text: string) => void },
): (byte: number) => void {
  const job = JSON.parse(process.argv[2]!) as J;
  const line: number[] = [];
  const watch = new PlanWatch(
    job.plan,
    () => {
      const { user, system } = process.cpuUsage();
      return { ms: nowMs(), cpuMs: (user + system) / 1000, instructions: guest.instructions() };
    },
    {
      mark: (mark) => report({ kind: 'mark', mark }),
      type: (text) => guest.type(text),
      done: () => {
        report({ kind: 'done' });
        process.exit(0);
      },
    },
  );
  if (job.limitSeconds !== undefined) setTimeout(() => process.exit(0), job.limitSeconds * 1000);
  const guest = start(job);
  return (byte) => {
    line.push(byte);
    if (byte === NEWLINE) writeSync(1, Uint8Array.from(line.splice(0)));
    watch.feed(byte);
  };
}
