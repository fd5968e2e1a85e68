// What a terminal sends for its keys, as chords of a PC keyboard with the layout of the USA.
// ECMA-48 "Control functions for coded character sets", section 5.4 "Control sequences"; XTerm
// Control Sequences, "PC-Style Function Keys".

const ESC = 0x1b;
const SHIFT = 1;
const ALT = 2;
const CTRL = 4;

/** Characters that need no shift, and those on the same keys with it. */
const PLAIN: Readonly<Record<string, string>> = {
  ...{ ' ': 'spc', '-': 'minus', '=': 'equal', '[': 'bracket_left', ']': 'bracket_right' },
  ...{ ';': 'semicolon', "'": 'apostrophe', '`': 'grave_accent', '\\': 'backslash' },
  ...{ ',': 'comma', '.': 'dot', '/': 'slash', '\r': 'ret', '\n': 'ret', '\t': 'tab' },
  ...{ '\x7f': 'backspace', '\b': 'backspace', '\x1b': 'esc' },
};
const SHIFTED: Readonly<Record<string, string>> = {
  ...{ '!': '1', '@': '2', '#': '3', $: '4', '%': '5', '^': '6', '&': '7', '*': '8', '(': '9' },
  ...{ ')': '0', _: 'minus', '+': 'equal', '{': 'bracket_left', '}': 'bracket_right' },
  ...{ ':': 'semicolon', '"': 'apostrophe', '~': 'grave_accent', '|': 'backslash' },
  ...{ '<': 'comma', '>': 'dot', '?': 'slash' },
};
/** Control characters that no letter makes: Ctrl with these keys. */
const CONTROLS: Readonly<Record<number, string>> = {
  ...{ 0: 'spc', 28: 'backslash', 29: 'bracket_right', 30: '6', 31: 'minus' },
};

/** Last byte of a control sequence, or of an ESC O sequence. */
const FINALS: Readonly<Record<string, string>> = {
  ...{ A: 'up', B: 'down', C: 'right', D: 'left', H: 'home', F: 'end', E: 'kp_5' },
  ...{ P: 'f1', Q: 'f2', R: 'f3', S: 'f4', M: 'kp_enter' },
};
/** First parameter of a control sequence that ends in a tilde. */
const TILDES: Readonly<Record<number, string>> = {
  ...{ 1: 'home', 2: 'insert', 3: 'delete', 4: 'end', 5: 'pgup', 6: 'pgdn', 7: 'home', 8: 'end' },
  ...{ 11: 'f1', 12: 'f2', 13: 'f3', 14: 'f4', 15: 'f5', 17: 'f6', 18: 'f7', 19: 'f8', 20: 'f9' },
  ...{ 21: 'f10', 23: 'f11', 24: 'f12' },
};

function withModifiers(key: string, modifiers: number): readonly string[] {
  const chord: string[] = [];
  if (modifiers & CTRL) chord.push('ctrl');
  if (modifiers & ALT) chord.push('alt');
  if (modifiers & SHIFT) chord.push('shift');
  chord.push(key);
  return chord;
}

/** The chord of one character, or undefined for one that the keyboard does not have. */
function chordOf(byte: number, modifiers: number): readonly string[] | undefined {
  const character = String.fromCharCode(byte);
  if (/[a-z0-9]/.test(character)) return withModifiers(character, modifiers);
  if (/[A-Z]/.test(character)) return withModifiers(character.toLowerCase(), modifiers | SHIFT);
  if (PLAIN[character] !== undefined) return withModifiers(PLAIN[character], modifiers);
  if (SHIFTED[character] !== undefined) return withModifiers(SHIFTED[character], modifiers | SHIFT);
  if (CONTROLS[byte] !== undefined) return withModifiers(CONTROLS[byte], modifiers | CTRL);
  if (byte < 0x1b) return withModifiers(String.fromCharCode(byte + 0x60), modifiers | CTRL);
  return undefined;
}

/** A sequence at `text`'s start (behind its ESC): its length, and its chord if it is a key. */
function sequenceAt(text: string): { length: number; chord?: readonly string[] } | undefined {
  const single = /^O([A-Z])/.exec(text);
  if (single !== null) {
    const key = FINALS[single[1]!];
    return key === undefined ? { length: 2 } : { length: 2, chord: [key] };
  }
  const control = /^\[([0-9;]*)[\x20-\x2f]*([\x40-\x7e])/.exec(text);
  if (control === null) return undefined;
  const { length } = control[0];
  const [first = 0, second = 0] = control[1]!.split(';').map(Number);
  const modifiers = second > 0 ? (second - 1) & (SHIFT | ALT | CTRL) : 0;
  const final = control[2]!;
  if (final === 'Z') return { length, chord: ['shift', 'tab'] };
  const key = final === '~' ? TILDES[first] : FINALS[final];
  return key === undefined ? { length } : { length, chord: withModifiers(key, modifiers) };
}

/**
 * The chords of what was typed. A terminal sends a sequence in one piece, so an ESC at the end of
 * `bytes` is the key; characters outside ASCII are left out.
 */
export function terminalChords(bytes: Uint8Array): (readonly string[])[] {
  const text = Buffer.from(bytes).toString('latin1');
  const chords: (readonly string[])[] = [];
  for (let at = 0; at < bytes.length; at++) {
    if (bytes[at] !== ESC || at + 1 === bytes.length) {
      const chord = chordOf(bytes[at]!, 0);
      if (chord !== undefined) chords.push(chord);
      continue;
    }
    const sequence = sequenceAt(text.slice(at + 1));
    if (sequence !== undefined) {
      if (sequence.chord !== undefined) chords.push(sequence.chord);
      at += sequence.length;
      continue;
    }
    // A key behind ESC is that key with Alt; two ESC are twice the key.
    if (bytes[at + 1] === ESC) {
      chords.push(['esc']);
      continue;
    }
    const chord = chordOf(bytes[++at]!, ALT);
    if (chord !== undefined) chords.push(chord);
  }
  return chords;
}
