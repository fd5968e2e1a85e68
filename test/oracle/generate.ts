// Makes random cases of an instruction form: encodings with all ModRM and SIB shapes, operands that
// like the edges, memory operands that land in the window (or just outside, to fault).

import {
  encodeMemory,
  encodeMemory16,
  type MutableCase,
  operandShape,
  register,
  setRegister,
} from './encoding.ts';
import type { Form } from './forms.ts';
import { writeFPUImage } from './fpu-image.ts';
import { fillOperand } from './operand-values.ts';
import { afterEncoding, beforeEncoding } from './prepare.ts';
import type { Random } from './random.ts';
import {
  CASE_CODE,
  CASE_LENGTH,
  CASE_OFFSET,
  CASE_OPTIONS,
  CODE_BASE,
  CODE_BYTES,
  DATA_BASE,
  LOW_BASE,
  OPTION_TRAP_IS_RESULT,
  PAGE_BYTES,
  RECORD_BYTES,
  RECORD_EFLAGS,
  RECORD_FX,
  RECORD_GPR,
  RECORD_WINDOW,
  WINDOW_BYTES,
  WINDOW_OFFSET,
} from './record.ts';

/** A case and what comparing needs to know about it. */
export interface GeneratedCase {
  readonly form: Form;
  readonly record: Uint8Array;
  readonly view: DataView;
  /** Where the instruction lies, linear, and its length. */
  readonly start: number;
  readonly lengthBytes: number;
  /** Operand size of `v` operands, bytes. */
  readonly operandBytes: 2 | 4;
  readonly addressBytes: 2 | 4;
  /** Linear address of the ModRM or implicit memory operand, if there is one. */
  readonly target: number | undefined;
  /** The last immediate byte, and the register field of the ModRM byte. */
  readonly immediate: number;
  readonly registerField: number;
  readonly isMemory: boolean;
  readonly hasRepeat: boolean;
}

const ARITHMETIC_AND_DF = 0xcd5;
const SEGMENT_PREFIXES = [0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65];
const DEFAULT_OFFSET = 0x800;
const STRING_OPERANDS = /^[XY][bv]$/;

/** Room for the jump that the native side puts behind an instruction. */
const EXIT_BYTES = 5;

function isWideForm(form: Form): boolean {
  return (
    form.options.has('o16') || form.operands.some((kind) => /[vzp]$|^Ma$|^rAX$|^eAX$/.test(kind))
  );
}

function accessAddress(
  random: Random,
  sizeBytes: number,
  base: number,
  isAligned: boolean,
  isSettled = false,
): number {
  const window = base + WINDOW_OFFSET;
  const room = WINDOW_BYTES - Math.min(sizeBytes, WINDOW_BYTES);
  // What a form prepares must be read from the window: half a prepared branch
  // target leads anywhere.
  const kind = isSettled ? 3 + random.below(37) : random.below(40);
  if (kind === 0) return base + random.below(PAGE_BYTES - sizeBytes); // Mostly outside the window.
  if (kind === 1) return base - 1 - random.below(sizeBytes + 4); // Begins before the page.
  if (kind === 2) return base + PAGE_BYTES + random.below(64);
  if (kind < 6) return base + PAGE_BYTES - random.below(sizeBytes) - 1; // Runs into the next page.
  const address = window + random.below(room + 1);
  return isAligned && kind > 8 ? address & ~15 : address;
}

/** One random case of `form`. */
export function generateCase(form: Form, random: Random, hasLowMemory: boolean): GeneratedCase {
  const record = new Uint8Array(RECORD_BYTES);
  const view = new DataView(record.buffer);
  for (let i = 0; i < 8; i++) setRegister(view, i, random.edge32());
  view.setUint32(RECORD_EFLAGS, (random.bits() & ARITHMETIC_AND_DF) | 0x202, true);
  for (let i = 0; i < WINDOW_BYTES; i += 4) view.setUint32(RECORD_WINDOW + i, random.bits(), true);
  const unit = form.options.has('x87') ? 'x87' : form.options.has('mmx') ? 'mmx' : 'none';
  const isSSE = form.options.has('sse') || form.options.has('ssef');
  writeFPUImage(random, view, RECORD_FX, isSSE ? 'sse' : unit);

  const isWide = isWideForm(form);
  const operandBytes = isWide && random.chance(0.35) ? 2 : 4;
  const shape = operandShape(form, operandBytes);
  const isString = form.operands.some((kind) => STRING_OPERANDS.test(kind));
  const isCompareString = form.mnemonic === 'CMPS' || form.mnemonic === 'SCAS';
  const hasRepeat = isString && random.chance(0.6);
  const usesAddress = shape.hasModRM || isString || /^(LOOP|JCXZ)/.test(form.mnemonic);
  const addressBytes = usesAddress && hasLowMemory && random.chance(0.15) ? 2 : 4;
  const current: MutableCase = {
    form,
    random,
    view,
    operandBytes,
    addressBytes,
    pinned: new Set(),
    target: undefined,
    bytes: [],
    registerField: 0,
    isMemory: false,
    rm: 0,
    hasRepeat,
  };
  const base = addressBytes === 2 ? LOW_BASE : DATA_BASE;

  // Prefixes in any order, then the mandatory ones and the opcode.
  const prefixes: number[] = [];
  if (operandBytes === 2) prefixes.push(0x66);
  if (addressBytes === 2) prefixes.push(0x67);
  if (random.chance(0.06)) prefixes.push(random.pick(SEGMENT_PREFIXES));
  if (random.chance(0.03)) prefixes.push(0xf0);
  if (hasRepeat) prefixes.push(isCompareString && random.chance(0.5) ? 0xf2 : 0xf3);
  if (random.chance(0.5)) prefixes.reverse();
  const words = form.opcode.split(' ');
  const digit = words.find((word) => word.startsWith('/'));
  const opcode = words
    .filter((word) => !/^[/+]/.test(word))
    .map((word) => Number.parseInt(word, 16));
  if (words.includes('+r')) {
    current.rm = random.below(8);
    opcode[opcode.length - 1] = opcode[opcode.length - 1]! | current.rm;
  }
  current.bytes.push(...prefixes, ...opcode);

  if (form.options.has('stack')) {
    const esp = DATA_BASE + WINDOW_OFFSET + 0x40 + random.below(0x90);
    const isNearEnd = random.chance(0.05);
    const end = DATA_BASE + PAGE_BYTES - random.below(8);
    setRegister(view, 4, isNearEnd ? end : random.chance(0.7) ? esp & ~3 : esp);
    current.pinned.add(4);
  }
  if (isString) {
    const sizeBytes = form.operands.some((kind) => kind.endsWith('b')) ? 1 : operandBytes;
    for (const index of [6, 7]) {
      setRegister(view, index, accessAddress(random, sizeBytes, base, false));
    }
    if (hasRepeat) setRegister(view, 1, random.chance(0.1) ? 0 : random.below(24));
    if (isCompareString && random.chance(0.5)) {
      view.setUint32(RECORD_GPR, random.pick([0, 0x41414141]), true);
      record.fill(view.getUint8(RECORD_GPR), RECORD_WINDOW, RECORD_WINDOW + WINDOW_BYTES);
      record[RECORD_WINDOW + random.below(WINDOW_BYTES)] = random.bits();
    }
    if (addressBytes === 2) {
      // The Zen hosts of 2026 copy overlapping strings with 16-bit addresses as if they did not
      // overlap, so such a copy has one element at most.
      const distance = register(view, 7) - register(view, 6);
      const isOverlapping = distance > 0 && distance < WINDOW_BYTES;
      if (form.mnemonic === 'MOVS' && isOverlapping) setRegister(view, 1, random.below(2));
      const upper = random.bits() & 0xffff;
      for (const i of [1, 6, 7]) view.setUint16(RECORD_GPR + i * 4 + 2, upper, true);
    }
  }
  current.registerField = digit ? Number(digit.slice(1)) : random.below(8);
  const isPrepared = form.settings.has('prepare');
  const accessBytes = form.settings.get('prepare') === 'maskedMove' ? 16 : shape.memoryBytes || 1;
  const wanted = accessAddress(random, accessBytes, base, shape.isVector, isPrepared);
  beforeEncoding(current, wanted);

  if (shape.hasModRM) {
    current.isMemory = shape.canMemory && (!shape.canRegister || random.chance(0.65));
    if (current.isMemory) {
      current.target = wanted;
      if (addressBytes === 2) encodeMemory16(current);
      else encodeMemory(current);
    } else {
      current.rm = random.below(8);
      current.bytes.push(0xc0 | (current.registerField << 3) | current.rm);
    }
    if (current.isMemory) fillOperand(current, shape.memoryBytes);
  } else if (shape.hasOffset) {
    current.target = wanted;
    for (let i = 0; i < addressBytes; i++) current.bytes.push((wanted >>> (8 * i)) & 0xff);
  }

  let offset = DEFAULT_OFFSET;
  const prefixBytes = current.bytes.length;
  const trailing = shape.immediateBytes + shape.branchBytes + shape.farBytes;
  const lengthBytes = prefixBytes + trailing;
  if (random.chance(0.06) && lengthBytes > 1) {
    offset = PAGE_BYTES - 1 - random.below(lengthBytes - 1);
  } else if (random.chance(0.03) && lengthBytes > 1) {
    offset = CODE_BYTES - 1 - random.below(lengthBytes - 1);
  }
  const start = CODE_BASE + offset;
  let immediate = 0;
  for (let i = 0; i < shape.immediateBytes; i++) {
    immediate = random.chance(0.5)
      ? random.pick([0, 1, 2, 7, 8, 15, 16, 31, 32, 33, 0x7f, 0x80, 0xff])
      : random.below(256);
    current.bytes.push(immediate);
  }
  if (shape.branchBytes > 0) pushDisplacement(current, shape.branchBytes, lengthBytes);
  afterEncoding(current);
  immediate = current.bytes.at(-1)!;

  record[CASE_LENGTH] = current.bytes.length;
  record.set(current.bytes, CASE_CODE);
  view.setUint32(CASE_OFFSET, offset, true);
  const isTrap = form.mnemonic === 'INT3' || form.mnemonic === 'INT';
  view.setUint32(CASE_OPTIONS, isTrap ? OPTION_TRAP_IS_RESULT : 0, true);
  return {
    form,
    record,
    view,
    start,
    lengthBytes: current.bytes.length,
    operandBytes,
    addressBytes,
    target: current.target,
    immediate,
    registerField: current.registerField,
    isMemory: current.isMemory,
    hasRepeat,
  };
}

/** A relative branch that leaves the instruction, and the native side's exit, alone. */
function pushDisplacement(current: MutableCase, sizeBytes: number, lengthBytes: number): void {
  const { random } = current;
  let displacement: number;
  do {
    displacement = sizeBytes === 1 ? random.below(256) - 128 : random.below(0xe00) - 0x700;
  } while (displacement !== 0 && displacement >= -lengthBytes && displacement < EXIT_BYTES);
  for (let i = 0; i < sizeBytes; i++) current.bytes.push((displacement >> (8 * i)) & 0xff);
}
