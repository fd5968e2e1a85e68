// A virtio device as a PCI function: transitional, so that drivers of version 1 find it by its
// capabilities and legacy ones by its ports. VIRTIO Version 1.2, section 4.1 "Virtio Over PCI Bus".
//
//   memory, base address 4:  0x0000 common configuration   0x1000 ISR
//                            0x2000 device configuration   0x3000 notifications, 4 bytes a queue
//   ports, base address 0:   legacy header and device configuration

import { type IRQLine, NO_LINE } from '../../base/device.ts';
import {
  PCI_COMMAND,
  PCI_COMMAND_MASTER,
  PCI_INTERRUPT_PIN,
  PCI_STATUS,
  PCIFunction,
} from '../pci-config.ts';
import type { VirtioDevice } from './virtio-device.ts';
import {
  COMMON_BYTES,
  COMMON_REGISTERS,
  LEGACY_HEADER_BYTES,
  LEGACY_REGISTERS,
  readRegisters,
  writeRegisters,
} from './virtio-pci-registers.ts';
import { TYPE_BALLOON, TYPE_BLOCK, TYPE_ENTROPY } from './virtio-registers.ts';

/** Base address registers and the sizes of what they lead to. */
export const VIRTIO_LEGACY_BAR = 0;
export const VIRTIO_LEGACY_BYTES = 0x40;
export const VIRTIO_MODERN_BAR = 4;
export const VIRTIO_MODERN_BYTES = 0x4000;
const BLOCK_BYTES = 0x1000;
const COMMON = 0x0000;
const ISR = 0x1000;
const DEVICE = 0x2000;
const NOTIFY = 0x3000;
const NOTIFY_STEP = 4;

const VENDOR_ID = 0x1af4;
/** Transitional device ids and PCI classes, by device type (section 4.1.2.1). */
const IDENTITIES: ReadonlyMap<number, { readonly deviceId: number; readonly classCode: number }> =
  new Map([
    [TYPE_BLOCK, { deviceId: 0x1001, classCode: 0x01_00_00 }],
    [TYPE_BALLOON, { deviceId: 0x1002, classCode: 0x00_ff_00 }],
    [TYPE_ENTROPY, { deviceId: 0x1005, classCode: 0x00_ff_00 }],
  ]);
const STATUS_CAPABILITIES = 0x10;
const CAPABILITIES_POINTER = 0x34;

/** Capabilities (section 4.1.4): id, next, length, type, base address index, …, offset, length. */
const CAPABILITY_ID = 0x09;
const CAPABILITY_BAR = 4;
const CAPABILITY_OFFSET = 8;
const CAPABILITY_LENGTH = 12;
const CAPABILITY_BYTES = 16;
/** Of notifications the multiplier, of PCI configuration access the data. */
const CAPABILITY_MORE = 16;
const TYPE_COMMON = 1;
const TYPE_NOTIFY = 2;
const TYPE_ISR = 3;
const TYPE_DEVICE = 4;
const TYPE_PCI_CONFIG = 5;
const FIRST_CAPABILITY = 0x40;

export class VirtioPCI {
  readonly device: VirtioDevice;
  readonly config: PCIFunction;
  // Wiring, set once by the machine.
  irq: IRQLine = NO_LINE;
  /** Where the capability lies that reaches the registers through configuration space. */
  #accessCapability = 0;

  /** @param place name of its PCI place in a saved state, such as `pci/03.0` */
  constructor(place: string, device: VirtioDevice) {
    this.device = device;
    const { type } = device.model;
    const identity = IDENTITIES.get(type);
    if (identity === undefined)
      throw new RangeError(`Cannot put virtio device "${device.name}" on PCI: type ${type}`);
    this.config = new PCIFunction(place, {
      vendorId: VENDOR_ID,
      revision: 0, // What tells a transitional device from a later one.
      subsystemId: type,
      ...identity,
    });
    this.config.set(PCI_INTERRUPT_PIN, 1, 1);
    this.#addCapabilities();
    this.config.onRead = (offset, sizeBytes) => this.#onConfigRead(offset, sizeBytes);
    this.config.onWrite = (offset) => this.#onConfigWrite(offset);
    device.isBusMaster = () => (this.config.readByte(PCI_COMMAND) & PCI_COMMAND_MASTER) !== 0;
    device.onInterrupt = () => {
      if (device.state.isr !== 0) this.irq.raise();
      else this.irq.lower();
    };
  }

  /** Registers in memory: `offset` below {@link VIRTIO_MODERN_BYTES}, 1, 2 or 4 bytes. */
  readModern(offset: number, sizeBytes: number): number {
    const { device } = this;
    const at = offset % BLOCK_BYTES;
    switch (offset - at) {
      case COMMON:
        return readRegisters(COMMON_REGISTERS, device, at, sizeBytes);
      case ISR:
        return at === 0 ? device.takeISR() : 0;
      case DEVICE:
        return this.#readDeviceConfig(at, sizeBytes);
      default:
        return 0;
    }
  }

  writeModern(offset: number, value: number, sizeBytes: number): void {
    const { device } = this;
    const at = offset % BLOCK_BYTES;
    switch (offset - at) {
      case COMMON:
        writeRegisters(COMMON_REGISTERS, device, at, value, sizeBytes);
        break;
      case DEVICE:
        this.#writeDeviceConfig(at, value, sizeBytes);
        break;
      case NOTIFY:
        // The place says which queue it is; the value says the same.
        if (at % NOTIFY_STEP === 0) device.notify(at / NOTIFY_STEP);
        break;
    }
  }

  /** Legacy registers: `offset` below {@link VIRTIO_LEGACY_BYTES}, 1, 2 or 4 bytes. */
  readLegacy(offset: number, sizeBytes: number): number {
    if (offset >= LEGACY_HEADER_BYTES)
      return this.#readDeviceConfig(offset - LEGACY_HEADER_BYTES, sizeBytes);
    return readRegisters(LEGACY_REGISTERS, this.device, offset, sizeBytes);
  }

  writeLegacy(offset: number, value: number, sizeBytes: number): void {
    if (offset >= LEGACY_HEADER_BYTES)
      this.#writeDeviceConfig(offset - LEGACY_HEADER_BYTES, value, sizeBytes);
    else writeRegisters(LEGACY_REGISTERS, this.device, offset, value, sizeBytes);
  }

  /** Configuration space at `offset` is read: data of the access capability (section 4.1.4.9). */
  #onConfigRead(offset: number, sizeBytes: number): void {
    const data = this.#accessCapability + CAPABILITY_MORE;
    if (offset >= data + 4 || offset + sizeBytes <= data) return;
    const target = this.#accessTarget();
    const value = target === undefined ? 0 : this.readModern(target.offset, target.sizeBytes);
    const { bytes } = this.config.state;
    for (let i = 0; i < 4; i++) bytes[data + i] = (value >>> (8 * i)) & 0xff;
  }

  #onConfigWrite(offset: number): void {
    if (offset === PCI_COMMAND) {
      if (this.device.isBusMaster()) this.device.notifyAll();
      return;
    }
    // Bytes come lowest first, so the last one completes the value.
    const data = this.#accessCapability + CAPABILITY_MORE;
    const target = offset >= data && offset < data + 4 ? this.#accessTarget() : undefined;
    if (target === undefined || offset !== data + target.sizeBytes - 1) return;
    const value = this.config.read32(data);
    const mask = target.sizeBytes === 4 ? 0xffff_ffff : (1 << (8 * target.sizeBytes)) - 1;
    this.writeModern(target.offset, (value & mask) >>> 0, target.sizeBytes);
  }

  /** What the access capability points at (section 4.1.4.9); only registers that there are. */
  #accessTarget(): { offset: number; sizeBytes: number } | undefined {
    const at = this.#accessCapability;
    const offset = this.config.read32(at + CAPABILITY_OFFSET);
    const sizeBytes = this.config.read32(at + CAPABILITY_LENGTH);
    const isSize = sizeBytes === 1 || sizeBytes === 2 || sizeBytes === 4;
    const isInside = isSize && offset % sizeBytes === 0 && offset < VIRTIO_MODERN_BYTES;
    const isHere = this.config.readByte(at + CAPABILITY_BAR) === VIRTIO_MODERN_BAR;
    return isHere && isInside ? { offset, sizeBytes } : undefined;
  }

  #readDeviceConfig(offset: number, sizeBytes: number): number {
    const { model } = this.device;
    let value = 0;
    for (let i = sizeBytes - 1; i >= 0; i--) {
      const at = offset + i;
      value = value * 256 + (at < model.configBytes ? model.readConfig(at) : 0);
    }
    return value;
  }

  #writeDeviceConfig(offset: number, value: number, sizeBytes: number): void {
    const { model } = this.device;
    for (let i = 0; i < sizeBytes; i++)
      if (offset + i < model.configBytes) model.writeConfig(offset + i, (value >>> (8 * i)) & 0xff);
  }

  #addCapabilities(): void {
    const { queues, model } = this.device;
    const { config } = this;
    config.set(PCI_STATUS, 2, STATUS_CAPABILITIES);
    let next = FIRST_CAPABILITY;
    let link = CAPABILITIES_POINTER;
    const add = (type: number, offset: number, length: number, moreBytes = 0): number => {
      const at = next;
      const sizeBytes = CAPABILITY_BYTES + moreBytes;
      config.set(link, 1, at);
      config.set(at, 4, CAPABILITY_ID | (sizeBytes << 16) | (type << 24));
      config.set(at + CAPABILITY_BAR, 1, VIRTIO_MODERN_BAR);
      config.set(at + CAPABILITY_OFFSET, 4, offset);
      config.set(at + CAPABILITY_LENGTH, 4, length);
      link = at + 1;
      next = at + sizeBytes;
      return at;
    };
    add(TYPE_COMMON, COMMON, COMMON_BYTES);
    add(TYPE_ISR, ISR, 1);
    if (model.configBytes > 0) add(TYPE_DEVICE, DEVICE, model.configBytes);
    const notify = add(TYPE_NOTIFY, NOTIFY, NOTIFY_STEP * queues.length, 4);
    config.set(notify + CAPABILITY_MORE, 4, NOTIFY_STEP);
    const access = add(TYPE_PCI_CONFIG, 0, 0, 4);
    config.allowWrites(access + CAPABILITY_BAR, 1, 0xff);
    for (const field of [CAPABILITY_OFFSET, CAPABILITY_LENGTH, CAPABILITY_MORE])
      config.allowWrites(access + field, 4, 0xffff_ffff);
    this.#accessCapability = access;
  }
}
