// What the kernel does with memory slots, as its documentation says it (Linux:
// Documentation/virt/kvm/api.rst, 4.35 KVM_SET_USER_MEMORY_REGION, 4.8 KVM_GET_DIRTY_LOG, 4.117
// KVM_CLEAR_DIRTY_LOG, 8.29 KVM_CAP_DIRTY_LOG_RING), and as /dev/kvm answers: kvm-memory.test.ts
// plays the same script to both.

import { KVM } from '../../src/accel/kvm/abi.ts';
import { KVMError, type KVMMemoryRegion, type KVMMemoryVM } from '../../src/accel/kvm/kvm-vm.ts';

const PAGE = 4096;
const KNOWN_FLAGS = KVM.KVM_MEM_LOG_DIRTY_PAGES | KVM.KVM_MEM_READONLY;
/** Pages of one slot at most: KVM_MEM_MAX_NR_PAGES. */
const SLOT_PAGES_MAX = 2 ** 31 - 1;
/** A kernel without two-dimensional paging takes every architectural address. */
const GPA_BITS = 52;
/** Where user space ends: 47 bits, less a page. */
const USER_END = 2n ** 47n - 4096n;
const RING_BYTES_MAX = 1 << 20;

interface ModelSlot {
  readonly region: KVMMemoryRegion;
  /** One byte a page; undefined while the slot does not log. */
  readonly dirty: Uint8Array | undefined;
}

export interface ModelOptions {
  /** The host's memory, of which slots show parts; its first byte is at `hostBase`. */
  readonly memory: Uint8Array;
  readonly hostBase?: bigint;
  readonly slotCountMax?: number;
  readonly isReadOnlyCapable?: boolean;
  readonly isManualCapable?: boolean;
}

/** The memory of a virtual machine, and a guest that reads and writes it byte by byte. */
export class KVMMemoryModel implements KVMMemoryVM {
  readonly hostBase: bigint;
  readonly slots = new Map<number, ModelSlot>();
  /** What was asked of it, in order: `set 3`, `delete 3`, `flags 3`, `get 3`, `clear 3 0+64`. */
  readonly log: string[] = [];
  /** Called before each call; throws what the kernel should refuse with. */
  refuse: (call: string) => void = () => {};
  /** Entries of the dirty ring, as the kernel shares it; set by KVM_ENABLE_CAP. */
  ring: Int32Array | undefined;
  readonly #memory: Uint8Array;
  readonly #slotCountMax: number;
  readonly #isReadOnlyCapable: boolean;
  readonly #isManualCapable: boolean;
  #isManual = false;
  #ringNext = 0;
  #ringReset = 0;
  /** Pages in the ring that the kernel does not watch until they are reset: `slot:page`. */
  readonly #inRing = new Set<string>();

  constructor(options: ModelOptions) {
    this.#memory = options.memory;
    this.hostBase = options.hostBase ?? 0x7f00_0000_0000n;
    this.#slotCountMax = options.slotCountMax ?? 32764;
    this.#isReadOnlyCapable = options.isReadOnlyCapable ?? true;
    this.#isManualCapable = options.isManualCapable ?? true;
  }

  hostAddress = (ramOffset: number): bigint => this.hostBase + BigInt(ramOffset);

  checkExtension(capability: number): number {
    switch (capability) {
      case KVM.KVM_CAP_NR_MEMSLOTS:
        return this.#slotCountMax;
      case KVM.KVM_CAP_READONLY_MEM:
        return this.#isReadOnlyCapable ? 1 : 0;
      case KVM.KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2:
        return this.#isManualCapable ? 3 : 0;
      case KVM.KVM_CAP_DIRTY_LOG_RING:
      case KVM.KVM_CAP_DIRTY_LOG_RING_ACQ_REL:
        return RING_BYTES_MAX;
      default:
        return 0;
    }
  }

  enableCapability(capability: number, argument: number): void {
    if (capability === KVM.KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2) {
      // INITIALLY_SET (2) goes with ENABLE (1) only.
      this.#must(this.#isManualCapable && [0, 1, 3].includes(argument), 'EINVAL');
      this.#isManual = (argument & 1) !== 0;
      return;
    }
    const isRing =
      capability === KVM.KVM_CAP_DIRTY_LOG_RING ||
      capability === KVM.KVM_CAP_DIRTY_LOG_RING_ACQ_REL;
    const isPower = argument >= PAGE && Number.isInteger(Math.log2(argument));
    this.#must(isRing && isPower && argument <= RING_BYTES_MAX, 'EINVAL');
    this.ring = new Int32Array(argument / 4);
  }

  setUserMemoryRegion(region: KVMMemoryRegion): void {
    const { slot, flags, memorySize: size, guestPhysicalAddress: gpa } = region;
    const old = this.slots.get(slot);
    const what = size === 0 ? 'delete' : old === undefined ? 'set' : 'flags';
    this.#note(`${what} ${slot}`);
    const known = this.#isReadOnlyCapable ? KNOWN_FLAGS : KVM.KVM_MEM_LOG_DIRTY_PAGES;
    this.#must((flags & ~known) === 0, 'EINVAL');
    this.#must(size % PAGE === 0 && gpa % PAGE === 0, 'EINVAL');
    const hostStart = region.userspaceAddress;
    this.#must(hostStart % BigInt(PAGE) === 0n, 'EINVAL');
    this.#must(hostStart + BigInt(size) <= USER_END, 'EINVAL');
    this.#must(slot < this.#slotCountMax, 'EINVAL');
    this.#must(size / PAGE <= SLOT_PAGES_MAX, 'EINVAL');
    if (size === 0) {
      this.#must(old !== undefined, 'EINVAL');
      this.slots.delete(slot);
      return;
    }
    this.#must(BigInt(gpa) + BigInt(size) <= 2n ** BigInt(GPA_BITS), 'EINVAL');
    if (old !== undefined) {
      this.#must(old.region.userspaceAddress === hostStart, 'EINVAL');
      this.#must(old.region.memorySize === size, 'EINVAL');
      this.#must(((old.region.flags ^ flags) & KVM.KVM_MEM_READONLY) === 0, 'EINVAL');
    }
    for (const [other, { region: there }] of this.slots) {
      const isApart =
        other === slot ||
        gpa >= there.guestPhysicalAddress + there.memorySize ||
        there.guestPhysicalAddress >= gpa + size;
      this.#must(isApart, 'EEXIST');
    }
    const isLogged = (flags & KVM.KVM_MEM_LOG_DIRTY_PAGES) !== 0;
    // A log that is turned off goes with all that is in it.
    const dirty = isLogged ? (old?.dirty ?? new Uint8Array(size / PAGE)) : undefined;
    this.slots.set(slot, { region: { ...region }, dirty });
  }

  getDirtyLog(slot: number, bitmap: Uint8Array): void {
    this.#note(`get ${slot}`);
    this.#must(this.ring === undefined, 'ENXIO');
    const { dirty } = this.#logged(slot);
    const words = Math.ceil(dirty.length / 64);
    if (bitmap.length < words * 8) throw new Error(`The kernel writes ${words * 8} bytes`);
    bitmap.fill(0, 0, words * 8);
    for (const [page, isDirty] of dirty.entries())
      if (isDirty !== 0) bitmap[page >> 3] = bitmap[page >> 3]! | (1 << (page & 7));
    if (!this.#isManual) dirty.fill(0);
  }

  clearDirtyLog(slot: number, firstPage: number, pageCount: number, bitmap: Uint8Array): void {
    this.#note(`clear ${slot} ${firstPage}+${pageCount}`);
    this.#must(this.ring === undefined, 'ENXIO');
    this.#must(firstPage % 64 === 0, 'EINVAL');
    const { dirty } = this.#logged(slot);
    this.#must(firstPage <= dirty.length && pageCount <= dirty.length - firstPage, 'EINVAL');
    this.#must(pageCount === dirty.length - firstPage || pageCount % 64 === 0, 'EINVAL');
    for (let index = 0; index < pageCount; index++)
      if (((bitmap[index >> 3]! >> (index & 7)) & 1) !== 0) dirty[firstPage + index] = 0;
  }

  resetDirtyRings(): void {
    this.#note('reset');
    const { ring } = this;
    this.#must(ring !== undefined, 'EINVAL');
    for (; (ring[this.#ringReset * 4]! & 2) !== 0; ) {
      const at = this.#ringReset * 4;
      this.#inRing.delete(`${ring[at + 1]}:${ring[at + 2]}`);
      ring[at] = 0;
      this.#ringReset = (this.#ringReset + 1) % (ring.length / 4);
    }
  }

  /** A guest's store of a byte: false if it is an exit. */
  guestWrite(gpa: number, value: number): boolean {
    const found = this.#find(gpa);
    if (found === undefined || (found.region.flags & KVM.KVM_MEM_READONLY) !== 0) return false;
    const offset = gpa - found.region.guestPhysicalAddress;
    this.#memory[this.#at(found, offset)] = value;
    if (found.dirty === undefined) return true;
    const page = Math.floor(offset / PAGE);
    if (this.ring !== undefined) this.#push(found.region.slot, page);
    else found.dirty[page] = 1;
    return true;
  }

  /** A guest's load of a byte: undefined if it is an exit. */
  guestRead(gpa: number): number | undefined {
    const found = this.#find(gpa);
    if (found === undefined) return undefined;
    return this.#memory[this.#at(found, gpa - found.region.guestPhysicalAddress)]!;
  }

  #push(slot: number, page: number): void {
    const ring = this.ring!;
    const key = `${slot}:${page}`;
    if (this.#inRing.has(key)) return;
    const at = this.#ringNext * 4;
    if (ring[at] !== 0) throw new Error('KVM_EXIT_DIRTY_RING_FULL');
    this.#inRing.add(key);
    ring.set([0, slot, page, 0], at);
    ring[at] = 1;
    this.#ringNext = (this.#ringNext + 1) % (ring.length / 4);
  }

  #find(gpa: number): ModelSlot | undefined {
    for (const found of this.slots.values()) {
      const { guestPhysicalAddress: start, memorySize } = found.region;
      if (gpa >= start && gpa - start < memorySize) return found;
    }
    return undefined;
  }

  #at(found: ModelSlot, offset: number): number {
    return Number(found.region.userspaceAddress - this.hostBase) + offset;
  }

  #logged(slot: number): { dirty: Uint8Array } {
    this.#must(slot < this.#slotCountMax, 'EINVAL');
    const dirty = this.slots.get(slot)?.dirty;
    this.#must(dirty !== undefined, 'ENOENT');
    return { dirty };
  }

  #note(call: string): void {
    this.refuse(call);
    this.log.push(call);
  }

  #must(holds: boolean, code: string): asserts holds {
    if (!holds) throw new KVMError(code, `The model refuses: ${code}`);
  }
}
