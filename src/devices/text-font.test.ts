import { expect, test } from 'vitest';
import { CODE_PAGE_437 } from './codepage-437.ts';
import { glyphLines } from './text-font.ts';

const picture = (code: number) =>
  Array.from(glyphLines(code), (line) =>
    line.toString(2).padStart(8, '0').replaceAll('0', '.').replaceAll('1', '#'),
  );

test('each letter is drawn, and no two alike', () => {
  const seen = new Map<string, number>();
  for (let code = 0x21; code < 0x7f; code++) {
    const glyph = glyphLines(code).join();
    expect(seen.get(glyph)).toBeUndefined();
    seen.set(glyph, code);
    expect(glyphLines(code).some((line) => line !== 0)).toBe(true);
    // Letters keep apart from their neighbours.
    for (const line of glyphLines(code)) expect(line & 0x83).toBe(0);
  }
  expect(picture('F'.charCodeAt(0)).slice(1, 9)).toEqual([
    ...['.#####..', '.#####..', '.#......', '.#......', '.#......', '.#......'],
    ...['.####...', '.####...'],
  ]);
});

test('lines meet their neighbours: at each edge exactly where the character says', () => {
  const up = '│┤╡╢╣║╝╜╛└┴├┼╞╟╚╩╠╬╧╨╙╘╫╪┘';
  const left = '┤╡╢╖╕╣╗╝╜╛┐┴┬─┼╩╦═╬╧╨╤╥╫╪┘';
  for (let code = 0xb3; code <= 0xda; code++) {
    const lines = glyphLines(code);
    const character = CODE_PAGE_437[code]!;
    expect([character, lines[0] !== 0]).toEqual([character, up.includes(character)]);
    expect([character, lines.some((line) => line & 0x80)]).toEqual([
      ...[character, left.includes(character)],
    ]);
  }
});
