// A seeded source of numbers that like the edges: where carries, signs and sizes change.

export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = (seed ^ 0x9e3779b9) | 0 || 1;
  }

  /** 32 random bits, unsigned (xorshift32, Marsaglia 2003). */
  bits(): number {
    let x = this.#state;
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    this.#state = x;
    return Math.imul(x, 0x2c1b3c6d) >>> 0;
  }

  /** An integer in [0, end). */
  below(end: number): number {
    return Math.floor((this.bits() / 0x1_0000_0000) * end);
  }

  chance(probability: number): boolean {
    return this.bits() < probability * 0x1_0000_0000;
  }

  pick<T>(values: readonly T[]): T {
    return values[this.below(values.length)]!;
  }

  /** 32 bits, half of the time near 0, −1, a power of two or the bounds of a size. */
  edge32(): number {
    switch (this.below(8)) {
      case 0:
        return this.pick(EDGES);
      case 1:
        return (1 << this.below(32)) >>> 0;
      case 2:
        return ((1 << this.below(32)) - 1) >>> 0;
      case 3:
        return -(1 << this.below(32)) >>> 0;
      case 4:
        return this.below(256);
      default:
        return this.bits();
    }
  }
}

const EDGES = [
  0, 1, 2, 0xffffffff, 0x7fffffff, 0x80000000, 0x80000001, 0x7f, 0x80, 0xff, 0x100, 0x7fff, 0x8000,
  0xffff, 0x10000, 0xffffff80, 0xffff8000, 0x0f, 0x10, 0x09, 0x0a, 0x99, 0x9a,
];
