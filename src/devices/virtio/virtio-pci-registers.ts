// Registers of a virtio device on PCI, as a version 1 driver sees them in memory and a legacy one
// at ports. VIRTIO Version 1.2, sections 4.1.4.3 "Common configuration structure layout" and
// 4.1.4.10 "Legacy Interfaces: A Note on PCI Device Layout".

import type { VirtioDevice } from './virtio-device.ts';
import type { Virtqueue } from './virtqueue.ts';

/** Size of the common configuration, bytes. */
export const COMMON_BYTES = 0x38;
/** Size of the legacy header; the device configuration follows it. */
export const LEGACY_HEADER_BYTES = 0x14;
const LEGACY_PAGE_BYTES = 4096;
/** There is no MSI-X, so no vector can be had. */
const NO_VECTOR = 0xffff;
const WORD = 2 ** 32;
/** Highest upper half of an address that is anybody's. */
const ADDRESS_HIGH_MAX = 2 ** 20;

/** One register. Without `write` it is read-only, without `read` write-only. */
export interface VirtioRegister {
  readonly offset: number;
  readonly sizeBytes: 1 | 2 | 4;
  readonly name: string;
  readonly read?: (device: VirtioDevice) => number;
  readonly write?: (device: VirtioDevice, value: number) => void;
}

function selected(device: VirtioDevice): Virtqueue | undefined {
  return device.queues[device.state.queueSelect];
}

type RingAddress = 'descriptors' | 'available' | 'used';

/**
 * Low and high half of an address of the selected queue, which must not be in use to be changed.
 */
function addressRegisters(offset: number, key: RingAddress): VirtioRegister[] {
  const addressOf = (device: VirtioDevice) => selected(device)?.state[key] ?? 0;
  const set = (device: VirtioDevice, low: number, high: number) => {
    const queue = selected(device);
    if (queue === undefined || queue.state.isReady) return;
    queue.state[key] = Math.min(high, ADDRESS_HIGH_MAX) * WORD + low;
  };
  return [
    {
      ...{ offset, sizeBytes: 4, name: `queue_${key}_low` },
      read: (device) => addressOf(device) % WORD,
      write: (device, value) => set(device, value, Math.floor(addressOf(device) / WORD)),
    },
    {
      ...{ offset: offset + 4, sizeBytes: 4, name: `queue_${key}_high` },
      read: (device) => Math.floor(addressOf(device) / WORD),
      write: (device, value) => set(device, addressOf(device) % WORD, value),
    },
  ];
}

/** Common configuration. */
export const COMMON_REGISTERS: readonly VirtioRegister[] = [
  {
    ...{ offset: 0x00, sizeBytes: 4, name: 'device_feature_select' },
    read: ({ state }) => state.deviceFeaturesSelect,
    write: ({ state }, value) => {
      state.deviceFeaturesSelect = value;
    },
  },
  {
    ...{ offset: 0x04, sizeBytes: 4, name: 'device_feature' },
    read: ({ state, deviceFeatures }) => deviceFeatures[state.deviceFeaturesSelect] ?? 0,
  },
  {
    ...{ offset: 0x08, sizeBytes: 4, name: 'driver_feature_select' },
    read: ({ state }) => state.driverFeaturesSelect,
    write: ({ state }, value) => {
      state.driverFeaturesSelect = value;
    },
  },
  {
    ...{ offset: 0x0c, sizeBytes: 4, name: 'driver_feature' },
    read: ({ state }) => state.driverFeatures[state.driverFeaturesSelect] ?? 0,
    write: (device, value) => device.setDriverFeatures(device.state.driverFeaturesSelect, value),
  },
  { offset: 0x10, sizeBytes: 2, name: 'config_msix_vector', read: () => NO_VECTOR },
  { offset: 0x12, sizeBytes: 2, name: 'num_queues', read: ({ queues }) => queues.length },
  {
    ...{ offset: 0x14, sizeBytes: 1, name: 'device_status' },
    read: ({ state }) => state.status,
    write: (device, value) => device.setStatus(value),
  },
  {
    ...{ offset: 0x15, sizeBytes: 1, name: 'config_generation' },
    read: ({ state }) => state.configGeneration,
  },
  {
    ...{ offset: 0x16, sizeBytes: 2, name: 'queue_select' },
    read: ({ state }) => state.queueSelect,
    write: ({ state }, value) => {
      state.queueSelect = value;
    },
  },
  {
    ...{ offset: 0x18, sizeBytes: 2, name: 'queue_size' },
    read: (device) => selected(device)?.state.size ?? 0,
    write: (device, value) => selected(device)?.setSize(value),
  },
  { offset: 0x1a, sizeBytes: 2, name: 'queue_msix_vector', read: () => NO_VECTOR },
  {
    ...{ offset: 0x1c, sizeBytes: 2, name: 'queue_enable' },
    read: (device) => (selected(device)?.state.isReady ? 1 : 0),
    // Only a reset of the device disables a queue.
    write: (device, value) => {
      const queue = selected(device);
      if (queue !== undefined && value === 1) queue.state.isReady = true;
    },
  },
  {
    ...{ offset: 0x1e, sizeBytes: 2, name: 'queue_notify_off' },
    read: ({ state }) => state.queueSelect,
  },
  ...addressRegisters(0x20, 'descriptors'),
  ...addressRegisters(0x28, 'available'),
  ...addressRegisters(0x30, 'used'),
];

/** Legacy header. */
export const LEGACY_REGISTERS: readonly VirtioRegister[] = [
  {
    ...{ offset: 0x00, sizeBytes: 4, name: 'device_features' },
    read: ({ deviceFeatures }) => deviceFeatures[0],
  },
  {
    ...{ offset: 0x04, sizeBytes: 4, name: 'driver_features' },
    read: ({ state }) => state.driverFeatures[0]!,
    write: (device, value) => device.setDriverFeatures(0, value),
  },
  {
    ...{ offset: 0x08, sizeBytes: 4, name: 'queue_address' },
    read: (device) => {
      const queue = selected(device);
      return queue?.state.isReady ? Math.floor(queue.state.descriptors / LEGACY_PAGE_BYTES) : 0;
    },
    write: (device, value) => selected(device)?.setLegacyPage(value),
  },
  {
    ...{ offset: 0x0c, sizeBytes: 2, name: 'queue_size' },
    read: (device) => selected(device)?.maxSize ?? 0,
  },
  {
    ...{ offset: 0x0e, sizeBytes: 2, name: 'queue_select' },
    read: ({ state }) => state.queueSelect,
    write: ({ state }, value) => {
      state.queueSelect = value;
    },
  },
  {
    ...{ offset: 0x10, sizeBytes: 2, name: 'queue_notify' },
    write: (device, value) => device.notify(value),
  },
  {
    ...{ offset: 0x12, sizeBytes: 1, name: 'device_status' },
    read: ({ state }) => state.status,
    write: (device, value) => device.setStatus(value),
  },
  { offset: 0x13, sizeBytes: 1, name: 'isr_status', read: (device) => device.takeISR() },
];

/** Reads 1, 2 or 4 bytes of a register block; holes are zeros. Each register is read once. */
export function readRegisters(
  registers: readonly VirtioRegister[],
  device: VirtioDevice,
  offset: number,
  sizeBytes: number,
): number {
  let value = 0;
  for (const register of registers) {
    const shift = 8 * (register.offset - offset);
    if (!isTouched(register, offset, sizeBytes) || register.read === undefined) continue;
    const bits = register.read(device);
    value |= shift >= 0 ? bits << shift : bits >>> -shift;
  }
  return value >>> 0;
}

/** Writes 1, 2 or 4 bytes; of a register that is written in part, the rest stays. */
export function writeRegisters(
  registers: readonly VirtioRegister[],
  device: VirtioDevice,
  offset: number,
  value: number,
  sizeBytes: number,
): void {
  for (const register of registers) {
    if (!isTouched(register, offset, sizeBytes) || register.write === undefined) continue;
    const old = register.read?.(device) ?? 0;
    let next = 0;
    for (let i = 0; i < register.sizeBytes; i++) {
      const at = register.offset + i - offset;
      const isWritten = at >= 0 && at < sizeBytes;
      next |= ((isWritten ? value >>> (8 * at) : old >>> (8 * i)) & 0xff) << (8 * i);
    }
    register.write(device, next >>> 0);
  }
}

function isTouched(register: VirtioRegister, offset: number, sizeBytes: number): boolean {
  return offset < register.offset + register.sizeBytes && register.offset < offset + sizeBytes;
}
