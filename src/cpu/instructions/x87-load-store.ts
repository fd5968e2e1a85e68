// x87 loads and stores: FLD FST FILD FIST FBLD FBSTP, constants, FXCH, FCMOVcc, and the aliases
// that Intel's processors have had since the 8087. Intel SDM volume 2, appendix A, tables A-8,
// constants: volume 1, section 8.3.4 "Load Constant Instructions".

import { i32, i64, load, select, type Value } from '../../wasm/index.ts';
import type { Emitter, Operand, SharedFunction } from '../emitter.ts';
import { row } from '../instruction-table.ts';
import { SCRATCH } from '../state-layout.ts';
import { fromFloat32, fromFloat64, fromInteger } from '../x87/float80-load.ts';
import {
  beginLoad,
  beginLoad80,
  beginRegister,
  beginWaiting,
  recordPointers,
  store80,
} from '../x87/frame.ts';
import {
  blocksStore,
  commitStore,
  exchange,
  pop,
  popUnless,
  pushConverted,
  pushNumber,
  pushRegister,
  setEmpty,
  stackUnderflow,
  storeFloat32,
  storeFloat64,
  storeInteger,
} from '../x87/stack.ts';
import {
  CONTROL_ROUNDING_SHIFT,
  clearC1,
  controlWord,
  INDEFINITE_SIGN_EXPONENT,
  INDEFINITE_SIGNIFICAND,
  isEmpty,
  OPERAND_SLOT,
  PENDING_FLAGS,
  physical,
  STATUS_IE,
  STATUS_SF,
  signExponentAt,
  significandAt,
  slotOf,
  top,
  writeSlot,
} from '../x87/status-word.ts';

function loadReal(convert: SharedFunction) {
  return (e: Emitter, operand: Operand) => {
    const value = beginLoad(e, operand);
    const isDenormal = e.callShared(convert, value, i32(OPERAND_SLOT));
    e.callShared(pushConverted, i32(OPERAND_SLOT), isDenormal);
  };
}

row('D9 /0', 'FLD', 'Md', loadReal(fromFloat32));
row('DD /0', 'FLD', 'Mq', loadReal(fromFloat64));
row('DB /5', 'FLD', 'Mt', (e, operand) => {
  e.callShared(pushNumber, ...beginLoad80(e, operand));
});
row('D9 C0+i', 'FLD', 'STi', (e, operand) => {
  beginRegister(e);
  e.callShared(pushRegister, operand.index());
});

function loadInteger(e: Emitter, operand: Operand): void {
  const value = beginLoad(e, operand);
  const integer = operand.size === 2 ? value.extend16S() : value;
  e.callShared(fromInteger, integer.extendS(), i32(OPERAND_SLOT));
  e.callShared(pushConverted, i32(OPERAND_SLOT), i32(0));
}

row('DF /0', 'FILD', 'Mw', loadInteger);
row('DB /0', 'FILD', 'Md', loadInteger);
row('DF /5', 'FILD', 'Mq', loadInteger);

/** Stores what `convert` gives unless an unmasked exception forbids it, then flags and pops. */
function store(convert: SharedFunction, popCount: 0 | 1) {
  return (e: Emitter, operand: Operand) => {
    beginWaiting(e);
    const size = convert === storeInteger ? [i32(operand.size * 8)] : [];
    const bits = e.callShared(convert, ...size);
    const flags = e.let(load('i32', i32(PENDING_FLAGS)));
    // A store that is blocked still faults where it would have (seen on hosts): checked before the
    // branch, because what is emitted inside one holds nowhere else.
    const linear = e.let(operand.linear(operand.size, true));
    e.let(e.loadLinearForWrite(linear, operand.size));
    e.f.if(e.callShared(blocksStore, flags).eqz(), () =>
      e.storeLinear(linear, operand.size, operand.size === 8 ? bits : bits.wrap()),
    );
    finishStore(e, operand, flags, popCount);
  };
}

/** After the last access that can fault: flags, and a pop unless the store was blocked. */
function finishStore(e: Emitter, operand: Operand, flags: Value, popCount: 0 | 1): void {
  recordPointers(e, operand);
  popUnless(e.f, e.callShared(commitStore, flags), popCount);
}

row('D9 /2', 'FST', 'Md', store(storeFloat32, 0));
row('D9 /3', 'FSTP', 'Md', store(storeFloat32, 1));
row('DD /2', 'FST', 'Mq', store(storeFloat64, 0));
row('DD /3', 'FSTP', 'Mq', store(storeFloat64, 1));
row('DF /2', 'FIST', 'Mw', store(storeInteger, 0));
row('DF /3', 'FISTP', 'Mw', store(storeInteger, 1));
row('DB /2', 'FIST', 'Md', store(storeInteger, 0));
row('DB /3', 'FISTP', 'Md', store(storeInteger, 1));
row('DF /7', 'FISTP', 'Mq', store(storeInteger, 1));

row('DB /7', 'FSTP', 'Mt', (e, operand) => {
  beginWaiting(e);
  const slot = e.let(slotOf(top()));
  const wasEmpty = e.let(isEmpty(top()));
  const flags = e.let(select(wasEmpty, i32(STATUS_IE | STATUS_SF), i32(0)));
  store80(e, operand, e.callShared(blocksStore, flags), {
    significand: select(wasEmpty, i64(INDEFINITE_SIGNIFICAND), significandAt(slot)),
    signExponent: select(wasEmpty, i32(INDEFINITE_SIGN_EXPONENT), signExponentAt(slot)),
  });
  finishStore(e, operand, flags, 1);
});

/** ST(0) to a register, as it is. */
function storeRegister(popCount: 0 | 1) {
  return (e: Emitter, operand: Operand) => {
    beginRegister(e);
    const source = e.let(top());
    const target = e.let(physical(operand.index()));
    const failed = e.f.ifValue(
      isEmpty(source),
      () => e.callShared(stackUnderflow, target),
      () => {
        clearC1(e.f);
        const [from, to] = [e.let(slotOf(source)), e.let(slotOf(target))];
        writeSlot(e.f, to, significandAt(from), signExponentAt(from));
        setEmpty(e.f, target, 0);
        return i32(0);
      },
    );
    popUnless(e.f, failed, popCount);
  };
}

row('DD D0+i', 'FST', 'STi', storeRegister(0));
row('DD D8+i', 'FSTP', 'STi', storeRegister(1));
row('D9 D8+i', 'FSTP1', 'STi', storeRegister(1));
row('DF D0+i', 'FSTP8', 'STi', storeRegister(1));
row('DF D8+i', 'FSTP9', 'STi', storeRegister(1));

for (const [pattern, mnemonic] of [
  ['D9 C8+i', 'FXCH'],
  ['DD C8+i', 'FXCH4'],
  ['DF C8+i', 'FXCH7'],
] as const) {
  row(pattern, mnemonic, 'STi', (e, operand) => {
    beginRegister(e);
    e.callShared(exchange, operand.index());
  });
}

row('DF /4', 'FBLD', 'Mt', (e, operand) => {
  const [digits, last] = beginLoad80(e, operand);
  e.storeState64(SCRATCH, digits);
  e.storeState32(SCRATCH + 8, last);
  e.system('x87LoadDecimal');
});

row('DF /6', 'FBSTP', 'Mt', (e, operand) => {
  beginWaiting(e);
  // Leaves the digits in scratch space and the flags in PENDING_FLAGS.
  e.systemValue('x87StoreDecimal');
  // Pinned, because slow memory accesses use scratch space too.
  const flags = e.let(load('i32', i32(PENDING_FLAGS)));
  const significand = e.let(load('i64', i32(SCRATCH)));
  const signExponent = e.let(load('i32_16u', i32(SCRATCH + 8)));
  store80(e, operand, e.callShared(blocksStore, flags), { significand, signExponent });
  finishStore(e, operand, flags, 1);
});

/**
 * A constant: exponent and 64-bit significand cut off, and the next bits as nearest rounds them.
 */
interface Constant {
  readonly pattern: string;
  readonly mnemonic: string;
  readonly signExponent: number;
  readonly significand: bigint;
  /**
   * What is added when rounding to nearest (or, for one, up): 0 or 1; in direction up; others 0.
   */
  readonly nearest: 0 | 1;
  readonly up: 0 | 1;
}

// Significands are the first 64 bits of the constants' binary expansions.
const CONSTANTS: readonly Constant[] = [
  {
    pattern: 'D9 E8',
    mnemonic: 'FLD1',
    signExponent: 0x3fff,
    significand: 0x8000_0000_0000_0000n,
    nearest: 0,
    up: 0,
  },
  {
    pattern: 'D9 E9',
    mnemonic: 'FLDL2T',
    signExponent: 0x4000,
    significand: 0xd49a_784b_cd1b_8afen,
    nearest: 0,
    up: 1,
  },
  {
    pattern: 'D9 EA',
    mnemonic: 'FLDL2E',
    signExponent: 0x3fff,
    significand: 0xb8aa_3b29_5c17_f0bbn,
    nearest: 1,
    up: 1,
  },
  {
    pattern: 'D9 EB',
    mnemonic: 'FLDPI',
    signExponent: 0x4000,
    significand: 0xc90f_daa2_2168_c234n,
    nearest: 1,
    up: 1,
  },
  {
    pattern: 'D9 EC',
    mnemonic: 'FLDLG2',
    signExponent: 0x3ffd,
    significand: 0x9a20_9a84_fbcf_f798n,
    nearest: 1,
    up: 1,
  },
  {
    pattern: 'D9 ED',
    mnemonic: 'FLDLN2',
    signExponent: 0x3ffe,
    significand: 0xb172_17f7_d1cf_79abn,
    nearest: 1,
    up: 1,
  },
  {
    pattern: 'D9 EE',
    mnemonic: 'FLDZ',
    signExponent: 0,
    significand: 0n,
    nearest: 0,
    up: 0,
  },
];

for (const { pattern, mnemonic, signExponent, significand, nearest, up } of CONSTANTS) {
  row(pattern, mnemonic, '', (e) => {
    beginRegister(e);
    const direction = e.let(controlWord().shrU(CONTROL_ROUNDING_SHIFT).and(3));
    const toNearest = direction.eqz().and(nearest);
    const upward = direction.eq(2).and(up);
    const value: Value = i64(significand).add(toNearest.or(upward).extendU());
    e.callShared(pushNumber, value, i32(signExponent));
  });
}

/** FCMOVcc: the condition is EFLAGS's, B E BE U or their opposites. */
const MOVES = [
  { mnemonic: 'B', condition: 2 },
  { mnemonic: 'E', condition: 4 },
  { mnemonic: 'BE', condition: 6 },
  { mnemonic: 'U', condition: 10 },
] as const;

MOVES.forEach(({ mnemonic, condition }, index) => {
  const code = (0xc0 + index * 8).toString(16).toUpperCase();
  for (const isNegated of [0, 1]) {
    const name = `FCMOV${isNegated ? 'N' : ''}${mnemonic}`;
    row(`${isNegated ? 'DB' : 'DA'} ${code}+i`, name, 'STi', (e, operand) => {
      beginRegister(e);
      const target = e.let(top());
      const source = e.let(physical(operand.index()));
      e.f.if(
        isEmpty(target).or(isEmpty(source)),
        () => e.callShared(stackUnderflow, target),
        () => {
          // C1 stays as it was (seen on hosts).
          e.f.if(e.flags.condition(condition + isNegated), () => {
            const from = e.let(slotOf(source));
            writeSlot(e.f, slotOf(target), significandAt(from), signExponentAt(from));
          });
        },
      );
    });
  }
});

row('DF C0+i', 'FFREEP', 'STi', (e, operand) => {
  beginRegister(e);
  setEmpty(e.f, e.let(physical(operand.index())), 1);
  pop(e.f);
});
