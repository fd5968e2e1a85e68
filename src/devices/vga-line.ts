// One scan line as pixels: the shift registers, the character generator, and the linear formats.
// IBM VGA XGA Technical Reference, "Graphics Controller Mode Register", "Character Map Select
// Register". All are hot: a frame has up to a thousand lines, and a second thirty frames.

import { type PlanarMode, planeAddress } from './vga-mode.ts';

/** What the character generator needs beside the words of the planes. */
export interface TextStyle {
  /** Addresses in plane 2 of the fonts for attribute bit 3 clear and set. */
  readonly fontB: number;
  readonly fontA: number;
  /** Codes 0xc0–0xdf continue their eighth dot in the ninth. */
  readonly hasLineGraphics: boolean;
  /** Attribute bit 7 blinks instead of choosing a bright background. */
  readonly hasBlink: boolean;
  /** Blinking characters show their foreground now. */
  readonly isBlinkOn: boolean;
  /** Line of the row that underlined characters fill, or -1. */
  readonly underlineLine: number;
  /** Address counter of the cursor, or -1 while it is not shown; its lines [first, last]. */
  readonly cursor: number;
  readonly cursorFirst: number;
  readonly cursorLast: number;
}

// Hot: each text line.
/** Draws `count` characters from address counter `counter` on into `out`. */
export function drawText(
  mode: PlanarMode,
  style: TextStyle,
  planes: Uint32Array,
  colors: Uint32Array,
  counter: number,
  rowLine: number,
  count: number,
  out: Uint32Array,
): void {
  const { charDots } = mode;
  const isCursorLine = rowLine >= style.cursorFirst && rowLine <= style.cursorLast;
  for (let column = 0, at = 0; column < count; column++) {
    const word = planes[planeAddress(mode, counter + column, rowLine)]!;
    const code = word & 0xff;
    const attribute = (word >>> 8) & 0xff;
    const font = attribute & 8 ? style.fontA : style.fontB;
    const glyph = font + code * 32 + rowLine;
    let dots = ((planes[glyph & 0xffff]! >>> 16) & 0xff) << 1;
    if (style.hasLineGraphics && (code & 0xe0) === 0xc0) dots |= (dots >> 1) & 1;
    if (rowLine === style.underlineLine && (attribute & 7) === 1) dots = 0x1ff;
    let background = attribute >> 4;
    if (style.hasBlink) {
      if (attribute & 0x80 && !style.isBlinkOn) dots = 0;
      background &= 7;
    }
    if (isCursorLine && counter + column === style.cursor) dots = 0x1ff;
    const on = colors[attribute & 15]!;
    const off = colors[background]!;
    for (let dot = 0; dot < charDots; dot++) out[at++] = (dots << dot) & 0x100 ? on : off;
  }
}

// Hot: each line of a graphics mode with 16 colours.
/** Draws `count` words: four planes, a bit of each to a dot. */
export function drawPlanar(
  mode: PlanarMode,
  planes: Uint32Array,
  colors: Uint32Array,
  counter: number,
  rowLine: number,
  count: number,
  out: Uint32Array,
): void {
  for (let column = 0, at = 0; column < count; column++) {
    const word = planes[planeAddress(mode, counter + column, rowLine)]!;
    for (let bit = 7; bit >= 0; bit--) {
      const bits = word >>> bit;
      const color = (bits & 1) | ((bits >>> 7) & 2) | ((bits >>> 14) & 4) | ((bits >>> 21) & 8);
      out[at++] = colors[color]!;
    }
  }
}

// Hot: each line of a CGA mode with 4 colours.
/** Draws `count` words: two bits a dot, from planes 0 and 2 and then from planes 1 and 3. */
export function drawInterleaved(
  mode: PlanarMode,
  planes: Uint32Array,
  colors: Uint32Array,
  counter: number,
  rowLine: number,
  count: number,
  out: Uint32Array,
): void {
  for (let column = 0, at = 0; column < count; column++) {
    const word = planes[planeAddress(mode, counter + column, rowLine)]!;
    for (let half = 0; half < 16; half += 8) {
      for (let bit = 6; bit >= 0; bit -= 2) {
        const low = (word >>> (half + bit)) & 3;
        const high = (word >>> (16 + half + bit)) & 3;
        out[at++] = colors[low | (high << 2)]!;
      }
    }
  }
}

// Hot: each line of a mode with 256 colours.
/** Draws `count` words: a byte a pixel, plane by plane, each two dots wide. */
export function drawPacked(
  mode: PlanarMode,
  planes: Uint32Array,
  dac: Uint32Array,
  counter: number,
  rowLine: number,
  count: number,
  out: Uint32Array,
): void {
  for (let column = 0, at = 0; column < count; column++) {
    const word = planes[planeAddress(mode, counter + column, rowLine)]!;
    for (let shift = 0; shift < 32; shift += 8) {
      const pixel = dac[(word >>> shift) & 0xff]!;
      out[at++] = pixel;
      out[at++] = pixel;
    }
  }
}

// Hot: each line of a linear mode.
/** Draws `width` pixels that lie from byte `start` of video memory on. */
export function drawLinear(
  bitsPerPixel: number,
  vram: Uint8Array,
  dac: Uint32Array,
  start: number,
  width: number,
  out: Uint32Array,
  outStart: number,
): void {
  if (bitsPerPixel === 8) {
    for (let x = 0; x < width; x++) out[outStart + x] = dac[vram[start + x]!]!;
    return;
  }
  if (bitsPerPixel >= 24) {
    const step = bitsPerPixel >> 3;
    for (let x = 0, at = start; x < width; x++, at += step)
      out[outStart + x] = 0xff00_0000 | (vram[at]! << 16) | (vram[at + 1]! << 8) | vram[at + 2]!;
    return;
  }
  const greenBits = bitsPerPixel === 16 ? 6 : 5;
  for (let x = 0, at = start; x < width; x++, at += 2) {
    const value = vram[at]! | (vram[at + 1]! << 8);
    const blue = value & 0x1f;
    const red = (value >> (5 + greenBits)) & 0x1f;
    let green = (value >> 5) & ((1 << greenBits) - 1);
    green = greenBits === 6 ? (green << 2) | (green >> 4) : (green << 3) | (green >> 2);
    out[outStart + x] =
      0xff00_0000 | (((blue << 3) | (blue >> 2)) << 16) | (green << 8) | ((red << 3) | (red >> 2));
  }
}
