// The SSE control and status register. Intel SDM volume 1, section 10.2.3 "MXCSR Control and Status
// Register"; the scratch words through which float functions report exceptions to their row.

/** Sticky exception flags: invalid, denormal, division by zero, overflow, underflow, precision. */
export const MXCSR_IE = 1 << 0;
export const MXCSR_DE = 1 << 1;
export const MXCSR_ZE = 1 << 2;
export const MXCSR_OE = 1 << 3;
export const MXCSR_UE = 1 << 4;
export const MXCSR_PE = 1 << 5;
/** All six flags; the mask of a flag lies MXCSR_MASK_SHIFT above it. */
export const MXCSR_FLAGS = 0x3f;
export const MXCSR_MASK_SHIFT = 7;
/** Exceptions that are found before a result is computed (SDM volume 1, section 11.5.2). */
export const MXCSR_BEFORE_COMPUTATION = MXCSR_IE | MXCSR_DE | MXCSR_ZE;
/** Denormal operands count as zeros. */
export const MXCSR_DAZ = 1 << 6;
/** Overflow and underflow masked. */
export const MXCSR_OM = 1 << 10;
export const MXCSR_UM = 1 << 11;
/** Rounding: 0 to nearest even, 1 down, 2 up, 3 towards zero. */
export const MXCSR_RC_SHIFT = 13;
/** Tiny results become zeros, while underflow is masked. */
export const MXCSR_FTZ = 1 << 15;
/** Bits that exist; LDMXCSR and FXRSTOR of another one are #GP(0). MXCSR_MASK of FXSAVE. */
export const MXCSR_WRITABLE = 0xffff;
/** After reset. */
export const MXCSR_DEFAULT = 0x1f80;

/** What the native operations of WebAssembly assume, and that PE is set already. */
export const MXCSR_NATIVE_MASK = 0xffe0;
export const MXCSR_NATIVE = 0x1f80 | MXCSR_PE;

/** WebAssembly's own rounding, no DAZ or FTZ and all masked: PE may still be clear. */
export const MXCSR_PLAIN_MASK = 0xffc0;
export const MXCSR_PLAIN = 0x1f80;
