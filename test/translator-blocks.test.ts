// What a unit knows at the end of a block goes along the only way to the next one: flags not yet
// computed, registers, pages reached by a register. Each program runs in the interpreter, too.

import { expect, test } from 'vitest';
import { interpreterAccelerator, softwareAccelerator } from '../src/accel/software/index.ts';
import { CODE_KEY } from '../src/accel/software/record.ts';
import type { SoftwareVCPU } from '../src/accel/software/software-vcpu.ts';
import type { Accelerator } from '../src/cpu/vcpu.ts';
import { CodeBoard, EAX, EBX, ECX, EDX, ESP, u32 } from './code-board.ts';
import { eagerLocalsTranslator, eagerTranslator } from './oracle/eager-translator.ts';

const CODE = 0x3_0000;
const DATA = 0x5_0000;
const PAGE_TABLE = 0x1_1000;
const HLT = 0xf4;
/** Where ESP begins, and ends when all calls came back. */
const STACK = 0x8000;

const ENGINES: readonly (readonly [string, Accelerator])[] = [
  ['the interpreter', interpreterAccelerator],
  ['units with registers in memory', eagerTranslator],
  ['units with registers in locals', eagerLocalsTranslator],
];

function unitsOf({ machine }: CodeBoard) {
  return (machine.vcpu as SoftwareVCPU).translator;
}

test.each(ENGINES)('flags go on to a block that is emitted behind another: %s', (_, engine) => {
  const board = new CodeBoard(engine);
  board.put(DATA, [...u32(11), ...u32(22), ...u32(33)]);
  // mov esi,DATA; mov edi,DATA+4; mov ebp,DATA+8; cmp eax,ebx; jne B
  // test eax,eax; mov edx,[esi]; mov edx,[edi]; jmp end; B: mov ecx,[ebp]; setb dl; end: hlt
  board.put(CODE, [
    ...[0xbe, ...u32(DATA), 0xbf, ...u32(DATA + 4), 0xbd, ...u32(DATA + 8)],
    ...[0x39, 0xd8, 0x75, 8, 0x85, 0xc0, 0x8b, 0x16, 0x8b, 0x17, 0xeb, 6],
    ...[0x8b, 0x4d, 0, 0x0f, 0x92, 0xc2, HLT],
  ]);
  for (const [a, b, below] of [
    [1, 2, 1],
    [2, 1, 0],
    [0x8000_0000, 1, 0],
  ] as const) {
    board.state.setReg32(EAX, a);
    board.state.setReg32(EBX, b);
    board.state.setReg32(EDX, 0);
    expect(board.run(CODE)).toBe('hlt');
    expect([board.reg(ECX), board.reg(EDX)]).toEqual([33, below]);
  }
});

test.each(ENGINES)('a frame that lies in two pages: %s', (_, engine) => {
  const board = new CodeBoard(engine);
  board.enablePaging();
  // The second page of the frame is elsewhere than behind the first.
  board.mapPage(DATA + 0x1000, DATA + 0x8000);
  board.put(DATA + 0xff8, [...u32(1), ...u32(2)]);
  board.put(DATA + 0x8000, [...u32(30), ...u32(40)]);
  // mov ecx,3000; again: add ebx,[esi-4]; add ebx,[esi]; inc dword [esi+4]; dec ecx; jnz; hlt
  board.put(CODE, [
    ...[0xbe, ...u32(DATA + 0x1000), 0xb9, ...u32(3000)],
    ...[0x03, 0x5e, 0xfc, 0x03, 0x1e, 0xff, 0x46, 4, 0x49, 0x75, 0xf5, HLT],
  ]);
  board.state.setReg32(EBX, 0);
  expect(board.run(CODE)).toBe('hlt');
  expect(board.reg(EBX)).toBe(3000 * 32);
  expect(board.machine.ram[DATA + 0x8004]! + board.machine.ram[DATA + 0x8005]! * 256).toBe(3040);
});

test('a unit whose frame often lies in two pages is made anew, to look at each', () => {
  const board = new CodeBoard(softwareAccelerator);
  // mov esi,…; mov ecx,2000000; again: add ebx,[esi-4]; add ebx,[esi]; dec ecx; jnz; hlt
  board.put(CODE, [
    ...[0xbe, ...u32(DATA + 0x1000), 0xb9, ...u32(2_000_000)],
    ...[0x03, 0x5e, 0xfc, 0x03, 0x1e, 0x49, 0x75, 0xf8, HLT],
  ]);
  board.put(DATA + 0xffc, [...u32(2), ...u32(3)]);
  board.state.setReg32(EBX, 0);
  expect(board.run(CODE)).toBe('hlt');
  expect(board.reg(EBX)).toBe(2_000_000 * 5);
  const { units, counters } = unitsOf(board);
  expect(counters).toMatchObject({ failed: 0 });
  expect(counters.dropped).toBeGreaterThan(0);
  expect([...units].map(({ knowsPages }) => knowsPages)).toContain(false);
});

/** Has the function at `eip` translated, as a run begins there; it must come back. */
function warm(board: CodeBoard, eip: number): void {
  board.state.setReg32(ECX, 0);
  board.state.setReg32(EDX, eip);
  board.put(STACK, u32(CODE - 1));
  board.put(CODE - 1, [HLT]);
  expect(board.run(eip)).toBe('hlt');
  board.state.setReg32(EBX, 0);
}

/** mov edx,`callee`; mov ecx,`count`; again: call edx; add ebx,eax; dec ecx; jnz again; hlt */
function indirectLoop(callee: number, count: number): number[] {
  const start = [0xba, ...u32(callee), 0xb9, ...u32(count)];
  return [...start, 0xff, 0xd2, 0x01, 0xc3, 0x49, 0x75, 0xf9, HLT];
}

test.each(ENGINES)('a call out of the unit comes back, and all is counted: %s', (_, engine) => {
  const board = new CodeBoard(engine);
  board.put(CODE, indirectLoop(CODE + 0x800, 100));
  board.put(CODE + 0x800, [0xb8, ...u32(7), 0xc3]);
  warm(board, CODE + 0x800);
  const before = board.machine.vcpu.instructionCount;
  expect(board.run(CODE)).toBe('hlt');
  expect(board.reg(EBX)).toBe(700);
  expect(board.machine.vcpu.instructionCount - before).toBe(2 + 100 * 6 + 1);
});

test.each(ENGINES)('calls that go deeper than the host may: %s', (_, engine) => {
  const board = new CodeBoard(engine);
  const callee = CODE + 0x800;
  board.put(CODE, indirectLoop(callee, 1));
  // dec dword [DATA]; jz end; call edx; inc eax; end: ret
  board.put(callee, [0xff, 0x0d, ...u32(DATA), 0x74, 3, 0xff, 0xd2, 0x40, 0xc3]);
  board.put(DATA, u32(2));
  warm(board, callee);
  for (const depth of [10, 47, 48, 49, 4000]) {
    board.put(DATA, u32(depth));
    board.state.setReg32(EAX, 0);
    board.state.setReg32(EBX, 0);
    expect(board.run(CODE)).toBe('hlt');
    expect([board.reg(EBX), board.reg(ESP)]).toEqual([depth - 1, STACK]);
  }
});

test.each(ENGINES)('a callee that goes elsewhere than back: %s', (_, engine) => {
  const board = new CodeBoard(engine);
  const callee = CODE + 0x800;
  const elsewhere = CODE + 0x900;
  board.put(CODE, indirectLoop(callee, 50));
  // mov eax,1; test cl,1; jz end; mov [esp],elsewhere; end: ret
  board.put(callee, [
    ...[0xb8, ...u32(1), 0xf6, 0xc1, 1, 0x74, 7, 0xc7, 0x04, 0x24, ...u32(elsewhere), 0xc3],
  ]);
  // add ebx,1000; jmp to `dec ecx` of the loop
  const back = CODE + 10 + 4 - (elsewhere + 11);
  board.put(elsewhere, [0x81, 0xc3, ...u32(1000), 0xe9, ...u32(back)]);
  warm(board, callee);
  expect(board.run(CODE)).toBe('hlt');
  expect(board.reg(EBX)).toBe(25 * 1 + 25 * 1000);
});

test.each(ENGINES)('a callee that changes the code behind the call: %s', (_, engine) => {
  const board = new CodeBoard(engine);
  const callee = CODE + 0x800;
  // mov edx,callee; mov ecx,100; again: call edx; add ebx,imm32; dec ecx; jnz again; hlt
  const start = [0xba, ...u32(callee), 0xb9, ...u32(100)];
  board.put(CODE, [...start, 0xff, 0xd2, 0x81, 0xc3, ...u32(0), 0x49, 0x75, 0xf5, HLT]);
  // mov [the immediate],ecx; ret
  board.put(callee, [0x89, 0x0d, ...u32(CODE + 14), 0xc3]);
  warm(board, callee);
  expect(board.run(CODE)).toBe('hlt');
  expect(board.reg(EBX)).toBe((100 * 101) / 2);
});

test.each(ENGINES)(
  'a callee that has the code behind the call mapped elsewhere: %s',
  (_, engine) => {
    const board = new CodeBoard(engine);
    board.enablePaging();
    const [caller, other, callee] = [CODE, CODE + 0x2000, CODE + 0x1000];
    for (const [at, step] of [[caller, 1] as const, [other, 100] as const]) {
      // mov edx,callee; mov ecx,100; again: call edx; add ebx,step; dec ecx; jnz again; hlt
      const start = [0xba, ...u32(callee), 0xb9, ...u32(100)];
      board.put(at, [...start, 0xff, 0xd2, 0x83, 0xc3, step, 0x49, 0x75, 0xf8, HLT]);
    }
    // xor dword [the caller's entry],…; mov eax,cr3; mov cr3,eax; mov eax,1; ret
    const entry = PAGE_TABLE + (caller >>> 12) * 4;
    const swap = [0x81, 0x35, ...u32(entry), ...u32(caller ^ other)];
    board.put(callee, [...swap, 0x0f, 0x20, 0xd8, 0x0f, 0x22, 0xd8, 0xb8, ...u32(1), 0xc3]);
    warm(board, callee);
    warm(board, callee);
    // What follows a load of CR3 is no part of the unit before it: the RET is to be one's own.
    warm(board, callee + swap.length + 6);
    expect(board.run(caller)).toBe('hlt');
    expect(board.reg(EBX)).toBe(50 * 101);
  },
);

test.each(ENGINES)('calls without end whose return addresses are thrown away: %s', (_, engine) => {
  const board = new CodeBoard(engine);
  const callee = CODE + 0x800;
  board.put(CODE, indirectLoop(callee, 1));
  // pop eax; dec dword [DATA]; jz end; call edx; end: hlt
  board.put(callee, [0x58, 0xff, 0x0d, ...u32(DATA), 0x74, 2, 0xff, 0xd2, HLT]);
  board.put(DATA, u32(1));
  warm(board, callee);
  board.put(DATA, u32(200_000));
  expect(board.run(CODE)).toBe('hlt');
  expect([...board.machine.ram.subarray(DATA, DATA + 4)]).toEqual([0, 0, 0, 0]);
});

test.each(ENGINES)('a callee that needs the interpreter on its way: %s', (_, engine) => {
  const board = new CodeBoard(engine);
  const callee = CODE + 0x800;
  board.put(CODE, indirectLoop(callee, 100));
  // pushf; cli; popf; mov eax,3; ret
  board.put(callee, [0x9c, 0xfa, 0x9d, 0xb8, ...u32(3), 0xc3]);
  warm(board, callee);
  expect(board.run(CODE)).toBe('hlt');
  expect(board.reg(EBX)).toBe(300);
});

test('keys of code look-ups begin anew before they repeat', () => {
  const board = new CodeBoard(eagerTranslator);
  board.put(CODE, indirectLoop(CODE + 0x800, 100));
  board.put(CODE + 0x800, [0xb8, ...u32(7), 0xc3]);
  warm(board, CODE + 0x800);
  expect(board.run(CODE)).toBe('hlt');
  board.state.setReg32(EBX, 0);
  // As after millions of loads of CR3 by generated code.
  board.state.set32(CODE_KEY, 0xffff_ffe0);
  expect(board.run(CODE)).toBe('hlt');
  expect(board.reg(EBX)).toBe(700);
  expect(board.state.get32(CODE_KEY)).toBeLessThan(0x1000);
});

test('a sample in the middle of a loop does not cut its block', () => {
  const board = new CodeBoard(softwareAccelerator);
  // mov ecx,300000; again: add eax,3; dec ecx; jnz again; hlt
  board.put(CODE, [0xb9, ...u32(300_000), 0x83, 0xc0, 3, 0x49, 0x75, 0xfa, HLT]);
  expect(board.run(CODE)).toBe('hlt');
  const unit = [...unitsOf(board).units][0]!;
  expect(unit.region.blocks.map(({ instructions }) => instructions.length)).toEqual([3]);
  expect(unit.region.entries).toHaveLength(1);
});
