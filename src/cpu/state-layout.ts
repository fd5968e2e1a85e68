// Where each part of the processor's state lies, in bytes from the start of the state area (which
// is the start of the machine's WebAssembly.Memory). Generated code and TypeScript both use it.
// Little-endian; everything 64 bits wide is naturally aligned.

/** General registers RAX RCX RDX RBX RSP RBP RSI RDI R8–R15, 8 bytes each. */
export const GPR = 0x000;
export const GPR_BYTES = 8;
/** Eight bytes that are always zero: the base or index register that an address does not have. */
export const ZERO_REGISTER = 0x080;

/** EIP of the current instruction, valid whenever TypeScript runs (u64). */
export const EIP = 0x090;
/** EIP behind the current instruction, valid in system helpers (u64). */
export const NEXT_EIP = 0x098;

/** Lazy arithmetic flags: the last result, sign-extended to 64 bits (see flags.ts). */
export const FLAG_RESULT = 0x0a0;
/** Lazy arithmetic flags: carry, overflow, adjust and corrections (see flags.ts). */
export const FLAG_AUX = 0x0a8;
/** EFLAGS without CF PF AF ZF SF OF, which are lazy; bit 1 is always set. */
export const EFLAGS_REST = 0x0ac;

/** Current privilege level, 0–3 (u32). */
export const CPL = 0x0b0;
/** Which decodings apply: MODE_ bits (u32). */
export const MODE = 0x0b4;
/** Why generated code must return to the run loop: ATTENTION_ bits (u32). */
export const ATTENTION = 0x0b8;
/** Guest instructions that may still run before the run loop wants control back (i32). */
export const FUEL = 0x0bc;

/** Pending exception: vector or NO_EXCEPTION (u32), error code (u32), whether it has one (u32). */
export const EXCEPTION_VECTOR = 0x0c0;
export const EXCEPTION_ERROR = 0x0c4;
export const EXCEPTION_HAS_ERROR = 0x0c8;
/** Byte offset of the TLB rows of the current privilege (u32): user or supervisor table. */
export const TLB_BASE = 0x0cc;
/** Decoded page that is running: EIP = (record >>> 4) + EIP_BIAS, modulo 2^32 (u32). */
export const EIP_BIAS = 0x0d0;
/** EIP of the first byte of the page that is running (u32), and its first record (u32). */
export const PAGE_EIP = 0x0d4;
export const PAGE_RECORDS = 0x0d8;
/** Interrupt shadow: 1 while the instruction after STI or a load of SS must run first (u32). */
export const INTERRUPT_SHADOW = 0x0dc;
/** 1 while the processor is in HLT (u32). */
export const HALTED = 0x0e0;
/** DR6 bits gathered by watchpoints during the current instruction (u32). */
export const PENDING_DEBUG = 0x0e4;
/** 1 while non-maskable interrupts are blocked, until IRET (u32). */
export const NMI_BLOCKED = 0x0e8;

/** Segment registers ES CS SS DS FS GS, then LDTR and TR: 32 bytes each. */
export const SEGMENT = 0x100;
export const SEGMENT_BYTES = 32;
export const ES = 0;
export const CS = 1;
export const SS = 2;
export const DS = 3;
export const FS = 4;
export const GS = 5;
export const LDTR = 6;
export const TR = 7;
/** Within a segment: selector u32; attributes u32 (descriptor bits 40–55, as in VMX rights). */
export const SEG_SELECTOR = 0;
export const SEG_ATTRIBUTES = 4;
/** Base u64; limit in bytes, inclusive, u32. */
export const SEG_BASE = 8;
export const SEG_LIMIT = 16;
/**
 * A read of up to 16 bytes at `offset` is surely allowed if `offset < span`, unsigned; the same for
 * a write. Zero (always the slow path) when not readable or writable, expand-down, or tiny.
 */
export const SEG_READ_SPAN = 20;
export const SEG_WRITE_SPAN = 24;

/** GDTR and IDTR: base u64, limit u32. */
export const GDTR_BASE = 0x200;
export const GDTR_LIMIT = 0x208;
export const IDTR_BASE = 0x210;
export const IDTR_LIMIT = 0x218;
/** Control register n at CR0 + 8n, and EFER, u64 each. */
export const CR0 = 0x220;
export const CR2 = 0x230;
export const CR3 = 0x238;
export const CR4 = 0x240;
export const CR8 = 0x248;
export const EFER = 0x250;
/** Debug registers DR0–DR7, u64 each (4 and 5 unused). */
export const DR = 0x258;
/** Model-specific registers that are saved, u64 each; cpu/msr.ts names the indexes. */
export const MSR = 0x298;
export const MSR_SLOT_COUNT = 40;

/** x87 registers by physical number 0–7, 16 bytes each: significand u64, sign and exponent u16. */
export const X87 = 0x400;
export const X87_BYTES = 16;
/** XMM0–XMM15, 16 bytes each. */
export const XMM = 0x480;
export const XMM_BYTES = 16;
/** x87 control word, status word without TOP, TOP, and one byte a register: 1 if it is empty. */
export const X87_CONTROL = 0x580;
export const X87_STATUS = 0x584;
export const X87_TOP = 0x588;
export const X87_EMPTY = 0x590;
/** Last x87 opcode (11 bits), instruction pointer and selector, data pointer and selector. */
export const X87_OPCODE = 0x598;
export const X87_IP = 0x5a0;
export const X87_CS = 0x5a8;
export const X87_DP = 0x5b0;
export const X87_DS = 0x5b8;
export const MXCSR = 0x5bc;
/** Scratch space for operands that pass between generated code and TypeScript, 64 bytes. */
export const SCRATCH = 0x5c0;
/** Instructions retired, u64: brought up to date when the run loop gets control. */
export const INSTRUCTION_COUNT = 0x600;
/** Physical address lines: 0xffffffff, or 0xffefffff while A20 is off (u32). */
export const A20_MASK = 0x608;
/**
 * Linear addresses within which large pages were entered into the TLB since it was last empty: the
 * first, and the last (u32 each). None while the first is above the last.
 */
export const LARGE_PAGES_FIRST = 0x610;
export const LARGE_PAGES_LAST = 0x614;
/** The four PAE page-directory-pointer registers, u64 each, loaded with CR3 (SDM 3, 4.4.1). */
export const PDPTE = 0x620;
/** SIMD float exceptions of the current instruction, MXCSR_ flags; 0 between instructions (u32). */
export const SIMD_RAISED = 0x640;
/** 1 if one of them is unmasked: the row must fault; 0 between instructions (u32). */
export const SIMD_FAULT = 0x644;
/** Fuel that was taken out of a running engine's hands to make it stop soon (i32). */
export const FUEL_HELD = 0x60c;
/** Look-up tables and scratch of the engine, at a fixed place: nothing architectural. */
export const ENGINE = 0x1000;
export const ENGINE_BYTES = 0x7000;
/** Size of the state area, bytes. */
export const STATE_BYTES = 0x8000;

/** Code and default operand size 32 bits (CS.D). */
export const MODE_CODE32 = 1;
/** Stack address size 32 bits (SS.B). */
export const MODE_STACK32 = 2;
/** DS, ES and SS have base 0, limit 4 GiB, and may be read and written: accesses skip checks. */
export const MODE_FLAT = 4;
/** CPL 3: not part of a decoding, but of a look-up of code by linear address. */
export const MODE_USER = 8;

export const NO_EXCEPTION = 0xffff;

/** A fault or trap waits in EXCEPTION_VECTOR. */
export const ATTENTION_EXCEPTION = 1;
/** EIP was set by a helper: look the code up again. */
export const ATTENTION_JUMP = 2;
/** An interrupt may have become deliverable, or HLT, reset or a stop is asked for. */
export const ATTENTION_EVENT = 4;
