// Floppy disk controller 82077AA with its drives, in a PC/AT. Intel 82077AA data sheet (290166):
// sections 2 "Registers", 4 "Controller Phases", 5 "Command Set/Descriptions", 6 "Status Register
// Encoding". Heads need no time; data comes when the host has it.

import { type IRQLine, NO_LINE } from '../base/device.ts';
import { type BlockDone, type BlockError, SECTOR_BYTES } from './block/block-device.ts';
import type { Drive } from './block/drive.ts';
import type { DMAResult } from './dma8237.ts';
import { type FloppyGeometry, floppyGeometry } from './floppy-media.ts';
import * as fdc from './floppy-registers.ts';
import {
  FLOPPY_SCHEMA,
  type FloppyState,
  IO_NONE,
  IO_READ,
  IO_WRITE,
  isFloppyStateSound,
  powerOnState,
} from './floppy-state.ts';
import { type Savable, type SavedSection, SavedStateError } from './saved-state.ts';

const FORMAT_ID_BYTES = 4;
const SECTOR_SIZE_CODE = 2;

export class FloppyController implements Savable {
  static readonly schema = FLOPPY_SCHEMA;

  readonly #drives: (Drive | undefined)[] = [];
  // Wiring, set once by the machine.
  irq: IRQLine = NO_LINE;
  transferDMA: (bytes: Uint8Array, isToMemory: boolean) => DMAResult = () => ({
    sizeBytes: 0,
    isTerminal: false,
  });
  // State, all of it saved.
  readonly state: FloppyState = powerOnState();

  /** Connects a drive, 0–3. */
  plug(index: number, drive: Drive): void {
    this.#drives[index] = drive;
    drive.onMediumChange = () => {
      this.state.isChanged[index] = 1;
    };
  }

  reset(): void {
    this.#cancel();
    const { isChanged, buffer } = this.state;
    Object.assign(this.state, powerOnState(), { isChanged, buffer: buffer.fill(0) });
    this.irq.lower();
  }

  save(): SavedSection {
    const s = this.state;
    const usedBytes = Math.max(s.transferBytes, s.ioBytes);
    return FloppyController.schema.save({ ...s, buffer: s.buffer.subarray(0, usedBytes) });
  }

  restore(section: SavedSection): void {
    const next = powerOnState();
    FloppyController.schema.restore(section, next);
    if (!isFloppyStateSound(next))
      throw new SavedStateError(
        'BAD_FIELD',
        section.name,
        'the command under way must be possible',
      );
    this.#cancel();
    Object.assign(this.state, next);
    this.#askAgain();
    this.#update();
  }

  /** Port 0x3f0 + `offset`; 6 is the IDE controller's. */
  read(offset: number): number {
    const s = this.state;
    switch (offset) {
      case fdc.DOR:
        return s.dor;
      case fdc.TDR:
        return 0xfc | s.tapeDrive;
      case fdc.MSR:
        return this.#mainStatus();
      case fdc.FIFO:
        return this.#readFIFO();
      case fdc.DIR: {
        const index = s.dor & fdc.DOR_DRIVE;
        return this.#drives[index] === undefined || s.isChanged[index] ? fdc.DIR_CHANGED : 0;
      }
      default: // SRA and SRB are not there in AT mode.
        return 0xff;
    }
  }

  write(offset: number, value: number): void {
    const byte = value & 0xff;
    switch (offset) {
      case fdc.DOR:
        this.#writeDOR(byte);
        break;
      case fdc.TDR:
        this.state.tapeDrive = byte & 3;
        break;
      case fdc.MSR: // Data Rate Select when written.
        this.state.ccr = byte & 3;
        if (byte & fdc.DSR_RESET && this.state.dor & fdc.DOR_NOT_RESET) {
          this.#resetController();
          this.#announceReset();
        }
        break;
      case fdc.FIFO:
        this.#writeFIFO(byte);
        break;
      case fdc.DIR: // Configuration Control when written.
        this.state.ccr = byte & 3;
        break;
      default:
    }
  }

  /** The DMA channel may have become ready. */
  pumpDMA(): void {
    const s = this.state;
    if (s.phase !== fdc.PHASE_EXECUTION || s.io !== IO_NONE || this.#isNonDMA) return;
    if ((s.dor & fdc.DOR_DMA) === 0) return;
    const part = s.buffer.subarray(s.position, s.transferBytes);
    const { sizeBytes, isTerminal } = this.transferDMA(part, this.#isRead);
    s.position += sizeBytes;
    s.isTerminal = isTerminal;
    if (isTerminal || s.position === s.transferBytes) this.#onMoved();
  }

  get #isNonDMA(): boolean {
    return (this.state.specify[1]! & fdc.SPECIFY_NON_DMA) !== 0;
  }

  get #operation(): number {
    return this.state.command[0]! & fdc.COMMAND_MASK;
  }

  get #isRead(): boolean {
    return fdc.READS.has(this.#operation);
  }

  /** Drive that the command names. */
  get #unit(): number {
    return this.state.command[1]! & 3;
  }

  #geometry(unit: number): FloppyGeometry | undefined {
    const medium = this.#drives[unit]?.medium;
    return medium === undefined ? undefined : floppyGeometry(medium.sizeBytes);
  }

  #mainStatus(): number {
    const s = this.state;
    if (!(s.dor & fdc.DOR_NOT_RESET)) return 0;
    if (s.phase === fdc.PHASE_RESULT) return fdc.MSR_RQM | fdc.MSR_DIO | fdc.MSR_BUSY;
    if (s.phase === fdc.PHASE_COMMAND)
      return fdc.MSR_RQM | (s.command.length > 0 ? fdc.MSR_BUSY : 0);
    if (!this.#isNonDMA || s.io !== IO_NONE) return fdc.MSR_BUSY;
    return fdc.MSR_RQM | fdc.MSR_NON_DMA | fdc.MSR_BUSY | (this.#isRead ? fdc.MSR_DIO : 0);
  }

  #writeDOR(byte: number): void {
    const s = this.state;
    const before = s.dor;
    s.dor = byte;
    if (!(byte & fdc.DOR_NOT_RESET)) this.#resetController();
    else if (!(before & fdc.DOR_NOT_RESET)) this.#announceReset();
    this.#update();
    this.pumpDMA();
  }

  /** Section 2.1.7 "Reset": parameters stay if they are locked. */
  #resetController(): void {
    const s = this.state;
    this.#cancel();
    Object.assign(s, {
      ...{ phase: fdc.PHASE_COMMAND, io: IO_NONE, ioBytes: 0, transferBytes: 0, position: 0 },
      isTerminal: false,
      isInterrupting: false,
    });
    for (const list of [s.command, s.result, s.senses]) list.length = 0;
    if (!s.isLocked) {
      s.configure = fdc.CONFIGURE_DEFAULT;
      s.precompensation = 0;
    }
    s.perpendicular &= fdc.PERPENDICULAR_DRIVES;
    this.#update();
  }

  /** Drive polling finds all four drives changed: section 5.2.4. */
  #announceReset(): void {
    const s = this.state;
    if (s.configure & fdc.CONFIGURE_NO_POLL) return;
    s.senses = [0, 1, 2, 3].map((unit) => fdc.ST0_POLLING | unit);
    this.#interrupt();
  }

  #writeFIFO(byte: number): void {
    const s = this.state;
    if (!(s.dor & fdc.DOR_NOT_RESET)) return;
    if (s.phase === fdc.PHASE_EXECUTION && this.#isNonDMA && s.io === IO_NONE && !this.#isRead) {
      this.#acknowledge();
      s.buffer[s.position++] = byte;
      if (s.position === s.transferBytes) this.#onMoved();
      return;
    }
    if (s.phase !== fdc.PHASE_COMMAND) return;
    s.command.push(byte);
    const size = fdc.COMMAND_BYTES.get(this.#operation) ?? 1;
    if (s.command.length >= size) this.#execute();
  }

  #readFIFO(): number {
    const s = this.state;
    if (s.phase === fdc.PHASE_EXECUTION && this.#isNonDMA && s.io === IO_NONE && this.#isRead) {
      this.#acknowledge();
      const byte = s.buffer[s.position++]!;
      if (s.position === s.transferBytes) this.#onMoved();
      return byte;
    }
    if (s.phase !== fdc.PHASE_RESULT) return 0;
    this.#acknowledge();
    const byte = s.result.shift() ?? 0;
    if (s.result.length === 0) this.#endCommand();
    return byte;
  }

  #endCommand(): void {
    this.state.phase = fdc.PHASE_COMMAND;
    this.state.command.length = 0;
  }

  #execute(): void {
    const s = this.state;
    const [first = 0, second = 0, third = 0, fourth = 0] = s.command;
    switch (this.#operation) {
      case fdc.CMD_READ:
      case fdc.CMD_READ_DELETED:
      case fdc.CMD_READ_TRACK:
      case fdc.CMD_VERIFY:
      case fdc.CMD_WRITE:
      case fdc.CMD_WRITE_DELETED:
        this.#beginData();
        return;
      case fdc.CMD_FORMAT:
        this.#beginFormat();
        return;
      case fdc.CMD_READ_ID:
        this.#readID();
        return;
      case fdc.CMD_SPECIFY:
        s.specify = [second, third];
        this.#endCommand();
        return;
      case fdc.CMD_SENSE_DRIVE:
        this.#reply([this.#driveStatus(second)]);
        return;
      case fdc.CMD_RECALIBRATE:
        this.#seek(0, false);
        return;
      case fdc.CMD_SEEK: // With MT set, it is a RELATIVE SEEK, inwards with MFM set.
        if ((first & fdc.FLAG_MT) === 0) this.#seek(third, false);
        else this.#seek(third * (first & fdc.FLAG_MFM ? 1 : -1), true);
        return;
      case fdc.CMD_SENSE_INTERRUPT:
        this.#senseInterrupt();
        return;
      case fdc.CMD_VERSION:
        this.#reply([fdc.VERSION_ENHANCED]);
        return;
      case fdc.CMD_CONFIGURE:
        s.configure = third;
        s.precompensation = fourth;
        this.#endCommand();
        return;
      case fdc.CMD_DUMPREG:
        this.#reply([
          ...s.tracks,
          ...s.specify,
          this.#lastSector,
          (s.isLocked ? 0x80 : 0) | (s.perpendicular & 0x7f),
          ...[s.configure, s.precompensation],
        ]);
        return;
      case fdc.CMD_PERPENDICULAR:
        // Drive bits change only with OW set: section 5.2.9.
        s.perpendicular =
          second & fdc.PERPENDICULAR_OVERWRITE
            ? second & 0x3f
            : (s.perpendicular & fdc.PERPENDICULAR_DRIVES) | (second & 3);
        this.#endCommand();
        return;
      case fdc.CMD_LOCK:
        s.isLocked = (first & fdc.FLAG_MT) !== 0;
        this.#reply([s.isLocked ? 0x10 : 0x00]);
        return;
      default:
        this.#reply([fdc.ST0_INVALID]);
    }
  }

  /** EOT of the last data command that this controller was given. */
  get #lastSector(): number {
    return this.#geometry(this.state.dor & fdc.DOR_DRIVE)?.sectors ?? 0;
  }

  #acknowledge(): void {
    this.state.isInterrupting = false;
    this.#update();
  }

  /** Data may be moved: by DMA, or an interrupt asks the processor for it. */
  #beginTransfer(): void {
    if (this.#isNonDMA) this.#interrupt();
    else this.pumpDMA();
  }

  /** A result without an interrupt. */
  #reply(bytes: readonly number[]): void {
    this.state.phase = fdc.PHASE_RESULT;
    this.state.result = [...bytes];
  }

  #interrupt(): void {
    this.state.isInterrupting = true;
    this.#update();
  }

  #driveStatus(second: number): number {
    const unit = second & 3;
    const drive = this.#drives[unit];
    return (
      (second & 7) |
      fdc.ST3_ONES |
      (this.state.tracks[unit] === 0 && drive !== undefined ? fdc.ST3_TRACK_0 : 0) |
      (drive?.medium !== undefined && drive.isReadOnly ? fdc.ST3_WRITE_PROTECTED : 0)
    );
  }

  #seek(target: number, isRelative: boolean): void {
    const s = this.state;
    const unit = this.#unit;
    const head = s.command[1]! & 4;
    const drive = this.#drives[unit];
    const from = s.tracks[unit]!;
    s.tracks[unit] = Math.max(0, Math.min(0xff, isRelative ? from + target : target));
    if (drive?.medium !== undefined) s.isChanged[unit] = 0;
    // Without a drive, track 0 never comes: "equipment check".
    const isFound = drive !== undefined || this.#operation !== fdc.CMD_RECALIBRATE;
    if (s.senses.length >= 8) s.senses.shift();
    s.senses.push(
      fdc.ST0_SEEK_END | head | unit | (isFound ? 0 : fdc.ST0_ABNORMAL | fdc.ST0_EQUIPMENT),
    );
    this.#endCommand();
    this.#interrupt();
  }

  #senseInterrupt(): void {
    const s = this.state;
    const st0 = s.senses.shift();
    if (st0 === undefined) this.#reply([fdc.ST0_INVALID]);
    else this.#reply([st0, s.tracks[st0 & 3]!]);
    this.#acknowledge();
  }

  #readID(): void {
    const s = this.state;
    const geometry = this.#geometry(this.#unit);
    s.cylinder = s.tracks[this.#unit]!;
    s.head = (s.command[1]! >> 2) & 1;
    s.sector = 1;
    const isReadable =
      geometry !== undefined &&
      geometry.rate === s.ccr &&
      s.cylinder < geometry.cylinders &&
      s.head < geometry.heads;
    this.#end(isReadable ? 0 : fdc.ST1_NO_ADDRESS_MARK);
  }

  #beginData(): void {
    const s = this.state;
    const [, , cylinder = 0, head = 0, sector = 0] = s.command;
    Object.assign(s, { cylinder, head, sector, isTerminal: false });
    if (this.#operation === fdc.CMD_READ_TRACK) s.sector = 1;
    if (s.configure & fdc.CONFIGURE_IMPLIED_SEEK) {
      s.tracks[this.#unit] = cylinder;
      s.isChanged[this.#unit] = 0;
    }
    this.#nextTrack();
  }

  /** Begins with the sectors from the present one to the last of this head. */
  #nextTrack(): void {
    const s = this.state;
    const geometry = this.#geometry(this.#unit);
    if (geometry === undefined || geometry.rate !== s.ccr) {
      this.#end(fdc.ST1_NO_ADDRESS_MARK);
      return;
    }
    const isThere =
      s.cylinder < geometry.cylinders &&
      s.head < geometry.heads &&
      s.sector >= 1 &&
      s.sector <= geometry.sectors &&
      s.command[5] === SECTOR_SIZE_CODE;
    if (s.cylinder !== s.tracks[this.#unit]) this.#end(fdc.ST1_NO_DATA, fdc.ST2_WRONG_CYLINDER);
    else if (!isThere) this.#end(fdc.ST1_NO_DATA);
    else if (!this.#isRead && this.#drives[this.#unit]!.isReadOnly) this.#end(fdc.ST1_NOT_WRITABLE);
    else {
      // A last sector before the first one is never met: the whole track goes by.
      const last = s.command[6]! < s.sector ? geometry.sectors : s.command[6]!;
      const count = Math.min(last, geometry.sectors) - s.sector + 1;
      const at = (s.cylinder * geometry.heads + s.head) * geometry.sectors + s.sector - 1;
      s.phase = fdc.PHASE_EXECUTION;
      Object.assign(s, { transferBytes: count * SECTOR_BYTES, position: 0, ioSector: at });
      if (this.#isRead) this.#beginIO(IO_READ, s.transferBytes);
      else this.#beginTransfer();
    }
  }

  #beginFormat(): void {
    const s = this.state;
    const geometry = this.#geometry(this.#unit);
    const count = s.command[3]!;
    s.cylinder = s.tracks[this.#unit]!;
    s.head = (s.command[1]! >> 2) & 1;
    s.sector = 1;
    s.isTerminal = false;
    if (geometry === undefined || geometry.rate !== s.ccr) this.#end(fdc.ST1_NO_ADDRESS_MARK);
    else if (this.#drives[this.#unit]!.isReadOnly) this.#end(fdc.ST1_NOT_WRITABLE);
    else if (
      // An image has room for its own format and for no other.
      count !== geometry.sectors ||
      s.command[2] !== SECTOR_SIZE_CODE ||
      s.cylinder >= geometry.cylinders ||
      s.head >= geometry.heads
    )
      this.#end(fdc.ST1_NO_DATA);
    else {
      s.phase = fdc.PHASE_EXECUTION;
      s.ioSector = (s.cylinder * geometry.heads + s.head) * count;
      Object.assign(s, { transferBytes: count * FORMAT_ID_BYTES, position: 0 });
      this.#beginTransfer();
    }
  }

  /** All data of this track, or up to terminal count, has been moved. */
  #onMoved(): void {
    const s = this.state;
    if (this.#operation === fdc.CMD_FORMAT) {
      const sizeBytes = s.command[3]! * SECTOR_BYTES;
      s.buffer.fill(s.command[5]!, 0, sizeBytes);
      this.#beginIO(IO_WRITE, sizeBytes);
    } else if (this.#isRead) this.#onTrackDone();
    else {
      // The rest of a sector that terminal count cut short is written as zeros: section 5.1.3.
      const sizeBytes = Math.ceil(s.position / SECTOR_BYTES) * SECTOR_BYTES;
      s.buffer.fill(0, s.position, sizeBytes);
      this.#beginIO(IO_WRITE, sizeBytes);
    }
  }

  #beginIO(io: number, sizeBytes: number): void {
    this.state.io = io;
    this.state.ioBytes = sizeBytes;
    this.#askAgain();
  }

  #askAgain(): void {
    const s = this.state;
    if (s.io === IO_NONE) return;
    const drive = this.#drives[this.#unit];
    const bytes = s.buffer.subarray(0, s.ioBytes);
    const done: BlockDone = (error) => this.#onIO(error);
    if (drive === undefined) this.#onIO('ENOMEDIUM');
    else if (s.io === IO_READ) drive.read(s.ioSector, bytes, done);
    else drive.write(s.ioSector, bytes, done);
  }

  #onIO(error: BlockError | undefined): void {
    const s = this.state;
    const wasRead = s.io === IO_READ;
    s.io = IO_NONE;
    s.ioBytes = 0;
    if (error !== undefined) {
      const st1 = error === 'EROFS' ? fdc.ST1_NOT_WRITABLE : fdc.ST1_DATA_ERROR;
      this.#end(error === 'ENOMEDIUM' ? fdc.ST1_NO_ADDRESS_MARK : st1, fdc.ST2_DATA_ERROR);
    } else if (!wasRead) this.#onTrackDone();
    else if (this.#operation === fdc.CMD_VERIFY) {
      s.position = s.transferBytes;
      this.#onTrackDone();
    } else this.#beginTransfer();
  }

  /** Sectors up to the last of this head are through: section 5.1.1, tables 5-3 and 5-4. */
  #onTrackDone(): void {
    const s = this.state;
    const operation = this.#operation;
    if (operation === fdc.CMD_FORMAT) {
      this.#end(0);
      return;
    }
    const last = s.command[6]!;
    s.sector += Math.ceil(s.position / SECTOR_BYTES);
    const isMulti = (s.command[0]! & fdc.FLAG_MT) !== 0 && operation !== fdc.CMD_READ_TRACK;
    const isBeyond = s.sector > last;
    const goesOn = !s.isTerminal && isBeyond && isMulti && (s.head & 1) === 0;
    if (isBeyond) {
      s.sector = 1;
      if (isMulti && (s.head & 1) === 0) s.head |= 1;
      else {
        s.head = isMulti ? s.head & ~1 : s.head;
        if (!goesOn) s.cylinder = (s.cylinder + 1) & 0xff;
      }
    }
    if (goesOn) this.#nextTrack();
    // Without terminal count the controller runs into the end of the cylinder, or past the track.
    else if (s.isTerminal || operation === fdc.CMD_VERIFY) this.#end(0);
    else this.#end(isBeyond ? fdc.ST1_END_OF_CYLINDER : fdc.ST1_NO_DATA);
  }

  /** Result phase of a command that touched the disk. */
  #end(st1: number, st2 = 0): void {
    const s = this.state;
    const st0 = (st1 | st2 ? fdc.ST0_ABNORMAL : 0) | ((s.head & 1) << 2) | this.#unit;
    Object.assign(s, { transferBytes: 0, position: 0 });
    this.#reply([st0, st1, st2, s.cylinder, s.head, s.sector, SECTOR_SIZE_CODE]);
    this.#interrupt();
  }

  #cancel(): void {
    for (const drive of this.#drives) drive?.cancel();
  }

  #update(): void {
    const { isInterrupting, dor } = this.state;
    const isHigh = isInterrupting && (dor & fdc.DOR_DMA) !== 0 && (dor & fdc.DOR_NOT_RESET) !== 0;
    if (isHigh) this.irq.raise();
    else this.irq.lower();
  }
}
