// Commands of an ATA disk. ATA/ATAPI-6 (T13/1410D), section 8 "Command descriptions"; addresses:
// section 6.2 "Sector addressing".

import {
  ATA_BUFFER_BYTES,
  type ATACommandSet,
  type ATADevice,
  TRANSFER_DMA_IN,
  TRANSFER_DMA_OUT,
  TRANSFER_PIO_IN,
  TRANSFER_PIO_OUT,
} from './ata-device.ts';
import { defaultGeometry, identifyDisk, MULTIPLE_SECTORS_MAX } from './ata-identify.ts';
import * as ata from './ata-registers.ts';
import { type BlockError, SECTOR_BYTES } from './block/block-device.ts';
import { defineState, type SavedSection, SavedStateError } from './saved-state.ts';

const BUFFER_SECTORS = ATA_BUFFER_BYTES / SECTOR_BYTES;
/** CHECK POWER MODE: "Active or Idle". */
const POWER_ACTIVE = 0xff;
const PIO_DEFAULT = 0x08;

type Way = 'pio' | 'multiple' | 'dma' | 'verify';

/** How a command moves sectors. */
interface SectorCommand {
  readonly isWrite: boolean;
  readonly way: Way;
  /** 48-bit address and 16-bit count. */
  readonly isExt: boolean;
}

const sectors = (isWrite: boolean, way: Way, isExt = false): SectorCommand => ({
  isWrite,
  way,
  isExt,
});

const SECTOR_COMMANDS: ReadonlyMap<number, SectorCommand> = new Map([
  [ata.CMD_READ_SECTORS, sectors(false, 'pio')],
  [ata.CMD_READ_SECTORS_NO_RETRY, sectors(false, 'pio')],
  [ata.CMD_READ_SECTORS_EXT, sectors(false, 'pio', true)],
  [ata.CMD_READ_MULTIPLE, sectors(false, 'multiple')],
  [ata.CMD_READ_MULTIPLE_EXT, sectors(false, 'multiple', true)],
  [ata.CMD_READ_DMA, sectors(false, 'dma')],
  [ata.CMD_READ_DMA_NO_RETRY, sectors(false, 'dma')],
  [ata.CMD_READ_DMA_EXT, sectors(false, 'dma', true)],
  [ata.CMD_READ_VERIFY, sectors(false, 'verify')],
  [ata.CMD_READ_VERIFY_NO_RETRY, sectors(false, 'verify')],
  [ata.CMD_READ_VERIFY_EXT, sectors(false, 'verify', true)],
  [ata.CMD_WRITE_SECTORS, sectors(true, 'pio')],
  [ata.CMD_WRITE_SECTORS_NO_RETRY, sectors(true, 'pio')],
  [ata.CMD_WRITE_SECTORS_EXT, sectors(true, 'pio', true)],
  [ata.CMD_WRITE_MULTIPLE, sectors(true, 'multiple')],
  [ata.CMD_WRITE_MULTIPLE_EXT, sectors(true, 'multiple', true)],
  [ata.CMD_WRITE_DMA, sectors(true, 'dma')],
  [ata.CMD_WRITE_DMA_NO_RETRY, sectors(true, 'dma')],
  [ata.CMD_WRITE_DMA_EXT, sectors(true, 'dma', true)],
]);

function powerOnState() {
  return {
    /** Sectors of the command that are not in the buffer, or not yet read from it. */
    nextSector: 0,
    sectorsLeft: 0,
    /** Of what is in the buffer or on its way. */
    chunkSectors: 0,
    /** With the write cache off, the last request of a write is a flush. */
    isLastFlush: false,
    heads: 16,
    sectors: 63,
    multipleSectors: 0,
    transferMode: PIO_DEFAULT,
    isWriteCacheOn: true,
    isLookAheadOn: true,
  };
}

type DiskState = ReturnType<typeof powerOnState>;

export class ATADisk implements ATACommandSet {
  readonly signature = { lbaMid: 0, lbaHigh: 0 };
  readonly idleStatus = ata.STATUS_DRDY | ata.STATUS_DSC;
  readonly #schema;
  readonly #device: ATADevice;
  readonly #serial: string;
  // State, all of it saved.
  readonly state: DiskState = powerOnState();

  constructor(name: string, device: ATADevice, serial: string) {
    this.#device = device;
    this.#serial = serial;
    const count = (id: number) => ({ id, type: 'count', since: 1 }) as const;
    const u8 = (id: number) => ({ id, type: 'u8', since: 1 }) as const;
    this.#schema = defineState<DiskState>(name, 1, {
      nextSector: count(1),
      sectorsLeft: count(2),
      chunkSectors: count(3),
      heads: u8(4),
      sectors: u8(5),
      multipleSectors: u8(6),
      transferMode: u8(7),
      isWriteCacheOn: { id: 8, type: 'boolean', since: 1 },
      isLookAheadOn: { id: 9, type: 'boolean', since: 1 },
      isLastFlush: { id: 10, type: 'boolean', since: 1 },
    });
    device.commands = this;
  }

  get schema() {
    return this.#schema;
  }

  reset(isPowerOn: boolean): void {
    const { heads, sectors: perTrack } = defaultGeometry(this.#device.drive.sectorCount);
    if (isPowerOn) Object.assign(this.state, powerOnState(), { heads, sectors: perTrack });
    else {
      const idle = { nextSector: 0, sectorsLeft: 0, chunkSectors: 0, isLastFlush: false };
      Object.assign(this.state, idle);
    }
  }

  save(): SavedSection {
    return this.#schema.save(this.state);
  }

  restore(section: SavedSection): void {
    const next = powerOnState();
    this.#schema.restore(section, next);
    const isSound =
      next.heads > 0 &&
      next.sectors > 0 &&
      next.chunkSectors <= BUFFER_SECTORS &&
      next.multipleSectors <= MULTIPLE_SECTORS_MAX;
    if (!isSound)
      throw new SavedStateError('BAD_FIELD', section.name, 'geometry and sizes must be possible');
    Object.assign(this.state, next);
  }

  execute(command: number): void {
    const sectorCommand = SECTOR_COMMANDS.get(command);
    if (sectorCommand !== undefined) this.#beginSectors(sectorCommand);
    else this.#executePlain(command);
  }

  onTransferEnd(): void {
    const s = this.state;
    const command = this.#command;
    if (command === undefined)
      this.#device.endQuietly(); // IDENTIFY DEVICE.
    else if (command.isWrite) this.#device.beginWrite(s.nextSector, s.chunkSectors * SECTOR_BYTES);
    else if (s.sectorsLeft > 0) this.#readChunk();
    else if (command.way === 'dma') this.#device.complete();
    else this.#device.endQuietly();
  }

  onBlock(): void {}

  onIO(error: BlockError | undefined): void {
    const s = this.state;
    const command = this.#command;
    if (error !== undefined) {
      this.#failIO(command, error);
      return;
    }
    if (command === undefined) {
      this.#device.complete(); // FLUSH CACHE.
      return;
    }
    if (s.isLastFlush) {
      s.isLastFlush = false;
      this.#device.complete();
      return;
    }
    s.nextSector += s.chunkSectors;
    s.sectorsLeft = Math.max(0, s.sectorsLeft - s.chunkSectors);
    if (command.isWrite) {
      if (s.sectorsLeft > 0) this.#takeChunk(false);
      else if (s.isWriteCacheOn) this.#device.complete();
      else {
        s.isLastFlush = true;
        this.#device.beginFlush();
      }
    } else if (command.way === 'verify') {
      if (s.sectorsLeft > 0) this.#readChunk();
      else this.#device.complete();
    } else {
      const sizeBytes = s.chunkSectors * SECTOR_BYTES;
      if (command.way === 'dma') this.#device.beginDMA(TRANSFER_DMA_IN, sizeBytes);
      else this.#device.beginPIO(TRANSFER_PIO_IN, sizeBytes, this.#blockBytes(command), true);
    }
  }

  get #command(): SectorCommand | undefined {
    return SECTOR_COMMANDS.get(this.#device.state.command);
  }

  #failIO(command: SectorCommand | undefined, error: BlockError): void {
    if (command !== undefined) this.#putAddress(this.state.nextSector, command.isExt);
    // A sector that cannot be read is "uncorrectable"; a write that the host refuses is aborted.
    if (command !== undefined && !command.isWrite) this.#device.fail(ata.ERROR_UNC);
    else this.#device.fail(ata.ERROR_ABRT | (error === 'EROFS' ? ata.ERROR_WP : 0));
  }

  #beginSectors(command: SectorCommand): void {
    const s = this.state;
    const device = this.#device.state;
    if (command.way === 'multiple' && s.multipleSectors === 0) {
      this.#device.fail(ata.ERROR_ABRT);
      return;
    }
    const count = command.isExt ? device.count || 0x1_0000 : device.count & 0xff || 0x100;
    const sector = this.#address(command.isExt);
    if (sector < 0 || sector + count > this.#device.drive.sectorCount) {
      this.#device.fail(ata.ERROR_IDNF);
      return;
    }
    s.nextSector = sector;
    s.sectorsLeft = count;
    s.isLastFlush = false;
    if (!command.isWrite) this.#readChunk();
    else if (this.#device.drive.isReadOnly) this.#device.fail(ata.ERROR_WP | ata.ERROR_ABRT);
    else this.#takeChunk(true);
  }

  #readChunk(): void {
    const s = this.state;
    s.chunkSectors = Math.min(s.sectorsLeft, BUFFER_SECTORS);
    this.#device.beginRead(s.nextSector, s.chunkSectors * SECTOR_BYTES);
  }

  /** Has the guest give the next sectors; the first block of a PIO command has no interrupt. */
  #takeChunk(isFirst: boolean): void {
    const s = this.state;
    const command = this.#command!;
    s.chunkSectors = Math.min(s.sectorsLeft, BUFFER_SECTORS);
    const sizeBytes = s.chunkSectors * SECTOR_BYTES;
    if (command.way === 'dma') this.#device.beginDMA(TRANSFER_DMA_OUT, sizeBytes);
    else this.#device.beginPIO(TRANSFER_PIO_OUT, sizeBytes, this.#blockBytes(command), !isFirst);
  }

  #blockBytes(command: SectorCommand): number {
    return SECTOR_BYTES * (command.way === 'multiple' ? this.state.multipleSectors : 1);
  }

  /** Sector that the task file names, or −1 for one that no track has. */
  #address(isExt: boolean): number {
    const { lbaLow, lbaMid, lbaHigh, device } = this.#device.state;
    const low24 = (lbaLow & 0xff) | ((lbaMid & 0xff) << 8) | ((lbaHigh & 0xff) << 16);
    if (isExt)
      return low24 + 2 ** 24 * ((lbaLow >> 8) | (lbaMid & 0xff00)) + 2 ** 40 * (lbaHigh >> 8);
    const head = device & ata.DEVICE_HEAD;
    if (device & ata.DEVICE_LBA) return low24 + 2 ** 24 * head;
    const number = lbaLow & 0xff;
    const { heads, sectors: perTrack } = this.state;
    if (number === 0 || number > perTrack || head >= heads) return -1;
    return ((low24 >>> 8) * heads + head) * perTrack + number - 1;
  }

  /** Puts a sector into the task file, as the command's addresses are made. */
  #putAddress(sector: number, isExt: boolean): void {
    const device = this.#device.state;
    const isLBA = isExt || (device.device & ata.DEVICE_LBA) !== 0;
    const { heads, sectors: perTrack } = this.state;
    const track = Math.floor(sector / perTrack);
    const value = isLBA ? sector : Math.floor(track / heads) * 256 + (sector % perTrack) + 1;
    const byte = (index: number) => Math.floor(value / 256 ** index) & 0xff;
    device.lbaLow = byte(0) | (isExt ? byte(3) << 8 : 0);
    device.lbaMid = byte(1) | (isExt ? byte(4) << 8 : 0);
    device.lbaHigh = byte(2) | (isExt ? byte(5) << 8 : 0);
    if (!isExt)
      device.device =
        (device.device & ~ata.DEVICE_HEAD) | ((isLBA ? byte(3) : track % heads) & ata.DEVICE_HEAD);
  }

  #executePlain(command: number): void {
    const device = this.#device;
    if (command >= ata.CMD_RECALIBRATE && command <= ata.CMD_RECALIBRATE + 0x0f) {
      device.complete();
      return;
    }
    switch (command) {
      case ata.CMD_IDENTIFY:
        this.#identify();
        return;
      case ata.CMD_SEEK:
        if (this.#address(false) < 0) device.fail(ata.ERROR_IDNF);
        else device.complete();
        return;
      case ata.CMD_FLUSH_CACHE:
      case ata.CMD_FLUSH_CACHE_EXT:
        device.beginFlush();
        return;
      case ata.CMD_CHECK_POWER:
        device.state.count = POWER_ACTIVE;
        device.complete();
        return;
      case ata.CMD_IDLE:
      case ata.CMD_IDLE_IMMEDIATE:
      case ata.CMD_STANDBY:
      case ata.CMD_STANDBY_IMMEDIATE:
      case ata.CMD_SLEEP:
        device.complete();
        return;
      case ata.CMD_INITIALIZE_PARAMETERS:
        this.#initializeParameters();
        return;
      case ata.CMD_SET_MULTIPLE:
        this.#setMultiple();
        return;
      case ata.CMD_SET_FEATURES:
        this.#setFeatures();
        return;
      default: // Also NOP, which always ends so.
        device.fail(ata.ERROR_ABRT);
    }
  }

  #identify(): void {
    const device = this.#device;
    const { sectorCount } = device.drive;
    device.state.buffer.set(identifyDisk({ ...this.state, sectorCount, serial: this.#serial }));
    device.beginPIO(TRANSFER_PIO_IN, SECTOR_BYTES, SECTOR_BYTES, true);
  }

  #initializeParameters(): void {
    const { count, device } = this.#device.state;
    if ((count & 0xff) === 0) {
      this.#device.fail(ata.ERROR_ABRT);
      return;
    }
    this.state.sectors = count & 0xff;
    this.state.heads = (device & ata.DEVICE_HEAD) + 1;
    this.#device.complete();
  }

  #setMultiple(): void {
    const count = this.#device.state.count & 0xff;
    // A power of two, or 0 for "off".
    if (count > MULTIPLE_SECTORS_MAX || (count & (count - 1)) !== 0) {
      this.#device.fail(ata.ERROR_ABRT);
      return;
    }
    this.state.multipleSectors = count;
    this.#device.complete();
  }

  #setFeatures(): void {
    const s = this.state;
    const { features, count } = this.#device.state;
    switch (features & 0xff) {
      case ata.FEATURE_WRITE_CACHE_ON:
        s.isWriteCacheOn = true;
        break;
      case ata.FEATURE_WRITE_CACHE_OFF:
        s.isWriteCacheOn = false;
        break;
      case ata.FEATURE_LOOK_AHEAD_ON:
        s.isLookAheadOn = true;
        break;
      case ata.FEATURE_LOOK_AHEAD_OFF:
        s.isLookAheadOn = false;
        break;
      case ata.FEATURE_REVERT_ON:
      case ata.FEATURE_REVERT_OFF:
        break;
      case ata.FEATURE_TRANSFER_MODE:
        if (!isTransferMode(count & 0xff)) {
          this.#device.fail(ata.ERROR_ABRT);
          return;
        }
        s.transferMode = count & 0xff;
        break;
      default:
        this.#device.fail(ata.ERROR_ABRT);
        return;
    }
    this.#device.complete();
  }
}

/** Values of "Set transfer mode", section 8.46.3: PIO, multiword DMA 0–2, Ultra DMA 0–5. */
export function isTransferMode(mode: number): boolean {
  const kind = mode >> 3;
  const number = mode & 7;
  if (kind === 0) return number <= 1;
  if (kind === 1) return number <= 4;
  if (kind === 4) return number <= 2;
  return kind === 8 && number <= 5;
}
