// How many instructions the processor may run before the machine looks up: about a ms, less if a
// timer is due earlier. Learns from each slice how fast the processor is.

/** Wanted length of a slice, ns of virtual time. */
const SLICE_NS = 1_000_000;
/** Shorter slices cost more than a timer's delay is worth. */
const SLICE_NS_MIN = 20_000;
const BUDGET_MIN = 500;
const BUDGET_MAX = 20_000_000;
/** Weight of the newest slice in the estimate. */
const WEIGHT = 0.25;
/** Slices shorter than this say nothing about speed, ns. */
const LEARN_NS_MIN = 50_000;

export class SlicePlanner {
  #instructionsPerNs = 0.02;
  #sliceNs = SLICE_NS;

  /** Length that was planned for the last slice, ns. */
  get sliceNs(): number {
    return this.#sliceNs;
  }

  /**
   * Instructions for the next slice. @param untilTimerNs time left to the next timer, or Infinity
   */
  budget(untilTimerNs: number): number {
    this.#sliceNs = Math.max(SLICE_NS_MIN, Math.min(SLICE_NS, untilTimerNs));
    const count = Math.round(this.#sliceNs * this.#instructionsPerNs);
    return Math.max(BUDGET_MIN, Math.min(BUDGET_MAX, count));
  }

  /** A slice of `count` instructions took `elapsedNs`. */
  learn(count: number, elapsedNs: number): void {
    if (elapsedNs < LEARN_NS_MIN || count <= 0) {
      // Too short to measure: the estimate was far too low, if the budget was used up.
      if (count >= BUDGET_MIN && elapsedNs < LEARN_NS_MIN && this.#sliceNs > LEARN_NS_MIN)
        this.#instructionsPerNs *= 2;
      this.#bound();
      return;
    }
    this.#instructionsPerNs += (count / elapsedNs - this.#instructionsPerNs) * WEIGHT;
    this.#bound();
  }

  #bound(): void {
    this.#instructionsPerNs = Math.max(0.0005, Math.min(20, this.#instructionsPerNs));
  }
}
