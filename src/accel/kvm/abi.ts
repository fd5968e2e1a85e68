// The kernel's binary interface: every structure and number that this room uses, under the name
// that the kernel's headers give it (linux/kvm.h, asm/kvm.h of Linux 6.1; x86-64). `abi.test.ts`
// compiles those headers and compares. Structures are little-endian and read with a DataView.

/** Where the fields of a structure lie, in bytes; a dotted name is a member of a member. */
export interface StructLayout<Field extends string> {
  /** As C spells the type. */
  readonly name: string;
  readonly sizeBytes: number;
  readonly at: Readonly<Record<Field, number>>;
}

function struct<const Field extends string>(
  name: string,
  sizeBytes: number,
  at: Record<Field, number>,
): StructLayout<Field> {
  return { name, sizeBytes, at };
}

/** Ioctls, capabilities, flags, exit reasons. */
export const KVM = {
  KVM_API_VERSION: 12,

  // Of /dev/kvm.
  KVM_GET_API_VERSION: 0xae00,
  KVM_CREATE_VM: 0xae01,
  KVM_CHECK_EXTENSION: 0xae03,
  KVM_GET_VCPU_MMAP_SIZE: 0xae04,
  KVM_GET_SUPPORTED_CPUID: 0xc008_ae05,

  // Of a virtual machine.
  KVM_CREATE_VCPU: 0xae41,
  KVM_GET_DIRTY_LOG: 0x4010_ae42,
  KVM_SET_USER_MEMORY_REGION: 0x4020_ae46,
  KVM_SET_TSS_ADDR: 0xae47,
  KVM_SET_IDENTITY_MAP_ADDR: 0x4008_ae48,
  KVM_REGISTER_COALESCED_MMIO: 0x4010_ae67,
  KVM_ENABLE_CAP: 0x4068_aea3,
  KVM_CLEAR_DIRTY_LOG: 0xc018_aec0,
  KVM_X86_SET_MSR_FILTER: 0x4188_aec6,
  KVM_RESET_DIRTY_RINGS: 0xaec7,

  // Of a virtual processor.
  KVM_RUN: 0xae80,
  KVM_GET_REGS: 0x8090_ae81,
  KVM_SET_REGS: 0x4090_ae82,
  KVM_GET_SREGS: 0x8138_ae83,
  KVM_SET_SREGS: 0x4138_ae84,
  KVM_INTERRUPT: 0x4004_ae86,
  KVM_GET_MSRS: 0xc008_ae88,
  KVM_SET_MSRS: 0x4008_ae89,
  KVM_SET_SIGNAL_MASK: 0x4004_ae8b,
  KVM_SET_CPUID2: 0x4008_ae90,
  KVM_NMI: 0xae9a,
  KVM_GET_VCPU_EVENTS: 0x8040_ae9f,
  KVM_SET_VCPU_EVENTS: 0x4040_aea0,
  KVM_GET_DEBUGREGS: 0x8080_aea1,
  KVM_SET_DEBUGREGS: 0x4080_aea2,
  KVM_SET_TSC_KHZ: 0xaea2,
  KVM_GET_TSC_KHZ: 0xaea3,
  KVM_GET_XSAVE: 0x9000_aea4,
  KVM_SET_XSAVE: 0x5000_aea5,
  KVM_GET_SREGS2: 0x8140_aecc,
  KVM_SET_SREGS2: 0x4140_aecd,

  KVM_CAP_USER_MEMORY: 3,
  KVM_CAP_SYNC_MMU: 16,
  KVM_CAP_SET_TSS_ADDR: 4,
  KVM_CAP_EXT_CPUID: 7,
  KVM_CAP_NR_MEMSLOTS: 10,
  KVM_CAP_COALESCED_MMIO: 15,
  KVM_CAP_DESTROY_MEMORY_REGION_WORKS: 21,
  KVM_CAP_USER_NMI: 22,
  KVM_CAP_SET_IDENTITY_MAP_ADDR: 37,
  KVM_CAP_VCPU_EVENTS: 41,
  KVM_CAP_DEBUGREGS: 50,
  KVM_CAP_XSAVE: 55,
  KVM_CAP_TSC_CONTROL: 60,
  KVM_CAP_GET_TSC_KHZ: 61,
  KVM_CAP_READONLY_MEM: 81,
  KVM_CAP_IMMEDIATE_EXIT: 136,
  KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2: 168,
  KVM_CAP_X86_USER_SPACE_MSR: 188,
  KVM_CAP_X86_MSR_FILTER: 189,
  KVM_CAP_DIRTY_LOG_RING: 192,
  KVM_CAP_SREGS2: 200,
  KVM_CAP_DIRTY_LOG_RING_ACQ_REL: 223,

  KVM_MEM_LOG_DIRTY_PAGES: 1,
  KVM_MEM_READONLY: 2,
  KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE: 1,
  KVM_DIRTY_GFN_F_DIRTY: 1,
  KVM_DIRTY_GFN_F_RESET: 2,
  /** In pages, from the start of a processor's file. */
  KVM_DIRTY_LOG_PAGE_OFFSET: 64,
  KVM_VCPUEVENT_VALID_NMI_PENDING: 1,
  KVM_VCPUEVENT_VALID_SHADOW: 4,
  KVM_X86_SHADOW_INT_MOV_SS: 1,
  KVM_X86_SHADOW_INT_STI: 2,
  KVM_SREGS2_FLAGS_PDPTRS_VALID: 1,
  KVM_MSR_FILTER_DEFAULT_DENY: 1,
  KVM_MSR_FILTER_READ: 1,
  KVM_MSR_FILTER_WRITE: 2,
  KVM_MSR_EXIT_REASON_INVAL: 1,
  KVM_MSR_EXIT_REASON_UNKNOWN: 2,
  KVM_MSR_EXIT_REASON_FILTER: 4,
  KVM_INTERNAL_ERROR_EMULATION: 1,
  KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES: 1,
  KVM_EXIT_IO_OUT: 1,

  KVM_EXIT_UNKNOWN: 0,
  KVM_EXIT_EXCEPTION: 1,
  KVM_EXIT_IO: 2,
  KVM_EXIT_HYPERCALL: 3,
  KVM_EXIT_DEBUG: 4,
  KVM_EXIT_HLT: 5,
  KVM_EXIT_MMIO: 6,
  KVM_EXIT_IRQ_WINDOW_OPEN: 7,
  KVM_EXIT_SHUTDOWN: 8,
  KVM_EXIT_FAIL_ENTRY: 9,
  KVM_EXIT_INTR: 10,
  KVM_EXIT_SET_TPR: 11,
  KVM_EXIT_INTERNAL_ERROR: 17,
  KVM_EXIT_SYSTEM_EVENT: 24,
  KVM_EXIT_X86_RDMSR: 29,
  KVM_EXIT_X86_WRMSR: 30,
  KVM_EXIT_DIRTY_RING_FULL: 31,
} as const;

export const KVM_USERSPACE_MEMORY_REGION = struct('struct kvm_userspace_memory_region', 32, {
  slot: 0,
  flags: 4,
  guest_phys_addr: 8,
  memory_size: 16,
  userspace_addr: 24,
});

export const KVM_DIRTY_LOG = struct('struct kvm_dirty_log', 16, { slot: 0, dirty_bitmap: 8 });

export const KVM_CLEAR_DIRTY_LOG = struct('struct kvm_clear_dirty_log', 24, {
  slot: 0,
  num_pages: 4,
  first_page: 8,
  dirty_bitmap: 16,
});

/** One entry of a dirty ring. */
export const KVM_DIRTY_GFN = struct('struct kvm_dirty_gfn', 16, { flags: 0, slot: 4, offset: 8 });

export const KVM_ENABLE_CAP = struct('struct kvm_enable_cap', 104, { cap: 0, flags: 4, args: 8 });

export const KVM_COALESCED_MMIO_ZONE = struct('struct kvm_coalesced_mmio_zone', 16, {
  addr: 0,
  size: 8,
  pio: 12,
});

/** One entry of the ring. */
export const KVM_COALESCED_MMIO = struct('struct kvm_coalesced_mmio', 24, {
  phys_addr: 0,
  len: 8,
  pio: 12,
  data: 16,
});

export const KVM_COALESCED_MMIO_RING = struct('struct kvm_coalesced_mmio_ring', 8, {
  first: 0,
  last: 4,
  coalesced_mmio: 8,
});

/** A bitmap of 1 for what is allowed. */
export const KVM_MSR_FILTER_RANGE = struct('struct kvm_msr_filter_range', 24, {
  flags: 0,
  nmsrs: 4,
  base: 8,
  bitmap: 16,
});

export const KVM_MSR_FILTER = struct('struct kvm_msr_filter', 392, { flags: 0, ranges: 8 });

export const KVM_CPUID2 = struct('struct kvm_cpuid2', 8, { nent: 0, entries: 8 });

export const KVM_CPUID_ENTRY2 = struct('struct kvm_cpuid_entry2', 40, {
  function: 0,
  index: 4,
  flags: 8,
  eax: 12,
  ebx: 16,
  ecx: 20,
  edx: 24,
});

export const KVM_MSRS = struct('struct kvm_msrs', 8, { nmsrs: 0, entries: 8 });

export const KVM_MSR_ENTRY = struct('struct kvm_msr_entry', 16, { index: 0, data: 8 });

export const KVM_INTERRUPT = struct('struct kvm_interrupt', 4, { irq: 0 });

/** `sigset` is the kernel's, of 8 bytes; it follows the structure. */
export const KVM_SIGNAL_MASK = struct('struct kvm_signal_mask', 4, { len: 0, sigset: 4 });

export const KVM_REGS = struct('struct kvm_regs', 144, {
  rax: 0,
  rbx: 8,
  rcx: 16,
  rdx: 24,
  rsi: 32,
  rdi: 40,
  rsp: 48,
  rbp: 56,
  r8: 64,
  r15: 120,
  rip: 128,
  rflags: 136,
});

export const KVM_SEGMENT = struct('struct kvm_segment', 24, {
  base: 0,
  limit: 8,
  selector: 12,
  type: 14,
  present: 15,
  dpl: 16,
  db: 17,
  s: 18,
  l: 19,
  g: 20,
  avl: 21,
  unusable: 22,
});

export const KVM_DTABLE = struct('struct kvm_dtable', 16, { base: 0, limit: 8 });

/** What both forms of the special registers begin with. */
const SREGS_HEAD = {
  cs: 0,
  ds: 24,
  es: 48,
  fs: 72,
  gs: 96,
  ss: 120,
  tr: 144,
  ldt: 168,
  gdt: 192,
  idt: 208,
  cr0: 224,
  cr2: 232,
  cr3: 240,
  cr4: 248,
  cr8: 256,
  efer: 264,
  apic_base: 272,
} as const;

export const KVM_SREGS = struct('struct kvm_sregs', 312, { ...SREGS_HEAD, interrupt_bitmap: 280 });

export const KVM_SREGS2 = struct('struct kvm_sregs2', 320, {
  ...SREGS_HEAD,
  flags: 280,
  pdptrs: 288,
});

export const KVM_DEBUGREGS = struct('struct kvm_debugregs', 128, {
  db: 0,
  dr6: 32,
  dr7: 40,
  flags: 48,
});

/** Its first 512 bytes are FXSAVE's, then the XSAVE header with XSTATE_BV (SDM volume 1, 13.4). */
export const KVM_XSAVE = struct('struct kvm_xsave', 4096, { region: 0 });

export const KVM_VCPU_EVENTS = struct('struct kvm_vcpu_events', 64, {
  'exception.injected': 0,
  'exception.nr': 1,
  'exception.has_error_code': 2,
  'exception.pending': 3,
  'exception.error_code': 4,
  'interrupt.injected': 8,
  'interrupt.nr': 9,
  'interrupt.soft': 10,
  'interrupt.shadow': 11,
  'nmi.injected': 12,
  'nmi.pending': 13,
  'nmi.masked': 14,
  flags: 20,
});

/** The page that a processor shares with its user. */
export const KVM_RUN = struct('struct kvm_run', 2352, {
  request_interrupt_window: 0,
  immediate_exit: 1,
  exit_reason: 8,
  ready_for_interrupt_injection: 12,
  if_flag: 13,
  cr8: 16,
  apic_base: 24,
  'hw.hardware_exit_reason': 32,
  'fail_entry.hardware_entry_failure_reason': 32,
  'io.direction': 32,
  'io.size': 33,
  'io.port': 34,
  'io.count': 36,
  'io.data_offset': 40,
  'mmio.phys_addr': 32,
  'mmio.data': 40,
  'mmio.len': 48,
  'mmio.is_write': 52,
  'internal.suberror': 32,
  'internal.ndata': 36,
  'internal.data': 40,
  'emulation_failure.flags': 40,
  'emulation_failure.insn_size': 48,
  'emulation_failure.insn_bytes': 49,
  'msr.error': 32,
  'msr.reason': 40,
  'msr.index': 44,
  'msr.data': 48,
});

/** Of signal.h: who is told, and how, that a timer has expired. */
export const SIGEVENT = struct('struct sigevent', 64, {
  sigev_value: 0,
  sigev_signo: 8,
  sigev_notify: 12,
  '_sigev_un._tid': 16,
});

/** Of time.h. */
export const ITIMERSPEC = struct('struct itimerspec', 32, {
  'it_interval.tv_sec': 0,
  'it_interval.tv_nsec': 8,
  'it_value.tv_sec': 16,
  'it_value.tv_nsec': 24,
});

/** Every structure of this file, for the test that compares them. */
export const STRUCTS: readonly StructLayout<string>[] = [
  ...[KVM_USERSPACE_MEMORY_REGION, KVM_DIRTY_LOG, KVM_CLEAR_DIRTY_LOG, KVM_DIRTY_GFN],
  ...[KVM_ENABLE_CAP],
  ...[KVM_COALESCED_MMIO_ZONE, KVM_COALESCED_MMIO, KVM_COALESCED_MMIO_RING],
  ...[KVM_MSR_FILTER_RANGE, KVM_MSR_FILTER, KVM_CPUID2, KVM_CPUID_ENTRY2, KVM_MSRS],
  ...[KVM_MSR_ENTRY, KVM_INTERRUPT, KVM_SIGNAL_MASK, KVM_REGS, KVM_SEGMENT, KVM_DTABLE],
  ...[KVM_SREGS, KVM_SREGS2, KVM_DEBUGREGS, KVM_XSAVE, KVM_VCPU_EVENTS, KVM_RUN],
  ...[SIGEVENT, ITIMERSPEC],
];
