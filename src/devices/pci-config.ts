// PCI configuration space: one function's 256 bytes, and the host bridge's configuration mechanism #1
// that leads to them. PCI Local Bus Specification 2.1, sections 3.2.2.3.2 "Configuration Mechanism
// #1" and 6.1 "Configuration Space Organization".

import { defineState, type Savable, type SavedSection } from './saved-state.ts';

const CONFIG_BYTES = 256;
const ADDRESS_ENABLE = 0x8000_0000;
const ADDRESS_WRITABLE = 0x80ff_fffc;
/** Offsets of the header. */
export const PCI_VENDOR_ID = 0x00;
export const PCI_DEVICE_ID = 0x02;
export const PCI_COMMAND = 0x04;
export const PCI_STATUS = 0x06;
export const PCI_REVISION = 0x08;
export const PCI_CLASS = 0x09;
export const PCI_HEADER_TYPE = 0x0e;
export const PCI_INTERRUPT_LINE = 0x3c;
export const PCI_INTERRUPT_PIN = 0x3d;

/** What a function's header says. */
export interface PCIIdentity {
  readonly vendorId: number;
  readonly deviceId: number;
  readonly revision: number;
  /** Class, subclass and programming interface, 24 bits. */
  readonly classCode: number;
  readonly isMultifunction?: boolean;
}

function configState() {
  return { bytes: new Uint8Array(CONFIG_BYTES) };
}

type FunctionState = ReturnType<typeof configState>;

/** One function: bytes, and which of their bits the guest may change. */
export class PCIFunction implements Savable {
  // Configuration.
  readonly #identity: PCIIdentity;
  readonly #initial = new Uint8Array(CONFIG_BYTES);
  readonly #writable = new Uint8Array(CONFIG_BYTES);
  readonly #schema;
  // Wiring, set once by the machine.
  /** A byte changed. */
  onWrite: (offset: number, value: number) => void = () => {};
  // State, all of it saved.
  readonly state: FunctionState = configState();

  /** @param name its name in a saved state, such as `pci/00.0` */
  constructor(name: string, identity: PCIIdentity) {
    this.#identity = identity;
    this.#schema = defineState<FunctionState>(name, 1, {
      bytes: { id: 1, type: 'u8', since: 1, length: CONFIG_BYTES },
    });
    this.set(PCI_VENDOR_ID, 2, identity.vendorId);
    this.set(PCI_DEVICE_ID, 2, identity.deviceId);
    this.set(PCI_REVISION, 1, identity.revision);
    this.set(PCI_CLASS, 3, identity.classCode);
    this.set(PCI_HEADER_TYPE, 1, identity.isMultifunction ? 0x80 : 0);
    this.allowWrites(PCI_COMMAND, 2, 0x0107);
    this.allowWrites(PCI_INTERRUPT_LINE, 1, 0xff);
  }

  get schema() {
    return this.#schema;
  }

  get identity(): PCIIdentity {
    return this.#identity;
  }

  /** Sets a little-endian field of `sizeBytes`, at power-on and now. */
  set(offset: number, sizeBytes: number, value: number): void {
    for (let i = 0; i < sizeBytes; i++) {
      this.#initial[offset + i] = (value >>> (8 * i)) & 0xff;
      this.state.bytes[offset + i] = this.#initial[offset + i]!;
    }
  }

  /** Lets the guest change the bits of `mask` in a little-endian field. */
  allowWrites(offset: number, sizeBytes: number, mask: number): void {
    for (let i = 0; i < sizeBytes; i++) this.#writable[offset + i] = (mask >>> (8 * i)) & 0xff;
  }

  reset(): void {
    this.state.bytes.set(this.#initial);
  }

  save(): SavedSection {
    return this.#schema.save(this.state);
  }

  restore(section: SavedSection): void {
    this.#schema.restore(section, this.state);
  }

  readByte(offset: number): number {
    return this.state.bytes[offset & 0xff]!;
  }

  writeByte(offset: number, value: number): void {
    const { bytes } = this.state;
    const index = offset & 0xff;
    const mask = this.#writable[index]!;
    if (mask === 0) return;
    bytes[index] = (bytes[index]! & ~mask) | (value & mask);
    this.onWrite(index, bytes[index]!);
  }
}

function mechanismState() {
  return { address: 0 };
}

type MechanismState = ReturnType<typeof mechanismState>;

/** Ports 0xCF8 and 0xCFC of bus 0. Functions that are absent read as all ones. */
export class PCIConfigMechanism implements Savable {
  static readonly schema = defineState<MechanismState>('pci-config', 1, {
    address: { id: 1, type: 'u32', since: 1 },
  });

  // Wiring, set once by the machine.
  readonly #functions = new Map<number, PCIFunction>();
  // State, all of it saved.
  readonly state: MechanismState = mechanismState();

  /** Plugs a function in at bus 0, `device` (0–31), `index` (0–7). */
  plug(device: number, index: number, pciFunction: PCIFunction): void {
    const place = (device << 3) | index;
    if (this.#functions.has(place))
      throw new RangeError(
        `Cannot plug PCI function at 00:${device}.${index}: the place must be free`,
      );
    this.#functions.set(place, pciFunction);
  }

  /** The functions that are plugged in. */
  get functions(): Iterable<PCIFunction> {
    return this.#functions.values();
  }

  reset(): void {
    this.state.address = 0;
    for (const one of this.#functions.values()) one.reset();
  }

  save(): SavedSection {
    return PCIConfigMechanism.schema.save(this.state);
  }

  restore(section: SavedSection): void {
    PCIConfigMechanism.schema.restore(section, this.state);
  }

  /** CONFIG_ADDRESS answers accesses of 32 bits only; the machine passes others elsewhere. */
  readAddress(): number {
    return this.state.address;
  }

  writeAddress(value: number): void {
    this.state.address = (value & ADDRESS_WRITABLE) >>> 0;
  }

  /** CONFIG_DATA at `offset` 0–3, of 1, 2 or 4 bytes. */
  readData(offset: number, sizeBytes: number): number {
    const target = this.#target();
    let value = 0;
    for (let i = sizeBytes - 1; i >= 0; i--)
      value = value * 256 + (target?.readByte(this.#register(offset) + i) ?? 0xff);
    return value;
  }

  writeData(offset: number, sizeBytes: number, value: number): void {
    const target = this.#target();
    if (target === undefined) return;
    for (let i = 0; i < sizeBytes; i++)
      target.writeByte(this.#register(offset) + i, (value >>> (8 * i)) & 0xff);
  }

  #register(offset: number): number {
    return (this.state.address & 0xfc) + (offset & 3);
  }

  #target(): PCIFunction | undefined {
    const { address } = this.state;
    if (address < ADDRESS_ENABLE || ((address >>> 16) & 0xff) !== 0) return undefined;
    return this.#functions.get((address >>> 8) & 0xff);
  }
}
