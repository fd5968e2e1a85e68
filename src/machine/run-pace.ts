// How long the processor runs before the machine looks up, and how time passes while it is halted:
// by the host's clock, or by the instructions that were executed.

import { MachineClock, type TimeSource } from './clock.ts';
import type { Host } from './host.ts';
import { SlicePlanner } from './slice-planner.ts';

const NS_PER_MS = 1_000_000;
/** What a slice or a sleep may take longer than planned before virtual time waits for it, ns. */
const STALL_NS_MAX = 1_000_000;

/** Virtual time as a function of instructions: the same run again, whatever the host does. */
export interface InstructionTiming {
  /** How long each instruction takes, ns: a power of two. */
  readonly nsPerInstruction: number;
  /** Whether a halted processor waits in the host's time, or time leaps to the next timer. */
  readonly sleeps: boolean;
}

/** Time that passes with each instruction, and leaps while the processor is halted. */
class InstructionTime implements TimeSource {
  readonly timing: InstructionTiming;
  readonly #executed: () => number;
  #leaptNs = 0;

  /** @param executed instructions so far, those before the one that is under way included */
  constructor(timing: InstructionTiming, executed: () => number) {
    this.timing = timing;
    this.#executed = executed;
  }

  nowNs(): number {
    return this.#leaptNs + this.#executed() * this.timing.nsPerInstruction;
  }

  leap(ns: number): void {
    this.#leaptNs += ns;
  }
}

export class RunPace {
  readonly clock: MachineClock;
  readonly #instructionTime: InstructionTime | undefined;
  readonly #planner = new SlicePlanner();
  #sliceStartNs = 0;
  #sliceEndNs = 0;

  /** @param executed instructions so far, for `timing`; without it, time is the host's */
  constructor(host: Host, timing: InstructionTiming | undefined, executed: () => number) {
    const hostTime = { nowNs: () => Math.floor(host.nowMs() * NS_PER_MS) };
    this.#instructionTime = timing && new InstructionTime(timing, executed);
    this.clock = new MachineClock(this.#instructionTime ?? hostTime);
  }

  /** Virtual time up to which the slice under way was planned, ns. */
  get sliceEndNs(): number {
    return this.#sliceEndNs;
  }

  /** How long the slice under way should take, ns. */
  get sliceNs(): number {
    return this.#planner.sliceNs;
  }

  /** Begins a slice; instructions that it may take. */
  beginSlice(): number {
    const clock = this.clock;
    this.#sliceStartNs = clock.nowNs();
    const untilTimerNs = clock.nextDeadlineNs - this.#sliceStartNs;
    const budget = this.#planner.budget(untilTimerNs);
    const time = this.#instructionTime;
    if (time !== undefined) {
      this.#sliceEndNs = clock.nextDeadlineNs;
      // A timer fires before the first instruction that begins at its time or later.
      return Math.min(budget, Math.max(1, Math.ceil(untilTimerNs / time.timing.nsPerInstruction)));
    }
    this.#sliceEndNs = this.#sliceStartNs + this.#planner.sliceNs;
    clock.limit(this.#sliceEndNs + STALL_NS_MAX);
    return budget;
  }

  /** @param count instructions that the slice took */
  endSlice(count: number): void {
    if (this.#instructionTime === undefined)
      this.#planner.learn(count, this.clock.nowNs() - this.#sliceStartNs);
  }

  /** How long a halted processor has nothing to do, ms of the host; 0 if it is worth no sleep. */
  idleMs(): number {
    const clock = this.clock;
    const waitNs = clock.nextDeadlineNs - clock.nowNs();
    const isLeaping = this.#instructionTime?.timing.sleeps === false;
    if (isLeaping && waitNs !== Number.POSITIVE_INFINITY) return 0;
    clock.limit(clock.nextDeadlineNs + STALL_NS_MAX);
    const waitMs = Math.floor(waitNs / NS_PER_MS);
    // A host's timers are no finer than a ms, so the rest is spent yielding.
    return Math.max(0, waitMs);
  }

  /** The processor was halted for `elapsedMs` of the host; `isCutShort` by an input. */
  idled(elapsedMs: number, isCutShort: boolean): void {
    const time = this.#instructionTime;
    if (time === undefined) return;
    const waitNs = this.clock.nextDeadlineNs - this.clock.nowNs();
    const elapsedNs = Math.floor(elapsedMs * NS_PER_MS);
    if (isCutShort || waitNs === Number.POSITIVE_INFINITY) time.leap(Math.min(waitNs, elapsedNs));
    else time.leap(Math.max(0, waitNs));
  }
}
