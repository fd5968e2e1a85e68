// A virtual machine of the kernel's: memory slots, dirty logs, and what all of it is set up with.

import {
  KVM,
  KVM_CLEAR_DIRTY_LOG,
  KVM_COALESCED_MMIO_ZONE,
  KVM_DIRTY_LOG,
  KVM_ENABLE_CAP,
  KVM_MSR_FILTER,
  KVM_MSR_FILTER_RANGE,
  KVM_USERSPACE_MEMORY_REGION,
} from './abi.ts';
import type { KVMHost } from './kvm-host.ts';
import { KVMError, type KVMMemoryRegion, type KVMMemoryVM } from './kvm-vm.ts';
import type { HostBytes, LinuxCalls } from './linux-calls.ts';

/**
 * Three pages and one that Intel's processors without unrestricted guests need for real mode, in a
 * hole of our map below the APIC (Linux: Documentation/virt/kvm/api.rst, 4.15 KVM_SET_TSS_ADDR).
 */
const IDENTITY_MAP_GPA = 0xfeff_c000;
const TSS_GPA = 0xfeff_d000;

/** A run of MSRs that the kernel may handle: the first one, and how many. */
export type MSRRange = readonly [first: number, count: number];

/** One virtual machine in the kernel, without a processor. Every method throws `KVMError`. */
export class VirtualMachine implements KVMMemoryVM {
  readonly calls: LinuxCalls;
  readonly fd: number;
  readonly #scratch: HostBytes;

  constructor(host: KVMHost) {
    this.calls = host.calls;
    this.#scratch = host.calls.allocate(KVM_MSR_FILTER.sizeBytes);
    this.fd = host.createVM();
    try {
      const { view, address } = this.#clear();
      view.setBigUint64(0, BigInt(IDENTITY_MAP_GPA), true);
      this.call(KVM.KVM_SET_IDENTITY_MAP_ADDR, address, 'set the identity map of');
      this.call(KVM.KVM_SET_TSS_ADDR, TSS_GPA, 'set the task state of');
    } catch (error) {
      this.close();
      throw error;
    }
  }

  checkExtension(capability: number): number {
    return Math.max(0, this.calls.ioctl(this.fd, KVM.KVM_CHECK_EXTENSION, capability));
  }

  enableCapability(capability: number, argument: number): void {
    const { view, address } = this.#clear();
    view.setUint32(KVM_ENABLE_CAP.at.cap, capability, true);
    view.setBigUint64(KVM_ENABLE_CAP.at.args, BigInt(argument), true);
    this.call(KVM.KVM_ENABLE_CAP, address, `enable capability ${capability} of`);
  }

  setUserMemoryRegion(region: KVMMemoryRegion): void {
    const { at } = KVM_USERSPACE_MEMORY_REGION;
    const { view, address } = this.#clear();
    view.setUint32(at.slot, region.slot, true);
    view.setUint32(at.flags, region.flags, true);
    view.setBigUint64(at.guest_phys_addr, BigInt(region.guestPhysicalAddress), true);
    view.setBigUint64(at.memory_size, BigInt(region.memorySize), true);
    view.setBigUint64(at.userspace_addr, region.userspaceAddress, true);
    this.call(KVM.KVM_SET_USER_MEMORY_REGION, address, `set memory slot ${region.slot} of`);
  }

  getDirtyLog(slot: number, bitmap: Uint8Array): void {
    const { at } = KVM_DIRTY_LOG;
    const { view, address } = this.#clear();
    view.setUint32(at.slot, slot, true);
    view.setBigUint64(at.dirty_bitmap, BigInt(this.calls.addressOf(bitmap)), true);
    this.call(KVM.KVM_GET_DIRTY_LOG, address, `get the dirty log of slot ${slot} of`);
  }

  clearDirtyLog(slot: number, firstPage: number, pageCount: number, bitmap: Uint8Array): void {
    const { at } = KVM_CLEAR_DIRTY_LOG;
    const { view, address } = this.#clear();
    view.setUint32(at.slot, slot, true);
    view.setUint32(at.num_pages, pageCount, true);
    view.setBigUint64(at.first_page, BigInt(firstPage), true);
    view.setBigUint64(at.dirty_bitmap, BigInt(this.calls.addressOf(bitmap)), true);
    this.call(KVM.KVM_CLEAR_DIRTY_LOG, address, `clear the dirty log of slot ${slot} of`);
  }

  resetDirtyRings(): void {
    this.call(KVM.KVM_RESET_DIRTY_RINGS, 0, 'reset the dirty rings of');
  }

  /** Has the guest's accesses to all other MSRs come to us. */
  allowMSRs(ranges: readonly MSRRange[]): void {
    const { at, sizeBytes } = KVM_MSR_FILTER_RANGE;
    const { view, address } = this.#clear();
    view.setUint32(KVM_MSR_FILTER.at.flags, KVM.KVM_MSR_FILTER_DEFAULT_DENY, true);
    const everything = this.calls.allocate(64);
    everything.bytes.fill(0xff);
    for (const [index, [first, count]] of ranges.entries()) {
      const range = KVM_MSR_FILTER.at.ranges + index * sizeBytes;
      view.setUint32(range + at.flags, KVM.KVM_MSR_FILTER_READ | KVM.KVM_MSR_FILTER_WRITE, true);
      view.setUint32(range + at.nmsrs, count, true);
      view.setUint32(range + at.base, first, true);
      view.setBigUint64(range + at.bitmap, BigInt(everything.address), true);
    }
    this.call(KVM.KVM_X86_SET_MSR_FILTER, address, 'filter the MSRs of');
  }

  /**
   * Gathers the guest's writes to device memory in a ring, where the kernel can; they are found
   * there, in order, after the next exit of another kind.
   */
  coalesceWrites(gpa: number, sizeBytes: number): void {
    if (this.checkExtension(KVM.KVM_CAP_COALESCED_MMIO) === 0) return;
    const { at } = KVM_COALESCED_MMIO_ZONE;
    const { view, address } = this.#clear();
    view.setBigUint64(at.addr, BigInt(gpa), true);
    view.setUint32(at.size, sizeBytes, true);
    this.call(KVM.KVM_REGISTER_COALESCED_MMIO, address, 'gather device writes of');
  }

  /** A file descriptor of its processor. */
  createVCPU(): number {
    return this.call(KVM.KVM_CREATE_VCPU, 0, 'create the processor of');
  }

  close(): void {
    this.calls.close(this.fd);
  }

  /** @throws {KVMError} that the kernel refused to do `action` with the machine */
  call(request: number, argument: number, action: string): number {
    const result = this.calls.ioctl(this.fd, request, argument);
    if (result >= 0) return result;
    const code = this.calls.errno();
    throw new KVMError(code, `Cannot ${action} a virtual machine as KVM refuses: ${code}`);
  }

  #clear(): HostBytes {
    this.#scratch.bytes.fill(0);
    return this.#scratch;
  }
}
