// Guest memory as KVM's memory slots: follows the `memory` address space and keeps the kernel's
// slots, and its dirty logs, in step with it. What no slot shows is an exit that the space serves.
//
// Who logs. The kernel notices a guest's stores only in slots that log, and logging costs a fault
// for each first store to a page. The dirty bytes say who waits: a page that is clean for any
// client must be noticed when it is next written. Hence one rule:
//
//   while a slot does not log, each of its pages is dirty for every client.
//
// - A client clears a bit (a snapshot takes MIGRATION, a clone or a reset point takes its own): the
//   slots that show the page begin to log before the call that cleared it returns.
// - A slot that comes logs from the start if its region's clients do (VGA, while there is a
//   display) or a page of it is clean for somebody.
// - A slot that goes is harvested first. Its pages keep their bits: nothing can write through it.
// - A client that stops gets its bit set on all pages, as it will hear of no store any more; and
//   once no page is clean for anybody the slot stops to log: what the kernel drops then is known
//   already.
// - `syncDirtyLog` harvests all logged slots of its range, so that a client that calls it first and
//   then takes its bits has missed nothing.
//
// The guest does not run while this code does: one thread does both, in turns.

import { hex } from '../../base/hex.ts';
import { PAGE_SIZE } from '../../base/pages.ts';
import { overlapSize, overlapStart, rangesOverlap } from '../../base/ranges.ts';
import { DIRTY_ALL, DIRTY_CODE } from '../../memory/dirty-memory.ts';
import type { MemorySection } from '../../memory/flat-view.ts';
import type { MemoryListener } from '../../memory/memory-listener.ts';
import { isSameRun, type PageRun, wholePages } from '../../memory/page-run.ts';
import type { RAMWrites } from '../../memory/ram-writes.ts';
import { KVM } from './abi.ts';
import { DirtyLog } from './dirty-log.ts';
import { DirtyRing } from './dirty-ring.ts';
import { KVMError, type KVMMemoryVM } from './kvm-vm.ts';
import { type KVMSlot, SlotTable } from './slot-table.ts';

/** No code is decoded from RAM that KVM runs, so nobody waits for CODE. */
const CLIENTS = DIRTY_ALL & ~DIRTY_CODE;

/** What slots are made of. */
export interface MemslotsOptions {
  readonly vm: KVMMemoryVM;
  /** Told what the guest wrote; its dirty bytes say who wants to know. */
  readonly ramWrites: RAMWrites;
  /** Host virtual address of a RAM offset; RAM is contiguous there within a block. */
  readonly hostAddress: (ramOffset: number) => bigint;
  /**
   * Told of a section that got no slot, once. It is served by exits: data is right but slow, code
   * in it does not run. Without this, `commit` throws when it is through.
   */
  readonly onProblem?: (error: KVMError) => void;
  /** Clear logs in pieces, where the kernel can; default true. */
  readonly usesManualProtect?: boolean;
  /**
   * Log to rings of so many bytes, one for each processor, instead of bitmaps. Give them to
   * `addRing`. Whoever makes the processors makes this object first.
   */
  readonly ringBytes?: number;
}

/** A run that has no slot, and whether another try is of any use. */
interface Exile {
  readonly run: PageRun;
  readonly isRefused: boolean;
}

/** How the kernel tells what the guest wrote. */
export type DirtyLogKind = 'bitmap' | 'manual protect' | 'ring';

/** A listener of the `memory` address space; give it to `AddressSpace.addListener`. */
export class Memslots implements MemoryListener {
  readonly logKind: DirtyLogKind;
  /** Size of each processor's dirty ring; 0 if there are none. */
  readonly ringBytes: number;
  readonly #vm: KVMMemoryVM;
  readonly #ramWrites: RAMWrites;
  readonly #hostAddress: (ramOffset: number) => bigint;
  readonly #onProblem: ((error: KVMError) => void) | undefined;
  readonly #table: SlotTable;
  readonly #log: DirtyLog;
  readonly #rings: DirtyRing[] = [];
  readonly #exiles = new Map<MemorySection, Exile>();
  #isGlobal = false;
  // What the transaction under way asks for.
  readonly #leaving = new Set<KVMSlot>();
  #arriving: PageRun[] = [];
  /** Clients that stopped, and slots whose set of clients changed. */
  readonly #changed = new Map<KVMSlot, number>();

  /** @throws {KVMError} `ENOSYS` if the kernel lacks read-only slots, or the rings asked for */
  constructor(options: MemslotsOptions) {
    const { vm, ramWrites, usesManualProtect = true, ringBytes } = options;
    need(vm, KVM.KVM_CAP_READONLY_MEM, 'KVM_CAP_READONLY_MEM');
    this.#vm = vm;
    this.#ramWrites = ramWrites;
    this.#hostAddress = options.hostAddress;
    this.#onProblem = options.onProblem;
    this.#table = new SlotTable(need(vm, KVM.KVM_CAP_NR_MEMSLOTS, 'KVM_CAP_NR_MEMSLOTS'));
    this.logKind = chooseLog(vm, usesManualProtect, ringBytes);
    this.ringBytes = ringBytes ?? 0;
    this.#log = new DirtyLog(vm, ramWrites, this.logKind === 'manual protect');
    ramWrites.dirty.onClean((ramOffset, sizeBytes) => this.#noticeClean(ramOffset, sizeBytes));
  }

  /** Ascending by address. */
  get slots(): readonly KVMSlot[] {
    return this.#table.slots;
  }

  get slotCountMax(): number {
    return this.#table.slotCountMax;
  }

  /** Pages of RAM, ROM and ROMD that have no slot, although they could. */
  get exiles(): readonly PageRun[] {
    return [...this.#exiles.values()].map(({ run }) => run);
  }

  /** A processor's dirty ring, as the kernel maps it. */
  addRing(words: Int32Array): void {
    this.#rings.push(new DirtyRing(words));
  }

  /**
   * Empties the rings: what a processor does that left because its ring is full.
   * @returns how many entries there were
   */
  drainRings(): number {
    let count = 0;
    for (const ring of this.#rings) {
      const taken = ring.harvest((slotIndex, pageIndex) => {
        const run = this.#table.byIndex(slotIndex)?.run;
        if (run !== undefined && pageIndex < run.sizeBytes / PAGE_SIZE)
          this.#ramWrites.note(run.ramOffset + pageIndex * PAGE_SIZE, PAGE_SIZE);
      });
      // The kernel should leave entries free. If there are none, some may have been written over.
      if (taken === ring.entryCount) this.#noteLogged();
      count += taken;
    }
    if (count > 0) this.#vm.resetDirtyRings();
    return count;
  }

  /** All RAM logs from now on, whoever waits: before a migration's first pass, say. */
  startGlobalLog(): void {
    this.#isGlobal = true;
    for (const slot of this.#table.slots) if (this.#wantsLog(slot.run)) this.#startLog(slot);
  }

  /**
   * Nobody but the clients of regions waits any more: every page becomes dirty for the others, and
   * slots without such clients stop to log. What a failed or finished migration calls.
   */
  stopGlobalLog(): void {
    this.#isGlobal = false;
    for (const slot of this.#table.slots)
      if (!slot.run.isReadOnly) this.#stopClients(slot, CLIENTS & ~slot.run.section.logMask);
  }

  regionAdd(section: MemorySection): void {
    const run = wholePages(section);
    if (run !== undefined) this.#arriving.push(run);
  }

  regionDel(section: MemorySection): void {
    if (this.#exiles.delete(section)) return;
    const slot = this.#slotOf(section);
    if (slot !== undefined) this.#leaving.add(slot);
  }

  logStart(section: MemorySection): void {
    const slot = this.#slotOf(section);
    if (slot !== undefined) this.#changed.set(slot, this.#changed.get(slot) ?? 0);
  }

  logStop(section: MemorySection, oldMask: number, newMask: number): void {
    const slot = this.#slotOf(section);
    if (slot === undefined) return;
    this.#changed.set(slot, (this.#changed.get(slot) ?? 0) | (oldMask & ~newMask));
  }

  logSync(section: MemorySection): void {
    const run = wholePages(section);
    if (run === undefined) return;
    for (const slot of this.#table.within(run.gpa, run.sizeBytes)) this.#harvest(slot);
  }

  /** Deletions first, so that what comes overlaps nothing and finds their numbers free. */
  commit(): void {
    const errors: KVMError[] = [];
    this.#keepSame();
    for (const slot of this.#leaving) {
      this.#changed.delete(slot);
      this.#attempt(errors, () => this.#delete(slot));
    }
    const waiting = [...this.#exiles.values()].filter(({ isRefused }) => !isRefused);
    const known = new Set(waiting.map(({ run }) => run.section));
    for (const run of [...this.#arriving, ...waiting.map((exile) => exile.run)])
      if (this.#table.isFull) this.#exile(errors, run, false, known.has(run.section));
      else this.#attempt(errors, () => this.#create(run), run);
    this.#arriving = [];
    for (const [slot, stopped] of this.#changed)
      this.#attempt(errors, () => {
        if (this.#wantsLog(slot.run)) this.#startLog(slot);
        if (stopped !== 0) this.#stopClients(slot, stopped);
      });
    this.#changed.clear();
    for (const error of errors) this.#onProblem?.(error);
    if (errors.length > 0 && this.#onProblem === undefined) throw errors[0];
  }

  /** A run that goes and comes back as it was keeps its slot. */
  #keepSame(): void {
    this.#arriving = this.#arriving.filter((run) => {
      const slot = this.#table.matching(run.gpa, run.sizeBytes);
      if (slot === undefined || !this.#leaving.has(slot) || !isSameRun(slot.run, run)) return true;
      this.#leaving.delete(slot);
      slot.run = run;
      this.#changed.set(slot, this.#changed.get(slot) ?? 0);
      return false;
    });
  }

  #attempt(errors: KVMError[], change: () => void, run?: PageRun): void {
    try {
      change();
    } catch (error) {
      if (!(error instanceof KVMError)) throw error;
      errors.push(error);
      if (run !== undefined) this.#exiles.set(run.section, { run, isRefused: true });
    }
  }

  #exile(errors: KVMError[], run: PageRun, isRefused: boolean, isKnown: boolean): void {
    this.#exiles.set(run.section, { run, isRefused });
    if (isKnown) return;
    errors.push(
      new KVMError(
        'ENOSPC',
        `Cannot map region "${run.section.region!.name}" at ${hex(run.gpa)} to a memory slot as ` +
          `one of ${this.slotCountMax} must be free: all are in use`,
      ),
    );
  }

  #create(run: PageRun): void {
    const slot = this.#table.add(run, this.#wantsLog(run));
    try {
      this.#set(slot, run.sizeBytes);
    } catch (error) {
      this.#table.remove(slot);
      throw error;
    }
    this.#exiles.delete(run.section);
  }

  #delete(slot: KVMSlot): void {
    this.#harvest(slot);
    this.#set(slot, 0);
    this.#table.remove(slot);
    this.#leaving.delete(slot);
  }

  #set({ slotIndex, run, isLogged }: KVMSlot, memorySize: number): void {
    this.#vm.setUserMemoryRegion({
      slot: slotIndex,
      flags:
        (run.isReadOnly ? KVM.KVM_MEM_READONLY : 0) | (isLogged ? KVM.KVM_MEM_LOG_DIRTY_PAGES : 0),
      guestPhysicalAddress: run.gpa,
      memorySize,
      userspaceAddress: this.#hostAddress(run.ramOffset),
    });
  }

  /** @throws {KVMError} and the slot is as it was */
  #setLogged(slot: KVMSlot, isLogged: boolean): void {
    slot.isLogged = isLogged;
    try {
      this.#set(slot, slot.run.sizeBytes);
    } catch (error) {
      slot.isLogged = !isLogged;
      throw error;
    }
  }

  #startLog(slot: KVMSlot): void {
    if (!slot.isLogged) this.#setLogged(slot, true);
  }

  /** These clients hear of no store any more; if there are no others, the slot stops to log. */
  #stopClients(slot: KVMSlot, clients: number): void {
    const { run } = slot;
    if (!slot.isLogged) return;
    this.#ramWrites.dirty.mark(run.ramOffset, run.sizeBytes, clients);
    // The kernel drops what it has logged. Nothing is lost: no page is clean for anybody.
    if (!this.#wantsLog(run)) this.#setLogged(slot, false);
  }

  #harvest(slot: KVMSlot): void {
    if (!slot.isLogged) return;
    if (this.logKind === 'ring') this.drainRings();
    else this.#log.harvest(slot);
  }

  #noteLogged(): void {
    for (const { run, isLogged } of this.#table.slots)
      if (isLogged) this.#ramWrites.note(run.ramOffset, run.sizeBytes);
  }

  #wantsLog({ isReadOnly, section, ramOffset, sizeBytes }: PageRun): boolean {
    if (isReadOnly) return false;
    if (this.#isGlobal || section.logMask !== 0) return true;
    return this.#ramWrites.dirty.hasClean(ramOffset, sizeBytes, CLIENTS);
  }

  /** Pages became clean for somebody. */
  #noticeClean(ramOffset: number, sizeBytes: number): void {
    const { dirty } = this.#ramWrites;
    for (const slot of this.#table.slots) {
      const { run } = slot;
      if (slot.isLogged || run.isReadOnly) continue;
      if (!rangesOverlap(run.ramOffset, run.sizeBytes, ramOffset, sizeBytes)) continue;
      const start = overlapStart(run.ramOffset, ramOffset);
      const size = overlapSize(run.ramOffset, run.sizeBytes, ramOffset, sizeBytes);
      if (!dirty.hasClean(start, size, CLIENTS)) continue;
      try {
        this.#startLog(slot);
      } catch (error) {
        // Better to be told of too many pages than to miss one.
        dirty.mark(start, size, CLIENTS);
        if (!(error instanceof KVMError) || this.#onProblem === undefined) throw error;
        this.#onProblem(error);
      }
    }
  }

  #slotOf(section: MemorySection): KVMSlot | undefined {
    const run = wholePages(section);
    return run === undefined ? undefined : this.#table.matching(run.gpa, run.sizeBytes);
  }
}

function need(vm: KVMMemoryVM, capability: number, name: string): number {
  const value = vm.checkExtension(capability);
  if (value > 0) return value;
  throw new KVMError('ENOSYS', `Cannot map memory in KVM as it must have ${name}: it has not`);
}

/** Turns on what the log needs. */
function chooseLog(
  vm: KVMMemoryVM,
  usesManualProtect: boolean,
  ringBytes: number | undefined,
): DirtyLogKind {
  if (ringBytes !== undefined) {
    const isOrdered = vm.checkExtension(KVM.KVM_CAP_DIRTY_LOG_RING_ACQ_REL) > 0;
    const capability = isOrdered ? 'KVM_CAP_DIRTY_LOG_RING_ACQ_REL' : 'KVM_CAP_DIRTY_LOG_RING';
    need(vm, KVM[capability], capability);
    vm.enableCapability(KVM[capability], ringBytes);
    return 'ring';
  }
  const manual = KVM.KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2;
  const canProtect = (vm.checkExtension(manual) & KVM.KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE) !== 0;
  if (!usesManualProtect || !canProtect) return 'bitmap';
  vm.enableCapability(manual, KVM.KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE);
  return 'manual protect';
}
