// The processor's state as text for people, in the manner of QEMU's `info registers`.

import type { MMU } from './mmu.ts';
import type { CPUState } from './state.ts';
import {
  A20_MASK,
  CR0,
  CS,
  DR,
  EFER,
  GDTR_BASE,
  GDTR_LIMIT,
  HALTED,
  IDTR_BASE,
  IDTR_LIMIT,
  INTERRUPT_SHADOW,
  SEGMENT,
  SEGMENT_BYTES,
} from './state-layout.ts';

const REGISTERS = ['EAX', 'ECX', 'EDX', 'EBX', 'ESP', 'EBP', 'ESI', 'EDI'] as const;
/** In the order in which they are shown. */
const SHOWN = [0, 3, 1, 2, 6, 7, 5, 4] as const;
const SEGMENTS = ['ES', 'CS', 'SS', 'DS', 'FS', 'GS', 'LDT', 'TR'] as const;
const CODE_BYTES_BEFORE = 16;
const CODE_BYTES = 48;

/** Fixed-width hexadecimal. */
function hex(value: number, digits = 8): string {
  return (value >>> 0).toString(16).padStart(digits, '0');
}

/** Several lines, without a final newline. */
export function reportState(state: CPUState, mmu: MMU): string {
  const lines: string[] = [];
  for (let row = 0; row < 8; row += 4) {
    const cells = SHOWN.slice(row, row + 4).map((r) => `${REGISTERS[r]}=${hex(state.reg32(r))}`);
    lines.push(cells.join(' '));
  }
  lines.push(
    `EIP=${hex(state.eip)} EFL=${hex(state.eflags)} [${flagLetters(state.eflags)}] ` +
      `CPL=${state.cpl} II=${state.get32(INTERRUPT_SHADOW)} ` +
      `A20=${state.get32(A20_MASK) === 0xffff_ffff ? 1 : 0} HLT=${state.get32(HALTED)}`,
  );
  for (const [index, name] of SEGMENTS.entries()) {
    const words = (offset: number) => state.get32(SEGMENT + index * SEGMENT_BYTES + offset);
    lines.push(
      `${name.padEnd(3)}=${hex(words(0), 4)} ${hex(words(8))} ${hex(words(16))} ` +
        `${hex(words(4), 5)} ${describeSegment(words(4), index >= 6)}`,
    );
  }
  lines.push(`GDT=     ${hex(state.get32(GDTR_BASE))} ${hex(state.get32(GDTR_LIMIT))}`);
  lines.push(`IDT=     ${hex(state.get32(IDTR_BASE))} ${hex(state.get32(IDTR_LIMIT))}`);
  const control = [0, 2, 3, 4].map((n) => `CR${n}=${hex(state.get32(CR0 + n * 8))}`);
  lines.push(control.join(' '));
  const debug = [0, 1, 2, 3, 6, 7].map((n) => `DR${n}=${hex(state.get32(DR + n * 8))}`);
  lines.push(debug.join(' '));
  lines.push(`EFER=${hex(state.get32(EFER))}`);
  lines.push(`Code=${codeBytes(state, mmu)}`);
  return lines.join('\n');
}

function flagLetters(flags: number): string {
  const letters = 'ODSZAPC';
  const bits = [11, 10, 7, 6, 4, 2, 0];
  return bits.map((bit, i) => ((flags >>> bit) & 1 ? letters[i] : '-')).join('');
}

function describeSegment(attributes: number, isSystem: boolean): string {
  if ((attributes & 0x1_0000) !== 0) return 'unusable';
  const level = `DPL=${(attributes >>> 5) & 3}`;
  if (isSystem) return `${level} type ${attributes & 15}`;
  const size = (attributes & 0x4000) !== 0 ? '32' : '16';
  const isCode = (attributes & 8) !== 0;
  const letter = (bit: number, text: string) => ((attributes & bit) !== 0 ? text : '-');
  const kind = isCode
    ? `CS${size} [${letter(4, 'C')}${letter(2, 'R')}${letter(1, 'A')}]`
    : `DS${size} [${letter(4, 'E')}${letter(2, 'W')}${letter(1, 'A')}]`;
  return `${level} ${kind}`;
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
