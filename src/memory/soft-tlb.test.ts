import fc from 'fast-check';
import { expect, test } from 'vitest';
import { fuzzOptions } from '../../test/fuzz-options.ts';
import { byteDevice, GRAIN, PAGE, SPACE_BYTES, steps, TreeModel } from '../../test/memory-model.ts';
import { DIRTY_ALL, DIRTY_CODE, DIRTY_MIGRATION, DIRTY_VGA } from './dirty-memory.ts';
import { GuestMemory } from './guest-memory.ts';
import { MemoryRegion } from './memory-region.ts';
import {
  lookupLoad,
  lookupStore,
  SoftTLB,
  TLB_INVALID,
  TLB_IO,
  TLB_NOTDIRTY,
  TLB_ROM,
  TLB_WATCH,
} from './soft-tlb.ts';

const ROWS = 64;
const MISS = -1;

function create(ramPages = 64) {
  const memory = new GuestMemory({ ramCapacityBytes: ramPages * PAGE, tlbRowCount: ROWS });
  const block = memory.ramList.alloc({ name: 'pc.ram', sizeBytes: (ramPages - 2) * PAGE });
  memory.root.addSubregion(0, MemoryRegion.ram('pc.ram', block));
  const { tlb } = memory;
  const load = (linear: number, size = 4, mmuIndex = 0) =>
    lookupLoad(tlb.words, tlb.tableWord(mmuIndex), ROWS - 1, linear, size);
  const store = (linear: number, size = 4, mmuIndex = 0) =>
    lookupStore(tlb.words, tlb.tableWord(mmuIndex), ROWS - 1, linear, size);
  const fill = (linear: number, gpa: number, isGlobal = false, mmuIndex = 0) =>
    tlb.fill(mmuIndex, linear, gpa, true, true, isGlobal);
  return { memory, tlb, load, store, fill, base: memory.layout.ramOffset };
}

test('a hit gives the byte of the buffer, also above 2 GiB and at the last page', () => {
  const { load, store, fill, base } = create();
  for (const linear of [0x1000, 0x7fff_f000, 0x8000_0000, 0xffff_f000]) {
    expect(load(linear)).toBe(MISS);
    fill(linear, 3 * PAGE);
    expect(load(linear + 0x123)).toBe(base + 3 * PAGE + 0x123);
    expect(store(linear + 0xffc)).toBe(base + 3 * PAGE + 0xffc);
    expect(load(linear + ROWS * PAGE)).toBe(MISS);
    expect(load(linear, 4, 1)).toBe(MISS);
  }
});

test('an access that crosses a page is never a hit', () => {
  const { load, store, fill } = create();
  fill(0x1000, 0);
  fill(0x2000, PAGE);
  fill(0xffff_f000, PAGE);
  fill(0, 0);
  for (const linear of [0x1ffd, 0x1fff, 0xffff_fffe]) {
    expect(load(linear)).toBe(MISS);
    expect(store(linear)).toBe(MISS);
    expect(load(linear, 1)).not.toBe(MISS);
  }
});

test('rows say what may be done: no write, nothing, watched', () => {
  const { tlb, load, store } = create();
  tlb.fill(0, 0x1000, 0, true, false, false);
  expect([load(0x1000) !== MISS, store(0x1000)]).toEqual([true, MISS]);
  tlb.fill(0, 0x1000, 0, true, true, false, TLB_WATCH);
  expect([load(0x1000), store(0x1000)]).toEqual([MISS, MISS]);
  expect([...tlb.entries()][0]).toMatchObject({ readFlags: TLB_WATCH, writeFlags: TLB_WATCH });
});

test('failure 3: clearing a bit makes the next store slow, and that sets the bit again', () => {
  const { memory, tlb, store, fill } = create();
  const { dirty, ramWrites } = memory;
  for (const client of [DIRTY_VGA, DIRTY_MIGRATION]) {
    fill(0x5000, 2 * PAGE);
    fill(0x9000, 2 * PAGE, false, 1); // Another name, in the user table.
    fill(0x6000, 3 * PAGE);
    expect(store(0x5000)).not.toBe(MISS);
    let wasArmed = true;
    dirty.onClean(() => {
      wasArmed = store(0x5000) === MISS && store(0x9000, 4, 1) === MISS;
    });
    dirty.clear(2 * PAGE, PAGE, client);
    expect(wasArmed).toBe(true);
    expect(store(0x6000)).not.toBe(MISS);
    ramWrites.note(2 * PAGE + 8, 4);
    tlb.makeWritable(0, 0x5008);
    expect(dirty.isDirty(2 * PAGE, 1, client)).toBe(true);
    expect(store(0x5000)).not.toBe(MISS);
    expect(store(0x9000, 4, 1)).toBe(MISS);
    dirty.clear(2 * PAGE, PAGE, client); // The row that makeWritable() opened is shut again.
    expect(store(0x5000)).toBe(MISS);
    ramWrites.note(2 * PAGE, 1);
    tlb.flushAll();
  }
});

test('a harvest re-arms exactly the pages it took', () => {
  const { memory, store, fill } = create();
  const { dirty } = memory;
  dirty.clear(0, 64 * PAGE, DIRTY_MIGRATION);
  memory.ramWrites.note(PAGE, 4);
  fill(0x1000, PAGE);
  fill(0x2000, 2 * PAGE);
  expect([store(0x1000) === MISS, store(0x2000)]).toEqual([false, MISS]);
  dirty.harvest(DIRTY_MIGRATION);
  expect(store(0x1000)).toBe(MISS);
});

test('failure 28: a page with code has no plain write tag until its last code is gone', () => {
  const { memory, tlb, store, fill } = create();
  fill(0x1000, PAGE);
  expect(store(0x1000)).not.toBe(MISS);
  memory.codePages.addLines(PAGE + 256, 16);
  expect(store(0x1000)).toBe(MISS);
  memory.ramWrites.note(PAGE, 4);
  tlb.makeWritable(0, 0x1000);
  expect(store(0x1000)).toBe(MISS);
  memory.ramWrites.note(PAGE + 256, 4);
  tlb.makeWritable(0, 0x1000);
  expect(store(0x1000)).not.toBe(MISS);
  expect(memory.dirty.bytes[1]).toBe(DIRTY_ALL);
  expect(memory.dirty.isDirty(PAGE, 1, DIRTY_CODE)).toBe(true);
});

test('makeWritable() leaves alone what is no clean RAM page of that address', () => {
  const { memory, tlb, store } = create();
  const { ops } = byteDevice(PAGE);
  memory.root.addSubregion(0x100000, MemoryRegion.io('device', PAGE, ops));
  tlb.fill(0, 0x1000, 0x100000, true, true, false);
  tlb.makeWritable(0, 0x1000);
  tlb.makeWritable(0, 0x1000 + ROWS * PAGE);
  expect(store(0x1000)).toBe(MISS);
});

test('failure 43: global pages survive flushNonGlobal(), pages and ranges go one by one', () => {
  const { tlb, load, fill } = create();
  const all = [0x1000, 0x2000, 0x3000, 0x40_0000, 0xffff_f000];
  const hits = () => all.filter((linear) => load(linear) !== MISS || load(linear, 4, 1) !== MISS);
  all.forEach((linear, index) => {
    fill(linear, PAGE, index % 2 === 0, index & 1);
  });
  tlb.flushNonGlobal();
  expect(hits()).toEqual([0x1000, 0x3000, 0xffff_f000]);
  tlb.flushPage(0x1fff);
  expect(hits()).toEqual([0x3000, 0xffff_f000]);
  fill(0x40_0000, PAGE);
  fill(0x3f_f000, PAGE, false, 1);
  expect(load(0x3f_f000, 4, 1)).not.toBe(MISS);
  tlb.flushRange(0x40_0000, 0x40_0000); // A 4 MiB page.
  expect(hits()).toEqual([0x3000, 0xffff_f000]);
  expect(load(0x3f_f000, 4, 1)).not.toBe(MISS); // Outside the range, by one page.
  tlb.flushAll();
  expect([...tlb.entries()]).toEqual([]);
  expect(hits()).toEqual([]);
});

test('failure 43: a row that is filled again and again fills no log', () => {
  const { tlb, load, fill } = create();
  for (let round = 0; round < 4 * ROWS; round++) fill(0x1000 + (round & 1) * ROWS * PAGE, PAGE);
  fill(0x2000, PAGE);
  tlb.flushAll();
  expect(load(0x2000)).toBe(MISS);
});

test('re-arming leaves rows of ROM and devices as they are', () => {
  const { memory, tlb, fill } = create();
  const rom = memory.ramList.alloc({ name: 'rom', sizeBytes: PAGE });
  memory.root.addSubregion(0x100000, MemoryRegion.rom('rom', rom));
  memory.root.addSubregion(0x200000, MemoryRegion.io('device', PAGE, byteDevice(PAGE).ops));
  fill(0x1000, 0x100000);
  fill(0x2000, 0x200000);
  memory.dirty.clear(0, 64 * PAGE, DIRTY_VGA);
  expect([...tlb.entries()].map((entry) => entry.writeFlags)).toEqual([TLB_ROM, TLB_IO]);
});

test('the map changing flushes, so that no row shows what was there before', () => {
  const { memory, load, store, fill } = create();
  fill(0x1000, PAGE);
  const { ops } = byteDevice(PAGE);
  const device = MemoryRegion.io('device', PAGE, ops);
  memory.root.addSubregion(PAGE, device, 1);
  expect(load(0x1000)).toBe(MISS);
  fill(0x1000, PAGE);
  expect([load(0x1000), store(0x1000)]).toEqual([MISS, MISS]);
  memory.root.removeSubregion(device);
  fill(0x1000, PAGE);
  expect(load(0x1000)).not.toBe(MISS);
  memory.root.subregions[0]!.setLogging(DIRTY_VGA, true); // Control: that is no change of the map.
  expect(load(0x1000)).not.toBe(MISS);
});

// Goal: each row against what the page map, and before it the naive painter, say of the page.
test('rows of random maps agree with the page map', () => {
  fc.assert(
    fc.property(steps, fc.array(fc.nat({ max: 5 })), (session, cleanPages) => {
      const model = new TreeModel();
      const { tlb, dirty, layout, ramList } = model.memory;
      for (const page of cleanPages) dirty.clear(page * PAGE, PAGE, DIRTY_MIGRATION);
      for (const step of session) model.apply(step);
      for (let gpa = 0; gpa < SPACE_BYTES; gpa += PAGE) {
        const linear = (0xc000_0000 + gpa) >>> 0;
        tlb.fill(0, linear, gpa, true, true, false);
        const entry = [...tlb.entries()].find((e) => e.linear === linear)!;
        const first = model.show(gpa);
        let isWhole = true;
        for (let at = 0; at < PAGE; at += GRAIN) {
          const shown = model.show(gpa + at);
          if (shown === undefined || first === undefined) isWhole = false;
          else
            isWhole &&=
              shown.region === first.region &&
              shown.offset === first.offset + at &&
              shown.isReadOnly === first.isReadOnly;
        }
        const ramOffset = model.ramOffsetOf(first);
        const kind = model.kindOf(first);
        const isDirect = isWhole && ramOffset >= 0 && ramOffset % PAGE === 0;
        expect(entry.gpa).toBe(gpa);
        const hit = lookupLoad(tlb.words, 0, tlb.rowCount - 1, linear, 1);
        expect(hit).toBe(isDirect ? layout.ramOffset + ramOffset : MISS);
        const isClean = isDirect && dirty.bytes[ramOffset / PAGE] !== DIRTY_ALL;
        const ramFlags = isClean ? TLB_NOTDIRTY : 0;
        expect(entry.writeFlags).toBe(!isDirect ? TLB_IO : kind === 'ram' ? ramFlags : TLB_ROM);
      }
      expect(ramList.blocks.length).toBe(4);
    }),
    fuzzOptions(40),
  );
});

// Goal: rows, log and flags stay consistent over a long life, against a plain list of translations.
test('a random session of fills, flushes and clears agrees with a list of rows', () => {
  const step = fc.record({
    kind: fc.constantFrom(
      'fill',
      'fill',
      'fill',
      'clear',
      'store',
      'page',
      'range',
      'local',
      'all',
    ),
    page: fc.oneof(fc.nat({ max: 200 }), fc.nat({ max: 5 })),
    gpaPage: fc.oneof(fc.nat({ max: 61 }), fc.nat({ max: 3 })),
    isGlobal: fc.boolean(),
    mmuIndex: fc.nat({ max: 1 }),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 120 }), (session) => {
      const { memory, tlb, load, store, base } = create();
      type Row = { page: number; gpaPage: number; isGlobal: boolean; isFast: boolean };
      const rows = new Map<string, Row>();
      for (const { kind, page, gpaPage, isGlobal, mmuIndex } of session) {
        const key = `${mmuIndex} ${page % ROWS}`;
        const linear = page * PAGE;
        if (kind === 'fill') {
          tlb.fill(mmuIndex, linear, gpaPage * PAGE, true, true, isGlobal);
          const isFast = memory.dirty.bytes[gpaPage] === DIRTY_ALL;
          rows.set(key, { page, gpaPage, isGlobal, isFast });
        } else if (kind === 'clear') {
          memory.dirty.clear(gpaPage * PAGE, PAGE, DIRTY_VGA);
          for (const row of rows.values()) if (row.gpaPage === gpaPage) row.isFast = false;
        } else if (kind === 'store') {
          const row = rows.get(key);
          if (row?.page !== page) continue;
          memory.ramWrites.note(row.gpaPage * PAGE, 1);
          tlb.makeWritable(mmuIndex, linear);
          row.isFast = true;
        } else if (kind === 'page') {
          tlb.flushPage(linear);
          for (const [at, row] of rows) if (row.page === page) rows.delete(at);
        } else if (kind === 'range') {
          tlb.flushRange(linear, gpaPage * PAGE + 1);
          for (const [at, row] of rows)
            if (row.page >= page && row.page - page <= gpaPage) rows.delete(at);
        } else if (kind === 'local') {
          tlb.flushNonGlobal();
          for (const [at, row] of rows) if (!row.isGlobal) rows.delete(at);
        } else {
          tlb.flushAll();
          rows.clear();
        }
      }
      for (let mmuIndex = 0; mmuIndex < 2; mmuIndex++) {
        for (let page = 0; page <= 200; page++) {
          const row = rows.get(`${mmuIndex} ${page % ROWS}`);
          const found = row?.page === page ? row : undefined;
          const byte = found === undefined ? MISS : base + found.gpaPage * PAGE;
          if (load(page * PAGE, 1, mmuIndex) !== byte) expect.fail(`load ${mmuIndex} ${page}`);
          const storeByte = found?.isFast === true ? byte : MISS;
          if (store(page * PAGE, 1, mmuIndex) !== storeByte)
            expect.fail(`store ${mmuIndex} ${page}`);
        }
      }
      expect([...tlb.entries()].length).toBe(rows.size);
    }),
    fuzzOptions(60),
  );
});

test('a TLB has one address space, rows in a power of two, and lies in its buffer', () => {
  const { memory, tlb } = create();
  expect(() => {
    tlb.addressSpace = memory.addressSpace;
  }).toThrow(TypeError);
  expect(() => SoftTLB.create({ rowCount: 100 })).toThrow(RangeError);
  expect(() => new SoftTLB({ buffer: new ArrayBuffer(16), offset: 0 })).toThrow(RangeError);
  expect(() => new SoftTLB({ buffer: new ArrayBuffer(64), offset: 2, rowCount: 1 })).toThrow(
    RangeError,
  );
  expect([...SoftTLB.create({ rowCount: 4 }).words].every((word) => word === TLB_INVALID)).toBe(
    true,
  );
});

// Goal: byte addresses above 2 GiB, in the buffer and in RAM, with a machine of 3 GiB.
test('3 GiB of RAM: the highest page hits, is noted, and is re-armed', () => {
  const sizeBytes = 3 * 2 ** 30;
  const memory = new GuestMemory({ ramCapacityBytes: sizeBytes });
  const block = memory.ramList.alloc({ name: 'pc.ram', sizeBytes });
  memory.root.addSubregion(0, MemoryRegion.ram('pc.ram', block));
  const { tlb, dirty, addressSpace } = memory;
  const last = sizeBytes - PAGE;
  tlb.fill(0, 0x1000, last, true, true, false);
  const byte = lookupStore(tlb.words, 0, 4095, 0x1ffc, 4);
  expect(byte).toBe(memory.layout.ramOffset + sizeBytes - 4);
  addressSpace.write(sizeBytes - 4, 4, 0x12345678);
  expect(new DataView(memory.buffer).getUint32(byte, true)).toBe(0x12345678);
  dirty.clear(last, PAGE, DIRTY_MIGRATION);
  expect(lookupStore(tlb.words, 0, 4095, 0x1ffc, 4)).toBe(MISS);
  expect([...dirty.harvest(DIRTY_MIGRATION, last - PAGE, 2 * PAGE).pages()]).toEqual([
    last / PAGE - 1,
  ]);
});
