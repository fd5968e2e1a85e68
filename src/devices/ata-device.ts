// One device on an ATA channel, whatever its commands: task file, data transfers by the processor
// or by bus-master DMA, and the request to the drive's medium. ATA/ATAPI-6 (T13/1410D), sections 7
// "Interface register definitions" and 9 "Protocol".

import {
  ATA_COUNT,
  ATA_DEVICE,
  ATA_ERROR,
  ATA_LBA_HIGH,
  ATA_LBA_LOW,
  ATA_LBA_MID,
  CONTROL_HOB,
  DEVICE_DEV,
  DEVICE_OBSOLETE,
  DIAGNOSTIC_PASSED,
  STATUS_BSY,
  STATUS_DRDY,
  STATUS_DRQ,
  STATUS_DSC,
  STATUS_ERR,
} from './ata-registers.ts';
import { type BlockDone, type BlockError, SECTOR_BYTES } from './block/block-device.ts';
import type { Drive } from './block/drive.ts';
import { defineState, type Savable, type SavedSection, SavedStateError } from './saved-state.ts';

/** Most data that is between medium and guest at a time. */
export const ATA_BUFFER_BYTES = 1 << 16;

/** Who moves the data under way, and where to. */
export const TRANSFER_NONE = 0;
export const TRANSFER_PIO_IN = 1;
export const TRANSFER_PIO_OUT = 2;
export const TRANSFER_DMA_IN = 3;
export const TRANSFER_DMA_OUT = 4;

const IO_NONE = 0;
const IO_READ = 1;
const IO_WRITE = 2;
const IO_FLUSH = 3;
/** Sectors of 512 bytes that 48 bits of LBA can name. */
const SECTOR_MAX = 2 ** 48;

function powerOnState() {
  return {
    features: 0,
    error: 0,
    // The "previous content" of a register lies in bits 8–15: section 7.1, 48-bit addresses.
    count: 0,
    lbaLow: 0,
    lbaMid: 0,
    lbaHigh: 0,
    device: 0,
    control: 0,
    status: 0,
    command: 0,
    isInterruptPending: false,
    transfer: TRANSFER_NONE,
    buffer: new Uint8Array(ATA_BUFFER_BYTES),
    /** Bytes of the buffer that are to be moved, and that have been. */
    transferBytes: 0,
    position: 0,
    /** Size of a DRQ data block, and where the present one ends. */
    blockBytes: 0,
    blockEnd: 0,
    /** The request to the medium that has not come back; asked again after a restore. */
    io: IO_NONE,
    ioSector: 0,
    ioBytes: 0,
  };
}

type DeviceState = ReturnType<typeof powerOnState>;

/**
 * What a kind of device makes of its commands. All are called with BSY and DRQ clear, or BSY set.
 */
export interface ATACommandSet extends Savable {
  /** Signature in LBA Mid and High: section 9.12, "Signature and persistence". */
  readonly signature: { readonly lbaMid: number; readonly lbaHigh: number };
  /** Status after a reset. */
  readonly idleStatus: number;
  execute(command: number): void;
  /** All data of a transfer has been moved. */
  onTransferEnd(): void;
  /** A new DRQ data block begins, not the first of its transfer. */
  onBlock(): void;
  /** The request to the medium came back. */
  onIO(error: BlockError | undefined): void;
  reset(isPowerOn: boolean): void;
}

/** Moves bytes between a buffer and guest memory; returns how many, 0 while it is not started. */
export type DMATransfer = (bytes: Uint8Array, isToMemory: boolean) => number;

export class ATADevice implements Savable {
  // Configuration.
  readonly drive: Drive;
  readonly index: number;
  readonly #schema;
  // Parts.
  #commands: ATACommandSet | undefined;
  // Wiring, set once by the channel.
  onInterrupt: () => void = () => {};
  transferDMA: DMATransfer = () => 0;
  // State, all of it saved.
  readonly state: DeviceState = powerOnState();

  /** @param index 0 or 1, its place on the channel */
  constructor(name: string, index: number, drive: Drive) {
    this.drive = drive;
    this.index = index;
    const u8 = (id: number) => ({ id, type: 'u8', since: 1 }) as const;
    const u16 = (id: number) => ({ id, type: 'u16', since: 1 }) as const;
    const count = (id: number) => ({ id, type: 'count', since: 1 }) as const;
    this.#schema = defineState<DeviceState>(name, 1, {
      features: u16(1),
      error: u8(2),
      count: u16(3),
      lbaLow: u16(4),
      lbaMid: u16(5),
      lbaHigh: u16(6),
      device: u8(7),
      control: u8(8),
      status: u8(9),
      command: u8(10),
      isInterruptPending: { id: 11, type: 'boolean', since: 1 },
      transfer: u8(12),
      buffer: { id: 13, type: 'u8', since: 1, maxLength: ATA_BUFFER_BYTES },
      transferBytes: count(14),
      position: count(15),
      blockBytes: count(16),
      blockEnd: count(17),
      io: u8(18),
      ioSector: count(19),
      ioBytes: count(20),
    });
  }

  get schema() {
    return this.#schema;
  }

  /** The kind of device; set once, before anything else. */
  set commands(commands: ATACommandSet) {
    this.#commands = commands;
    this.reset(true);
  }

  /** The state of the command set has a section of its own. */
  get savables(): readonly Savable[] {
    return [this.#set, this];
  }

  /** Whether its commands are packets; DEVICE RESET is then always taken. */
  get isPacketDevice(): boolean {
    return this.#set.signature.lbaMid !== 0;
  }

  get isBusy(): boolean {
    return (this.state.status & (STATUS_BSY | STATUS_DRQ)) !== 0;
  }

  /** Power-on, SRST or DEVICE RESET. */
  reset(isPowerOn: boolean): void {
    this.drive.cancel();
    const { control, buffer } = this.state;
    Object.assign(this.state, powerOnState(), { buffer: buffer.fill(0) });
    this.state.control = isPowerOn ? 0 : control;
    this.#set.reset(isPowerOn);
    this.putSignature();
    this.state.error = DIAGNOSTIC_PASSED;
    this.state.status = this.#set.idleStatus;
    this.onInterrupt();
  }

  save(): SavedSection {
    const { state } = this;
    const usedBytes = Math.max(
      state.transfer === TRANSFER_NONE ? 0 : state.transferBytes,
      state.io === IO_NONE ? 0 : state.ioBytes,
    );
    return this.#schema.save({ ...state, buffer: state.buffer.subarray(0, usedBytes) });
  }

  restore(section: SavedSection): void {
    const next = powerOnState();
    this.#schema.restore(section, next);
    const isSound =
      next.transferBytes <= ATA_BUFFER_BYTES &&
      next.blockEnd <= next.transferBytes &&
      next.position <= next.transferBytes &&
      next.ioBytes <= ATA_BUFFER_BYTES &&
      next.ioBytes % SECTOR_BYTES === 0 &&
      next.ioSector < SECTOR_MAX;
    if (!isSound)
      throw new SavedStateError('BAD_FIELD', section.name, 'sizes must fit the buffer of 64 KiB');
    this.drive.cancel();
    Object.assign(this.state, next);
    this.#askAgain();
  }

  /** Loads the signature of the device into the task file. */
  putSignature(): void {
    const s = this.state;
    const { lbaMid, lbaHigh } = this.#set.signature;
    Object.assign(s, { count: 1, lbaLow: 1, lbaMid, lbaHigh });
    s.device &= DEVICE_DEV;
  }

  /** A register of the command block, without the effects of reading it. */
  peek(register: number): number {
    const s = this.state;
    const shift = s.control & CONTROL_HOB ? 8 : 0;
    switch (register) {
      case ATA_ERROR:
        return s.error;
      case ATA_COUNT:
        return (s.count >> shift) & 0xff;
      case ATA_LBA_LOW:
        return (s.lbaLow >> shift) & 0xff;
      case ATA_LBA_MID:
        return (s.lbaMid >> shift) & 0xff;
      case ATA_LBA_HIGH:
        return (s.lbaHigh >> shift) & 0xff;
      case ATA_DEVICE:
        return s.device | DEVICE_OBSOLETE;
      default:
        return s.status;
    }
  }

  /** The Status register, which acknowledges the interrupt. */
  readStatus(): number {
    if (this.state.isInterruptPending) {
      this.state.isInterruptPending = false;
      this.onInterrupt();
    }
    return this.state.status;
  }

  /** A register of the command block but Data and Command; what was there becomes "previous". */
  writeRegister(register: number, byte: number): void {
    const s = this.state;
    s.control &= ~CONTROL_HOB;
    const push = (old: number) => ((old << 8) & 0xff00) | byte;
    if (register === ATA_ERROR) s.features = push(s.features);
    else if (register === ATA_COUNT) s.count = push(s.count);
    else if (register === ATA_LBA_LOW) s.lbaLow = push(s.lbaLow);
    else if (register === ATA_LBA_MID) s.lbaMid = push(s.lbaMid);
    else if (register === ATA_LBA_HIGH) s.lbaHigh = push(s.lbaHigh);
    else if (register === ATA_DEVICE) s.device = byte & ~DEVICE_OBSOLETE;
  }

  /** The Command register, with the device idle. */
  execute(command: number): void {
    const s = this.state;
    s.control &= ~CONTROL_HOB;
    s.command = command;
    s.error = 0;
    s.status = this.#set.idleStatus | STATUS_DRDY;
    s.isInterruptPending = false;
    this.onInterrupt();
    this.#set.execute(command);
  }

  // Hot: each word of a PIO transfer.
  /** The Data register, 1, 2 or 4 bytes: what the device does not offer reads as ones. */
  readData(sizeBytes: number): number {
    const s = this.state;
    if (s.transfer !== TRANSFER_PIO_IN) return 0xffff_ffff;
    let value = 0;
    for (let i = 0; i < sizeBytes; i++)
      if (s.position + i < s.blockEnd) value |= s.buffer[s.position + i]! << (8 * i);
    this.#movePIO(sizeBytes);
    return value >>> 0;
  }

  // Hot: each word of a PIO transfer.
  writeData(value: number, sizeBytes: number): void {
    const s = this.state;
    if (s.transfer !== TRANSFER_PIO_OUT) return;
    for (let i = 0; i < sizeBytes; i++)
      if (s.position + i < s.blockEnd) s.buffer[s.position + i] = value >>> (8 * i);
    this.#movePIO(sizeBytes);
  }

  /** Ends a command: no data, no error. */
  complete(): void {
    this.#endTransfer();
    this.state.status = STATUS_DRDY | STATUS_DSC;
    this.interrupt();
  }

  /** Ends a command with bits of the Error register. */
  fail(error: number): void {
    this.#endTransfer();
    this.state.error = error;
    this.state.status = STATUS_DRDY | STATUS_DSC | STATUS_ERR;
    this.interrupt();
  }

  /** Ends a PIO data-in command, whose last block had its interrupt. */
  endQuietly(): void {
    this.#endTransfer();
    this.state.status = STATUS_DRDY | STATUS_DSC;
  }

  interrupt(): void {
    this.state.isInterruptPending = true;
    this.onInterrupt();
  }

  /** Bytes of the buffer go to or come from the Data register, in blocks of `blockBytes`. */
  beginPIO(transfer: number, sizeBytes: number, blockBytes: number, hasInterrupt: boolean): void {
    const s = this.state;
    Object.assign(s, { transfer, transferBytes: sizeBytes, position: 0, blockBytes });
    s.blockEnd = Math.min(blockBytes, sizeBytes);
    s.status = STATUS_DRDY | STATUS_DSC | STATUS_DRQ;
    if (hasInterrupt) this.interrupt();
  }

  /** Bytes of the buffer go to or come from memory, as soon as the bus master is started. */
  beginDMA(transfer: number, sizeBytes: number): void {
    const s = this.state;
    Object.assign(s, { transfer, transferBytes: sizeBytes, position: 0 });
    s.blockEnd = sizeBytes;
    s.status = STATUS_DRDY | STATUS_DSC | STATUS_DRQ;
    this.pumpDMA();
  }

  /** The bus master may have become ready. */
  pumpDMA(): void {
    const s = this.state;
    const isIn = s.transfer === TRANSFER_DMA_IN;
    if (!isIn && s.transfer !== TRANSFER_DMA_OUT) return;
    s.position += this.transferDMA(s.buffer.subarray(s.position, s.transferBytes), isIn);
    if (s.position < s.transferBytes) return;
    this.#endTransfer();
    s.status = STATUS_DRDY | STATUS_BSY;
    this.#set.onTransferEnd();
  }

  /** Asks the medium for `sizeBytes` from `sector` on, into the buffer. */
  beginRead(sector: number, sizeBytes: number): void {
    this.#beginIO(IO_READ, sector, sizeBytes);
  }

  beginWrite(sector: number, sizeBytes: number): void {
    this.#beginIO(IO_WRITE, sector, sizeBytes);
  }

  beginFlush(): void {
    this.#beginIO(IO_FLUSH, 0, 0);
  }

  get #set(): ATACommandSet {
    return this.#commands!;
  }

  #beginIO(io: number, sector: number, sizeBytes: number): void {
    const s = this.state;
    s.status = STATUS_DRDY | STATUS_BSY;
    Object.assign(s, { io, ioSector: sector, ioBytes: sizeBytes });
    this.#askAgain();
  }

  #askAgain(): void {
    const s = this.state;
    const done: BlockDone = (error) => {
      s.io = IO_NONE;
      this.#set.onIO(error);
    };
    const bytes = s.buffer.subarray(0, s.ioBytes);
    if (s.io === IO_READ) this.drive.read(s.ioSector, bytes, done);
    else if (s.io === IO_WRITE) this.drive.write(s.ioSector, bytes, done);
    else if (s.io === IO_FLUSH) this.drive.flush(done);
  }

  #endTransfer(): void {
    Object.assign(this.state, {
      transfer: TRANSFER_NONE,
      transferBytes: 0,
      position: 0,
      blockBytes: 0,
      blockEnd: 0,
    });
  }

  #movePIO(sizeBytes: number): void {
    const s = this.state;
    s.position = Math.min(s.blockEnd, s.position + sizeBytes);
    if (s.position < s.blockEnd) return;
    if (s.position < s.transferBytes) {
      s.blockEnd = Math.min(s.transferBytes, s.position + s.blockBytes);
      this.#set.onBlock();
      this.interrupt();
      return;
    }
    this.#endTransfer();
    s.status = STATUS_DRDY | STATUS_BSY;
    this.#set.onTransferEnd();
  }
}
