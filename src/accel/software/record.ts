// The decoded-instruction record that handlers read, and how records of a page lie.
//
//   0 u16 handler (index into the function table; 0 decodes)    2 u8 length × 16
//   3 u8 reg      4 u8 base or rm      5 u8 index      6 u8 scale      7 u8 segment × 32
//   8 u32 displacement, or offset of a far pointer              12 u32 immediate
//
// A page has a record for each byte offset, 16 bytes apart, so that record and EIP
// differ by a shift and a bias; one more behind the last leaves the page.
// Registers are offsets into the state area.

export const RECORD_HANDLER = 0;
export const RECORD_LENGTH = 2;
export const RECORD_REG = 3;
export const RECORD_BASE = 4;
export const RECORD_INDEX = 5;
export const RECORD_SCALE = 6;
export const RECORD_SEGMENT = 7;
export const RECORD_DISPLACEMENT = 8;
export const RECORD_IMMEDIATE = 12;
export const RECORD_BYTES = 16;
export const RECORD_SHIFT = 4;
/**
 * In RECORD_SCALE, of which shifts take the low five bits: the instruction ends in an immediate of
 * four bytes, which is all that RECORD_IMMEDIATE holds.
 */
export const IMMEDIATE_RELOADS = 0x80;
/** There, too: how often its immediate was stored to and fetched anew; 3 means often. */
export const RELOADS_ONE = 0x20;
export const RELOADS_OFTEN = 0x60;
/** What of RECORD_SCALE is the scale. */
export const SCALE_MASK = 0x1f;
/** Records of one page, and the one that leaves it. */
export const PAGE_RECORDS_BYTES = 4097 * RECORD_BYTES;

/** Which variant of a row a record needs: how its ModRM operand, or its branch, is addressed. */
export const KIND_REGISTER = 0;
/** Flat segment, base + displacement. */
export const KIND_FLAT = 1;
/** Flat segment, base + index × scale + displacement. */
export const KIND_FLAT_INDEX = 2;
/** Any segment, 32-bit address. */
export const KIND_SEGMENTED = 3;
/** Any segment, 16-bit address. */
export const KIND_SEGMENTED16 = 4;
export const KIND_COUNT = 5;
/** For branches: target anywhere, or surely in this page. */
export const KIND_FAR_BRANCH = KIND_REGISTER;
export const KIND_PAGE_BRANCH = KIND_FLAT;

/** Function table indexes of handlers that are not instructions; 0, of fresh records, decodes. */
export const HANDLER_LEAVE = 1;
export const HANDLER_CROSS = 2;
export const HANDLER_UNDEFINED = 3;
export const HANDLER_TOO_LONG = 4;
/** Its immediate was stored to: fetches it, and is again the handler that stands in its place. */
export const HANDLER_RELOAD = 5;

/**
 * What a slot of decoded pages holds behind its records: u8, whether it was looked up since it was
 * last asked, for eviction; u8, whether instructions end in its page that begin in another; u32,
 * byte of the buffer at which the page begins; a bit for each byte of the page, set if an
 * instruction was decoded from it; and one for each on which more depends than records, units say,
 * so that only TypeScript may drop what was made of it. The whole is a multiple of 16.
 */
export const SLOT_IS_USED = PAGE_RECORDS_BYTES;
export const SLOT_HAS_CROSSINGS = PAGE_RECORDS_BYTES + 1;
export const SLOT_PAGE = PAGE_RECORDS_BYTES + 4;
export const SLOT_CODE_BYTES = PAGE_RECORDS_BYTES + 16;
export const SLOT_SHARED_BYTES = SLOT_CODE_BYTES + 4096 / 8;
export const SLOT_BYTES = SLOT_SHARED_BYTES + 4096 / 8;

/** Code look-up rows in the engine area: tag u32 (linear page | MODE bits), records u32. */
export const CODE_ROWS = 0x1000;
export const CODE_ROW_COUNT = 1024;
export const CODE_ROW_BYTES = 8;
export const CODE_TAG_NONE = 0xffff_ffff;
/** How many of them are filled: u32. */
export const CODE_ROWS_FILLED = CODE_ROWS + CODE_ROW_COUNT * CODE_ROW_BYTES;
/** Not 0 if one was filled that another page's look-up had filled, since all were emptied: u32. */
export const CODE_ROWS_REPLACED = CODE_ROWS_FILLED + 4;
/** The byte address of each that is filled: u32s. */
export const CODE_ROWS_LOG = CODE_ROWS_FILLED + 16;
/** Records for one instruction outside any page's records, 16-byte aligned. */
export const ISOLATED_RECORDS = CODE_ROWS_LOG + CODE_ROW_COUNT * 4;

/** Added to an EIP for a page EIP from which no branch is near: every jump looks its target up. */
export const FAR_AWAY = 0x8000_0000 | 0;

/** Where in the machine's buffer lie dirty bytes, code-line masks and RAM offset 0: u32 each. */
export const DIRTY_BASE = ISOLATED_RECORDS + 32 * RECORD_BYTES;
export const CODE_MASK_BASE = DIRTY_BASE + 4;
export const RAM_BASE = DIRTY_BASE + 8;
/**
 * Where lies the note of each RAM page, a u32: 0, or the address of the page's only slot, | 8 | the
 * MODE bits for which it was decoded.
 */
export const CODE_SLOTS_BASE = DIRTY_BASE + 12;
/** The SoftTLB's parts: u32 each. */
export const TLB_TABLES = DIRTY_BASE + 16;
export const TLB_LOG = DIRTY_BASE + 20;
export const TLB_COUNTS = DIRTY_BASE + 24;
export const TLB_ROW_STATES = DIRTY_BASE + 28;
export const TLB_STORE_MARKS = DIRTY_BASE + 32;
/** Not 0 while generated code must not walk page tables, as RAM may not be there yet: u32. */
export const WALKS_IN_TYPESCRIPT = DIRTY_BASE + 36;
/**
 * Where lie the counters of code that was gone to but is no entry of a unit, two bytes each, by the
 * low bits of the record's address: u32, 0 if nobody translates.
 */
export const HEAT_BASE = DIRTY_BASE + 40;
export const HEAT_BYTES = 16384;
/** Not 0 when a run ended because the counter of the code at EIP overflowed: u32. */
export const HEAT_IS_HIGH = DIRTY_BASE + 44;
/**
 * Guest-physical pages that are plain RAM: first page, count, and what turns gpa into a byte of the
 * buffer, modulo 2^32: u32 each. The last has a count of 0.
 */
export const PLAIN_RAM = DIRTY_BASE + 48;
export const PLAIN_RAM_BYTES = 12;
export const PLAIN_RAM_MAX = 15;

/** Where the tables of UnitEntries lie: u32. */
export const ENTRIES_BASE = PLAIN_RAM + PLAIN_RAM_MAX * PLAIN_RAM_BYTES + 4;
/**
 * What a look-up of code stands for while this word stays the same: MODE, whether CS is flat, and a
 * count of the times when code was forgotten: u32.
 */
export const CODE_KEY = ENTRIES_BASE + 4;
/** CS has base 0 and spans 4 GiB: EIP is the linear address. */
export const CODE_KEY_FLAT = 0x10;
export const CODE_KEY_MODE = 0xf;
/** Added when code is forgotten. */
export const CODE_KEY_STEP = 0x20;

/**
 * Arithmetic flags between units: 0 if FLAG_RESULT and FLAG_AUX have them, else KIND, R, B and
 * CARRY of unit-flags.ts. The interpreter knows only the first: u32 each.
 */
export const FLAG_KIND = CODE_KEY + 4;
export const FLAG_R = CODE_KEY + 8;
export const FLAG_B = CODE_KEY + 12;
export const FLAG_CARRY = CODE_KEY + 16;
/** Calls of the guest that units made as calls of WebAssembly and that have not come back: u32. */
export const CALL_DEPTH = FLAG_CARRY + 4;
/** More are jumps only: bounds the host's stack. */
export const CALL_DEPTH_MAX = 48;
