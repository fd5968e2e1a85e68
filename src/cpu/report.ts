// The processor as text for people, in the layout of QEMU's `info registers`.

import type { MMU } from './mmu.ts';
import type { CPUState } from './state.ts';
import {
  A20_MASK,
  CR0,
  CR2,
  CR3,
  CR4,
  CS,
  DR,
  DS,
  EFER,
  ES,
  FS,
  GDTR_BASE,
  GDTR_LIMIT,
  GS,
  HALTED,
  IDTR_BASE,
  IDTR_LIMIT,
  INTERRUPT_SHADOW,
  LDTR,
  MXCSR,
  SS,
  TR,
  X87,
  X87_BYTES,
  X87_CONTROL,
  X87_EMPTY,
  X87_STATUS,
  X87_TOP,
  XMM,
  XMM_BYTES,
} from './state-layout.ts';

const A20_ALL = 0xffff_ffff;
const SEGMENTS: readonly [string, number][] = [
  ['ES', ES],
  ['CS', CS],
  ['SS', SS],
  ['DS', DS],
  ['FS', FS],
  ['GS', GS],
  ['LDT', LDTR],
  ['TR', TR],
];
const XMM_COUNT = 8;
const CODE_BYTES_BEFORE = 16;
const CODE_BYTES = 48;

function hex(value: number | bigint, digits = 8): string {
  return value.toString(16).padStart(digits, '0');
}

/** DF OF SF ZF AF PF CF, a letter where set. */
function flagLetters(eflags: number): string {
  const letters: readonly [number, string][] = [
    [10, 'D'],
    [11, 'O'],
    [7, 'S'],
    [6, 'Z'],
    [4, 'A'],
    [2, 'P'],
    [0, 'C'],
  ];
  return letters.map(([bit, letter]) => ((eflags >> bit) & 1 ? letter : '-')).join('');
}

/** Type of a descriptor in letters: SDM volume 3, section 3.4.5.1 and table 3-2. */
function segmentKind(attributes: number): string {
  const dpl = `DPL=${(attributes >> 5) & 3}`;
  const type = attributes & 0xf;
  if ((attributes & 0x80) === 0) return dpl;
  if ((attributes & 0x10) === 0) {
    const names: Readonly<Record<number, string>> = {
      1: 'TSS16-avl',
      2: 'LDT',
      3: 'TSS16-busy',
      9: 'TSS32-avl',
      11: 'TSS32-busy',
    };
    return `${dpl} ${names[type] ?? `type ${type}`}`;
  }
  const isCode = (type & 8) !== 0;
  const isWide = (attributes & 0x4000) !== 0;
  const letter = (bit: number, name: string) => ((type & bit) !== 0 ? name : '-');
  const letters = isCode
    ? letter(4, 'C') + letter(2, 'R') + letter(1, 'A')
    : letter(4, 'E') + letter(2, 'W') + letter(1, 'A');
  const width = isWide ? (isCode ? '32' : '  ') : '16';
  return `${dpl} ${isCode ? 'CS' : 'DS'}${width} [${letters}]`;
}

function floatingPoint(state: CPUState): string {
  const top = state.get32(X87_TOP);
  let tags = 0;
  for (let index = 0; index < 8; index++)
    tags |= state.u8[X87_EMPTY + index]! === 0 ? 1 << index : 0;
  const head =
    `FCW=${hex(state.get32(X87_CONTROL) & 0xffff, 4)} ` +
    `FSW=${hex((state.get32(X87_STATUS) & 0xc7ff) | (top << 11), 4)} [ST=${top}] ` +
    `FTW=${hex(tags, 2)} MXCSR=${hex(state.get32(MXCSR))}\n`;
  let text = head;
  for (let index = 0; index < 8; index++) {
    const offset = X87 + index * X87_BYTES;
    const significand = state.view.getBigUint64(offset, true);
    const exponent = state.view.getUint16(offset + 8, true);
    text += `FPR${index}=${hex(significand, 16)} ${hex(exponent, 4)}${index & 1 ? '\n' : ' '}`;
  }
  for (let index = 0; index < XMM_COUNT; index++) {
    const offset = XMM + index * XMM_BYTES;
    const high = state.view.getBigUint64(offset + 8, true);
    const low = state.view.getBigUint64(offset, true);
    text += `XMM0${index}=${hex(high, 16)} ${hex(low, 16)}${index & 1 ? '\n' : ' '}`;
  }
  return text;
}

/** The architectural state, for people; the machine should be paused or between two slices. */
export function formatRegisters(state: CPUState): string {
  const reg = (name: string, index: number) => `${name}=${hex(state.reg32(index))}`;
  const { eflags } = state;
  const a20 = state.get32(A20_MASK) === A20_ALL ? 1 : 0;
  // Descriptors mean nothing in real mode.
  const isProtected = (state.cr0 & 1) !== 0;
  const segments = SEGMENTS.map(([name, index]) => {
    const attributes = state.segAttributes(index) & 0xffff;
    const limit = state.segLimit(index);
    // QEMU shows the descriptor's second word, where four bits of the limit lie in the middle.
    const limitBits = ((attributes & 0x8000) !== 0 ? limit >>> 28 : limit >>> 16) & 0xf;
    const word = (attributes | (limitBits << 8)) << 8;
    return (
      `${name.padEnd(3)}=${hex(state.selector(index), 4)} ${hex(state.segBase(index))} ` +
      `${hex(limit)} ${hex(word)}` +
      `${isProtected ? ` ${segmentKind(attributes)}` : ''}\n`
    );
  });
  const table = (name: string, base: number, limit: number) =>
    `${name}=     ${hex(state.get32(base))} ${hex(state.get32(limit))}\n`;
  const wide = (offset: number) => hex(state.get32(offset));
  const inhibited = state.get32(INTERRUPT_SHADOW) === 0 ? 0 : 1;
  const debug = (index: number) => `DR${index}=${wide(DR + index * 8)}`;
  return [
    `${reg('EAX', 0)} ${reg('EBX', 3)} ${reg('ECX', 1)} ${reg('EDX', 2)}\n`,
    `${reg('ESI', 6)} ${reg('EDI', 7)} ${reg('EBP', 5)} ${reg('ESP', 4)}\n`,
    `EIP=${hex(state.eip)} EFL=${hex(eflags)} [${flagLetters(eflags)}] CPL=${state.cpl} ` +
      `II=${inhibited} A20=${a20} SMM=0 HLT=${state.get32(HALTED)}\n`,
    ...segments,
    table('GDT', GDTR_BASE, GDTR_LIMIT),
    table('IDT', IDTR_BASE, IDTR_LIMIT),
    `CR0=${wide(CR0)} CR2=${wide(CR2)} CR3=${wide(CR3)} CR4=${wide(CR4)}\n`,
    `${[0, 1, 2, 3].map(debug).join(' ')} \n${debug(6)} ${debug(7)}\n`,
    `EFER=${hex(state.view.getBigUint64(EFER, true), 16)}\n`,
    floatingPoint(state),
  ].join('');
}

/** The architectural state and the bytes around CS:EIP; several lines, without a final newline. */
export function reportState(state: CPUState, mmu: MMU): string {
  return `${formatRegisters(state)}Code=${codeBytes(state, mmu)}`;
}

/** Bytes around CS:EIP, that of EIP in angle brackets; `??` where nothing is mapped. */
function codeBytes(state: CPUState, mmu: MMU): string {
  const linear = state.segBase(CS) + state.eip;
  const cells: string[] = [];
  for (let index = -CODE_BYTES_BEFORE; index < CODE_BYTES - CODE_BYTES_BEFORE; index++) {
    const byte = mmu.peekByte((linear + index) >>> 0);
    const text = byte < 0 ? '??' : hex(byte, 2);
    cells.push(index === 0 ? `<${text}>` : text);
  }
  return cells.join(' ');
}
