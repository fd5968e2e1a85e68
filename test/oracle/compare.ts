// Compares what two processors did with one case, bit for bit, but for what the manuals leave open.

import { isIntelHost } from '../host-vendor.ts';
import { FX_CONTROL, FX_MXCSR, FX_ST, FX_STATUS, FX_TAGS, FX_XMM } from './fpu-image.ts';
import type { GeneratedCase } from './generate.ts';
import { settleIntel } from './intel.ts';
import { recordOffset } from './operand-values.ts';
import {
  NO_VECTOR,
  RECORD_EFLAGS,
  RECORD_FX,
  RECORD_GPR,
  RECORD_WINDOW,
  RESULT_CR2,
  RESULT_EIP,
  RESULT_ERROR,
  RESULT_OUTSIDE,
  RESULT_SEGMENTS,
  RESULT_VECTOR,
  WINDOW_BYTES,
} from './record.ts';
import { isResultUndefined, undefinedConditionCodes, undefinedFlags } from './undefined-flags.ts';

const REGISTERS = ['eax', 'ecx', 'edx', 'ebx', 'esp', 'ebp', 'esi', 'edi'];
const SEGMENTS = ['ds', 'es', 'fs', 'gs'];
const RF = 0x10000;
const ARITHMETIC = 0x8d5;
const PAGE_FAULT = 14;
const DIVIDE_ERROR = 0;
/** Instruction fetch, reported only where NX is on (SDM volume 3, 4.7), as it is natively. */
const ERROR_FETCH = 0x10;
const UNDERFLOW = 0x10;
const PRECISION = 0x20;
/** ES and B: an unmasked precision exception shows here as well. */
const SUMMARY = 0x8080;

/** How far a transcendental result may lie from the host's, as a power of two of its size. */
const X87_TOLERANCE_BITS = 50;
/** "RCPPS": the relative error is at most 1.5 · 2^−12; two processors may be twice that apart. */
const SSE_TOLERANCE = 2 * 1.5 * 2 ** -12;
/** Around the smallest normal number one may still be there where the other is zero already. */
const SSE_TINY = 2 ** -126 * (1 + SSE_TOLERANCE);

const hex = (value: number, digits = 8) => value.toString(16).padStart(digits, '0');

/**
 * Lines that each name one difference; empty where both agree. `native` is the host's result, and
 * is changed where the host is Intel's and known to do otherwise than Quire.
 */
export function differences(c: GeneratedCase, native: DataView, quire: DataView): string[] {
  const found = rawDifferences(c, native, quire);
  // Only now: on KVM, Quire's processor is the host's and may be Intel's as well.
  if (found.length === 0 || !isIntelHost) return found;
  return settleIntel(c, native, quire) ? [] : rawDifferences(c, native, quire);
}

function rawDifferences(c: GeneratedCase, native: DataView, quire: DataView): string[] {
  const found: string[] = [];
  const check = (name: string, offset: number, mask = 0xffffffff) => {
    const a = native.getUint32(offset, true);
    const b = quire.getUint32(offset, true);
    if (((a ^ b) & mask) !== 0) found.push(`${name}: native ${hex(a)}, quire ${hex(b)}`);
  };
  const vector = native.getUint32(RESULT_VECTOR, true);
  const isFault = vector !== NO_VECTOR;
  if (isFaultOrderFree(c, native, quire)) return found;
  check('vector', RESULT_VECTOR);
  check('error code', RESULT_ERROR, vector === PAGE_FAULT ? ~ERROR_FETCH : 0xffffffff);
  if (!MANY_ACCESSES.test(c.form.mnemonic)) check('CR2', RESULT_CR2);
  // Hosts that are virtual machines themselves report INT1 as a fault; it is a trap (SDM "INT n").
  if (c.form.mnemonic !== 'INT1') check('EIP', RESULT_EIP);
  // Where one side faults, everything else follows from that.
  if (isResultUndefined(c) || found[0]?.startsWith('vector')) return found;
  REGISTERS.forEach((name, i) => {
    // AMD loads what POPA has read before the fault; restarting does not mind.
    if (isFault && c.form.mnemonic === 'POPA' && i !== ESP) return;
    // "LAR": bits 16 to 19 of the result are undefined.
    const isAccessRights = c.form.mnemonic === 'LAR' && i === c.registerField;
    check(name, RECORD_GPR + i * 4, isAccessRights ? ~0xf0000 : 0xffffffff);
  });
  check('eflags', RECORD_EFLAGS, ~(RF | maskedFlags(c, vector)));
  SEGMENTS.forEach((name, i) => {
    // A null selector is 0 to 3; the host's kernel clears the low bits when it switches threads.
    const selector = (result: DataView) => {
      const value = result.getUint16(RESULT_SEGMENTS + i * 2, true);
      return value < 4 ? 0 : value;
    };
    const a = selector(native);
    const b = selector(quire);
    if (a !== b) found.push(`${name}: native ${hex(a, 4)}, quire ${hex(b, 4)}`);
  });
  const isImage = /^F(NSTENV|NSAVE)$/.test(c.form.mnemonic);
  // Pointers within the image that lie outside the window cannot be masked.
  const isOutside = isImage && recordOffset(c.target!, 1) === undefined;
  if (!isOutside) check('data page outside the window', RESULT_OUTSIDE);
  compareWindow(c, native, quire, found);
  compareFPU(c, native, quire, isFault, found);
  return found;
}

/** Reads or writes several things: which of two missing pages is named in CR2 is not told. */
const MANY_ACCESSES =
  /^(PUSHA|POPA|ENTER|IRET|RETF|CALL|JMP|L[DEFGS]S|F(NSAVE|RSTOR|LDENV|NSTENV))$/;
const ESP = 4;
const COUNT = RECORD_GPR + 4;

/**
 * Cases in which the manuals do not say which of several faults comes first, or whether one does.
 */
function isFaultOrderFree(c: GeneratedCase, native: DataView, quire: DataView): boolean {
  const { mnemonic, options } = c.form;
  const bothFault = [native, quire].every((v) => v.getUint32(RESULT_VECTOR, true) !== NO_VECTOR);
  // AMD reads the outer stack before it checks the selector's RPL.
  if (bothFault && (mnemonic === 'RETF' || mnemonic === 'IRET')) return true;
  // A store that an unmasked exception suppresses: does the page have to be there? AMD looks.
  const isSuppressed =
    options.has('x87') &&
    native.getUint32(RESULT_VECTOR, true) === PAGE_FAULT &&
    quire.getUint32(RESULT_VECTOR, true) === NO_VECTOR &&
    (quire.getUint16(RECORD_FX + FX_STATUS, true) & SUMMARY) !== 0;
  if (isSuppressed) return true;
  // Repeated no times, does INS ask for permission? The host does; SDM "INS", "REP" leave it open.
  return options.has('privileged') && c.hasRepeat && (c.view.getUint32(COUNT, true) & 0xffff) === 0;
}

function maskedFlags(c: GeneratedCase, vector: number): number {
  if (vector === NO_VECTOR) return undefinedFlags(c);
  if (vector === DIVIDE_ERROR) return ARITHMETIC;
  // SDM "REP": after a fault of CMPS or SCAS, EFLAGS are those from before the instruction; AMD's
  // manual (volume 3, "REPE") has those of the last iteration. Resuming needs neither.
  return c.hasRepeat && /^(CMPS|SCAS)$/.test(c.form.mnemonic) ? ARITHMETIC : 0;
}

function compareWindow(c: GeneratedCase, native: DataView, quire: DataView, found: string[]): void {
  const skipped = new Set<number>();
  const { mnemonic } = c.form;
  if (mnemonic === 'FNSTENV' || mnemonic === 'FNSAVE') {
    // Instruction and operand pointers: AMD keeps them only while an exception is pending
    // (AMD64 manual volume 2, 11.4.4.3 "FXSAVE and FXRSTOR"), and selectors are not kept since.
    const [first, last] = c.operandBytes === 2 ? [6, 13] : [12, 27];
    for (let i = first; i <= last; i++) {
      const at = recordOffset(c.target! + i, 1);
      if (at !== undefined) skipped.add(at);
    }
  }
  for (let i = RECORD_WINDOW; i < RECORD_WINDOW + WINDOW_BYTES; i++) {
    if (native.getUint8(i) === quire.getUint8(i) || skipped.has(i)) continue;
    const row = (view: DataView) =>
      Array.from({ length: 16 }, (_, k) =>
        i + k < view.byteLength ? hex(view.getUint8(i + k), 2) : '',
      ).join(' ');
    found.push(`window+${hex(i - RECORD_WINDOW, 2)}: native ${row(native)}, quire ${row(quire)}`);
    return;
  }
}

function compareFPU(
  c: GeneratedCase,
  native: DataView,
  quire: DataView,
  isFault: boolean,
  found: string[],
): void {
  const approximate = isFault ? undefined : c.form.settings.get('approximate');
  const word = (name: string, offset: number, mask = 0xffff) => {
    const a = native.getUint16(RECORD_FX + offset, true);
    const b = quire.getUint16(RECORD_FX + offset, true);
    if (((a ^ b) & mask) !== 0) found.push(`${name}: native ${hex(a, 4)}, quire ${hex(b, 4)}`);
  };
  word('x87 control', FX_CONTROL);
  const status = native.getUint16(RECORD_FX + FX_STATUS, true);
  const codes = isFault ? 0 : undefinedConditionCodes(c, status);
  let rounding = approximate === 'x87' ? PRECISION | SUMMARY : 0;
  if (rounding !== 0 && isAcrossTiny(native, quire)) rounding |= UNDERFLOW;
  word('x87 status', FX_STATUS, 0xffff & ~(codes | rounding));
  word('x87 tags', FX_TAGS, 0xff);
  word('mxcsr', FX_MXCSR);
  for (let i = 0; i < 8; i++) {
    const at = RECORD_FX + FX_ST + i * 16;
    if (bytesEqual(native, quire, at, 10)) continue;
    if (approximate === 'x87' && extendedClose(native, quire, at)) continue;
    found.push(`st${i}: native ${extendedText(native, at)}, quire ${extendedText(quire, at)}`);
  }
  for (let i = 0; i < 8; i++) {
    const at = RECORD_FX + FX_XMM + i * 16;
    if (bytesEqual(native, quire, at, 16)) continue;
    if (approximate === 'sse' && singlesClose(native, quire, at)) continue;
    found.push(`xmm${i}: native ${vectorText(native, at)}, quire ${vectorText(quire, at)}`);
  }
}

function bytesEqual(a: DataView, b: DataView, offset: number, count: number): boolean {
  for (let i = 0; i < count; i++)
    if (a.getUint8(offset + i) !== b.getUint8(offset + i)) return false;
  return true;
}

/** Whether a number is tiny on one side and the smallest that is not on the other. */
function isAcrossTiny(native: DataView, quire: DataView): boolean {
  for (let i = 0; i < 8; i++) {
    const at = RECORD_FX + FX_ST + i * 16 + 8;
    const [a, b] = [native.getUint16(at, true), quire.getUint16(at, true)];
    if (((a ^ b) & 0xffff) === 1 && (a & b & 0x7fff) === 0) return true;
  }
  return false;
}

function extendedClose(a: DataView, b: DataView, at: number): boolean {
  const [ea, eb] = [a.getUint16(at + 8, true), b.getUint16(at + 8, true)];
  const [ma, mb] = [a.getBigUint64(at, true), b.getBigUint64(at, true)];
  // Tiny results may be zero on one side only through a flush; anything else keeps sign and size.
  if ((ea & 0x7fff) === 0x7fff || (eb & 0x7fff) === 0x7fff) return false;
  if ((ea ^ eb) & 0x8000) return false;
  // Exponent 0 stands for as much as 1 does (SDM volume 1, table 4-3).
  const apart = Math.max(ea & 0x7fff, 1) - Math.max(eb & 0x7fff, 1);
  if (Math.abs(apart) > 1) return false;
  const difference = (apart > 0 ? ma << 1n : ma) - (apart < 0 ? mb << 1n : mb);
  const size = difference < 0n ? -difference : difference;
  return size <= 1n << BigInt(64 - X87_TOLERANCE_BITS);
}

function singlesClose(a: DataView, b: DataView, at: number): boolean {
  for (let i = 0; i < 16; i += 4) {
    if (a.getUint32(at + i, true) === b.getUint32(at + i, true)) continue;
    const [x, y] = [a.getFloat32(at + i, true), b.getFloat32(at + i, true)];
    const isTiny = Math.abs(x) <= SSE_TINY && Math.abs(y) <= SSE_TINY;
    const isSameSign = (a.getUint32(at + i, true) ^ b.getUint32(at + i, true)) >= 0;
    if (isTiny && isSameSign) continue;
    if (!(Math.abs(x - y) <= SSE_TOLERANCE * Math.abs(x))) return false;
  }
  return true;
}

const extendedText = (view: DataView, at: number) => {
  const significand = view.getBigUint64(at, true).toString(16).padStart(16, '0');
  return `${hex(view.getUint16(at + 8, true), 4)}:${significand}`;
};

const vectorText = (view: DataView, at: number) =>
  [12, 8, 4, 0].map((i) => hex(view.getUint32(at + i, true))).join('_');

/** The registers, flags and operand of a case, for people. */
export function describeCase(c: GeneratedCase): string {
  const bytes = Array.from(c.record.subarray(1, 1 + c.lengthBytes), (b) => hex(b, 2)).join(' ');
  const registers = REGISTERS.map(
    (name, i) => `${name}=${hex(c.view.getUint32(RECORD_GPR + i * 4, true))}`,
  ).join(' ');
  const operand =
    c.target === undefined ? '' : `, operand at ${hex(c.target >>> 0)}: ${operandText(c)}`;
  const fx = RECORD_FX;
  const fpu =
    `fcw=${hex(c.view.getUint16(fx + FX_CONTROL, true), 4)} ` +
    `fsw=${hex(c.view.getUint16(fx + FX_STATUS, true), 4)} ` +
    `tags=${hex(c.view.getUint8(fx + FX_TAGS), 2)} ` +
    `mxcsr=${hex(c.view.getUint32(fx + FX_MXCSR, true), 4)}`;
  const lines = [
    `${c.form.opcode} ${c.form.mnemonic} ${c.form.operands.join(',')}`,
    `  bytes ${bytes} at ${hex(c.start)}`,
    `  ${registers}`,
    `  eflags=${hex(c.view.getUint32(RECORD_EFLAGS, true))} ${fpu}${operand}`,
  ];
  for (let i = 0; i < 8 && c.form.options.has('x87'); i++) {
    lines.push(`  st${i} ${extendedText(c.view, fx + FX_ST + i * 16)}`);
  }
  for (let i = 0; i < 8 && [...c.form.options].some((o) => /^(sse|mmx)/.test(o)); i++) {
    const mm = extendedText(c.view, fx + FX_ST + i * 16);
    lines.push(`  xmm${i} ${vectorText(c.view, fx + FX_XMM + i * 16)}  mm${i} ${mm}`);
  }
  return lines.join('\n');
}

function operandText(c: GeneratedCase): string {
  return Array.from({ length: 16 }, (_, i) => {
    const at = recordOffset(c.target! + i, 1);
    return at === undefined ? '--' : hex(c.view.getUint8(at), 2);
  }).join(' ');
}
