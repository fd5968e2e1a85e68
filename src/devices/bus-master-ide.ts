// One channel of a bus master for IDE: moves data between a device and the regions of guest memory
// that a table in memory describes. Programming Interface for Bus Master IDE Controller, revision
// 1.0, sections 1.2 "Physical Region Descriptor Table" and 2 "Bus Master IDE Register Description".

import { defineState, type Savable, type SavedSection } from './saved-state.ts';

/** Registers of a channel: command, status and the address of the table. */
export const BUS_MASTER_BYTES = 8;
const COMMAND = 0;
const STATUS = 2;
const TABLE = 4;
const COMMAND_START = 0x01;
/** Set for reads of the device, that is, writes to memory. */
const COMMAND_TO_MEMORY = 0x08;
const STATUS_ACTIVE = 0x01;
const STATUS_ERROR = 0x02;
const STATUS_INTERRUPT = 0x04;
const STATUS_CAPABLE = 0x60;
const DESCRIPTOR_BYTES = 8;
const END_OF_TABLE = 0x8000_0000;
const REGION_BYTES_MAX = 0x1_0000;
const ADDRESS_END = 2 ** 32;

/** Guest memory as a device reaches it; an `AddressSpace` is one. */
export interface DMAMemory {
  readBytes(gpa: number, out: Uint8Array): void;
  writeBytes(gpa: number, bytes: Uint8Array): void;
}

function powerOnState() {
  return {
    command: 0,
    status: 0,
    table: 0,
    /** Where the next descriptor is, and what is left of the present region. */
    nextDescriptor: 0,
    address: 0,
    restBytes: 0,
    isLastRegion: false,
  };
}

type BusMasterState = ReturnType<typeof powerOnState>;

export class BusMasterIDE implements Savable {
  readonly #schema;
  // Wiring, set once by the machine.
  readonly #memory: DMAMemory;
  /** Whether PCI configuration lets the function reach memory. */
  isEnabled: () => boolean = () => true;
  /** It may move data from now on. */
  onReady: () => void = () => {};
  // State, all of it saved.
  readonly state: BusMasterState = powerOnState();

  constructor(name: string, memory: DMAMemory) {
    this.#memory = memory;
    const u8 = (id: number) => ({ id, type: 'u8', since: 1 }) as const;
    const u32 = (id: number) => ({ id, type: 'u32', since: 1 }) as const;
    this.#schema = defineState<BusMasterState>(name, 1, {
      command: u8(1),
      status: u8(2),
      table: u32(3),
      nextDescriptor: u32(4),
      address: u32(5),
      restBytes: u32(6),
      isLastRegion: { id: 7, type: 'boolean', since: 1 },
    });
  }

  get schema() {
    return this.#schema;
  }

  reset(): void {
    Object.assign(this.state, powerOnState());
  }

  save(): SavedSection {
    return this.#schema.save(this.state);
  }

  restore(section: SavedSection): void {
    this.#schema.restore(section, this.state);
  }

  /** Register byte 0–7 of the channel. */
  read(offset: number): number {
    const s = this.state;
    if (offset === COMMAND) return s.command;
    if (offset === STATUS) return s.status | STATUS_CAPABLE;
    if (offset >= TABLE) return (s.table >>> (8 * (offset - TABLE))) & 0xff;
    return 0;
  }

  write(offset: number, value: number): void {
    const s = this.state;
    if (offset === COMMAND) this.#writeCommand(value);
    else if (offset === STATUS) s.status &= ~(value & (STATUS_INTERRUPT | STATUS_ERROR));
    else if (offset >= TABLE) {
      const shift = 8 * (offset - TABLE);
      const table = (s.table & ~(0xff << shift)) | ((value & 0xff) << shift);
      s.table = (table & ~3) >>> 0;
    }
  }

  /** The channel's interrupt line rose. */
  noteInterrupt(): void {
    this.state.status |= STATUS_INTERRUPT;
  }

  /**
   * Moves bytes, from the first on; returns how many: none while it is not started or goes the
   * other way, fewer if the table ends.
   */
  transfer(bytes: Uint8Array, isToMemory: boolean): number {
    const s = this.state;
    const isWayRight = ((s.command & COMMAND_TO_MEMORY) !== 0) === isToMemory;
    if (!(s.status & STATUS_ACTIVE) || !isWayRight || !this.isEnabled()) return 0;
    let done = 0;
    // Each region has two bytes at least, so even a table without an end is left.
    while (done < bytes.length && this.#openRegion()) {
      const size = Math.min(bytes.length - done, s.restBytes, ADDRESS_END - s.address);
      const part = bytes.subarray(done, done + size);
      if (isToMemory) this.#memory.writeBytes(s.address, part);
      else this.#memory.readBytes(s.address, part);
      done += size;
      s.restBytes -= size;
      s.address = (s.address + size) % ADDRESS_END;
    }
    // "Active" falls with the last byte of the last region.
    if (s.restBytes === 0 && s.isLastRegion) s.status &= ~STATUS_ACTIVE;
    return done;
  }

  #writeCommand(value: number): void {
    const s = this.state;
    const wasStarted = (s.command & COMMAND_START) !== 0;
    // The direction must not change while it is active.
    const way = s.status & STATUS_ACTIVE ? s.command : value;
    s.command = (value & COMMAND_START) | (way & COMMAND_TO_MEMORY);
    if (!(value & COMMAND_START)) {
      s.status &= ~STATUS_ACTIVE;
      return;
    }
    if (wasStarted) return;
    s.status |= STATUS_ACTIVE;
    s.nextDescriptor = s.table;
    s.restBytes = 0;
    s.isLastRegion = false;
    this.onReady();
  }

  /** Makes sure that a region is under way; false if the table is over. */
  #openRegion(): boolean {
    const s = this.state;
    if (s.restBytes > 0) return true;
    if (s.isLastRegion) return false;
    const bytes = new Uint8Array(DESCRIPTOR_BYTES);
    this.#memory.readBytes(s.nextDescriptor, bytes);
    const view = new DataView(bytes.buffer);
    const word = view.getUint32(4, true);
    s.address = (view.getUint32(0, true) & ~1) >>> 0;
    s.restBytes = word & 0xfffe || REGION_BYTES_MAX;
    s.isLastRegion = word >= END_OF_TABLE;
    s.nextDescriptor = (s.nextDescriptor + DESCRIPTOR_BYTES) % ADDRESS_END;
    return true;
  }
}
