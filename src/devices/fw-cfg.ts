// The firmware configuration device: what the machine tells its firmware, by key or by file name, a
// byte at a time or by DMA. QEMU documentation, "QEMU Firmware Configuration (fw_cfg) Device"
// (docs/specs/fw_cfg). What it holds is configuration and cannot be written by the guest.
//
//   DMA request, big-endian:   0 u32 control, key in its upper half   4 u32 length   8 u64 address

import { defineState, type Savable, type SavedSection } from './saved-state.ts';

/** Keys. */
export const FW_CFG_SIGNATURE = 0x00;
export const FW_CFG_ID = 0x01;
export const FW_CFG_RAM_SIZE = 0x03;
export const FW_CFG_NO_GRAPHIC = 0x04;
export const FW_CFG_CPU_COUNT = 0x05;
export const FW_CFG_BOOT_MENU = 0x0e;
export const FW_CFG_CPU_COUNT_MAX = 0x0f;
const FW_CFG_FILE_DIRECTORY = 0x19;
const FW_CFG_FILE_FIRST = 0x20;
/** Bit 14 asked for writes, once. */
const KEY_MASK = 0xbfff;
const SIGNATURE = [0x51, 0x45, 0x4d, 0x55]; // "QEMU"
const ID_TRADITIONAL = 0x01;
const ID_DMA = 0x02;
const NAME_BYTES = 56;
const ENTRY_BYTES = 64;
export const FW_CFG_FILE_COUNT_MAX = 0x40;

const DMA_REQUEST_BYTES = 16;
const DMA_ERROR = 0x01;
const DMA_READ = 0x02;
const DMA_SKIP = 0x04;
const DMA_SELECT = 0x08;
const DMA_WRITE = 0x10;
/** What the DMA address register reads as: "QEMU CFG". */
const DMA_SIGNATURE = [0x5145_4d55, 0x2043_4647] as const;
/** A guest may ask for zeros behind an item's end; more than so many at once is an error. */
const DMA_ZERO_BYTES_MAX = 1 << 20;

/** Guest-physical memory as the DMA interface needs it. */
export interface FwCfgMemory {
  readBytes(gpa: number, target: Uint8Array): void;
  writeBytes(gpa: number, source: Uint8Array): void;
}

function powerOnState() {
  return { key: 0, offset: 0, dmaHigh: 0 };
}

type FwCfgState = ReturnType<typeof powerOnState>;

export class FwCfg implements Savable {
  static readonly schema = defineState<FwCfgState>('fw-cfg', 1, {
    key: { id: 1, type: 'u16', since: 1 },
    offset: { id: 2, type: 'count', since: 1 },
    dmaHigh: { id: 3, type: 'u32', since: 1 },
  });

  // Configuration.
  readonly #items = new Map<number, Uint8Array>();
  readonly #files: string[] = [];
  readonly #memory: FwCfgMemory;
  // State, all of it saved.
  readonly state: FwCfgState = powerOnState();

  constructor(memory: FwCfgMemory) {
    this.#memory = memory;
    this.set(FW_CFG_SIGNATURE, Uint8Array.from(SIGNATURE));
    this.setNumber(FW_CFG_ID, ID_TRADITIONAL | ID_DMA, 4);
    this.#updateDirectory();
  }

  /** The item of a key. */
  set(key: number, bytes: Uint8Array): void {
    this.#items.set(key & KEY_MASK, bytes);
  }

  /** A little-endian number of 2, 4 or 8 bytes. */
  setNumber(key: number, value: number, sizeBytes: 2 | 4 | 8): void {
    this.set(key, littleEndian(value, sizeBytes));
  }

  /**
   * A file of up to 55 characters in its name, found by the guest through the directory.
   * @throws {RangeError} if the name is too long or taken, or there are too many
   */
  addFile(name: string, bytes: Uint8Array): void {
    const action = `Cannot add fw_cfg file "${name}"`;
    if (name === '' || name.length >= NAME_BYTES)
      throw new RangeError(`${action} as its name must have 1 to ${NAME_BYTES - 1} characters`);
    if (this.#files.includes(name)) throw new RangeError(`${action} as the name must be free`);
    if (this.#files.length >= FW_CFG_FILE_COUNT_MAX)
      throw new RangeError(`${action} as there are ${FW_CFG_FILE_COUNT_MAX} files already`);
    this.set(FW_CFG_FILE_FIRST + this.#files.length, bytes);
    this.#files.push(name);
    this.#updateDirectory();
  }

  /** The bytes of a file, or undefined. */
  file(name: string): Uint8Array | undefined {
    const index = this.#files.indexOf(name);
    return index < 0 ? undefined : this.#items.get(FW_CFG_FILE_FIRST + index);
  }

  reset(): void {
    Object.assign(this.state, powerOnState());
  }

  save(): SavedSection {
    return FwCfg.schema.save(this.state);
  }

  restore(section: SavedSection): void {
    FwCfg.schema.restore(section, this.state);
  }

  /** Port 0x510, 16 bits. */
  select(key: number): void {
    this.state.key = key & 0xffff;
    this.state.offset = 0;
  }

  /** Port 0x511: the next byte of the item, zeros behind its end. */
  readData(): number {
    const item = this.#item();
    const { offset } = this.state;
    if (item === undefined || offset >= item.length) return 0;
    this.state.offset = offset + 1;
    return item[offset]!;
  }

  /** DMA address register, `offset` 0 or 4, as the bus has it: big-endian. */
  readDMA(offset: number): number {
    return swap32(DMA_SIGNATURE[offset >> 2 === 0 ? 0 : 1]);
  }

  /** A write to the lower half starts the request. */
  writeDMA(offset: number, value: number): void {
    if (offset >> 2 === 0) {
      this.state.dmaHigh = swap32(value);
      return;
    }
    const gpa = this.state.dmaHigh * 2 ** 32 + swap32(value);
    this.state.dmaHigh = 0;
    if (gpa <= 2 ** 52 - DMA_REQUEST_BYTES) this.#runDMA(gpa);
  }

  #item(): Uint8Array | undefined {
    return this.#items.get(this.state.key & KEY_MASK);
  }

  #runDMA(gpa: number): void {
    const request = new Uint8Array(DMA_REQUEST_BYTES);
    this.#memory.readBytes(gpa, request);
    const view = new DataView(request.buffer);
    const control = view.getUint32(0);
    const length = view.getUint32(4);
    const target = view.getUint32(8) * 2 ** 32 + view.getUint32(12);
    if (control & DMA_SELECT) this.select(control >>> 16);
    let result = 0;
    if (control & DMA_READ) result = this.#readTo(target, length) ? 0 : DMA_ERROR;
    else if (control & DMA_WRITE) result = DMA_ERROR;
    else if (control & DMA_SKIP) this.#skip(length);
    view.setUint32(0, result);
    this.#memory.writeBytes(gpa, request.subarray(0, 4));
  }

  #readTo(target: number, length: number): boolean {
    const item = this.#item() ?? new Uint8Array(0);
    const { offset } = this.state;
    const part = item.subarray(offset, offset + length);
    const zeroBytes = length - part.length;
    if (zeroBytes > DMA_ZERO_BYTES_MAX || target + length > 2 ** 52) return false;
    this.#memory.writeBytes(target, part);
    this.#memory.writeBytes(target + part.length, new Uint8Array(zeroBytes));
    this.state.offset = offset + part.length;
    return true;
  }

  #skip(length: number): void {
    this.state.offset = Math.min(this.#item()?.length ?? 0, this.state.offset + length);
  }

  /** Count, then for each file: size, key, two reserved bytes, name; numbers big-endian. */
  #updateDirectory(): void {
    const bytes = new Uint8Array(4 + this.#files.length * ENTRY_BYTES);
    const view = new DataView(bytes.buffer);
    view.setUint32(0, this.#files.length);
    for (const [index, name] of this.#files.entries()) {
      const at = 4 + index * ENTRY_BYTES;
      const key = FW_CFG_FILE_FIRST + index;
      view.setUint32(at, this.#items.get(key)!.length);
      view.setUint16(at + 4, key);
      for (let i = 0; i < name.length; i++) bytes[at + 8 + i] = name.charCodeAt(i);
    }
    this.set(FW_CFG_FILE_DIRECTORY, bytes);
  }
}

/** A number as little-endian bytes. */
export function littleEndian(value: number, sizeBytes: number): Uint8Array {
  const bytes = new Uint8Array(sizeBytes);
  for (let i = 0; i < sizeBytes; i++) bytes[i] = Math.floor(value / 256 ** i) & 0xff;
  return bytes;
}

function swap32(value: number): number {
  const high = ((value & 0xff) << 24) | ((value & 0xff00) << 8);
  return (high | ((value >>> 8) & 0xff00) | (value >>> 24)) >>> 0;
}
