// Where the beam is: the CRTC's counters as a function of virtual time. IBM VGA XGA Technical
// Reference, "CRT Controller Registers" and "Input Status Register 1".

import {
  CLOCKING_8_DOTS,
  CLOCKING_HALF,
  CR_HORIZONTAL_END,
  CR_HORIZONTAL_TOTAL,
  CR_OVERFLOW,
  CR_RETRACE_END,
  CR_RETRACE_START,
  CR_VERTICAL_END,
  CR_VERTICAL_TOTAL,
  SEQ_CLOCKING,
} from './vga-registers.ts';

/** The two crystals, Hz; the third and fourth choice are external and taken as the first. */
const DOT_HZ = [25_175_000, 28_322_000, 25_175_000, 25_175_000] as const;
const NS_PER_SECOND = 1e9;
/** Frames that no monitor shows are taken for ones of 60 Hz. */
const FRAME_NS_MIN = 4e6;
const FRAME_NS_MAX = 50e6;
const FRAME_NS_DEFAULT = NS_PER_SECOND / 60;
const LINES_DEFAULT = 449;

/** Counts of a frame, from the CRTC. */
export interface FrameTiming {
  readonly frameNs: number;
  readonly lineNs: number;
  readonly lineCount: number;
  /** Lines that are shown, and the part of a line that is. */
  readonly shownLines: number;
  readonly shownPart: number;
  readonly retraceStart: number;
  readonly retraceLines: number;
}

/** Bit `from` of the overflow register as bit `to`. */
function moved(overflow: number, from: number, to: number): number {
  return ((overflow >> from) & 1) << to;
}

/** Last line that is shown: the vertical display end register with its overflow bits. */
export function verticalEnd(crtc: Uint8Array): number {
  const overflow = crtc[CR_OVERFLOW]!;
  return crtc[CR_VERTICAL_END]! | moved(overflow, 1, 8) | moved(overflow, 6, 9);
}

export function frameTiming(misc: number, sequencer: Uint8Array, crtc: Uint8Array): FrameTiming {
  const overflow = crtc[CR_OVERFLOW]!;
  const clocking = sequencer[SEQ_CLOCKING]!;
  const dotsPerChar = clocking & CLOCKING_8_DOTS ? 8 : 9;
  const dotHz = DOT_HZ[(misc >> 2) & 3]! / (clocking & CLOCKING_HALF ? 2 : 1);
  const charCount = crtc[CR_HORIZONTAL_TOTAL]! + 5;
  let lineCount = (crtc[CR_VERTICAL_TOTAL]! | moved(overflow, 0, 8) | moved(overflow, 5, 9)) + 2;
  const start = crtc[CR_RETRACE_START]! | moved(overflow, 2, 8) | moved(overflow, 7, 9);
  let lineNs = ((charCount * dotsPerChar) / dotHz) * NS_PER_SECOND;
  let frameNs = lineNs * lineCount;
  let shownLines = Math.min(lineCount, verticalEnd(crtc) + 1);
  let retraceStart = start;
  if (!(frameNs >= FRAME_NS_MIN && frameNs <= FRAME_NS_MAX)) {
    frameNs = FRAME_NS_DEFAULT;
    lineCount = LINES_DEFAULT;
    lineNs = frameNs / lineCount;
    shownLines = 400;
    retraceStart = 412;
  }
  // The end register holds the low four bits of the line at which the retrace ends.
  const retraceLines = (crtc[CR_RETRACE_END]! - retraceStart) & 15 || 2;
  // A guest that waits for the retrace must meet one.
  retraceStart = Math.min(retraceStart, lineCount - 1);
  const shownPart = Math.min(1, (crtc[CR_HORIZONTAL_END]! + 1) / charCount);
  return { frameNs, lineNs, lineCount, shownLines, shownPart, retraceStart, retraceLines };
}

/**
 * Input status register 1 at virtual time `nowNs`: bit 0 not displaying, bit 3 vertical retrace.
 */
export function beamStatus(timing: FrameTiming, nowNs: number): number {
  const inFrame = nowNs % timing.frameNs;
  const line = Math.floor(inFrame / timing.lineNs);
  const inLine = (inFrame - line * timing.lineNs) / timing.lineNs;
  const isShown = line < timing.shownLines && inLine < timing.shownPart;
  const isRetrace = line >= timing.retraceStart && line < timing.retraceStart + timing.retraceLines;
  return (isShown ? 0 : 0x01) | (isRetrace ? 0x08 : 0);
}
