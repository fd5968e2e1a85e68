import { expect, test } from 'vitest';
import { CodeBoard, EAX, EBX, u32 } from '../../../test/code-board.ts';
import { CR4 } from '../../cpu/state-layout.ts';
import { interpreterAccelerator } from './index.ts';

const CODE = 0x3_0000;
const DATA = 0x10_0000;
const PAGE_TABLE = 0x1_1000;
const GLOBAL = 0x100;
const PGE = 0x80;
/** mov ecx, cr3; mov cr3, ecx */
const RELOAD = [0x0f, 0x20, 0xd9, 0x0f, 0x22, 0xd9];

function create(): CodeBoard {
  const board = new CodeBoard(interpreterAccelerator);
  board.state.setWide(CR4, PGE);
  board.enablePaging();
  return board;
}

/** mov dword [the entry of `linear`], value */
function setEntry(linear: number, value: number): number[] {
  return [0xc7, 0x05, ...u32(PAGE_TABLE + (linear >>> 12) * 4), ...u32(value)];
}

// Goal: the flush that generated code does by itself forgets what it must, and nothing else.
test.each([
  ['is forgotten', 0, 0x22],
  ['stays if it is global', GLOBAL, 0x11],
])('after a load of CR3 a page %s', (_, bits, second) => {
  const board = create();
  board.put(0x20_0000, u32(0x11));
  board.put(0x21_0000, u32(0x22));
  board.mapPage(DATA, 0x20_0000, 3 | bits);
  // mov eax,[DATA]; the entry changes; CR3; mov ebx,[DATA]; hlt
  board.put(CODE, [0xa1, ...u32(DATA), ...setEntry(DATA, 0x21_0003 | bits), ...RELOAD]);
  board.put(CODE + 21, [0x8b, 0x1d, ...u32(DATA), 0xf4]);
  const { tlb } = board.machine.memory;
  const flushes = tlb.flushCount;
  for (const linear of [DATA + 0x1000, DATA + 0x2000]) board.mapPage(linear, 0x20_0000);
  expect(board.run(CODE)).toBe('hlt');
  expect([board.reg(EAX), board.reg(EBX)]).toEqual([0x11, second]);
  expect(tlb.flushCount).toBe(flushes + 1);
});

test('the instruction behind a load of CR3 comes from where its page lies then', () => {
  const board = create();
  const [before, after] = [0x20_0000, 0x21_0000];
  const program = [...setEntry(CODE, after | 3), ...RELOAD, 0xb8];
  board.put(before, [...program, ...u32(1), 0xf4]);
  board.put(after, [...program, ...u32(2), 0xf4]);
  board.mapPage(CODE, before);
  expect(board.run(CODE)).toBe('hlt');
  expect(board.reg(EAX)).toBe(2);
});
