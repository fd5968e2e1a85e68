// A processor that the host's kernel runs. Its state is brought into the state area when somebody
// reads `state` after a run; interrupt controllers, timers and devices are the machine's.

import { PAGE_SIZE } from '../../base/pages.ts';
import { FLAG_IF } from '../../cpu/flags.ts';
import { Processor } from '../../cpu/processor.ts';
import { CPUState } from '../../cpu/state.ts';
import { A20_MASK, HALTED, INTERRUPT_SHADOW, NMI_BLOCKED } from '../../cpu/state-layout.ts';
import type { CPUWiring, MachineMemory, RunExit, VCPU } from '../../cpu/vcpu.ts';
import { KVM, KVM_COALESCED_MMIO, KVM_COALESCED_MMIO_RING, KVM_RUN } from './abi.ts';
import { describeExit } from './exit-report.ts';
import { accessMemory, accessPort, drainRing } from './guest-access.ts';
import { Kick } from './kick.ts';
import { KVMError } from './kvm-vm.ts';
import type { HostBytes, LinuxCalls } from './linux-calls.ts';
import type { Memslots } from './memslots.ts';
import { KERNEL_MSRS, StateTransfer } from './state-transfer.ts';
import type { VirtualMachine } from './virtual-machine.ts';

/** Where nobody says how long a slice is, ns. */
const SLICE_NS_DEFAULT = 1_000_000;
const NS_PER_MS = 1_000_000;
/** How far the host's time may run ahead of the guest's before its counter is set back, ns. */
const TSC_LAG_NS_MAX = 1_000_000;
/** What a slice is lengthened by at most, for a host that enters and leaves a guest slowly, ns. */
const ENTRY_NS_MAX = 50_000_000;
/** Turns of completing one access: a string instruction or a page crossing takes several. */
const COMPLETIONS_MAX = 100_000;
const COALESCED_PAGE_BYTES = 4096;
const A20_ON = 0xffff_ffff;

const BUDGET: RunExit = { kind: 'budget' };
const HALT: RunExit = { kind: 'halted' };
const { at: RUN } = KVM_RUN;

/** What a processor needs of the virtual machine around it. */
export interface KVMVCPUOptions {
  readonly vm: VirtualMachine;
  /** Bytes that the processor shares. */
  readonly runBytes: number;
  readonly cpuid: HostBytes;
  /** Whether the host's own processor is QEMU's emulation. */
  readonly isHostEmulated: boolean;
  readonly wiring: CPUWiring;
  readonly memory: MachineMemory;
  readonly memslots: Memslots;
  /** The A20 gate, as the memory map shows it. */
  readonly setA20: (isEnabled: boolean) => void;
  /** Lets go of everything else of the virtual machine. */
  readonly onClose: () => void;
}

export class KVMVCPU implements VCPU {
  /** The machine's memory as the kernel has it. */
  readonly memslots: Memslots;
  /** The guest writes RAM without anybody's knowing before its dirty log is read. */
  readonly interceptsWrites = false;
  /** The kernel does not count them. */
  readonly instructionCount = 0;
  readonly #state: CPUState;
  readonly #calls: LinuxCalls;
  readonly #fd: number;
  readonly #wiring: CPUWiring;
  /** Our own processor, for what the kernel leaves to us. */
  readonly #processor: Processor;
  readonly #transfer: StateTransfer;
  readonly #kick: Kick;
  readonly #shared: HostBytes;
  readonly #run: DataView;
  /** Pages that the guest wrote, where slots log to rings. */
  readonly #dirtyRing: HostBytes | undefined;
  readonly #ring: DataView | undefined;
  readonly #ringEntries: number;
  readonly #setA20: (isEnabled: boolean) => void;
  readonly #onClose: () => void;
  readonly #interrupt: HostBytes;
  /** Ticks of the guest's time-stamp counter in a ms. */
  readonly #tscKHz: number;
  /** Whether the state area was written and the kernel does not know, or the other way round. */
  #isStateNewer = true;
  #isKernelNewer = false;
  /** Whether the last exit wants an answer that the kernel has not taken yet. */
  #isAccessOpen = false;
  #isStopRequested = false;
  #isRunning = false;
  #isClosed = false;
  /** A non-maskable interrupt that the kernel has not been told of, and one that it has. */
  #isNMIRaised = false;
  #isNMIInKernel = false;
  #apicBase = -1;
  #shutdown: RunExit | undefined;
  /**
   * What entering and leaving the guest costs, about, ns. Where a host is emulated itself, or busy,
   * it can be more than a slice, which would end before the guest's first instruction.
   */
  #entryNs = 0;
  /** When the last run ended: host ms, and the machine's counter. */
  #leftMs = 0;
  #leftTicks = 0n;

  /** @throws {KVMError} if the kernel refuses */
  constructor(options: KVMVCPUOptions) {
    const { vm, wiring, memory } = options;
    const { calls } = vm;
    this.#calls = calls;
    this.#wiring = wiring;
    this.memslots = options.memslots;
    this.#setA20 = options.setA20;
    this.#onClose = options.onClose;
    this.#state = new CPUState(memory.buffer);
    this.#processor = new Processor(this.#state, wiring, memory);
    vm.enableCapability(
      KVM.KVM_CAP_X86_USER_SPACE_MSR,
      KVM.KVM_MSR_EXIT_REASON_FILTER |
        KVM.KVM_MSR_EXIT_REASON_UNKNOWN |
        KVM.KVM_MSR_EXIT_REASON_INVAL,
    );
    vm.allowMSRs(KERNEL_MSRS);
    this.#fd = vm.createVCPU();
    this.#set(KVM.KVM_SET_CPUID2, options.cpuid, 'CPUID');
    this.#kick = Kick.ofThread(calls);
    this.#set(KVM.KVM_SET_SIGNAL_MASK, this.#kick.signalMask, 'signal mask');
    this.#tscKHz = this.#setTSCRate(vm);
    const shared = calls.map(this.#fd, options.runBytes);
    if (shared === undefined)
      throw new KVMError(calls.errno(), `Cannot map the processor of KVM: ${calls.errno()}`);
    this.#shared = shared;
    this.#run = shared.view;
    this.#dirtyRing = this.#mapDirtyRing();
    const ringPage = vm.checkExtension(KVM.KVM_CAP_COALESCED_MMIO);
    this.#ring =
      ringPage === 0
        ? undefined
        : new DataView(shared.view.buffer, ringPage * COALESCED_PAGE_BYTES, COALESCED_PAGE_BYTES);
    this.#ringEntries = Math.floor(
      (COALESCED_PAGE_BYTES - KVM_COALESCED_MMIO_RING.sizeBytes) / KVM_COALESCED_MMIO.sizeBytes,
    );
    this.#interrupt = calls.allocate(4);
    const hasSREGS2 = vm.checkExtension(KVM.KVM_CAP_SREGS2) > 0;
    const { isHostEmulated } = options;
    const own = { calls, fd: this.#fd, wiring };
    this.#transfer = new StateTransfer({ ...own, hasSREGS2, isHostEmulated });
    this.reset();
  }

  /** The state as of now: read this property anew after a run, before you look into it. */
  get state(): CPUState {
    this.#fetch();
    return this.#state;
  }

  /** Whether a non-maskable interrupt waits. */
  get isNMIPending(): boolean {
    this.#fetch();
    return this.#isNMIRaised || this.#isNMIInKernel;
  }

  /** Call `synchronize` afterwards, which tells the kernel. */
  set isNMIPending(isPending: boolean) {
    this.#isNMIRaised = false;
    this.#isNMIInKernel = isPending;
  }

  /** Runs for `sliceNs` of the host's time; the kernel counts no instructions. */
  run(_instructionBudget: number, sliceNs = SLICE_NS_DEFAULT): RunExit {
    if (this.#shutdown !== undefined) return this.#shutdown;
    if (this.#isClosed) return BUDGET;
    this.#isStopRequested = false;
    this.#isRunning = true;
    try {
      return this.#runSlice(sliceNs);
    } finally {
      this.#isRunning = false;
      if (this.#isClosed) {
        this.#fetch();
        this.#release();
      }
    }
  }

  requestEvent(): void {
    // Interrupts are looked at after every exit, and nothing of ours runs inside KVM_RUN.
  }

  requestStop(): void {
    this.#isStopRequested = true;
  }

  reset(): void {
    // Whatever the guest was in the middle of is over before its registers are new.
    this.#fetch();
    this.#processor.reset();
    this.isNMIPending = false;
    this.synchronize();
  }

  raiseNMI(): void {
    this.#isNMIRaised = true;
  }

  setA20(isEnabled: boolean): void {
    this.#processor.setA20(isEnabled);
    this.#setA20(isEnabled);
  }

  synchronize(): void {
    this.#processor.synchronize();
    this.#setA20(this.#state.get32(A20_MASK) === A20_ON);
    this.#shutdown = undefined;
    this.#isStateNewer = true;
    this.#isKernelNewer = false;
  }

  /** Gives the virtual machine back to the kernel; the state area keeps the last state. */
  close(): void {
    if (this.#isClosed) return;
    if (!this.#isRunning) this.#fetch();
    this.#isClosed = true;
    if (!this.#isRunning) this.#release();
  }

  #mapDirtyRing(): HostBytes | undefined {
    const { ringBytes } = this.memslots;
    if (ringBytes === 0) return undefined;
    const offset = KVM.KVM_DIRTY_LOG_PAGE_OFFSET * PAGE_SIZE;
    const ring = this.#calls.map(this.#fd, ringBytes, offset);
    if (ring === undefined)
      throw new KVMError(
        this.#calls.errno(),
        `Cannot map the dirty ring of KVM: ${this.#calls.errno()}`,
      );
    this.memslots.addRing(new Int32Array(ring.view.buffer, ring.view.byteOffset, ringBytes / 4));
    return ring;
  }

  #release(): void {
    this.#calls.unmap(this.#shared);
    this.#calls.close(this.#fd);
    // The slots that go with it are harvested once more.
    this.#onClose();
    if (this.#dirtyRing !== undefined) this.#calls.unmap(this.#dirtyRing);
  }

  #runSlice(sliceNs: number): RunExit {
    if (this.#isStateNewer) {
      const problem = this.#load();
      if (problem !== undefined) return this.#stop(problem);
    } else this.#followPause();
    if (!this.#wakes()) return HALT;
    const wholeNs = sliceNs + this.#entryNs;
    const endMs = performance.now() + wholeNs / NS_PER_MS;
    this.#kick.arm(wholeNs);
    const exit = this.#runUntil(endMs);
    this.#leftMs = performance.now();
    this.#leftTicks = this.#wiring.readTSC();
    return exit ?? BUDGET;
  }

  /** Whether the processor runs: it is not halted, or something ends that. */
  #wakes(): boolean {
    if (this.#state.get32(HALTED) === 0) return true;
    const isInterrupt =
      this.#run.getUint8(RUN.if_flag) !== 0 && this.#wiring.interrupts.hasInterrupt();
    const isNMI = (this.#isNMIRaised || this.#isNMIInKernel) && !this.#blocksNMI();
    if (!isNMI && !isInterrupt) return false;
    this.#state.set32(HALTED, 0);
    return true;
  }

  #blocksNMI(): boolean {
    this.#fetch();
    return this.#state.get32(NMI_BLOCKED) !== 0;
  }

  /** Exit after exit, until the time is up or one of them ends the run. */
  #runUntil(endMs: number): RunExit | undefined {
    for (;;) {
      if (this.#isStopRequested || this.#isClosed) return undefined;
      this.#offerInterrupts();
      const error = this.#enter();
      if (error === 'EINTR' || error === 'EAGAIN') {
        this.#kick.take();
        const lateNs = (performance.now() - endMs) * NS_PER_MS;
        if (lateNs < 0) continue;
        // As much for the way in as for the way out, and as much again for the guest.
        this.#entryNs = Math.min(ENTRY_NS_MAX, Math.round((this.#entryNs + 3 * lateNs) / 2));
        return undefined;
      }
      const exit = error === undefined ? this.#handleExit() : this.#fail(`KVM_RUN: ${error}`);
      if (exit !== undefined) return exit;
      if (this.#isStateNewer) return undefined;
    }
  }

  /** KVM_RUN, with what is the machine's own on both sides; the error, if it is one. */
  #enter(): string | undefined {
    const run = this.#run;
    const tpr = BigInt(this.#wiring.readTPR());
    run.setBigUint64(RUN.cr8, tpr, true);
    this.#isKernelNewer = true;
    const result = this.#calls.ioctl(this.#fd, KVM.KVM_RUN, 0);
    const error = result < 0 ? this.#calls.errno() : undefined;
    this.#isAccessOpen = false;
    this.#drain();
    const newTPR = run.getBigUint64(RUN.cr8, true);
    if (newTPR !== tpr) this.#wiring.writeTPR(Number(newTPR));
    const apicBase = Number(run.getBigUint64(RUN.apic_base, true));
    if (apicBase !== this.#apicBase) {
      this.#apicBase = apicBase;
      if (apicBase !== this.#wiring.readAPICBase()) this.#wiring.writeAPICBase(apicBase);
    }
    return error;
  }

  /** Gives the kernel what waits, as far as the guest can take it now; else asks to be told. */
  #offerInterrupts(): void {
    const run = this.#run;
    if (this.#isNMIRaised) {
      this.#isNMIRaised = false;
      this.#calls.ioctl(this.#fd, KVM.KVM_NMI, 0);
    }
    const { interrupts } = this.#wiring;
    let isWaiting = interrupts.hasInterrupt();
    if (
      isWaiting &&
      run.getUint8(RUN.ready_for_interrupt_injection) !== 0 &&
      run.getUint8(RUN.if_flag) !== 0
    ) {
      // Acknowledged only now that it will surely be taken.
      this.#interrupt.view.setUint32(0, interrupts.acknowledge(), true);
      this.#calls.ioctl(this.#fd, KVM.KVM_INTERRUPT, this.#interrupt.address);
      run.setUint8(RUN.ready_for_interrupt_injection, 0);
      isWaiting = interrupts.hasInterrupt();
    }
    run.setUint8(RUN.request_interrupt_window, isWaiting ? 1 : 0);
  }

  /** Does what the guest's exit asks for; a result if the run ends with it. */
  #handleExit(): RunExit | undefined {
    const run = this.#run;
    switch (run.getUint32(RUN.exit_reason, true)) {
      case KVM.KVM_EXIT_IO:
        accessPort(this.#wiring.ports, run);
        this.#isAccessOpen = true;
        return undefined;
      case KVM.KVM_EXIT_MMIO:
        accessMemory(this.#wiring.memory, run);
        this.#isAccessOpen = true;
        return undefined;
      case KVM.KVM_EXIT_X86_RDMSR:
      case KVM.KVM_EXIT_X86_WRMSR:
        this.#accessMSR();
        this.#isAccessOpen = true;
        return undefined;
      case KVM.KVM_EXIT_IRQ_WINDOW_OPEN:
      case KVM.KVM_EXIT_SET_TPR:
      case KVM.KVM_EXIT_INTR:
        return undefined;
      case KVM.KVM_EXIT_DIRTY_RING_FULL:
        // Seen where the kernel emulates: it wrote over entries, and calls the ring full for ever.
        if (this.memslots.drainRings() > 0) return undefined;
        return this.#fail('the dirty ring has overflowed');
      case KVM.KVM_EXIT_HLT:
        return this.#halt();
      case KVM.KVM_EXIT_SHUTDOWN:
        return this.#fail('triple fault');
      default:
        return this.#fail(describeExit(run));
    }
  }

  #halt(): RunExit | undefined {
    const isInterrupt =
      this.#run.getUint8(RUN.if_flag) !== 0 && this.#wiring.interrupts.hasInterrupt();
    if (isInterrupt || (this.#isNMIRaised && !this.#blocksNMI())) return undefined;
    this.#state.set32(HALTED, 1);
    return HALT;
  }

  #accessMSR(): void {
    const run = this.#run;
    const { msrs } = this.#processor;
    const number = run.getUint32(RUN['msr.index'], true);
    const isRead = run.getUint32(RUN.exit_reason, true) === KVM.KVM_EXIT_X86_RDMSR;
    // One of the kernel's that comes here nevertheless is one that the kernel found wrong.
    const isTheirs = KERNEL_MSRS.some(([first, count]) => (number - first) >>> 0 < count);
    let isValid = false;
    if (isRead) {
      const value = isTheirs ? undefined : msrs.get(number);
      isValid = value !== undefined;
      run.setBigUint64(RUN['msr.data'], value ?? 0n, true);
    } else if (!isTheirs) isValid = msrs.set(number, run.getBigUint64(RUN['msr.data'], true));
    run.setUint8(RUN['msr.error'], isValid ? 0 : 1);
  }

  /** Has the kernel finish what the last exit was about, so that the state is one between two. */
  #complete(): void {
    const run = this.#run;
    run.setUint8(RUN.immediate_exit, 1);
    for (let turn = 0; this.#isAccessOpen && turn < COMPLETIONS_MAX; turn++)
      if (this.#enter() === undefined) this.#handleExit();
    run.setUint8(RUN.immediate_exit, 0);
  }

  /** Brings the state area up to date. */
  #fetch(): void {
    if (!this.#isKernelNewer) return;
    this.#complete();
    this.#isKernelNewer = false;
    const state = this.#state;
    const processor = this.#processor;
    const lagTicks = this.#isRunning ? 0n : this.#lagTicks();
    const { interruptVector, isNMIInjected, isNMIPending } = this.#transfer.fetch(state, lagTicks);
    this.#isNMIInKernel = isNMIPending;
    if (interruptVector < 0 && !isNMIInjected) return;
    // The kernel holds it, and the state area has no place for it: it is delivered here and now.
    processor.synchronize();
    if (isNMIInjected) processor.deliverNMI();
    else processor.deliverInterrupt(interruptVector);
    this.#isStateNewer = true;
  }

  /** State area → kernel; what went wrong, if it did. */
  #load(): string | undefined {
    const state = this.#state;
    const processor = this.#processor;
    // What the kernel still has to finish would otherwise change the registers that come now.
    this.#complete();
    this.#isKernelNewer = false;
    if (state.hasException && processor.deliverPendingException() === 'shutdown')
      return processor.shutdownReason;
    const problem = this.#transfer.load(state, this.#isNMIInKernel);
    if (problem !== undefined) return problem;
    this.#isStateNewer = false;
    this.#isAccessOpen = false;
    const isOpen = (state.eflags & FLAG_IF) !== 0 && state.get32(INTERRUPT_SHADOW) === 0;
    this.#run.setUint8(RUN.ready_for_interrupt_injection, isOpen ? 1 : 0);
    this.#run.setUint8(RUN.if_flag, isOpen ? 1 : 0);
    this.#apicBase = this.#wiring.readAPICBase();
    return undefined;
  }

  /** Time that the machine stood still does not pass for the guest's counter either. */
  #followPause(): void {
    const ticks = this.#lagTicks();
    if (ticks > 0n) this.#transfer.turnBackTSC(ticks);
  }

  /** By how many ticks the guest's counter has left the machine's time since the last run. */
  #lagTicks(): bigint {
    const hostNs = (performance.now() - this.#leftMs) * NS_PER_MS;
    const lagNs = hostNs - Number(this.#wiring.readTSC() - this.#leftTicks);
    if (lagNs < TSC_LAG_NS_MAX) return 0n;
    return BigInt(Math.floor((lagNs / NS_PER_MS) * this.#tscKHz));
  }

  /** As fast as the machine's own counter where the processor can; else the host's own rate. */
  #setTSCRate(vm: VirtualMachine): number {
    const ownKHz = 1_000_000;
    if (vm.checkExtension(KVM.KVM_CAP_TSC_CONTROL) > 0) {
      if (this.#calls.ioctl(this.#fd, KVM.KVM_SET_TSC_KHZ, ownKHz) >= 0) return ownKHz;
    }
    const hostKHz = this.#calls.ioctl(this.#fd, KVM.KVM_GET_TSC_KHZ, 0);
    return hostKHz > 0 ? hostKHz : ownKHz;
  }

  #drain(): void {
    if (this.#ring !== undefined) drainRing(this.#wiring.memory, this.#ring, this.#ringEntries);
  }

  /** The end of the guest: the state is fetched by the run that ends with it. */
  #fail(reason: string): RunExit {
    this.#fetch();
    return this.#stop(reason);
  }

  #stop(reason: string): RunExit {
    this.#processor.synchronize();
    this.#shutdown = { kind: 'shutdown', reason, report: this.#processor.report() };
    return this.#shutdown;
  }

  #set(request: number, argument: HostBytes, what: string): void {
    if (this.#calls.ioctl(this.#fd, request, argument.address) >= 0) return;
    const code = this.#calls.errno();
    throw new KVMError(code, `Cannot set the ${what} of a processor as KVM refuses: ${code}`);
  }
}
