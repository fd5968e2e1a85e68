// Units that span pages: what one page's part knows of another must hold at each instruction, when
// the other page is stored to, mapped elsewhere, unmapped, or beyond the limit.

import fc from 'fast-check';
import { expect, test } from 'vitest';
import { interpreterAccelerator } from '../src/accel/software/index.ts';
import { CODE_KEY, CODE_KEY_STEP } from '../src/accel/software/record.ts';
import { RecordedPath } from '../src/accel/software/recorded-path.ts';
import type { SoftwareVCPU } from '../src/accel/software/software-vcpu.ts';
import type { Accelerator } from '../src/cpu/vcpu.ts';
import { MemoryRegion } from '../src/memory/memory-region.ts';
import { CodeBoard, EBX, ECX, ESP, u32 } from './code-board.ts';
import { fuzzOptions } from './fuzz-options.ts';
import { eagerLocalsTranslator, eagerTranslator } from './oracle/eager-translator.ts';

const FIRST = 0x3_0000;
const SECOND = FIRST + 0x1000;
const DEVICE = 0xf000_0000;
const PAGE_DIRECTORY = 0x1_0000;
const PAGE_TABLE = 0x1_1000;
const HLT = 0xf4;

function unitsOf({ machine }: CodeBoard) {
  return (machine.vcpu as SoftwareVCPU).translator;
}

/** Runs once, so that all pages were seen, and forgets the units: the next ones may span them. */
function warm(board: CodeBoard, eip: number, callee?: number): void {
  board.run(eip);
  if (callee !== undefined) {
    // The run has ended with all look-ups of pages forgotten.
    board.mapPage(callee, callee);
    board.call(callee);
  }
  unitsOf(board).clear();
  board.state.setReg32(EBX, 0);
}

/** CALL, JMP or (two bytes) Jcc with a 32-bit displacement, at `from`. */
function branch(opcode: readonly number[], from: number, to: number): number[] {
  return [...opcode, ...u32(to - from - opcode.length - 4)];
}

/** mov ecx,100; again: call `callee`; add ebx,eax; `more`; dec ecx; jnz again; hlt */
function callLoop(at: number, callee: number, more: readonly number[] = []): number[] {
  const call = branch([0xe8], at + 5, callee);
  const body = [...call, 0x01, 0xc3, ...more, 0x49];
  return [0xb9, ...u32(100), ...body, 0x75, 0x100 - body.length - 2, HLT];
}

test('a loop that calls another page is one unit, and counts every instruction', () => {
  const board = new CodeBoard(eagerTranslator);
  board.put(FIRST, callLoop(FIRST, SECOND));
  board.put(SECOND, [0xb8, ...u32(7), 0xc3]);
  warm(board, FIRST);
  const before = board.machine.vcpu.instructionCount;
  expect(board.run(FIRST)).toBe('hlt');
  expect(board.reg(EBX)).toBe(700);
  expect(board.machine.vcpu.instructionCount - before).toBe(1 + 100 * 6 + 1);
  expect(unitsOf(board).counters.spanning).toBe(1);
});

test('a store to the second page from the first ends the unit right behind it', () => {
  const board = new CodeBoard(eagerTranslator);
  // Each round makes what is called next return ECX: mov [SECOND + 1],ecx.
  board.put(FIRST, callLoop(FIRST, SECOND, [0x89, 0x0d, ...u32(SECOND + 1)]));
  board.put(SECOND, [0xb8, ...u32(0), 0xc3]);
  warm(board, FIRST);
  board.put(SECOND + 1, u32(0));
  expect(board.run(FIRST)).toBe('hlt');
  expect(board.reg(EBX)).toBe((100 * 101) / 2 - 1);
  expect(unitsOf(board).counters.spanning).toBeGreaterThan(0);
});

test('a store to the end of an instruction that crosses into the second page is seen', () => {
  const board = new CodeBoard(eagerTranslator);
  // At the end of the page: again: add ebx,imm32 whose last byte is the second page's; then there:
  // inc byte [SECOND]; dec ecx; jnz again; hlt
  const again = SECOND - 5;
  const rest = [0, 0xfe, 0x05, ...u32(SECOND), 0x49];
  const jump = branch([0x0f, 0x85], SECOND + rest.length, again);
  board.put(again, [0x81, 0xc3, 1, 0, 0, ...rest, ...jump, HLT]);
  for (let round = 0; round < 2; round++) {
    board.put(SECOND, [0]);
    board.state.setReg32(EBX, 0);
    board.state.setReg32(ECX, 10);
    expect(board.run(again)).toBe('hlt');
    expect(board.reg(EBX)).toBe(10 + 45 * 0x100_0000 - (45 >>> 8) * 2 ** 32);
    unitsOf(board).clear();
  }
  expect(unitsOf(board).counters.spanning).toBeGreaterThan(0);
});

test('a block that runs into the next page asks whether it is still there', () => {
  const board = new CodeBoard(eagerTranslator);
  board.enablePaging();
  // At the end of the page: again: xor dword [the page's entry],…; invlpg [SECOND]; nop; and there:
  // add ebx,1 (or 1000); dec ecx; jnz again; hlt
  const entry = PAGE_TABLE + (SECOND >>> 12) * 4;
  const swap = [0x81, 0x35, ...u32(entry), ...u32(SECOND ^ 0x5_0000)];
  const first = [...swap, 0x0f, 0x01, 0x3d, ...u32(SECOND), 0x90];
  const again = SECOND - first.length;
  board.put(again, first);
  for (const [at, value] of [[SECOND, 1] as const, [0x5_0000, 1000] as const]) {
    const rest = [0x81, 0xc3, ...u32(value), 0x49];
    board.put(at, [...rest, ...branch([0x0f, 0x85], SECOND + rest.length, again), HLT]);
    board.put(at + 0x800, [0xc3]);
  }
  for (let round = 0; round < 2; round++) {
    board.state.setReg32(EBX, 0);
    board.state.setReg32(ECX, 100);
    expect(board.run(again)).toBe('hlt');
    expect(board.reg(EBX)).toBe(50 * 1001);
    board.call(SECOND + 0x800); // The page is looked up anew.
    unitsOf(board).clear();
  }
  expect(unitsOf(board).counters.spanning).toBeGreaterThan(0);
});

test('the second page is mapped elsewhere by a unit that spans it', () => {
  const invalidations = [
    [0x0f, 0x01, 0x3d, ...u32(SECOND)], // invlpg [SECOND]
    [0x0f, 0x20, 0xda, 0x0f, 0x22, 0xda], // mov edx,cr3; mov cr3,edx
  ];
  for (const invalidate of invalidations) {
    const board = new CodeBoard(eagerTranslator);
    board.enablePaging();
    // xor dword [the page's entry], 0x31000 ^ 0x50000
    const entry = PAGE_TABLE + (SECOND >>> 12) * 4;
    const swap = [0x81, 0x35, ...u32(entry), ...u32(SECOND ^ 0x5_0000), ...invalidate];
    board.put(FIRST, callLoop(FIRST, SECOND, swap));
    board.put(SECOND, [0xb8, ...u32(7), 0xc3]);
    board.put(0x5_0000, [0xb8, ...u32(1000), 0xc3]);
    warm(board, FIRST, SECOND);
    expect(board.run(FIRST)).toBe('hlt');
    expect(board.reg(EBX)).toBe(50 * 1007);
    expect(unitsOf(board).counters.spanning).toBeGreaterThan(0);
  }
});

test('a page is mapped elsewhere whose look-up another page has replaced', () => {
  const board = new CodeBoard(eagerTranslator);
  board.enablePaging();
  // 4 MiB further on: the look-up of code there stands where that of SECOND does.
  const other = SECOND + 0x40_0000;
  board.put(PAGE_DIRECTORY + 4, u32(0x1_2000 | 7));
  board.put(0x1_2000 + (SECOND >>> 12) * 4, u32(0x6_0000 | 3));
  // call other; xor dword [the page's entry], 0x31000 ^ 0x50000; invlpg [SECOND]
  const entry = PAGE_TABLE + (SECOND >>> 12) * 4;
  const more = [
    ...branch([0xe8], FIRST + 5 + 5 + 2, other),
    ...[0x81, 0x35, ...u32(entry), ...u32(SECOND ^ 0x5_0000)],
    ...[0x0f, 0x01, 0x3d, ...u32(SECOND)],
  ];
  board.put(FIRST, callLoop(FIRST, SECOND, more));
  board.put(SECOND, [0xb8, ...u32(7), 0xc3]);
  board.put(0x5_0000, [0xb8, ...u32(1000), 0xc3]);
  board.put(0x6_0000, [0xc3]);
  warm(board, FIRST, SECOND);
  expect(board.run(FIRST)).toBe('hlt');
  expect(board.reg(EBX)).toBe(50 * 1007);
});

test('INVLPG of a page without code keeps the look-ups of code', () => {
  const board = new CodeBoard(interpreterAccelerator);
  board.enablePaging();
  /** How far the count of look-ups forgotten goes on while `code` runs. */
  const forgotten = (code: readonly number[]): number => {
    board.put(FIRST, [...code, HLT]);
    const before = board.state.get32(CODE_KEY);
    expect(board.run(FIRST)).toBe('hlt');
    return board.state.get32(CODE_KEY) - before;
  };
  const invlpg = (page: number) => [0x0f, 0x01, 0x3d, ...u32(page)];
  forgotten([0x90]); // The first run sets the mode.
  const usual = forgotten([0x90]);
  expect(forgotten(invlpg(0x7_0000))).toBe(usual);
  expect(forgotten(invlpg(FIRST))).toBe(usual + CODE_KEY_STEP);
});

test('a second page that is unmapped faults at its own address, with nothing lost', () => {
  const board = new CodeBoard(eagerTranslator);
  board.enablePaging();
  const entry = PAGE_TABLE + (SECOND >>> 12) * 4;
  // In round 40 the page goes: cmp ecx,60; jne over; and dword [entry],0; invlpg [SECOND]; over:
  const unmap = [0x83, 0x25, ...u32(entry), 0, 0x0f, 0x01, 0x3d, ...u32(SECOND)];
  const more = [0x83, 0xf9, 60, 0x75, unmap.length, ...unmap];
  board.put(FIRST, callLoop(FIRST, SECOND, more));
  board.put(SECOND, [0xb8, ...u32(7), 0xc3]);
  warm(board, FIRST, SECOND);
  expect(board.run(FIRST)).toEqual({ vector: 14, error: 0, eip: SECOND });
  expect([board.reg(EBX), board.reg(ECX)]).toEqual([41 * 7, 59]);
  // The CALL itself is done: its return address and the fault's frame are on the stack.
  expect(board.reg(ESP)).toBe(0x8000 - 4 - 16);
  expect(unitsOf(board).counters.spanning).toBeGreaterThan(0);
});

test('a device that moves A20 within a unit moves the page that it spans', () => {
  const board = new CodeBoard(eagerTranslator);
  const { vcpu, memory } = board.machine;
  let stores = 0;
  const device = MemoryRegion.io('gate', 0x1000, {
    read: () => 0,
    write: () => {
      if (++stores === 50) vcpu.setA20(false);
    },
  });
  memory.root.addSubregion(DEVICE, device);
  const first = 0xf_f000;
  // mov [DEVICE],al
  board.put(first, callLoop(first, 0x10_0000, [0xa2, ...u32(DEVICE)]));
  board.put(0x10_0000, [0xb8, ...u32(3), 0xc3]);
  board.put(0, [0xb8, ...u32(1000), 0xc3]);
  warm(board, first);
  vcpu.setA20(true);
  board.run(first); // The row of the second page is looked up anew.
  unitsOf(board).clear();
  stores = 0;
  vcpu.setA20(true);
  board.state.setReg32(EBX, 0);
  expect(board.run(first)).toBe('hlt');
  expect(board.reg(EBX)).toBe(50 * 3 + 50 * 1000);
});

test('a branch to a page beyond the limit of CS faults where it is', () => {
  const board = new CodeBoard(eagerTranslator);
  // Selector 0x18: code up to the middle of the second page.
  board.put(0x1000 + 0x18, [0x07, 0x18, 0, 0, 0, 0x9b, 0x43, 0]);
  board.state.set32(0x208, 0x1f); // The GDT's limit.
  const target = SECOND + 0x900;
  board.put(FIRST, branch([0xe9], FIRST, target));
  board.put(target, [0xb8, ...u32(7), HLT]);
  warm(board, FIRST);
  expect(board.run(FIRST)).toBe('hlt');
  // jmp far 0x18:FIRST
  board.put(0x4_0000, [0xea, ...u32(FIRST), 0x18, 0]);
  expect(board.run(0x4_0000)).toEqual({ vector: 13, error: 0, eip: FIRST });
  expect(unitsOf(board).counters.spanning).toBe(1);
});

// Random programs. Page 1 is at one of two frames, which differ in immediates only.

const FRAMES = [SECOND, 0x5_1000];
const DATA = 0x6_0000;
const STACK = 0x7_0000;
/** Code lies across the borders between pages 0 and 1, and between 1 and 2. */
const CLUSTERS = [FIRST + 0xfa0, SECOND + 0xfa0];
const BLOCKS = 20;
const INSTRUCTIONS = 1500;

type Step =
  | { kind: 'add'; register: number; value: number }
  | { kind: 'xor'; to: number; from: number }
  | { kind: 'store' | 'load'; register: number; at: number }
  | { kind: 'patch'; target: number; byte: number; value: number }
  | { kind: 'remap'; withCR3: boolean };
type End =
  | { kind: 'none' | 'ret' }
  | { kind: 'jcc'; condition: number; target: number }
  | { kind: 'jmp' | 'call'; target: number };
interface Block {
  readonly steps: readonly Step[];
  readonly end: End;
}

const register = fc.constantFrom(1, 2, 3, 5, 6, 7);
const block = fc.nat({ max: BLOCKS - 1 });
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({ kind: fc.constant('add' as const), register, value: fc.nat() }),
  },
  {
    weight: 3,
    arbitrary: fc.record({ kind: fc.constant('xor' as const), to: register, from: register }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constantFrom('store' as const, 'load' as const),
      register,
      at: fc.nat({ max: 63 }),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant('patch' as const),
      target: fc.nat({ max: 200 }),
      byte: fc.nat({ max: 3 }),
      value: fc.nat({ max: 255 }),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ kind: fc.constant('remap' as const), withCR3: fc.boolean() }),
  },
);
const end: fc.Arbitrary<End> = fc.oneof(
  fc.record({ kind: fc.constantFrom('none' as const, 'ret' as const) }),
  fc.record({ kind: fc.constant('jcc' as const), condition: fc.nat({ max: 15 }), target: block }),
  fc.record({ kind: fc.constantFrom('jmp' as const, 'call' as const), target: block }),
);
const program = fc.record({
  blocks: fc.array(fc.record({ steps: fc.array(step, { maxLength: 5 }), end }), {
    minLength: BLOCKS,
    maxLength: BLOCKS,
  }),
  slices: fc.array(fc.integer({ min: 1, max: 150 }), { minLength: 1, maxLength: 8 }),
});

interface Assembled {
  readonly bytes: ReadonlyMap<number, number>;
  /** Addresses of the blocks, and of the immediates of their ADDs. */
  readonly starts: readonly number[];
  readonly immediates: readonly number[];
}

/** Laid out twice: lengths do not depend on addresses. */
function assemble(blocks: readonly Block[]): Assembled {
  let starts = blocks.map(() => 0);
  let immediates = [0];
  for (let pass = 0; ; pass++) {
    const bytes = new Map<number, number>();
    const found: number[] = [];
    const nextStarts: number[] = [];
    let at = 0;
    const put = (more: readonly number[]) => {
      for (const byte of more) bytes.set(at++, byte & 0xff);
    };
    for (const [index, { steps, end }] of blocks.entries()) {
      if (index % (BLOCKS / 2) === 0) at = CLUSTERS[(index * 2) / BLOCKS]!;
      nextStarts.push(at);
      for (const one of steps) {
        if (one.kind === 'add') found.push(at + 2);
        put(encode(one, immediates));
      }
      if (end.kind === 'ret') put([0xc3]);
      else if (end.kind === 'jcc') {
        put(branch([0x0f, 0x80 | end.condition], at, starts[end.target]!));
      } else if (end.kind === 'jmp' || end.kind === 'call') {
        put(branch([end.kind === 'jmp' ? 0xe9 : 0xe8], at, starts[end.target]!));
      }
      if (index % (BLOCKS / 2) === BLOCKS / 2 - 1) put(branch([0xe9], at, starts[0]!));
    }
    if (pass === 1) return { bytes, starts, immediates };
    starts = nextStarts;
    if (found.length > 0) immediates = found;
    else immediates = [DATA];
  }
}

function encode(one: Step, immediates: readonly number[]): number[] {
  switch (one.kind) {
    case 'add':
      return [0x81, 0xc0 | one.register, ...u32(one.value)];
    case 'xor':
      return [0x31, 0xc0 | (one.from << 3) | one.to];
    case 'store':
      return [0x89, (one.register << 3) | 5, ...u32(DATA + one.at)];
    case 'load':
      return [0x03, (one.register << 3) | 5, ...u32(DATA + one.at)];
    case 'patch':
      return [
        ...[0xc6, 0x05, ...u32(immediates[one.target % immediates.length]! + one.byte)],
        one.value,
      ];
    case 'remap': {
      const entry = PAGE_TABLE + (SECOND >>> 12) * 4;
      const flush = one.withCR3
        ? [0x0f, 0x20, 0xd8, 0x0f, 0x22, 0xd8]
        : [0x0f, 0x01, 0x3d, ...u32(SECOND)];
      return [0x81, 0x35, ...u32(entry), ...u32(FRAMES[0]! ^ FRAMES[1]!), ...flush];
    }
  }
}

function begin(board: CodeBoard, { bytes, starts, immediates }: Assembled): void {
  const { state, machine } = board;
  machine.ram.fill(0, FIRST, 0x8_0000);
  for (const [address, byte] of bytes) {
    machine.ram[address] = byte;
    const isImmediate = immediates.includes(address) ? 0x55 : 0;
    if (address >>> 12 === SECOND >>> 12) {
      machine.ram[address - FRAMES[0]! + FRAMES[1]!] = byte ^ isImmediate;
    }
  }
  // What RETs find that had no CALL.
  for (const [index, start] of starts.entries()) {
    for (let at = STACK - 0x2000 + index * 4; at < STACK + 0x2000; at += starts.length * 4) {
      machine.ram.set(u32(start), at);
    }
  }
  machine.noteWrite(FIRST, 0x8_0000 - FIRST);
  board.mapPage(SECOND, SECOND);
  for (let index = 0; index < 8; index++) state.setReg32(index, index * 0x1111);
  state.setReg32(ESP, STACK);
  state.eflags = 2;
  state.eip = starts[0]!;
  machine.vcpu.synchronize();
}

function snapshot({ state, machine }: CodeBoard): unknown {
  const registers = Array.from({ length: 8 }, (_, index) => state.reg32(index) >>> 0);
  const { instructionCount } = machine.vcpu;
  return { eip: state.eip, eflags: state.eflags, registers, instructionCount };
}

/** Runs so many instructions, and makes a unit of the path that they took. */
function runRecorded({ machine, state }: CodeBoard, steps: number): void {
  const path = new RecordedPath();
  for (let step = 0; step < steps; step++) {
    path.note(state.eip);
    machine.vcpu.run(1);
  }
  (machine.vcpu as SoftwareVCPU).translator.addPath(path, 0);
}

test.each([
  ['with registers in memory', eagerTranslator, 0],
  ['with registers in locals', eagerLocalsTranslator, 0],
  ['of recorded paths', interpreterAccelerator, 100],
] as const)('random programs over three pages run as in the interpreter, in units %s', (...row) => {
  const [, accelerator, recordedSteps] = row;
  const create = (accelerator: Accelerator) => {
    const board = new CodeBoard(accelerator);
    board.enablePaging();
    return board;
  };
  const [interpreter, translator] = [create(interpreterAccelerator), create(accelerator)];
  const property = fc.property(program, ({ blocks, slices }) => {
    const assembled = assemble(blocks);
    for (const board of [interpreter, translator]) begin(board, assembled);
    unitsOf(translator).clear();
    let turn = 0;
    for (let done = 0; done < INSTRUCTIONS; turn++) {
      const slice = slices[turn % slices.length]!;
      // What the first turns have seen, later units may span.
      if (turn % 10 === 9) unitsOf(translator).clear();
      if (recordedSteps > 0 && turn % 10 === 3) {
        for (let step = 0; step < recordedSteps; step++) interpreter.machine.vcpu.run(1);
        runRecorded(translator, recordedSteps);
      }
      for (const { machine } of [interpreter, translator]) machine.vcpu.run(slice);
      expect(snapshot(translator)).toEqual(snapshot(interpreter));
      done += slice;
    }
    const code = ({ machine }: CodeBoard) =>
      Buffer.from(machine.ram.subarray(FIRST, STACK + 0x2000));
    expect(code(translator).equals(code(interpreter))).toBe(true);
  });
  fc.assert(property, fuzzOptions(25));
  const { counters } = unitsOf(translator);
  expect(counters.failed).toBe(0);
  expect(counters.spanning).toBeGreaterThan(10);
});
