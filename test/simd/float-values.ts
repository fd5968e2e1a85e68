// Random operands and MXCSR values for float tests: fields are drawn apart, so that zeros,
// denormals, infinities, NaNs, ties and near cancellations are common. The same seed gives the same
// cases.

const DEFAULT_MASKS = 0x1f80;
const EVERYTHING = 0xffffn;

export class FloatCases {
  #state: bigint;

  constructor(seed: number) {
    this.#state = BigInt(seed) * 0x9e3779b97f4a7c15n + 1n;
  }

  /** Often the default; else any mode, flags and masks. */
  mxcsr(): number {
    const bits = Number(this.#next() & EVERYTHING);
    switch (this.#below(4)) {
      case 0:
        return DEFAULT_MASKS | (bits & 0x3f);
      case 1:
        return DEFAULT_MASKS | 0x20;
      case 2:
        return DEFAULT_MASKS | bits;
      default:
        return bits;
    }
  }

  /** Four 64-bit words: the operands a and b. */
  operands(): bigint[] {
    const isDouble = this.#below(2) === 0;
    const words = Array.from({ length: 4 }, () => (isDouble ? this.#double() : this.#singles()));
    // Now and then b is a, or near it, or its negative.
    if (this.#below(4) === 0) {
      const change = [0n, 1n << 63n, 1n, 3n, 1n << 31n][this.#below(5)]!;
      words[2] = words[0]! ^ change;
      words[3] = words[1]! ^ change;
    }
    return words;
  }

  #double(): bigint {
    return this.#number(11, 52);
  }

  #singles(): bigint {
    return this.#number(8, 23) | (this.#number(8, 23) << 32n);
  }

  #number(exponentBits: number, fractionBits: number): bigint {
    const top = (1 << exponentBits) - 1;
    const bias = top >> 1;
    const near = bias + this.#below(70) - 35;
    const ends = [0, 1, 2, top - 2, top - 1, top, bias, bias + 1, bias + 30, bias + 31];
    const spread = Math.floor((bias * 3) / 4 + this.#below(bias >> 1));
    const halves = (bias >> 1) + this.#below(8) - 4;
    const pool = [near, near, near, spread, halves, ends[this.#below(ends.length)]!];
    const exponent = pool[this.#below(pool.length)]!;
    const sign = BigInt(this.#below(2));
    const fraction = this.#fraction(fractionBits);
    return (((sign << BigInt(exponentBits)) | BigInt(exponent)) << BigInt(fractionBits)) | fraction;
  }

  #fraction(bits: number): bigint {
    const all = (1n << BigInt(bits)) - 1n;
    const random = this.#next() & all;
    switch (this.#below(6)) {
      case 0:
        return 0n;
      case 1:
        return all >> BigInt(this.#below(3));
      case 2:
        return 1n << BigInt(this.#below(bits));
      case 3:
        return random & ~(all >> BigInt(this.#below(bits)));
      default:
        return random;
    }
  }

  #below(count: number): number {
    return Number((this.#next() >> 16n) % BigInt(count));
  }

  /** splitmix64: Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators". */
  #next(): bigint {
    const mask = (1n << 64n) - 1n;
    this.#state = (this.#state + 0x9e3779b97f4a7c15n) & mask;
    let z = this.#state;
    z = ((z ^ (z >> 30n)) * 0xbf58476d1ce4e5b9n) & mask;
    z = ((z ^ (z >> 27n)) * 0x94d049bb133111ebn) & mask;
    return z ^ (z >> 31n);
  }
}
