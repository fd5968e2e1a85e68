// A small harness. Every variant runs in a process of its own, because variants that share one
// spoil each other's type feedback; nine samples, of which minimum, median and maximum are printed.
//
// A benchmark file calls `variant` for each of its variants. `run.ts` asks it for their names with
// --list, then starts it once for each with --variant NAME, and prints what comes back as JSON.

const SAMPLE_COUNT = 9;
/** A sample lasts at least this long, so that the clock's own cost vanishes. */
const SAMPLE_MS_MIN = 20;

/** What one variant cost. */
export interface Measurement {
  readonly name: string;
  /** Nanoseconds an operation. */
  readonly minNs: number;
  readonly medianNs: number;
  readonly maxNs: number;
  readonly n: number;
  /** Bytes that one operation covers, where a throughput says more than a time. */
  readonly bytesPerOperation?: number;
  /** The variant that shows how fast it could be at best. */
  readonly lowerBound?: string;
}

/** What a variant does: `run(count)` performs the operation `count` times. */
export interface Variant {
  readonly bytesPerOperation?: number;
  readonly lowerBound?: string;
  /** Builds the variant's world; not measured. */
  readonly create: () => (count: number) => number;
}

let sink = 0;

/** Declares a variant; it runs, or is listed, at once if the command line asks for it. */
export function variant(name: string, options: Variant): void {
  const [mode, wanted] = process.argv.slice(2);
  if (mode === '--list') process.stdout.write(`${name}\n`);
  if (mode !== '--variant' || wanted !== name) return;
  const run = options.create();
  let count = 1;
  for (let elapsedMs = 0; elapsedMs < SAMPLE_MS_MIN; ) {
    elapsedMs = time(run, count);
    if (elapsedMs < SAMPLE_MS_MIN)
      count = Math.ceil(count * Math.min(100, (1.5 * SAMPLE_MS_MIN) / Math.max(elapsedMs, 0.01)));
  }
  const samples: number[] = [];
  for (let sample = 0; sample < SAMPLE_COUNT; sample++)
    samples.push((time(run, count) * 1e6) / count);
  samples.sort((a, b) => a - b);
  const result: Measurement = {
    name,
    minNs: samples[0]!,
    medianNs: samples[SAMPLE_COUNT >> 1]!,
    maxNs: samples[SAMPLE_COUNT - 1]!,
    n: SAMPLE_COUNT,
    ...(options.bytesPerOperation && { bytesPerOperation: options.bytesPerOperation }),
    ...(options.lowerBound && { lowerBound: options.lowerBound }),
  };
  process.stdout.write(`${JSON.stringify(result)}\n`);
  // Keeps the loops from being dead code.
  if (sink === 0.5) process.stderr.write('\n');
}

function time(run: (count: number) => number, count: number): number {
  const start = process.hrtime.bigint();
  sink += run(count);
  return Number(process.hrtime.bigint() - start) / 1e6;
}
