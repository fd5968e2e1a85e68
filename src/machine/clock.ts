// A machine's virtual time: it follows its source (the host's time, or instructions) while the
// machine runs and stands still while it is paused. Timers and the time-stamp counter go by it;
// nothing else in a machine reads a host clock.

import type { VirtualClock, VirtualTimer } from '../base/device.ts';
import { TimerQueue } from '../base/timer-queue.ts';

/** Frequency of the time-stamp counter, Hz: one tick is one ns of virtual time. */
export const TSC_HZ = 1_000_000_000;

/** Where a clock's time comes from. */
export interface TimeSource {
  /** Whole ns since some moment; never goes back. */
  nowNs(): number;
}

/** Virtual time in ns since power-on, and the timers that go by it; it stands still at first. */
export class MachineClock implements VirtualClock {
  readonly #source: TimeSource;
  readonly #queue = new TimerQueue();
  /** Virtual time when it was last started or stopped, ns. */
  #baseNs = 0;
  /** What the source said then. */
  #startedNs = 0;
  #isRunning = false;
  #lastNs = 0;
  /** Time does not pass this; what the host takes beyond it is lost, as if paused. */
  #horizonNs = Number.POSITIVE_INFINITY;

  constructor(source: TimeSource) {
    this.#source = source;
  }

  get isRunning(): boolean {
    return this.#isRunning;
  }

  nowNs(): number {
    if (!this.#isRunning) return this.#lastNs;
    let now = this.#baseNs + this.#source.nowNs() - this.#startedNs;
    if (now > this.#horizonNs) {
      this.#baseNs -= now - this.#horizonNs;
      now = this.#horizonNs;
    }
    if (now > this.#lastNs) this.#lastNs = now;
    return this.#lastNs;
  }

  /**
   * Time goes no further than `ns` until this is called again. A host that stalls (another program
   * has its processor) is not time in which the guest ran: without a limit it would lose timer
   * ticks and, as Linux does, distrust its clocks.
   */
  limit(ns: number): void {
    this.nowNs();
    this.#horizonNs = Math.max(this.#lastNs, Math.floor(ns));
  }

  /** Time-stamp counter, ticks of {@link TSC_HZ}. */
  tsc(): bigint {
    return BigInt(this.nowNs());
  }

  createTimer(onExpire: () => void): VirtualTimer {
    return this.#queue.createTimer(onExpire);
  }

  /** Deadline of the next timer, ns, or Infinity. */
  get nextDeadlineNs(): number {
    return this.#queue.nextDeadlineNs;
  }

  /** Called when a timer is armed for earlier than all others. */
  set onEarlier(callback: () => void) {
    this.#queue.onEarlier = callback;
  }

  /** Expires the timers that are due now; returns how many did. */
  fireDue(): number {
    return this.#queue.fireDue(this.nowNs());
  }

  /** Time goes on, from where it stood. */
  start(): void {
    if (this.#isRunning) return;
    this.#baseNs = this.#lastNs;
    this.#startedNs = this.#source.nowNs();
    this.#isRunning = true;
  }

  stop(): void {
    this.nowNs();
    this.#isRunning = false;
  }

  /**
   * Time as a snapshot has it: the one way in which it may go back. Restore it before the devices,
   * which arm their timers by it; timers that are armed stay until their owners do.
   */
  restore(ns: number): void {
    this.#lastNs = ns;
    this.#baseNs = ns;
    this.#startedNs = this.#source.nowNs();
    this.#horizonNs = Number.POSITIVE_INFINITY;
  }
}
