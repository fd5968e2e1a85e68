// How property tests take their seed and length: FUZZ_SEED repeats a run,
// FUZZ_RUNS makes it longer.

/** fast-check's `seed` and `numRuns`; the seed is the environment's or of this moment. */
export function fuzzOptions(defaultRuns: number): { seed: number; numRuns: number } {
  const seed = Number(process.env.FUZZ_SEED ?? Date.now() & 0x7fffffff);
  const numRuns = Number(process.env.FUZZ_RUNS ?? defaultRuns);
  if (!Number.isSafeInteger(seed)) throw new RangeError('FUZZ_SEED must be an integer');
  if (!(Number.isSafeInteger(numRuns) && numRuns > 0)) {
    throw new RangeError('FUZZ_RUNS must be a positive integer');
  }
  return { seed, numRuns };
}
