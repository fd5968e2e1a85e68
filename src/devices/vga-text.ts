// The text screen as characters: what a program, a test or a terminal wants to know of it.

import { CODE_PAGE_437 } from './codepage-437.ts';
import type { VGA } from './vga.ts';
import { displayMode, type PlanarMode, planeAddress } from './vga-mode.ts';
import {
  AT_MODE,
  ATMODE_BLINK,
  CR_CURSOR_END,
  CR_CURSOR_HIGH,
  CR_CURSOR_LOW,
  CR_CURSOR_START,
  CURSOR_OFF,
} from './vga-registers.ts';

/**
 * Characters and attributes, row by row; `codes` are of the character generator (code page 437).
 */
export interface TextScreen {
  readonly columns: number;
  readonly rows: number;
  readonly codes: Uint8Array;
  readonly attributes: Uint8Array;
  /** Attribute bit 7 blinks, instead of choosing a bright background. */
  readonly hasBlink: boolean;
  /** Where the cursor is, if it is on and on the screen. */
  readonly cursor: { readonly column: number; readonly row: number } | undefined;
}

/** Address counter of the cursor, whether it is on, and its scan lines [first, last]. */
export function cursorOf(crtc: Uint8Array): {
  counter: number;
  isOn: boolean;
  first: number;
  last: number;
} {
  const first = crtc[CR_CURSOR_START]! & 0x1f;
  const last = crtc[CR_CURSOR_END]! & 0x1f;
  const skew = (crtc[CR_CURSOR_END]! >> 5) & 3;
  return {
    counter: ((crtc[CR_CURSOR_HIGH]! << 8) | crtc[CR_CURSOR_LOW]!) + skew,
    isOn: (crtc[CR_CURSOR_START]! & CURSOR_OFF) === 0 && first <= last,
    first,
    last,
  };
}

/** The text screen now, or undefined in graphics modes and while nothing is shown. */
export function textScreen(vga: VGA): TextScreen | undefined {
  const mode = displayMode(vga);
  if (mode.kind !== 'crtc' || mode.planar.kind !== 'text') return undefined;
  const { planar } = mode;
  const { columns } = planar;
  const starts = rowStarts(planar);
  const rows = starts.length;
  const codes = new Uint8Array(columns * rows);
  const attributes = new Uint8Array(columns * rows);
  const blinking = cursorOf(vga.state.crtc);
  let cursor: { column: number; row: number } | undefined;
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      const counter = starts[row]! + column;
      const word = vga.planes[planeAddress(planar, counter, 0)]!;
      codes[row * columns + column] = word;
      attributes[row * columns + column] = word >>> 8;
      if (blinking.isOn && counter === blinking.counter) cursor = { column, row };
    }
  }
  const hasBlink = (vga.state.attribute[AT_MODE]! & ATMODE_BLINK) !== 0;
  return { columns, rows, codes, attributes, hasBlink, cursor };
}

/** Address counters of the rows, those below the split behind those above it. */
function rowStarts(planar: PlanarMode): number[] {
  const { height, rowLines, lineScale, splitLine, start, rowStep } = planar;
  const rowHeight = rowLines * lineScale;
  const upperHeight = Math.min(height, splitLine + 1);
  const upper = Math.max(1, Math.floor(upperHeight / rowHeight));
  const lower = Math.floor((height - upperHeight) / rowHeight);
  return [
    ...Array.from({ length: upper }, (_, row) => start + row * rowStep),
    ...Array.from({ length: lower }, (_, row) => row * rowStep),
  ];
}

/** The rows as Unicode, without blanks at their ends; none in graphics modes. */
export function textLines(vga: VGA): string[] {
  const screen = textScreen(vga);
  if (screen === undefined) return [];
  const { columns, rows, codes } = screen;
  return Array.from({ length: rows }, (_, row) =>
    Array.from(codes.subarray(row * columns, (row + 1) * columns), (code) => CODE_PAGE_437[code])
      .join('')
      .trimEnd(),
  );
}
