// The parts of the comparisons that can be wrong without anyone noticing: what a mark is, which
// spans are taken, and that the kernels do all their tests.

import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { median, type SystemRuns, spanOf } from '../bench/comparison/compare.ts';
import { parseComparison } from '../bench/comparison/options.ts';
import { FIRST_OUTPUT, type Mark, type Plan, PlanWatch } from '../bench/comparison/plan.ts';
import { assemble, kernelSource } from '../bench/guests/assemble.ts';
import { codePagesSource } from '../bench/guests/code-pages.ts';
import { interpreterAccelerator } from '../src/accel/software/index.ts';
import { nodeHost } from '../src/cli/node-host.ts';
import { Machine } from '../src/machine/machine.ts';

const folder = mkdtempSync(join(tmpdir(), 'quire-bench-'));
afterAll(() => rmSync(folder, { recursive: true }));

const HAS_GCC = spawnSync('gcc', ['--version']).status === 0;

/** Marks, typed text and ends, in the order in which they came. */
function watch(plan: Plan, output: string): string[] {
  const events: string[] = [];
  const watched = new PlanWatch(plan, () => ({ ms: 0, cpuMs: 0 }), {
    mark: ({ name }) => events.push(name),
    type: (text) => events.push(`types ${text}`),
    done: () => events.push('done'),
  });
  for (const byte of Buffer.from(output)) watched.feed(byte);
  return events;
}

test('steps are taken in order, and what was typed is not taken for its answer', () => {
  const steps = [
    { mark: 'prompt', pattern: 'quire:\\S*# ', type: 'sh /workload\n' },
    { mark: 'M:dd', pattern: 'M:dd\\s' },
  ];
  const output = 'M:dd is not yet\nquire:~# sh /workload\r\nM:dd \r\nM:dd \r\n';
  const events = [FIRST_OUTPUT, 'prompt', 'types sh /workload\n', 'M:dd', 'done'];
  expect(watch({ kind: 'steps', steps }, output)).toEqual(events);
  expect(watch({ kind: 'steps', steps }, output.replaceAll('M:dd ', 'M:ddd '))).not.toContain(
    'M:dd',
  );
});

test('one prompt is not taken for two', () => {
  const steps = ['first', 'second'].map((mark) => ({ mark, pattern: '# ' }));
  expect(watch({ kind: 'steps', steps }, '# and more')).toEqual([FIRST_OUTPUT, 'first']);
  expect(watch({ kind: 'steps', steps }, '# and # ')).toContain('second');
});

test('each letter is a mark up to the last one', () => {
  const plan: Plan = { kind: 'letters', last: 'z' };
  expect(watch(plan, 'aAzx')).toEqual([FIRST_OUTPUT, 'a', 'A', 'z', 'done']);
});

test('a span is the median over the runs that have both marks', () => {
  const run = (...times: [name: string, ms: number, cpuMs: number][]) => ({
    marks: times.map(([name, ms, cpuMs]): Mark => ({ name, ms, cpuMs })),
  });
  const system: SystemRuns = {
    name: 'quire',
    title: 'Quire',
    runs: [
      run(['a', 10, 5], ['A', 40, 25]),
      run(['a', 10, 5], ['A', 20, 10]),
      run(['a', 0, 0], ['A', 90, 80]),
      run(['a', 0, 0]),
    ],
  };
  expect(spanOf(system, 'a', 'A')).toMatchObject({ wallMs: 30, cpuMs: 20 });
  expect(spanOf(system, 'start', 'a')).toMatchObject({ wallMs: 5, cpuMs: 2.5 });
  expect(spanOf(system, 'a', 'B')).toBeUndefined();
  expect(median([4, 1, 3, 2])).toBe(2.5);
});

test.each([
  [['--only', 'quire,bochs'], /"bochs"/],
  [['--runs', '0'], /"--runs"/],
  [['quire'], /Unexpected "quire"/],
])('a command line is refused: %j', (args, message) => {
  expect(() => parseComparison(args, { timeoutSeconds: 1 })).toThrow(message);
});

test('only the systems that were asked for run, in the usual order', () => {
  const { systems } = parseComparison(['--only', 'qemu,quire'], { timeoutSeconds: 1 });
  expect(systems).toEqual(['quire', 'qemu']);
});

/** What a kernel writes to COM1, up to `z`. */
async function lettersOf(kernelPath: string): Promise<string> {
  const { readFileSync } = await import('node:fs');
  const machine = Machine.create({
    memoryBytes: 128 << 20,
    accelerator: interpreterAccelerator,
    host: nodeHost,
    kernel: readFileSync(kernelPath),
  });
  let letters = '';
  await new Promise<void>((resolve, reject) => {
    machine.onSerial = (bytes) => {
      letters += Buffer.from(bytes).toString();
      if (letters.endsWith('z')) resolve();
    };
    machine.onEnd = (end) => reject(new Error(`${letters}: ${JSON.stringify(end)}`));
    machine.start();
  });
  machine.close();
  return letters;
}

test.skipIf(!HAS_GCC)('the kernel does every test, or those that were chosen', async () => {
  const source = kernelSource('bench');
  const all = assemble(folder, source, { TESTS: 0x3fff, DIVISOR: 50 });
  expect(await lettersOf(all)).toBe('aAbBcCdDeEfFhHiIjJkKlLmMnNz');
  const some = assemble(folder, source, { TESTS: 0b1_0000_0000_0001, DIVISOR: 50 });
  expect(await lettersOf(some)).toBe('aAmMz');
});

test.skipIf(!HAS_GCC)('the code-page kernel marks its start and each round', async () => {
  const source = codePagesSource({ pageCount: 300, repeatCount: 2, roundCount: 3 });
  expect(await lettersOf(assemble(folder, source))).toBe('wxxxz');
});

test.skipIf(!HAS_GCC)('kernels that wait for their machines assemble', () => {
  for (const name of ['snap', 'lm'] as const)
    expect(assemble(folder, kernelSource(name))).toMatch(/\.elf$/);
  expect(() => assemble(folder, 'no such instruction')).toThrow('Cannot build benchmark kernels');
});
