// Numbers of the VGA's registers and of the Bochs display interface.
// IBM VGA XGA Technical Reference (1992), chapter 2 "VGA Function"; the names are its own.

/** First and last port of the VGA; registers are named by their offset from the first. */
export const VGA_PORT_FIRST = 0x3b0;
export const VGA_PORT_COUNT = 0x30;

export const SEQUENCER_COUNT = 5;
export const SEQ_CLOCKING = 1;
export const SEQ_MAP_MASK = 2;
export const SEQ_CHARACTER_MAP = 3;
export const SEQ_MEMORY_MODE = 4;
export const CLOCKING_8_DOTS = 0x01;
export const CLOCKING_HALF = 0x08;
export const CLOCKING_SCREEN_OFF = 0x20;
export const MEMORY_SEQUENTIAL = 0x04;
export const MEMORY_CHAIN4 = 0x08;

export const GRAPHICS_COUNT = 9;
export const GR_SET_RESET = 0;
export const GR_ENABLE_SET_RESET = 1;
export const GR_COLOR_COMPARE = 2;
export const GR_ROTATE = 3;
export const GR_READ_MAP = 4;
export const GR_MODE = 5;
export const GR_MISCELLANEOUS = 6;
export const GR_COLOR_DONT_CARE = 7;
export const GR_BIT_MASK = 8;
export const MODE_READ_COMPARE = 0x08;
export const MODE_ODD_EVEN = 0x10;
export const MODE_SHIFT_INTERLEAVE = 0x20;
export const MODE_SHIFT_256 = 0x40;
export const MISC_GRAPHICS = 0x01;
export const MISC_CHAIN_ODD_EVEN = 0x02;

export const CRTC_COUNT = 0x19;
export const CR_HORIZONTAL_TOTAL = 0x00;
export const CR_HORIZONTAL_END = 0x01;
export const CR_VERTICAL_TOTAL = 0x06;
export const CR_OVERFLOW = 0x07;
export const CR_PRESET_ROW = 0x08;
export const CR_MAX_SCAN_LINE = 0x09;
export const CR_CURSOR_START = 0x0a;
export const CR_CURSOR_END = 0x0b;
export const CR_START_HIGH = 0x0c;
export const CR_START_LOW = 0x0d;
export const CR_CURSOR_HIGH = 0x0e;
export const CR_CURSOR_LOW = 0x0f;
export const CR_RETRACE_START = 0x10;
export const CR_RETRACE_END = 0x11;
export const CR_VERTICAL_END = 0x12;
export const CR_OFFSET = 0x13;
export const CR_UNDERLINE = 0x14;
export const CR_MODE = 0x17;
export const CR_LINE_COMPARE = 0x18;
export const RETRACE_END_PROTECT = 0x80;
export const OVERFLOW_LINE_COMPARE = 0x10;
export const CURSOR_OFF = 0x20;
export const UNDERLINE_DOUBLEWORD = 0x40;
export const MODE_ROW_BIT_13 = 0x01;
export const MODE_ROW_BIT_14 = 0x02;
export const MODE_WRAP_15 = 0x20;
export const MODE_BYTE = 0x40;
export const MODE_RUNS = 0x80;

export const ATTRIBUTE_COUNT = 0x15;
export const AT_MODE = 0x10;
export const AT_PLANE_ENABLE = 0x12;
export const AT_PANNING = 0x13;
export const AT_COLOR_SELECT = 0x14;
export const ATTRIBUTE_SHOWS = 0x20;
export const ATMODE_MONO = 0x02;
export const ATMODE_LINE_GRAPHICS = 0x04;
export const ATMODE_BLINK = 0x08;
export const ATMODE_PANNING_SPLIT = 0x20;
export const ATMODE_COLOR_SELECT = 0x80;

export const MISC_COLOR_PORTS = 0x01;
export const MISC_ENABLE_RAM = 0x02;

// Bochs display interface: QEMU documentation, "Standard VGA"; Bochs, "VBE Display API".
export const DISPI_COUNT = 11;
export const DISPI_ID = 0;
export const DISPI_XRES = 1;
export const DISPI_YRES = 2;
export const DISPI_BPP = 3;
export const DISPI_ENABLE = 4;
export const DISPI_BANK = 5;
export const DISPI_VIRT_WIDTH = 6;
export const DISPI_VIRT_HEIGHT = 7;
export const DISPI_X_OFFSET = 8;
export const DISPI_Y_OFFSET = 9;
export const DISPI_MEMORY_64K = 10;
export const ENABLE_ON = 0x01;
export const ENABLE_CAPABILITIES = 0x02;
export const ENABLE_8BIT_DAC = 0x20;
export const ENABLE_LFB = 0x40;
export const ENABLE_NO_CLEAR = 0x80;
