// The binary form of one case and of its result: what test/oracle/native.c reads and writes, and
// the one memory layout both processors have. Little-endian, RECORD_BYTES each:
//
//   case    0 u8 length  1 u8[15] code  16 u32[8] EAX ECX EDX EBX ESP EBP ESI EDI  48 u32 EFLAGS
//           52 u32 offset of the instruction in the code area  56 u32 OPTION_ bits
//           64 u8[512] FXSAVE image  576 u8[256] data window
//   result  0 u32 vector or NO_VECTOR  4 u32 error code  8 u32 CR2 (page faults)  12 u32 EIP
//           16 u32[8] registers  48 u32 EFLAGS  52 u16 DS ES FS GS
//           60 u32 hash of the data page outside the window
//           64 u8[512] FXSAVE image  576 u8[256] data window

export const RECORD_BYTES = 832;

export const CASE_LENGTH = 0;
export const CASE_CODE = 1;
export const CASE_OFFSET = 52;
export const CASE_OPTIONS = 56;

export const RESULT_VECTOR = 0;
export const RESULT_ERROR = 4;
export const RESULT_CR2 = 8;
export const RESULT_EIP = 12;
export const RESULT_SEGMENTS = 52;
export const RESULT_OUTSIDE = 60;

/** In both. */
export const RECORD_GPR = 16;
export const RECORD_EFLAGS = 48;
export const RECORD_FX = 64;
export const RECORD_WINDOW = 576;

/** Vector 3 is the instruction's own and not the INT3 that fills the code area. */
export const OPTION_TRAP_IS_RESULT = 1;
export const NO_VECTOR = 0xffffffff;

/** Linear addresses of the code area, the data page and its second name below 64 KiB. */
export const CODE_BASE = 0x0041_0000;
export const CODE_BYTES = 0x2000;
export const DATA_BASE = 0x0042_0000;
export const LOW_BASE = 0x0000_8000;
export const PAGE_BYTES = 0x1000;
/** Where in the data page its last WINDOW_BYTES begin, which a case fills and a result shows. */
export const WINDOW_OFFSET = 0xf00;
export const WINDOW_BYTES = 0x100;
/** Selectors of flat code and data at privilege 3, as Linux has them for 32-bit programs. */
export const USER_CS = 0x23;
export const USER_DS = 0x2b;

/** The hash of the data page's first WINDOW_OFFSET bytes, as in `RESULT_OUTSIDE`; 0 for zeros. */
export function hashOutside(page: Uint8Array): number {
  const words = new Uint32Array(page.buffer, page.byteOffset, WINDOW_OFFSET >> 2);
  let hash = 0;
  for (let i = 0; i < words.length; i++) {
    if (words[i] !== 0) hash = (hash + Math.imul(words[i]!, 2 * i + 1)) | 0;
  }
  return hash >>> 0;
}
