import { expect, test } from 'vitest';
import { completeDevices, DEVICE_OPTIONS, parseDevices } from './device-options.ts';
import { parseOptions } from './options.ts';

const parse = (...args: string[]) => parseDevices(parseOptions(DEVICE_OPTIONS, args));

test('devices come in the order of the command line', () => {
  const devices = parse('--device', 'virtio-balloon-pci', '-device', 'virtio-rng-pci');
  expect(devices.map(({ kind }) => kind)).toEqual(['virtio-balloon-pci', 'virtio-rng-pci']);
  expect(parse()).toEqual([]);
});

// Goal: a snapshot from before "vmgenid" was always there loads into a machine without it.
test.each([
  [[], undefined, 'vmgenid'],
  [['virtio-rng-pci'], undefined, 'virtio-rng-pci vmgenid'],
  [['vmgenid', 'virtio-rng-pci'], undefined, 'vmgenid virtio-rng-pci'],
  [[], [], ''],
  [[], ['virtio-rng-pci', 'vmgenid', 'of-tomorrow'], 'virtio-rng-pci vmgenid'],
  [['virtio-rng-pci'], ['virtio-rng-pci'], 'virtio-rng-pci'],
  [['virtio-rng-pci'], ['vmgenid', 'virtio-rng-pci'], 'vmgenid virtio-rng-pci'],
  [['vmgenid'], [], 'vmgenid'],
])('of %j, going on from %j, a machine has %j', (names, saved, expected) => {
  const given = parse(...names.flatMap((name) => ['--device', name]));
  const kinds = completeDevices(given, saved).map(({ kind }) => kind);
  expect(kinds.join(' ')).toBe(expected);
});

test('the entropy of virtio-rng-pci is the host', () => {
  const [device] = parse('--device=virtio-rng-pci');
  if (device?.kind !== 'virtio-rng-pci') throw new TypeError('no device');
  const draw = () => {
    const bytes = new Uint8Array(64);
    device.fillRandom(bytes);
    return bytes;
  };
  expect(draw()).not.toEqual(draw());
});

test.each([
  [
    ['--device', 'virtio-rgn-pci'],
    'must be virtio-rng-pci or vmgenid or virtio-balloon-pci, got "virtio-rgn-pci"',
  ],
  [['--device', 'virtio-rgn-pci'], 'did you mean "virtio-rng-pci"'],
  [['--device', ''], 'got ""'],
  [['--device', 'virtio-rng-pci,max-bytes=7'], 'takes no properties, got "max-bytes=7"'],
  [
    ['--device', 'virtio-balloon-pci', '--device', 'virtio-balloon-pci'],
    '"--device virtio-balloon-pci" is given twice',
  ],
  [['--device'], 'needs a value'],
])('%j is refused: %s', (args, words) => {
  expect(() => parse(...args)).toThrow(words);
});
