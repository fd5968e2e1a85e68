// A state to which a machine returns over and over, within one process: for those who run a million
// inputs from one state. Nothing is copied when it is made; each page is copied just before its
// first write, and a return copies back only what changed since the last one. Under an accelerator
// that does not announce writes all RAM is copied at once, and dirty bits say what changed.

import { PAGE_SIZE, pageIndex, pagesTouched } from '../base/pages.ts';
import type { Machine } from '../machine/machine.ts';
import { DIRTY_RESET } from '../memory/dirty-memory.ts';
import type { RAMBlock } from '../memory/ram-block.ts';
import {
  applySections,
  type CheckedSections,
  checkSections,
  saveSections,
} from './machine-state.ts';

/** The instant that a machine returns to. End it with `close`: until then it costs a little. */
export class ResetPoint {
  readonly machine: Machine;
  readonly #state: CheckedSections;
  /** Pages as they were at the instant, of all that ever changed since. */
  readonly #originals = new Map<number, Uint8Array>();
  /** 1 for each page of the RAM offset space that changed since the last return. */
  readonly #isChanged: Uint8Array;
  #changed: number[] = [];
  /** Every block as it was at the instant, where the guest's writes are not announced. */
  #copy: Map<RAMBlock, Uint8Array> | undefined;
  #isOpen = true;
  readonly #onWrite = (ramOffset: number, sizeBytes: number): void =>
    this.#keep(ramOffset, sizeBytes);

  private constructor(machine: Machine) {
    const { guest } = machine.memory;
    this.machine = machine;
    this.#state = checkSections(machine, saveSections(machine));
    this.#isChanged = new Uint8Array(guest.ramList.pageCount);
    guest.addressSpace.syncDirtyLog();
    guest.dirty.clear(0, guest.ramList.capacityBytes, DIRTY_RESET);
    if (machine.vcpu.interceptsWrites) guest.ramWrites.addBeforeListener(this.#onWrite);
    else {
      guest.ramList.ensure(0, guest.ramList.capacityBytes);
      this.#copy = new Map(guest.ramList.blocks.map((block) => [block, block.bytes.slice()]));
    }
  }

  /**
   * Takes the machine's state as the one to return to.
   * @throws {TypeError} if it is closed, or has failed
   */
  static take(machine: Machine): Promise<ResetPoint> {
    return machine.standStill(() => new ResetPoint(machine));
  }

  /** Pages that changed since the point was made, or the last return. */
  get changedCount(): number {
    if (this.#copy === undefined) return this.#changed.length;
    const { guest } = this.machine.memory;
    guest.addressSpace.syncDirtyLog();
    return guest.dirty.count(DIRTY_RESET);
  }

  /**
   * Puts the machine back; it goes on running if it runs. Any number of times.
   * @throws {TypeError} if the point or the machine is closed
   */
  reset(): Promise<void> {
    return this.machine.standStill(() => this.resetNow());
  }

  /** The same at once, for those who hold the machine still, or whose machine does not run. */
  resetNow(): void {
    if (!this.#isOpen) throw new TypeError('Cannot reset machine as its point must not be closed');
    const { machine } = this;
    const { ramList, ramWrites, dirty } = machine.memory.guest;
    // This empties the TLB, so that what follows need not search it.
    applySections(machine, this.#state);
    for (const page of this.#changedPages()) {
      const start = page * PAGE_SIZE;
      ramWrites.before(start, PAGE_SIZE);
      ramList.bytesAt(start, PAGE_SIZE).set(this.#original(page));
      ramWrites.note(start, PAGE_SIZE);
      dirty.clear(start, PAGE_SIZE, DIRTY_RESET);
      this.#isChanged[page] = 0;
    }
    this.#changed = [];
    machine.pc.virtio.onRestored();
  }

  /** Forgets the point. A second call does nothing. */
  close(): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    // The bits stay clear: another point may count on them.
    this.machine.memory.guest.ramWrites.removeBeforeListener(this.#onWrite);
    this.#originals.clear();
    this.#copy = undefined;
  }

  #changedPages(): readonly number[] {
    if (this.#copy === undefined) return this.#changed;
    const { addressSpace, dirty, ramList } = this.machine.memory.guest;
    addressSpace.syncDirtyLog();
    const pages = [...dirty.harvest(DIRTY_RESET).pages()];
    return pages.filter((page) => ramList.blockAt(page * PAGE_SIZE) !== undefined);
  }

  #original(page: number): Uint8Array {
    if (this.#copy === undefined) return this.#originals.get(page)!;
    const block = this.machine.memory.guest.ramList.blockAt(page * PAGE_SIZE)!;
    const start = page * PAGE_SIZE - block.ramOffset;
    return this.#copy.get(block)!.subarray(start, start + PAGE_SIZE);
  }

  #keep(ramOffset: number, sizeBytes: number): void {
    const first = pageIndex(ramOffset);
    const end = first + pagesTouched(ramOffset, sizeBytes);
    for (let page = first; page < end; page++) {
      if (this.#isChanged[page] !== 0) continue;
      this.#isChanged[page] = 1;
      this.#changed.push(page);
      if (this.#originals.has(page)) continue;
      const start = page * PAGE_SIZE;
      const { ramList } = this.machine.memory.guest;
      ramList.ensure(start, PAGE_SIZE);
      this.#originals.set(page, ramList.bytesAt(start, PAGE_SIZE).slice());
    }
  }
}
