// Page arithmetic, also above 4 GiB. JavaScript's `&` keeps the low 32 bits of any integer up to
// 2^53 exactly, so it may take the offset within a page; but `>>>`, and `&` with a mask of high
// bits, cut an address to 32 bits. That is why addresses become page numbers here and nowhere else.

/** Bits of the offset within a page. */
export const PAGE_BITS = 12;
/** Size of a page, bytes. */
export const PAGE_SIZE = 4096;
/** Bits of an address that are the offset within its page. */
export const PAGE_OFFSET_MASK = 0xfff;
/** Widest guest-physical address (Intel SDM volume 3, section 4.1.4: MAXPHYADDR is at most 52). */
export const ADDRESS_BITS_MAX = 52;
/** Size of the widest guest-physical address space, bytes. */
export const ADDRESS_SPACE_BYTES_MAX = 2 ** ADDRESS_BITS_MAX;

/** Offset of `address` within its page, for any integer 0 ≤ address ≤ 2^53. */
export function pageOffset(address: number): number {
  return address & PAGE_OFFSET_MASK;
}

/** Address of the first byte of the page that holds `address`, for 0 ≤ address ≤ 2^53. */
export function pageStart(address: number): number {
  return address - (address & PAGE_OFFSET_MASK);
}

/** Number of the page that holds `address`, for 0 ≤ address ≤ 2^53. */
export function pageIndex(address: number): number {
  return (address - (address & PAGE_OFFSET_MASK)) / PAGE_SIZE;
}

/** First address of page `index`. */
export function pageAddress(index: number): number {
  return index * PAGE_SIZE;
}

/** Whether `value` is a whole number of pages. */
export function isPageAligned(value: number): boolean {
  return (value & PAGE_OFFSET_MASK) === 0;
}

/** `sizeBytes` rounded up to whole pages; it must be at most 2^53 − 4096. */
export function roundUpToPage(sizeBytes: number): number {
  const rest = sizeBytes & PAGE_OFFSET_MASK;
  return rest === 0 ? sizeBytes : sizeBytes - rest + PAGE_SIZE;
}

/** How many pages [start, start + size) touches; no end is computed, so none can be rounded. */
export function pagesTouched(start: number, size: number): number {
  if (size === 0) return 0;
  return pageIndex((start & PAGE_OFFSET_MASK) + (size - 1)) + 1;
}
