// Floating-point bit patterns worth trying, in the three formats of the processor
// (Intel SDM volume 1, tables 4-3, 8-3 and section 4.8.3).

import type { Random } from './random.ts';

const SINGLES = [
  0, 0x80000000, 0x3f800000, 0xbf800000, 0x3fc00000, 0x40000000, 0x40490fdb, 0x00000001, 0x007fffff,
  0x00800000, 0x7f7fffff, 0xff7fffff, 0x7f800000, 0xff800000, 0x7fc00000, 0xffc00000, 0x7f800001,
  0xffbfffff, 0x4b000000, 0x4effffff, 0x4f000000, 0xcf000000, 0x5f000000, 0x33800000, 0x80000001,
];

/** Bits of a single. */
export function single(random: Random): number {
  switch (random.below(4)) {
    case 0:
      return random.pick(SINGLES);
    case 1: // Exponents near each other, so that sums and differences do something.
      return ((random.bits() & 0x80ffffff) | ((0x7c + random.below(8)) << 23)) >>> 0;
    case 2: {
      FLOATS.setFloat32(0, (random.edge32() | 0) / (1 << random.below(8)), true);
      return FLOATS.getUint32(0, true);
    }
    default:
      return random.bits();
  }
}

const FLOATS = new DataView(new ArrayBuffer(8));
const DOUBLES_HIGH = [
  0, 0x80000000, 0x3ff00000, 0xbff00000, 0x40000000, 0x000fffff, 0x00100000, 0x7fefffff, 0x7ff00000,
  0xfff00000, 0x7ff80000, 0xfff80000, 0x7ff40000, 0x41dfffff, 0x41e00000, 0xc1e00000, 0x43e00000,
  0x47efffff, 0x36a00000, 0x380fffff, 0x3ca00000,
];

/** Writes a double's 8 bytes at `offset`. */
export function writeDouble(random: Random, view: DataView, offset: number): void {
  switch (random.below(4)) {
    case 0:
      view.setUint32(offset + 4, random.pick(DOUBLES_HIGH), true);
      view.setUint32(offset, random.pick([0, 0, 1, 0xffffffff, 0xffc00000]), true);
      return;
    case 1:
      view.setUint32(
        offset + 4,
        (random.bits() & 0x800fffff) | ((0x3fc + random.below(8)) << 20),
        true,
      );
      view.setUint32(offset, random.edge32(), true);
      return;
    case 2:
      view.setFloat64(offset, (random.edge32() | 0) / (1 << random.below(8)), true);
      return;
    default:
      view.setUint32(offset, random.bits(), true);
      view.setUint32(offset + 4, random.bits(), true);
  }
}

const EXTENDED_EXPONENTS = [0, 1, 0x7fff, 0x7ffe, 0x3fff, 0x3ffe, 0x4000, 0x403e, 0x401e, 0x3c01];
const EXTENDED_HIGH = [0x80000000, 0xc0000000, 0xffffffff, 0, 0x7fffffff, 0x40000000, 0xa0000000];

/** Writes an extended value's 10 bytes at `offset`, invalid encodings among them. */
export function writeExtended(random: Random, view: DataView, offset: number): void {
  const sign = random.chance(0.4) ? 0x8000 : 0;
  const isOdd = random.chance(0.12);
  const isEdge = random.chance(0.35);
  const exponent = isEdge ? random.pick(EXTENDED_EXPONENTS) : 0x3ff8 + random.below(20);
  let high = isOdd ? random.pick(EXTENDED_HIGH) : (random.edge32() | 0x80000000) >>> 0;
  let low = random.chance(0.4) ? random.pick([0, 0, 1, 0xffffffff, 0x800, 0x400]) : random.bits();
  if (!isOdd && exponent === 0) {
    if (random.chance(0.6)) high = low = 0;
    else high = (high & 0x7fffffff) >>> 0;
  }
  if (!isOdd && exponent === 0x7fff && random.chance(0.4)) {
    high = 0x80000000;
    low = 0;
  }
  // Whole numbers, exact halves.
  if (!isOdd && !isEdge && random.chance(0.3)) low = 0;
  view.setUint32(offset, low, true);
  view.setUint32(offset + 4, high, true);
  view.setUint16(offset + 8, sign | exponent, true);
}

/** Writes 16 bytes of singles, doubles or integers at `offset`. */
export function writeVector(random: Random, view: DataView, offset: number): void {
  for (let half = 0; half < 16; half += 8) {
    const kind = random.below(3);
    if (kind === 0) writeDouble(random, view, offset + half);
    else {
      view.setUint32(offset + half, kind === 1 ? single(random) : random.edge32(), true);
      view.setUint32(offset + half + 4, kind === 1 ? single(random) : random.edge32(), true);
    }
  }
}
