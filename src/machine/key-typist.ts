// Types for those who have no keyboard: chords, one after the other, each held for a while of
// virtual time, so that a guest that polls sees every one.

import type { VirtualClock, VirtualTimer } from '../base/device.ts';
import { pressBytes, releaseBytes } from '../devices/key-codes.ts';

/** Chords that wait; more are refused. */
const WAITING_MAX = 4096;
/** Between two chords, ns. */
const GAP_NS = 5_000_000;
const NS_PER_MS = 1_000_000;

/** Keys that are held together. */
export interface Chord {
  readonly keys: readonly string[];
  readonly holdNs: number;
}

/** What is being typed. */
export interface TypistState {
  /** The chord that is down, if `isDown`, and then those that wait. */
  readonly chords: readonly Chord[];
  readonly isDown: boolean;
  /** When the next step is due, ns of virtual time, or Infinity. */
  readonly deadlineNs: number;
}

export class KeyTypist {
  readonly #clock: VirtualClock;
  readonly #timer: VirtualTimer;
  readonly #send: (bytes: readonly number[]) => void;
  readonly #waiting: Chord[] = [];
  /** The chord that is down. */
  #down: Chord | undefined;

  /** @param send gets bytes of scan code set 2 */
  constructor(clock: VirtualClock, send: (bytes: readonly number[]) => void) {
    this.#clock = clock;
    this.#send = send;
    this.#timer = clock.createTimer(() => this.#step());
  }

  /**
   * Presses `keys` in their order and lets them go in the opposite one, `holdMs` of virtual time
   * later; after all that was typed before.
   * @returns whether there was room for it
   * @throws {RangeError} if one is no key of QEMU's names, or the time is none
   */
  type(keys: readonly string[], holdMs: number): boolean {
    for (const key of keys)
      if (pressBytes(key) === undefined)
        throw new RangeError(`Cannot press key "${key}" as it must be one of QEMU's names`);
    if (!(holdMs >= 0 && holdMs <= 60_000))
      throw new RangeError(`Cannot press keys as they must be held for 0 to 60000 ms: ${holdMs}`);
    if (this.#waiting.length >= WAITING_MAX) return false;
    this.#waiting.push({ keys, holdNs: holdMs * NS_PER_MS });
    if (this.#timer.deadlineNs === Number.POSITIVE_INFINITY) this.#step();
    return true;
  }

  save(): TypistState {
    const down = this.#down === undefined ? [] : [this.#down];
    const { deadlineNs } = this.#timer;
    return { chords: [...down, ...this.#waiting], isDown: down.length > 0, deadlineNs };
  }

  /** Goes on as saved. @throws {RangeError} if a key does not exist; nothing has changed then */
  restore(state: TypistState): void {
    for (const { keys } of state.chords)
      for (const key of keys)
        if (pressBytes(key) === undefined)
          throw new RangeError(`Cannot press key "${key}" as it must be one of QEMU's names`);
    const chords = [...state.chords];
    this.#down = state.isDown ? chords.shift() : undefined;
    this.#waiting.splice(0, this.#waiting.length, ...chords);
    this.#timer.arm(state.deadlineNs);
  }

  #step(): void {
    const now = this.#clock.nowNs();
    if (this.#down !== undefined) {
      const { keys } = this.#down;
      this.#down = undefined;
      this.#send(keys.toReversed().flatMap((key) => releaseBytes(key)!));
      this.#timer.arm(now + GAP_NS);
      return;
    }
    const next = this.#waiting.shift();
    if (next === undefined) return;
    this.#down = next;
    this.#send(next.keys.flatMap((key) => pressBytes(key)!));
    this.#timer.arm(now + next.holdNs);
  }
}
