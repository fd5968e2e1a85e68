// Half-open ranges of addresses, stated as (start, size). No function here adds a start to a size:
// an end at the very top of a space (2^32, 2^52, 2^64) wraps to zero in most languages and is
// rounded in this one, and that crashed the KVM code that the seed document mends. Differences are
// exact. All numbers are integers from 0 to 2^53; `start + size` must be at most 2^53, and is never
// computed.

/** Largest end of a range: above it integers are no longer exact. */
export const RANGE_END_MAX = 2 ** 53;

/** Whether (start, size) is a range at all: integers, not negative, not past 2^53. */
export function isRange(start: number, size: number): boolean {
  return (
    Number.isInteger(start) &&
    Number.isInteger(size) &&
    start >= 0 &&
    size >= 0 &&
    start <= RANGE_END_MAX &&
    size <= RANGE_END_MAX - start
  );
}

/** Whether `address` lies in the range. An empty range holds nothing. */
export function rangeHolds(start: number, size: number, address: number): boolean {
  return address >= start && address - start < size;
}

/** Whether the whole of the inner range lies in the outer one. */
export function rangeContains(
  start: number,
  size: number,
  innerStart: number,
  innerSize: number,
): boolean {
  if (innerStart < start) return false;
  const skip = innerStart - start;
  return skip <= size && innerSize <= size - skip;
}

/** Whether the two ranges share a byte. Empty ranges share none. */
export function rangesOverlap(
  startA: number,
  sizeA: number,
  startB: number,
  sizeB: number,
): boolean {
  if (sizeA === 0 || sizeB === 0) return false;
  return startA <= startB ? startB - startA < sizeA : startA - startB < sizeB;
}

/** Start of what the two ranges share; it means something only if they overlap. */
export function overlapStart(startA: number, startB: number): number {
  return Math.max(startA, startB);
}

/** Size of what the two ranges share, 0 if they do not overlap. */
export function overlapSize(startA: number, sizeA: number, startB: number, sizeB: number): number {
  if (!rangesOverlap(startA, sizeA, startB, sizeB)) return 0;
  return startA <= startB
    ? Math.min(sizeA - (startB - startA), sizeB)
    : Math.min(sizeB - (startA - startB), sizeA);
}
