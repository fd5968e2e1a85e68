// Text mode 3, 80 by 25 characters in 16 colours, as a video BIOS leaves it: for guests that are
// loaded without one. IBM VGA XGA Technical Reference, chapter 2, the register tables of "VGA BIOS
// modes"; the converter's colours are the 64 of an EGA.

import type { VGA } from './vga.ts';

const MISCELLANEOUS = 0x67;
const SEQUENCER = [0x03, 0x00, 0x03, 0x00, 0x02];
const CRTC = [
  ...[0x5f, 0x4f, 0x50, 0x82, 0x55, 0x81, 0xbf, 0x1f, 0x00, 0x4f, 0x0d, 0x0e, 0x00],
  ...[0x00, 0x00, 0x00, 0x9c, 0x8e, 0x8f, 0x28, 0x1f, 0x96, 0xb9, 0xa3, 0xff],
];
const GRAPHICS = [0x00, 0x00, 0x00, 0x00, 0x00, 0x10, 0x0e, 0x0f, 0xff];
const ATTRIBUTE = [
  ...[0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x14, 0x07, 0x38, 0x39, 0x3a, 0x3b, 0x3c, 0x3d],
  ...[0x3e, 0x3f, 0x0c, 0x00, 0x0f, 0x08, 0x00],
];
/** Six bits of a colour: a primary, and the weaker half of it. */
const STRONG = 42;
const WEAK = 21;
const OFFSET_3C0 = 0x10;

/** Programs `vga` through its ports. Text and fonts stay what they are in memory. */
export function setTextMode(vga: VGA): void {
  const out = (port: number, value: number) => vga.writePort(port - 0x3c0 + OFFSET_3C0, value);
  out(0x3c2, MISCELLANEOUS);
  const load = (port: number, values: readonly number[]) => {
    for (const [index, value] of values.entries()) {
      out(port, index);
      out(port + 1, value);
    }
  };
  load(0x3c4, SEQUENCER);
  out(0x3d4, 0x11);
  out(0x3d5, 0);
  load(0x3d4, CRTC);
  load(0x3ce, GRAPHICS);
  vga.readPort(0x3da - 0x3c0 + OFFSET_3C0);
  for (const [index, value] of ATTRIBUTE.entries()) {
    out(0x3c0, index);
    out(0x3c0, value);
  }
  out(0x3c0, 0x20);
  out(0x3c6, 0xff);
  out(0x3c8, 0);
  for (let color = 0; color < 64; color++)
    for (const [strong, weak] of [
      [4, 32],
      [2, 16],
      [1, 8],
    ] as const)
      out(0x3c9, (color & strong ? STRONG : 0) + (color & weak ? WEAK : 0));
}
