// Which memory slots of a KVM virtual machine are in use, and for what. Lookups are by start and
// size, as the seed's patch made them: no end is computed, so none can wrap at the top of a space.

import { assert } from '../../base/errors.ts';
import { hex } from '../../base/hex.ts';
import { rangesOverlap } from '../../base/ranges.ts';
import type { PageRun } from '../../memory/page-run.ts';

/** A memory slot that the kernel has. */
export interface KVMSlot {
  /** Number of the slot in the kernel. */
  readonly slotIndex: number;
  run: PageRun;
  /** Whether KVM_MEM_LOG_DIRTY_PAGES is on. */
  isLogged: boolean;
}

/** Slots by guest-physical address; they never overlap. */
export class SlotTable {
  /** How many slots the kernel gives a machine. */
  readonly slotCountMax: number;
  /** Ascending by address. */
  readonly #slots: KVMSlot[] = [];
  readonly #byIndex: (KVMSlot | undefined)[] = [];
  /** No free number is below. */
  #firstFree = 0;

  constructor(slotCountMax: number) {
    this.slotCountMax = slotCountMax;
  }

  /** Ascending by address. */
  get slots(): readonly KVMSlot[] {
    return this.#slots;
  }

  get isFull(): boolean {
    return this.#slots.length >= this.slotCountMax;
  }

  /** The slot of this number, or undefined. */
  byIndex(slotIndex: number): KVMSlot | undefined {
    return this.#byIndex[slotIndex];
  }

  /** The slot of exactly this range, or undefined. */
  matching(gpa: number, sizeBytes: number): KVMSlot | undefined {
    const slot = this.#slots[this.#firstEndingAfter(gpa)];
    return slot?.run.gpa === gpa && slot.run.sizeBytes === sizeBytes ? slot : undefined;
  }

  /** The lowest slot that shares a byte with the range, or undefined. */
  overlapping(gpa: number, sizeBytes: number): KVMSlot | undefined {
    const slot = this.#slots[this.#firstEndingAfter(gpa)];
    if (slot === undefined) return undefined;
    return rangesOverlap(slot.run.gpa, slot.run.sizeBytes, gpa, sizeBytes) ? slot : undefined;
  }

  /** All slots that share a byte with the range, ascending. */
  *within(gpa: number, sizeBytes: number): Generator<KVMSlot> {
    for (let index = this.#firstEndingAfter(gpa); index < this.#slots.length; index++) {
      const slot = this.#slots[index]!;
      if (!rangesOverlap(slot.run.gpa, slot.run.sizeBytes, gpa, sizeBytes)) return;
      yield slot;
    }
  }

  /** Takes the lowest free number for a run, which must not overlap a slot. */
  add(run: PageRun, isLogged: boolean): KVMSlot {
    assert(!this.isFull, `Slot at ${hex(run.gpa)} must find a free number`);
    const other = this.overlapping(run.gpa, run.sizeBytes);
    assert(
      other === undefined,
      `Slot at ${hex(run.gpa)} must not overlap slot ${other?.slotIndex}`,
    );
    let slotIndex = this.#firstFree;
    while (this.#byIndex[slotIndex] !== undefined) slotIndex++;
    const slot = { slotIndex, run, isLogged };
    this.#byIndex[slotIndex] = slot;
    this.#firstFree = slotIndex + 1;
    this.#slots.splice(this.#firstEndingAfter(run.gpa), 0, slot);
    return slot;
  }

  /** Frees the slot's number. */
  remove(slot: KVMSlot): void {
    const at = this.#slots.indexOf(slot);
    assert(at >= 0, `Slot ${slot.slotIndex} must be in the table`);
    this.#slots.splice(at, 1);
    this.#byIndex[slot.slotIndex] = undefined;
    this.#firstFree = Math.min(this.#firstFree, slot.slotIndex);
  }

  /** Index of the first slot with a byte at `gpa` or behind it. */
  #firstEndingAfter(gpa: number): number {
    let low = 0;
    let high = this.#slots.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const { run } = this.#slots[middle]!;
      if (gpa >= run.gpa && gpa - run.gpa >= run.sizeBytes) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
