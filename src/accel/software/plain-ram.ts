// The guest-physical pages that are plain RAM, told to generated code, so that it can walk page
// tables and fill TLB rows by itself: see PLAIN_RAM in record.ts.

import { PAGE_BITS, PAGE_SIZE } from '../../base/pages.ts';
import { PHYSICAL_ADDRESS_BITS } from '../../cpu/control-bits.ts';
import { type MemorySection, SECTION_RAM } from '../../memory/flat-view.ts';
import { PLAIN_RAM, PLAIN_RAM_BYTES, PLAIN_RAM_MAX } from './record.ts';

/**
 * Writes the table for the RAM sections of a view, the largest first. Pages that a section covers
 * only in part are left out, and so are sections that find no room: TypeScript knows them.
 * @param words the state area
 * @param ramBase byte of the buffer at which RAM begins
 */
export function writePlainRAM(
  words: Uint32Array,
  sections: readonly MemorySection[],
  ramBase: number,
): void {
  const usable = sections
    .filter(
      ({ kind, start, ramOffset }) => kind === SECTION_RAM && (start - ramOffset) % PAGE_SIZE === 0,
    )
    .map(({ start, sizeBytes, ramOffset }) => {
      const first = Math.ceil(start / PAGE_SIZE);
      const end = Math.floor((start + Math.min(sizeBytes, 2 ** PHYSICAL_ADDRESS_BITS)) / PAGE_SIZE);
      return { first, count: end - first, delta: ramBase + ramOffset - start };
    })
    .filter(({ first, count }) => {
      return count > 0 && first + count <= 2 ** (PHYSICAL_ADDRESS_BITS - PAGE_BITS);
    })
    .sort((a, b) => b.count - a.count)
    .slice(0, PLAIN_RAM_MAX);
  let word = PLAIN_RAM >> 2;
  for (const { first, count, delta } of usable) {
    words[word] = first;
    words[word + 1] = count;
    words[word + 2] = delta;
    word += PLAIN_RAM_BYTES >> 2;
  }
  words[word + 1] = 0;
}
