// What Intel's processors do otherwise than AMD's, which Quire follows where the manuals leave a
// choice. Seen on Emerald Rapids (family 6, model 0xcf); the SDM's section is named where it speaks
// of the matter. What is not one of these differences is still reported.
//
// Most are about an instruction that has two reasons to fault: "exceptions within each class are
// implementation-dependent and may vary from processor to processor" (SDM volume 3, "Priority Among
// Simultaneous Exceptions and Interrupts"), and "Faults on Executing an Instruction" are one class.

import { register } from './encoding.ts';
import { FX_CONTROL, FX_REGISTER_BYTES, FX_ST, FX_STATUS, FX_TAGS } from './fpu-image.ts';
import type { GeneratedCase } from './generate.ts';
import { recordOffset } from './operand-values.ts';
import {
  NO_VECTOR,
  PAGE_BYTES,
  RECORD_FX,
  RECORD_GPR,
  RESULT_CR2,
  RESULT_ERROR,
  RESULT_VECTOR,
} from './record.ts';

const BOUND_RANGE = 5;
const GENERAL_PROTECTION = 13;
const PAGE_FAULT = 14;
const ESP = 4;
const ESI = 6;
const EDI = 7;
const TOP_SHIFT = 11;
const TOP_MASK = 7 << TOP_SHIFT;
/** IE, OE and UE of the status word, whose masks lie where they do; and ES. */
const SUPPRESSING = 0x19;
const ERROR_SUMMARY = 0x80;
const UNDERFLOW = 0x10;
/** UE, and ES and B. */
const UNMASKED_UNDERFLOW = 0x8090;
const INDEFINITE_SIGNIFICAND = 0xc000_0000_0000_0000n;

/** Two results of one case, the host's and Quire's. */
interface Results {
  readonly c: GeneratedCase;
  readonly native: DataView;
  readonly quire: DataView;
}

const vectorOf = (result: DataView) => result.getUint32(RESULT_VECTOR, true);

/** The page fault's address, or undefined if `result` is something else. */
const faultAddress = (result: DataView) =>
  vectorOf(result) === PAGE_FAULT ? result.getUint32(RESULT_CR2, true) : undefined;

/** How many of the bytes from `linear` lie in its page. */
const roomInPage = (linear: number) => PAGE_BYTES - (linear & (PAGE_BYTES - 1));

/** Whether Quire missed the page behind `linear`'s, of which the host's access needed nothing. */
function isBeyondHost({ quire }: Results, linear: number, hostBytes: number): boolean {
  const room = roomInPage(linear);
  return hostBytes <= room && faultAddress(quire) === linear + room;
}

/** "BOUND": below the lower bound, it does not read the upper one. AMD reads both. */
function isEarlyBound(results: Results): boolean {
  const { c, native } = results;
  const at = recordOffset(c.target!, c.operandBytes);
  if (vectorOf(native) !== BOUND_RANGE || at === undefined) return false;
  const unused = 32 - 8 * c.operandBytes;
  const lower = c.operandBytes === 2 ? c.view.getInt16(at, true) : c.view.getInt32(at, true);
  const index = (register(c.view, c.registerField) << unused) >> unused;
  return index < lower && isBeyondHost(results, c.target!, c.operandBytes);
}

/**
 * A store that an unmasked exception suppresses (SDM volume 1, 8.5.1, 8.5.4 and 8.5.5) does not
 * look at its operand. AMD does.
 */
function isUnseenStore({ c, native, quire }: Results): boolean {
  const unmasked = ~c.view.getUint16(RECORD_FX + FX_CONTROL, true);
  const status = native.getUint16(RECORD_FX + FX_STATUS, true);
  const isSuppressed = (status & ERROR_SUMMARY) !== 0 && (status & unmasked & SUPPRESSING) !== 0;
  const hasFault = [PAGE_FAULT, GENERAL_PROTECTION].includes(vectorOf(quire));
  return vectorOf(native) === NO_VECTOR && hasFault && isSuppressed;
}

/** POP of a segment register reads only the 16 bits that it takes; the others may be missing. */
function isShortPop(results: Results): boolean {
  const esp = register(results.c.view, ESP);
  return vectorOf(results.native) !== PAGE_FAULT && isBeyondHost(results, esp, 2);
}

/** So it is with CS. "RET": "32-bit pop, high-order 16 bits discarded". */
function isShortReturn(results: Results): boolean {
  const esp = register(results.c.view, ESP);
  const hostBytes = results.c.operandBytes + 2;
  return vectorOf(results.native) === NO_VECTOR && isBeyondHost(results, esp, hostBytes);
}

/**
 * "PUSH": of a segment register, "all recent Intel Core and Intel Atom processors perform a 16-bit
 * move, leaving the upper portion of the stack location unmodified"; others extend with zeros.
 */
function settlePush({ c, native }: Results): void {
  if (vectorOf(native) !== NO_VECTOR || c.operandBytes === 2) return;
  const upper = recordOffset(register(c.view, ESP) - 2, 2);
  if (upper === undefined) return;
  const isUnmodified = native.getUint16(upper, true) === c.view.getUint16(upper, true);
  if (isUnmodified) native.setUint16(upper, 0, true);
}

/** Reads ES:EDI before DS:ESI: of two faults the former's counts. AMD begins with DS:ESI. */
function settleCompare({ c, native, quire }: Results): void {
  const isOf = (result: DataView, index: number) => {
    const sizeBytes = c.form.operands[0] === 'Xb' ? 1 : c.operandBytes;
    const from = native.getUint32(RECORD_GPR + index * 4, true);
    const at = faultAddress(result);
    const mask = c.addressBytes === 2 ? 0xffff : 0xffffffff;
    return at !== undefined && ((at - from) & mask) >>> 0 < sizeBytes;
  };
  // A source in a null segment is a fault without an address.
  const isQuireSource = vectorOf(quire) === GENERAL_PROTECTION || isOf(quire, ESI);
  if (!isOf(native, EDI) || !isQuireSource) return;
  for (const field of [RESULT_VECTOR, RESULT_ERROR, RESULT_CR2]) {
    native.setUint32(field, quire.getUint32(field, true), true);
  }
}

/** Reports the beginning of the upper half where the lower one already runs into the next page. */
function settleMaskedMove({ c, native }: Results): void {
  const target = c.target!;
  const room = roomInPage(target);
  if (room < 8 && faultAddress(native) === target + 8) {
    native.setUint32(RESULT_CR2, target + room, true);
  }
}

/**
 * Of a number of 80 bits the first 64 are stored even if the page of the others is missing: "some
 * of the accesses may complete […] while another causes the operation to fault" (SDM volume 3,
 * "Guaranteed Atomic Operations").
 */
function settleExtendedStore({ c, native }: Results): void {
  const room = roomInPage(c.target!);
  const at = recordOffset(c.target!, 8);
  const isSplit = room >= 8 && room < 10 && faultAddress(native) === c.target! + room;
  if (!isSplit || at === undefined) return;
  if (c.form.mnemonic === 'FSTP' && native.getBigUint64(at, true) !== significandOfST0(c)) return;
  native.setBigUint64(at, c.view.getBigUint64(at, true), true);
}

function significandOfST0(c: GeneratedCase): bigint {
  const top = (c.view.getUint16(RECORD_FX + FX_STATUS, true) & TOP_MASK) >> TOP_SHIFT;
  const isEmpty = ((c.view.getUint8(RECORD_FX + FX_TAGS) >> top) & 1) === 0;
  return isEmpty ? INDEFINITE_SIGNIFICAND : c.view.getBigUint64(RECORD_FX + FX_ST, true);
}

/**
 * A store of an MMX register that faults has already gone over to MMX state (SDM volume 3, 12.2):
 * TOP is 0, which changes the number by which each x87 register is known.
 */
function settleMMXStore({ c, native }: Results): void {
  const vector = vectorOf(native);
  const status = native.getUint16(RECORD_FX + FX_STATUS, true);
  const isFault = vector === PAGE_FAULT || vector === GENERAL_PROTECTION;
  if (!isFault || (status & TOP_MASK) !== 0) return;
  const before = c.view.getUint16(RECORD_FX + FX_STATUS, true) & TOP_MASK;
  native.setUint16(RECORD_FX + FX_STATUS, status | before, true);
  const begin = native.byteOffset + RECORD_FX + FX_ST;
  const registers = new Uint8Array(native.buffer, begin, 8 * FX_REGISTER_BYTES);
  const rotated = registers.slice((before >> TOP_SHIFT) * FX_REGISTER_BYTES);
  registers.copyWithin(rotated.length, 0);
  registers.set(rotated);
}

/**
 * FPREM and FPREM1 by infinity and FSCALE by zero leave ST(0) as it is, even a denormal with
 * underflow unmasked. To AMD that is a tiny result like any other (SDM volume 1, 8.5.5).
 */
function settleTinyCopy({ c, native, quire }: Results): void {
  const st = (view: DataView, index: number) => {
    const at = RECORD_FX + FX_ST + index * FX_REGISTER_BYTES;
    return [view.getBigUint64(at, true), view.getUint16(at + 8, true)] as const;
  };
  const [significand, signExponent] = st(c.view, 0);
  const [other, otherExponent] = st(c.view, 1);
  const isSpecial =
    c.form.mnemonic === 'FSCALE'
      ? other === 0n && (otherExponent & 0x7fff) === 0
      : other === 1n << 63n && (otherExponent & 0x7fff) === 0x7fff;
  const isMasked = (c.view.getUint16(RECORD_FX + FX_CONTROL, true) & UNDERFLOW) !== 0;
  const isTiny = (signExponent & 0x7fff) === 0;
  const [hostSignificand, hostExponent] = st(native, 0);
  const isCopy = hostSignificand === significand && hostExponent === signExponent;
  if (isMasked || !isSpecial || !isTiny || !isCopy) return;
  const status = native.getUint16(RECORD_FX + FX_STATUS, true);
  native.setUint16(RECORD_FX + FX_STATUS, status | UNMASKED_UNDERFLOW, true);
  const [scaled, scaledExponent] = st(quire, 0);
  native.setBigUint64(RECORD_FX + FX_ST, scaled, true);
  native.setUint16(RECORD_FX + FX_ST + 8, scaledExponent, true);
}

/** By opcode as forms.ts has it: whether the difference in faults is one that is known. */
const KNOWN_FAULTS: ReadonlyMap<string, (results: Results) => boolean> = new Map([
  ['62', isEarlyBound],
  ...['07', '17', '1F', '0F A1', '0F A9'].map((opcode) => [opcode, isShortPop] as const),
  ...['CA', 'CB'].map((opcode) => [opcode, isShortReturn] as const),
  ...['D9 /2', 'D9 /3', 'DD /2', 'DD /3', 'DB /7'].map(
    (opcode) => [opcode, isUnseenStore] as const,
  ),
  ...['DB /2', 'DB /3', 'DF /2', 'DF /3', 'DF /6', 'DF /7'].map(
    (opcode) => [opcode, isUnseenStore] as const,
  ),
]);

/** By opcode: makes of the host's result what AMD would have given. */
const SETTLED: ReadonlyMap<string, (results: Results) => void> = new Map([
  ...['06', '0E', '16', '1E', '0F A0', '0F A8'].map((opcode) => [opcode, settlePush] as const),
  ['A6', settleCompare],
  ['A7', settleCompare],
  ['66 0F F7', settleMaskedMove],
  ['DB /7', settleExtendedStore],
  ['DF /6', settleExtendedStore],
  ...['D9 F5', 'D9 F8', 'D9 FD'].map((opcode) => [opcode, settleTinyCopy] as const),
  ...['0F 7E', '0F 7F', '0F E7'].map((opcode) => [opcode, settleMMXStore] as const),
]);

/**
 * Whether an Intel host went on where Quire faults, or faulted otherwise, for a reason that is
 * known; the two results then have nothing in common. If not, what else Intel's processors do
 * differently is undone in `native`, where it is exactly that.
 */
export function settleIntel(c: GeneratedCase, native: DataView, quire: DataView): boolean {
  const results = { c, native, quire };
  if (KNOWN_FAULTS.get(c.form.opcode)?.(results)) return true;
  SETTLED.get(c.form.opcode)?.(results);
  return false;
}
