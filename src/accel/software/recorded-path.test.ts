// What a recording says of the code that ran, and when it ends.

import { expect, test } from 'vitest';
import { PATH_STEPS, RecordedPath } from './recorded-path.ts';

test('a path knows how often each instruction ran, and what followed it', () => {
  const path = new RecordedPath();
  for (const linear of [0x1000, 0x1003, 0x1000, 0x1003, 0x1000, 0x2000]) path.note(linear);
  path.interrupt();
  path.note(0x1003);
  expect(path.hottest()).toBe(0x1000);
  const graph = path.graphFrom(0x1000);
  expect(graph.length).toBe(7);
  expect([graph.countAt(0), graph.countAt(3), graph.countAt(0x1000)]).toEqual([3, 3, 1]);
  expect(graph.successorsOf(0)).toEqual([3, 0x1000]);
  expect(graph.successorsOf(0x1000), 'nothing follows a gap').toEqual([]);
});

test('offsets from a page at the top of the address space go on below', () => {
  const path = new RecordedPath();
  path.note(0xffff_fffe);
  path.note(0);
  expect(path.graphFrom(0xffff_f000).successorsOf(0xffe)).toEqual([0x1000]);
});

test('a recording ends although its code never comes back', () => {
  const path = new RecordedPath();
  path.note(0x1000);
  let steps = 0;
  while (!path.isOver) {
    path.interrupt();
    expect(++steps).toBeLessThan(10 * PATH_STEPS);
  }
  expect(path.isFull).toBe(false);
});
