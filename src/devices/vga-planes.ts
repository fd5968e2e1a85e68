// What the graphics controller does between the processor and the four planes: IBM VGA XGA
// Technical Reference, "Graphics Controller Registers". The four planes' bytes at one address are
// one word of 32 bits, plane 0 lowest; so are the latches.

import {
  GR_BIT_MASK,
  GR_COLOR_COMPARE,
  GR_COLOR_DONT_CARE,
  GR_ENABLE_SET_RESET,
  GR_MODE,
  GR_ROTATE,
  GR_SET_RESET,
  MODE_READ_COMPARE,
} from './vga-registers.ts';

/** All bits of each plane in a set of planes: 0xff in byte p where bit p is set. */
export const PLANE_BYTES: readonly number[] = Array.from(
  { length: 16 },
  (_, planes) =>
    ((planes & 1 ? 0xff : 0) |
      (planes & 2 ? 0xff00 : 0) |
      (planes & 4 ? 0xff_0000 : 0) |
      (planes & 8 ? 0xff00_0000 : 0)) >>>
    0,
);
const SETS = Uint32Array.from(PLANE_BYTES);

// Hot: each byte that a guest writes in a planar mode.
/**
 * What the four planes would hold after a write of `value`, before the map mask.
 * @param graphics the graphics controller's nine registers
 */
export function planarValue(graphics: Uint8Array, latches: number, value: number): number {
  const mode = graphics[GR_MODE]! & 3;
  if (mode === 1) return latches >>> 0;
  const rotate = graphics[GR_ROTATE]! & 7;
  const byte = value & 0xff;
  const rotated = ((byte >> rotate) | (byte << (8 - rotate))) & 0xff;
  const setReset = SETS[graphics[GR_SET_RESET]! & 15]!;
  let bits = graphics[GR_BIT_MASK]!;
  let data: number;
  if (mode === 0) {
    const enabled = SETS[graphics[GR_ENABLE_SET_RESET]! & 15]!;
    data = (Math.imul(rotated, 0x0101_0101) & ~enabled) | (setReset & enabled);
  } else if (mode === 2) data = SETS[byte & 15]!;
  else {
    data = setReset;
    bits &= rotated;
  }
  const operation = (graphics[GR_ROTATE]! >> 3) & 3;
  if (operation === 1) data &= latches;
  else if (operation === 2) data |= latches;
  else if (operation === 3) data ^= latches;
  const mask = Math.imul(bits, 0x0101_0101);
  return ((data & mask) | (latches & ~mask)) >>> 0;
}

/** What a read gives once the latches are loaded: a plane's byte, or where colours match. */
export function planarRead(graphics: Uint8Array, latches: number, plane: number): number {
  if ((graphics[GR_MODE]! & MODE_READ_COMPARE) === 0) return (latches >>> (plane * 8)) & 0xff;
  const care = SETS[graphics[GR_COLOR_DONT_CARE]! & 15]!;
  const differs = (latches ^ SETS[graphics[GR_COLOR_COMPARE]! & 15]!) & care;
  return ~(differs | (differs >>> 8) | (differs >>> 16) | (differs >>> 24)) & 0xff;
}
