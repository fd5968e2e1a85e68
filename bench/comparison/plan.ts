// What a run waits for in a guest's serial output, and what it notes each time. The same code
// watches in the processes of Quire and v86 (which know their own processor time and instruction
// counts) and in front of QEMU's output.

/** Waits for `pattern`, notes the time as `mark`, then types `type`. */
export interface Step {
  readonly mark: string;
  /** A JavaScript regular expression; what it matches must be shorter than {@link WINDOW_CHARS}. */
  readonly pattern: string;
  readonly type?: string;
}

/** Either steps in order, or every single byte a mark, until the one that ends the run. */
export type Plan =
  | { readonly kind: 'steps'; readonly steps: readonly Step[] }
  | { readonly kind: 'letters'; readonly last: string };

/** A moment of a run. */
export interface Sample {
  /** Monotonic time of this host, ms; the same clock in every process. */
  readonly ms: number;
  /** Processor time that the process has used, user and system, ms. */
  readonly cpuMs: number;
  /** Guest instructions so far, where they are counted. */
  readonly instructions?: number;
}

/** A sample with a name; the first byte of output is the mark {@link FIRST_OUTPUT}. */
export interface Mark extends Sample {
  readonly name: string;
}

export const FIRST_OUTPUT = 'first output';

const WINDOW_CHARS = 128;

/** Monotonic time, ms. */
export function nowMs(): number {
  return Number(process.hrtime.bigint()) / 1e6;
}

/** Follows a plan through a guest's output. */
export class PlanWatch {
  readonly #plan: Plan;
  readonly #sample: () => Sample;
  readonly #onMark: (mark: Mark) => void;
  readonly #type: (text: string) => void;
  readonly #onDone: () => void;
  readonly #patterns: readonly RegExp[];
  #stepIndex = 0;
  #hasOutput = false;
  #isDone = false;
  #window = '';

  constructor(
    plan: Plan,
    sample: () => Sample,
    on: { mark(mark: Mark): void; type(text: string): void; done(): void },
  ) {
    this.#plan = plan;
    this.#sample = sample;
    this.#onMark = (mark) => on.mark(mark);
    this.#type = (text) => on.type(text);
    this.#onDone = () => on.done();
    this.#patterns = plan.kind === 'steps' ? plan.steps.map(({ pattern }) => RegExp(pattern)) : [];
  }

  /** Takes one byte that the guest sent. */
  feed(byte: number): void {
    if (this.#isDone) return;
    if (!this.#hasOutput) {
      this.#hasOutput = true;
      this.#mark(FIRST_OUTPUT);
    }
    const char = String.fromCharCode(byte);
    if (this.#plan.kind === 'letters') {
      this.#mark(char);
      if (char === this.#plan.last) this.#finish();
      return;
    }
    this.#window = (this.#window + char).slice(-WINDOW_CHARS);
    if (!this.#patterns[this.#stepIndex]!.test(this.#window)) return;
    const { mark, type } = this.#plan.steps[this.#stepIndex++]!;
    this.#window = '';
    this.#mark(mark);
    if (type !== undefined) this.#type(type);
    if (this.#stepIndex === this.#plan.steps.length) this.#finish();
  }

  #mark(name: string): void {
    this.#onMark({ name, ...this.#sample() });
  }

  #finish(): void {
    this.#isDone = true;
    this.#onDone();
  }
}
