// How hot code becomes units: found by samples, compiled beside the running interpreter, and not
// installed if its bytes changed meanwhile.

import { expect, test, vi } from 'vitest';
import { softwareAccelerator } from '../src/accel/software/index.ts';
import { RECORD_BYTES } from '../src/accel/software/record.ts';
import type { SoftwareVCPU } from '../src/accel/software/software-vcpu.ts';
import type { Translator } from '../src/accel/software/translator.ts';
import { isCall, pageOf } from '../src/accel/software/unit-region.ts';
import { formatJIT, formatUnitsAt } from '../src/accel/software/unit-text.ts';
import { CodeBoard, EAX, ECX, u32 } from './code-board.ts';
import { eagerTranslator } from './oracle/eager-translator.ts';

const CODE = 0x3_0000;
/** Where ESP begins. */
const STACK = 0x8000;
/** Enough to be translated, and too few to be worth another unit. */
const LOOPS = 200_000;

/** mov ecx,count; xor eax,eax; again: add eax,`step`; dec ecx; jnz again; hlt */
function loop(step: number, count = LOOPS): number[] {
  return [0xb9, ...u32(count), 0x31, 0xc0, 0x83, 0xc0, step, 0x49, 0x75, 0xfa, 0xf4];
}

/** Waits until the host has compiled what was asked for. */
async function whileCompiling(translator: Translator): Promise<void> {
  await vi.waitFor(() => expect(translator.counters.modules).toBe(1), { timeout: 20_000 });
}

test('a hot loop is translated while it runs, and gives the same', async () => {
  const board = new CodeBoard(softwareAccelerator);
  const { translator } = board.machine.vcpu as SoftwareVCPU;
  translator.compilesInBackground = true;
  board.put(CODE, loop(3));
  expect(board.run(CODE)).toBe('hlt');
  expect(translator.counters).toMatchObject({ units: 0, dropped: 0, failed: 0 });
  await whileCompiling(translator);
  expect(translator.counters).toMatchObject({ units: 1, modules: 1, failed: 0 });
  expect(board.run(CODE)).toBe('hlt');
  expect([board.reg(EAX), board.reg(ECX)]).toEqual([LOOPS * 3, 0]);
});

test('code that is changed while it is compiled is not installed', async () => {
  const board = new CodeBoard(softwareAccelerator);
  const { translator } = board.machine.vcpu as SoftwareVCPU;
  translator.compilesInBackground = true;
  board.put(CODE, loop(3));
  expect(board.run(CODE)).toBe('hlt');
  board.put(CODE, loop(5));
  await whileCompiling(translator);
  expect(translator.counters).toMatchObject({ units: 0, dropped: 1, failed: 0 });
  expect(board.run(CODE)).toBe('hlt');
  expect(board.reg(EAX)).toBe(LOOPS * 5);
});

test('a hot loop is translated at once where nothing else would wait', () => {
  const board = new CodeBoard(softwareAccelerator);
  const { translator } = board.machine.vcpu as SoftwareVCPU;
  board.put(CODE, loop(3));
  expect(board.run(CODE)).toBe('hlt');
  expect(translator.counters).toMatchObject({ units: 1, modules: 1, failed: 0 });
  expect(board.reg(EAX)).toBe(LOOPS * 3);
  expect(formatJIT(board.machine.vcpu as SoftwareVCPU)).toContain('units: 1 with 3 instructions');
  expect(formatUnitsAt(board.machine.vcpu as SoftwareVCPU, CODE + 8, CODE + 8)).toContain(
    `  ${(CODE + 7).toString(16)}  ADD`,
  );
});

test('a loop that runs on and on gets a unit of its path, which keeps registers in locals', () => {
  const board = new CodeBoard(softwareAccelerator);
  const { translator } = board.machine.vcpu as SoftwareVCPU;
  board.put(CODE, loop(3, 10 * LOOPS));
  expect(board.run(CODE)).toBe('hlt');
  expect([board.reg(EAX), board.reg(ECX)]).toEqual([10 * LOOPS * 3, 0]);
  expect(translator.counters).toMatchObject({ units: 2, hot: 1, failed: 0 });
  const hot = [...translator.units].find(({ isHot }) => isHot)!;
  expect(hot).toMatchObject({ keepsLocals: true, isDropped: false });
  expect(hot.region.blocks.flatMap(({ instructions }) => instructions)).toHaveLength(3);
});

test('the oldest units go when there is no room for another', () => {
  const board = new CodeBoard(softwareAccelerator);
  const { translator } = board.machine.vcpu as SoftwareVCPU;
  translator.instructionsMax = 7;
  for (const page of [0, 1, 2]) {
    board.put(CODE + page * 4096, loop(3));
    expect(board.run(CODE + page * 4096)).toBe('hlt');
  }
  expect(translator.counters).toMatchObject({ units: 3, evicted: 1 });
  expect([...translator.units].map(({ region }) => region.blocks.length)).toHaveLength(2);
  expect(board.run(CODE)).toBe('hlt');
  expect(board.reg(EAX)).toBe(LOOPS * 3);
});

/** mov ecx,count; again: call `callee`; dec ecx; jnz again; hlt */
function callLoop(at: number, callee: number, count: number): number[] {
  const call = [0xe8, ...u32(callee - at - 10)];
  return [0xb9, ...u32(count), ...call, 0x49, 0x75, 0xf8, 0xf4];
}

/** inc eax, so often; ret */
function counting(count: number): number[] {
  return [...new Array<number>(count).fill(0x40), 0xc3];
}

test('units that are found about the same time become one module', () => {
  const board = new CodeBoard(softwareAccelerator);
  const { translator } = board.machine.vcpu as SoftwareVCPU;
  // Each page: mov edx,50; again: dec edx; jnz again; inc eax; ret
  const pages = Array.from({ length: 40 }, (_, index) => CODE + (index + 1) * 4096);
  const body = [0xba, ...u32(50), 0x4a, 0x75, 0xfd, 0x40, 0xc3];
  for (const page of pages) board.put(page, body);
  // mov ecx,4000; again: call each of them; dec ecx; jnz again; hlt
  const calls = pages.flatMap((page, index) => [0xe8, ...u32(page - CODE - 10 - index * 5)]);
  const back = [0x0f, 0x85, ...u32(-calls.length - 7)];
  board.put(CODE, [0xb9, ...u32(4000), ...calls, 0x49, ...back, 0xf4]);
  board.state.setReg32(EAX, 0);
  expect(board.run(CODE)).toBe('hlt');
  expect(board.reg(EAX)).toBe(160_000);
  const { units, modules } = translator.counters;
  expect(units).toBeGreaterThan(20);
  expect(modules).toBeLessThan(units / 4);
});

test('a unit ends where a large one begins, and has what is small', () => {
  for (const [count, isIn] of [
    [20, true],
    [60, false],
  ] as const) {
    const board = new CodeBoard(eagerTranslator);
    const { translator } = board.machine.vcpu as SoftwareVCPU;
    board.put(CODE, callLoop(CODE, CODE + 256, 10));
    board.put(CODE + 256, counting(count));
    // From its own start, so that it has a unit: the stack leads to a HLT.
    board.put(STACK, u32(CODE + 512));
    board.put(CODE + 512, [0xf4]);
    expect(board.run(CODE + 256)).toBe('hlt');
    board.state.setReg32(EAX, 0);
    expect(board.run(CODE)).toBe('hlt');
    expect(board.reg(EAX)).toBe(10 * count);
    const caller = [...translator.units].find(({ region }) =>
      region.blocks.some(({ instructions }) => isCall(instructions.at(-1)!)),
    )!;
    const starts = caller.region.blocks.map(({ start }) => start);
    expect(starts.includes((CODE + 256) % 4096)).toBe(isIn);
  }
});

test('a unit ends where one will begin that is being compiled', async () => {
  const board = new CodeBoard(softwareAccelerator);
  const { translator } = board.machine.vcpu as SoftwareVCPU;
  translator.compilesInBackground = true;
  board.put(CODE, callLoop(CODE, CODE + 4096, LOOPS / 10));
  // mov edx,3; again: inc eax, 60 times; dec edx; jnz again; ret
  const body = [...counting(60).slice(0, -1), 0x4a];
  board.put(CODE + 4096, [0xba, ...u32(3), ...body, 0x75, 0x100 - body.length - 2, 0xc3]);
  expect(board.run(CODE)).toBe('hlt');
  await vi.waitFor(() => expect(translator.isCompiling).toBe(false), { timeout: 20_000 });
  expect(translator.counters.units).toBeGreaterThan(1);
  const records = [...translator.units].flatMap(({ region: { blocks, pages } }) =>
    blocks.flatMap(({ instructions }) =>
      instructions.map(({ offset }) => {
        const page = pages.find((each) => each.page === pageOf(offset))!;
        return page.records + (offset & 0xfff) * RECORD_BYTES;
      }),
    ),
  );
  // The body of the loop, 62 instructions, is in one of them only.
  expect(records.length - new Set(records).size).toBeLessThan(10);
});

// A variable of a row's meaning keeps its value around a loop of the unit.
test('MASKMOVQ in a loop of a unit stores all bytes each time', () => {
  const board = new CodeBoard(eagerTranslator);
  const [data, mask, out] = [0x5_0000, 0x5_0008, 0x5_0010];
  board.put(data, [1, 2, 3, 4, 5, 6, 7, 8]);
  board.put(mask, new Array<number>(8).fill(0x80));
  // movq mm0,[data]; movq mm1,[mask]; mov edi,out; mov ecx,3;
  // again: maskmovq mm0,mm1; add edi,8; dec ecx; jnz again; hlt
  board.put(CODE, [
    ...[0x0f, 0x6f, 0x05, ...u32(data), 0x0f, 0x6f, 0x0d, ...u32(mask)],
    ...[0xbf, ...u32(out), 0xb9, ...u32(3)],
    ...[0x0f, 0xf7, 0xc1, 0x83, 0xc7, 8, 0x49, 0x75, 0xf7, 0xf4],
  ]);
  expect(board.run(CODE)).toBe('hlt');
  const stored = [...board.machine.ram.subarray(out, out + 24)];
  expect(stored).toEqual([0, 1, 2].flatMap(() => [1, 2, 3, 4, 5, 6, 7, 8]));
});
