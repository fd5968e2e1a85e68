// The x87 environment as FSTENV and FLDENV see it, in scratch space: seven words, one in each u32.
// Intel SDM volume 1, section 8.1.10 "Saving the x87 FPU's State", figures 8-9 to 8-12:
//
//   0 control   1 status   2 tag   3 IP   4 CS and opcode   5 DP   6 DS     protected mode
//   0 control   1 status   2 tag   3 IP 15–0   4 IP 31–16 << 12 | opcode   5 DP 15–0
//   6 DP 31–16 << 12                                                        real and V86 mode
//
// The 16-bit forms hold the low halves of the same words.

import { CR0_PE } from '../control-bits.ts';
import { FLAG_VM } from '../flags.ts';
import type { CPUState } from '../state.ts';
import {
  EFLAGS_REST,
  SCRATCH,
  X87_CS,
  X87_DP,
  X87_DS,
  X87_IP,
  X87_OPCODE,
} from '../state-layout.ts';
import { classOf } from './float80.ts';
import type { X87Registers } from './registers.ts';
import {
  CONTROL_FIXED,
  CONTROL_INITIAL,
  CONTROL_WRITABLE,
  STATUS_TOP_SHIFT,
} from './status-word.ts';

const TAG_ZERO = 1;
const TAG_SPECIAL = 2;
const TAG_EMPTY = 3;
/** Reserved upper halves of 32-bit words are stored as ones. */
const RESERVED_ONES = 0xffff_0000;

/** FNINIT: registers keep their bits but are empty. */
export function initialize(state: CPUState, x87: X87Registers): void {
  x87.control = CONTROL_INITIAL;
  x87.status = 0;
  x87.top = 0;
  for (let register = 0; register < 8; register++) x87.setEmptyPhysical(register, true);
  state.set32(X87_OPCODE, 0);
  for (const field of [X87_IP, X87_CS, X87_DP]) state.setWide(field, 0);
  state.set32(X87_DS, 0);
}

/** The tag word, two bits a physical register, made from what the registers hold. */
function tagWord(x87: X87Registers): number {
  let tags = 0;
  for (let register = 0; register < 8; register++) {
    const kind = classOf(x87.readPhysical(register));
    let tag = TAG_SPECIAL;
    if (x87.isEmptyPhysical(register)) tag = TAG_EMPTY;
    else if (kind === 'zero') tag = TAG_ZERO;
    else if (kind === 'normal') tag = 0;
    tags |= tag << (register * 2);
  }
  return tags;
}

function isRealForm(state: CPUState): boolean {
  return (state.cr0 & CR0_PE) === 0 || (state.get32(EFLAGS_REST) & FLAG_VM) !== 0;
}

/** Leaves the seven words in scratch space. */
export function packEnvironment(state: CPUState, x87: X87Registers, operandSize: number): void {
  const opcode = state.get32(X87_OPCODE) & 0x7ff;
  const [ip, dp] = [state.get32(X87_IP), state.get32(X87_DP)];
  const [cs, ds] = [state.get32(X87_CS) & 0xffff, state.get32(X87_DS) & 0xffff];
  const status = x87.status | (x87.top << STATUS_TOP_SHIFT);
  const words = [x87.control, status, tagWord(x87)].map((word) => word | RESERVED_ONES);
  if (isRealForm(state)) {
    const [linearIP, linearDP] = [(cs << 4) + ip, (ds << 4) + dp];
    const upper = (linear: number) => (linear >>> 16) << 12;
    words.push(linearIP | RESERVED_ONES, upper(linearIP) | opcode);
    words.push(linearDP | RESERVED_ONES, upper(linearDP));
  } else {
    // The 16-bit form has no place for the opcode: its CS word is the selector alone.
    words.push(ip, cs | (opcode << 16), dp, ds | RESERVED_ONES);
  }
  for (const [index, word] of words.entries()) {
    state.set32(SCRATCH + index * 4, operandSize === 2 ? word & 0xffff : word);
  }
}

/** Loads control, status, tags and pointers from the words in scratch space. */
export function unpackEnvironment(state: CPUState, x87: X87Registers, operandSize: number): void {
  const word = (index: number) => state.get32(SCRATCH + index * 4);
  x87.control = (word(0) & CONTROL_WRITABLE) | CONTROL_FIXED;
  x87.status = word(1) & 0xffff & ~(7 << STATUS_TOP_SHIFT);
  x87.top = word(1) >> STATUS_TOP_SHIFT;
  for (let register = 0; register < 8; register++) {
    x87.setEmptyPhysical(register, ((word(2) >> (register * 2)) & 3) === TAG_EMPTY);
  }
  if (isRealForm(state)) {
    const linear = (low: number, high: number) => (low & 0xffff) | ((high >>> 12) << 16);
    state.setWide(X87_IP, linear(word(3), word(4)));
    state.setWide(X87_DP, linear(word(5), word(6)));
    state.set32(X87_OPCODE, word(4) & 0x7ff);
    state.setWide(X87_CS, 0);
    state.set32(X87_DS, 0);
  } else {
    state.setWide(X87_IP, word(3));
    state.setWide(X87_CS, word(4) & 0xffff);
    if (operandSize !== 2) state.set32(X87_OPCODE, (word(4) >>> 16) & 0x7ff);
    state.setWide(X87_DP, word(5));
    state.set32(X87_DS, word(6) & 0xffff);
  }
  x87.updateSummary();
}
