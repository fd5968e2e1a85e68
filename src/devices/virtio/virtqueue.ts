// A split virtqueue from the device's side: takes chains of buffers that the driver made available,
// and gives them back used. VIRTIO Version 1.2, section 2.7 "Split Virtqueues".
//
// All three parts lie in guest memory and are the guest's to break. Whatever breaks the rules (a
// loop, a buffer outside of RAM, an index that runs away) is told to the device, which then asks
// for a reset (section 2.1.1); nothing of a broken chain is used.

import type { AddressSpace } from '../../memory/address-space.ts';
import { defineState, type Savable, type SavedSection, SavedStateError } from '../saved-state.ts';
import { type GuestBuffer, isGuestMemory } from './guest-buffer.ts';
import {
  AVAILABLE_ENTRY_BYTES,
  AVAILABLE_NO_INTERRUPT,
  DESCRIPTOR_BYTES,
  DESCRIPTOR_INDIRECT,
  DESCRIPTOR_NEXT,
  DESCRIPTOR_WRITE,
  FEATURE_EVENT_INDEX,
  FEATURE_INDIRECT,
  QUEUE_SIZE_MAX,
  RING_ENTRIES,
  RING_INDEX,
  USED_ENTRY_BYTES,
} from './virtio-registers.ts';

/** Addresses at and above it are nobody's; integers below it are exact. */
const ADDRESS_END = 2 ** 52;
/** Longest buffer chain, bytes (section 2.7.4). */
const CHAIN_BYTES_MAX = 2 ** 32;
const LEGACY_ALIGN = 4096;

/** What the driver made available in one piece: the device reads some buffers and writes others. */
export interface VirtqueueChain {
  /** Index of its first descriptor, by which it is given back. */
  readonly head: number;
  readonly readable: readonly GuestBuffer[];
  readonly writable: readonly GuestBuffer[];
}

/** What a queue belongs to. */
export interface VirtqueueWiring {
  readonly space: AddressSpace;
  /** Features 0–31 that device and driver agreed on. */
  features(): number;
  /** Whether the device may take chains now. */
  mayTake(): boolean;
  /** The driver broke the rules; `reason` is for people. */
  onBroken(reason: string): void;
}

function powerOnState(size: number) {
  return {
    size,
    isReady: false,
    /** Descriptor table, available ring and used ring: guest-physical. */
    descriptors: 0,
    available: 0,
    used: 0,
    /** Where the device is in the two rings; 16 bits that wrap. */
    nextAvailable: 0,
    nextUsed: 0,
    /** `nextUsed` at the last decision about an interrupt. */
    signalledUsed: 0,
    /** Heads of chains that were taken and not given back, oldest first. */
    inFlight: [] as number[],
  };
}

type VirtqueueState = ReturnType<typeof powerOnState>;

export class Virtqueue implements Savable {
  /** Most descriptors that it may have. */
  readonly maxSize: number;
  readonly #schema;
  readonly #wiring: VirtqueueWiring;
  // State, all of it saved.
  readonly state: VirtqueueState;

  /** @param maxSize a power of two, at most 1024 */
  constructor(name: string, maxSize: number, wiring: VirtqueueWiring) {
    this.maxSize = maxSize;
    this.#wiring = wiring;
    this.state = powerOnState(maxSize);
    const u16 = (id: number) => ({ id, type: 'u16', since: 1 }) as const;
    const count = (id: number) => ({ id, type: 'count', since: 1 }) as const;
    this.#schema = defineState<VirtqueueState>(name, 1, {
      size: u16(1),
      isReady: { id: 2, type: 'boolean', since: 1 },
      descriptors: count(3),
      available: count(4),
      used: count(5),
      nextAvailable: u16(6),
      nextUsed: u16(7),
      signalledUsed: u16(8),
      inFlight: { id: 9, type: 'u16', since: 1, maxLength: QUEUE_SIZE_MAX },
    });
  }

  get schema() {
    return this.#schema;
  }

  reset(): void {
    Object.assign(this.state, powerOnState(this.maxSize));
  }

  save(): SavedSection {
    return this.#schema.save(this.state);
  }

  restore(section: SavedSection): void {
    const next = powerOnState(this.maxSize);
    this.#schema.restore(section, next);
    const { size, inFlight } = next;
    const isSound =
      isQueueSize(size, this.maxSize) &&
      new Set(inFlight).size === inFlight.length &&
      inFlight.every((head) => head < size);
    if (!isSound)
      throw new SavedStateError('BAD_FIELD', section.name, 'size and heads must be possible');
    Object.assign(this.state, next);
  }

  /** A driver's choice of size; one that the queue cannot have is ignored (section 4.1.4.3.2). */
  setSize(size: number): void {
    if (!this.state.isReady && isQueueSize(size, this.maxSize)) this.state.size = size;
  }

  /** Legacy drivers name one page, and all parts lie behind it (section 2.7.2); 0 is no queue. */
  setLegacyPage(page: number): void {
    const s = this.state;
    this.reset();
    if (page === 0) return;
    s.descriptors = page * LEGACY_ALIGN;
    s.available = s.descriptors + DESCRIPTOR_BYTES * s.size;
    const end = s.available + RING_ENTRIES + AVAILABLE_ENTRY_BYTES * s.size + 2;
    s.used = Math.ceil(end / LEGACY_ALIGN) * LEGACY_ALIGN;
    s.isReady = true;
  }

  /** Takes the next chain; undefined if there is none, or the driver broke the rules. */
  pop(): VirtqueueChain | undefined {
    const s = this.state;
    if (!s.isReady || !this.#wiring.mayTake()) return undefined;
    const index = this.#read16(s.available + RING_INDEX);
    if (index === undefined) return undefined;
    const waiting = (index - s.nextAvailable) & 0xffff;
    if (waiting === 0) {
      this.#askForNotification();
      return undefined;
    }
    if (waiting > s.size) return this.#fail(`${waiting} chains are available in ${s.size} entries`);
    const slot = s.nextAvailable % s.size;
    const head = this.#read16(s.available + RING_ENTRIES + AVAILABLE_ENTRY_BYTES * slot);
    if (head === undefined) return undefined;
    if (s.inFlight.includes(head)) return this.#fail(`descriptor ${head} is available twice`);
    const chain = this.readChain(head);
    if (chain === undefined) return undefined;
    s.nextAvailable = (s.nextAvailable + 1) & 0xffff;
    s.inFlight.push(head);
    return chain;
  }

  /** The chain that begins at `head`: for chains that were in flight when the state was saved. */
  readChain(head: number): VirtqueueChain | undefined {
    const readable: GuestBuffer[] = [];
    const writable: GuestBuffer[] = [];
    let table = this.state.descriptors;
    let tableSize = this.state.size;
    let isIndirect = false;
    let index = head;
    let totalBytes = 0;
    // As many descriptors as the table has: one more is a loop.
    for (let left = tableSize; ; ) {
      if (index >= tableSize) return this.#fail(`descriptor ${index} of ${tableSize}`);
      if (left-- === 0) return this.#fail('a chain of descriptors has a loop');
      const descriptor = this.#readDescriptor(table + DESCRIPTOR_BYTES * index);
      if (descriptor === undefined) return undefined;
      const { gpa, sizeBytes, flags, next } = descriptor;
      if (flags & DESCRIPTOR_INDIRECT) {
        const isAllowed = (this.#wiring.features() & FEATURE_INDIRECT) !== 0 && !isIndirect;
        if (!isAllowed || flags & DESCRIPTOR_NEXT)
          return this.#fail('an indirect descriptor where none may be');
        const count = sizeBytes / DESCRIPTOR_BYTES;
        if (!Number.isInteger(count) || count === 0 || count > QUEUE_SIZE_MAX)
          return this.#fail(`an indirect table of ${sizeBytes} bytes`);
        isIndirect = true;
        table = gpa;
        tableSize = count;
        left = count;
        index = 0;
        continue;
      }
      if (sizeBytes === 0) return this.#fail('a buffer without bytes');
      const isForWrite = (flags & DESCRIPTOR_WRITE) !== 0;
      if (!isForWrite && writable.length > 0)
        return this.#fail('a buffer to read behind one to write');
      totalBytes += sizeBytes;
      if (totalBytes > CHAIN_BYTES_MAX) return this.#fail('a chain of more than 2^32 bytes');
      if (!isGuestMemory(this.#wiring.space, gpa, sizeBytes, isForWrite))
        return this.#fail(`a buffer of ${sizeBytes} bytes at 0x${gpa.toString(16)}, not in RAM`);
      (isForWrite ? writable : readable).push({ gpa, sizeBytes });
      if (!(flags & DESCRIPTOR_NEXT)) return { head, readable, writable };
      index = next;
    }
  }

  /**
   * Gives a chain back, of whose writable buffers the first `writtenBytes` were written. The driver
   * hears of it by {@link Virtqueue.takeSignal}.
   */
  push(head: number, writtenBytes: number): void {
    const s = this.state;
    const at = s.inFlight.indexOf(head);
    if (at < 0) return; // The queue was reset since.
    const entry = s.used + RING_ENTRIES + USED_ENTRY_BYTES * (s.nextUsed % s.size);
    if (!this.#write(entry, 4, head) || !this.#write(entry + 4, 4, writtenBytes)) return;
    const nextUsed = (s.nextUsed + 1) & 0xffff;
    if (!this.#write(s.used + RING_INDEX, 2, nextUsed)) return;
    s.inFlight.splice(at, 1);
    s.nextUsed = nextUsed;
  }

  /**
   * Whether the driver wants an interrupt for what was given back since the last call. Call it
   * after one or several `push`es (sections 2.7.7 and 2.7.8).
   */
  takeSignal(): boolean {
    const s = this.state;
    const since = (s.nextUsed - s.signalledUsed) & 0xffff;
    if (!s.isReady || since === 0) return false;
    s.signalledUsed = s.nextUsed;
    if (!this.#hasEventIndex) {
      const flags = this.#read16(s.available);
      return flags !== undefined && (flags & AVAILABLE_NO_INTERRUPT) === 0;
    }
    const event = this.#read16(s.available + RING_ENTRIES + AVAILABLE_ENTRY_BYTES * s.size);
    return event !== undefined && ((s.nextUsed - event - 1) & 0xffff) < since;
  }

  get #hasEventIndex(): boolean {
    return (this.#wiring.features() & FEATURE_EVENT_INDEX) !== 0;
  }

  /** Nothing is left: the driver is to say when there is (section 2.7.10). */
  #askForNotification(): void {
    if (!this.#hasEventIndex) return;
    const s = this.state;
    const at = s.used + RING_ENTRIES + USED_ENTRY_BYTES * s.size;
    if (this.#read16(at) !== s.nextAvailable) this.#write(at, 2, s.nextAvailable);
  }

  #readDescriptor(at: number) {
    const { space } = this.#wiring;
    if (!isGuestMemory(space, at, DESCRIPTOR_BYTES, false))
      return this.#fail(`a descriptor at 0x${at.toString(16)}, not in RAM`);
    const low = space.read(at, 4);
    const gpa = space.read(at + 4, 4) * 2 ** 32 + low;
    const sizeBytes = space.read(at + 8, 4);
    if (gpa >= ADDRESS_END - sizeBytes) return this.#fail('an address above 2^52');
    return { gpa, sizeBytes, flags: space.read(at + 12, 2), next: space.read(at + 14, 2) };
  }

  #read16(gpa: number): number | undefined {
    const { space } = this.#wiring;
    if (isGuestMemory(space, gpa, 2, false)) return space.read(gpa, 2);
    return this.#fail(`a ring at 0x${gpa.toString(16)}, not in RAM`);
  }

  #write(gpa: number, sizeBytes: number, value: number): boolean {
    const { space } = this.#wiring;
    if (isGuestMemory(space, gpa, sizeBytes, true)) {
      space.write(gpa, sizeBytes, value);
      return true;
    }
    this.#fail(`a ring at 0x${gpa.toString(16)}, not in RAM`);
    return false;
  }

  #fail(reason: string): undefined {
    this.#wiring.onBroken(reason);
    return undefined;
  }
}

function isQueueSize(size: number, maxSize: number): boolean {
  return size > 0 && size <= maxSize && (size & (size - 1)) === 0;
}
