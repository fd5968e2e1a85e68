// Video memory as a picture. Only lines whose pages changed are drawn again: the pages come from
// the VGA client of the dirty bytes, whoever wrote them.

import type { VGA } from './vga.ts';
import { attributePixels, BLACK, dacPixels } from './vga-colors.ts';
import {
  drawInterleaved,
  drawLinear,
  drawPacked,
  drawPlanar,
  drawText,
  type TextStyle,
} from './vga-line.ts';
import {
  type DisplayMode,
  displayMode,
  type LineSource,
  lineSource,
  type PlanarMode,
  planeAddress,
} from './vga-mode.ts';
import {
  AT_MODE,
  ATMODE_BLINK,
  ATMODE_LINE_GRAPHICS,
  ATMODE_MONO,
  CR_UNDERLINE,
  MODE_ROW_BIT_13,
  MODE_ROW_BIT_14,
  SEQ_CHARACTER_MAP,
} from './vga-registers.ts';
import { cursorOf } from './vga-text.ts';

const PAGE_BITS = 12;
/** The cursor is on for so many frames and then off; characters blink half as fast. */
const CURSOR_FRAMES = 8;
const BLINK_FRAMES = 16;
const FONT_BYTES = 0x1_0000;

/** A picture: red, green, blue and alpha (255) of each pixel, row by row from the top. */
export interface Frame {
  readonly width: number;
  readonly height: number;
  readonly rgba: Uint8ClampedArray;
}

/** Takes the pages of video memory that changed since the last call, by number within it. */
export type TakeDirtyPages = (onPage: (pageIndex: number) => void) => void;

export class VGARenderer {
  readonly #vga: VGA;
  readonly #takeDirtyPages: TakeDirtyPages;
  /** One byte a page: changed since the last frame. */
  readonly #dirty: Uint8Array;
  readonly #dac = new Uint32Array(256);
  readonly #colors = new Uint32Array(16);
  /** Plane 2 as it was drawn: a change of a font touches every character. */
  readonly #fonts = new Uint8Array(FONT_BYTES);
  #frame: Frame = { width: 0, height: 0, rgba: new Uint8ClampedArray(0) };
  #pixels = new Uint32Array(0);
  #line = new Uint32Array(0);
  #seenChange = -1;
  #cursor = -1;
  #cursorLines = 0;
  #isBlinkOn = true;
  /** Lines drawn by the last `refresh`, of which there are `frame.height`. */
  drawnLines = 0;

  constructor(vga: VGA, takeDirtyPages: TakeDirtyPages) {
    this.#vga = vga;
    this.#takeDirtyPages = takeDirtyPages;
    this.#dirty = new Uint8Array(vga.vram.length >> PAGE_BITS);
  }

  /** The picture as `refresh` left it; its bytes change with the next one. */
  get frame(): Frame {
    return this.#frame;
  }

  /** Brings the frame up to date; whether a pixel may have changed. */
  refresh(): boolean {
    const vga = this.#vga;
    const mode = displayMode(vga);
    const isNew = vga.changeCount !== this.#seenChange;
    this.#seenChange = vga.changeCount;
    this.#dirty.fill(0);
    // The bits are taken, and the memory is armed anew, before any of it is read.
    this.#takeDirtyPages((page) => {
      this.#dirty[page] = 1;
    });
    this.drawnLines = 0;
    if (isNew) {
      dacPixels(vga, this.#dac);
      attributePixels(vga, this.#dac, this.#colors);
    }
    if (mode.kind === 'blank') this.#drawBlank(mode, isNew);
    else if (mode.kind === 'linear') this.#drawLinear(mode.linear, isNew);
    else if (mode.planar.kind === 'text') this.#drawText(mode.planar, isNew);
    else this.#drawGraphics(mode.planar, isNew);
    return this.drawnLines > 0;
  }

  #resize(width: number, height: number): void {
    if (this.#frame.width === width && this.#frame.height === height) return;
    const rgba = new Uint8ClampedArray(width * height * 4);
    this.#frame = { width, height, rgba };
    this.#pixels = new Uint32Array(rgba.buffer);
  }

  #drawBlank(mode: { width: number; height: number }, isNew: boolean): void {
    if (!isNew) return;
    this.#resize(mode.width, mode.height);
    this.#pixels.fill(BLACK);
    this.drawnLines = mode.height;
  }

  #drawLinear(mode: Extract<DisplayMode, { kind: 'linear' }>['linear'], isNew: boolean): void {
    const { width, height, bitsPerPixel, startByte, pitchBytes } = mode;
    this.#resize(width, height);
    const lineBytes = width * ((bitsPerPixel + 7) >> 3);
    for (let y = 0; y < height; y++) {
      const start = startByte + y * pitchBytes;
      if (!isNew && !this.#isDirty(start, start + lineBytes)) continue;
      drawLinear(bitsPerPixel, this.#vga.vram, this.#dac, start, width, this.#pixels, y * width);
      this.drawnLines++;
    }
  }

  #drawGraphics(mode: PlanarMode, isNew: boolean): void {
    const draw = { planar: drawPlanar, interleaved: drawInterleaved, packed: drawPacked }[
      mode.kind as 'planar' | 'interleaved' | 'packed'
    ];
    const colors = mode.kind === 'packed' ? this.#dac : this.#colors;
    this.#resize(mode.width, mode.height);
    // Lines of a row are alike, but for address bits that come from the row's line counter.
    const lineBits =
      (mode.crtcMode & MODE_ROW_BIT_13 ? 0 : 1) | (mode.crtcMode & MODE_ROW_BIT_14 ? 0 : 2);
    this.#eachLine(
      mode,
      isNew,
      lineBits,
      () => false,
      (source, count, out) =>
        draw(mode, this.#vga.planes, colors, source.counter, source.rowLine, count, out),
    );
  }

  #drawText(mode: PlanarMode, isNew: boolean): void {
    const { crtc } = this.#vga.state;
    const areFontsNew = this.#updateFonts(isNew || this.#frame.width !== mode.width);
    this.#resize(mode.width, mode.height);
    const style = this.#textStyle();
    const cursorBefore = this.#cursor;
    const cursorLines = (crtc[0x0a]! << 8) | crtc[0x0b]!;
    const hasCursorChanged = cursorBefore !== style.cursor || this.#cursorLines !== cursorLines;
    const hasBlinked = style.hasBlink && this.#isBlinkOn !== style.isBlinkOn;
    this.#cursor = style.cursor;
    this.#cursorLines = cursorLines;
    this.#isBlinkOn = style.isBlinkOn;
    const shows = (source: LineSource, counter: number) =>
      counter >= source.counter && counter <= source.counter + mode.columns;
    const isForced = (source: LineSource) =>
      (hasCursorChanged && (shows(source, cursorBefore) || shows(source, style.cursor))) ||
      (hasBlinked && this.#hasBlinking(mode, source));
    this.#eachLine(mode, isNew || areFontsNew, 0x1f, isForced, (source, count, out) =>
      drawText(
        ...([mode, style, this.#vga.planes, this.#colors] as const),
        ...([source.counter, source.rowLine, count, out] as const),
      ),
    );
  }

  /**
   * Draws the lines that need it. Neighbours from the same words, with the same bits `lineBits` of
   * the row's line counter, are copied.
   */
  #eachLine(
    mode: PlanarMode,
    isNew: boolean,
    lineBits: number,
    isForced: (source: LineSource) => boolean,
    draw: (source: LineSource, count: number, out: Uint32Array) => void,
  ): void {
    const { width, height, columns, charDots, dotScale } = mode;
    const dots = (columns + 2) * charDots;
    if (this.#line.length < dots) this.#line = new Uint32Array(dots);
    const line = this.#line;
    let drawn: LineSource | undefined;
    for (let y = 0; y < height; y++) {
      const source = lineSource(mode, y);
      if (!isNew && !isForced(source) && !this.#areWordsDirty(mode, source)) {
        drawn = undefined;
        continue;
      }
      this.drawnLines++;
      const start = y * width;
      if (
        drawn !== undefined &&
        drawn.counter === source.counter &&
        drawn.panDots === source.panDots &&
        ((drawn.rowLine ^ source.rowLine) & lineBits) === 0
      ) {
        this.#pixels.copyWithin(start, start - width, start);
        continue;
      }
      draw(source, columns + 2, line);
      drawn = source;
      if (dotScale === 1)
        this.#pixels.set(line.subarray(source.panDots, source.panDots + width), start);
      else
        for (let x = 0; x < width; x++) this.#pixels[start + x] = line[source.panDots + (x >> 1)]!;
    }
  }

  /** Whether a page that the words of a line lie in has changed. */
  #areWordsDirty(mode: PlanarMode, source: LineSource): boolean {
    const { counter, rowLine } = source;
    const count = mode.columns + (source.panDots > 0 ? 1 : 0);
    const first = planeAddress(mode, counter, rowLine);
    const last = planeAddress(mode, counter + count - 1, rowLine);
    const step = count > 1 ? planeAddress(mode, counter + 1, rowLine) - first : 1;
    // Words in one piece, or else somewhere in the planes.
    if (step > 0 && last - first === (count - 1) * step)
      return this.#isDirty(first * 4, last * 4 + 4);
    return this.#isDirty(0, (mode.addressMask + 1) * 4);
  }

  #isDirty(startByte: number, endByte: number): boolean {
    const dirty = this.#dirty;
    const last = Math.min((endByte - 1) >>> PAGE_BITS, dirty.length - 1);
    for (let page = startByte >>> PAGE_BITS; page <= last; page++) if (dirty[page]) return true;
    return false;
  }

  #hasBlinking(mode: PlanarMode, source: LineSource): boolean {
    const { planes } = this.#vga;
    for (let column = 0; column <= mode.columns; column++) {
      const word = planes[planeAddress(mode, source.counter + column, source.rowLine)]!;
      if (word & 0x8000) return true;
    }
    return false;
  }

  /** Copies plane 2 where it is dirty; whether it is another than what was drawn with. */
  #updateFonts(isNew: boolean): boolean {
    const { planes } = this.#vga;
    const wordsPerPage = 1 << (PAGE_BITS - 2);
    let isOther = false;
    for (let page = 0; page < FONT_BYTES / wordsPerPage; page++) {
      if (!isNew && !this.#dirty[page]) continue;
      for (let at = page * wordsPerPage; at < (page + 1) * wordsPerPage; at++) {
        const dots = (planes[at]! >>> 16) & 0xff;
        if (this.#fonts[at] === dots) continue;
        this.#fonts[at] = dots;
        isOther = true;
      }
    }
    return isOther;
  }

  #textStyle(): TextStyle {
    const vga = this.#vga;
    const { crtc, attribute, sequencer } = vga.state;
    const attributeMode = attribute[AT_MODE]!;
    const frameIndex = Math.floor(vga.nowNs() / vga.timing.frameNs);
    const cursor = cursorOf(crtc);
    const isCursorOn = cursor.isOn && Math.floor(frameIndex / CURSOR_FRAMES) % 2 === 0;
    const maps = sequencer[SEQ_CHARACTER_MAP]!;
    return {
      fontB: fontAddress((maps & 3) | ((maps >> 2) & 4)),
      fontA: fontAddress(((maps >> 2) & 3) | ((maps >> 3) & 4)),
      hasLineGraphics: (attributeMode & ATMODE_LINE_GRAPHICS) !== 0,
      hasBlink: (attributeMode & ATMODE_BLINK) !== 0,
      isBlinkOn: Math.floor(frameIndex / BLINK_FRAMES) % 2 === 0,
      underlineLine: attributeMode & ATMODE_MONO ? crtc[CR_UNDERLINE]! & 0x1f : -1,
      cursor: isCursorOn ? cursor.counter : -1,
      cursorFirst: cursor.first,
      cursorLast: cursor.last,
    };
  }
}

/** Address in plane 2 of character map 0–7. */
function fontAddress(map: number): number {
  return (map & 3) * 0x4000 + (map & 4 ? 0x2000 : 0);
}
