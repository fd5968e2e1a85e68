// The PC's virtio devices: drives with `if=virtio`, and what `--device` names, each
// a function of its own on the PCI bus.

import type { Drive } from '../devices/block/drive.ts';
import {
  PCI_BASE_ADDRESS,
  PCI_COMMAND,
  PCI_COMMAND_IO,
  PCI_COMMAND_MEMORY,
} from '../devices/pci-config.ts';
import type { Savable } from '../devices/saved-state.ts';
import { BALLOON_PAGE_BYTES, VirtioBalloon } from '../devices/virtio/virtio-balloon.ts';
import { VirtioBlk } from '../devices/virtio/virtio-blk.ts';
import { VirtioDevice, type VirtioModel } from '../devices/virtio/virtio-device.ts';
import {
  VIRTIO_LEGACY_BAR,
  VIRTIO_LEGACY_BYTES,
  VIRTIO_MODERN_BAR,
  VIRTIO_MODERN_BYTES,
  VirtioPCI,
} from '../devices/virtio/virtio-pci.ts';
import { type EntropySource, VirtioRNG } from '../devices/virtio/virtio-rng.ts';
import { SECTION_RAM } from '../memory/flat-view.ts';
import { MemoryRegion } from '../memory/memory-region.ts';
import type { RAMBlock } from '../memory/ram-block.ts';
import type { PCMemory } from './machine-memory.ts';
import type { PCIBus } from './pci-bus.ts';

/** A device of a machine that is not a drive, in QEMU's words. */
export type DeviceConfig =
  | { readonly kind: 'virtio-balloon-pci' }
  /** @param fillRandom fills its argument with random bytes that nobody can guess */
  | { readonly kind: 'virtio-rng-pci'; readonly fillRandom: EntropySource }
  /** A number that changes with each load and clone: not on the bus, one at most. */
  | { readonly kind: 'vmgenid'; readonly fillRandom: EntropySource };

/** What the devices are wired to. */
export interface VirtioWiring {
  readonly memory: PCMemory;
  readonly bus: PCIBus;
  /** Guest RAM: the balloon is measured by it, and takes pages of nothing else. */
  readonly guestRAM: readonly RAMBlock[];
  readonly drives: readonly Drive[];
  readonly devices: readonly DeviceConfig[];
}

/** Functions 0 of these PCI devices; lower ones are the chip set's and the VGA's. */
const FIRST_PLACE = 3;
const PLACE_COUNT = 32;
/** Where firmware puts the base addresses, in machines that have none. */
const LEGACY_PORT = 0xc100;
const MODERN_GPA = 0xfe00_0000;

export class Virtio {
  /** In the order of their places on the bus. */
  readonly functions: readonly VirtioPCI[];
  /** The balloon, if there is one. */
  readonly balloon: VirtioBalloon | undefined;

  /** @throws {RangeError} if there are two balloons, or more devices than places on the bus */
  constructor(wiring: VirtioWiring) {
    const { memory, guestRAM, drives, devices } = wiring;
    const balloons = devices.filter(({ kind }) => kind === 'virtio-balloon-pci');
    if (balloons.length > 1)
      throw new RangeError('Cannot create machine as it must have one balloon at most: it has two');
    const models: { name: string; model: VirtioModel }[] = [];
    for (const drive of drives)
      models.push({ name: `virtio-blk/${drive.id}`, model: new VirtioBlk(drive, drive.id) });
    let rngCount = 0;
    for (const config of devices)
      if (config.kind === 'virtio-rng-pci')
        models.push({ name: `virtio-rng/${rngCount++}`, model: new VirtioRNG(config.fillRandom) });
    if (balloons.length > 0) {
      const memoryBytes = guestRAM.reduce((sum, block) => sum + block.usedBytes, 0);
      this.balloon = new VirtioBalloon('balloon', memoryBytes, (gpa) =>
        discardPage(memory, guestRAM, gpa),
      );
      models.push({ name: 'virtio-balloon', model: this.balloon });
    }
    this.functions = models.map(({ name, model }) =>
      plug(wiring, new VirtioDevice(name, model, memory.guest.addressSpace)),
    );
  }

  /** Everything but PCI functions; call {@link Virtio.onRestored} when RAM is restored, too. */
  get savables(): readonly Savable[] {
    return this.functions.flatMap(({ device }) => device.savables);
  }

  reset(): void {
    for (const { device } of this.functions) device.reset();
  }

  /** What firmware leaves behind, for guests that are loaded without one. */
  setFirmwareState(): void {
    for (const [i, { config }] of this.functions.entries()) {
      const set = (index: number, address: number) =>
        config.writeBytes(PCI_BASE_ADDRESS + 4 * index, 4, address);
      set(VIRTIO_LEGACY_BAR, LEGACY_PORT + i * VIRTIO_LEGACY_BYTES);
      set(VIRTIO_MODERN_BAR, MODERN_GPA + i * VIRTIO_MODERN_BYTES);
      config.writeByte(PCI_COMMAND, PCI_COMMAND_IO | PCI_COMMAND_MEMORY);
    }
  }

  /** State and RAM are as they were saved: requests that were in flight are begun again. */
  onRestored(): void {
    for (const { device } of this.functions) device.onRestored();
  }
}

/** Adds virtio devices to a PC; call it once its bus and its drives are there. */
export function attachVirtio(wiring: VirtioWiring): Virtio {
  return new Virtio(wiring);
}

function plug({ bus }: VirtioWiring, device: VirtioDevice): VirtioPCI {
  const taken = new Set([...bus.config.places].map(([place]) => place >> 3));
  let place = FIRST_PLACE;
  while (taken.has(place)) place++;
  if (place >= PLACE_COUNT)
    throw new RangeError(
      `Cannot create device "${device.name}" as the PCI bus must have a free place: ` +
        `all ${PLACE_COUNT} are taken`,
    );
  const one = new VirtioPCI(`pci/${place.toString(16).padStart(2, '0')}.0`, device);
  bus.plug(place, 0, one.config);
  one.irq = bus.interruptLine(place, 0);
  const legacy = MemoryRegion.io(`${device.name}-legacy`, VIRTIO_LEGACY_BYTES, {
    read: (offset, sizeBytes) => one.readLegacy(offset, sizeBytes),
    write: (offset, value, sizeBytes) => one.writeLegacy(offset, value, sizeBytes),
  });
  const modern = MemoryRegion.io(device.name, VIRTIO_MODERN_BYTES, {
    read: (offset, sizeBytes) => one.readModern(offset, sizeBytes),
    write: (offset, value, sizeBytes) => one.writeModern(offset, value, sizeBytes),
  });
  bus.mapBaseAddress(one.config, VIRTIO_LEGACY_BAR, 'io', legacy);
  bus.mapBaseAddress(one.config, VIRTIO_MODERN_BAR, 'memory', modern);
  return one;
}

/** A page that is not guest RAM, wholly, stays what it is. */
function discardPage(memory: PCMemory, guestRAM: readonly RAMBlock[], gpa: number): void {
  const section = memory.guest.addressSpace.find(gpa);
  if (section.kind !== SECTION_RAM) return;
  const at = gpa - section.start;
  const ramOffset = section.ramOffset + at;
  const isGuestRAM = guestRAM.includes(memory.ramList.blockAt(ramOffset)!);
  if (isGuestRAM && section.sizeBytes - at >= BALLOON_PAGE_BYTES)
    memory.guest.discard(ramOffset, BALLOON_PAGE_BYTES);
}
