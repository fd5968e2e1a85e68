// Devices on the command line that are no drives, by QEMU's names: --device NAME. QEMU
// documentation, "Invocation", "-device driver".

import { randomFillSync } from 'node:crypto';
import type { DeviceConfig } from '../machine/virtio.ts';
import { UsageError } from './command.ts';
import type { Option, ParsedOptions } from './options.ts';
import { suggestion } from './suggestion.ts';

/** What may be named, and what that gives. */
const DEVICES: ReadonlyMap<string, { readonly isSingle: boolean; create(): DeviceConfig }> =
  new Map([
    [
      'virtio-rng-pci',
      {
        isSingle: false,
        create: () => ({
          kind: 'virtio-rng-pci' as const,
          fillRandom: (bytes: Uint8Array) => void randomFillSync(bytes),
        }),
      },
    ],
    [
      'vmgenid',
      {
        isSingle: true,
        create: () => ({
          kind: 'vmgenid' as const,
          fillRandom: (bytes: Uint8Array) => void randomFillSync(bytes),
        }),
      },
    ],
    [
      'virtio-balloon-pci',
      { isSingle: true, create: () => ({ kind: 'virtio-balloon-pci' as const }) },
    ],
  ]);

/** A guest that is copied or put back should know; nobody should have to ask for that. */
const DEFAULT_DEVICE = 'vmgenid';

export const DEVICE_OPTIONS: readonly Option[] = [
  {
    names: ['device'],
    argument: 'NAME',
    isRepeated: true,
    summary:
      `A device: ${[...DEVICES.keys()].join(' or ')}; may be given several times; ` +
      `${DEFAULT_DEVICE} is always there`,
  },
];

/**
 * The devices that a command line asks for.
 * @throws {UsageError} if one is unknown, has properties, or can be there only once
 */
export function parseDevices(options: ParsedOptions): readonly DeviceConfig[] {
  const names = options.repeated.get('device') ?? [];
  return names.map((text, index) => {
    const [name = '', ...properties] = text.split(',');
    const device = DEVICES.get(name);
    const known = [...DEVICES.keys()];
    if (device === undefined)
      throw new UsageError(
        `Option "--device" must be ${known.join(' or ')}, got "${name}"${suggestion(name, known)}`,
      );
    if (properties.length > 0)
      throw new UsageError(
        `Option "--device ${name}" takes no properties, got "${properties.join(',')}"`,
      );
    if (device.isSingle && names.indexOf(text) !== index)
      throw new UsageError(`Option "--device ${name}" is given twice`);
    return device.create();
  });
}

/**
 * The devices of a machine: what was given and `vmgenid`. One that goes on from a snapshot has the
 * snapshot's devices if none was given, and `vmgenid` if the snapshot has it: those that were
 * made before it was always there have none.
 * @param saved kinds of the snapshot's devices
 */
export function completeDevices(
  given: readonly DeviceConfig[],
  saved?: readonly string[],
): readonly DeviceConfig[] {
  const create = (name: string): DeviceConfig[] => {
    const device = DEVICES.get(name);
    return device === undefined ? [] : [device.create()];
  };
  if (given.length === 0 && saved !== undefined) return saved.flatMap(create);
  const index = saved === undefined ? given.length : saved.indexOf(DEFAULT_DEVICE);
  if (index < 0 || given.some(({ kind }) => kind === DEFAULT_DEVICE)) return given;
  return given.toSpliced(index, 0, ...create(DEFAULT_DEVICE));
}
