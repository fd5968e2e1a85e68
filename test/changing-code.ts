// Code that is not what it was: changed through another name, moved by paging or A20, at odd
// segment bases, across pages. Each test is named after its row in docs/failures.md; a test
// file per engine calls `testChangingCode`.

import { expect, test } from 'vitest';
import { CR2 } from '../src/cpu/state-layout.ts';
import type { Accelerator } from '../src/cpu/vcpu.ts';
import { MemoryRegion } from '../src/memory/memory-region.ts';
import { answer, CodeBoard, EAX, EBX, ECX, ESP, u32 } from './code-board.ts';

const CODE = 0x3_0000;
const ALIAS = 0x8000_0000;
const ROM = 0xe000_0000;
const DEVICE = 0xf000_0000;

/** RAM again at ALIAS. */
function addAlias(board: CodeBoard): void {
  const { memory } = board.machine;
  memory.root.addSubregion(ALIAS, MemoryRegion.ram('alias', memory.ramList.blocks[0]!));
}

/** mov byte [address], value; hlt */
function storeByte(address: number, value: number): number[] {
  return [0xc6, 0x05, ...u32(address), value, 0xf4];
}

/** ADD EAX, 0x01010101 whose last byte lies on the second page, and RET. */
const CROSSING = CODE + 0xffc;
const ADD_ACROSS = [0x05, 1, 1, 1, 1, 0xc3];

/** Declares the tests for one engine. */
export function testChangingCode(accelerator: Accelerator): void {
  test('failure 29: a store through an alias of physical memory reaches decoded code', () => {
    const board = new CodeBoard(accelerator);
    addAlias(board);
    board.put(CODE, answer(1));
    expect(board.call(CODE)).toBe(1);
    expect(board.call(ALIAS + CODE)).toBe(1);
    board.put(0x4_0000, storeByte(ALIAS + CODE + 1, 2));
    expect(board.run(0x4_0000)).toBe('hlt');
    expect(board.call(CODE)).toBe(2);
    board.put(0x4_0000, storeByte(CODE + 1, 3));
    expect(board.run(0x4_0000)).toBe('hlt');
    expect(board.call(ALIAS + CODE)).toBe(3);
  });

  test('failure 29: a store through a second virtual page reaches decoded code', () => {
    const board = new CodeBoard(accelerator);
    board.enablePaging();
    board.mapPage(0x10_0000, CODE);
    board.put(CODE, answer(1));
    expect([board.call(CODE), board.call(0x10_0000)]).toEqual([1, 1]);
    board.put(0x4_0000, storeByte(0x10_0001, 2));
    expect(board.run(0x4_0000)).toBe('hlt');
    expect([board.call(CODE), board.call(0x10_0000)]).toEqual([2, 2]);
  });

  test('failure 29: a write by DMA reaches decoded code, and the loop that runs it', () => {
    const board = new CodeBoard(accelerator);
    // A port whose write makes the device change the loop: mov dx,0x80; out dx,al; mov eax,1; hlt
    const port = MemoryRegion.io('dma', 1, {
      read: () => 0,
      write: () => board.put(CODE + 6, u32(7)),
    });
    board.machine.ports.root.addSubregion(0x80, port);
    board.put(CODE, [0x66, 0xba, 0x80, 0x00, 0xee, 0xb8, ...u32(1), 0xf4]);
    expect(board.run(CODE)).toBe('hlt');
    expect(board.reg(EAX)).toBe(7);
  });

  test('failure 29: a store through the A20 wrap reaches decoded code', () => {
    const board = new CodeBoard(accelerator);
    board.put(CODE, answer(1));
    board.put(CODE + 0x10_0000, answer(5));
    expect([board.call(CODE), board.call(CODE + 0x10_0000)]).toEqual([1, 5]);
    board.machine.vcpu.setA20(false);
    board.put(0x4_0000, storeByte(CODE + 0x10_0001, 2));
    expect(board.run(0x4_0000)).toBe('hlt');
    board.machine.vcpu.setA20(true);
    expect([board.call(CODE), board.call(CODE + 0x10_0000)]).toEqual([2, 5]);
  });

  test('failure 30: straight code over three pages, each rewritten in turn', () => {
    const board = new CodeBoard(accelerator);
    const start = CODE + 0xff0;
    // xor eax,eax; then INC EAX across two page borders; ret.
    const count = 0x1020;
    board.put(start, [0x31, 0xc0, ...new Array<number>(count).fill(0x40), 0xc3]);
    expect(board.call(start)).toBe(count);
    for (const [changes, gpa] of [CODE + 0xfff, CODE + 0x1000, CODE + 0x2000].entries()) {
      board.put(gpa, [0x90]);
      expect(board.call(start), gpa.toString(16)).toBe(count - changes - 1);
    }
  });

  test('failure 31: an instruction whose second page is not there faults without effect', () => {
    const board = new CodeBoard(accelerator);
    board.enablePaging();
    board.put(CROSSING, ADD_ACROSS);
    board.state.setReg32(EAX, 0);
    expect(board.call(CROSSING)).toBe(0x0101_0101);
    // Warm, then unmapped: INVLPG is the guest's to do. mov edx, page; invlpg [edx]; hlt
    board.mapPage(CODE + 0x1000, 0, 0);
    board.put(0x4_0000, [0xba, ...u32(CODE + 0x1000), 0x0f, 0x01, 0x3a, 0xf4]);
    board.run(0x4_0000);
    board.state.setReg32(EAX, 5);
    expect(board.call(CROSSING)).toEqual({ vector: 14, error: 0, eip: CROSSING });
    expect(board.state.get32(CR2)).toBe(CODE + 0x1000);
    expect([board.reg(EAX), board.reg(ESP)]).toEqual([5, 0x8000 - 4 - 16]);
    board.mapPage(CODE + 0x1000, CODE + 0x1000);
    expect(board.call(CROSSING), 'resumed').toBe(0x0101_0106);
  });

  test('failure 31: an instruction whose second page is remapped or rewritten is new', () => {
    const board = new CodeBoard(accelerator);
    board.enablePaging();
    board.put(CROSSING, ADD_ACROSS);
    board.put(CODE + 0x5000, [0x22, 0xc3]);
    // An invalidation goes before each call; EAX is 0 there.
    const invalidate = [0xba, ...u32(CODE + 0x1000), 0x0f, 0x01, 0x3a, 0xf4];
    const fresh = () => {
      board.put(0x4_0000, invalidate);
      board.run(0x4_0000);
      board.state.setReg32(EAX, 0);
      return board.call(CROSSING);
    };
    expect(fresh()).toBe(0x0101_0101);
    board.mapPage(CODE + 0x1000, CODE + 0x5000);
    expect(fresh()).toBe(0x2201_0101);
    board.put(CODE + 0x5000, [0x33]);
    expect(fresh()).toBe(0x3301_0101);
    board.put(CODE + 0x1000, [0x44]);
    expect(fresh(), 'the old page is not asked').toBe(0x3301_0101);
  });

  test('failure 31: the first page is rewritten while the second stays', () => {
    const board = new CodeBoard(accelerator);
    board.put(CROSSING, ADD_ACROSS);
    board.state.setReg32(EAX, 0);
    expect(board.call(CROSSING)).toBe(0x0101_0101);
    board.put(CROSSING, [0x2d]); // SUB EAX
    expect(board.call(CROSSING)).toBe(0);
  });

  test('failure 32: a code segment at an odd base: EIP of faults, loops, data in a device', () => {
    const board = new CodeBoard(accelerator);
    const seen: string[] = [];
    board.machine.memory.root.addSubregion(
      DEVICE,
      MemoryRegion.io('device', 0x1000, {
        read: (offset, sizeBytes) => {
          seen.push(`${sizeBytes}@${offset.toString(16)}`);
          return 0x55;
        },
        write: () => {},
      }),
    );
    const base = CODE + 0x203;
    board.enterProtected(base);
    // Near the end of a page: mov eax,[device]; mov ecx,100; loop; ud2
    const eip = 0xff0 - 0x203 + 3;
    board.put(base + eip, [0xa1, ...u32(DEVICE + 8), 0xb9, ...u32(100), 0xe2, 0xfe, 0x0f, 0x0b]);
    expect(board.run(eip)).toEqual({ vector: 6, error: 0, eip: eip + 12 });
    expect([board.reg(EAX), board.reg(ECX), seen]).toEqual([0x55, 0, ['4@8']]);
  });

  test('failure 32: a code segment whose linear addresses wrap at 4 GiB', () => {
    const board = new CodeBoard(accelerator);
    board.enterProtected(0xffff_0203);
    board.put(CODE, [0xb8, ...u32(9), 0x0f, 0x0b]);
    const eip = CODE + 0x1_0000 - 0x203;
    expect(board.run(eip)).toEqual({ vector: 6, error: 0, eip: eip + 5 });
    expect(board.reg(EAX)).toBe(9);
  });

  test('failure 32: IP wraps at 64 KiB in jumps, and code does not run over the end', () => {
    const board = new CodeBoard(accelerator);
    board.enterReal(0x3000);
    // At fff0 a jump by 0x40 lands at 0032.
    board.put(CODE + 0xfff0, [0xeb, 0x40]);
    board.put(CODE + 0x32, [0xb0, 0x77, 0x0f, 0x0b]);
    expect(board.run(0xfff0)).toEqual({ vector: 6, error: 0, eip: 0x34 });
    expect(board.reg(EAX) & 0xff).toBe(0x77);
    // MOV AX, imm16 whose last byte would be at 0x10000: #GP, at its own address.
    board.put(CODE + 0xfffe, [0xb8, 0x34, 0x12]);
    expect(board.run(0xfffe)).toEqual({ vector: 13, error: 0, eip: 0xfffe });
    // The last byte of the segment may end an instruction; the next one is beyond.
    board.put(CODE + 0xfffe, [0xb0, 0x12]);
    expect(board.run(0xfffe)).toMatchObject({ vector: 13 });
    expect(board.reg(EAX) & 0xff).toBe(0x12);
  });

  test('failure 32: code does not run over a limit within a page', () => {
    const board = new CodeBoard(accelerator);
    board.put(CODE, [0x40, 0x40, 0x40, 0xf4]);
    board.enterProtected(CODE, 1);
    board.state.setReg32(EAX, 0);
    expect(board.run(0)).toEqual({ vector: 13, error: 0, eip: 2 });
    expect(board.reg(EAX)).toBe(2);
  });

  test('failure 32: a jump across 4 GiB wraps EIP', () => {
    const board = new CodeBoard(accelerator);
    board.enablePaging();
    // The last page of 4 GiB is CODE: page directory entry 1023 shows the same table.
    board.put(0x1_0000 + 1023 * 4, u32(0x1_1007));
    board.mapPage(0x3f_f000, CODE);
    board.put(CODE + 0xff0, [0xe9, ...u32(0x4_0000 + 0xb)]);
    board.put(0x4_0000, [0xb8, ...u32(0x66), 0xf4]);
    expect(board.run(0xffff_fff0)).toBe('hlt');
    expect(board.reg(EAX)).toBe(0x66);
  });

  test('failure 33: a page written as data, run, written and run again', () => {
    const board = new CodeBoard(accelerator);
    // mov dword [CODE], opcode bytes; call CODE; add ebx, eax; three times with other immediates.
    const write = (value: number) => [
      ...[0xc6, 0x05, ...u32(CODE), 0xb8],
      ...[0xc7, 0x05, ...u32(CODE + 1), ...u32(value)],
      ...[0xc6, 0x05, ...u32(CODE + 5), 0xc3],
      ...[0xba, ...u32(CODE), 0xff, 0xd2, 0x01, 0xc3],
    ];
    board.state.setReg32(EBX, 0);
    board.put(0x4_0000, [...write(1), ...write(20), ...write(300), 0xf4]);
    expect(board.run(0x4_0000)).toBe('hlt');
    expect(board.reg(EBX)).toBe(321);
  });

  test('failure 34: a fault of a read-modify-write leaves flags and registers alone', () => {
    const page = 0x5_0000;
    const forms: readonly (readonly [string, number[]])[] = [
      ['ADC [mem],EAX', [0x11, 0x05, ...u32(page)]],
      ['XADD [mem],EAX', [0x0f, 0xc1, 0x05, ...u32(page)]],
      ['CMPXCHG [mem],ECX', [0x0f, 0xb1, 0x0d, ...u32(page)]],
      ['CMPXCHG8B [mem]', [0x0f, 0xc7, 0x0d, ...u32(page)]],
      ['SHLD [mem],EAX,4', [0x0f, 0xa4, 0x05, ...u32(page), 4]],
      ['INC [mem]', [0xff, 0x05, ...u32(page)]],
      ['RCL [mem],1', [0xd1, 0x15, ...u32(page)]],
      ['BTS [mem],3', [0x0f, 0xba, 0x2d, ...u32(page), 3]],
      ['XCHG [mem],EAX', [0x87, 0x05, ...u32(page)]],
      ['POP [mem]', [0x8f, 0x05, ...u32(page)]],
      ['SETC [mem]', [0x0f, 0x92, 0x05, ...u32(page)]],
    ];
    for (const [name, bytes] of forms) {
      const board = new CodeBoard(accelerator);
      board.enablePaging();
      board.mapPage(page, page, 1);
      // CR0.WP makes supervisors respect read-only pages: mov eax,cr0; or eax,0x10000; mov cr0,eax.
      board.put(CODE, [0x0f, 0x20, 0xc0, 0x0d, ...u32(0x1_0000), 0x0f, 0x22, 0xc0]);
      // Known registers and flags: stc after an XOR, so that CF, ZF and PF are set.
      const known = [0x31, 0xc0, 0xb9, ...u32(0x1234), 0x39, 0xc0, 0xf9];
      board.put(CODE + 11, [...known, ...bytes]);
      const at = CODE + 11 + known.length;
      expect(board.run(CODE), name).toEqual({ vector: 14, error: 3, eip: at });
      const esp = board.reg(ESP);
      expect(esp, name).toBe(0x8000 - 16);
      expect([board.reg(EAX), board.reg(ECX)], name).toEqual([0, 0x1234]);
      const flags = board.machine.memory.addressSpace.read(esp + 12, 4);
      expect(flags & 0x8d5, name).toBe(0x45);
      expect(board.machine.ram.subarray(page, page + 8).every((byte) => byte === 0)).toBe(true);
    }
  });

  test('failure 36: a page that is half RAM and half device, as data and as code', () => {
    const board = new CodeBoard(accelerator);
    const writes: number[] = [];
    board.machine.memory.root.addSubregion(
      CODE + 0x800,
      MemoryRegion.io('half', 0x800, { read: () => 0x77, write: (offset) => writes.push(offset) }),
      1,
    );
    board.put(CODE, answer(1));
    expect([board.call(CODE), board.call(CODE)]).toEqual([1, 1]);
    // mov byte [CODE+1],2; mov al,[CODE+0x900]; mov [CODE+0x904],al; hlt
    board.put(0x4_0000, [
      ...[0xc6, 0x05, ...u32(CODE + 1), 2],
      ...[0xa0, ...u32(CODE + 0x900), 0xa2, ...u32(CODE + 0x904), 0xf4],
    ]);
    expect(board.run(0x4_0000)).toBe('hlt');
    expect([board.reg(EAX) & 0xff, writes]).toEqual([0x77, [0x104]]);
    expect(board.call(CODE)).toBe(2);
    board.put(CODE + 0x7f0, new Array(16).fill(0x90));
    const fallen = { shutdown: expect.stringContaining('code at 0x30800') };
    expect(board.call(CODE + 0x7f0), 'runs into the device').toEqual(fallen);
  });

  test('failure 37: code runs from ROM, stores to it change nothing, and it stays decoded', () => {
    const board = new CodeBoard(accelerator);
    const { memory } = board.machine;
    memory.root.addSubregion(ROM, MemoryRegion.rom('rom', memory.ramList.blocks[0]!));
    // add byte [self], 1 in ROM; mov eax,[self]; ret
    const self = ROM + CODE;
    board.put(CODE, [0x80, 0x05, ...u32(self), 1, 0xa1, ...u32(self), 0xc3]);
    const first = 0x0580;
    for (let round = 0; round < 3; round++)
      expect((board.call(self) as number) & 0xffff, String(round)).toBe(first);
  });

  test('failure 37: ROMD that turns into I/O while its code is warm does not run old code', () => {
    const board = new CodeBoard(accelerator);
    const { memory } = board.machine;
    const flash = MemoryRegion.romd('flash', memory.ramList.blocks[0]!, {
      read: () => 0x90,
      write: () => {},
    });
    memory.root.addSubregion(ROM, flash);
    board.put(CODE, answer(4));
    expect(board.call(ROM + CODE)).toBe(4);
    flash.setRomdMode(false);
    expect(board.call(ROM + CODE)).toMatchObject({ shutdown: expect.stringContaining('code at') });
    flash.setRomdMode(true);
  });

  test('failure 38: A20 moves decoded code, data and page tables with everything warm', () => {
    const board = new CodeBoard(accelerator);
    board.put(CODE, answer(1));
    board.put(CODE + 0x10_0000, answer(2));
    const both = () => [board.call(CODE), board.call(CODE + 0x10_0000)];
    expect(both()).toEqual([1, 2]);
    board.machine.vcpu.setA20(false);
    expect(both()).toEqual([1, 1]);
    board.machine.vcpu.setA20(true);
    expect(both()).toEqual([1, 2]);
    // A jump across 1 MiB in one page run: the code at 1 MiB is that at 0 while A20 is off.
    board.put(0x10_0000, answer(3));
    board.put(0, answer(9));
    expect(board.call(0x10_0000)).toBe(3);
    board.machine.vcpu.setA20(false);
    expect(board.call(0x10_0000)).toBe(9);
  });

  test('failure 38: a page walk through tables above 1 MiB follows A20', () => {
    const board = new CodeBoard(accelerator);
    board.enablePaging();
    // Code at linear 0x200000: by the table at 0x111000 physical 0x130000, by that at 0x11000 CODE.
    board.put(0x11_0000, u32(0x11_1007));
    for (let page = 0; page < 1024; page++) {
      board.put(0x11_1000 + page * 4, u32((page * 4096) | 3));
      if (page >= 0x300) break;
    }
    board.put(0x11_1000 + 0x200 * 4, u32(0x13_0000 | 3));
    board.mapPage(0x20_0000, CODE);
    board.put(0x13_0000, answer(6));
    board.put(CODE, answer(5));
    // mov eax, 0x110000; mov cr3, eax; hlt
    board.put(0x4_0000, [0xb8, ...u32(0x11_0000), 0x0f, 0x22, 0xd8, 0xf4]);
    expect(board.run(0x4_0000)).toBe('hlt');
    expect(board.call(0x20_0000)).toBe(6);
    board.machine.vcpu.setA20(false);
    expect(board.call(0x20_0000)).toBe(5);
    board.machine.vcpu.setA20(true);
    expect(board.call(0x20_0000)).toBe(6);
  });

  test.each([1200, 5000])('failure 42: %i pages of code, called in turn, three times', (pages) => {
    const board = new CodeBoard(accelerator, 24 << 20);
    const first = 0x10_0000;
    // Each page adds its number to EBX.
    for (let page = 0; page < pages; page++)
      board.put(first + page * 4096, [0x81, 0xc3, ...u32(page), 0xc3]);
    // mov ecx, pages; mov edx, first; 1: call edx; add edx, 4096; dec ecx; jnz 1b; hlt
    board.put(0x4_0000, [
      ...[0xb9, ...u32(pages), 0xba, ...u32(first)],
      ...[0xff, 0xd2, 0x81, 0xc2, ...u32(4096), 0x49, 0x75, 0xf5, 0xf4],
    ]);
    board.state.setReg32(EBX, 0);
    for (let round = 1; round <= 3; round++) {
      expect(board.run(0x4_0000)).toBe('hlt');
      expect(board.reg(EBX)).toBe((round * pages * (pages - 1)) / 2);
    }
  });
}
