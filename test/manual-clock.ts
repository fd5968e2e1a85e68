// Virtual time that a test moves by hand.

import type { VirtualClock, VirtualTimer } from '../src/base/device.ts';
import { TimerQueue } from '../src/base/timer-queue.ts';

export class ManualClock implements VirtualClock {
  readonly queue = new TimerQueue();
  #nowNs = 0;

  nowNs(): number {
    return this.#nowNs;
  }

  createTimer(onExpire: () => void): VirtualTimer {
    return this.queue.createTimer(onExpire);
  }

  /** Moves time on by `ns`, stopping at every deadline on the way. At most `maxEvents` stops. */
  advance(ns: number, maxEvents = 100_000): void {
    const end = this.#nowNs + ns;
    for (let i = 0; i < maxEvents && this.queue.nextDeadlineNs <= end; i++) {
      this.#nowNs = Math.max(this.#nowNs, this.queue.nextDeadlineNs);
      this.queue.fireDue(this.#nowNs);
    }
    this.#nowNs = end;
  }
}
