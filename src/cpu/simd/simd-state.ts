// How MMX and SSE instructions begin and end: availability checks, the x87 state that MMX shares,
// and unmasked float exceptions. Intel SDM volume 3, chapter 12 "Intel MMX Technology System
// Programming" (tables 12-1 to 12-3) and section 13.1; volume 1, section 9.6.2.

import { i32, i64, type Value } from '../../wasm/index.ts';
import {
  CR0_EM,
  CR0_TS,
  CR4_OSFXSR,
  CR4_OSXMMEXCPT,
  VECTOR_NM,
  VECTOR_UD,
  VECTOR_XM,
} from '../control-bits.ts';
import type { Emitter, Operand } from '../emitter.ts';
import { CR0, CR4, SIMD_FAULT, X87_EMPTY, X87_STATUS, X87_TOP } from '../state-layout.ts';
import { raisePending } from '../x87/frame.ts';
import { STATUS_ES } from '../x87/status-word.ts';

const ALL_VALID = 0;
const ALL_EMPTY = 0x0101_0101_0101_0101n;

/** The checks with which every MMX row begins: #UD, #NM, #MF. */
export function beginMMX(e: Emitter): void {
  const block = e.let(e.loadState32(CR0).and(CR0_EM | CR0_TS));
  e.f.if(block, () => {
    e.raiseIf(block.and(CR0_EM), VECTOR_UD);
    e.raise(VECTOR_NM);
  });
  checkPendingX87(e);
}

/** The checks with which every SSE row begins: #UD, #NM. */
export function beginSSE(e: Emitter): void {
  const missing = e.loadState32(CR4).not().and(CR4_OSFXSR);
  const block = e.let(
    e
      .loadState32(CR0)
      .and(CR0_EM | CR0_TS)
      .or(missing),
  );
  e.f.if(block, () => {
    e.raiseIf(block.and(CR0_EM | CR4_OSFXSR), VECTOR_UD);
    e.raise(VECTOR_NM);
  });
}

/** An x87 exception that an earlier instruction left comes before MMX changes its registers. */
function checkPendingX87(e: Emitter): void {
  e.f.if(e.loadState32(X87_STATUS).and(STATUS_ES), () => raisePending(e));
}

/** The checks of rows that mix both register files. */
export function beginMixed(e: Emitter): void {
  beginSSE(e);
  checkPendingX87(e);
}

/** What an MMX instruction does to the x87 state; after the last access that can fault. */
export function enterMMX(e: Emitter): void {
  e.storeState32(X87_TOP, i32(0));
  e.storeState64(X87_EMPTY, i64(ALL_VALID));
}

/** EMMS: the x87 registers are empty again, and TOP is 0 (SDM volume 3, table 12-2). */
export function leaveMMX(e: Emitter): void {
  e.storeState32(X87_TOP, i32(0));
  e.storeState64(X87_EMPTY, i64(ALL_EMPTY));
}

/**
 * Writes the i64 result of an MMX instruction to a register or to memory; the operand itself makes
 * sign and exponent of a register all ones.
 */
export function writeMMX(e: Emitter, destination: Operand, value: Value): void {
  destination.write(value);
  enterMMX(e);
}

/** Faults if a float function before it found an unmasked exception. */
export function checkSIMD(e: Emitter): void {
  e.f.if(e.loadState32(SIMD_FAULT), () => {
    e.storeState32(SIMD_FAULT, i32(0));
    e.raiseIf(e.loadState32(CR4).and(CR4_OSXMMEXCPT).eqz(), VECTOR_UD);
    e.raise(VECTOR_XM);
  });
}
