import fc from 'fast-check';
import { expect, test } from 'vitest';
import { answer, CodeBoard, EAX, ECX, u32 } from '../../../test/code-board.ts';
import { fuzzOptions } from '../../../test/fuzz-options.ts';
import { MODE } from '../../cpu/state-layout.ts';
import type { Accelerator } from '../../cpu/vcpu.ts';
import { interpreterAccelerator, softwareAccelerator } from './index.ts';
import type { SoftwareVCPU } from './software-vcpu.ts';

const CODE = 0x3_0000;
const STORES = 0x4_0000;
const PAGE = 4096;

/** Translates whatever runs: units cover all code. */
const eagerAccelerator: Accelerator = {
  ...softwareAccelerator,
  createVCPU(wiring, memory) {
    const vcpu = softwareAccelerator.createVCPU(wiring, memory) as SoftwareVCPU;
    vcpu.isTranslatingEagerly = true;
    return vcpu;
  },
};

/** Stores of ECX or XMM0 at EDX, and read-modify-writes, by size. */
const WAYS: readonly (readonly number[])[] = [
  [0x88, 0x0a], // mov [edx], cl
  [0x66, 0x89, 0x0a], // mov [edx], cx
  [0x89, 0x0a], // mov [edx], ecx
  [0x0f, 0x7f, 0x02], // movq [edx], mm0
  [0x66, 0x0f, 0x7f, 0x02], // movdqa [edx], xmm0, aligned below
  [0x31, 0x0a], // xor [edx], ecx
  [0x00, 0x0a], // add [edx], cl
  [0xfc, 0x89, 0xd7, 0x89, 0xc8, 0xb9, ...u32(3), 0xf3, 0xab], // rep stosd, 12 bytes
];

/** Bytes that make code of all lengths that goes on or faults, whatever follows what: no jumps. */
const BYTES = [0x05, 0x2d, 0xb8, 0x40, 0x43, 0x90, 0x69, 0xc0, 0xb0, 0x0f, 0x66, 0x81, 0xf6, 0xc1];

const step = fc.record({
  way: fc.nat({ max: WAYS.length }),
  at: fc.oneof(fc.nat({ max: 60 }), fc.integer({ min: 110, max: 150 })),
  value: fc.array(fc.constantFrom(...BYTES), { minLength: 4, maxLength: 4 }),
  start: fc.nat({ max: 40 }),
});

/** mov edx, at; mov ecx, value; the store; hlt */
function storeProgram(way: number, at: number, value: readonly number[]): number[] {
  return [0xba, ...u32(at), 0xb9, ...value, ...WAYS[way]!, 0xf4];
}

// Goal: what an engine keeps of code after any store is what it would decode anew.
test.each([
  ['interpreter', interpreterAccelerator, CODE],
  ['interpreter, across pages', interpreterAccelerator, CODE + 0xfd0],
  ['translator', eagerAccelerator, CODE],
  ['translator, across pages', eagerAccelerator, CODE + 0xfd0],
])('code after random stores is what a fresh engine runs: %s', (...given) => {
  const [, accelerator, code] = given;
  const boards = [new CodeBoard(accelerator), new CodeBoard(interpreterAccelerator)];
  fc.assert(
    fc.property(fc.array(step, { minLength: 1, maxLength: 25 }), (steps) => {
      for (const board of boards) {
        const filler = Array.from({ length: 200 }, (__, at) => BYTES[(at * 7) % BYTES.length]!);
        board.put(code, [...filler, ...new Array<number>(40).fill(0x90), 0xc3]);
        board.enterProtected();
      }
      for (const { way, at, value, start } of steps) {
        const results = boards.map((board, index) => {
          const target = code + (way === 4 ? at & ~15 : at);
          if (way === WAYS.length) board.put(target, value);
          else {
            board.put(STORES, storeProgram(way, target, value));
            board.run(STORES);
          }
          if (index === 1) board.machine.vcpu.synchronize();
          board.state.setReg32(EAX, 1);
          board.state.setReg32(ECX, 2);
          return [board.call(code + start), board.reg(EAX), board.reg(ECX), board.reg(3)];
        });
        expect(results[0]).toEqual(results[1]);
        // What faulted has left both where it happened.
        if (typeof results[0]![0] !== 'number') break;
      }
    }),
    fuzzOptions(30),
  );
});

test('an immediate that is patched in a loop is fetched anew, and nothing else is decoded', () => {
  const board = new CodeBoard(interpreterAccelerator);
  board.put(CODE, answer(0));
  // xor ebx,ebx; mov ecx,1000; 1: mov [CODE+1],ecx; call CODE; add ebx,eax; dec ecx; jnz 1b; hlt
  const program = [0x31, 0xdb, 0xb9, ...u32(1000), 0x89, 0x0d, ...u32(CODE + 1)];
  const call = [0xe8, ...u32(CODE - (STORES + 18)), 0x01, 0xc3, 0x49, 0x75, -16 & 0xff, 0xf4];
  board.put(STORES, [...program, ...call]);
  const { cache, translator } = board.machine.vcpu as SoftwareVCPU;
  expect(board.run(STORES)).toBe('hlt');
  expect(board.reg(3)).toBe(500_500);
  expect(cache.counters.decoded).toBeLessThan(40);
  expect(cache.counters.invalidated).toBe(0);
  // It stays with the interpreter: a unit would not live until the next patch.
  const translate = (gpa: number): number => {
    board.state.eip = gpa;
    translator.translateAt(cache.recordsOf(gpa / PAGE, board.state.get32(MODE)), 0);
    return translator.counters.units;
  };
  expect([translate(CODE), translate(STORES)]).toEqual([0, 1]);
});

test('an instruction across pages is decoded once, wherever it is stored to then anew', () => {
  const board = new CodeBoard(interpreterAccelerator);
  board.enablePaging();
  const start = CODE + 0xffd;
  board.put(start, [0xb8, ...u32(7), 0xc3]); // mov eax, 7 whose last two bytes are in the next page
  // mov ecx,1000; 1: call start; dec ecx; jnz 1b; hlt
  const call = [0xe8, ...u32(start - (STORES + 10)), 0x49, 0x75, -8 & 0xff, 0xf4];
  board.put(STORES, [0xb9, ...u32(1000), ...call]);
  const { counters } = (board.machine.vcpu as SoftwareVCPU).cache;
  expect(board.run(STORES)).toBe('hlt');
  expect(board.reg(EAX)).toBe(7);
  expect(counters.decoded).toBeLessThan(40);
  for (const [at, value, result] of [
    [start + 3, 2, 0x2_0007],
    [start + 2, 3, 0x2_0307],
    [start + 4, 4, 0x402_0307],
  ] as const) {
    board.put(STORES + 0x100, [0xc6, 0x05, ...u32(at), value, 0xf4]);
    expect(board.run(STORES + 0x100)).toBe('hlt');
    expect(board.run(STORES)).toBe('hlt');
    expect(board.reg(EAX)).toBe(result);
  }
});

test('a decoding that failed goes when the bytes behind it change', () => {
  const board = new CodeBoard(interpreterAccelerator);
  board.put(CODE, [0x8d, 0xc1, 0xc3]); // LEA EAX, a register: no instruction
  expect(board.call(CODE)).toMatchObject({ vector: 6 });
  board.enterProtected();
  board.put(CODE, [0x8d, 0xc1, 0xc3]);
  board.call(CODE);
  board.enterProtected();
  board.put(STORES, [0xc6, 0x05, ...u32(CODE + 1), 0x01, 0xf4]); // mov byte [CODE+1], lea eax,[ecx]
  expect(board.run(STORES)).toBe('hlt');
  board.state.setReg32(ECX, 77);
  expect(board.call(CODE)).toBe(77);
});

test('a store into code that is translated reaches the unit', () => {
  const board = new CodeBoard(eagerAccelerator);
  board.put(CODE, [0xb8, ...u32(1), 0x40, 0xf4]); // mov eax, 1; inc eax; hlt
  for (const value of [1, 5, 6]) {
    board.put(STORES, [0xc6, 0x05, ...u32(CODE + 1), value, 0xf4]);
    expect(board.run(STORES)).toBe('hlt');
    expect(board.run(CODE)).toBe('hlt');
    expect(board.reg(EAX)).toBe(value + 1);
  }
  expect((board.machine.vcpu as SoftwareVCPU).translator.counters.units).toBeGreaterThan(2);
});

test('failure 28: a page whose code is all overwritten is plain again', () => {
  const board = new CodeBoard(interpreterAccelerator);
  const { codePages, dirty, tlb } = board.machine.memory;
  board.put(CODE, answer(5));
  expect(board.call(CODE)).toBe(5);
  expect(codePages.masks[CODE / PAGE]).not.toBe(0);
  board.put(STORES, [
    ...[0x89, 0x0d, ...u32(CODE)], // mov [CODE], ecx
    ...[0x66, 0x89, 0x0d, ...u32(CODE + 4)], // mov [CODE+4], cx
    0xf4,
  ]);
  board.state.setReg32(ECX, 0x4040_4040);
  expect(board.run(STORES)).toBe('hlt');
  expect(codePages.masks[CODE / PAGE]).toBe(0);
  expect(dirty.bytes[CODE / PAGE]).toBe(0xff);
  const row = [...tlb.entries()].find(({ linear }) => linear === CODE);
  expect(row?.writeFlags).toBe(0);
});

test.each([
  ['interpreter', interpreterAccelerator],
  ['translator', eagerAccelerator],
])('data beside code costs no decoding and no look-up of TypeScript: %s', (_, accelerator) => {
  const board = new CodeBoard(accelerator);
  board.put(CODE, [0x40, 0xf4]); // inc eax; hlt
  board.state.setReg32(EAX, 0);
  expect(board.run(CODE)).toBe('hlt');
  // mov ecx,1000; 1: mov [data],ecx; sub dword [data+4],1; dec ecx; jnz 1b; hlt
  const program = [0xb9, ...u32(1000), 0x89, 0x0d, ...u32(CODE + 64), 0x83, 0x2d];
  board.put(STORES, [...program, ...u32(CODE + 68), 1, 0x49, 0x75, -16 & 0xff, 0xf4]);
  let asked = 0;
  board.machine.memory.codePages.onInvalidate(() => {
    asked++;
    return undefined;
  });
  const { cache, translator } = board.machine.vcpu as SoftwareVCPU;
  expect(board.run(STORES)).toBe('hlt');
  expect(board.run(CODE)).toBe('hlt');
  expect(board.reg(EAX)).toBe(2);
  expect(board.machine.memory.addressSpace.read(CODE + 68, 4) | 0).toBe(-1000);
  expect(cache.counters.decoded).toBeLessThan(40);
  expect(asked).toBe(0);
  expect(translator.counters.dropped).toBe(0);
});
