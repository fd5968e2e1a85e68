// Keys by QEMU's names, and what a PS/2 keyboard sends for them in scan code set 2.
// Names: QEMU QAPI reference, "QKeyCode"; codes: IBM PS/2 Hardware Interface Technical Reference,
// "Keyboard (101/102-Key)", scan code set 2.

const RELEASE = 0xf0;
const EXTENDED = 0xe0;
/** Codes above 0xff: the low byte behind {@link EXTENDED}. */
const E = 0x100;

const CODES: Readonly<Record<string, number>> = {
  ...{ esc: 0x76, '1': 0x16, '2': 0x1e, '3': 0x26, '4': 0x25, '5': 0x2e, '6': 0x36, '7': 0x3d },
  ...{ '8': 0x3e, '9': 0x46, '0': 0x45, minus: 0x4e, equal: 0x55, backspace: 0x66, tab: 0x0d },
  ...{ q: 0x15, w: 0x1d, e: 0x24, r: 0x2d, t: 0x2c, y: 0x35, u: 0x3c, i: 0x43, o: 0x44, p: 0x4d },
  ...{ bracket_left: 0x54, bracket_right: 0x5b, ret: 0x5a, ctrl: 0x14, a: 0x1c, s: 0x1b, d: 0x23 },
  ...{ f: 0x2b, g: 0x34, h: 0x33, j: 0x3b, k: 0x42, l: 0x4b, semicolon: 0x4c, apostrophe: 0x52 },
  ...{ grave_accent: 0x0e, shift: 0x12, backslash: 0x5d, z: 0x1a, x: 0x22, c: 0x21, v: 0x2a },
  ...{ b: 0x32, n: 0x31, m: 0x3a, comma: 0x41, dot: 0x49, slash: 0x4a, shift_r: 0x59, alt: 0x11 },
  ...{ spc: 0x29, caps_lock: 0x58, f1: 0x05, f2: 0x06, f3: 0x04, f4: 0x0c, f5: 0x03, f6: 0x0b },
  ...{ f7: 0x83, f8: 0x0a, f9: 0x01, f10: 0x09, f11: 0x78, f12: 0x07, num_lock: 0x77 },
  ...{ scroll_lock: 0x7e, less: 0x61, kp_multiply: 0x7c, asterisk: 0x7c, kp_subtract: 0x7b },
  ...{ kp_add: 0x79, kp_decimal: 0x71, kp_0: 0x70, kp_1: 0x69, kp_2: 0x72, kp_3: 0x7a, kp_4: 0x6b },
  ...{ kp_5: 0x73, kp_6: 0x74, kp_7: 0x6c, kp_8: 0x75, kp_9: 0x7d, sysrq: 0x84 },
  ...{ kp_enter: E | 0x5a, kp_divide: E | 0x4a, ctrl_r: E | 0x14, alt_r: E | 0x11 },
  ...{ home: E | 0x6c, up: E | 0x75, pgup: E | 0x7d, left: E | 0x6b, right: E | 0x74 },
  ...{ end: E | 0x69, down: E | 0x72, pgdn: E | 0x7a, insert: E | 0x70, delete: E | 0x71 },
  ...{ meta_l: E | 0x1f, meta_r: E | 0x27, compose: E | 0x2f, menu: E | 0x2f, power: E | 0x37 },
  ...{ sleep: E | 0x3f, wake: E | 0x5e },
};

/** Keys that send more than a code: make and break. */
const SEQUENCES: Readonly<Record<string, readonly [readonly number[], readonly number[]]>> = {
  print: [
    [EXTENDED, 0x12, EXTENDED, 0x7c],
    [EXTENDED, RELEASE, 0x7c, EXTENDED, RELEASE, 0x12],
  ],
  // Sent as one when it is pressed; nothing follows.
  pause: [[0xe1, 0x14, 0x77, 0xe1, RELEASE, 0x14, RELEASE, 0x77], []],
};

/** The name of every key. */
export const KEY_NAMES: readonly string[] = [...Object.keys(CODES), ...Object.keys(SEQUENCES)];

/** What the keyboard sends when `key` goes down, or undefined for no key. */
export function pressBytes(key: string): readonly number[] | undefined {
  const code = Object.hasOwn(CODES, key) ? CODES[key]! : undefined;
  if (code !== undefined) return code & E ? [EXTENDED, code & 0xff] : [code];
  return Object.hasOwn(SEQUENCES, key) ? SEQUENCES[key]![0] : undefined;
}

/** What it sends when `key` goes up, or undefined for no key. */
export function releaseBytes(key: string): readonly number[] | undefined {
  const code = Object.hasOwn(CODES, key) ? CODES[key]! : undefined;
  if (code !== undefined) return code & E ? [EXTENDED, RELEASE, code & 0xff] : [RELEASE, code];
  return Object.hasOwn(SEQUENCES, key) ? SEQUENCES[key]![1] : undefined;
}
