// Values for memory operands, by their size: integers and floating-point numbers alike.

import type { MutableCase } from './encoding.ts';
import { single, writeDouble, writeExtended, writeVector } from './float-values.ts';
import { PAGE_BYTES, RECORD_WINDOW, WINDOW_BYTES, WINDOW_OFFSET } from './record.ts';

/** Offset in the record of window byte `linear`; undefined if `sizeBytes` do not lie in it. */
export function recordOffset(linear: number, sizeBytes: number): number | undefined {
  const offset = (linear & (PAGE_BYTES - 1)) - WINDOW_OFFSET;
  const isInside = offset >= 0 && offset + sizeBytes <= WINDOW_BYTES;
  return isInside ? RECORD_WINDOW + offset : undefined;
}

/** Puts an interesting value of `sizeBytes` at the case's operand, if that lies in the window. */
export function fillOperand(current: MutableCase, sizeBytes: number): void {
  const { random, view } = current;
  const at = recordOffset(current.target!, sizeBytes);
  if (at === undefined) return;
  const isInteger = random.chance(0.5);
  switch (sizeBytes) {
    case 1:
      view.setUint8(at, random.edge32() & 0xff);
      return;
    case 2:
      view.setUint16(at, random.edge32() & 0xffff, true);
      return;
    case 4:
      view.setUint32(at, isInteger ? random.edge32() : single(random), true);
      return;
    case 8:
      if (isInteger) {
        view.setUint32(at, random.edge32(), true);
        view.setUint32(at + 4, random.chance(0.5) ? random.edge32() : -(random.bits() & 1), true);
      } else writeDouble(random, view, at);
      return;
    case 10:
      writeExtended(random, view, at);
      return;
    case 16:
      writeVector(random, view, at);
  }
}
