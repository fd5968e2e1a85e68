// What ran, instruction by instruction, for a moment: from it a unit is made that has just the code
// of a loop, whatever pages and functions it lies in.

/** Instructions of one recording. */
export const PATH_STEPS = 4000;
/** Single steps of the processor after which a recording ends, full or not. */
const STEPS_MAX = 3 * PATH_STEPS;
/** Between two stretches, which do not follow each other; never twice in a row. */
const GAP = -1;

/** Linear addresses in the order in which instructions at them began. */
export class RecordedPath {
  readonly #linear = new Float64Array(PATH_STEPS);
  #count = 0;
  #steps = 0;

  get isFull(): boolean {
    return this.#count === PATH_STEPS;
  }

  /** Whether nothing more should be noted: the code that it is about may never come back. */
  get isOver(): boolean {
    return this.isFull || this.#steps >= STEPS_MAX;
  }

  /** Notes that the instruction at `linear` is next. */
  note(linear: number): void {
    this.#steps++;
    if (!this.isFull) this.#linear[this.#count++] = linear;
  }

  /** What comes next does not follow from what was noted last. */
  interrupt(): void {
    this.#steps++;
    const hasGap = this.#count === 0 || this.#linear[this.#count - 1] === GAP;
    if (!hasGap && !this.isFull) this.#linear[this.#count++] = GAP;
  }

  /** Address of the instruction that ran most often, the first of several; −1 if none did. */
  hottest(): number {
    const counts = new Map<number, number>();
    let hottest = GAP;
    for (const linear of this.#linear.subarray(0, this.#count)) {
      if (linear === GAP) continue;
      const count = (counts.get(linear) ?? 0) + 1;
      counts.set(linear, count);
      if (count > (counts.get(hottest) ?? 0)) hottest = linear;
    }
    return hottest;
  }

  /** The path as a graph of offsets from the linear address `origin`, each within ±2 GiB. */
  graphFrom(origin: number): PathGraph {
    const counts = new Map<number, number>();
    const successors = new Map<number, Map<number, number>>();
    let before: Map<number, number> | undefined;
    for (const linear of this.#linear.subarray(0, this.#count)) {
      if (linear === GAP) {
        before = undefined;
        continue;
      }
      const offset = (linear - origin) | 0;
      counts.set(offset, (counts.get(offset) ?? 0) + 1);
      before?.set(offset, (before.get(offset) ?? 0) + 1);
      before = successors.get(offset) ?? new Map<number, number>();
      successors.set(offset, before);
    }
    return {
      length: [...counts.values()].reduce((sum, count) => sum + count, 0),
      countAt: (offset) => counts.get(offset) ?? 0,
      successorsOf: (offset) =>
        [...(successors.get(offset) ?? [])].sort((a, b) => b[1] - a[1]).map(([next]) => next),
    };
  }
}

export interface PathGraph {
  /** Instructions of the path. */
  readonly length: number;
  /** How often the instruction at an offset ran. */
  countAt(offset: number): number;
  /** What ran right behind it, the most frequent first. */
  successorsOf(offset: number): readonly number[];
}
