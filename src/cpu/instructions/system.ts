// System instructions, ports, segment registers loaded with pointers, and the no-operations. What
// they do is in Processor; here is how operands get there. Intel SDM volume 2, chapters 3–6.

import { i32 } from '../../wasm/index.ts';
import { VECTOR_UD } from '../control-bits.ts';
import { type Meaning, type RowOptions, row } from '../instruction-table.ts';
import { DS, ES, FS, GS, SS } from '../state-layout.ts';
import {
  ofSize,
  operandBytes,
  readFarPointer,
  requirePrivileged,
  requireProtectedMode,
} from './common-meanings.ts';

const PRIVILEGED: RowOptions = { isPrivileged: true };
/** Loads of CR0, HLT and their like: what follows may run in another mode, or not at once. */
const PRIVILEGED_END: RowOptions = { isPrivileged: true, endsBlock: true };

const nothing: Meaning = () => {};
row('90', 'NOP', '', nothing);
row('F3 90', 'PAUSE', '', nothing);
// Reserved for hints since the P6: the operand is not accessed (SDM volume 2, table A-3).
for (let opcode = 0x19; opcode <= 0x1f; opcode++) {
  row(`0F ${opcode.toString(16).toUpperCase()}`, 'NOP', 'Ev', nothing);
}
row('0F 0B', 'UD2', '', (e) => e.raise(VECTOR_UD), { endsBlock: true });
row('0F B9', 'UD1', 'Gv,Ev', (e) => e.raise(VECTOR_UD), { endsBlock: true });

/** Rows without operands that Processor does whole. */
const PLAIN_ROWS: readonly (readonly [string, string, string, RowOptions])[] = [
  ['F4', 'HLT', 'hlt', PRIVILEGED_END],
  ['0F A2', 'CPUID', 'cpuid', {}],
  ['0F 31', 'RDTSC', 'rdtsc', {}],
  ['0F 33', 'RDPMC', 'rdpmc', {}],
  ['0F 32', 'RDMSR', 'rdmsr', PRIVILEGED],
  ['0F 30', 'WRMSR', 'wrmsr', PRIVILEGED_END],
  ['0F 06', 'CLTS', 'clts', PRIVILEGED],
  ['0F 08', 'INVD', 'wbinvd', PRIVILEGED],
  ['0F 09', 'WBINVD', 'wbinvd', PRIVILEGED],
  ['0F 34', 'SYSENTER', 'sysenter', { endsBlock: true }],
  ['0F 35', 'SYSEXIT', 'sysexit', PRIVILEGED_END],
];
for (const [pattern, mnemonic, method, options] of PLAIN_ROWS) {
  row(pattern, mnemonic, '', (e) => e.system(method), options);
}

// ---- Control and debug registers

row(
  '0F 20',
  'MOV',
  'Rd,Cd',
  (e, dst, src) => dst!.write(e.systemValue('movFromCR', src!.index())),
  PRIVILEGED,
);
row(
  '0F 21',
  'MOV',
  'Rd,Dd',
  (e, dst, src) => dst!.write(e.systemValue('movFromDR', src!.index())),
  PRIVILEGED,
);
row(
  '0F 22',
  'MOV',
  'Cd,Rd',
  (e, dst, src) => e.system('movToCR', dst!.index(), src!.read()),
  PRIVILEGED_END,
);
row(
  '0F 23',
  'MOV',
  'Dd,Rd',
  (e, dst, src) => e.system('movToDR', dst!.index(), src!.read()),
  PRIVILEGED_END,
);

/** A 16-bit value to memory, or to a register of the operand size, filled with zeros. */
function statusRows(pattern: string, mnemonic: string, method: string): void {
  const meaning: Meaning = (e, dst) => dst!.write(ofSize(e.systemValue(method), dst!.size));
  row(pattern, mnemonic, 'Mw', meaning);
  row(pattern, mnemonic, 'Rv', meaning);
}
statusRows('0F 01 /4', 'SMSW', 'smsw');
statusRows('0F 00 /0', 'SLDT', 'sldt');
statusRows('0F 00 /1', 'STR', 'str');
row(
  '0F 01 /6',
  'LMSW',
  'Ew',
  (e, src) => {
    requirePrivileged(e);
    e.system('lmsw', src!.read());
  },
  PRIVILEGED_END,
);
row(
  '0F 01 /7',
  'INVLPG',
  'Mb',
  (e, page) => e.system('invlpg', page!.linear(1, false)),
  PRIVILEGED,
);

// ---- Descriptor tables

const SIZED_PRIVILEGED: RowOptions = { isPrivileged: true, usesOperandSize: true };
const TABLE_BYTES = 6;
for (const [digit, mnemonic] of ['SGDT', 'SIDT'].entries()) {
  row(`0F 01 /${digit}`, mnemonic, 'Ms', (e, dst) =>
    e.system(mnemonic.toLowerCase(), dst!.linear(TABLE_BYTES, true)),
  );
}
for (const [position, mnemonic] of ['LGDT', 'LIDT'].entries()) {
  row(
    `0F 01 /${position + 2}`,
    mnemonic,
    'Ms',
    (e, src) => e.system(mnemonic.toLowerCase(), src!.linear(TABLE_BYTES, false), operandBytes(e)),
    SIZED_PRIVILEGED,
  );
}

/** Rows that hand a selector over; #UD outside protected mode comes before the operand is read. */
const SELECTOR_ROWS: readonly (readonly [number, string, RowOptions])[] = [
  [2, 'LLDT', PRIVILEGED],
  [3, 'LTR', PRIVILEGED],
  [4, 'VERR', {}],
  [5, 'VERW', {}],
];
for (const [digit, mnemonic, options] of SELECTOR_ROWS) {
  row(
    `0F 00 /${digit}`,
    mnemonic,
    'Ew',
    (e, selector) => {
      requireProtectedMode(e);
      // The privilege is checked before the operand is read, whose fault would tell of memory.
      if (options.isPrivileged) requirePrivileged(e);
      e.system(mnemonic.toLowerCase(), selector!.read());
    },
    options,
  );
}

for (const [pattern, mnemonic] of [
  ['0F 02', 'LAR'],
  ['0F 03', 'LSL'],
] as const) {
  row(pattern, mnemonic, 'Gv,Ew', (e, dst, selector) => {
    requireProtectedMode(e);
    const value = e.let(e.systemValue(mnemonic.toLowerCase(), selector!.read()));
    e.f.if(e.flags.zf(), () => dst!.write(ofSize(value, dst!.size)));
  });
}

row('63', 'ARPL', 'Ew,Gw', (e, dst, src) => {
  requireProtectedMode(e);
  // Only an adjustment is a write: without one a read-only destination does not fault (seen on the
  // host's processor).
  const old = e.let(dst!.read());
  const wanted = e.let(src!.read().and(3));
  const isLower = e.let(old.and(3).ltU(wanted));
  e.f.if(isLower, () => dst!.modify((value) => value.and(~3).or(wanted)));
  e.flags.setZero(isLower);
});

// ---- Segment registers and far pointers

const POINTER_ROWS: readonly (readonly [string, string, number])[] = [
  ['C4', 'LES', ES],
  ['C5', 'LDS', DS],
  ['0F B2', 'LSS', SS],
  ['0F B4', 'LFS', FS],
  ['0F B5', 'LGS', GS],
];
for (const [pattern, mnemonic, segment] of POINTER_ROWS) {
  row(pattern, mnemonic, 'Gv,Mp', (e, dst, src) => {
    const { offset, selector } = readFarPointer(e, src!);
    e.systemValue('loadFarPointer', i32(segment), selector);
    dst!.write(offset);
  });
}

const VECTOR_BR = 5;
row('62', 'BOUND', 'Gv,Ma', (e, index, bounds) => {
  const { size } = index!;
  const linear = e.let(bounds!.linear(size * 2, false));
  const lower = e.let(e.loadLinear(linear, size));
  const upper = e.let(e.loadLinear(linear.add(size), size));
  const value = index!.read();
  // Compared in the top half, so that 16-bit values keep their sign.
  const shift = size === 2 ? 16 : 0;
  const top = e.let(value.shl(shift));
  const isBelow = e.let(top.ltS(lower.shl(shift)));
  e.raiseIf(isBelow.or(top.gtS(upper.shl(shift))), VECTOR_BR);
});

// ---- Ports

for (const [pattern, operands] of [
  ['E4', 'AL,Ib'],
  ['E5', 'eAX,Ib'],
  ['EC', 'AL,DX'],
  ['ED', 'eAX,DX'],
] as const) {
  row(pattern, 'IN', operands, (e, dst, port) =>
    dst!.write(e.systemValue('in', port!.read(), i32(dst!.size))),
  );
}
for (const [pattern, operands] of [
  ['E6', 'Ib,AL'],
  ['E7', 'Ib,eAX'],
  ['EE', 'DX,AL'],
  ['EF', 'DX,eAX'],
] as const) {
  row(pattern, 'OUT', operands, (e, port, src) =>
    e.system('out', port!.read(), i32(src!.size), src!.read()),
  );
}
