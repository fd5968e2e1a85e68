import fc from 'fast-check';
import { expect, test } from 'vitest';
import { fuzzOptions } from '../../test/fuzz-options.ts';
import { VGABoard } from '../../test/vga-board.ts';
import { VGA } from './vga.ts';
import { BochsDISPI } from './vga-dispi.ts';
import { textLines, textScreen } from './vga-text.ts';

test('indexed registers keep the bits that they have', () => {
  const board = new VGABoard();
  board.out(0x3c2, 0x67);
  for (const [port, index, value, kept] of [
    [0x3c4, 2, 0xff, 0x0f],
    [0x3c4, 4, 0xff, 0x0e],
    [0x3ce, 0, 0xff, 0x0f],
    [0x3ce, 5, 0xff, 0x7b],
    [0x3ce, 8, 0xa5, 0xa5],
    [0x3d4, 0x0e, 0x12, 0x12],
  ] as const) {
    board.set(port, index, value);
    expect(board.in(port)).toBe(index);
    expect(board.in(port + 1)).toBe(kept);
  }
  board.set(0x3d4, 0x1f, 0xff);
  expect(board.in(0x3d5)).toBe(0);
  expect(board.in(0x3cc)).toBe(0x67);
});

test('the CRTC answers at the ports of its colour bit only', () => {
  const board = new VGABoard();
  board.out(0x3c2, 0x67);
  board.set(0x3d4, 0x0f, 0x33);
  expect([board.in(0x3d5), board.in(0x3b5)]).toEqual([0x33, 0xff]);
  board.out(0x3c2, 0x66);
  expect([board.in(0x3d5), board.in(0x3b5)]).toEqual([0xff, 0x33]);
});

test('CRTC registers 0–7 are protected, but for the line compare bit', () => {
  const board = new VGABoard();
  board.setText();
  board.set(0x3d4, 0x11, 0x8e);
  board.set(0x3d4, 0x01, 0x10);
  expect(board.in(0x3d5)).toBe(0x4f);
  board.set(0x3d4, 0x07, 0x00);
  expect(board.in(0x3d5)).toBe(0x0f);
});

test('the attribute port takes index and data in turns, from the index on after 0x3da', () => {
  const board = new VGABoard();
  board.out(0x3c2, 0x67);
  board.in(0x3da);
  board.out(0x3c0, 0x05);
  board.out(0x3c0, 0xff);
  board.out(0x3c0, 0x05);
  expect(board.in(0x3c1)).toBe(0x3f);
  board.in(0x3da);
  board.out(0x3c0, 0x06);
  expect(board.in(0x3c0)).toBe(0x06);
});

test('the converter takes three parts a colour, of six bits or eight', () => {
  const board = new VGABoard();
  board.color(7, 0xff, 0x15, 0x2a);
  board.out(0x3c7, 7);
  expect([board.in(0x3c7), board.in(0x3c9), board.in(0x3c9), board.in(0x3c9)]).toEqual([
    ...[3, 0x3f, 0x15, 0x2a],
  ]);
  board.dispi(4, 0x20);
  board.color(8, 0xff, 0x95, 0x2a);
  board.out(0x3c7, 8);
  expect([board.in(0x3c9), board.in(0x3c9), board.in(0x3c9)]).toEqual([0xff, 0x95, 0x2a]);
  expect(board.in(0x3c7)).toBe(3);
});

test('retrace and display enable follow virtual time: 70 frames of 449 lines a second', () => {
  const board = new VGABoard();
  board.setText();
  const { timing } = board.vga;
  expect(1e9 / timing.frameNs).toBeCloseTo(70.09, 1);
  let [retraces, last, shown] = [0, 0, 0];
  const steps = 100_000;
  for (let i = 0; i < steps; i++) {
    const status = board.in(0x3da);
    if (status & 8 && !(last & 8)) retraces++;
    if (!(status & 1)) shown++;
    last = status;
    board.clock.advance(10_000);
  }
  expect(retraces).toBeGreaterThanOrEqual(69);
  expect(retraces).toBeLessThanOrEqual(71);
  // 80 of 100 characters, 400 of 449 lines.
  expect(shown / steps).toBeCloseTo((80 / 100) * (400 / 449), 1);
});

test('a guest that waits for the retrace meets one, whatever the CRTC holds', () => {
  fc.assert(
    fc.property(fc.array(fc.nat({ max: 255 }), { minLength: 25, maxLength: 25 }), (crtc) => {
      const board = new VGABoard(1 << 18);
      board.out(0x3c2, 0x67);
      board.vga.state.crtc.set(crtc);
      let seen = 0;
      for (let i = 0; i < 4000 && seen !== 3; i++) {
        seen |= board.in(0x3da) & 8 ? 1 : 2;
        board.clock.advance(13_000);
      }
      expect(seen).toBe(3);
    }),
    fuzzOptions(50),
  );
});

test('the text screen: characters of code page 437, the cursor, no trailing blanks', () => {
  const board = new VGABoard();
  board.setText();
  const { vga } = board;
  for (let cell = 0; cell < 2000; cell++) vga.planes[cell * 2] = 0x0720;
  for (const [at, code] of [...'Hello \xc4\x01'].map((c) => c.charCodeAt(0)).entries())
    vga.writeMemory(0x18000 + 160 + at * 2, code);
  board.set(0x3d4, 0x0f, 83);
  const screen = textScreen(vga)!;
  expect([screen.columns, screen.rows]).toEqual([80, 25]);
  expect(screen.cursor).toEqual({ column: 3, row: 1 });
  expect(textLines(vga)[1]).toBe('Hello ─☺');
  expect(textLines(vga)[0]).toBe('');
  board.set(0x3d4, 0x0a, 0x20);
  expect(textScreen(vga)!.cursor).toBeUndefined();
  board.setPlanar();
  expect(textLines(vga)).toEqual([]);
});

test('the Bochs interface brings a mode into its memory, and clears it', () => {
  const board = new VGABoard(1 << 20);
  const { dispi, vram } = board.vga;
  expect([dispi.readRegister(0), dispi.readRegister(10)]).toEqual([0xb0c5, 16]);
  board.dispi(0, 0xb0c2);
  board.dispi(0, 0x1234);
  expect(dispi.readRegister(0)).toBe(0xb0c2);
  vram.fill(0xaa);
  board.dispi(1, 1021);
  board.dispi(2, 768);
  board.dispi(3, 16);
  board.dispi(3, 17);
  board.dispi(4, 0x41);
  expect(dispi.mode).toEqual({
    ...{ bitsPerPixel: 16, width: 1016, height: 516, startByte: 0, pitchBytes: 2032 },
  });
  expect([vram[0], vram[2032 * 516 - 1], vram[2032 * 516]]).toEqual([0, 0, 0xaa]);
  board.dispi(6, 1024);
  board.dispi(8, 500);
  board.dispi(9, 500);
  expect(dispi.mode).toMatchObject({ height: 512, startByte: 16, pitchBytes: 2048 });
  board.dispi(4, 0xc1 | 2);
  expect([1, 2, 3].map((index) => dispi.readRegister(index))).toEqual([16000, 12000, 32]);
});

test('banks of the window are bytes of the framebuffer, and end with the memory', () => {
  const board = new VGABoard(1 << 18);
  board.setPlanar();
  board.dispi(1, 640);
  board.dispi(2, 400);
  board.dispi(3, 8);
  board.dispi(4, 1);
  board.dispi(5, 3);
  board.writes.length = 0;
  board.vga.writeMemory(0x12, 0x77);
  expect(board.vga.vram[0x30012]).toBe(0x77);
  expect(board.writes).toEqual([[0x30012, 1]]);
  board.dispi(5, 4);
  board.vga.writeMemory(0x12, 0x77);
  expect(board.writes).toEqual([[0x30012, 1]]);
  expect(board.vga.readMemory(0x12)).toBe(0xff);
});

test('every field of the state is declared; a restored VGA draws the same', () => {
  const board = new VGABoard();
  board.setPlanar();
  board.dispi(1, 64);
  board.dispi(4, 1);
  expect(VGA.schema.undeclared(board.vga.state)).toEqual([]);
  expect(BochsDISPI.schema.undeclared(board.vga.dispi.state)).toEqual([]);
  const other = new VGABoard();
  other.vga.restore(board.vga.save());
  other.vga.dispi.restore(board.vga.dispi.save());
  expect(other.vga.save()).toEqual(board.vga.save());
  expect(other.vga.dispi.mode).toEqual(board.vga.dispi.mode);
});

test('random register sessions throw nothing, and frames and writes stay bounded', () => {
  const step = fc.oneof(
    fc.record({
      kind: fc.constant('port'),
      at: fc.nat({ max: 0x2f }),
      value: fc.nat({ max: 255 }),
    }),
    fc.record({ kind: fc.constant('set'), at: fc.nat({ max: 3 }), value: fc.nat({ max: 0xffff }) }),
    fc.record({
      kind: fc.constant('vbe'),
      at: fc.nat({ max: 12 }),
      value: fc.nat({ max: 0xffff }),
    }),
    fc.record({
      kind: fc.constant('mem'),
      at: fc.nat({ max: 0x1ffff }),
      value: fc.nat({ max: 255 }),
    }),
  );
  fc.assert(
    fc.property(fc.array(step, { minLength: 20, maxLength: 120 }), (steps) => {
      const board = new VGABoard(1 << 18);
      const { vga, renderer } = board;
      board.setPlanar();
      for (const { kind, at, value } of steps) {
        if (kind === 'port') vga.writePort(at, value);
        else if (kind === 'set')
          board.set([0x3c4, 0x3ce, 0x3d4, 0x3c0][at]!, value >> 8, value & 255);
        else if (kind === 'vbe') board.dispi(at, value);
        else vga.writeMemory(at, value);
        if (kind === 'port') expect(vga.readPort(at) & ~0xff).toBe(0);
        if (kind === 'mem') expect(vga.readMemory(at) & ~0xff).toBe(0);
      }
      for (const [offset, size] of board.writes) expect(offset + size).toBeLessThanOrEqual(1 << 18);
      renderer.refresh();
      const { width, height, rgba } = renderer.frame;
      expect(width * height).toBeGreaterThan(0);
      expect(width * height).toBeLessThanOrEqual(2 ** 24);
      expect(rgba.length).toBe(width * height * 4);
      textLines(vga);
      const restored = new VGABoard(1 << 18).vga;
      restored.restore(vga.save());
      restored.dispi.restore(vga.dispi.save());
      expect(restored.save()).toEqual(vga.save());
    }),
    fuzzOptions(60),
  );
}, 20_000);
