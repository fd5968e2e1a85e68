// PCI configuration space: one function's 256 bytes, and the host bridge's configuration mechanism
// #1 that leads to them. PCI Local Bus Specification 2.1, sections 3.2.2.3.2 "Configuration
// Mechanism #1" and 6.1 "Configuration Space Organization".

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
export const PCI_BASE_ADDRESS = 0x10;
export const PCI_SUBSYSTEM_VENDOR = 0x2c;
export const PCI_SUBSYSTEM = 0x2e;
export const PCI_ROM_ADDRESS = 0x30;
export const PCI_INTERRUPT_LINE = 0x3c;
export const PCI_INTERRUPT_PIN = 0x3d;

export const PCI_COMMAND_IO = 0x01;
export const PCI_COMMAND_MEMORY = 0x02;
export const PCI_COMMAND_MASTER = 0x04;
const BASE_ADDRESS_COUNT = 6;
const BASE_IS_IO = 0x01;
const BASE_IS_PREFETCHABLE = 0x08;
/** The expansion ROM among windows. */
export const PCI_ROM_INDEX = 6;
const ROM_ENABLE = 0x01;
const PORT_SPACE_BYTES = 0x1_0000;
const GIB4 = 2 ** 32;
/** QEMU's: firmware and drivers know a virtual machine by it. */
const SUBSYSTEM_VENDOR = 0x1af4;
const SUBSYSTEM = 0x1100;

/** What a base address register leads to. Index 6 is the expansion ROM. */
export interface PCIWindow {
  readonly index: number;
  readonly space: 'memory' | 'io' | 'rom';
  readonly sizeBytes: number;
}

/** What a function's header says. */
export interface PCIIdentity {
  readonly vendorId: number;
  readonly deviceId: number;
  readonly revision: number;
  /** Class, subclass and programming interface, 24 bits. */
  readonly classCode: number;
  readonly isMultifunction?: boolean;
  /** Default 1af4:1100. */
  readonly subsystemVendorId?: number;
  readonly subsystemId?: number;
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
  /** The guest wrote a byte of which it may change something. */
  onWrite: (offset: number, value: number) => void = () => {};
  /** The guest is about to read bytes: registers that show through here are put into `state`. */
  onRead: (offset: number, sizeBytes: number) => void = () => {};
  /** What any `addressOf` says may have changed: by a write, a reset, or a restored state. */
  onDecode: () => void = () => {};
  readonly #windows: PCIWindow[] = [];
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
    this.set(PCI_SUBSYSTEM_VENDOR, 2, identity.subsystemVendorId ?? SUBSYSTEM_VENDOR);
    this.set(PCI_SUBSYSTEM, 2, identity.subsystemId ?? SUBSYSTEM);
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

  /** Base address registers in use, and the expansion ROM's. */
  get windows(): readonly PCIWindow[] {
    return this.#windows;
  }

  /**
   * Declares base address register `index`, 0–5: section 6.2.5.1 "Address Maps".
   * @throws {RangeError} if the size is no power of two, too small or large for the space, or the
   * register is declared already
   */
  declareBaseAddress(
    index: number,
    space: 'memory' | 'io',
    sizeBytes: number,
    isPrefetchable = false,
  ): void {
    const [minBytes, maxBytes] = space === 'io' ? [4, 256] : [16, GIB4 / 2];
    this.#checkWindow(index, BASE_ADDRESS_COUNT - 1, sizeBytes, minBytes, maxBytes);
    const flags = space === 'io' ? BASE_IS_IO : isPrefetchable ? BASE_IS_PREFETCHABLE : 0;
    const offset = PCI_BASE_ADDRESS + 4 * index;
    this.set(offset, 4, flags);
    this.allowWrites(offset, 4, -sizeBytes >>> 0);
    this.#windows.push({ index, space, sizeBytes });
  }

  /** Declares the expansion ROM: section 6.2.5.2. It has index 6. @throws as declareBaseAddress */
  declareROM(sizeBytes: number): void {
    this.#checkWindow(PCI_ROM_INDEX, PCI_ROM_INDEX, sizeBytes, 0x800, 0x100_0000);
    this.allowWrites(PCI_ROM_ADDRESS, 4, (-sizeBytes | ROM_ENABLE) >>> 0);
    this.#windows.push({ index: PCI_ROM_INDEX, space: 'rom', sizeBytes });
  }

  /** Where window `index` lies now, or undefined while it is not decoded, or at an address of 0. */
  addressOf(index: number): number | undefined {
    const window = this.#windows.find((each) => each.index === index);
    if (window === undefined) return undefined;
    const { space, sizeBytes } = window;
    const enable = space === 'io' ? PCI_COMMAND_IO : PCI_COMMAND_MEMORY;
    if ((this.state.bytes[PCI_COMMAND]! & enable) === 0) return undefined;
    const register = this.read32(space === 'rom' ? PCI_ROM_ADDRESS : PCI_BASE_ADDRESS + 4 * index);
    if (space === 'rom' && (register & ROM_ENABLE) === 0) return undefined;
    const address = (register & -sizeBytes) >>> 0;
    // At the very end of the space it is a guest that asks for the size.
    const end = space === 'io' ? PORT_SPACE_BYTES : GIB4;
    return address === 0 || address + sizeBytes >= end ? undefined : address;
  }

  #checkWindow(
    index: number,
    indexMax: number,
    sizeBytes: number,
    minBytes: number,
    maxBytes: number,
  ): void {
    const action = `Cannot declare base address ${index} of PCI function "${this.#schema.name}"`;
    if (!Number.isInteger(index) || index < 0 || index > indexMax)
      throw new RangeError(`${action} as there are 6`);
    if (this.#windows.some((window) => window.index === index))
      throw new RangeError(`${action} as it must be free: it is declared already`);
    if (!Number.isInteger(Math.log2(sizeBytes)) || sizeBytes < minBytes || sizeBytes > maxBytes)
      throw new RangeError(
        `${action} as its size must be a power of two from ${minBytes} to ${maxBytes}: ` +
          `it is ${sizeBytes}`,
      );
  }

  reset(): void {
    this.state.bytes.set(this.#initial);
    this.onDecode();
  }

  save(): SavedSection {
    return this.#schema.save(this.state);
  }

  restore(section: SavedSection): void {
    this.#schema.restore(section, this.state);
    this.onDecode();
  }

  read32(offset: number): number {
    const { bytes } = this.state;
    const [low, high] = [bytes[offset]! | (bytes[offset + 1]! << 8), bytes[offset + 2]!];
    return (low | (high << 16) | (bytes[offset + 3]! << 24)) >>> 0;
  }

  /** Writes as the guest would, lowest byte first. */
  writeBytes(offset: number, sizeBytes: number, value: number): void {
    for (let i = 0; i < sizeBytes; i++) this.writeByte(offset + i, (value >>> (8 * i)) & 0xff);
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
    const isWindow = index >= PCI_BASE_ADDRESS && index < PCI_ROM_ADDRESS + 4;
    if (isWindow || index === PCI_COMMAND) this.onDecode();
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

  /** Those functions with where they are: device number times 8, plus index. */
  get places(): Iterable<[number, PCIFunction]> {
    return [...this.#functions].sort(([a], [b]) => a - b);
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
    target?.onRead(this.#register(offset), sizeBytes);
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
