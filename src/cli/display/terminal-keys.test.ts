import { expect, test } from 'vitest';
import { KEY_NAMES } from '../../devices/key-codes.ts';
import { terminalChords } from './terminal-keys.ts';

const chords = (text: string) => terminalChords(Buffer.from(text)).map((keys) => keys.join('-'));

test.each([
  ['aZ1', 'a shift-z 1'],
  ['!~|?', 'shift-1 shift-grave_accent shift-backslash shift-slash'],
  ['-= ;\\', 'minus equal spc semicolon backslash'],
  ['\r\n\t\x7f\b', 'ret ret tab backspace backspace'],
  ['\x03\x1a\x00\x1c', 'ctrl-c ctrl-z ctrl-spc ctrl-backslash'],
  ['\x1b', 'esc'],
  ['\x1b\x1b', 'esc esc'],
  ['\x1bx\x1bX\x1b\r', 'alt-x alt-shift-x alt-ret'],
  ['\x1b[A\x1b[B\x1b[C\x1b[D\x1bOA', 'up down right left up'],
  ['\x1bOP\x1bOS\x1b[15~\x1b[24~', 'f1 f4 f5 f12'],
  ['\x1b[1;5C\x1b[3;2~\x1b[1;8P', 'ctrl-right shift-delete ctrl-alt-shift-f1'],
  ['\x1b[H\x1b[F\x1b[2~\x1b[3~\x1b[5~\x1b[6~\x1b[Z', 'home end insert delete pgup pgdn shift-tab'],
  ['a\x1b[Ab', 'a up b'],
  ['é\x1b[200~x', 'x'],
])('%j is %s', (typed, keys) => {
  expect(chords(typed).join(' ')).toBe(keys);
});

test('every byte, and every byte behind ESC, gives keys that exist', () => {
  for (let byte = 0; byte < 256; byte++)
    for (const bytes of [[byte], [0x1b, byte], [0x1b, 0x5b, byte], [0x1b, 0x4f, byte]])
      for (const chord of terminalChords(Uint8Array.from(bytes)))
        for (const key of chord) expect(KEY_NAMES).toContain(key);
});

test('each character of a US keyboard is typed', () => {
  for (let code = 0x20; code < 0x7f; code++)
    expect(chords(String.fromCharCode(code))).toHaveLength(1);
});
