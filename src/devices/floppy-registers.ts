// Numbers of the 82077AA floppy disk controller, in the words of its data sheet (Intel 290166):
// sections 2 "Registers", 5 "Command Set/Descriptions", 6 "Status Register Encoding".

/** Offsets from port 0x3f0. MSR is Data Rate Select, DIR is Configuration Control when written. */
export const DOR = 2;
export const TDR = 3;
export const MSR = 4;
export const FIFO = 5;
export const DIR = 7;

export const DOR_DRIVE = 0x03;
export const DOR_NOT_RESET = 0x04;
/** "DMAGATE": interrupts and DMA requests reach the bus. */
export const DOR_DMA = 0x08;
export const DSR_RESET = 0x80;
export const MSR_RQM = 0x80;
export const MSR_DIO = 0x40;
export const MSR_NON_DMA = 0x20;
export const MSR_BUSY = 0x10;
export const DIR_CHANGED = 0x80;

/** Section 4, "Controller Phases". */
export const PHASE_COMMAND = 0;
export const PHASE_EXECUTION = 1;
export const PHASE_RESULT = 2;

/** The first byte of a command: flags, and what it is. */
export const FLAG_MT = 0x80;
export const FLAG_MFM = 0x40;
export const COMMAND_MASK = 0x1f;
export const CMD_READ_TRACK = 0x02;
export const CMD_SPECIFY = 0x03;
export const CMD_SENSE_DRIVE = 0x04;
export const CMD_WRITE = 0x05;
export const CMD_READ = 0x06;
export const CMD_RECALIBRATE = 0x07;
export const CMD_SENSE_INTERRUPT = 0x08;
export const CMD_WRITE_DELETED = 0x09;
export const CMD_READ_ID = 0x0a;
export const CMD_READ_DELETED = 0x0c;
export const CMD_FORMAT = 0x0d;
export const CMD_DUMPREG = 0x0e;
export const CMD_SEEK = 0x0f;
export const CMD_VERSION = 0x10;
export const CMD_PERPENDICULAR = 0x12;
export const CMD_CONFIGURE = 0x13;
export const CMD_LOCK = 0x14;
export const CMD_VERIFY = 0x16;

/** Bytes of each command with its parameters: table 5-1. Others are one byte, and invalid. */
export const COMMAND_BYTES: ReadonlyMap<number, number> = new Map([
  [CMD_READ_TRACK, 9],
  [CMD_SPECIFY, 3],
  [CMD_SENSE_DRIVE, 2],
  [CMD_WRITE, 9],
  [CMD_READ, 9],
  [CMD_RECALIBRATE, 2],
  [CMD_SENSE_INTERRUPT, 1],
  [CMD_WRITE_DELETED, 9],
  [CMD_READ_ID, 2],
  [CMD_READ_DELETED, 9],
  [CMD_FORMAT, 6],
  [CMD_DUMPREG, 1],
  [CMD_SEEK, 3],
  [CMD_VERSION, 1],
  [CMD_PERPENDICULAR, 2],
  [CMD_CONFIGURE, 4],
  [CMD_LOCK, 1],
  [CMD_VERIFY, 9],
]);

/** Commands whose data, if any, goes to the host. */
export const READS: ReadonlySet<number> = new Set([
  ...[CMD_READ, CMD_READ_DELETED, CMD_READ_TRACK, CMD_VERIFY],
]);

/** SPECIFY, second byte. */
export const SPECIFY_NON_DMA = 0x01;
/** CONFIGURE: implied seek, FIFO disable (the default), polling disable. */
export const CONFIGURE_IMPLIED_SEEK = 0x40;
export const CONFIGURE_NO_POLL = 0x10;
export const CONFIGURE_DEFAULT = 0x20;
export const PERPENDICULAR_OVERWRITE = 0x80;
export const PERPENDICULAR_DRIVES = 0x3c;
export const VERSION_ENHANCED = 0x90;

export const ST0_ABNORMAL = 0x40;
export const ST0_INVALID = 0x80;
export const ST0_POLLING = 0xc0;
export const ST0_SEEK_END = 0x20;
export const ST0_EQUIPMENT = 0x10;
export const ST1_END_OF_CYLINDER = 0x80;
export const ST1_DATA_ERROR = 0x20;
export const ST1_NO_DATA = 0x04;
export const ST1_NOT_WRITABLE = 0x02;
export const ST1_NO_ADDRESS_MARK = 0x01;
export const ST2_DATA_ERROR = 0x20;
export const ST2_WRONG_CYLINDER = 0x10;
export const ST3_WRITE_PROTECTED = 0x40;
export const ST3_TRACK_0 = 0x10;
/** Ready and two-sided: always. */
export const ST3_ONES = 0x28;
