import { expect, test } from 'vitest';
import type { TextScreen } from '../../machine/screen.ts';
import { pixelCells, TerminalPainter, textCells } from './terminal-painter.ts';

const SIZE = { columns: 80, rows: 24 };

function text(rows: readonly string[], options: Partial<TextScreen> = {}): TextScreen {
  const columns = rows[0]!.length;
  return {
    columns,
    rows: rows.length,
    codes: Uint8Array.from(Buffer.from(rows.join(''), 'latin1')),
    attributes: new Uint8Array(columns * rows.length).fill(7),
    hasBlink: true,
    cursor: undefined,
    ...options,
  };
}

test('the first painting is whole, the next only what changed, and the same is nothing', () => {
  const painter = new TerminalPainter();
  const first = painter.paint(textCells(text(['ab', 'cd']), SIZE));
  expect(first).toBe('\x1b[0m\x1b[2J\x1b[1;1H\x1b[0;37;40mab\x1b[2;1Hcd\x1b[0m\x1b[?25l');
  expect(painter.paint(textCells(text(['ab', 'cd']), SIZE))).toBe('');
  expect(painter.paint(textCells(text(['ab', 'cX']), SIZE))).toBe(
    '\x1b[2;2H\x1b[0;37;40mX\x1b[0m\x1b[?25l',
  );
  painter.forget();
  expect(painter.paint(textCells(text(['ab', 'cX']), SIZE))).toContain('\x1b[2J');
});

test('the cursor alone moves without a cell', () => {
  const painter = new TerminalPainter();
  painter.paint(textCells(text(['ab']), SIZE));
  const moved = text(['ab'], { cursor: { column: 1, row: 0 } });
  expect(painter.paint(textCells(moved, SIZE))).toBe('\x1b[0m\x1b[1;2H\x1b[?25h');
});

test('attributes: colours change places, bit 7 blinks or brightens', () => {
  const attributes = Uint8Array.of(0x1e, 0xc4);
  const blinking = textCells(text(['ab'], { attributes }), SIZE);
  expect(blinking.styles).toEqual(['0;93;44', '0;31;41;5']);
  const bright = textCells(text(['ab'], { attributes, hasBlink: false }), SIZE);
  expect(bright.styles[1]).toBe('0;31;101');
});

test('no code of the guest is a control character of the terminal', () => {
  const all = Array.from({ length: 256 }, (_, code) => String.fromCharCode(code)).join('');
  const { characters } = textCells(text([all]), { columns: 256, rows: 1 });
  // biome-ignore lint/suspicious/noControlCharactersInRegex: it is what must not be there.
  for (const character of characters) expect(character).not.toMatch(/[\x00-\x1f\x7f-\x9f]/);
  expect(characters[0x41]).toBe('A');
  expect(characters[0x1b]).toBe('←');
});

test('a screen larger than the terminal is cut', () => {
  const cells = textCells(text(['abcd', 'efgh']), { columns: 2, rows: 1 });
  expect(cells.characters).toEqual(['a', 'b']);
});

test('pixels: two to a cell, the mean of what they stand for', () => {
  const rgba = new Uint8ClampedArray(4 * 4 * 4);
  for (let pixel = 0; pixel < 16; pixel++)
    rgba.set(pixel < 8 ? [200, 0, 0] : [0, 0, 100], pixel * 4);
  rgba.set([0, 0, 0], 0);
  const cells = pixelCells({ width: 4, height: 4, rgba }, { columns: 2, rows: 1 });
  expect([cells.columns, cells.rows]).toEqual([2, 1]);
  expect(cells.characters).toEqual(['▀', '▀']);
  expect(cells.styles).toEqual(['0;38;2;150;0;0;48;2;0;0;100', '0;38;2;200;0;0;48;2;0;0;100']);
  const wide = pixelCells(
    { width: 640, height: 480, rgba: new Uint8ClampedArray(640 * 480 * 4) },
    SIZE,
  );
  expect([wide.columns, wide.rows]).toEqual([64, 24]);
});
