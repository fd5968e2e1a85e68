// The guest's side of a virtio device, as a driver writes it: rings in guest memory by the drawings
// of VIRTIO Version 1.2, section 2.7, and nothing of the device's own code.

import type { AddressSpace } from '../src/memory/address-space.ts';
import { GuestMemory } from '../src/memory/guest-memory.ts';
import { MemoryRegion } from '../src/memory/memory-region.ts';

const MIB = 1 << 20;

/** A piece of a request: what the device reads, or how much it may write. */
export interface Piece {
  readonly gpa: number;
  readonly sizeBytes: number;
  readonly isWritable: boolean;
}

/** Guest memory of 1 MiB at 0, ROM at 2 MiB and a device that counts its accesses at 3 MiB. */
export function createBoard() {
  const memory = new GuestMemory({ ramCapacityBytes: 4 * MIB, addressSpaceBytes: 2 ** 32 });
  const ram = memory.ramList.alloc({ name: 'pc.ram', sizeBytes: MIB });
  memory.root.addSubregion(0, MemoryRegion.ram('pc.ram', ram));
  const rom = memory.ramList.alloc({ name: 'rom', sizeBytes: 4096 });
  memory.root.addSubregion(2 * MIB, MemoryRegion.rom('rom', rom));
  let accessCount = 0;
  const io = MemoryRegion.io('io', 4096, {
    read: () => ++accessCount & 0,
    write: () => void accessCount++,
  });
  memory.root.addSubregion(3 * MIB, io);
  return { memory, ram, space: memory.addressSpace, ioAccesses: () => accessCount };
}

/** A driver's queue: it gives out descriptors and takes them back when the device used them. */
export class RingDriver {
  readonly space: AddressSpace;
  readonly size: number;
  readonly descriptors: number;
  readonly available: number;
  readonly used: number;
  hasEventIndex = false;
  #free: number[];
  #seenUsed = 0;
  #nextAvailable = 0;
  readonly #chains = new Map<number, number[]>();

  /** Rings from `gpa` on, a page each, 64 entries at most. */
  constructor(space: AddressSpace, gpa: number, size: number) {
    this.space = space;
    this.size = size;
    this.descriptors = gpa;
    this.available = gpa + 4096;
    this.used = gpa + 8192;
    this.#free = Array.from({ length: size }, (_, index) => index);
  }

  get freeCount(): number {
    return this.#free.length;
  }

  writeDescriptor(at: number, gpa: number, sizeBytes: number, flags: number, next: number): void {
    this.space.write(at, 4, gpa % 2 ** 32);
    this.space.write(at + 4, 4, Math.floor(gpa / 2 ** 32));
    this.space.write(at + 8, 4, sizeBytes);
    this.space.write(at + 12, 2, flags);
    this.space.write(at + 14, 2, next);
  }

  /** Makes pieces available, directly or by a table at `tableGPA`; the head. */
  add(pieces: readonly Piece[], tableGPA?: number): number {
    if (tableGPA !== undefined) {
      for (const [i, piece] of pieces.entries()) {
        const isLast = i === pieces.length - 1;
        const flags = (isLast ? 0 : 1) | (piece.isWritable ? 2 : 0);
        this.writeDescriptor(tableGPA + 16 * i, piece.gpa, piece.sizeBytes, flags, i + 1);
      }
      const [head] = this.#take(1);
      const bytes = 16 * pieces.length;
      this.writeDescriptor(this.descriptors + 16 * head!, tableGPA, bytes, 4, 0);
      this.offer(head!);
      return head!;
    }
    const indexes = this.#take(pieces.length);
    for (const [i, piece] of pieces.entries()) {
      const next = indexes[i + 1];
      const flags = (next === undefined ? 0 : 1) | (piece.isWritable ? 2 : 0);
      const at = this.descriptors + 16 * indexes[i]!;
      this.writeDescriptor(at, piece.gpa, piece.sizeBytes, flags, next ?? 0);
    }
    this.offer(indexes[0]!);
    return indexes[0]!;
  }

  /** Puts a head into the available ring. */
  offer(head: number): void {
    this.space.write(this.available + 4 + 2 * (this.#nextAvailable % this.size), 2, head);
    this.#nextAvailable = (this.#nextAvailable + 1) & 0xffff;
    this.space.write(this.available + 2, 2, this.#nextAvailable);
  }

  /** Chains that the device used since the last call, oldest first. */
  collect(): { head: number; writtenBytes: number }[] {
    const found = [];
    while (this.#seenUsed !== this.space.read(this.used + 2, 2)) {
      const at = this.used + 4 + 8 * (this.#seenUsed % this.size);
      const head = this.space.read(at, 4);
      found.push({ head, writtenBytes: this.space.read(at + 4, 4) });
      this.#free.push(...(this.#chains.get(head) ?? []));
      this.#chains.delete(head);
      this.#seenUsed = (this.#seenUsed + 1) & 0xffff;
    }
    // "Tell me when you use the next one."
    if (this.hasEventIndex) this.setUsedEvent(this.#seenUsed);
    return found;
  }

  setUsedEvent(index: number): void {
    this.space.write(this.available + 4 + 2 * this.size, 2, index);
  }

  /** The device asks to be told when the available index passes this. */
  get availableEvent(): number {
    return this.space.read(this.used + 4 + 8 * this.size, 2);
  }

  #take(count: number): number[] {
    const indexes = this.#free.splice(0, count);
    if (indexes.length < count) throw new RangeError('The driver has no descriptors left');
    this.#chains.set(indexes[0]!, indexes);
    return indexes;
  }
}
