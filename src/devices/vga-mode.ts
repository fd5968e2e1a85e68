// From registers to what is on the screen: how large it is, and which words of the planes each scan
// line shows. IBM VGA XGA Technical Reference, "CRT Controller Registers", "Attribute Controller
// Registers".

import type { VGA } from './vga.ts';
import type { LinearMode } from './vga-dispi.ts';
import {
  AT_MODE,
  AT_PANNING,
  ATMODE_PANNING_SPLIT,
  ATTRIBUTE_SHOWS,
  CLOCKING_8_DOTS,
  CLOCKING_HALF,
  CLOCKING_SCREEN_OFF,
  CR_HORIZONTAL_END,
  CR_LINE_COMPARE,
  CR_MAX_SCAN_LINE,
  CR_MODE,
  CR_OFFSET,
  CR_OVERFLOW,
  CR_PRESET_ROW,
  CR_START_HIGH,
  CR_START_LOW,
  CR_UNDERLINE,
  GR_MISCELLANEOUS,
  GR_MODE,
  MISC_GRAPHICS,
  MODE_BYTE,
  MODE_ROW_BIT_13,
  MODE_ROW_BIT_14,
  MODE_RUNS,
  MODE_SHIFT_256,
  MODE_SHIFT_INTERLEAVE,
  MODE_WRAP_15,
  SEQ_CLOCKING,
  UNDERLINE_DOUBLEWORD,
} from './vga-registers.ts';
import { verticalEnd } from './vga-timing.ts';

/** A screen that the VGA's own CRTC makes. */
export interface PlanarMode {
  /** How eight dots come out of a word of the planes; `text` through the character generator. */
  readonly kind: 'text' | 'planar' | 'interleaved' | 'packed';
  /** Character clocks of a line: words that it shows. */
  readonly columns: number;
  /** Dots of a character clock: 8 or 9, on the screen twice as many if `dotScale` is 2. */
  readonly charDots: number;
  readonly dotScale: 1 | 2;
  readonly width: number;
  readonly height: number;
  /** Address counter of the first word, and its step from row to row. */
  readonly start: number;
  readonly rowStep: number;
  /** Scan lines of a row, each `lineScale` times; the first row begins with line `firstLine`. */
  readonly rowLines: number;
  readonly lineScale: 1 | 2;
  readonly firstLine: number;
  /** Dots that the picture is moved to the left, and whether the part below the split is, too. */
  readonly panDots: number;
  readonly isSplitPanned: boolean;
  /** The scan line behind which the address counter starts again from 0. */
  readonly splitLine: number;
  /** How the address counter becomes an address: CR17 and CR14. */
  readonly crtcMode: number;
  readonly isDoubleword: boolean;
  /** Addresses of a plane, less one. */
  readonly addressMask: number;
}

/** What is to be shown. */
export type DisplayMode =
  | { readonly kind: 'blank'; readonly width: number; readonly height: number }
  | { readonly kind: 'linear'; readonly linear: LinearMode }
  | { readonly kind: 'crtc'; readonly planar: PlanarMode };

/** A monitor without a signal is shown as black of this size. */
const NO_SIGNAL = { kind: 'blank', width: 720, height: 400 } as const;
const SPLIT_NEVER = 0x3ff;

/** What `vga` shows now. */
export function displayMode(vga: VGA): DisplayMode {
  const { state, dispi } = vga;
  const mode = dispi.mode;
  const isBlank =
    (state.attributeIndex & ATTRIBUTE_SHOWS) === 0 ||
    (state.sequencer[SEQ_CLOCKING]! & CLOCKING_SCREEN_OFF) !== 0;
  if (mode !== undefined) {
    if (isBlank) return { kind: 'blank', width: mode.width, height: mode.height };
    if (mode.bitsPerPixel === 4) return { kind: 'crtc', planar: linear4(vga, mode) };
    return { kind: 'linear', linear: mode };
  }
  if ((state.crtc[CR_MODE]! & MODE_RUNS) === 0) return NO_SIGNAL;
  const planar = crtcScreen(vga);
  if (isBlank) return { kind: 'blank', width: planar.width, height: planar.height };
  return { kind: 'crtc', planar };
}

function crtcScreen(vga: VGA): PlanarMode {
  const { crtc, sequencer, graphics, attribute } = vga.state;
  const clocking = sequencer[SEQ_CLOCKING]!;
  const isText = (graphics[GR_MISCELLANEOUS]! & MISC_GRAPHICS) === 0;
  const shift = graphics[GR_MODE]!;
  const charDots = isText && (clocking & CLOCKING_8_DOTS) === 0 ? 9 : 8;
  const dotScale = clocking & CLOCKING_HALF ? 2 : 1;
  const columns = crtc[CR_HORIZONTAL_END]! + 1;
  const scan = crtc[CR_MAX_SCAN_LINE]!;
  const overflow = crtc[CR_OVERFLOW]!;
  const panning = attribute[AT_PANNING]! & 0xf;
  // With nine dots, 8 stands for none and 0–7 for one to eight.
  const panDots = charDots === 9 ? (panning >= 8 ? 0 : panning + 1) : panning & 7;
  return {
    kind: isText
      ? 'text'
      : shift & MODE_SHIFT_256
        ? 'packed'
        : shift & MODE_SHIFT_INTERLEAVE
          ? 'interleaved'
          : 'planar',
    columns,
    charDots,
    dotScale,
    width: columns * charDots * dotScale,
    height: verticalEnd(crtc) + 1,
    start: ((crtc[CR_START_HIGH]! << 8) | crtc[CR_START_LOW]!) + ((crtc[CR_PRESET_ROW]! >> 5) & 3),
    rowStep: crtc[CR_OFFSET]! * 2,
    rowLines: (scan & 0x1f) + 1,
    lineScale: scan & 0x80 ? 2 : 1,
    firstLine: crtc[CR_PRESET_ROW]! & 0x1f,
    panDots,
    isSplitPanned: (attribute[AT_MODE]! & ATMODE_PANNING_SPLIT) === 0,
    splitLine: crtc[CR_LINE_COMPARE]! | ((overflow & 0x10) << 4) | ((scan & 0x40) << 3),
    crtcMode: crtc[CR_MODE]!,
    isDoubleword: (crtc[CR_UNDERLINE]! & UNDERLINE_DOUBLEWORD) !== 0,
    addressMask: 0xffff,
  };
}

/** The Bochs interface's mode of 4 bits a pixel: planes as ever, of any size. */
function linear4(vga: VGA, mode: LinearMode): PlanarMode {
  return {
    kind: 'planar',
    columns: mode.width >> 3,
    charDots: 8,
    dotScale: 1,
    width: mode.width,
    height: mode.height,
    start: mode.startByte,
    rowStep: mode.pitchBytes,
    rowLines: 1,
    lineScale: 1,
    firstLine: 0,
    panDots: 0,
    isSplitPanned: true,
    splitLine: Number.POSITIVE_INFINITY,
    crtcMode: MODE_BYTE | MODE_ROW_BIT_13 | MODE_ROW_BIT_14,
    isDoubleword: false,
    addressMask: vga.planes.length - 1,
  };
}

/** Where a scan line comes from. */
export interface LineSource {
  /** Address counter of its first word. */
  readonly counter: number;
  /** Line of the row. */
  readonly rowLine: number;
  readonly panDots: number;
}

/** Source of scan line `y` of the frame. */
export function lineSource(mode: PlanarMode, y: number): LineSource {
  const isBelowSplit = mode.splitLine < SPLIT_NEVER && y > mode.splitLine;
  const from = isBelowSplit ? y - mode.splitLine - 1 : y;
  const line = Math.floor(from / mode.lineScale) + (isBelowSplit ? 0 : mode.firstLine);
  const row = Math.floor(line / mode.rowLines);
  return {
    counter: (isBelowSplit ? 0 : mode.start) + row * mode.rowStep,
    rowLine: line % mode.rowLines,
    panDots: isBelowSplit && !mode.isSplitPanned ? 0 : mode.panDots,
  };
}

// Hot: each word of each line that is drawn.
/** Address in a plane of what the address counter points at, in line `rowLine` of a row. */
export function planeAddress(mode: PlanarMode, counter: number, rowLine: number): number {
  const { crtcMode } = mode;
  let address = counter;
  if (mode.isDoubleword) address = (counter << 2) | ((counter >> 14) & 3);
  else if ((crtcMode & MODE_BYTE) === 0)
    address = (counter << 1) | ((counter >> (crtcMode & MODE_WRAP_15 ? 15 : 13)) & 1);
  if ((crtcMode & MODE_ROW_BIT_13) === 0) address = (address & ~0x2000) | ((rowLine & 1) << 13);
  if ((crtcMode & MODE_ROW_BIT_14) === 0) address = (address & ~0x4000) | ((rowLine & 2) << 13);
  return address & mode.addressMask;
}
