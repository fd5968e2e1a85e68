import fc from 'fast-check';
import { expect, test } from 'vitest';
import { fuzzOptions } from '../../test/fuzz-options.ts';
import { DEVICE_GPA, ProcessorBoard } from '../../test/processor-board.ts';
import { ACCESS_EXECUTE, ACCESS_READ, ACCESS_WRITE } from './page-walk.ts';
import { A20_MASK, CR3, CR4, EFER, EFLAGS_REST, SCRATCH, TLB_BASE } from './state-layout.ts';

const P = 1;
const RW = 2;
const US = 4;
const PS = 0x80;
const PG_PE = 0x8000_0001;
const WP = 0x1_0000;
const PAGE_DIRECTORY = 0x10_0000;
const PAGE_TABLE = 0x10_1000;

/** 32-bit paging: linear 0x400000 + n pages through one page table; 0–4 MiB as a large page. */
function pagedBoard(cr0 = WP): ProcessorBoard {
  const board = new ProcessorBoard();
  board.enterProtected();
  board.write32(PAGE_DIRECTORY, P | RW | US | PS, PAGE_TABLE | P | RW | US);
  board.state.setWide(CR3, PAGE_DIRECTORY);
  board.processor.movToCR(4, 0x90);
  board.processor.movToCR(0, (PG_PE | cr0) >>> 0);
  return board;
}

function mapPage(board: ProcessorBoard, index: number, entry: number): void {
  board.write32(PAGE_TABLE + index * 4, entry);
}

// ---- The independent walker: BigInt, a list of steps, straight from the manual's tables.

interface Walked {
  readonly gpa?: number;
  readonly error?: number;
}

function naiveWalk(
  ram: Map<number, bigint>,
  options: { pae: boolean; pse: boolean; wp: boolean; nx: boolean; cr3: number },
  linear: number,
  access: number,
  isUser: boolean,
): Walked {
  const { pae, nx } = options;
  const base = (access === 1 ? 2 : 0) + (isUser ? 4 : 0) + (access === 2 && pae && nx ? 16 : 0);
  const entryBytes = pae ? 8 : 4;
  const steps = pae
    ? [
        [30, 2],
        [21, 9],
        [12, 9],
      ]
    : [
        [22, 10],
        [12, 10],
      ];
  let table = BigInt(options.cr3);
  const used: [number, bigint][] = [];
  let isUserOk = true;
  let isWriteOk = true;
  let isExecuteOk = true;
  for (const [level, [shift, bits]] of steps.entries()) {
    const index = (linear >>> shift!) & (2 ** bits! - 1);
    const address = Number(table) + index * entryBytes;
    const entry = ram.get(address) ?? 0n;
    const isPointer = pae && level === 0;
    if ((entry & 1n) === 0n) return { error: base };
    const isLarge = !isPointer && shift !== 12 && (entry & 0x80n) !== 0n && (pae || options.pse);
    let reserved = 0n;
    if (pae && !isPointer) reserved |= 0x7fff_fff0_0000_0000n | (nx ? 0n : 1n << 63n);
    if (isLarge) reserved |= pae ? 0x1f_e000n : 0x3e_0000n;
    if ((entry & reserved) !== 0n) return { error: base | 9 };
    if (!isPointer) {
      isUserOk &&= (entry & 4n) !== 0n;
      isWriteOk &&= (entry & 2n) !== 0n;
      isExecuteOk &&= !pae || entry >> 63n === 0n;
      used.push([address, entry]);
    }
    const isLast = isLarge || shift === 12;
    if (!isLast) {
      table = entry & 0xf_ffff_f000n;
      continue;
    }
    const isDenied =
      (isUser && !isUserOk) ||
      (access === 1 && !isWriteOk && (isUser || options.wp)) ||
      (access === 2 && !isExecuteOk);
    if (isDenied) return { error: base | 1 };
    for (const [at, value] of used) ram.set(at, value | 0x20n);
    const [leafAt] = used.at(-1)!;
    if (access === 1) ram.set(leafAt, ram.get(leafAt)! | 0x40n);
    const size = 2n ** BigInt(shift!);
    let page = entry & 0xf_ffff_f000n & ~(size - 1n);
    if (isLarge && !pae) page = (entry & 0xffc0_0000n) | (((entry >> 13n) & 0xfn) << 32n);
    return { gpa: Number(page + (BigInt(linear) & (size - 1n))) };
  }
  throw new Error('unreachable');
}

const entryBits = fc.record({
  flags: fc.nat(0x1ff),
  isPresent: fc.nat(9).map((n) => n > 0),
  frame: fc.nat(15),
  high: fc.oneof({ weight: 6, arbitrary: fc.constant(0) }, { weight: 1, arbitrary: fc.nat(0xf) }),
  reserved: fc.oneof({ weight: 12, arbitrary: fc.constant(0n) }, fc.constant(1n << 40n)),
  isNoExecute: fc.nat(4).map((n) => n === 0),
  low: fc.oneof(
    { weight: 8, arbitrary: fc.constant(0) },
    fc.nat(8).map((n) => 1 << n),
  ),
});

// Goal: every combination of entry bits, control bits, level and access gives the manual's result,
// error code, CR2 and accessed and dirty bits; and TLB hits between walks change none of it.
test('translation agrees with a naive walker over random page tables', () => {
  const access = fc.record({
    table: fc.nat(3),
    page: fc.nat(3),
    offset: fc.nat(0xfff),
    kind: fc.nat(2),
    isUser: fc.boolean(),
  });
  fc.assert(
    fc.property(
      fc.record({ pae: fc.boolean(), pse: fc.boolean(), wp: fc.boolean(), nx: fc.boolean() }),
      fc.array(entryBits, { minLength: 4, maxLength: 4 }),
      fc.array(entryBits, { minLength: 16, maxLength: 16 }),
      fc.array(access, { minLength: 1, maxLength: 24 }),
      (mode, directory, pages, accesses) => {
        const board = new ProcessorBoard();
        const { state, processor, memory } = board;
        const cr3 = 0x10_0000;
        const options = { ...mode, cr3 };
        const ram = new Map<number, bigint>();
        const size = mode.pae ? 8 : 4;
        const put = (at: number, value: bigint) => {
          ram.set(at, value);
          board.write32(at, Number(value & 0xffff_ffffn));
          if (mode.pae) board.write32(at + 4, Number(value >> 32n));
        };
        const make = (bits: (typeof directory)[number], address: number): bigint => {
          let entry = BigInt((bits.flags & ~1) | (bits.isPresent ? 1 : 0) | address);
          entry |= BigInt(bits.low << 13) & (bits.flags & PS ? 0xffff_ffffn : 0n);
          if (mode.pae) entry |= bits.reserved | (bits.isNoExecute ? 1n << 63n : 0n);
          if (mode.pae) entry |= BigInt(bits.high) << 32n;
          return entry;
        };
        let directoryAt = cr3;
        if (mode.pae) {
          put(cr3, 0x10_8000n | 1n);
          directoryAt = 0x10_8000;
        }
        for (const [index, bits] of directory.entries()) {
          const isLarge = (bits.flags & PS) !== 0 && (mode.pae || mode.pse);
          const address = isLarge ? 0x40_0000 : 0x10_1000 + index * 0x1000;
          const own = isLarge ? bits : { ...bits, high: 0, low: 0 };
          put(directoryAt + index * size, make(own, address));
          for (let page = 0; page < 4; page++) {
            const leaf = { ...pages[index * 4 + page]!, low: 0 };
            const frame = 0x20_0000 + leaf.frame * 0x1000;
            put(0x10_1000 + index * 0x1000 + page * size, make(leaf, frame));
          }
        }
        state.setWide(EFER, mode.nx ? 0x800 : 0);
        state.setWide(CR4, (mode.pae ? 0x20 : 0) | (mode.pse ? 0x10 : 0));
        state.setWide(CR3, cr3);
        processor.movToCR(0, (PG_PE | (mode.wp ? WP : 0)) >>> 0);
        expect(board.fault).toBeUndefined();
        for (const { table, page, offset, kind, isUser } of accesses) {
          const linear = table * (mode.pae ? 0x20_0000 : 0x40_0000) + page * 0x1000 + offset;
          const wanted = naiveWalk(ram, options, linear, kind, isUser);
          // Data goes through the TLB, fetches straight to the walk.
          if (kind === ACCESS_EXECUTE) {
            const gpa = processor.mmu.translate(linear, kind, isUser);
            expect(gpa).toBe(wanted.gpa ?? -1);
          } else processor.mmu.probe(linear, 1, kind === ACCESS_WRITE, isUser);
          const error = wanted.error;
          const fault = error === undefined ? undefined : `14(0x${error.toString(16)})`;
          if (fault !== undefined) expect(state.cr2).toBe(linear);
          expect(board.takeFault()).toBe(fault);
          if (wanted.gpa !== undefined && kind === ACCESS_READ && wanted.gpa < 0x80_0000) {
            memory.write(wanted.gpa, 1, 0x5a ^ page);
            expect(processor.mmu.loadAs(linear, 1, isUser)).toBe(0x5a ^ page);
          }
          for (const [at, value] of ram) {
            expect(memory.read(at, 4)).toBe(Number(value & 0xffff_ffffn));
          }
        }
      },
    ),
    fuzzOptions(150),
  );
});

// ---- Accesses across pages (failures 31 and 35)

test('failure 31: a load across pages faults on the second page with its address', () => {
  const board = pagedBoard();
  mapPage(board, 0, 0x30_0000 | P | RW);
  expect(board.processor.mmu.load32(0x40_0ffe)).toBe(0);
  expect(board.state.cr2).toBe(0x40_1000);
  expect(board.takeFault()).toBe('14(0x0)');
  mapPage(board, 1, 0x30_5000 | P | RW);
  board.memory.write(0x30_0ffe, 2, 0x2211);
  board.memory.write(0x30_5000, 2, 0x4433);
  expect(board.processor.mmu.load32(0x40_0ffe)).toBe(0x4433_2211);
  expect(board.fault).toBeUndefined();
});

test('failure 35: a store across pages, second unmapped, writes nothing to the device', () => {
  const board = pagedBoard();
  mapPage(board, 0, DEVICE_GPA | P | RW);
  board.processor.mmu.store32(0x40_0ffd, 0x4433_2211);
  expect(board.state.cr2).toBe(0x40_1000);
  expect(board.takeFault()).toBe('14(0x2)');
  expect(board.log).toEqual([]);
  mapPage(board, 1, 0x30_0000 | P | RW);
  board.processor.mmu.store32(0x40_0ffd, 0x4433_2211);
  expect(board.log).toEqual(['w1@ffd=11', 'w1@ffe=22', 'w1@fff=33']);
  expect(board.memory.read(0x30_0000, 1)).toBe(0x44);
});

test('failure 35: half RAM, half device: byte order on both halves, once each', () => {
  const board = pagedBoard();
  mapPage(board, 0, 0x30_0000 | P | RW);
  mapPage(board, 1, DEVICE_GPA | P | RW);
  board.memory.write(0x30_0ffe, 2, 0xbbaa);
  expect(board.processor.mmu.load32(0x40_0ffe)).toBe(0x0100_bbaa);
  expect(board.log).toEqual(['r1@0', 'r1@1']);
  board.log.length = 0;
  board.state.view.setBigUint64(SCRATCH, 0x8877_6655_4433_2211n, true);
  expect(board.processor.mmu.store64(0x40_0ffc)).toBe(true);
  expect(board.memory.read(0x30_0ffc, 4)).toBe(0x4433_2211);
  expect(board.log).toEqual(['w4@0=88776655']);
});

test('failure 34: a read-modify-write checks the right to write before it reads', () => {
  const board = pagedBoard();
  mapPage(board, 0, DEVICE_GPA | P);
  board.processor.mmu.loadForStore(0x40_0000, 4);
  expect(board.takeFault()).toBe('14(0x3)');
  expect(board.log).toEqual([]);
  mapPage(board, 1, DEVICE_GPA | P | RW);
  board.processor.mmu.loadForStore(0x40_1ffe, 4);
  expect(board.takeFault()).toBe('14(0x2)');
  expect(board.log).toEqual([]);
});

test('a block of 16 bytes across pages is all or nothing', () => {
  const board = pagedBoard();
  mapPage(board, 0, 0x30_0000 | P | RW);
  board.state.u8.fill(0xee, SCRATCH, SCRATCH + 16);
  expect(board.processor.mmu.storeBlock(0x40_0ff8, 16)).toBe(false);
  expect(board.takeFault()).toBe('14(0x2)');
  expect(board.read32(0x30_0ff8)).toBe(0);
  mapPage(board, 1, 0x30_5000 | P | RW);
  expect(board.processor.mmu.storeBlock(0x40_0ff9, 16)).toBe(true);
  expect(board.memory.read(0x30_0ff8, 2)).toBe(0xee00);
  expect(board.memory.read(0x30_5008, 2)).toBe(0x00ee);
  board.state.u8.fill(0, SCRATCH, SCRATCH + 16);
  expect(board.processor.mmu.loadBlock(0x40_0ff9, 16)).toBe(true);
  expect([...board.state.u8.subarray(SCRATCH, SCRATCH + 16)]).toEqual(Array(16).fill(0xee));
});

test('addresses wrap at 4 GiB', () => {
  const board = new ProcessorBoard();
  board.enterProtected();
  board.memory.write(0, 2, 0x4433);
  expect(board.processor.mmu.load32(0xffff_fffe)).toBe(0x4433_ffff);
});

// ---- The TLB

test('a device page hits the TLB without a walk, and a stale row goes with INVLPG', () => {
  const board = pagedBoard();
  mapPage(board, 0, DEVICE_GPA | P | RW);
  expect(board.processor.mmu.load8(0x40_0010)).toBe(0x10);
  mapPage(board, 0, 0x30_0000 | P | RW);
  expect(board.processor.mmu.load8(0x40_0011)).toBe(0x11);
  board.processor.invlpg(0x40_0000);
  board.memory.write(0x30_0011, 1, 0x77);
  expect(board.processor.mmu.load8(0x40_0011)).toBe(0x77);
});

test('failure 43: INVLPG anywhere in a large page forgets all of it', () => {
  const board = pagedBoard();
  board.memory.write(0x80_1000, 1, 0x55);
  board.write32(PAGE_DIRECTORY + 8, 0x80_0000 | P | RW | PS);
  expect(board.processor.mmu.load8(0x80_1000)).toBe(0x55);
  expect(board.processor.mmu.load8(0x80_5000)).toBe(0);
  board.write32(PAGE_DIRECTORY + 8, 0x40_0000 | P | RW | PS);
  board.memory.write(0x40_1000, 1, 0x66);
  board.processor.invlpg(0x80_5000);
  expect(board.processor.mmu.load8(0x80_1000)).toBe(0x66);
});

test('a global page outlives a load of CR3 and not a change of CR4.PGE', () => {
  const board = pagedBoard();
  mapPage(board, 0, 0x30_0000 | P | RW | 0x100);
  mapPage(board, 1, 0x30_0000 | P | RW);
  board.memory.write(0x30_0000, 1, 0x11);
  board.memory.write(0x30_1000, 1, 0x22);
  const both = () => [board.processor.mmu.load8(0x40_0000), board.processor.mmu.load8(0x40_1000)];
  expect(both()).toEqual([0x11, 0x11]);
  mapPage(board, 0, 0x30_1000 | P | RW | 0x100);
  mapPage(board, 1, 0x30_1000 | P | RW);
  const flushes = board.flushes;
  board.processor.movToCR(3, PAGE_DIRECTORY);
  expect(board.flushes).toBe(flushes + 1);
  expect(both()).toEqual([0x11, 0x22]);
  board.processor.movToCR(4, 0x10);
  expect(both()).toEqual([0x22, 0x22]);
});

test('a page that was read is walked again for its first write, which sets the dirty bit', () => {
  const board = pagedBoard();
  mapPage(board, 0, 0x30_0000 | P | RW);
  board.processor.mmu.load8(0x40_0000);
  expect(board.read32(PAGE_TABLE) & 0x60).toBe(0x20);
  board.processor.mmu.store8(0x40_0000, 1);
  expect(board.read32(PAGE_TABLE) & 0x60).toBe(0x60);
});

test('supervisors write to read-only pages until WP is set; rings have rows of their own', () => {
  const board = pagedBoard(0);
  mapPage(board, 0, 0x30_0000 | P | US);
  const supervisorTable = board.state.get32(TLB_BASE);
  board.processor.mmu.store8(0x40_0000, 0x5a);
  expect(board.fault).toBeUndefined();
  board.setCPL(3);
  expect(board.state.get32(TLB_BASE)).not.toBe(supervisorTable);
  board.processor.mmu.store8(0x40_0000, 0x11);
  expect(board.takeFault()).toBe('14(0x7)');
  board.setCPL(0);
  board.processor.movToCR(0, (PG_PE | WP) >>> 0);
  board.processor.mmu.store8(0x40_0000, 0x11);
  expect(board.takeFault()).toBe('14(0x3)');
});

test('system accesses are supervisor accesses at ring 3', () => {
  const board = pagedBoard();
  mapPage(board, 0, 0x30_0000 | P | RW);
  board.setCPL(3);
  board.processor.mmu.load8(0x40_0000);
  expect(board.takeFault()).toBe('14(0x5)');
  board.processor.mmu.systemStore(0x40_0000, 4, 0x1234);
  expect(board.processor.mmu.systemLoad(0x40_0000, 4)).toBe(0x1234);
  board.processor.mmu.systemLoad(0x40_1000, 4);
  expect(board.takeFault()).toBe('14(0x0)');
});

test('failure 33: NX is seen by a fetch of a page that is in the TLB as data', () => {
  const board = new ProcessorBoard();
  board.enterProtected();
  const { processor, state } = board;
  board.write32(0x10_0000, 0x10_1001, 0);
  board.write32(0x10_1000, P | RW | PS, 0, 0x10_2000 | P | RW, 0);
  board.write32(0x10_2000, 0x30_0000 | P | RW, 0x8000_0000);
  state.setWide(EFER, 0x800);
  state.setWide(CR3, 0x10_0000);
  processor.movToCR(4, 0x20);
  processor.movToCR(0, (PG_PE | WP) >>> 0);
  expect(processor.mmu.load8(0x20_0000)).toBe(0);
  expect(processor.mmu.translateForFetch(0x20_0000)).toBe(-1);
  expect(board.takeFault()).toBe('14(0x11)');
  board.write32(0x10_2004, 0);
  expect(processor.mmu.translateForFetch(0x20_0123)).toBe(0x30_0123);
});

test('a reserved bit in a page-directory pointer refuses the load of CR3', () => {
  const board = new ProcessorBoard();
  board.enterProtected();
  board.write32(0x10_0000, 0x10_1001, 0);
  board.write32(0x10_1000, P | RW | PS, 0);
  board.state.setWide(CR3, 0x10_0000);
  board.processor.movToCR(4, 0x20);
  board.processor.movToCR(0, PG_PE);
  expect(board.fault).toBeUndefined();
  board.write32(0x10_8000, 0x10_1001, 0, 0x10_1003);
  board.processor.movToCR(3, 0x10_8000);
  expect(board.takeFault()).toBe('13(0x0)');
  expect(board.state.cr3).toBe(0x10_0000);
});

// ---- A20 (failure 38)

test('failure 38: A20 off wraps data, page walks and fetches, with a warm TLB', () => {
  const board = pagedBoard();
  const { processor, memory } = board;
  memory.write(0x30_0000, 1, 0xaa);
  memory.write(0x20_0000, 1, 0xbb);
  mapPage(board, 0, 0x30_0000 | P | RW);
  expect(processor.mmu.load8(0x40_0000)).toBe(0xaa);
  // Page directory 0x100000 is now read at 0, its table 0x101000 at 0x1000.
  board.write32(0, P | RW | US | PS, PAGE_TABLE | P | RW | US);
  board.write32(0x1000, 0x30_0000 | P | RW);
  processor.setA20(false);
  expect(board.state.get32(A20_MASK)).toBe(0xffef_ffff);
  expect(processor.mmu.load8(0x40_0000)).toBe(0xbb);
  expect(processor.mmu.translateForFetch(0x40_0000)).toBe(0x20_0000);
  expect(board.read32(0x1000) & 0x20).toBe(0x20);
  processor.setA20(true);
  expect(processor.mmu.load8(0x40_0000)).toBe(0xaa);
});

test('failure 38: without paging address 1 MiB is address 0 while A20 is off', () => {
  const board = new ProcessorBoard();
  board.memory.write(0, 1, 0x11);
  board.memory.write(0x10_0000, 1, 0x22);
  expect(board.processor.mmu.load8(0x10_0000)).toBe(0x22);
  board.processor.setA20(false);
  expect(board.processor.mmu.load8(0x10_0000)).toBe(0x11);
});

// ---- Alignment and watchpoints

test('alignment is checked at ring 3 only, with CR0.AM and EFLAGS.AC', () => {
  const board = pagedBoard(WP | 0x4_0000);
  mapPage(board, 0, 0x30_0000 | P | RW | US);
  board.setCPL(3);
  board.processor.mmu.load32(0x40_0002);
  expect(board.fault).toBeUndefined();
  board.state.set32(EFLAGS_REST, 0x4_0002);
  board.processor.mmu.updateAlignmentCheck();
  board.processor.mmu.load32(0x40_0002);
  expect(board.takeFault()).toBe('17(0x0)');
  board.processor.mmu.store16(0x40_0002, 0);
  expect(board.fault).toBeUndefined();
  board.setCPL(0);
  board.processor.mmu.load32(0x40_0002);
  expect(board.fault).toBeUndefined();
});

test('a watched page is entered as slow, and a hit traps after the instruction', () => {
  const board = pagedBoard();
  mapPage(board, 0, 0x30_0000 | P | RW);
  const { processor, state } = board;
  processor.mmu.load32(0x40_0100);
  processor.movToDR(1, 0x40_0100);
  processor.movToDR(7, 0x00d0_0008); // Breakpoint 1: four bytes, writes.
  processor.mmu.load32(0x40_0100);
  processor.mmu.store8(0x40_0104, 1);
  processor.debug.afterInstruction();
  expect(board.fault).toBeUndefined();
  processor.mmu.store16(0x40_00ff, 1);
  processor.debug.afterInstruction();
  expect(board.takeFault()).toBe('1');
  expect(processor.movFromDR(6)).toBe(0xffff_0ff2);
  expect(state.hasException).toBe(false);
});
