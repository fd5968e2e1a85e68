// The dirty ring of a virtual processor: pages that it wrote, one entry each, in memory that the
// kernel shares (Linux: Documentation/virt/kvm/api.rst, "8.29 KVM_CAP_DIRTY_LOG_RING"). What it
// costs follows what was written, not how much RAM there is.
//
// An entry's flags are 0 while it is free, DIRTY once the kernel has filled it, RESET when we took
// it; its slot's upper half is an address space, always 0 here.

import { assert } from '../../base/errors.ts';
import { KVM, KVM_DIRTY_GFN } from './abi.ts';

const ENTRY_WORDS = KVM_DIRTY_GFN.sizeBytes / 4;
const SLOT = KVM_DIRTY_GFN.at.slot / 4;
const OFFSET = KVM_DIRTY_GFN.at.offset / 4;
const DIRTY = KVM.KVM_DIRTY_GFN_F_DIRTY;
const RESET = KVM.KVM_DIRTY_GFN_F_RESET;

/** Takes entries in the kernel's order. Afterwards KVM_RESET_DIRTY_RINGS arms the pages again. */
export class DirtyRing {
  readonly #words: Int32Array;
  readonly entryCount: number;
  #next = 0;

  /** @param words the ring as the kernel maps it, and nothing more */
  constructor(words: Int32Array) {
    this.#words = words;
    this.entryCount = words.length / ENTRY_WORDS;
    assert(
      this.entryCount >= 1 && Number.isInteger(Math.log2(this.entryCount)),
      `A dirty ring must have a power of two of entries: it has ${this.entryCount}`,
    );
  }

  /**
   * Hands out what was written since the last time.
   * @returns how many entries there were
   */
  harvest(onPage: (slotIndex: number, pageIndex: number) => void): number {
    const words = this.#words;
    let count = 0;
    for (; count < this.entryCount; count++) {
      const at = this.#next * ENTRY_WORDS;
      // The kernel fills an entry before it sets the flag, and reads ours before it takes it back.
      if ((Atomics.load(words, at) & (DIRTY | RESET)) !== DIRTY) break;
      const pageIndex = (words[at + OFFSET]! >>> 0) + (words[at + OFFSET + 1]! >>> 0) * 2 ** 32;
      onPage(words[at + SLOT]! & 0xffff, pageIndex);
      Atomics.store(words, at, DIRTY | RESET);
      this.#next = (this.#next + 1) % this.entryCount;
    }
    return count;
  }
}
