import { expect, test } from 'vitest';
import { GDT, ProcessorBoard } from '../../test/processor-board.ts';
import { FLAG_ZF } from './flags.ts';
import {
  CR0,
  DS,
  ES,
  GS,
  MODE,
  MODE_CODE32,
  MODE_FLAT,
  MODE_STACK32,
  MODE_USER,
  SEG_READ_SPAN,
  SEG_WRITE_SPAN,
  SEGMENT,
  SEGMENT_BYTES,
  SS,
} from './state-layout.ts';

function protectedBoard(): ProcessorBoard {
  const board = new ProcessorBoard();
  board.enterProtected();
  return board;
}

function spans(board: ProcessorBoard, segment: number): [number, number] {
  const at = SEGMENT + segment * SEGMENT_BYTES;
  return [board.state.get32(at + SEG_READ_SPAN), board.state.get32(at + SEG_WRITE_SPAN)];
}

// The manual's rules, told once more and in another form (SDM 3, 5.6 and 5.7; 2, MOV).
function wantedLoad(
  segment: number,
  type: number,
  dpl: number,
  rpl: number,
  cpl: number,
  isPresent: boolean,
): string | undefined {
  const error = `(0x40)`;
  const isSystem = type < 16;
  const isCode = !isSystem && (type & 8) !== 0;
  if (segment === SS) {
    const isWritable = !isSystem && !isCode && (type & 2) !== 0;
    if (rpl !== cpl || !isWritable || dpl !== cpl) return `13${error}`;
    return isPresent ? undefined : `12${error}`;
  }
  if (isSystem || (isCode && (type & 2) === 0)) return `13${error}`;
  const isConforming = isCode && (type & 4) !== 0;
  if (!isConforming && Math.max(rpl, cpl) > dpl) return `13${error}`;
  return isPresent ? undefined : `11${error}`;
}

test('every type × DPL × RPL × CPL × present, into DS and SS', () => {
  const board = protectedBoard();
  const { state, processor } = board;
  let count = 0;
  for (let type = 0; type < 32; type++)
    for (let dpl = 0; dpl < 4; dpl++)
      for (const isPresent of [true, false]) {
        for (let level = 0; level < 16; level++) {
          const rights = type | (dpl << 5) | (isPresent ? 0x80 : 0) | 0x4000;
          for (const segment of [DS, SS]) {
            board.describe(0x40, 0x1234_5678, 0xf_edcb, rights);
            const before = state.selector(segment);
            const selector = 0x40 | (level & 3);
            const cpl = level >> 2;
            board.setCPL(cpl);
            const wanted = wantedLoad(segment, type, dpl, level & 3, cpl, isPresent);
            const isLoaded = processor.segmentation.loadSegment(segment, selector);
            expect([board.takeFault(), isLoaded]).toEqual([wanted, wanted === undefined]);
            expect(state.selector(segment)).toBe(isLoaded ? selector : before);
            // The accessed bit is set by loads that succeed, and by no other.
            const accessed = isLoaded ? 1 : type & 1;
            expect((board.read32(GDT + 0x44) >>> 8) & 1).toBe(accessed);
            if (!isLoaded) continue;
            expect(state.segBase(segment)).toBe(0x1234_5678);
            expect(state.segLimit(segment)).toBe(0xf_edcb);
            board.setCPL(0);
            processor.segmentation.loadSegment(segment, 0x10);
            count++;
          }
        }
      }
  expect(count).toBeGreaterThan(100);
});

test('null is welcome in DS and refused in SS', () => {
  const board = protectedBoard();
  board.processor.movToSegment(DS, 3);
  expect(board.fault).toBeUndefined();
  expect(board.state.selector(DS)).toBe(3);
  expect(board.processor.checkAccess(DS, 0, 1, 0)).toBe(-1);
  expect(board.takeFault()).toBe('13(0x0)');
  board.processor.movToSegment(SS, 0);
  expect(board.takeFault()).toBe('13(0x0)');
});

test('a selector outside its table, in the GDT, the LDT, or an LDT that is not there', () => {
  const board = protectedBoard();
  board.processor.movToSegment(ES, 0x7fb);
  expect(board.takeFault()).toBe('13(0x7f8)');
  board.processor.movToSegment(ES, 0x800);
  expect(board.takeFault()).toBe('13(0x800)');
  board.processor.lldt(0x28);
  board.processor.movToSegment(ES, 0x84);
  expect(board.takeFault()).toBe('13(0x84)');
  board.write32(0x1808, 0x0000_ffff, 0x0040_9300);
  board.processor.movToSegment(ES, 0x0c);
  expect(board.fault).toBeUndefined();
  board.processor.lldt(0);
  board.processor.movToSegment(ES, 0x0c);
  expect(board.takeFault()).toBe('13(0xc)');
});

test('spans: flat, small, tiny, read-only, execute-only, expand-down', () => {
  const board = protectedBoard();
  const load = (limit: number, rights: number) => {
    board.describe(0x48, 0, limit, rights);
    board.processor.segmentation.loadSegment(ES, 0x48);
    return spans(board, ES);
  };
  expect(load(0xffff_ffff, 0xc093)).toEqual([0xffff_fff1, 0xffff_fff1]);
  expect(load(0xffff, 0x4093)).toEqual([0xfff1, 0xfff1]);
  expect(load(15, 0x4093)).toEqual([1, 1]);
  expect(load(14, 0x4093)).toEqual([0, 0]);
  expect(load(0xffff, 0x4091)).toEqual([0xfff1, 0]);
  expect(load(0xffff, 0x409b)).toEqual([0xfff1, 0]);
  expect(load(0xffff, 0x4097)).toEqual([0, 0]);
});

test('checkAccess() at the edges of expand-up and expand-down segments', () => {
  const board = protectedBoard();
  const { processor } = board;
  const check = (offset: number, size: number, isWrite = 0) => {
    const linear = processor.checkAccess(ES, offset, size, isWrite);
    return board.takeFault() ?? linear;
  };
  board.describe(0x48, 0x10_0000, 0xfff, 0x4093);
  processor.movToSegment(ES, 0x48);
  expect(check(0xffc, 4)).toBe(0x10_0ffc);
  expect(check(0xffd, 4)).toBe('13(0x0)');
  expect(check(0xffff_ffff, 2)).toBe('13(0x0)');
  board.describe(0x48, 0x10_0000, 0xfff, 0x4097);
  processor.movToSegment(ES, 0x48);
  expect(check(0xfff, 4)).toBe('13(0x0)');
  expect(check(0x1000, 4, 1)).toBe(0x10_1000);
  expect(check(0xffff_fffd, 4)).toBe('13(0x0)');
  expect(check(0xffff_fffc, 4)).toBe(0x000f_fffc);
  board.describe(0x48, 0, 0xfff, 0x0097);
  processor.movToSegment(ES, 0x48);
  expect(check(0xfffe, 4)).toBe('13(0x0)');
  expect(check(0xfffc, 4)).toBe(0xfffc);
  board.describe(0x48, 0, 0xffff, 0x4091);
  processor.movToSegment(ES, 0x48);
  expect(check(0, 1, 1)).toBe('13(0x0)');
  board.describe(0x48, 0, 0xffff_ffff, 0xc093);
  processor.movToSegment(ES, 0x48);
  expect(check(0xffff_fffe, 4)).toBe(0xffff_fffe);
});

test('MODE follows segments and privilege', () => {
  const board = protectedBoard();
  const mode = () => board.state.get32(MODE);
  expect(mode()).toBe(MODE_CODE32 | MODE_STACK32 | MODE_FLAT);
  board.describe(0x48, 0x10, 0xffff_ffff, 0xc093);
  board.processor.movToSegment(ES, 0x48);
  expect(mode()).toBe(MODE_CODE32 | MODE_STACK32);
  board.processor.movToSegment(ES, 0x10);
  board.describe(0x50, 0, 0xffff, 0x0093);
  board.processor.movToSegment(SS, 0x50);
  expect(mode()).toBe(MODE_CODE32);
  board.processor.movToSegment(SS, 0x10);
  board.enterUser();
  expect(mode()).toBe(MODE_CODE32 | MODE_STACK32 | MODE_FLAT | MODE_USER);
});

test('real mode: base is selector × 16, and a limit that was loaded before stays', () => {
  const board = protectedBoard();
  const { processor, state } = board;
  processor.movToCR(0, state.get32(CR0) & ~1);
  processor.movToSegment(DS, 0xb800);
  expect([state.segBase(DS), state.segLimit(DS)]).toEqual([0xb_8000, 0xffff_ffff]);
  const fresh = new ProcessorBoard();
  fresh.processor.movToSegment(GS, 0xffff);
  expect([fresh.state.segBase(GS), fresh.state.segLimit(GS)]).toEqual([0xf_fff0, 0xffff]);
  expect(fresh.processor.checkAccess(GS, 0xffff, 2, 0)).toBe(-1);
  expect(fresh.takeFault()).toBe('13(0x0)');
  expect(fresh.processor.checkAccess(SS, 0xffff, 2, 0)).toBe(-1);
  expect(fresh.takeFault()).toBe('12(0x0)');
});

test('MOV to CS is #UD; a load of SS casts a shadow', () => {
  const board = protectedBoard();
  board.processor.movToSegment(1, 0x08);
  expect(board.takeFault()).toBe('6');
  board.processor.movToSegment(SS, 0x10);
  expect(board.state.get32(0xdc)).toBe(2);
});

test('POP to a segment that faults leaves ESP', () => {
  const board = protectedBoard();
  board.write32(0x7000, 0x999);
  board.processor.popSegment(DS, 4);
  expect(board.takeFault()).toBe('13(0x998)');
  expect(board.state.reg32(4)).toBe(0x7000);
  board.write32(0x7000, 0x20);
  board.processor.popSegment(DS, 2);
  expect([board.state.reg32(4), board.state.selector(DS)]).toEqual([0x7002, 0x20]);
});

test('LAR, LSL, VERR and VERW answer in ZF', () => {
  const board = protectedBoard();
  const { processor, state } = board;
  const zf = () => (state.eflags & FLAG_ZF) !== 0;
  expect([processor.lar(0x08), zf()]).toEqual([0x00c0_9b00, true]);
  expect([processor.lsl(0x08) >>> 0, zf()]).toEqual([0xffff_ffff, true]);
  expect([processor.lsl(0x30), zf()]).toEqual([0x87, true]);
  processor.lar(0x0b); // RPL 3 may not see ring 0 code.
  expect(zf()).toBe(false);
  board.gate(GDT + 0x60, 0x08, 0x1234, 0xec);
  expect([processor.lar(0x63), zf()]).toEqual([0xec00, true]);
  processor.lsl(0x63);
  expect(zf()).toBe(false);
  processor.verr(0x1b);
  expect(zf()).toBe(true);
  processor.verw(0x1b);
  expect(zf()).toBe(false);
  processor.verw(0x23);
  expect(zf()).toBe(true);
  processor.verr(0x7f8 | 0x4);
  expect(zf()).toBe(false);
  expect(board.fault).toBeUndefined();
});

test('LLDT and LTR check type, presence, table and privilege', () => {
  const board = protectedBoard();
  const { processor } = board;
  processor.ltr(0x30);
  expect(board.takeFault()).toBe('13(0x30)'); // Busy already.
  processor.lldt(0x30);
  expect(board.takeFault()).toBe('13(0x30)');
  processor.ltr(0x34);
  expect(board.takeFault()).toBe('13(0x34)');
  processor.ltr(0);
  expect(board.takeFault()).toBe('13(0x0)');
  board.describe(0x58, 0x3000, 0x67, 0x0009);
  processor.ltr(0x58);
  expect(board.takeFault()).toBe('11(0x58)');
  board.describe(0x58, 0x1800, 0x67, 0x0002);
  processor.lldt(0x58);
  expect(board.takeFault()).toBe('11(0x58)');
  board.enterUser();
  processor.lldt(0);
  expect(board.takeFault()).toBe('13(0x0)');
  expect(new ProcessorBoard().processor.str()).toBe(0);
});

test('LGDT takes 24 bits of base with 16-bit operands; SGDT stores six bytes', () => {
  const board = protectedBoard();
  board.write32(0x8000, 0x5678_0123, 0xab12_1234);
  board.processor.lidt(0x8000, 2);
  board.processor.sidt(0x8010);
  expect([board.read32(0x8010), board.read16(0x8014)]).toEqual([0x5678_0123, 0x0034]);
  board.processor.lidt(0x8000, 4);
  board.processor.sidt(0x8010);
  expect([board.read32(0x8010), board.read16(0x8014)]).toEqual([0x5678_0123, 0x1234]);
});
