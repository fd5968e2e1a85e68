// Which slot of the state's MSR area holds which model-specific register. Saved with the state:
// numbers are never reused.

export const MSR_SLOT_TSC_OFFSET = 0;
export const MSR_SLOT_SYSENTER_CS = 1;
export const MSR_SLOT_SYSENTER_ESP = 2;
export const MSR_SLOT_SYSENTER_EIP = 3;
export const MSR_SLOT_PAT = 4;
export const MSR_SLOT_MTRR_DEFAULT = 5;
/** Eight pairs of base and mask. */
export const MSR_SLOT_MTRR_VARIABLE = 6;
/** Eleven fixed ranges, in the order of their MSR numbers. */
export const MSR_SLOT_MTRR_FIXED = 22;
export const MSR_SLOT_MISC_ENABLE = 33;
export const MSR_SLOT_DEBUG_CONTROL = 34;
export const MSR_SLOT_MCG_STATUS = 35;
export const MSR_SLOT_POWER_ON = 36;
export const MSR_SLOT_MICROCODE = 37;
