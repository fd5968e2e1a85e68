// `npm run bench -- profile`: where Quire's time goes while Debian's 686 kernel boots, or in tests
// of bench/guests/bench.S, by V8's own sampling profiler. Handlers of the interpreter have names,
// so they show one by one.

import { mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { parseOptions } from '../../src/cli/options.ts';
import { parseSeconds } from '../../src/cli/values.ts';
import { BUILD, compileChildren } from './compile.ts';
import { debianJob, PROMPT } from './debian.ts';
import { pagesJob, parseTests, ROUND_COUNT, testsJob } from './guests.ts';
import type { Job } from './job.ts';
import { parseCount } from './options.ts';
import { circumstances, printCircumstances } from './results.ts';
import { runJob } from './run-job.ts';
import { findSystem } from './systems.ts';
import { formatMs, printTable } from './table.ts';

const SECONDS_MAX = 900;
const TOP_COUNT = 30;
const SAMPLE_US = 500;
/** Writing the profile takes its time too. */
const GRACE_SECONDS = 60;

/** The part of V8's .cpuprofile that is read here; Chrome DevTools Protocol, "Profiler.Profile". */
interface Profile {
  readonly nodes: readonly {
    readonly id: number;
    readonly callFrame: { readonly functionName: string; readonly url: string };
  }[];
  readonly samples: readonly number[];
  /** µs since the sample before. */
  readonly timeDeltas: readonly number[];
}

type Frame = Profile['nodes'][number]['callFrame'];

/** The first that matches `url name` counts. */
const GROUPS: readonly (readonly [group: string, RegExp])[] = [
  ['handlers', /^wasm:.* k\d+s?$/],
  ['dispatch and shared pieces', /^wasm:/],
  ['string instructions', /accel\/software\/string-runs/],
  ['page walks', /dist\/cpu\/page-walk/],
  ['slow memory paths', /dist\/(memory\/|cpu\/mmu|accel\/software\/memory)/],
  [
    'decoding',
    /dist\/(cpu\/(decoder|opcode-map|operand-kind)|accel\/software\/(code-cache|record))/,
  ],
  [
    'building the interpreter',
    /dist\/(wasm\/|cpu\/instruct|cpu\/\w+\/|accel\/software\/interpreter)/,
  ],
  ['system instructions, faults, slices', /dist\/(cpu|accel)\//],
  ['devices and machine', /dist\/(devices|machine|base)\//],
  ['garbage collection', /\(garbage collector\)/],
  ['idle', /\(idle\)/],
  ['Node and V8', /./],
];

function groupOf({ url, functionName }: Frame): string {
  return GROUPS.find(([, pattern]) => pattern.test(`${url} ${functionName}`))?.[0] ?? 'Node and V8';
}

function labelOf({ url, functionName }: Frame): string {
  const file = url.startsWith('wasm:') ? '' : /dist\/(.*)\.js$/.exec(url)?.[1];
  return `${functionName || '(anonymous)'}${file ? `  ${file}` : ''}`;
}

/** Time in each function itself, µs, and their sum. */
function selfTimes(profile: Profile): { times: Map<string, [Frame, number]>; totalUs: number } {
  const frames = new Map(profile.nodes.map(({ id, callFrame }) => [id, callFrame]));
  const times = new Map<string, [Frame, number]>();
  let totalUs = 0;
  profile.samples.forEach((id, index) => {
    const frame = frames.get(id)!;
    const us = profile.timeDeltas[index]!;
    const key = `${frame.url} ${frame.functionName}`;
    const before = times.get(key)?.[1] ?? 0;
    times.set(key, [frame, before + us]);
    totalUs += us;
  });
  return { times, totalUs };
}

function printProfile(profile: Profile, topCount: number): void {
  const { times, totalUs } = selfTimes(profile);
  const rowOf = (label: string, us: number): string[] => [
    label,
    formatMs(us / 1000),
    `${((100 * us) / totalUs).toFixed(1)} %`,
  ];
  const groups = new Map<string, number>();
  for (const [frame, us] of times.values())
    groups.set(groupOf(frame), (groups.get(groupOf(frame)) ?? 0) + us);
  const sorted = [...groups].sort((a, b) => b[1] - a[1]);
  printTable(
    ['where', 'time', 'share'],
    sorted.map(([group, us]) => rowOf(group, us)),
  );
  process.stdout.write('\n');
  const top = [...times.values()].sort((a, b) => b[1] - a[1]).slice(0, topCount);
  printTable(
    ['function', 'time', 'share', 'where'],
    top.map(([frame, us]) => [...rowOf(labelOf(frame), us), groupOf(frame)]),
  );
}

/** A boot, or a kernel of bench/guests. */
async function chooseJob(values: ReadonlyMap<string, string>): Promise<Job> {
  const tests = values.get('tests');
  const pages = values.get('pages');
  if (tests !== undefined) return testsJob(parseTests(tests), 1);
  if (pages !== undefined) return pagesJob(parseCount('--pages', pages), ROUND_COUNT);
  return debianJob([PROMPT], { workload: false });
}

export async function profile(args: readonly string[]): Promise<void> {
  const { values } = parseOptions(
    [
      { names: ['seconds'], argument: 'N', summary: 'Stop after that time, not at the prompt' },
      { names: ['tests'], argument: 'LETTERS', summary: 'Tests of bench.S in place of the boot' },
      { names: ['pages'], argument: 'N', summary: 'Hot code pages in place of the boot' },
      { names: ['top'], argument: 'N', summary: 'How many functions to show' },
    ],
    args,
  );
  const limit = values.get('seconds');
  const seconds = limit === undefined ? SECONDS_MAX : parseSeconds('--seconds', limit);
  const topCount = parseCount('--top', values.get('top') ?? String(TOP_COUNT));
  compileChildren();
  const found = await findSystem('quire');
  if ('missing' in found) throw new Error(found.missing);
  const job = await chooseJob(values);
  printCircumstances('profile', circumstances());
  const folder = join(BUILD, 'profile');
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  const flags = ['--cpu-prof', `--cpu-prof-dir=${folder}`, `--cpu-prof-interval=${SAMPLE_US}`];
  const limited = { ...job, limitSeconds: seconds };
  const run = await runJob(found.start(limited, flags), limited, seconds + GRACE_SECONDS);
  const last = run.marks.at(-1);
  process.stdout.write(`Last mark: ${last?.name ?? 'none'}, ${formatMs(last?.ms)}\n\n`);
  const name = readdirSync(folder).find((file) => file.endsWith('.cpuprofile'));
  if (name === undefined) throw new Error(`There is no profile: ${run.failure}`);
  const path = join(folder, name);
  printProfile(JSON.parse(readFileSync(path, 'utf8')) as Profile, topCount);
  process.stdout.write(`\nFor a browser's own tools: ${path}\n`);
}
