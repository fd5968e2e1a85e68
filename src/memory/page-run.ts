// What an accelerator can map of a memory section: whole pages of guest-physical space over whole
// pages of RAM. Everything else of it stays an exit, which `AddressSpace` serves.

import { isPageAligned, PAGE_SIZE, pageOffset } from '../base/pages.ts';
import type { MemorySection } from './flat-view.ts';

/** Whole pages of guest-physical space that show whole pages of RAM. */
export interface PageRun {
  readonly section: MemorySection;
  /** First guest-physical address; a multiple of the page size. */
  readonly gpa: number;
  /** Whole pages, at least one. */
  readonly sizeBytes: number;
  /** RAM offset of the first byte; a multiple of the page size. */
  readonly ramOffset: number;
  /** Whether guest writes must come to us: ROM, and ROMD in its reading mode. */
  readonly isReadOnly: boolean;
}

/**
 * The pages of `section` that lie in it whole, if its RAM is aligned as its addresses are;
 * undefined for devices, for ROMD that is not in ROMD mode, and where no whole page is left.
 */
export function wholePages(section: MemorySection): PageRun | undefined {
  if (section.ramOffset < 0) return undefined;
  const headBytes = pageOffset(PAGE_SIZE - pageOffset(section.start));
  if (headBytes >= section.sizeBytes) return undefined;
  const ramOffset = section.ramOffset + headBytes;
  const restBytes = section.sizeBytes - headBytes;
  const sizeBytes = restBytes - pageOffset(restBytes);
  if (sizeBytes === 0 || !isPageAligned(ramOffset)) return undefined;
  const gpa = section.start + headBytes;
  return { section, gpa, sizeBytes, ramOffset, isReadOnly: section.isReadOnly };
}

/** Whether both show the same RAM at the same place in the same way. */
export function isSameRun(a: PageRun, b: PageRun): boolean {
  return (
    a.gpa === b.gpa &&
    a.sizeBytes === b.sizeBytes &&
    a.ramOffset === b.ramOffset &&
    a.isReadOnly === b.isReadOnly
  );
}
