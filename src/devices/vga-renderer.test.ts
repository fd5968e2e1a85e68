import { expect, test } from 'vitest';
import { VGABoard } from '../../test/vga-board.ts';

const FRAME_NS = 14_270_000;

/** A font of two glyphs: `A` is a frame of 8 by 16 dots, 0xc4 a bar in line 7; others are blank. */
function loadFont(board: VGABoard): void {
  for (let line = 0; line < 16; line++) {
    const isEdge = line === 0 || line === 15;
    board.vga.planes[0x41 * 32 + line]! |= (isEdge ? 0xff : 0x81) << 16;
  }
  board.vga.planes[0xc4 * 32 + 7]! |= 0xff << 16;
}

function textBoard(): VGABoard {
  const board = new VGABoard();
  board.setText();
  board.set(0x3d4, 0x0a, 0x20);
  for (let cell = 0; cell < 2000; cell++) board.vga.planes[cell * 2] = 0x0720;
  loadFont(board);
  board.mark(0, 0x1_0000);
  board.renderer.refresh();
  return board;
}

/** Characters of the glyph at cell (column, row): `#` where it is not black. */
function glyph(board: VGABoard, column: number, row: number): string[] {
  return Array.from({ length: 16 }, (_, y) =>
    Array.from({ length: 9 }, (_, x) =>
      board.pixel(column * 9 + x, row * 16 + y) === '#000000' ? '.' : '#',
    ).join(''),
  );
}

function put(board: VGABoard, column: number, row: number, code: number, attribute = 7): void {
  board.vga.writeMemory(0x18000 + (row * 80 + column) * 2, code);
  board.vga.writeMemory(0x18000 + (row * 80 + column) * 2 + 1, attribute);
}

test('text: dots of the font, the ninth for line graphics only, colours of the attribute', () => {
  const board = textBoard();
  put(board, 3, 2, 0x41);
  put(board, 4, 2, 0xc4, 0x1e);
  board.renderer.refresh();
  const edge = '#......#.';
  expect(glyph(board, 3, 2)).toEqual(['########.', ...Array(14).fill(edge), '########.']);
  expect([board.renderer.frame.width, board.renderer.frame.height]).toEqual([720, 400]);
  expect(board.pixel(4 * 9 + 8, 2 * 16 + 7)).toBe('#ffff55');
  expect(board.pixel(4 * 9 + 8, 2 * 16 + 6)).toBe('#0000aa');
  expect(board.pixel(3 * 9, 2 * 16)).toBe('#aaaaaa');
});

test('text: a written cell draws the rows of its page only, and nothing draws nothing', () => {
  const board = textBoard();
  expect(board.renderer.refresh()).toBe(false);
  expect(board.renderer.drawnLines).toBe(0);
  put(board, 0, 0, 0x41);
  expect(board.renderer.refresh()).toBe(true);
  // A page holds 512 cells: rows 0 to 6.
  expect(board.renderer.drawnLines).toBe(7 * 16);
  put(board, 79, 24, 0x41);
  board.renderer.refresh();
  expect(board.renderer.drawnLines).toBe(6 * 16);
});

test('text: a change of the font draws everything', () => {
  const board = textBoard();
  board.vga.planes[0x42 * 32 + 3]! |= 0x18 << 16;
  board.mark(0x42 * 32 * 4, 4);
  board.renderer.refresh();
  expect(board.renderer.drawnLines).toBe(400);
});

test('text: the cursor blinks in its row and moves between two', () => {
  const board = textBoard();
  board.set(0x3d4, 0x0a, 0x0d);
  board.set(0x3d4, 0x0b, 0x0e);
  board.set(0x3d4, 0x0f, 81);
  board.renderer.refresh();
  expect(board.renderer.drawnLines).toBe(16);
  expect(glyph(board, 1, 1).map((line) => line.includes('#'))).toEqual([
    ...Array(13).fill(false),
    ...[true, true, false],
  ]);
  board.clock.advance(8 * FRAME_NS);
  board.renderer.refresh();
  expect(board.renderer.drawnLines).toBe(16);
  expect(glyph(board, 1, 1).join('')).not.toContain('#');
  board.clock.advance(8 * FRAME_NS);
  board.set(0x3d4, 0x0f, 161);
  board.renderer.refresh();
  expect(board.renderer.drawnLines).toBe(16);
  expect(glyph(board, 1, 2).join('')).toContain('#');
});

test('text: characters with the blink bit come and go, others are not drawn for it', () => {
  const board = textBoard();
  put(board, 2, 5, 0x41, 0x87);
  board.renderer.refresh();
  expect(glyph(board, 2, 5)[0]).toBe('########.');
  board.clock.advance(16 * FRAME_NS);
  board.renderer.refresh();
  expect(board.renderer.drawnLines).toBe(16);
  expect(glyph(board, 2, 5)[0]).toBe('.........');
});

test('text: two fonts at once, chosen by attribute bit 3', () => {
  const board = textBoard();
  for (let line = 0; line < 16; line++) board.vga.planes[0x4000 + 0x41 * 32 + line]! = 0xff0000;
  board.set(0x3c4, 3, 0x04); // Map A: 1, map B: 0.
  put(board, 0, 0, 0x41, 0x07);
  put(board, 1, 0, 0x41, 0x0f);
  board.renderer.refresh();
  expect(glyph(board, 0, 0)[5]).toBe('#......#.');
  expect(glyph(board, 1, 0)[5]).toBe('########.');
});

test('planar: one byte draws the lines of its page, each pixel from four planes', () => {
  const board = new VGABoard();
  board.setPlanar();
  board.renderer.refresh();
  expect(board.renderer.drawnLines).toBe(480);
  board.set(0x3c4, 2, 0b1010);
  board.vga.writeMemory(80 * 100 + 2, 0x80);
  board.renderer.refresh();
  // A page holds 1024 words of 80 to a line; this one words 7168 to 8191, lines 89 to 102.
  expect(board.renderer.drawnLines).toBe(14);
  expect(board.pixel(16, 100)).toBe('#280000');
  expect(board.pixel(17, 100)).toBe('#000000');
});

test('planar: panning moves the picture by dots, and not below the split if so chosen', () => {
  const board = new VGABoard();
  board.setPlanar();
  board.vga.planes[1] = 0x8080_8080 | 0;
  board.vga.planes[0] = 0x0101_0101;
  board.attribute(0x13, 3);
  board.set(0x3d4, 0x18, 99);
  board.set(0x3d4, 0x07, 0x2e); // Line compare 99: bits 8 and 9 are clear.
  board.set(0x3d4, 0x09, 0x00);
  board.renderer.refresh();
  const lit = (y: number) =>
    Array.from({ length: 20 }, (_, x) => (board.pixel(x, y) === '#000000' ? '.' : '#')).join('');
  expect(lit(0)).toBe('....##..............');
  expect(lit(100)).toBe('....##..............');
  board.attribute(0x10, 0x21);
  board.renderer.refresh();
  expect(lit(0)).toBe('....##..............');
  expect(lit(100)).toBe('.......##...........');
  expect(lit(101)).toBe('....................');
});

test('linear: a store to the framebuffer draws the lines it touches, at each depth', () => {
  for (const [bits, pixel, color, lineCount] of [
    [8, [3], '#1c0000', 4],
    [15, [0x1f, 0x7c], '#ff00ff', 2],
    [16, [0xe0, 0x07], '#00ff00', 2],
    [24, [0x33, 0x22, 0x11], '#112233', 2],
    [32, [0x33, 0x22, 0x11, 0], '#112233', 1],
  ] as const) {
    const board = new VGABoard(4 << 20);
    board.setPlanar();
    board.color(3, 7, 0, 0);
    board.dispi(1, 1024);
    board.dispi(2, 512);
    board.dispi(3, bits);
    board.dispi(4, 0x41);
    board.renderer.refresh();
    expect(board.renderer.drawnLines).toBe(512);
    const pitch = 1024 * pixel.length;
    board.store(pitch * 300 + 9 * pixel.length, [...pixel]);
    board.renderer.refresh();
    expect(board.renderer.drawnLines).toBe(lineCount);
    expect(board.pixel(9, 300)).toBe(color);
    expect(board.pixel(10, 300)).toBe('#000000');
  }
});

test('a screen that is off is black, and comes back', () => {
  const board = textBoard();
  put(board, 0, 0, 0x41);
  board.set(0x3c4, 1, 0x20);
  board.renderer.refresh();
  expect(board.pixel(0, 0)).toBe('#000000');
  expect([board.renderer.frame.width, board.renderer.frame.height]).toEqual([720, 400]);
  board.set(0x3c4, 1, 0x00);
  board.renderer.refresh();
  expect(board.pixel(0, 0)).toBe('#aaaaaa');
});

test('the converter mask and colours of six bits: all ones are white', () => {
  const board = new VGABoard();
  board.setPlanar();
  board.color(15, 63, 63, 63);
  board.set(0x3c4, 2, 15);
  board.vga.writeMemory(0, 0x80);
  board.renderer.refresh();
  expect(board.pixel(0, 0)).toBe('#ffffff');
  board.out(0x3c6, 0x0e);
  board.renderer.refresh();
  expect(board.pixel(0, 0)).toBe('#380000');
});
