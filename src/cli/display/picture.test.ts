import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { decode } from 'fast-png';
import { afterAll, expect, test } from 'vitest';
import { writePicture } from './picture.ts';

const folder = mkdtempSync(join(tmpdir(), 'quire-picture-'));
afterAll(() => rmSync(folder, { recursive: true }));

const WIDTH = 37;
const HEIGHT = 11;
const frame = {
  width: WIDTH,
  height: HEIGHT,
  rgba: Uint8ClampedArray.from({ length: WIDTH * HEIGHT * 4 }, (_, index) =>
    index % 4 === 3 ? 255 : (index * 7) & 0xff,
  ),
};
const rgb = [...frame.rgba].filter((_, index) => index % 4 !== 3);

test('a PNG decoded again is the frame', () => {
  const path = join(folder, 'screen.png');
  writePicture(path, frame);
  const { width, height, channels, depth, data } = decode(readFileSync(path));
  expect([width, height, channels, depth]).toEqual([WIDTH, HEIGHT, 3, 8]);
  expect([...data]).toEqual(rgb);
});

test('a PPM is the header and the bytes, as of QEMU', () => {
  const path = join(folder, 'screen.PPM');
  writePicture(path, frame);
  const bytes = readFileSync(path);
  const head = `P6\n${WIDTH} ${HEIGHT}\n255\n`;
  expect(bytes.subarray(0, head.length).toString()).toBe(head);
  expect([...bytes.subarray(head.length)]).toEqual(rgb);
});

test('another ending, and a place that is not there, are clear errors', () => {
  expect(() => writePicture(join(folder, 'screen.gif'), frame)).toThrow('.png or .ppm');
  expect(() => writePicture(join(folder, 'none', 'screen.png'), frame)).toThrow(
    /Cannot write picture ".*": ENOENT/,
  );
});
