import fc from 'fast-check';
import { expect, test } from 'vitest';
import { CodeBoard, u32 } from '../../../test/code-board.ts';
import { fuzzOptions } from '../../../test/fuzz-options.ts';
import {
  CPL,
  CR0,
  CR2,
  CR3,
  CR4,
  EFER,
  SEG_ATTRIBUTES,
  SEG_BASE,
  SEG_LIMIT,
  SEGMENT,
  SEGMENT_BYTES,
  TR,
} from '../../cpu/state-layout.ts';
import { DIRTY_ALL, DIRTY_MIGRATION } from '../../memory/dirty-memory.ts';
import { MemoryRegion } from '../../memory/memory-region.ts';
import { MissingPages } from '../../memory/missing-pages.ts';
import { TLB_NOTDIRTY } from '../../memory/soft-tlb.ts';
import { interpreterAccelerator } from './index.ts';

const PAGE = 4096;
const RAM_BYTES = 8 << 20;
const CODE = 0x2_0000;
const TSS = 0x5000;
const DIRECTORY = 0x10_0000;
const FIRST_TABLE = 0x10_1000;
const TABLE_COUNT = 4;
const DEVICE = 0x4000_0000;
/** Linear addresses whose mapping is random. */
const RANDOM_FROM = 0x40_0000;
const NX = 1n << 63n;

/** Where entries point to: RAM, tables, code that runs, a device, a hole, above 4 GiB. */
const TARGETS = [
  0x50_0000,
  0x50_1000,
  0x60_0000,
  0x60_0000,
  0x40_0000,
  0x7f_f000,
  FIRST_TABLE,
  DIRECTORY,
  CODE,
  DEVICE,
  0x9000_0000,
  0x1_0000_0000,
];

interface Entry {
  readonly target: number;
  readonly bits: number;
  readonly isNX: boolean;
  readonly reserved: number;
}

interface Access {
  readonly page: number;
  readonly offset: number;
  readonly kind: number;
}

interface Case {
  readonly isPAE: boolean;
  readonly cr0: number;
  readonly cr4: number;
  readonly hasNX: boolean;
  readonly isUser: boolean;
  readonly directory: readonly Entry[];
  readonly tables: readonly Entry[];
  readonly accesses: readonly Access[];
  readonly cleanPages: readonly number[];
}

/** Machine code of an access at EDX: loads and stores of all sizes, read-modify-write, a call. */
const ACCESSES: readonly (readonly number[])[] = [
  [0x8b, 0x02],
  [0x8a, 0x02],
  [0x66, 0x8b, 0x02],
  [0x89, 0x0a],
  [0x88, 0x0a],
  [0x66, 0x89, 0x0a],
  [0x01, 0x0a],
  [0x0f, 0x6f, 0x02],
  [0x0f, 0x7f, 0x02],
  [0xff, 0xd2],
];

const entry = fc.record({
  target: fc.nat({ max: TARGETS.length - 1 }),
  // Present and writable more often than not, or little would happen.
  bits: fc.tuple(fc.nat({ max: 0x1ff }), fc.constantFrom(1, 3, 7, 7, 7, 0)).map(([a, b]) => a | b),
  isNX: fc.boolean(),
  reserved: fc.nat({ max: 15 }),
});

const cases: fc.Arbitrary<Case> = fc.record({
  isPAE: fc.boolean(),
  cr0: fc.constantFrom(0, 0x1_0000),
  cr4: fc.constantFrom(0, 0x10, 0x80, 0x90),
  hasNX: fc.boolean(),
  isUser: fc.boolean(),
  directory: fc.array(entry, { minLength: 3, maxLength: 3 }),
  tables: fc.array(entry, { minLength: 16, maxLength: 16 }),
  accesses: fc.array(
    fc.record({
      page: fc.nat({ max: 15 }),
      offset: fc.constantFrom(0, 1, 0x7fc, 0xffc, 0xffe, 0xff8),
      kind: fc.nat({ max: ACCESSES.length - 1 }),
    }),
    { minLength: 1, maxLength: 8 },
  ),
  cleanPages: fc.array(
    fc.constantFrom(DIRECTORY, FIRST_TABLE, FIRST_TABLE + PAGE, ...TARGETS.slice(0, 6)),
    { maxLength: 4 },
  ),
});

/** The value of an entry; `table` is where it leads if it does not map a page. */
function entryValue(found: Entry, { isPAE, hasNX, cr4 }: Case, table: number): bigint {
  // Without PSE the bit for a large page means nothing, and the entry leads to a table.
  const isLarge = (found.bits & 0x80) !== 0 && (isPAE || (cr4 & 0x10) !== 0);
  const target = table !== 0 && !isLarge ? table : TARGETS[found.target]!;
  let value = BigInt(target) | BigInt(found.bits & 0x1ff & (table !== 0 ? ~0 : ~0x80));
  if (isPAE && found.isNX && (hasNX || found.reserved === 1)) value |= NX;
  if (isPAE && found.reserved === 2) value |= 1n << 50n;
  return isPAE ? value : value & 0xffff_ffffn;
}

/** Linear address of random page `index`: four behind each of three random directory entries. */
function linearOf(index: number, isPAE: boolean): number {
  const span = isPAE ? 0x20_0000 : 0x40_0000;
  return RANDOM_FROM + Math.min(2, index >> 2) * span + (index & 3) * PAGE;
}

/** A machine whose every case begins with `setUp`; making one takes as long as fifty cases. */
function create(walksInTypeScript: boolean): CodeBoard {
  const board = new CodeBoard(interpreterAccelerator, RAM_BYTES);
  const { ramList, root } = board.machine.memory;
  if (walksInTypeScript) ramList.missing = new MissingPages(ramList.pageCount, () => {});
  const device = { read: () => 0x5a, write: () => {} };
  root.addSubregion(DEVICE, MemoryRegion.io('device', PAGE, device));
  return board;
}

function setUp(board: CodeBoard, it: Case): void {
  const { state, machine } = board;
  const { dirty, ramList, ramWrites } = machine.memory;
  // Returns everywhere, so that a call ends well.
  ramList.bytes.fill(0, DIRECTORY, 0x40_0000).fill(0xc3, 0x40_0000, RAM_BYTES);
  ramWrites.note(0, RAM_BYTES);
  machine.vcpu.reset();
  board.enterProtected();
  const entryBytes = it.isPAE ? 8 : 4;
  const ram = new DataView(ramList.bytes.buffer, ramList.baseOffset, RAM_BYTES);
  const put = (gpa: number, value: bigint): void => {
    if (it.isPAE) ram.setBigUint64(gpa, value, true);
    else ram.setUint32(gpa, Number(value), true);
  };
  // The first 4 MiB are mapped one to one for everybody, by the last tables.
  const perTable = PAGE / entryBytes;
  const low = 0x40_0000 / PAGE / perTable;
  for (let page = 0; page < 0x40_0000 / PAGE; page++)
    put(FIRST_TABLE + TABLE_COUNT * PAGE + page * entryBytes, BigInt(page * PAGE) | 7n);
  for (let index = 0; index < low; index++)
    put(DIRECTORY + index * entryBytes, BigInt(FIRST_TABLE + (TABLE_COUNT + index) * PAGE) | 7n);
  for (const [index, found] of it.directory.entries()) {
    const table = FIRST_TABLE + index * PAGE;
    put(DIRECTORY + (low + index) * entryBytes, entryValue(found, it, table));
    for (let page = 0; page < 4; page++)
      put(table + page * entryBytes, entryValue(it.tables[index * 4 + page]!, it, 0));
  }
  board.put(0x4000, [...u32(DIRECTORY | 1), ...new Array<number>(28).fill(0)]);
  board.put(TSS, [...u32(0), ...u32(0x9000), ...u32(0x10)]);
  const task = SEGMENT + TR * SEGMENT_BYTES;
  state.setWide(task + SEG_BASE, TSS);
  state.set32(task + SEG_LIMIT, 0x67);
  state.set32(task + SEG_ATTRIBUTES, 0x8b);
  state.setWide(EFER, it.hasNX ? 0x800 : 0);
  state.setWide(CR4, it.cr4 | (it.isPAE ? 0x20 : 0));
  state.setWide(CR3, it.isPAE ? 0x4000 : DIRECTORY);
  state.setWide(CR0, (state.cr0 | it.cr0 | 0x8000_0000) >>> 0);
  board.machine.vcpu.state.set32(CPL, it.isUser ? 3 : 0);
  if (it.isPAE) state.u32.set([DIRECTORY | 1, 0], 0x620 >> 2);
  machine.vcpu.synchronize();
  const program = it.accesses.flatMap(({ page, offset, kind }) => [
    ...[0xba, ...u32(linearOf(page, it.isPAE) + offset)],
    ...ACCESSES[kind]!,
  ]);
  board.put(CODE, [...program, 0xf4]);
  for (const gpa of it.cleanPages) dirty.clear(gpa, PAGE, DIRTY_MIGRATION);
}

/** The entries of all tables, but for their accessed and dirty bits. */
function tablesOf({ machine }: CodeBoard): Buffer {
  const { ramList } = machine.memory;
  const bytes = ramList.bytes.slice(DIRECTORY, FIRST_TABLE + 2 * TABLE_COUNT * PAGE);
  const words = new Uint32Array(bytes.buffer);
  for (let index = 0; index < words.length; index++) words[index] = words[index]! & ~0x60;
  return Buffer.from(words.buffer);
}

// Goal: what generated code walks and fills by itself is what TypeScript would have. Pages that may
// be elsewhere still (none is) make the second machine walk in TypeScript.
test('both walks give the same results, faults, marks in the tables, and TLB rows', () => {
  const boards = [create(false), create(true)];
  let fillCount = 0;
  fc.assert(
    fc.property(cases, (it) => {
      const [fast, reference] = boards.map((board) => {
        setUp(board, it);
        for (let index = 0; index < 8; index++) board.state.setReg32(index, 0x1010 * index);
        const tables = tablesOf(board);
        const end = board.run(CODE);
        const { ramList, tlb, dirty } = board.machine.memory;
        fillCount += [...tlb.entries()].length;
        return {
          end,
          hasSameTables: tablesOf(board).equals(tables),
          registers: [0, 1, 2, 3, 4].map((index) => board.reg(index)),
          cr2: board.state.get32(CR2),
          large: [board.state.get32(0x610), board.state.get32(0x614)],
          tlb: [...tlb.entries()].map((row) => {
            // Once every client knows, whether the flag is gone yet or goes with the next store is
            // no difference: it depends on who filled the row, and when the last code left.
            const isKnown = dirty.bytes[row.gpa / PAGE] === DIRTY_ALL;
            return isKnown ? { ...row, writeFlags: row.writeFlags & ~TLB_NOTDIRTY } : row;
          }),
          ram: ramList.bytes,
          dirty: Buffer.from(dirty.bytes.slice(0, RAM_BYTES / PAGE)),
        };
      });
      // A program that changes its own tables may see the old mapping or the new: the manual lets a
      // processor forget what it knows at any time, and rows that lead to devices are forgotten.
      fc.pre(fast!.hasSameTables && reference!.hasSameTables);
      const isSameRAM = [CODE, DIRECTORY, RANDOM_FROM].every((from, index, all) => {
        const range = [from, all[index + 1] ?? RAM_BYTES] as const;
        return (
          Buffer.compare(fast!.ram.subarray(...range), reference!.ram.subarray(...range)) === 0
        );
      });
      expect(isSameRAM).toBe(true);
      expect(fast!.dirty.equals(reference!.dirty)).toBe(true);
      const shown = ({ end, registers, cr2, large, tlb }: typeof fast & object): unknown =>
        JSON.stringify({ end, registers, cr2, large, tlb });
      expect(shown(fast!)).toBe(shown(reference!));
    }),
    fuzzOptions(60),
  );
  expect(fillCount).toBeGreaterThan(0);
});
