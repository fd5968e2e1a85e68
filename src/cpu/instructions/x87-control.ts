// x87 control: state and environment, control and status words, the stack pointer, FWAIT, FXSAVE.
// Intel SDM volume 2, FLDENV, FSTENV, FSAVE, FRSTOR, FXSAVE (table 3-43), FXRSTOR; volume 1,
// section 8.1.10 "Saving the x87 FPU's State". Instructions whose mnemonic begins with FN do not
// wait.

import { i32, load, type Value } from '../../wasm/index.ts';
import { VECTOR_GP } from '../control-bits.ts';
import type { Emitter, Operand } from '../emitter.ts';
import { row } from '../instruction-table.ts';
import {
  MXCSR,
  SCRATCH,
  X87_CONTROL,
  X87_CS,
  X87_DP,
  X87_DS,
  X87_EMPTY,
  X87_IP,
  X87_OPCODE,
  X87_STATUS,
  X87_TOP,
  XMM,
} from '../state-layout.ts';
import { beginRegister, beginWait, beginWaiting, requireUnit } from '../x87/frame.ts';
import { setEmpty } from '../x87/stack.ts';
import {
  CONTROL_FIXED,
  CONTROL_WRITABLE,
  clearC1,
  isEmpty,
  physical,
  STATUS_C1,
  STATUS_CONDITIONS,
  STATUS_TOP_SHIFT,
  signExponentAt,
  significandAt,
  slotOf,
  statusWord,
  top,
  writeSlot,
} from '../x87/status-word.ts';

/** Bits of MXCSR that exist; FXSAVE says so in MXCSR_MASK, and FXRSTOR faults on others. */
const MXCSR_BITS = 0xffff;
const REGISTERS = [0, 1, 2, 3, 4, 5, 6, 7] as const;

row('9B', 'FWAIT', '', beginWait);
row('D9 D0', 'FNOP', '', beginRegister);

for (const [pattern, mnemonic] of [
  ['DB E0', 'FNENI'],
  ['DB E1', 'FNDISI'],
  ['DB E4', 'FNSETPM'],
] as const) {
  // Instructions of the 8087 and 80287 that do nothing since the 80387.
  row(pattern, mnemonic, '', requireUnit);
}

for (const [pattern, mnemonic, step] of [
  ['D9 F6', 'FDECSTP', 7],
  ['D9 F7', 'FINCSTP', 1],
] as const) {
  row(pattern, mnemonic, '', (e) => {
    beginRegister(e);
    clearC1(e.f);
    e.storeState32(X87_TOP, physical(step));
  });
}

row('DD C0+i', 'FFREE', 'STi', (e, operand) => {
  beginRegister(e);
  setEmpty(e.f, e.let(physical(operand.index())), 1);
});

row('DB E2', 'FNCLEX', '', (e) => {
  requireUnit(e);
  const kept = statusWord().and(STATUS_CONDITIONS | STATUS_C1);
  e.storeState32(X87_STATUS, kept);
});

row('DB E3', 'FNINIT', '', (e) => {
  requireUnit(e);
  e.system('x87Initialize');
});

row('D9 /5', 'FLDCW', 'Mw', (e, operand) => {
  beginWaiting(e);
  const value = operand.read();
  e.storeState32(X87_CONTROL, value.and(CONTROL_WRITABLE).or(CONTROL_FIXED));
  e.system('x87UpdateSummary');
});

row('D9 /7', 'FNSTCW', 'Mw', (e, operand) => {
  requireUnit(e);
  operand.write(e.loadState32(X87_CONTROL));
});

/** The status word as programs see it. */
function wholeStatus(): Value {
  return statusWord().or(top().shl(STATUS_TOP_SHIFT));
}

row('DD /7', 'FNSTSW', 'Mw', (e, operand) => {
  requireUnit(e);
  operand.write(wholeStatus());
});

row('DF E0', 'FNSTSW', '', (e) => {
  requireUnit(e);
  e.writeRegister(0, 2, wholeStatus());
});

const environmentBytes = (e: Emitter) => (e.operandSize === 2 ? 14 : 28);
const WORDS = [0, 1, 2, 3, 4, 5, 6] as const;

/** Makes sure that nothing from `linear` on can fault: the run spans two pages at most. */
function checkStore(e: Emitter, linear: Value, sizeBytes: number): void {
  e.let(e.loadLinearForWrite(linear, 2));
  e.let(e.loadLinearForWrite(linear.add(sizeBytes - 2), 2));
}

function storeEnvironment(e: Emitter, linear: Value): void {
  e.systemValue('x87PackEnvironment', i32(e.operandSize));
  const size = environmentBytes(e) / WORDS.length;
  // Pinned, because slow memory accesses use scratch space too.
  const words = WORDS.map((word) => e.let(load('i32', i32(SCRATCH + word * 4))));
  for (const word of WORDS) e.storeLinear(linear.add(word * size), size, words[word]!);
}

function loadEnvironment(e: Emitter, linear: Value): Value[] {
  const size = environmentBytes(e) / WORDS.length;
  return WORDS.map((word) => e.let(e.loadLinear(linear.add(word * size), size)));
}

/** Hands the words to `x87UnpackEnvironment`. */
function stageEnvironment(e: Emitter, words: readonly Value[]): void {
  for (const word of WORDS) e.storeState32(SCRATCH + word * 4, words[word]!);
}

row(
  'D9 /6',
  'FNSTENV',
  'M',
  (e, operand) => {
    requireUnit(e);
    const linear = e.let(operand.linear(environmentBytes(e), true));
    checkStore(e, linear, environmentBytes(e));
    storeEnvironment(e, linear);
    e.storeState32(X87_CONTROL, e.loadState32(X87_CONTROL).or(0x3f));
    e.system('x87UpdateSummary');
  },
  { usesOperandSize: true },
);

row(
  'D9 /4',
  'FLDENV',
  'M',
  (e, operand) => {
    beginWaiting(e);
    const linear = e.let(operand.linear(environmentBytes(e), false));
    const words = loadEnvironment(e, linear);
    stageEnvironment(e, words);
    e.system('x87UnpackEnvironment', i32(e.operandSize));
  },
  { usesOperandSize: true },
);

row(
  'DD /6',
  'FNSAVE',
  'M',
  (e, operand) => {
    requireUnit(e);
    const sizeBytes = environmentBytes(e) + 80;
    const linear = e.let(operand.linear(sizeBytes, true));
    checkStore(e, linear, sizeBytes);
    storeEnvironment(e, linear);
    for (const index of REGISTERS) {
      const at = e.let(linear.add(environmentBytes(e) + index * 10));
      const slot = e.let(slotOf(physical(index)));
      e.storeLinear(at, 8, significandAt(slot));
      e.storeLinear(at.add(8), 2, signExponentAt(slot));
    }
    e.system('x87Initialize');
  },
  { usesOperandSize: true },
);

row(
  'DD /4',
  'FRSTOR',
  'M',
  (e, operand) => {
    beginWaiting(e);
    const linear = e.let(operand.linear(environmentBytes(e) + 80, false));
    const words = loadEnvironment(e, linear);
    const numbers = REGISTERS.map((index) => {
      const at = e.let(linear.add(environmentBytes(e) + index * 10));
      return [e.let(e.loadLinear(at, 8)), e.let(e.loadLinear(at.add(8), 2))] as const;
    });
    stageEnvironment(e, words);
    e.systemValue('x87UnpackEnvironment', i32(e.operandSize));
    writeNumbers(e, numbers);
  },
  { usesOperandSize: true },
);

/** Writes ST(0) to ST(7), by the new top. */
function writeNumbers(e: Emitter, numbers: readonly (readonly [Value, Value])[]): void {
  numbers.forEach(([significand, signExponent], index) => {
    writeSlot(e.f, e.let(slotOf(physical(index))), significand, signExponent);
  });
}

/** Linear address of an FXSAVE image. #GP(0) if it is not aligned to 16 bytes. */
function imageAddress(e: Emitter, operand: Operand, isWrite: boolean): Value {
  requireUnit(e);
  const linear = e.let(operand.linear(512, isWrite));
  e.raiseIf(linear.and(15), VECTOR_GP, 0);
  return linear;
}

row('0F AE /0', 'FXSAVE', 'M', (e, operand) => {
  const linear = imageAddress(e, operand, true);
  // Aligned to 16, the 512 bytes may still cross into another page.
  checkStore(e, linear, 512);
  const put = (offset: number, size: number, value: Value) =>
    e.storeLinear(linear.add(offset), size, value);
  put(0, 2, e.loadState32(X87_CONTROL));
  put(2, 2, wholeStatus());
  const valid = e.f.local('i32');
  e.f.set(valid, i32(0));
  for (const index of REGISTERS) {
    e.f.set(valid, valid.or(isEmpty(i32(index)).xor(1).shl(index)));
  }
  put(4, 2, valid);
  put(6, 2, e.loadState32(X87_OPCODE));
  put(8, 4, e.loadState32(X87_IP));
  put(12, 4, e.loadState32(X87_CS));
  put(16, 4, e.loadState32(X87_DP));
  put(20, 4, e.loadState32(X87_DS));
  put(24, 4, e.loadState32(MXCSR));
  put(28, 4, i32(MXCSR_BITS));
  for (const index of REGISTERS) {
    const slot = e.let(slotOf(physical(index)));
    put(32 + index * 16, 8, significandAt(slot));
    put(40 + index * 16, 8, signExponentAt(slot).extendU());
  }
  for (const index of REGISTERS) {
    put(160 + index * 16, 16, load('v128', i32(XMM + index * 16)));
  }
});

row('0F AE /1', 'FXRSTOR', 'M', (e, operand) => {
  const linear = imageAddress(e, operand, false);
  const get = (offset: number, size: number) => e.let(e.loadLinear(linear.add(offset), size));
  const header = [0, 2, 4, 6].map((offset) => get(offset, 2));
  const [control, status, valid, opcode] = header as [Value, Value, Value, Value];
  const pointers = [8, 12, 16, 20].map((offset) => get(offset, 4));
  const mxcsr = get(24, 4);
  const numbers = REGISTERS.map(
    (index) => [get(32 + index * 16, 8), get(40 + index * 16, 2)] as const,
  );
  const vectors = REGISTERS.map((index) => get(160 + index * 16, 16));
  e.raiseIf(mxcsr.and(~MXCSR_BITS), VECTOR_GP, 0);
  e.storeState32(X87_CONTROL, control.and(CONTROL_WRITABLE).or(CONTROL_FIXED));
  e.storeState32(X87_STATUS, status.and(~(7 << STATUS_TOP_SHIFT)));
  e.storeState32(X87_TOP, status.shrU(STATUS_TOP_SHIFT).and(7));
  for (const index of REGISTERS) {
    e.f.store('i32_8', i32(X87_EMPTY + index), valid.shrU(index).and(1).xor(1));
  }
  e.storeState32(X87_OPCODE, opcode.and(0x7ff));
  const [ip, cs, dp, ds] = pointers as [Value, Value, Value, Value];
  e.storeState32(X87_IP, ip);
  e.storeState32(X87_CS, cs.and(0xffff));
  e.storeState32(X87_DP, dp);
  e.storeState32(X87_DS, ds.and(0xffff));
  e.storeState32(MXCSR, mxcsr);
  writeNumbers(e, numbers);
  for (const index of REGISTERS) {
    e.f.store('v128', i32(XMM + index * 16), vectors[index]!);
  }
  e.system('x87UpdateSummary');
});
