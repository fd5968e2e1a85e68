// What a machine's display shows, for whoever looks: a picture, or the characters of a text screen.

import type { VGA } from '../devices/vga.ts';
import { type Frame, type TakeDirtyPages, VGARenderer } from '../devices/vga-renderer.ts';
import { type TextScreen, textLines, textScreen } from '../devices/vga-text.ts';

export type { Frame } from '../devices/vga-renderer.ts';
export type { TextScreen } from '../devices/vga-text.ts';

/**
 * A machine's screen. It costs nothing while nobody looks; what is asked for is as of now.
 *
 * There is one picture, which each look brings up to date where video memory changed.
 */
export class Screen {
  /** The picture may have changed; called by the machine at most 30 times a second. */
  onChange: (() => void) | undefined;
  readonly #vga: VGA;
  readonly #renderer: VGARenderer;

  constructor(vga: VGA, takeDirtyPages: TakeDirtyPages) {
    this.#vga = vga;
    this.#renderer = new VGARenderer(vga, takeDirtyPages);
  }

  /** Rows of a text screen as Unicode, without blanks at their ends; none in graphics modes. */
  text(): string[] {
    return textLines(this.#vga);
  }

  /** A text screen with its colours and cursor, or undefined in graphics modes. */
  textScreen(): TextScreen | undefined {
    return textScreen(this.#vga);
  }

  /** The picture now. Its bytes change with the next call: copy what is to be kept. */
  frame(): Frame {
    this.#renderer.refresh();
    return this.#renderer.frame;
  }

  /** Lines that the last `frame()` drew; the others had not changed. */
  get drawnLines(): number {
    return this.#renderer.drawnLines;
  }

  /** Brings the picture up to date if somebody listens, and tells them if it changed. */
  notify(): void {
    if (this.onChange !== undefined && this.#renderer.refresh()) this.onChange();
  }
}
