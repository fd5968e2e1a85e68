import { expect, test } from 'vitest';
import { ManualClock } from '../../test/manual-clock.ts';
import { KEY_NAMES, pressBytes, releaseBytes } from '../devices/key-codes.ts';
import { KeyboardController } from '../devices/keyboard-controller.ts';
import { KeyTypist } from './key-typist.ts';

const MS = 1_000_000;

test('a chord goes down in order and up in the opposite one, after its time', () => {
  const clock = new ManualClock();
  const sent: number[][] = [];
  const typist = new KeyTypist(clock, (bytes) => sent.push([...bytes]));
  expect(typist.type(['ctrl', 'alt', 'delete'], 100)).toBe(true);
  expect(sent).toEqual([[0x14, 0x11, 0xe0, 0x71]]);
  clock.advance(99 * MS);
  expect(sent.length).toBe(1);
  clock.advance(1 * MS);
  expect(sent[1]).toEqual([0xe0, 0xf0, 0x71, 0xf0, 0x11, 0xf0, 0x14]);
});

test('chords wait for each other; too many are refused, and unknown keys', () => {
  const clock = new ManualClock();
  const sent: number[][] = [];
  const typist = new KeyTypist(clock, (bytes) => sent.push([...bytes]));
  for (const key of ['a', 'b']) typist.type([key], 10);
  clock.advance(14 * MS);
  expect(sent).toEqual([[0x1c], [0xf0, 0x1c]]);
  clock.advance(100 * MS);
  expect(sent.slice(2)).toEqual([[0x32], [0xf0, 0x32]]);
  expect(() => typist.type(['a', 'nokey'], 10)).toThrow('key "nokey"');
  expect(() => typist.type(['a'], -1)).toThrow('0 to 60000 ms');
  let count = 0;
  while (typist.type(['a'], 1) && count < 10_000) count++;
  expect(count).toBeLessThan(5000);
});

/** What a PC's BIOS knows each key by: set 1, translated by the controller. */
test('keys arrive as their codes of set 1 through a controller that translates', () => {
  const set1 = (key: string): number[] => {
    const controller = new KeyboardController();
    controller.write(4, 0x60);
    controller.write(0, 0x45);
    controller.sendKeys(pressBytes(key)!);
    const codes: number[] = [];
    while (controller.read(4) & 1) codes.push(controller.read(0));
    return codes;
  };
  for (const [key, codes] of [
    ['esc', [0x01]],
    ['1', [0x02]],
    ['0', [0x0b]],
    ['q', [0x10]],
    ['ret', [0x1c]],
    ['ctrl', [0x1d]],
    ['a', [0x1e]],
    ['shift', [0x2a]],
    ['z', [0x2c]],
    ['alt', [0x38]],
    ['spc', [0x39]],
    ['f1', [0x3b]],
    ['f7', [0x41]],
    ['f10', [0x44]],
    ['f11', [0x57]],
    ['f12', [0x58]],
    ['kp_7', [0x47]],
    ['up', [0xe0, 0x48]],
    ['left', [0xe0, 0x4b]],
    ['delete', [0xe0, 0x53]],
    ['ctrl_r', [0xe0, 0x1d]],
    ['kp_enter', [0xe0, 0x1c]],
    ['meta_l', [0xe0, 0x5b]],
  ] as const)
    expect([key, set1(key)]).toEqual([key, [...codes]]);
});

test('every key has its own codes, and lets go', () => {
  const seen = new Map<string, string>();
  for (const key of KEY_NAMES) {
    const bytes = pressBytes(key)!.join();
    expect(releaseBytes(key)).toBeDefined();
    // Two names of QEMU's for one key.
    if (!['asterisk', 'menu'].includes(key)) expect(seen.get(bytes)).toBeUndefined();
    if (!['kp_multiply', 'compose'].includes(key)) seen.set(bytes, key);
  }
  expect(pressBytes('constructor')).toBeUndefined();
});
