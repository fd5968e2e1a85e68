// A font for the character generator of guests that are started without a video BIOS: 8 by 16 dots,
// drawn for Quire. Letters are five dots by seven, each line twice; lines and blocks follow a rule.
// What is not drawn (accents, Greek, signs) is an empty box.

const FONT_LINES = 16;
const LETTER_FIRST = 0x20;
/** First line of a letter, and how far its rows are moved to the left. */
const LETTER_TOP = 1;
const LETTER_SHIFT = 2;

/** Codes 0x20–0x7e: seven rows from the top, a digit of base 32 each, its highest bit leftmost. */
const LETTERS = [
  '0000000 4444404 aaa0000 aavavaa 4fke5u4 op248j3 cik8lid 4480000 2488842 8422248 04lel40 044v440',
  '0000c48 000v000 00000cc 01248g0 ehjlphe 4c4444e eh1248v v2421he 26aiv22 vgu11he 68guhhe v124888',
  'ehhehhe ehhf12c 0cc0cc0 0cc0c48 248g842 00v0v00 8421248 eh12404 eh1dlle ehhvhhh uhhuhhu ehggghe',
  'sihhhis vgguggv vgguggg ehgnhhf hhhvhhh e44444e 72222ic hikokih ggggggv hrllhhh hhpljhh ehhhhhe',
  'uhhuggg ehhhlid uhhukih fgge11u v444444 hhhhhhe hhhhha4 hhhllla hha4ahh hhha444 v1248gv e88888e',
  '0g84210 e22222e 4ah0000 000000v 8420000 00e1fhf ggmphhu 00egghe 11djhhf 00ehvge 698s888 0fhhf1e',
  'ggmphhh 40c444e 20622ic ggikoki c44444e 00qllhh 00mphhh 00ehhhe 00uhugg 00djf11 00mpggg 00ege1u',
  '88s8896 00hhhjd 00hhha4 00hhlla 00ha4ah 00hhf1e 00v248v 2448442 4444444 8442448 008l200',
].flatMap((line) => line.split(' '));

/** Codes 0xb3–0xda: how many strokes go up, right, down and left. */
const LINES_FIRST = 0xb3;
const LINES = [
  '1010 1011 1012 2021 0021 0012 2022 2020 0022 2002 2001 1002 0011 1100 1101 0111 1110 0101 1111',
  '1210 2120 2200 0220 2202 0222 2220 0202 2222 1202 2101 0212 0121 2100 1200 0210 0120 2121 1212',
  '1001 0110',
].flatMap((line) => line.split(' '));

/** Lines of the pattern that repeat: codes 0xb0–0xb2 and 0xdb–0xdf, upper and lower half. */
const PATTERNS: Readonly<Record<number, readonly [readonly number[], readonly number[]]>> = {
  176: [
    [0x22, 0x88],
    [0x22, 0x88],
  ],
  177: [
    [0x55, 0xaa],
    [0x55, 0xaa],
  ],
  178: [
    [0xdd, 0x77],
    [0xdd, 0x77],
  ],
  219: [[0xff], [0xff]],
  220: [[0x00], [0xff]],
  221: [[0xf0], [0xf0]],
  222: [[0x0f], [0x0f]],
  223: [[0xff], [0x00]],
};
const BLANKS = [0x00, 0xff];
/** Dots and squares, as lines of dots from a first line on. */
const SPOTS: Readonly<Record<number, { readonly top: number; readonly rows: readonly number[] }>> =
  {
    7: { top: 5, rows: [0x18, 0x3c, 0x3c, 0x18] },
    249: { top: 7, rows: [0x18, 0x18] },
    250: { top: 7, rows: [0x18] },
    254: { top: 5, rows: [0x7c, 0x7c, 0x7c, 0x7c, 0x7c, 0x7c] },
  };
const BOX = [0x7c, 0x44, 0x44, 0x44, 0x44, 0x44, 0x44, 0x44, 0x44, 0x7c];
const BOX_TOP = 3;

/** Strokes of one and of two lines: where they are, and how far they go beyond the middle. */
const STROKES = [
  { columns: 0x18, lines: [7, 8], left: 0xf8, right: 0x1f, upTo: 8, downFrom: 7 },
  { columns: 0x24, lines: [6, 9], left: 0xfc, right: 0x3f, upTo: 9, downFrom: 6 },
] as const;

function drawLines(arms: string, out: Uint8Array): void {
  const [up, right, down, left] = [...arms].map((count) => STROKES[Number(count) - 1]);
  for (let line = 0; line < FONT_LINES; line++) {
    if (up !== undefined && line <= up.upTo) out[line]! |= up.columns;
    if (down !== undefined && line >= down.downFrom) out[line]! |= down.columns;
  }
  for (const line of right?.lines ?? []) out[line]! |= right!.right;
  for (const line of left?.lines ?? []) out[line]! |= left!.left;
}

/** The lines of the glyph of `code`, 0–255: 16 bytes, the highest bit leftmost. */
export function glyphLines(code: number): Uint8Array {
  const out = new Uint8Array(FONT_LINES);
  const letter = LETTERS[code - LETTER_FIRST];
  const arms = LINES[code - LINES_FIRST];
  const pattern = PATTERNS[code];
  const spot = SPOTS[code];
  if (letter !== undefined)
    for (let line = 0; line < letter.length * 2; line++)
      out[LETTER_TOP + line] = Number.parseInt(letter[line >> 1]!, 32) << LETTER_SHIFT;
  else if (arms !== undefined) drawLines(arms, out);
  else if (pattern !== undefined)
    for (let line = 0; line < FONT_LINES; line++) {
      const rows = pattern[line < FONT_LINES / 2 ? 0 : 1];
      out[line] = rows[line % rows.length]!;
    }
  else if (spot !== undefined) out.set(spot.rows, spot.top);
  else if (!BLANKS.includes(code)) out.set(BOX, BOX_TOP);
  return out;
}
