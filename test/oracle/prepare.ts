// What single forms need so that a case is useful and never leaves the prepared memory: branch
// targets, selectors, stack contents, divisors that do not always overflow.

import { type MutableCase, register, setRegister } from './encoding.ts';
import { FX_ST, FX_TAGS, validControlWord } from './fpu-image.ts';
import { recordOffset } from './operand-values.ts';
import type { Random } from './random.ts';
import { CODE_BASE, DATA_BASE, RECORD_FX, USER_CS, USER_DS } from './record.ts';

/** Null, user data and code, wrong privilege, kernel code and data, beyond the table. */
const SELECTORS = [
  0,
  1,
  2,
  3,
  USER_DS,
  USER_DS,
  USER_DS,
  USER_CS,
  0x28,
  0x29,
  0x20,
  0x10,
  0x18,
  0xfff8,
];
const CODE_SELECTORS = [USER_CS, USER_CS, USER_CS, 0x20, 0x21, 0x22, 0, 3, USER_DS, 0x10, 0xfff8];
const FLAG_TF_AND_AC = 0x40100;
const LINUX_SYSTEM_CALL = 0x80;

/** Code that is mapped and not the instruction's own, or nothing at all. */
function branchTarget(random: Random): number {
  if (random.chance(0.06)) return DATA_BASE + 0x10000 + random.below(64);
  return CODE_BASE + (random.chance(0.5) ? 0x100 : 0x900) + random.below(0x600);
}

function writeNumber(current: MutableCase, linear: number, value: number, sizeBytes: number): void {
  const at = recordOffset(linear, sizeBytes);
  for (let i = 0; at !== undefined && i < sizeBytes; i++) {
    current.view.setUint8(at + i, (value >>> (8 * i)) & 0xff);
  }
}

/**
 * Settles registers before the ModRM byte is chosen. `wanted` is where memory shall be accessed.
 */
export function beforeEncoding(current: MutableCase, wanted: number): void {
  const { random, view, pinned, form } = current;
  switch (form.settings.get('prepare')) {
    case 'bit': {
      // The register chooses a bit up to a few doublewords away from the operand.
      const bits = random.below(256) - 64;
      const high = current.operandBytes === 2 ? random.bits() & 0xffff0000 : 0;
      const value = current.operandBytes === 2 ? (bits & 0xffff) | high : bits;
      setRegister(view, current.registerField, value >>> 0);
      pinned.add(current.registerField);
      return;
    }
    case 'divide': {
      if (random.chance(0.4)) return;
      const dividend = random.edge32();
      const isSigned = form.mnemonic === 'IDIV';
      setRegister(view, 0, dividend);
      setRegister(view, 2, isSigned && dividend >> 31 ? 0xffffffff : random.below(4) >> 1);
      pinned.add(0).add(2);
      return;
    }
    case 'xlat': {
      setRegister(view, 3, (wanted - (register(view, 0) & 0xff)) >>> 0);
      return;
    }
    case 'maskedMove':
      setRegister(view, 7, wanted);
      pinned.add(7);
      current.target = wanted;
      return;
    case 'enter':
    case 'leave': {
      const isNear = random.chance(0.9);
      setRegister(view, 5, isNear ? wanted & ~3 : wanted);
      pinned.add(5);
      return;
    }
    case 'compareExchange':
      pinned.add(0);
      if (form.mnemonic === 'CMPXCHG8B') pinned.add(2);
  }
}

/** Settles memory, registers and immediates when everything else is encoded. */
export function afterEncoding(current: MutableCase): void {
  const { random, view, form, bytes, operandBytes, target } = current;
  const esp = register(view, 4);
  switch (form.settings.get('prepare')) {
    case 'compareExchange':
      prepareCompare(current);
      return;
    case 'selector': {
      const selector = random.pick(SELECTORS);
      if (target !== undefined) writeNumber(current, target, selector, 2);
      // ESP as well: a random selector may name what only the host's table holds.
      else view.setUint16(16 + current.rm * 4, selector, true);
      return;
    }
    case 'popSegment':
      writeNumber(current, esp, random.pick(SELECTORS), 2);
      return;
    case 'farPointer':
      writeNumber(current, target!, random.pick(SELECTORS), 0);
      writeNumber(current, target! + operandBytes, random.pick(SELECTORS), 2);
      return;
    case 'farIndirect':
      writeNumber(current, target!, branchTarget(random), operandBytes);
      writeNumber(current, target! + operandBytes, random.pick(CODE_SELECTORS), 2);
      return;
    case 'farDirect': {
      const to = branchTarget(random);
      for (let i = 0; i < operandBytes; i++) bytes.push((to >>> (8 * i)) & 0xff);
      const selector = random.pick(CODE_SELECTORS);
      bytes.push(selector & 0xff, selector >> 8);
      return;
    }
    case 'return':
    case 'farReturn':
    case 'interruptReturn':
      prepareReturn(current, esp);
      return;
    case 'target':
      prepareTarget(current);
      return;
    case 'popf': {
      // In halves, as the upper one may lie outside the window: TF must not be left to chance.
      const flags = random.bits() & ~FLAG_TF_AND_AC;
      writeNumber(current, esp, flags & 0xffff, 2);
      writeNumber(current, esp + 2, flags >>> 16, 2);
      return;
    }
    case 'enter':
      bytes[bytes.length - 3] = random.below(0x40);
      bytes[bytes.length - 2] = 0;
      bytes[bytes.length - 1] = random.chance(0.9) ? random.below(5) : random.below(256);
      return;
    case 'interrupt':
      if (bytes.at(-1) === LINUX_SYSTEM_CALL) bytes[bytes.length - 1] = random.below(0x80);
      if (random.chance(0.3)) bytes[bytes.length - 1] = random.pick([1, 3, 4]);
      return;
    case 'predicate':
      bytes[bytes.length - 1] = random.below(8);
      return;
    default:
      prepareFloat(current);
  }
}

function prepareCompare(current: MutableCase): void {
  const { random, view, form, target, operandBytes } = current;
  if (random.chance(0.5)) return;
  const accumulator = register(view, 0);
  const sizeBytes = form.operands[0] === 'Eb' ? 1 : operandBytes;
  if (form.mnemonic === 'CMPXCHG8B') {
    writeNumber(current, target!, accumulator, 4);
    writeNumber(current, target! + 4, register(view, 2), 4);
  } else if (target !== undefined) writeNumber(current, target, accumulator, sizeBytes);
  else if (sizeBytes > 1 && current.rm !== 0) setRegister(view, current.rm, accumulator);
}

function prepareReturn(current: MutableCase, esp: number): void {
  const { random, form, bytes, operandBytes } = current;
  writeNumber(current, esp, branchTarget(random), operandBytes);
  if (form.mnemonic !== 'RET') {
    writeNumber(current, esp + operandBytes, random.pick(CODE_SELECTORS), 2);
  }
  if (form.mnemonic === 'IRET') {
    const flags = random.bits() & ~FLAG_TF_AND_AC;
    writeNumber(current, esp + 2 * operandBytes, flags, operandBytes);
  }
  if (form.operands.length > 0) {
    bytes[bytes.length - 2] = random.below(64);
    bytes[bytes.length - 1] = 0;
  }
}

function prepareTarget(current: MutableCase): void {
  const { random, view, form, bytes, target, operandBytes } = current;
  const to = branchTarget(random);
  if (target !== undefined) writeNumber(current, target, to, operandBytes);
  else {
    // CALL ESP would run the data page, which may be executable on one side only.
    const isStackPointer = form.options.has('stack') && current.rm === 4;
    if (isStackPointer) bytes[bytes.length - 1] = bytes.at(-1)! & ~7;
    setRegister(view, isStackPointer ? 0 : current.rm, to);
  }
}

/** Operands of x87 and SSE forms with a limited domain, or with reserved bits. */
function prepareFloat(current: MutableCase): void {
  const { random, view, form, target } = current;
  const st0 = RECORD_FX + FX_ST;
  const fill = random.chance(0.85);
  switch (form.settings.get('prepare')) {
    case 'controlWord':
    case 'fpuImage': {
      const at = recordOffset(target!, 2);
      if (at !== undefined) view.setUint16(at, validControlWord(view.getUint16(at, true)), true);
      return;
    }
    case 'packedDecimal': {
      const at = recordOffset(target!, 10);
      if (at === undefined) return;
      for (let i = 0; i < 9; i++) view.setUint8(at + i, random.below(10) * 16 + random.below(10));
      view.setUint8(at + 9, random.chance(0.5) ? 0x80 : 0);
      return;
    }
    case 'mxcsr': {
      const at = recordOffset(target!, 4);
      const isReserved = random.chance(0.15);
      const value = (random.bits() & 0xffff) | (isReserved ? 0x80000000 : 0);
      if (at !== undefined) view.setUint32(at, value, true);
      return;
    }
    case 'small':
      // "F2XM1", "FYL2XP1": outside their range the result is undefined.
      writeST0(current, st0, (random.bits() / 0x1_0000_0000 - 0.5) * 0.58);
      return;
    case 'angle':
      if (fill) writeST0(current, st0, (random.bits() / 0x1_0000_0000 - 0.5) * 200);
      return;
    case 'positive':
      if (fill) writeST0(current, st0, (random.bits() + 1) / 0x10_0000);
  }
}

const DOUBLE = new DataView(new ArrayBuffer(8));

/** Writes a finite double as an extended value into ST(0), and marks it valid. */
function writeST0(current: MutableCase, at: number, value: number): void {
  const { view } = current;
  DOUBLE.setFloat64(0, value, true);
  const high = DOUBLE.getUint32(4, true);
  const low = DOUBLE.getUint32(0, true);
  const exponent = (high >>> 20) & 0x7ff;
  view.setUint32(at, low << 11, true);
  view.setUint32(at + 4, (0x80000000 | ((high & 0xfffff) << 11) | (low >>> 21)) >>> 0, true);
  view.setUint16(at + 8, ((high >>> 16) & 0x8000) | (exponent - 1023 + 16383), true);
  view.setUint8(RECORD_FX + FX_TAGS, 0xff);
}
