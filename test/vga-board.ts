// A VGA by itself, with what a machine gives it: memory whose pages are watched,
// time, and the ports.

import { VGA } from '../src/devices/vga.ts';
import { VGARenderer } from '../src/devices/vga-renderer.ts';
import { setTextMode } from '../src/devices/vga-text-mode.ts';
import { ManualClock } from './manual-clock.ts';

const PAGE_BITS = 12;

/** Mode 12h: 640 by 480 in 16 colours. IBM VGA XGA Technical Reference, tables of BIOS modes. */
const MODE_12 = {
  miscellaneous: 0xe3,
  sequencer: [0x03, 0x01, 0x0f, 0x00, 0x06],
  crtc: [
    ...[0x5f, 0x4f, 0x50, 0x82, 0x54, 0x80, 0x0b, 0x3e, 0x00, 0x40, 0x20, 0x00, 0x00],
    ...[0x00, 0x00, 0x00, 0xea, 0x0c, 0xdf, 0x28, 0x00, 0xe7, 0x04, 0xe3, 0xff],
  ],
  graphics: [0, 0, 0, 0, 0, 0, 0x05, 0x0f, 0xff],
};

export class VGABoard {
  readonly clock = new ManualClock();
  readonly vga: VGA;
  readonly renderer: VGARenderer;
  /** Pages written since the renderer last asked. */
  readonly dirty = new Set<number>();
  /** Writes as the VGA reported them. */
  readonly writes: [number, number][] = [];

  constructor(vramBytes = 1 << 20) {
    this.vga = new VGA(this.clock, new Uint8Array(new ArrayBuffer(vramBytes)));
    this.vga.onWrite = (offset, sizeBytes) => {
      this.writes.push([offset, sizeBytes]);
      this.mark(offset, sizeBytes);
    };
    this.renderer = new VGARenderer(this.vga, (onPage) => {
      for (const page of this.dirty) onPage(page);
      this.dirty.clear();
    });
  }

  mark(offset: number, sizeBytes: number): void {
    for (let page = offset >> PAGE_BITS; page <= (offset + sizeBytes - 1) >> PAGE_BITS; page++)
      this.dirty.add(page);
  }

  /** A store to the linear framebuffer. */
  store(offset: number, bytes: readonly number[]): void {
    this.vga.vram.set(bytes, offset);
    this.mark(offset, bytes.length);
  }

  out(port: number, value: number): void {
    this.vga.writePort(port - 0x3b0, value);
  }

  in(port: number): number {
    return this.vga.readPort(port - 0x3b0);
  }

  set(port: number, index: number, value: number): void {
    this.out(port, index);
    this.out(port + 1, value);
  }

  attribute(index: number, value: number): void {
    this.in(0x3da);
    this.out(0x3c0, index);
    this.out(0x3c0, value);
    this.out(0x3c0, 0x20);
  }

  color(index: number, red: number, green: number, blue: number): void {
    this.out(0x3c8, index);
    for (const part of [red, green, blue]) this.out(0x3c9, part);
  }

  dispi(index: number, value: number): void {
    this.vga.dispi.writeIndex(index);
    this.vga.dispi.writeData(value);
  }

  /** 80 by 25 characters of 9 by 16 dots. */
  setText(): void {
    setTextMode(this.vga);
  }

  /** 640 by 480 in 16 colours; attribute n has colour n, which has red n. */
  setPlanar(): void {
    this.out(0x3c2, MODE_12.miscellaneous);
    for (const [index, value] of MODE_12.sequencer.entries()) this.set(0x3c4, index, value);
    this.set(0x3d4, 0x11, 0);
    for (const [index, value] of MODE_12.crtc.entries()) this.set(0x3d4, index, value);
    for (const [index, value] of MODE_12.graphics.entries()) this.set(0x3ce, index, value);
    this.attribute(0x10, 0x01);
    this.attribute(0x12, 0x0f);
    this.attribute(0x13, 0x00);
    for (let index = 0; index < 16; index++) {
      this.attribute(index, index);
      this.color(index, index, 0, 0);
    }
  }

  /** Pixel at (x, y) of a fresh frame as `#rrggbb`. */
  pixel(x: number, y: number): string {
    const { width, rgba } = this.renderer.frame;
    const at = (y * width + x) * 4;
    const parts = [...rgba.subarray(at, at + 3)];
    return `#${parts.map((part) => part.toString(16).padStart(2, '0')).join('')}`;
  }
}
