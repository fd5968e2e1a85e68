// What brings a thread back out of KVM_RUN when its slice of time is over: a POSIX timer sends it a
// real-time signal that is blocked everywhere but inside KVM_RUN (KVM_SET_SIGNAL_MASK), which then
// returns EINTR. No handler ever runs, and no time passes between "unblocked" and "waiting".
// Linux: Documentation/virt/kvm/api.rst, 4.21; timer_create(2), "SIGEV_THREAD_ID".

import { ITIMERSPEC, KVM_SIGNAL_MASK, SIGEVENT } from './abi.ts';
import { KVMError } from './kvm-vm.ts';
import type { HostBytes, LinuxCalls } from './linux-calls.ts';

/** A real-time signal that neither the C library (32, 33), Node nor V8 uses. */
const KICK_SIGNAL = 43;
const KERNEL_SIGSET_BYTES = 8;
const LIBC_SIGSET_BYTES = 128;
const SIG_BLOCK = 0;
const CLOCK_MONOTONIC = 1;
const SIGEV_THREAD_ID = 4;
const NS_PER_S = 1_000_000_000;

/** A thread's timer. Make it on the thread that runs the processor. */
export class Kick {
  /** `struct kvm_signal_mask` for KVM_SET_SIGNAL_MASK: the thread's mask, less this signal. */
  readonly signalMask: HostBytes;
  readonly #calls: LinuxCalls;
  readonly #timer: number;
  readonly #signals: HostBytes;
  readonly #value: HostBytes;
  readonly #now: HostBytes;

  /** The calling thread's; made once. @throws {KVMError} if the kernel has no such timer */
  static ofThread(calls: LinuxCalls): Kick {
    ofThread ??= new Kick(calls);
    return ofThread;
  }

  private constructor(calls: LinuxCalls) {
    this.#calls = calls;
    this.#signals = calls.allocate(LIBC_SIGSET_BYTES);
    this.#signals.view.setBigUint64(0, 1n << BigInt(KICK_SIGNAL - 1), true);
    this.#value = calls.allocate(ITIMERSPEC.sizeBytes);
    this.#now = calls.allocate(16);
    const before = calls.allocate(LIBC_SIGSET_BYTES);
    calls.pthreadSigmask(SIG_BLOCK, this.#signals.address, before.address);
    this.signalMask = calls.allocate(KVM_SIGNAL_MASK.sizeBytes + KERNEL_SIGSET_BYTES);
    this.signalMask.view.setUint32(KVM_SIGNAL_MASK.at.len, KERNEL_SIGSET_BYTES, true);
    const mask = before.view.getBigUint64(0, true) & ~(1n << BigInt(KICK_SIGNAL - 1));
    this.signalMask.view.setBigUint64(KVM_SIGNAL_MASK.at.sigset, mask, true);
    const event = calls.allocate(SIGEVENT.sizeBytes);
    event.view.setInt32(SIGEVENT.at.sigev_signo, KICK_SIGNAL, true);
    event.view.setInt32(SIGEVENT.at.sigev_notify, SIGEV_THREAD_ID, true);
    event.view.setInt32(SIGEVENT.at['_sigev_un._tid'], calls.gettid(), true);
    const id = calls.allocate(8);
    if (calls.timerCreate(CLOCK_MONOTONIC, event.address, id.address) !== 0) {
      const code = calls.errno();
      throw new KVMError(code, `Cannot create the timer that ends a slice of KVM: ${code}`);
    }
    this.#timer = Number(id.view.getBigUint64(0, true));
  }

  /** Sends the signal in `ns`, in place of what was armed before. */
  arm(ns: number): void {
    const { view, address } = this.#value;
    const seconds = Math.floor(ns / NS_PER_S);
    view.setBigInt64(ITIMERSPEC.at['it_value.tv_sec'], BigInt(seconds), true);
    view.setBigInt64(
      ITIMERSPEC.at['it_value.tv_nsec'],
      BigInt(Math.max(1, Math.floor(ns - seconds * NS_PER_S))),
      true,
    );
    this.#calls.timerSettime(this.#timer, 0, address, 0);
  }

  /** Takes the signal if it has come: without this KVM_RUN would return at once for ever. */
  take(): void {
    this.#calls.sigtimedwait(this.#signals.address, 0, this.#now.address);
  }
}

let ofThread: Kick | undefined;
