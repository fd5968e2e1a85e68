// The x87 rows against the host's own x87: results, status word, and what reaches memory.

import { expect, test } from 'vitest';
import { fuzzOptions } from '../../../test/fuzz-options.ts';
import { isIntelHost } from '../../../test/host-vendor.ts';
import {
  CASE_BYTES,
  describe,
  hex,
  isEmptyIn,
  native,
  runNative,
  runRows,
} from '../../../test/x87/native.ts';
import {
  createRandom,
  randomBits64,
  randomControl,
  randomFloat80,
} from '../../../test/x87/operands.ts';
import { createX87Machine } from '../../../test/x87/row-module.ts';

/** Operation number in native.c, row, index of ST(i), bytes of a memory operand. */
const OPERATIONS: readonly [number, string, number, number?][] = [
  [0, 'D8 C0+i', 1],
  [1, 'D8 C8+i', 1],
  [2, 'D8 E0+i', 1],
  [3, 'D8 E8+i', 1],
  [4, 'D8 F0+i', 1],
  [5, 'D8 F8+i', 1],
  [6, 'DE E8+i', 1],
  [7, 'D9 FA', 0],
  [8, 'D9 F8', 0],
  [9, 'D9 F5', 0],
  [10, 'D9 FD', 0],
  [11, 'D9 FC', 0],
  [12, 'D9 F4', 0],
  [13, 'D8 D0+i', 1],
  [14, 'DD E0+i', 1],
  [15, 'D9 E5', 0],
  [16, 'D9 E4', 0],
  [17, 'D9 /3', 0, 4],
  [18, 'DD /3', 0, 8],
  [19, 'DF /3', 0, 2],
  [20, 'DB /3', 0, 4],
  [21, 'DF /7', 0, 8],
  [22, 'DF /6', 0, 10],
  [23, 'DF /4', 0, 10],
  [24, 'D8 /0', 0, 4],
  [25, 'DC /0', 0, 8],
  [26, 'D8 /7', 0, 4],
  [27, 'D9 /0', 0, 4],
  [28, 'DD /0', 0, 8],
  [29, 'DA /1', 0, 4],
  [30, 'D8 /2', 0, 4],
  [31, 'DE D9', 0],
  [32, 'D9 E0', 0],
  [33, 'D9 C8+i', 1],
  [34, 'D8 C0+i', 3],
  [35, 'D9 C0+i', 4],
  [36, 'D9 EB', 0],
  [37, 'D9 E9', 0],
  [38, 'D9 /2', 0, 4],
  [39, 'DF /5', 0, 8],
  [40, 'DE /4', 0, 2],
  [41, 'D9 C8+i', 3],
];

function randomCase(random: () => number, operation: number, isMemory: boolean): Uint8Array {
  const bytes = new Uint8Array(CASE_BYTES);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, operation, true);
  view.setUint32(4, randomControl(random), true);
  const [a, seA] = randomFloat80(random);
  view.setBigUint64(8, a, true);
  view.setUint16(16, seA, true);
  const [b, seB] = random() & 7 ? randomFloat80(random, seA & 0x7fff) : [a, seA];
  view.setBigUint64(24, b, true);
  view.setUint16(32, seB, true);
  if (isMemory) {
    const bits = random() & 3 ? randomBits64(random) : 0x7ff0n << 48n;
    view.setBigUint64(24, random() & 1 ? bits : bits & 0x807f_ffff_807f_ffffn, true);
    if (random() % 4 === 0) view.setUint32(24, 0x7f80_0000 | (random() & 0x8000_0001), true);
  }
  if (operation === 23) {
    for (let i = 24; i < 33; i++) bytes[i] = ((random() % 10) << 4) | (random() % 10);
    bytes[33] = random() & 0x80;
  }
  return bytes;
}

const FPREM = 8;
const FPREM1 = 9;
const FSCALE = 10;
/** UE, and ES and B. */
const UNMASKED_UNDERFLOW = 0x8090;

/**
 * Whether an Intel host copied a denormal and no more, as it does in FPREM and FPREM1 by infinity
 * and in FSCALE by zero. To AMD, with underflow unmasked, that is a tiny result like any other.
 */
function isIntelCopy(operation: number, bytes: Uint8Array, host: Uint8Array, ours: Uint8Array) {
  if (!isIntelHost || ![FPREM, FPREM1, FSCALE].includes(operation)) return false;
  const other = `${hex(bytes, 32, 2)}:${hex(bytes, 24, 8)}`;
  const isSpecial =
    operation === FSCALE ? /^[08]0{3}:0{16}$/.test(other) : /^[7f]fff:80{15}$/.test(other);
  const isTiny = /^[08]000$/.test(hex(bytes, 16, 2));
  const isCopy = hex(host, 8, 10) === hex(bytes, 8, 10);
  const [a, b] = [host, ours].map((r) => new DataView(r.buffer, r.byteOffset).getUint32(0, true));
  return isSpecial && isTiny && isCopy && b === (a! | UNMASKED_UNDERFLOW);
}

const { seed, numRuns } = fuzzOptions(400);
for (const [operation, pattern, index, sizeBytes] of OPERATIONS) {
  const title = `row ${pattern} (native operation ${operation}) does what the host's x87 does`;
  test.skipIf('reason' in native)(title, () => {
    if ('reason' in native) return;
    const machine = createX87Machine();
    const random = createRandom((seed ?? 1) + operation * 7919);
    const cases = Array.from({ length: numRuns ?? 400 }, () =>
      randomCase(random, operation, sizeBytes !== undefined),
    );
    const results = runNative(native.program, cases);
    const differences: string[] = [];
    cases.forEach((bytes, n) => {
      const expected = results[n]!;
      const actual = runRows(machine, bytes, pattern, index);
      // Bits of empty registers are compared too, but the tag word says less than X87_EMPTY.
      expected.fill(0, 4, 8);
      if (isEmptyIn(machine, 0)) for (const r of [expected, actual]) r.fill(0, 8, 24);
      if (isEmptyIn(machine, 1)) for (const r of [expected, actual]) r.fill(0, 24, 40);
      if (describe(expected) === describe(actual)) return;
      if (isIntelCopy(operation, bytes, expected, actual)) return;
      differences.push(
        `cw=${hex(bytes, 4, 2)} a=${hex(bytes, 16, 2)}:${hex(bytes, 8, 8)} ` +
          `b=${hex(bytes, 32, 2)}:${hex(bytes, 24, 8)}\n` +
          `  host ${describe(expected)}\n  ours ${describe(actual)}`,
      );
    });
    const report = `${differences.length} of ${cases.length}, seed ${seed}\n`;
    expect(differences.length, report + differences.slice(0, 12).join('\n')).toBe(0);
  });
}
