// The float functions against the host's own processor: every operation, all rounding modes, DAZ,
// FTZ and any set of masks, on operands that lean towards the edges of the formats.

import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { fuzzOptions } from '../../../test/fuzz-options.ts';
import { FLOAT_PROGRAMS } from '../../../test/simd/float-programs.ts';
import { FloatCases } from '../../../test/simd/float-values.ts';
import { buildPrograms, OPERAND_A, OPERAND_B, RESULT } from '../../../test/simd/shared-harness.ts';
import { MXCSR, SIMD_FAULT, SIMD_RAISED } from '../state-layout.ts';
import { MXCSR_DEFAULT, MXCSR_PE, MXCSR_UE } from './mxcsr.ts';

const IN_BYTES = 40;
const OUT_BYTES = 24;
const NAMES = [...FLOAT_PROGRAMS.keys()];
const SOURCE = fileURLToPath(new URL('../../../test/simd/native-float.c', import.meta.url));
const BUILD = fileURLToPath(new URL('../../../build/simd', import.meta.url));

/** The native program's path, or why there is none. */
function buildNative(): { program?: string; reason?: string } {
  if (process.arch !== 'x64') return { reason: `the host is ${process.arch}, not x64` };
  try {
    mkdirSync(BUILD, { recursive: true });
    const program = `${BUILD}/native-float`;
    execFileSync('gcc', ['-O1', '-o', program, SOURCE], { stdio: 'pipe' });
    return { program };
  } catch (error) {
    return { reason: `gcc cannot build test/simd/native-float.c: ${String(error)}` };
  }
}

const native = buildNative();
const WHY_SKIPPED = native.reason ? ` (${native.reason})` : '';
const module = buildPrograms(FLOAT_PROGRAMS);

interface Outcome {
  readonly result: string;
  readonly mxcsr: number;
  readonly isFault: boolean;
}

const hex = (view: DataView, at: number): string =>
  [8, 0]
    .map((part) =>
      view
        .getBigUint64(at + part, true)
        .toString(16)
        .padStart(16, '0'),
    )
    .join('_');

function runOurs(name: string, input: DataView, at: number): Outcome {
  const { view } = module;
  view.setUint32(MXCSR, input.getUint32(at + 4, true), true);
  for (let byte = 0; byte < 32; byte++) {
    const to = byte < 16 ? OPERAND_A : OPERAND_B - 16;
    view.setUint8(to + byte, input.getUint8(at + 8 + byte));
  }
  module.run(name);
  const isFault = view.getUint32(SIMD_FAULT, true) !== 0;
  view.setUint32(SIMD_FAULT, 0, true);
  expect(view.getUint32(SIMD_RAISED, true), 'flags left over').toBe(0);
  return { result: hex(view, RESULT), mxcsr: view.getUint32(MXCSR, true), isFault };
}

function runNative(input: Uint8Array): DataView {
  const options = { input, maxBuffer: input.length + 4096 };
  const { stdout, status } = spawnSync(native.program!, options);
  expect(status).toBe(0);
  return new DataView(stdout.buffer, stdout.byteOffset, stdout.length);
}

/** Compares `cases` of one operation; gives the differences as readable lines. */
function differences(name: string, cases: FloatCases, count: number): string[] {
  const input = new Uint8Array(count * IN_BYTES);
  const view = new DataView(input.buffer);
  for (let index = 0; index < count; index++) {
    const at = index * IN_BYTES;
    view.setUint32(at, NAMES.indexOf(name), true);
    view.setUint32(at + 4, cases.mxcsr(), true);
    const operands = cases.operands();
    operands.forEach((value, part) => {
      view.setBigUint64(at + 8 + part * 8, value, true);
    });
  }
  const output = runNative(input);
  const lines: string[] = [];
  for (let index = 0; index < count; index++) {
    const at = index * IN_BYTES;
    const ours = runOurs(name, view, at);
    const out = index * OUT_BYTES;
    const theirs: Outcome = {
      result: hex(output, out),
      mxcsr: output.getUint32(out + 16, true),
      isFault: output.getUint32(out + 20, true) !== 0,
    };
    const isSame =
      ours.isFault === theirs.isFault &&
      ours.mxcsr === theirs.mxcsr &&
      (ours.isFault || ours.result === theirs.result);
    if (isSame) continue;
    const show = ({ result, mxcsr, isFault }: Outcome) =>
      `${isFault ? 'fault' : result} mxcsr ${mxcsr.toString(16)}`;
    const before = view.getUint32(at + 4, true).toString(16);
    const [a, b] = [hex(view, at + 8), hex(view, at + 24)];
    lines.push(`${name} ${a} ${b} mxcsr ${before}: ${show(ours)}, processor ${show(theirs)}`);
  }
  return lines;
}

const EXACT = NAMES.filter((name) => !name.startsWith('r'));

test.skipIf(native.reason)(
  `every float operation gives the processor's result and flags${WHY_SKIPPED}`,
  () => {
    const { seed, numRuns } = fuzzOptions(400);
    for (const name of EXACT) {
      const lines = differences(name, new FloatCases(seed), numRuns);
      const report = `${lines.length} of ${numRuns}, FUZZ_SEED=${seed}`;
      expect(lines.slice(0, 8), report).toEqual([]);
    }
  },
  120_000,
);

// The manuals bound the error of the estimates, and processors differ within it.
const ESTIMATE_ERROR = 1.5 * 2 ** -12;

test.skipIf(native.reason)("reciprocal estimates are near the processor's", () => {
  const { seed, numRuns } = fuzzOptions(1000);
  const cases = new FloatCases(seed);
  for (const name of ['rcpps', 'rsqrtps']) {
    const input = new Uint8Array(numRuns * IN_BYTES);
    const view = new DataView(input.buffer);
    for (let at = 0; at < input.length; at += IN_BYTES) {
      view.setUint32(at, NAMES.indexOf(name), true);
      view.setUint32(at + 4, cases.mxcsr(), true);
      cases.operands().forEach((value, part) => {
        view.setBigUint64(at + 8 + part * 8, value, true);
      });
    }
    const output = runNative(input);
    for (let index = 0; index < numRuns; index++) {
      const ours = runOurs(name, view, index * IN_BYTES);
      expect(ours.mxcsr).toBe(view.getUint32(index * IN_BYTES + 4, true));
      for (let lane = 0; lane < 4; lane++) {
        const theirs = output.getUint32(index * OUT_BYTES + lane * 4, true);
        const mine = module.view.getUint32(RESULT + lane * 4, true);
        const source = view.getUint32(index * IN_BYTES + 24 + lane * 4, true);
        const [from, to, want] = [source, mine, theirs].map((bits) => bits.toString(16));
        const text = `${name} of ${from}: ${to}, processor ${want}`;
        expect(isNear(mine, theirs), `${text}, FUZZ_SEED=${seed}`).toBe(true);
      }
    }
  }
});

/** Equal bits, or both finite and within twice the bound of each other; tiny ones may flush. */
function isNear(mine: number, theirs: number): boolean {
  if (mine === theirs) return true;
  const numbers = new Float32Array(new Uint32Array([mine, theirs]).buffer);
  const [a, b] = [numbers[0]!, numbers[1]!];
  const tiny = 2 ** -125;
  if (Math.abs(a) < tiny && Math.abs(b) < tiny) return mine >>> 31 === theirs >>> 31;
  return Math.abs(a - b) <= 2 * ESTIMATE_ERROR * Math.abs(b);
}

// Goal: the native path must be taken, or SSE code would be ten times slower than it need be.
test('a plain addition with PE set leaves MXCSR alone and one without PE sets it', () => {
  const input = new DataView(new ArrayBuffer(IN_BYTES));
  input.setFloat64(8, 0.1, true);
  input.setFloat64(24, 0.2, true);
  for (const mxcsr of [MXCSR_DEFAULT, MXCSR_DEFAULT | MXCSR_PE]) {
    input.setUint32(4, mxcsr, true);
    const { result, mxcsr: after } = runOurs('addsd', input, 0);
    expect(after).toBe(MXCSR_DEFAULT | MXCSR_PE);
    expect(result.slice(17)).toBe('3fd3333333333334');
  }
});

// Goal: such a result is a normal number and yet was tiny, which the native path must not miss.
test('a product that only rounds up to the smallest normal number underflows', () => {
  const input = new DataView(new ArrayBuffer(IN_BYTES));
  input.setUint32(4, MXCSR_DEFAULT | MXCSR_PE, true);
  for (let lane = 0; lane < 4; lane++) {
    input.setUint32(8 + lane * 4, 0x00ffffff, true);
    input.setFloat32(24 + lane * 4, 0.5, true);
  }
  for (const name of ['mulps', 'mulss']) {
    expect(runOurs(name, input, 0).result.slice(25), name).toBe('00800000');
    expect(module.view.getUint32(MXCSR, true) & MXCSR_UE, name).toBe(MXCSR_UE);
  }
  for (let lane = 0; lane < 2; lane++) {
    input.setBigUint64(8 + lane * 8, 0x001fffffffffffffn, true);
    input.setFloat64(24 + lane * 8, 0.5, true);
  }
  for (const name of ['mulpd', 'mulsd']) {
    expect(runOurs(name, input, 0).result.slice(17), name).toBe('0010000000000000');
    expect(module.view.getUint32(MXCSR, true) & MXCSR_UE, name).toBe(MXCSR_UE);
  }
});

// Goal: with PE clear the native path must know exactness; integers lie at its edge.
test('PE stays clear exactly when a result on integers is exact', () => {
  const input = new DataView(new ArrayBuffer(IN_BYTES));
  const compute = (name: string, a: number, b: number): boolean => {
    input.setUint32(4, MXCSR_DEFAULT, true);
    input.setFloat64(8, a, true);
    input.setFloat64(24, b, true);
    return (runOurs(name, input, 0).mxcsr & MXCSR_PE) === 0;
  };
  const isDouble = (value: bigint) => BigInt(Number(value)) === value;
  for (let i = 1; i <= 53; i++) {
    for (let j = 1; j <= 53; j++) {
      const [a, b] = [2 ** i - 1, 2 ** j - 1];
      const text = `2^${i} - 1 and 2^${j} - 1`;
      const product = BigInt(a) * BigInt(b);
      expect(compute('mulsd', a, b), `product of ${text}`).toBe(isDouble(product));
      expect(compute('addsd', a, b * 4), `sum of ${text}`).toBe(
        isDouble(BigInt(a) + 4n * BigInt(b)),
      );
      if (isDouble(product)) {
        expect(compute('divsd', Number(product), b), `quotient of ${text}`).toBe(true);
      }
    }
    expect(compute('divsd', 2 ** i - 1, 3), 'thirds').toBe((2 ** i - 1) % 3 === 0);
    const square = BigInt(2 ** i - 1) ** 2n;
    if (isDouble(square)) expect(compute('sqrtsd', 0, Number(square))).toBe(true);
    expect(compute('sqrtsd', 0, i)).toBe(Number.isInteger(Math.sqrt(i)));
  }
});
