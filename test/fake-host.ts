// A host whose time a test moves: sleeping takes no time, and moves the clock as far as was asked.

import type { Host, HostSleep } from '../src/machine/host.ts';

export class FakeHost implements Host {
  timeMs = 1000;
  unixMs = Date.UTC(2026, 10, 23, 12, 0, 0);
  /** How long every sleep was meant to be, ms. */
  readonly sleeps: number[] = [];
  yieldCount = 0;
  /** Called when a sleep begins; it may call wake(). */
  onSleep: (ms: number) => void = () => {};

  nowMs(): number {
    return this.timeMs;
  }

  epochMs(): number {
    return this.unixMs;
  }

  sleep(ms: number): HostSleep {
    this.sleeps.push(ms);
    let wake: () => void = () => {};
    const woken = new Promise<void>((resolve) => {
      wake = resolve;
    });
    const start = this.timeMs;
    let isWoken = false;
    const sleep: HostSleep = {
      done: Promise.race([
        woken,
        new Promise<void>((resolve) =>
          setImmediate(() => {
            if (!isWoken) this.timeMs = Math.max(this.timeMs, start + ms);
            resolve();
          }),
        ),
      ]),
      wake: () => {
        isWoken = true;
        wake();
      },
    };
    this.onSleep(ms);
    return sleep;
  }

  yield(): Promise<void> {
    this.yieldCount++;
    // Real time goes on meanwhile.
    this.timeMs += 0.1;
    return new Promise((resolve) => setImmediate(resolve));
  }
}
