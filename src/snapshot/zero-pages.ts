// Pages that are zeros: how they are found, made, and not looked at where that is known already.

import { PAGE_SIZE } from '../base/pages.ts';
import { DIRTY_FILLED } from '../memory/dirty-memory.ts';
import type { GuestMemory } from '../memory/guest-memory.ts';
import type { RAMBlock } from '../memory/ram-block.ts';

const PAGE_WORDS = PAGE_SIZE / 4;

/** Whether all bytes are zero. */
export function isZeros(page: Uint8Array): boolean {
  if (page.byteOffset % 4 !== 0 || page.length % 4 !== 0) return page.every((byte) => byte === 0);
  const words = new Int32Array(page.buffer, page.byteOffset, page.length >> 2);
  for (let i = 0; i < words.length; i++) if (words[i] !== 0) return false;
  return true;
}

/** The dirty bytes of a block's pages. */
function statesOf({ dirty }: GuestMemory, { ramOffset, sizeBytes }: RAMBlock): Uint8Array {
  return dirty.bytes.subarray(ramOffset / PAGE_SIZE, (ramOffset + sizeBytes) / PAGE_SIZE);
}

/**
 * Makes pages zeros that are not marked in `isPresent`, by page of the block. A page that is zeros
 * already is not written, so that the host need not have it.
 */
export function zeroOthers(memory: GuestMemory, block: RAMBlock, isPresent: Uint8Array): void {
  const { buffer, byteOffset, length } = block.bytes;
  const words = new Int32Array(buffer, byteOffset, length / 4);
  const states = statesOf(memory, block);
  for (let page = 0; page < isPresent.length; page++) {
    if (isPresent[page] !== 0 || (states[page]! & DIRTY_FILLED) === 0) continue;
    const end = (page + 1) * PAGE_WORDS;
    let bits = 0;
    for (let i = page * PAGE_WORDS; i < end; i += 4)
      bits |= words[i]! | words[i + 1]! | words[i + 2]! | words[i + 3]!;
    if (bits !== 0) words.fill(0, end - PAGE_WORDS, end);
  }
}

/** Makes `to` hold what `from` of another machine holds, and says so to its memory. */
export function copyBlock(
  source: GuestMemory,
  from: RAMBlock,
  target: GuestMemory,
  to: RAMBlock,
): void {
  const filled = statesOf(source, from).map((state) => state & DIRTY_FILLED);
  const before = statesOf(target, to);
  for (let page = 0; page < filled.length; page++) {
    const start = page * PAGE_SIZE;
    const bytes = from.bytes.subarray(start, start + PAGE_SIZE);
    if (filled[page] !== 0 && !isZeros(bytes)) to.bytes.set(bytes, start);
    else if ((before[page]! & DIRTY_FILLED) !== 0) {
      const old = to.bytes.subarray(start, start + PAGE_SIZE);
      if (!isZeros(old)) old.fill(0);
    }
  }
  noteFilled(target, to, filled);
}

/**
 * Says that a whole block was written, and which of its pages may now be other than zeros: not 0 in
 * `filled`. The latter is kept only for blocks of which it was known before.
 */
export function noteFilled(memory: GuestMemory, block: RAMBlock, filled: Uint8Array): void {
  const { dirty, ramWrites } = memory;
  const { ramOffset, sizeBytes } = block;
  const isKnown = dirty.hasClean(ramOffset, sizeBytes, DIRTY_FILLED);
  ramWrites.note(ramOffset, sizeBytes);
  if (!isKnown) return;
  for (let page = filled.indexOf(0); page >= 0; ) {
    let end = page + 1;
    while (end < filled.length && filled[end] === 0) end++;
    dirty.clear(ramOffset + page * PAGE_SIZE, (end - page) * PAGE_SIZE, DIRTY_FILLED);
    page = filled.indexOf(0, end);
  }
}
