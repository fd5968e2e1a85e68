// What a chip is given and what it shows: interrupt lines, virtual time, declared state.

/** One wire. Raising a raised line, or lowering a lowered one, does nothing. */
export interface IRQLine {
  raise(): void;
  lower(): void;
}

/** A line that leads nowhere. */
export const NO_LINE: IRQLine = { raise() {}, lower() {} };

/** Virtual time, in nanoseconds since the machine was created; it stands still while paused. */
export interface VirtualClock {
  /** Now, ns, never going back. */
  nowNs(): number;
  /** A timer that is not armed; `onExpire` runs between two guest instructions. */
  createTimer(onExpire: () => void): VirtualTimer;
}

export interface VirtualTimer {
  /** Absolute virtual time at which it expires, ns, or Infinity while it is not armed. */
  readonly deadlineNs: number;
  /** Arms, or re-arms, for an absolute virtual time; one in the past expires at once. */
  arm(deadlineNs: number): void;
  cancel(): void;
}
