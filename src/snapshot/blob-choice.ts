// Which blobs of a chain are written anew. Otherwise a long chain would be read for ever for the
// sake of a few pages.

import { BLOB_PAGES_MAX } from './limits.ts';

/**
 * Pages in blobs that no snapshot of this chain needs any more, as a part of those that it does.
 */
const DEAD_PART_MAX = 1 / 4;
/** Blobs may be so many times as many as would do, and some, before small ones are joined. */
const BLOB_COUNT_FACTOR = 2;
const BLOB_COUNT_SPARE = 64;

/**
 * Blobs whose pages should be written anew: the worst first, until the rest is good enough.
 * @param live how many pages of each blob are in use; more than it has, if it serves equal ones
 */
export function chooseBlobs(
  blobs: readonly { readonly pageCount: number }[],
  live: Uint32Array,
): number[] {
  let livePages = 0;
  let deadPages = 0;
  const used: number[] = [];
  for (const [index, { pageCount }] of blobs.entries()) {
    const liveHere = live[index]!;
    if (liveHere === 0) continue;
    used.push(index);
    livePages += liveHere;
    // A blob that serves equal windows has more live pages than pages.
    deadPages += Math.max(0, pageCount - liveHere);
  }
  const chosen: number[] = [];
  const deadPart = (index: number): number => 1 - live[index]! / blobs[index]!.pageCount;
  const worst = [...used].sort((a, b) => deadPart(b) - deadPart(a));
  for (const index of worst) {
    if (deadPages <= livePages * DEAD_PART_MAX || deadPart(index) <= 0) break;
    deadPages -= blobs[index]!.pageCount - live[index]!;
    chosen.push(index);
  }
  const countMax = BLOB_COUNT_FACTOR * Math.ceil(livePages / BLOB_PAGES_MAX) + BLOB_COUNT_SPARE;
  if (used.length - chosen.length > countMax) {
    const isChosen = new Set(chosen);
    const small = used.filter((index) => !isChosen.has(index) && live[index]! < BLOB_PAGES_MAX / 2);
    chosen.push(...small);
  }
  return chosen;
}
