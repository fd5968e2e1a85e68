// What a machine asks of its host; the front end injects it, so that no room but that knows one.

/** A sleep that can be cut short. */
export interface HostSleep {
  /** Resolves when the time is over, or `wake` was called. */
  readonly done: Promise<void>;
  wake(): void;
}

/** What a machine takes from the system it runs on: two clocks and a way to let time pass. */
export interface Host {
  /** Monotonic time in ms, with fractions. */
  nowMs(): number;
  /** Unix time in ms. */
  epochMs(): number;
  sleep(ms: number): HostSleep;
  /** Lets the host's other work run (input, timers), and comes back as soon as it can. */
  yield(): Promise<void>;
}
