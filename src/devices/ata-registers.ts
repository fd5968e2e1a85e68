// Numbers of ATA and ATAPI, in the words of T13/1410D "AT Attachment with Packet Interface - 6"
// (ATA/ATAPI-6), sections 7 "Interface register definitions" and 8 "Command descriptions".

/** Command block registers, from the base port (0x1f0, 0x170); section 7. */
export const ATA_DATA = 0;
/** Error when read, Features when written. */
export const ATA_ERROR = 1;
export const ATA_COUNT = 2;
export const ATA_LBA_LOW = 3;
export const ATA_LBA_MID = 4;
export const ATA_LBA_HIGH = 5;
export const ATA_DEVICE = 6;
/** Status when read, Command when written. */
export const ATA_STATUS = 7;

/** Status register, section 7.15. */
export const STATUS_BSY = 0x80;
export const STATUS_DRDY = 0x40;
export const STATUS_DF = 0x20;
export const STATUS_DSC = 0x10;
export const STATUS_DRQ = 0x08;
export const STATUS_ERR = 0x01;

/** Error register, section 7.9. */
export const ERROR_UNC = 0x40;
export const ERROR_WP = 0x40;
export const ERROR_IDNF = 0x10;
export const ERROR_ABRT = 0x04;
/** What EXECUTE DEVICE DIAGNOSTIC and a reset leave there: "Device 0 passed, Device 1 passed". */
export const DIAGNOSTIC_PASSED = 0x01;

/** Device register, section 7.8. */
export const DEVICE_OBSOLETE = 0xa0;
export const DEVICE_LBA = 0x40;
export const DEVICE_DEV = 0x10;
export const DEVICE_HEAD = 0x0f;

/** Device Control register, section 7.7. */
export const CONTROL_HOB = 0x80;
export const CONTROL_SRST = 0x04;
export const CONTROL_NIEN = 0x02;

/** Interrupt reason, in the Count register of PACKET commands, section 8.27. */
export const REASON_CD = 0x01;
export const REASON_IO = 0x02;

/** Commands, section 8. */
export const CMD_NOP = 0x00;
export const CMD_DEVICE_RESET = 0x08;
export const CMD_RECALIBRATE = 0x10;
export const CMD_READ_SECTORS = 0x20;
export const CMD_READ_SECTORS_NO_RETRY = 0x21;
export const CMD_READ_SECTORS_EXT = 0x24;
export const CMD_READ_DMA_EXT = 0x25;
export const CMD_READ_NATIVE_MAX_EXT = 0x27;
export const CMD_READ_MULTIPLE_EXT = 0x29;
export const CMD_WRITE_SECTORS = 0x30;
export const CMD_WRITE_SECTORS_NO_RETRY = 0x31;
export const CMD_WRITE_SECTORS_EXT = 0x34;
export const CMD_WRITE_DMA_EXT = 0x35;
export const CMD_WRITE_MULTIPLE_EXT = 0x39;
export const CMD_READ_VERIFY = 0x40;
export const CMD_READ_VERIFY_NO_RETRY = 0x41;
export const CMD_READ_VERIFY_EXT = 0x42;
export const CMD_SEEK = 0x70;
export const CMD_EXECUTE_DIAGNOSTIC = 0x90;
export const CMD_INITIALIZE_PARAMETERS = 0x91;
export const CMD_PACKET = 0xa0;
export const CMD_IDENTIFY_PACKET = 0xa1;
export const CMD_READ_MULTIPLE = 0xc4;
export const CMD_WRITE_MULTIPLE = 0xc5;
export const CMD_SET_MULTIPLE = 0xc6;
export const CMD_READ_DMA = 0xc8;
export const CMD_READ_DMA_NO_RETRY = 0xc9;
export const CMD_WRITE_DMA = 0xca;
export const CMD_WRITE_DMA_NO_RETRY = 0xcb;
export const CMD_STANDBY_IMMEDIATE = 0xe0;
export const CMD_IDLE_IMMEDIATE = 0xe1;
export const CMD_STANDBY = 0xe2;
export const CMD_IDLE = 0xe3;
export const CMD_CHECK_POWER = 0xe5;
export const CMD_SLEEP = 0xe6;
export const CMD_FLUSH_CACHE = 0xe7;
export const CMD_FLUSH_CACHE_EXT = 0xea;
export const CMD_IDENTIFY = 0xec;
export const CMD_SET_FEATURES = 0xef;
export const CMD_READ_NATIVE_MAX = 0xf8;

/** SET FEATURES, section 8.46, table 44. */
export const FEATURE_WRITE_CACHE_ON = 0x02;
export const FEATURE_TRANSFER_MODE = 0x03;
export const FEATURE_REVERT_OFF = 0x66;
export const FEATURE_LOOK_AHEAD_OFF = 0x55;
export const FEATURE_WRITE_CACHE_OFF = 0x82;
export const FEATURE_LOOK_AHEAD_ON = 0xaa;
export const FEATURE_REVERT_ON = 0xcc;
