// The kernel's dirty log of a slot, brought into the machine's dirty bytes (Linux:
// Documentation/virt/kvm/api.rst, "4.8 KVM_GET_DIRTY_LOG", "4.117 KVM_CLEAR_DIRTY_LOG").
//
// Plain, the kernel hands a log out and clears it in one step, and write-protects every page that
// was dirty while it holds its lock. With manual protection it hands out a copy, and what we clear
// is protected again piece by piece. Either way the kernel is armed again before this returns, and
// only then may a client clear its bits and read the pages.

import { PAGE_SIZE } from '../../base/pages.ts';
import type { RAMWrites } from '../../memory/ram-writes.ts';
import type { KVMMemoryVM } from './kvm-vm.ts';
import type { KVMSlot } from './slot-table.ts';

/** Pages that one KVM_CLEAR_DIRTY_LOG covers: 256 MiB; a multiple of 64, as the kernel wants. */
const CLEAR_PAGES = 65536;
/** The kernel writes whole `unsigned long`s. */
const WORD_PAGES = 64;

/** Reads dirty logs into one buffer, which grows to the largest slot's bitmap and stays. */
export class DirtyLog {
  readonly #vm: KVMMemoryVM;
  readonly #ramWrites: RAMWrites;
  readonly #isManual: boolean;
  #bytes = new Uint8Array(0);
  #words = new Uint32Array(0);

  constructor(vm: KVMMemoryVM, ramWrites: RAMWrites, isManual: boolean) {
    this.#vm = vm;
    this.#ramWrites = ramWrites;
    this.#isManual = isManual;
  }

  /** Size of the buffer. */
  get bufferBytes(): number {
    return this.#bytes.length;
  }

  /**
   * Makes the pages of a logged slot that the guest wrote dirty for everybody.
   * @throws {KVMError} if the kernel refuses; what it logged is then still there
   */
  harvest({ slotIndex, run }: KVMSlot): void {
    const pageCount = run.sizeBytes / PAGE_SIZE;
    const bitmap = this.#bitmap(pageCount);
    this.#vm.getDirtyLog(slotIndex, bitmap);
    if (this.#isManual) this.#clear(slotIndex, pageCount);
    this.#ramWrites.noteBitmap(run.ramOffset, pageCount, this.#words);
  }

  /** Clears what was read and nothing else: a bit that came later must stay. */
  #clear(slotIndex: number, pageCount: number): void {
    const words = this.#words;
    for (let first = 0; first < pageCount; first += CLEAR_PAGES) {
      const count = Math.min(CLEAR_PAGES, pageCount - first);
      const endWord = Math.ceil((first + count) / 32);
      let word = first / 32;
      while (word < endWord && words[word] === 0) word++;
      if (word === endWord) continue;
      this.#vm.clearDirtyLog(slotIndex, first, count, this.#bytes.subarray(first / 8));
    }
  }

  #bitmap(pageCount: number): Uint8Array {
    const sizeBytes = Math.ceil(pageCount / WORD_PAGES) * (WORD_PAGES / 8);
    if (sizeBytes > this.#bytes.length) {
      this.#bytes = new Uint8Array(sizeBytes);
      this.#words = new Uint32Array(this.#bytes.buffer);
    } else this.#bytes.fill(0, 0, sizeBytes);
    return this.#bytes.subarray(0, sizeBytes);
  }
}
