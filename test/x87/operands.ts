// Random operands that like edges: every class of 80-bit number, and exponents that nearly meet.

/** Numbers from a seed, 0 ≤ n < 2^32 (xorshift; Marsaglia, "Xorshift RNGs", 2003). */
export function createRandom(seed: number): () => number {
  let x = seed | 1;
  return () => {
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    return x >>> 0;
  };
}

export function randomBits64(random: () => number): bigint {
  return (BigInt(random()) << 32n) | BigInt(random());
}

function significand(random: () => number): bigint {
  const bits = randomBits64(random);
  switch (random() % 8) {
    case 0:
      return 1n << BigInt(random() % 64);
    case 1:
      return (1n << 64n) - (1n << BigInt(random() % 64));
    case 2:
      return (1n << BigInt(random() % 64)) - 1n;
    case 3:
      return bits & ~((1n << BigInt(random() % 64)) - 1n);
    case 4:
      return bits | ((1n << BigInt(random() % 64)) - 1n);
    default:
      return bits;
  }
}

/** Significand and sign|exponent, in the ten bytes they have in memory. */
export function randomFloat80(random: () => number, near?: number): [bigint, number] {
  const sign = random() & 1 ? 0x8000 : 0;
  let value = significand(random);
  let exponent = 0x3fff;
  switch (random() % 16) {
    case 0:
      exponent = random() % 4;
      break;
    case 1:
      exponent = 0x7fff - (random() % 4);
      break;
    case 2:
      exponent = random() & 0x7fff;
      break;
    case 3:
      return [0n, sign];
    case 4:
      return [value & ~(1n << 63n), sign];
    case 5:
      return [random() & 1 ? 1n << 63n : value | (1n << 63n), sign | 0x7fff];
    case 6:
      exponent = 0x3fff - 130 + (random() % 260);
      break;
    case 7:
      return [value, sign | (random() & 0x7fff)];
    case 8:
      exponent = 0x3f6a + (random() % 4);
      break;
    case 9:
      exponent = 0x3bcd + (random() % 4);
      break;
    case 10:
      exponent = 0x3c01 - 60 + (random() % 64);
      break;
    default:
      exponent = near === undefined ? 0x3fff - 40 + (random() % 110) : near - 66 + (random() % 132);
  }
  value |= 1n << 63n;
  return [value, sign | Math.min(0x7fff, Math.max(0, exponent))];
}

/** All precisions and directions; exceptions mostly masked. */
export function randomControl(random: () => number): number {
  const precision = [3, 3, 2, 0][random() & 3]!;
  const masks = random() % 3 === 0 ? random() & 0x3f : 0x3f;
  return 0x40 | masks | (precision << 8) | ((random() & 3) << 10);
}
