// The kernel's own slots for tests: a virtual machine over a piece of our memory, and a processor
// in it that loads and stores single bytes below 4 GiB, in real mode with segment bases of our
// choice.

import {
  KVM,
  KVM_DTABLE,
  KVM_REGS,
  KVM_RUN,
  KVM_SEGMENT,
  KVM_SREGS,
} from '../../src/accel/kvm/abi.ts';
import { KVMHost } from '../../src/accel/kvm/kvm-host.ts';
import type { HostBytes } from '../../src/accel/kvm/linux-calls.ts';
import { VirtualMachine } from '../../src/accel/kvm/virtual-machine.ts';

/** Where the processor's two instructions lie; nobody else may map there. */
const CODE_GPA = 0x7fff_0000;
const LOAD = [0x8a, 0x07, 0xf4]; // mov al, [bx]; hlt
const STORE = [0x88, 0x07, 0xf4]; // mov [bx], al; hlt
const PAGE = 4096;

/** A virtual machine of the kernel and the memory that its slots can show. */
export class KernelMemory {
  readonly vm: VirtualMachine;
  readonly hostBase: bigint;
  readonly #host: KVMHost;
  readonly #code: Uint8Array;
  #vcpu: { fd: number; run: HostBytes } | undefined;

  /** @param memory what slots can show, page-aligned; WebAssembly's memory is, and stays there */
  constructor(memory: Uint8Array) {
    this.#host = KVMHost.open();
    this.vm = new VirtualMachine(this.#host);
    this.#code = new Uint8Array(new WebAssembly.Memory({ initial: 1 }).buffer);
    this.hostBase = BigInt(this.vm.calls.addressOf(memory));
  }

  hostAddress = (ramOffset: number): bigint => this.hostBase + BigInt(ramOffset);

  /** A guest's store of a byte: false if it is an exit. */
  guestWrite(gpa: number, value: number): boolean {
    return this.#run(STORE, gpa, value) !== 'exit';
  }

  /** A guest's load of a byte: undefined if it is an exit. */
  guestRead(gpa: number): number | undefined {
    const found = this.#run(LOAD, gpa, 0);
    return found === 'exit' ? undefined : found;
  }

  /** Maps the dirty ring of the processor. */
  mapRing(ringBytes: number): Int32Array {
    const { fd } = this.#start();
    const ring = this.vm.calls.map(fd, ringBytes, KVM.KVM_DIRTY_LOG_PAGE_OFFSET * PAGE)!;
    return new Int32Array(ring.bytes.buffer, ring.bytes.byteOffset, ringBytes / 4);
  }

  close(): void {
    if (this.#vcpu !== undefined) {
      this.vm.calls.unmap(this.#vcpu.run);
      this.vm.calls.close(this.#vcpu.fd);
    }
    this.vm.close();
    this.#host.close();
  }

  #start(): { fd: number; run: HostBytes } {
    if (this.#vcpu !== undefined) return this.#vcpu;
    this.vm.setUserMemoryRegion({
      slot: this.vm.checkExtension(KVM.KVM_CAP_NR_MEMSLOTS) - 1,
      flags: 0,
      guestPhysicalAddress: CODE_GPA,
      memorySize: PAGE,
      userspaceAddress: BigInt(this.vm.calls.addressOf(this.#code)),
    });
    const fd = this.vm.createVCPU();
    const run = this.vm.calls.map(fd, this.#host.runBytes)!;
    this.#vcpu = { fd, run };
    return this.#vcpu;
  }

  /** Has the processor about to run `code`, with DS:BX at `gpa`. */
  prepare(code: readonly number[], gpa = 0, al = 0): { fd: number; run: HostBytes } {
    const { fd, run } = this.#start();
    const { calls } = this.vm;
    this.#code.set(code);
    const sregs = calls.allocate(KVM_SREGS.sizeBytes);
    this.#ioctl(KVM.KVM_GET_SREGS, sregs.address);
    const setSegment = (at: number, base: number) => {
      sregs.view.setBigUint64(at + KVM_SEGMENT.at.base, BigInt(base), true);
      sregs.view.setUint16(at + KVM_SEGMENT.at.selector, 0, true);
    };
    setSegment(KVM_SREGS.at.cs, CODE_GPA);
    setSegment(KVM_SREGS.at.ds, gpa - (gpa % PAGE));
    sregs.view.setUint16(KVM_SREGS.at.idt + KVM_DTABLE.at.limit, 0, true);
    this.#ioctl(KVM.KVM_SET_SREGS, sregs.address);
    const regs = calls.allocate(KVM_REGS.sizeBytes);
    regs.view.setBigUint64(KVM_REGS.at.rax, BigInt(al), true);
    regs.view.setBigUint64(KVM_REGS.at.rbx, BigInt(gpa % PAGE), true);
    regs.view.setBigUint64(KVM_REGS.at.rflags, 2n, true);
    this.#ioctl(KVM.KVM_SET_REGS, regs.address);
    return { fd, run };
  }

  #ioctl(request: number, argument: number): void {
    const { calls } = this.vm;
    if (calls.ioctl(this.#start().fd, request, argument) < 0)
      throw new Error(`ioctl 0x${request.toString(16)}: ${calls.errno()}`);
  }

  #run(code: readonly number[], gpa: number, al: number): number | 'exit' {
    const { fd, run } = this.prepare(code, gpa, al);
    const { calls } = this.vm;
    let isExit = false;
    for (;;) {
      if (calls.ioctl(fd, KVM.KVM_RUN, 0) < 0 && calls.errno() !== 'EINTR')
        throw new Error(`KVM_RUN: ${calls.errno()}`);
      const reason = run.view.getUint32(KVM_RUN.at.exit_reason, true);
      if (reason === KVM.KVM_EXIT_HLT) break;
      if (reason !== KVM.KVM_EXIT_MMIO)
        throw new Error(`KVM_RUN left for reason ${reason} at 0x${gpa.toString(16)}`);
      isExit = true;
    }
    if (isExit) return 'exit';
    const regs = calls.allocate(KVM_REGS.sizeBytes);
    this.#ioctl(KVM.KVM_GET_REGS, regs.address);
    return regs.view.getUint8(KVM_REGS.at.rax);
  }
}
