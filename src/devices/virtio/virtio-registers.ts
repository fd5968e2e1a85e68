// Numbers that every virtio device and driver share. Virtual I/O Device (VIRTIO) Version 1.2,
// sections 2.1 "Device Status Field", 2.7 "Split Virtqueues", 5 "Device Types" and 6 "Reserved
// Feature Bits".

/** Device status. */
export const STATUS_DRIVER_OK = 0x04;
export const STATUS_FEATURES_OK = 0x08;
export const STATUS_NEEDS_RESET = 0x40;

/** Device types. */
export const TYPE_BLOCK = 2;
export const TYPE_ENTROPY = 4;
export const TYPE_BALLOON = 5;

/** Feature bits 0–31, and 32 on as bits of a second word. */
export const FEATURE_ANY_LAYOUT = 1 << 27;
export const FEATURE_INDIRECT = 1 << 28;
export const FEATURE_EVENT_INDEX = 1 << 29;
export const FEATURE_HIGH_VERSION_1 = 1 << 0;

/** Why a device interrupts: bits of the ISR. */
export const ISR_QUEUE = 0x01;
export const ISR_CONFIG = 0x02;

/** Flags of a descriptor. */
export const DESCRIPTOR_NEXT = 1;
export const DESCRIPTOR_WRITE = 2;
export const DESCRIPTOR_INDIRECT = 4;
/** A descriptor: address (64 bits), length (32), flags (16), next (16). */
export const DESCRIPTOR_BYTES = 16;

/** The driver wants no interrupts: flag of the available ring. */
export const AVAILABLE_NO_INTERRUPT = 1;
/** Both rings begin with flags and an index, 16 bits each. */
export const RING_INDEX = 2;
export const RING_ENTRIES = 4;
export const AVAILABLE_ENTRY_BYTES = 2;
export const USED_ENTRY_BYTES = 8;

/** Largest queue there is (section 2.7: at most 32768; ours are smaller). */
export const QUEUE_SIZE_MAX = 1024;
