import { expect, test } from 'vitest';
import { parseRunConfig } from '../run-options.ts';
import type { DriveSpec } from './drive-options.ts';

const parse = (...args: string[]) => parseRunConfig(['--kernel', 'k', ...args]);
const drives = (...args: string[]) => parse(...args).drives;
const PLAIN = { isReadOnly: false, isSnapshot: false };
const EMPTY_CD: DriveSpec = {
  ...{ interface: 'ide', media: 'cdrom', index: 2 },
  ...{ isReadOnly: true, isSnapshot: false },
};

test('without options there is an empty CD-ROM drive', () => {
  expect(drives()).toEqual([EMPTY_CD]);
});

test("QEMU's short options name IDE and floppy places", () => {
  expect(drives('--hda', 'a', '-hdd', 'd', '-cdrom', 'c', '--fdb', 'f')).toEqual([
    { interface: 'ide', media: 'disk', index: 0, path: 'a', ...PLAIN },
    { interface: 'ide', media: 'disk', index: 3, path: 'd', ...PLAIN },
    { ...EMPTY_CD, path: 'c' },
    { interface: 'floppy', media: 'disk', index: 1, path: 'f', ...PLAIN },
  ]);
});

test('a disk as hdc takes the place of the empty CD-ROM drive', () => {
  expect(drives('--hdc', 'c')).toEqual([
    { interface: 'ide', media: 'disk', index: 2, path: 'c', ...PLAIN },
  ]);
});

test('--drive is a list, may be repeated, and finds free places by itself', () => {
  const list = drives(
    ...['--drive', 'file=a,,b,if=virtio,format=raw,readonly=on'],
    ...['--drive', 'file=v,if=virtio,snapshot=on', '--drive', 'file=cd,media=cdrom'],
    ...['--drive', 'file=x,index=3'],
  );
  expect(list).toEqual([
    {
      ...{ interface: 'virtio', media: 'disk', index: 0 },
      ...{ path: 'a,b', isReadOnly: true, isSnapshot: false },
    },
    {
      ...{ interface: 'virtio', media: 'disk', index: 1 },
      ...{ path: 'v', isReadOnly: false, isSnapshot: true },
    },
    { ...EMPTY_CD, path: 'cd' },
    { interface: 'ide', media: 'disk', index: 3, path: 'x', ...PLAIN },
  ]);
});

test('--snapshot holds for all of them', () => {
  const list = drives('--snapshot', '--hda', 'a', '--drive', 'file=v,if=virtio');
  expect(list.slice(0, 2).every((drive) => drive.isSnapshot)).toBe(true);
});

test.each([
  [['--hda', 'a', '--drive', 'file=b,index=0'], 'ide index 0 has a drive already'],
  [['--hdc', 'a', '--cdrom', 'b'], 'Option "--cdrom": ide index 2 has a drive already'],
  [['--drive', 'file=a,index=4'], '"--drive index=" must be 0 to 3, got "4"'],
  [['--drive', 'file=a,if=scsi'], 'must be ide or floppy or virtio, got "scsi"'],
  [['--drive', 'file=a,format=qcow2'], 'must be raw, got "qcow2"'],
  [['--drive', 'fil=a'], 'got "fil=a"; did you mean "file"'],
  [['--drive', 'a'], 'must be a list of KEY=VALUE'],
  [['--drive', 'file=a,file=b'], 'has "file" twice'],
  [['--drive', 'if=virtio'], 'needs file=FILE'],
  [['--drive', 'file=a,if=virtio,media=cdrom'], 'must have if=ide, got "virtio"'],
  [['--boot', 'order=x'], 'must be letters out of a, c, d and n, each once, got "x"'],
  [['--boot', 'order=cc'], 'each once, got "cc"'],
  [['--boot', 'once=d'], 'must be order=LETTERS or menu=on|off, got "once=d"'],
])('%j is refused', (args, message) => {
  expect(() => parse(...args)).toThrow(message);
});

test('--boot takes letters alone, an order, and a menu', () => {
  expect(parse('--boot', 'dc').boot).toEqual({ order: 'dc', hasMenu: false });
  expect(parse('--boot', 'order=ad,menu=on').boot).toEqual({ order: 'ad', hasMenu: true });
  expect(parse().boot).toEqual({ order: '', hasMenu: false });
});
