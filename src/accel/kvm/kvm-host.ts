// `/dev/kvm`: opened, asked what it can do, and what it must be able to do.

import { KVM, KVM_CPUID_ENTRY2, KVM_CPUID2 } from './abi.ts';
import { KVMError } from './kvm-vm.ts';
import { type HostBytes, type LinuxCalls, linuxCalls } from './linux-calls.ts';

const DEVICE = '/dev/kvm';
const CPUID_ENTRIES_MAX = 256;

/** Without one of these a machine of ours cannot run. */
const NEEDED = [
  'KVM_CAP_USER_MEMORY',
  'KVM_CAP_DESTROY_MEMORY_REGION_WORKS',
  'KVM_CAP_SET_TSS_ADDR',
  'KVM_CAP_SET_IDENTITY_MAP_ADDR',
  'KVM_CAP_EXT_CPUID',
  'KVM_CAP_USER_NMI',
  'KVM_CAP_VCPU_EVENTS',
  'KVM_CAP_DEBUGREGS',
  'KVM_CAP_XSAVE',
  'KVM_CAP_IMMEDIATE_EXIT',
  'KVM_CAP_X86_USER_SPACE_MSR',
  'KVM_CAP_X86_MSR_FILTER',
] as const satisfies readonly (keyof typeof KVM)[];

/** EAX, EBX, ECX and EDX of a leaf. */
export type CPUIDLeaf = readonly [number, number, number, number];

/** The kernel's KVM; close it when its last machine is made. */
export class KVMHost {
  readonly calls: LinuxCalls;
  readonly fd: number;
  /** Bytes of the page that a processor shares, with what follows it. */
  readonly runBytes: number;

  /**
   * @throws {KVMError} with a message for people if there is no KVM here, if this user may not
   *   open it, or if it lacks something: `ENOENT`, `EACCES`, `ENOSYS` and others
   */
  static open(calls: LinuxCalls = linuxCalls(), path = DEVICE): KVMHost {
    const fd = calls.open(path);
    if (fd < 0) throw cannotOpen(path, calls.errno());
    try {
      return new KVMHost(calls, fd);
    } catch (error) {
      calls.close(fd);
      throw error;
    }
  }

  private constructor(calls: LinuxCalls, fd: number) {
    this.calls = calls;
    this.fd = fd;
    const version = calls.ioctl(fd, KVM.KVM_GET_API_VERSION, 0);
    if (version !== KVM.KVM_API_VERSION)
      throw new KVMError(
        'ENOSYS',
        `Cannot use KVM as its API version must be ${KVM.KVM_API_VERSION}: it is ${version}`,
      );
    for (const name of NEEDED)
      if (this.checkExtension(KVM[name]) <= 0)
        throw new KVMError('ENOSYS', `Cannot use KVM as it must have ${name}: this kernel has not`);
    this.runBytes = calls.ioctl(fd, KVM.KVM_GET_VCPU_MMAP_SIZE, 0);
  }

  /** KVM_CHECK_EXTENSION: 0 if the kernel lacks it. */
  checkExtension(capability: number): number {
    return Math.max(0, this.calls.ioctl(this.fd, KVM.KVM_CHECK_EXTENSION, capability));
  }

  /** A file descriptor of a new virtual machine. @throws {KVMError} if the kernel refuses */
  createVM(): number {
    const fd = this.calls.ioctl(this.fd, KVM.KVM_CREATE_VM, 0);
    if (fd < 0) {
      const code = this.calls.errno();
      throw new KVMError(code, `Cannot create a virtual machine in KVM: ${code}`);
    }
    return fd;
  }

  /** What the kernel can show a guest, by leaf (its first sub-leaf). */
  supportedCPUID(): ReadonlyMap<number, CPUIDLeaf> {
    const table = this.calls.allocate(
      KVM_CPUID2.sizeBytes + CPUID_ENTRIES_MAX * KVM_CPUID_ENTRY2.sizeBytes,
    );
    table.view.setUint32(KVM_CPUID2.at.nent, CPUID_ENTRIES_MAX, true);
    if (this.calls.ioctl(this.fd, KVM.KVM_GET_SUPPORTED_CPUID, table.address) < 0) {
      const code = this.calls.errno();
      throw new KVMError(code, `Cannot ask KVM what CPUID it supports: ${code}`);
    }
    return readLeaves(table);
  }

  close(): void {
    this.calls.close(this.fd);
  }
}

function readLeaves({ view }: HostBytes): Map<number, CPUIDLeaf> {
  const leaves = new Map<number, CPUIDLeaf>();
  const { at, sizeBytes } = KVM_CPUID_ENTRY2;
  const count = Math.min(CPUID_ENTRIES_MAX, view.getUint32(KVM_CPUID2.at.nent, true));
  for (let index = 0; index < count; index++) {
    const entry = KVM_CPUID2.at.entries + index * sizeBytes;
    const leaf = view.getUint32(entry + at.function, true);
    if (leaves.has(leaf)) continue;
    const register = (offset: number) => view.getUint32(entry + offset, true);
    leaves.set(leaf, [register(at.eax), register(at.ebx), register(at.ecx), register(at.edx)]);
  }
  return leaves;
}

function cannotOpen(path: string, code: string): KVMError {
  const why: Readonly<Record<string, string>> = {
    ENOENT: 'the host must offer it (a kernel with KVM, hardware virtualization turned on)',
    EACCES: 'this user must be allowed to read and write it (often: be in the group "kvm")',
    EPERM: 'this user must be allowed to read and write it (often: be in the group "kvm")',
    ENODEV: 'the module of this processor must be loaded (kvm-intel or kvm-amd)',
    ENXIO: 'the module of this processor must be loaded (kvm-intel or kvm-amd)',
  };
  return new KVMError(
    code,
    `Cannot open "${path}" as ${why[code] ?? 'it must be KVM\u2019s device'}: ${code}`,
  );
}
