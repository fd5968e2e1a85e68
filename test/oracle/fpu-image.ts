// Random FXSAVE images (Intel SDM volume 1, table 10-2) that FXRSTOR accepts, and their drawing:
//   0 FCW  2 FSW  4 abridged tag byte  6 FOP  8 FIP FCS  16 FDP FDS  24 MXCSR  28 MXCSR_MASK
//   32 ST(0)–ST(7), 16 bytes each  160 XMM0–XMM7

import { writeExtended, writeVector } from './float-values.ts';
import type { Random } from './random.ts';

export const FX_CONTROL = 0;
export const FX_STATUS = 2;
export const FX_TAGS = 4;
export const FX_MXCSR = 24;
export const FX_ST = 32;
export const FX_XMM = 160;
export const FX_REGISTER_BYTES = 16;

/** Control word without the reserved precision 01 and with the reserved bits as they read back. */
export function validControlWord(word: number): number {
  const precision = (word >> 8) & 3;
  return (word & 0x0c3f) | 0x40 | ((precision === 1 ? 3 : precision) << 8);
}

/** Fills the image at `offset` with what a unit's forms want to see. */
export function writeFPUImage(
  random: Random,
  view: DataView,
  offset: number,
  unit: 'none' | 'x87' | 'mmx' | 'sse',
): void {
  const isX87 = unit === 'x87';
  let control = 0x37f;
  let status = random.below(8) << 11;
  if (isX87) {
    control = random.chance(0.75)
      ? validControlWord(0x3f | (random.bits() & 0x0f00))
      : validControlWord(random.bits());
    status |= (random.bits() & 0x4700) | (random.chance(0.3) ? random.bits() & 0x7f : 0);
  }
  // ES and B are what the flags and masks say; a pending exception would hide the instruction.
  if ((status & ~control & 0x3f) !== 0) {
    if (random.chance(0.1)) status |= 0x8080;
    else status &= ~(~control & 0x3f);
  }
  view.setUint16(offset + FX_CONTROL, control, true);
  view.setUint16(offset + FX_STATUS, status, true);
  // Mostly full, or mostly empty: both kinds of stack fault.
  view.setUint8(offset + FX_TAGS, isX87 ? random.bits() | (random.chance(0.6) ? 0xff : 0) : 0xff);
  if (isX87 && random.chance(0.25)) view.setUint8(offset + FX_TAGS, random.bits() & random.bits());
  const isSSE = unit === 'sse';
  let mxcsr = 0x1f80;
  if (isSSE) {
    mxcsr = (random.bits() & 0xe07f) | 0x1f80;
    if (random.chance(0.2)) mxcsr = random.bits() & 0xffff;
    if (random.chance(0.7)) mxcsr &= ~0x8040;
  }
  view.setUint32(offset + FX_MXCSR, mxcsr, true);
  for (let i = 0; i < 8; i++) {
    const st = offset + FX_ST + i * FX_REGISTER_BYTES;
    if (unit === 'mmx' || unit === 'sse') {
      view.setUint32(st, random.edge32(), true);
      view.setUint32(st + 4, random.edge32(), true);
      view.setUint16(st + 8, random.chance(0.5) ? 0xffff : 0x3fff, true);
    } else if (isX87) writeExtended(random, view, st);
    if (isSSE) writeVector(random, view, offset + FX_XMM + i * FX_REGISTER_BYTES);
  }
}
