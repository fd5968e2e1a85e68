// Colours of the VGA as pixels: bytes red, green, blue, 255, which is the word 0xffBBGGRR.

import type { VGA } from './vga.ts';
import { AT_COLOR_SELECT, AT_MODE, AT_PLANE_ENABLE, ATMODE_COLOR_SELECT } from './vga-registers.ts';

export const BLACK = 0xff00_0000;

/** Six bits of a converter as eight, so that all ones stay all ones. */
function eightBits(six: number): number {
  return ((six << 2) | (six >> 4)) & 0xff;
}

/** The pixel of each entry of the converter's table, the mask applied to the index. */
export function dacPixels(vga: VGA, out: Uint32Array): void {
  const { dac, dacMask } = vga.state;
  const isWide = vga.dispi.hasWideDAC;
  for (let index = 0; index < 256; index++) {
    const at = (index & dacMask) * 3;
    const [red, green, blue] = [dac[at]!, dac[at + 1]!, dac[at + 2]!].map((part) =>
      isWide ? part : eightBits(part & 0x3f),
    );
    out[index] = (BLACK | (blue! << 16) | (green! << 8) | red!) >>> 0;
  }
}

/** The pixel of each of the 16 attributes, by palette, plane enable and colour select. */
export function attributePixels(vga: VGA, dac: Uint32Array, out: Uint32Array): void {
  const { attribute } = vga.state;
  const select = attribute[AT_COLOR_SELECT]!;
  const hasSelect = (attribute[AT_MODE]! & ATMODE_COLOR_SELECT) !== 0;
  for (let index = 0; index < 16; index++) {
    let entry = attribute[index & attribute[AT_PLANE_ENABLE]!]! & 0x3f;
    if (hasSelect) entry = (entry & 0x0f) | ((select & 3) << 4);
    out[index] = dac[entry | ((select & 0x0c) << 4)]!;
  }
}
