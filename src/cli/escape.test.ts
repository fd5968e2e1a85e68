import fc from 'fast-check';
import { expect, test } from 'vitest';
import { fuzzOptions } from '../../test/fuzz-options.ts';
import { EscapeFilter } from './escape.ts';

/** What comes of `chunks`, as text: actions stand in angle brackets. */
function run(chunks: readonly string[]): string {
  const filter = new EscapeFilter();
  let text = '';
  for (const chunk of chunks)
    filter.feed(
      Buffer.from(chunk, 'latin1'),
      (bytes) => {
        expect(bytes.length).toBeGreaterThan(0);
        text += Buffer.from(bytes).toString('latin1');
      },
      (action) => {
        text += `<${action}>`;
      },
    );
  return text;
}

test.each([
  ['ls\r', 'ls\r'],
  ['\x01x', '<exit>'],
  ['a\x01cb', 'a<toggle-monitor>b'],
  ['\x01h\x01?', '<help><help>'],
  ['a\x01\x01b', 'a\x01b'],
  ['\x01\x01\x01\x01', '\x01\x01'],
  ['\x01\x01x', '\x01x'],
  ['a\x01qb', 'ab'],
  ['\x03\x1a', '\x03\x1a'],
  ['a\x01', 'a'],
])('%j becomes %j', (input, output) => {
  expect(run([input])).toBe(output);
});

test('a pair that comes in two pieces is the same pair', () => {
  const text = fc.array(fc.constantFrom('\x01', 'x', 'c', 'a', 'h'), { maxLength: 12 });
  fc.assert(
    fc.property(text, (keys) => {
      expect(run(keys)).toBe(run([keys.join('')]));
    }),
    fuzzOptions(200),
  );
});
