// An ATAPI CD-ROM drive: ATA commands of a packet device (ATA/ATAPI-6, T13/1410D, sections 8.15 to
// 8.27 and 9.8 "PACKET command protocol") and the packets of SFF-8020i and MMC-3.

import {
  ATA_BUFFER_BYTES,
  type ATACommandSet,
  type ATADevice,
  TRANSFER_DMA_IN,
  TRANSFER_NONE,
  TRANSFER_PIO_IN,
  TRANSFER_PIO_OUT,
} from './ata-device.ts';
import { isTransferMode } from './ata-disk.ts';
import { identifyCDROM } from './ata-identify.ts';
import * as ata from './ata-registers.ts';
import * as scsi from './atapi-scsi.ts';
import { type BlockError, SECTOR_BYTES } from './block/block-device.ts';
import { defineState, type SavedSection, SavedStateError } from './saved-state.ts';

const PACKET_BYTES = 12;
const BUFFER_SECTORS = ATA_BUFFER_BYTES / scsi.CD_SECTOR_BYTES;
const BLOCKS_PER_SECTOR = scsi.CD_SECTOR_BYTES / SECTOR_BYTES;
const FEATURE_DMA = 0x01;
const BYTE_COUNT_MAX = 0xfffe;
const PIO_DEFAULT = 0x08;
/** Media events of GET EVENT STATUS NOTIFICATION, MMC-3 section 6.7.2.4. */
const EVENT_NONE = 0;
const EVENT_EJECT_REQUEST = 1;
const EVENT_NEW_MEDIA = 2;
const EVENT_MEDIA_REMOVAL = 3;

function powerOnState() {
  return {
    packet: new Uint8Array(PACKET_BYTES),
    /** A packet is awaited, or data of a packet is under way by DMA. */
    isAwaitingPacket: false,
    isDMA: false,
    senseKey: scsi.SENSE_NONE,
    asc: scsi.ASC_NONE,
    /** A unit attention that the host has not been told of: its sense code, or 0. */
    attention: scsi.ASC_POWER_ON,
    mediaEvent: EVENT_NONE,
    isLocked: false,
    isTrayOpen: false,
    nextSector: 0,
    sectorsLeft: 0,
    chunkSectors: 0,
    transferMode: PIO_DEFAULT,
  };
}

type CDROMState = ReturnType<typeof powerOnState>;

export class ATAPICDROM implements ATACommandSet {
  readonly signature = { lbaMid: 0x14, lbaHigh: 0xeb };
  readonly idleStatus = 0;
  readonly #schema;
  readonly #device: ATADevice;
  readonly #serial: string;
  // State, all of it saved.
  readonly state: CDROMState = powerOnState();

  constructor(name: string, device: ATADevice, serial: string) {
    this.#device = device;
    this.#serial = serial;
    const flag = (id: number) => ({ id, type: 'boolean', since: 1 }) as const;
    const u8 = (id: number) => ({ id, type: 'u8', since: 1 }) as const;
    const u16 = (id: number) => ({ id, type: 'u16', since: 1 }) as const;
    const count = (id: number) => ({ id, type: 'count', since: 1 }) as const;
    this.#schema = defineState<CDROMState>(name, 1, {
      packet: { id: 1, type: 'u8', since: 1, length: PACKET_BYTES },
      isAwaitingPacket: flag(2),
      isDMA: flag(3),
      senseKey: u8(4),
      asc: u16(5),
      attention: u16(6),
      mediaEvent: u8(7),
      isLocked: flag(8),
      isTrayOpen: flag(9),
      nextSector: count(10),
      sectorsLeft: count(11),
      chunkSectors: count(12),
      transferMode: u8(13),
    });
    device.commands = this;
    device.drive.isLocked = () => this.state.isLocked;
    device.drive.onMediumChange = () => this.#onMediumChange();
  }

  get schema() {
    return this.#schema;
  }

  reset(isPowerOn: boolean): void {
    const { transferMode, mediaEvent, isTrayOpen } = this.state;
    Object.assign(this.state, powerOnState(), { mediaEvent, isTrayOpen });
    if (!isPowerOn) this.state.transferMode = transferMode;
  }

  save(): SavedSection {
    return this.#schema.save(this.state);
  }

  restore(section: SavedSection): void {
    const next = powerOnState();
    this.#schema.restore(section, next);
    if (next.chunkSectors > BUFFER_SECTORS)
      throw new SavedStateError('BAD_FIELD', section.name, 'sectors must fit the buffer');
    Object.assign(this.state, next);
  }

  execute(command: number): void {
    const device = this.#device;
    switch (command) {
      case ata.CMD_PACKET:
        this.#awaitPacket();
        return;
      case ata.CMD_IDENTIFY_PACKET:
        device.state.buffer.set(identifyCDROM(this.#serial, this.state.transferMode));
        device.beginPIO(TRANSFER_PIO_IN, SECTOR_BYTES, SECTOR_BYTES, true);
        return;
      case ata.CMD_IDENTIFY:
      case ata.CMD_READ_SECTORS:
        // How hosts find out that this is a packet device.
        device.putSignature();
        device.fail(ata.ERROR_ABRT);
        return;
      case ata.CMD_SET_FEATURES:
        this.#setFeatures();
        return;
      case ata.CMD_CHECK_POWER:
        device.state.count = 0xff;
        device.complete();
        return;
      case ata.CMD_IDLE:
      case ata.CMD_IDLE_IMMEDIATE:
      case ata.CMD_STANDBY:
      case ata.CMD_STANDBY_IMMEDIATE:
      case ata.CMD_SLEEP:
        device.complete();
        return;
      default: // Also NOP, which always ends so.
        device.fail(ata.ERROR_ABRT);
    }
  }

  onTransferEnd(): void {
    const s = this.state;
    if (s.isAwaitingPacket) {
      s.isAwaitingPacket = false;
      s.packet.set(this.#device.state.buffer.subarray(0, PACKET_BYTES));
      this.#executePacket();
    } else if (this.#device.state.command !== ata.CMD_PACKET) this.#device.endQuietly();
    else if (s.sectorsLeft > 0) this.#readChunk();
    else this.#succeed();
  }

  onBlock(): void {
    this.#putByteCount();
  }

  onIO(error: BlockError | undefined): void {
    const s = this.state;
    if (error !== undefined) {
      s.sectorsLeft = 0;
      if (error === 'ENOMEDIUM') this.#fail(scsi.SENSE_NOT_READY, scsi.ASC_NO_MEDIUM);
      else this.#fail(scsi.SENSE_MEDIUM_ERROR, scsi.ASC_UNRECOVERED_READ_ERROR);
      return;
    }
    s.nextSector += s.chunkSectors;
    s.sectorsLeft = Math.max(0, s.sectorsLeft - s.chunkSectors);
    this.#sendBuffer(s.chunkSectors * scsi.CD_SECTOR_BYTES);
  }

  #onMediumChange(): void {
    const s = this.state;
    const hasMedium = this.#device.drive.medium !== undefined;
    s.isTrayOpen = false;
    s.attention = hasMedium ? scsi.ASC_MEDIUM_CHANGED : 0;
    s.mediaEvent = hasMedium ? EVENT_NEW_MEDIA : EVENT_MEDIA_REMOVAL;
    if (!hasMedium) s.isLocked = false;
  }

  get #hasMedium(): boolean {
    return this.#device.drive.medium !== undefined && !this.state.isTrayOpen;
  }

  get #sectorCount(): number {
    return Math.floor(this.#device.drive.sectorCount / BLOCKS_PER_SECTOR);
  }

  #setFeatures(): void {
    const { features, count } = this.#device.state;
    const isMode = (features & 0xff) === ata.FEATURE_TRANSFER_MODE;
    if (isMode && isTransferMode(count & 0xff)) {
      this.state.transferMode = count & 0xff;
      this.#device.complete();
    } else this.#device.fail(ata.ERROR_ABRT);
  }

  #awaitPacket(): void {
    const s = this.state;
    s.isAwaitingPacket = true;
    s.isDMA = (this.#device.state.features & FEATURE_DMA) !== 0;
    s.sectorsLeft = 0;
    // No interrupt: IDENTIFY says "DRQ within 50 µs".
    this.#device.beginPIO(TRANSFER_PIO_OUT, PACKET_BYTES, PACKET_BYTES, false);
    this.#device.state.count = ata.REASON_CD;
  }

  #executePacket(): void {
    const s = this.state;
    const operation = s.packet[0]!;
    const row = PACKETS.get(operation);
    // Sense data lives until the next command but the one that asks for it.
    if (operation !== scsi.OP_REQUEST_SENSE) {
      s.senseKey = scsi.SENSE_NONE;
      s.asc = scsi.ASC_NONE;
    }
    // A unit attention is told once, before anything else but these: SPC-2 section 5.6.1.
    if (s.attention !== 0 && row?.isAlways !== true) {
      const { attention } = s;
      s.attention = 0;
      this.#fail(scsi.SENSE_UNIT_ATTENTION, attention);
    } else if (row === undefined) this.#fail(scsi.SENSE_ILLEGAL_REQUEST, scsi.ASC_INVALID_COMMAND);
    else if (row.needsMedium && !this.#hasMedium)
      this.#fail(scsi.SENSE_NOT_READY, scsi.ASC_NO_MEDIUM);
    else this.#run(operation);
  }

  #run(operation: number): void {
    const s = this.state;
    const packet = new DataView(s.packet.buffer, s.packet.byteOffset, PACKET_BYTES);
    switch (operation) {
      case scsi.OP_REQUEST_SENSE:
        this.#requestSense(packet.getUint8(4));
        return;
      case scsi.OP_INQUIRY:
        this.#reply(scsi.inquiryData(), packet.getUint16(3));
        return;
      case scsi.OP_READ_CAPACITY: {
        const reply = new scsi.Reply(8).set32(0, this.#sectorCount - 1);
        this.#reply(reply.set32(4, scsi.CD_SECTOR_BYTES).bytes, 8);
        return;
      }
      case scsi.OP_READ_10:
        this.#read(packet.getUint32(2), packet.getUint16(7));
        return;
      case scsi.OP_READ_12:
        this.#read(packet.getUint32(2), packet.getUint32(6));
        return;
      case scsi.OP_READ_CD:
        this.#readCD(packet);
        return;
      case scsi.OP_SEEK_10:
        if (packet.getUint32(2) < this.#sectorCount) this.#succeed();
        else this.#fail(scsi.SENSE_ILLEGAL_REQUEST, scsi.ASC_LBA_OUT_OF_RANGE);
        return;
      case scsi.OP_READ_TOC:
        this.#readTOC(packet);
        return;
      case scsi.OP_GET_CONFIGURATION:
        this.#getConfiguration(packet);
        return;
      case scsi.OP_GET_EVENT_STATUS:
        this.#getEventStatus(packet);
        return;
      case scsi.OP_READ_DISC_INFORMATION:
        this.#reply(scsi.discInformation(), packet.getUint16(7));
        return;
      case scsi.OP_READ_TRACK_INFORMATION:
        this.#reply(scsi.trackInformation(this.#sectorCount), packet.getUint16(7));
        return;
      case scsi.OP_MODE_SENSE_10:
        this.#modeSense(packet);
        return;
      case scsi.OP_MECHANISM_STATUS:
        this.#reply(new scsi.Reply(8).bytes, packet.getUint16(8));
        return;
      case scsi.OP_PREVENT_ALLOW:
        s.isLocked = (packet.getUint8(4) & 1) !== 0;
        this.#succeed();
        return;
      case scsi.OP_START_STOP:
        this.#startStop(packet.getUint8(4));
        return;
      default: // TEST UNIT READY, SYNCHRONIZE CACHE, SET CD SPEED: nothing to do.
        this.#succeed();
    }
  }

  #requestSense(allocated: number): void {
    const s = this.state;
    let { senseKey, asc } = s;
    if (senseKey === scsi.SENSE_NONE && s.attention !== 0) {
      senseKey = scsi.SENSE_UNIT_ATTENTION;
      asc = s.attention;
      s.attention = 0;
    }
    s.senseKey = scsi.SENSE_NONE;
    s.asc = scsi.ASC_NONE;
    this.#reply(scsi.senseData(senseKey, asc), allocated);
  }

  #read(sector: number, count: number): void {
    const s = this.state;
    if (sector + count > this.#sectorCount) {
      this.#fail(scsi.SENSE_ILLEGAL_REQUEST, scsi.ASC_LBA_OUT_OF_RANGE);
      return;
    }
    if (count === 0) {
      this.#succeed();
      return;
    }
    s.nextSector = sector;
    s.sectorsLeft = count;
    this.#readChunk();
  }

  /** READ CD, MMC-3 section 6.19: user data of data sectors only. */
  #readCD(packet: DataView): void {
    const USER_DATA = 0x10;
    const fields = packet.getUint8(9) & 0xf8;
    const count = packet.getUint32(5) & 0xff_ffff;
    if (fields === 0) this.#succeed();
    else if (fields === USER_DATA) this.#read(packet.getUint32(2), count);
    else this.#fail(scsi.SENSE_ILLEGAL_REQUEST, scsi.ASC_INVALID_FIELD);
  }

  #readTOC(packet: DataView): void {
    const isMSF = (packet.getUint8(1) & 2) !== 0;
    // Drives of SFF-8020i have the format in the last byte.
    const format = packet.getUint8(2) & 0xf || packet.getUint8(9) >> 6;
    const toc = scsi.tocData(format, packet.getUint8(6), this.#sectorCount, isMSF);
    if (toc === undefined) this.#fail(scsi.SENSE_ILLEGAL_REQUEST, scsi.ASC_INVALID_FIELD);
    else this.#reply(toc, packet.getUint16(7));
  }

  #getConfiguration(packet: DataView): void {
    const requested = packet.getUint8(1) & 3;
    if (requested === 3) {
      this.#fail(scsi.SENSE_ILLEGAL_REQUEST, scsi.ASC_INVALID_FIELD);
      return;
    }
    const first = packet.getUint16(2);
    const data = scsi.configurationData(first, requested === 2, this.#hasMedium);
    this.#reply(data, packet.getUint16(7));
  }

  #getEventStatus(packet: DataView): void {
    const MEDIA_CLASS = 4;
    const isPolled = (packet.getUint8(1) & 1) !== 0;
    if (!isPolled) {
      this.#fail(scsi.SENSE_ILLEGAL_REQUEST, scsi.ASC_INVALID_FIELD);
      return;
    }
    if ((packet.getUint8(4) & (1 << MEDIA_CLASS)) === 0) {
      this.#reply(new scsi.Reply(4).set16(0, 2).set(2, 0x80, 1 << MEDIA_CLASS).bytes, 8);
      return;
    }
    const { mediaEvent, isTrayOpen } = this.state;
    this.state.mediaEvent = EVENT_NONE;
    const status = (this.#hasMedium ? 2 : 0) | (isTrayOpen ? 1 : 0);
    const reply = new scsi.Reply(8).set16(0, 6).set(2, MEDIA_CLASS, 1 << MEDIA_CLASS);
    this.#reply(reply.set(4, mediaEvent, status).bytes, packet.getUint16(7));
  }

  #modeSense(packet: DataView): void {
    const SAVED_VALUES = 3;
    const control = packet.getUint8(2);
    const data =
      control >> 6 === SAVED_VALUES
        ? undefined
        : scsi.modeSenseData(control & 0x3f, this.state.isLocked);
    if (data === undefined) this.#fail(scsi.SENSE_ILLEGAL_REQUEST, scsi.ASC_INVALID_FIELD);
    else this.#reply(data, packet.getUint16(7));
  }

  /** LoEj and Start bits: SFF-8020i section 10.8.25. The disc stays in the open tray. */
  #startStop(bits: number): void {
    const s = this.state;
    const isEject = (bits & 3) === 2;
    if (isEject && s.isLocked) {
      this.#fail(scsi.SENSE_ILLEGAL_REQUEST, scsi.ASC_REMOVAL_PREVENTED);
      return;
    }
    if (isEject && !s.isTrayOpen) {
      s.isTrayOpen = true;
      s.mediaEvent = EVENT_EJECT_REQUEST;
    } else if ((bits & 3) === 3 && s.isTrayOpen) {
      s.isTrayOpen = false;
      const hasDisc = this.#device.drive.medium !== undefined;
      s.mediaEvent = hasDisc ? EVENT_NEW_MEDIA : EVENT_NONE;
      if (hasDisc) s.attention = scsi.ASC_MEDIUM_CHANGED;
    }
    this.#succeed();
  }

  #readChunk(): void {
    const s = this.state;
    s.chunkSectors = Math.min(s.sectorsLeft, BUFFER_SECTORS);
    const sizeBytes = s.chunkSectors * scsi.CD_SECTOR_BYTES;
    this.#device.beginRead(s.nextSector * BLOCKS_PER_SECTOR, sizeBytes);
  }

  #reply(data: Uint8Array, allocatedBytes: number): void {
    const sizeBytes = Math.min(data.length, allocatedBytes);
    this.#device.state.buffer.set(data.subarray(0, sizeBytes));
    if (sizeBytes === 0) this.#succeed();
    else this.#sendBuffer(sizeBytes);
  }

  /** Data of a packet goes to the host, in pieces of the byte count that the host set. */
  #sendBuffer(sizeBytes: number): void {
    const device = this.#device;
    if (this.state.isDMA) {
      device.state.count = ata.REASON_IO;
      device.beginDMA(TRANSFER_DMA_IN, sizeBytes);
      return;
    }
    const { lbaMid, lbaHigh } = device.state;
    const limit = (lbaMid & 0xff) | ((lbaHigh & 0xff) << 8);
    // An odd limit, but for the last piece, means one byte less; 0 is what nobody should ask.
    const blockBytes = Math.min(limit, BYTE_COUNT_MAX) & ~1 || BYTE_COUNT_MAX;
    device.beginPIO(TRANSFER_PIO_IN, sizeBytes, blockBytes, false);
    this.#putByteCount();
    device.interrupt();
  }

  /** Tells the host how much the DRQ block under way holds. */
  #putByteCount(): void {
    const s = this.#device.state;
    if (s.command !== ata.CMD_PACKET || s.transfer === TRANSFER_NONE) return;
    const sizeBytes = s.blockEnd - s.position;
    s.count = ata.REASON_IO;
    s.lbaMid = sizeBytes & 0xff;
    s.lbaHigh = sizeBytes >> 8;
  }

  #succeed(): void {
    this.#device.state.count = ata.REASON_IO | ata.REASON_CD;
    this.#device.complete();
  }

  #fail(key: number, asc: number): void {
    this.state.senseKey = key;
    this.state.asc = asc;
    this.#device.state.count = ata.REASON_IO | ata.REASON_CD;
    this.#device.fail((key << 4) | ata.ERROR_ABRT);
  }
}

/** Which packets are taken with a unit attention waiting, and which need a medium. */
const ALWAYS = { isAlways: true, needsMedium: false };
const PLAIN = { isAlways: false, needsMedium: false };
const MEDIUM = { isAlways: false, needsMedium: true };
const PACKETS: ReadonlyMap<number, typeof ALWAYS> = new Map([
  [scsi.OP_TEST_UNIT_READY, MEDIUM],
  [scsi.OP_REQUEST_SENSE, ALWAYS],
  [scsi.OP_INQUIRY, ALWAYS],
  [scsi.OP_START_STOP, PLAIN],
  [scsi.OP_PREVENT_ALLOW, PLAIN],
  [scsi.OP_READ_CAPACITY, MEDIUM],
  [scsi.OP_READ_10, MEDIUM],
  [scsi.OP_SEEK_10, MEDIUM],
  [scsi.OP_SYNCHRONIZE_CACHE, PLAIN],
  [scsi.OP_READ_TOC, MEDIUM],
  [scsi.OP_GET_CONFIGURATION, ALWAYS],
  [scsi.OP_GET_EVENT_STATUS, ALWAYS],
  [scsi.OP_READ_DISC_INFORMATION, MEDIUM],
  [scsi.OP_READ_TRACK_INFORMATION, MEDIUM],
  [scsi.OP_MODE_SENSE_10, PLAIN],
  [scsi.OP_READ_12, MEDIUM],
  [scsi.OP_SET_CD_SPEED, PLAIN],
  [scsi.OP_MECHANISM_STATUS, PLAIN],
  [scsi.OP_READ_CD, MEDIUM],
]);
