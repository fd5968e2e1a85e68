// What a memory listener needs of a KVM virtual machine: the VM ioctls about memory, behind an
// interface, so that the listener runs against the kernel and against a model of its rules.

/** `struct kvm_userspace_memory_region` (linux/kvm.h); `memorySize` 0 deletes the slot. */
export interface KVMMemoryRegion {
  readonly slot: number;
  /** KVM_MEM_LOG_DIRTY_PAGES, KVM_MEM_READONLY. */
  readonly flags: number;
  /** Bytes; whole pages. */
  readonly guestPhysicalAddress: number;
  readonly memorySize: number;
  /** Host virtual address of the first byte. */
  readonly userspaceAddress: bigint;
}

/** The kernel refused a call; the machine it belongs to is as it was. */
export class KVMError extends Error {
  override readonly name = 'KVMError';
  /** Name of the errno, such as `EEXIST`. */
  readonly code: string;

  constructor(code: string, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

/** Memory of one virtual machine, as the kernel sees it. Every method throws `KVMError`. */
export interface KVMMemoryVM {
  /** KVM_CHECK_EXTENSION: 0 if the kernel lacks it. */
  checkExtension(capability: number): number;
  /** KVM_ENABLE_CAP with its first argument. */
  enableCapability(capability: number, argument: number): void;
  /** KVM_SET_USER_MEMORY_REGION. */
  setUserMemoryRegion(region: KVMMemoryRegion): void;
  /** KVM_GET_DIRTY_LOG: one bit a page of the slot, in whole 64-bit words, least bit first. */
  getDirtyLog(slot: number, bitmap: Uint8Array): void;
  /** KVM_CLEAR_DIRTY_LOG: `firstPage` a multiple of 64, `pageCount` too unless it ends the slot. */
  clearDirtyLog(slot: number, firstPage: number, pageCount: number, bitmap: Uint8Array): void;
  /** KVM_RESET_DIRTY_RINGS: what was taken from the rings is watched again. */
  resetDirtyRings(): void;
}
