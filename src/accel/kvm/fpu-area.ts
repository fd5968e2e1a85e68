// x87 and SSE state between our layout, which keeps x87 registers by physical number, and the area
// that FXSAVE and XSAVE write. Intel SDM volume 1, table 10-2 "Format of an FXSAVE Area" and
// section 13.4 "XSAVE Area".

import type { CPUState } from '../../cpu/state.ts';
import {
  MXCSR,
  X87,
  X87_BYTES,
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
  XMM_BYTES,
} from '../../cpu/state-layout.ts';

const FX_CONTROL = 0;
const FX_STATUS = 2;
const FX_TAGS = 4;
const FX_OPCODE = 6;
const FX_IP = 8;
const FX_DP = 16;
const FX_MXCSR = 24;
const FX_ST = 32;
const FX_XMM = 160;
const XSTATE_BV = 512;
const XSTATE_X87_AND_SSE = 3n;
const STATUS_TOP = 0x3800;
const STATUS_TOP_SHIFT = 11;
const X87_COUNT = 8;
const X87_VALUE_BYTES = 10;
const XMM_COUNT = 16;

/** Writes the state into an XSAVE area; what it has beyond SSE is in its initial state. */
export function storeFPU(state: CPUState, { buffer, byteOffset }: DataView): void {
  const area = new DataView(buffer, byteOffset);
  const bytes = new Uint8Array(buffer, byteOffset);
  const top = state.get32(X87_TOP) & 7;
  const status = (state.get32(X87_STATUS) & ~STATUS_TOP) | (top << STATUS_TOP_SHIFT);
  bytes.fill(0, 0, XSTATE_BV + 64);
  area.setUint16(FX_CONTROL, state.get32(X87_CONTROL), true);
  area.setUint16(FX_STATUS, status, true);
  area.setUint16(FX_OPCODE, state.get32(X87_OPCODE), true);
  // 64-bit pointers: the kernel's form of the area has no selectors.
  area.setBigUint64(FX_IP, state.u64[X87_IP >> 3]!, true);
  area.setBigUint64(FX_DP, state.u64[X87_DP >> 3]!, true);
  area.setUint32(FX_MXCSR, state.get32(MXCSR), true);
  for (let index = 0; index < X87_COUNT; index++) {
    if (state.u8[X87_EMPTY + index] === 0) bytes[FX_TAGS] = bytes[FX_TAGS]! | (1 << index);
    const from = X87 + ((top + index) & 7) * X87_BYTES;
    bytes.set(state.u8.subarray(from, from + X87_VALUE_BYTES), FX_ST + index * X87_BYTES);
  }
  bytes.set(state.u8.subarray(XMM, XMM + XMM_COUNT * XMM_BYTES), FX_XMM);
  area.setBigUint64(XSTATE_BV, XSTATE_X87_AND_SSE, true);
}

/**
 * Reads the state out of an XSAVE area. Selectors of the last x87 instruction and operand, which it
 * lacks, stay as they are while the pointers do, and are 0 otherwise.
 */
export function fetchFPU(state: CPUState, { buffer, byteOffset }: DataView): void {
  const area = new DataView(buffer, byteOffset);
  const bytes = new Uint8Array(buffer, byteOffset);
  const status = area.getUint16(FX_STATUS, true);
  const top = (status & STATUS_TOP) >> STATUS_TOP_SHIFT;
  state.set32(X87_CONTROL, area.getUint16(FX_CONTROL, true));
  state.set32(X87_STATUS, status & ~STATUS_TOP);
  state.set32(X87_TOP, top);
  state.set32(X87_OPCODE, area.getUint16(FX_OPCODE, true) & 0x7ff);
  fetchPointer(state, X87_IP, X87_CS, area.getUint32(FX_IP, true));
  fetchPointer(state, X87_DP, X87_DS, area.getUint32(FX_DP, true));
  state.set32(MXCSR, area.getUint32(FX_MXCSR, true));
  for (let index = 0; index < X87_COUNT; index++) {
    state.u8[X87_EMPTY + index] = ((bytes[FX_TAGS]! >> index) & 1) ^ 1;
    const from = FX_ST + index * X87_BYTES;
    const to = X87 + ((top + index) & 7) * X87_BYTES;
    state.u8.set(bytes.subarray(from, from + X87_VALUE_BYTES), to);
    state.u8.fill(0, to + X87_VALUE_BYTES, to + X87_BYTES);
  }
  state.u8.set(bytes.subarray(FX_XMM, FX_XMM + XMM_COUNT * XMM_BYTES), XMM);
}

function fetchPointer(state: CPUState, pointer: number, selector: number, value: number): void {
  if (state.get32(pointer) !== value) state.set32(selector, 0);
  state.setWide(pointer, value);
}
