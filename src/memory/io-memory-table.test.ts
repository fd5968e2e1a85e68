import fc from 'fast-check';
import { expect, test } from 'vitest';
import { fuzzOptions } from '../../test/fuzz-options.ts';
import { IoMemoryTable } from './io-memory-table.ts';
import type { IoOps } from './io-ops.ts';
import { MemoryRegion } from './memory-region.ts';
import { IO_MEM_ROMD, IO_MEM_SUBWIDTH, memFlagsOf, memTypeIndexOf } from './phys-offset.ts';

const NOTHING: IoOps = { read: () => 0, write() {} };

/** A device of plain bytes that notes each call. */
function createBytes(limits: Pick<IoOps, 'valid' | 'impl'> = {}) {
  const bytes = new Uint8Array(64).map((_, index) => index * 3 + 1);
  const calls: string[] = [];
  const ops: IoOps = {
    ...limits,
    read(offset, sizeBytes) {
      calls.push(`r${sizeBytes}@${offset}`);
      let value = 0;
      for (let i = 0; i < sizeBytes; i++) value |= bytes[offset + i]! << (i * 8);
      return value; // Negative at times: the core must cut it.
    },
    write(offset, value, sizeBytes) {
      calls.push(`w${sizeBytes}@${offset}`);
      expect(value).toBeGreaterThanOrEqual(0);
      for (let i = 0; i < sizeBytes; i++) bytes[offset + i] = value >>> (i * 8);
    },
  };
  const table = new IoMemoryTable();
  const io = table.find(table.register(ops))!;
  return { bytes, calls, io };
}

test('devices get indexes from 4 on, and a freed index is used again', () => {
  const table = new IoMemoryTable();
  const types = [0, 1, 2].map(() => table.register(NOTHING));
  expect(types.map(memTypeIndexOf)).toEqual([4, 5, 6]);
  table.unregister(types[1]!);
  expect(table.find(types[1]!)).toBeUndefined();
  expect(table.register(NOTHING)).toBe(types[1]);
  expect(() => table.unregister(7 << 3)).toThrow(/it is free/);
  expect(() => table.unregister(0)).toThrow(/it is reserved/);
});

test('a full table is a clear error, and freeing one index mends it', () => {
  const table = new IoMemoryTable();
  const types: number[] = [];
  for (let count = 0; count < 508; count++) types.push(table.register(NOTHING));
  expect(memTypeIndexOf(types[507]!)).toBe(511);
  expect(() => table.register(NOTHING)).toThrow(/at most 508 types may be in use at once: all are/);
  table.unregister(types[100]!);
  expect(table.register(NOTHING)).toBe(types[100]);
});

test('the opaque value comes back with each call, and flags with the type', () => {
  const table = new IoMemoryTable();
  const seen: unknown[] = [];
  const ops: IoOps = {
    read: (_offset, _size, opaque) => Number(seen.push(opaque)),
    write: (_offset, _value, _size, opaque) => void seen.push(opaque),
  };
  const type = table.register(ops, 'uart', IO_MEM_ROMD);
  expect(memFlagsOf(type)).toBe(IO_MEM_ROMD);
  table.find(type)!.read(0, 1);
  table.find(type)!.write(0, 1, 0);
  expect(seen).toEqual(['uart', 'uart']);
});

test('SUBWIDTH is set exactly for devices that do not implement every size', () => {
  const table = new IoMemoryTable();
  const flagsOf = (limits: Pick<IoOps, 'valid' | 'impl'>) =>
    memFlagsOf(table.register({ ...NOTHING, ...limits }));
  expect(flagsOf({})).toBe(0);
  expect(flagsOf({ impl: { maxBytes: 1 } })).toBe(IO_MEM_SUBWIDTH);
  expect(flagsOf({ valid: { minBytes: 4 } })).toBe(IO_MEM_SUBWIDTH);
});

test('wide accesses are split, narrow ones joined', () => {
  const narrow = createBytes({ impl: { maxBytes: 1 } });
  expect(narrow.io.read(8, 4)).toBe(0x221f1c19);
  expect(narrow.calls).toEqual(['r1@8', 'r1@9', 'r1@10', 'r1@11']);
  const wide = createBytes({ impl: { minBytes: 4 } });
  expect(wide.io.read(9, 1)).toBe(0x1c);
  wide.io.write(10, 2, 0xbeef);
  expect([...wide.bytes.slice(8, 12)]).toEqual([0x19, 0x1c, 0xef, 0xbe]);
  expect(wide.calls).toEqual(['r4@8', 'r4@8', 'w4@8']);
});

test('what is not valid reads as all ones and is not written', () => {
  const { io, calls, bytes } = createBytes({ valid: { minBytes: 4 } });
  expect(io.read(4, 2)).toBe(0xffff);
  io.write(4, 1, 0);
  expect(bytes[4]).toBe(13);
  expect(calls).toEqual([]);
  expect(io.refusedCount).toBe(2);
  expect(io.read(4, 4)).toBe(0x1613100d);
});

test('limits that no access can meet are refused when the region is made', () => {
  for (const limits of [
    { valid: { minBytes: 4, maxBytes: 2 } },
    { impl: { minBytes: 3 } },
    { impl: { maxBytes: 8 } },
    { valid: { maxBytes: 0 } },
  ])
    expect(() => MemoryRegion.io('bad', 4, { ...NOTHING, ...limits })).toThrow(RangeError);
});

// Goal: however a device limits its sizes, bytes arrive where they belong and nowhere else.
test('splitting and joining agree with plain bytes for every limit', () => {
  const size = fc.constantFrom(1, 2, 4);
  const limits = fc
    .record({ a: size, b: size, c: size, unaligned: fc.boolean() })
    .map(({ a, b, c, unaligned }) => ({
      impl: { minBytes: Math.min(a, b), maxBytes: Math.max(a, b) },
      valid: { maxBytes: c, unaligned },
    }));
  const step = fc.record({
    isWrite: fc.boolean(),
    offset: fc.nat({ max: 56 }),
    sizeBytes: size,
    value: fc.nat({ max: 0xffffffff }),
  });
  fc.assert(
    fc.property(limits, fc.array(step, { maxLength: 30 }), (limit, steps) => {
      const { io, bytes, calls } = createBytes(limit);
      const model = bytes.slice();
      for (const { isWrite, offset, sizeBytes, value } of steps) {
        if (isWrite) {
          io.write(offset, sizeBytes, value);
          for (let i = 0; i < sizeBytes; i++) model[offset + i] = value >>> (i * 8);
          expect(bytes).toEqual(model);
        } else {
          let expected = 0;
          for (let i = 0; i < sizeBytes; i++) expected += model[offset + i]! * 2 ** (i * 8);
          expect(io.read(offset, sizeBytes)).toBe(expected);
        }
      }
      for (const call of calls) {
        const [, width, at] = /^[rw](\d)@(\d+)$/.exec(call)!.map(Number) as [
          number,
          number,
          number,
        ];
        expect(width).toBeGreaterThanOrEqual(limit.impl.minBytes);
        expect(width).toBeLessThanOrEqual(limit.impl.maxBytes);
        if (!limit.valid.unaligned) expect(at % width).toBe(0);
      }
    }),
    fuzzOptions(150),
  );
});
