// Guest RAM as the host maps it: as large as the host allows, in huge pages where it has them,
// given back page by page, and copied from a file only where the guest writes.
//
// JavaScript sees it as external array buffers, one for each 4 GiB. The engine neither moves nor
// frees such bytes. A buffer's part is unmapped when the buffer itself is collected: no view of it
// can be left then.

import { hex } from '../../base/hex.ts';
import { isPageAligned } from '../../base/pages.ts';
import { RAM_CHUNK_BYTES, type RAMBacking } from '../../memory/ram-backing.ts';
import type { LinuxCalls } from './linux-calls.ts';

// Linux: asm-generic/mman-common.h, asm-generic/mman.h.
const MAP_PRIVATE = 0x02;
const MAP_FIXED = 0x10;
const MAP_ANONYMOUS = 0x20;
const MAP_NORESERVE = 0x4000;
const MADV_DONTNEED = 4;
const MADV_DONTFORK = 10;
const MADV_HUGEPAGE = 14;
/** A huge page of x86-64; memory that begins at a multiple of it can be made of such. */
const HUGE_PAGE_BYTES = 0x20_0000;

/** What the kernel's KVM asks of memory. */
export interface MappedRAMOptions {
  readonly calls: LinuxCalls;
  /**
   * Whether KVM follows what happens to the mapping (KVM_CAP_SYNC_MMU). Without it a page that
   * the guest has must stay where it is: none is given back, and none is copied by a fork.
   */
  readonly isSynchronous: boolean;
}

/** Parts of this process's address space that go when the array buffer of a chunk does. */
const mappings = new FinalizationRegistry<{ calls: LinuxCalls; address: number; size: number }>(
  ({ calls, address, size }) => void calls.munmap(address, size),
);

/** RAM in a private mapping. */
export class MappedRAM implements RAMBacking {
  readonly chunks: readonly Uint8Array[];
  /** Absent where KVM does not follow mappings. */
  readonly mapFile: RAMBacking['mapFile'];
  /** Of RAM offset 0. */
  readonly address: number;
  readonly #calls: LinuxCalls;
  readonly #isSynchronous: boolean;
  readonly #capacityBytes: number;
  #hasFiles = false;

  /** @throws {RangeError} if the size is not whole pages, or the host has not that much */
  constructor(capacityBytes: number, options: MappedRAMOptions) {
    const { calls, isSynchronous } = options;
    if (!Number.isSafeInteger(capacityBytes) || capacityBytes <= 0 || !isPageAligned(capacityBytes))
      throw new RangeError(`Cannot map RAM as it must be whole pages: got ${capacityBytes} bytes`);
    this.#calls = calls;
    this.#isSynchronous = isSynchronous;
    this.#capacityBytes = capacityBytes;
    this.address = reserve(calls, capacityBytes);
    this.#advise(this.address, capacityBytes);
    const chunks: Uint8Array[] = [];
    for (let start = 0; start < capacityBytes; start += RAM_CHUNK_BYTES) {
      const size = Math.min(RAM_CHUNK_BYTES, capacityBytes - start);
      const address = this.address + start;
      const buffer = calls.view(address, size);
      mappings.register(buffer, { calls, address, size });
      chunks.push(new Uint8Array(buffer));
    }
    this.chunks = chunks;
    if (isSynchronous) this.mapFile = (...range) => this.#mapFile(...range);
  }

  /** @throws {RangeError} if the host refuses */
  discard(ramOffset: number, sizeBytes: number): void {
    if (sizeBytes === 0) return;
    const address = this.#addressOf(ramOffset, sizeBytes);
    if (!this.#isSynchronous) {
      this.#fill(ramOffset, sizeBytes);
      return;
    }
    // A page of a file would read as the file again.
    if (this.#hasFiles) {
      const flags = MAP_PRIVATE | MAP_FIXED | MAP_ANONYMOUS | MAP_NORESERVE;
      this.#map(address, sizeBytes, flags, -1, 0);
      this.#advise(address, sizeBytes);
    } else if (this.#calls.madvise(address, sizeBytes, MADV_DONTNEED) !== 0)
      this.#fill(ramOffset, sizeBytes);
  }

  #mapFile(ramOffset: number, sizeBytes: number, fd: number, fileOffset: number): void {
    const address = this.#addressOf(ramOffset, sizeBytes);
    this.#hasFiles = true;
    this.#map(address, sizeBytes, MAP_PRIVATE | MAP_FIXED | MAP_NORESERVE, fd, fileOffset);
  }

  #addressOf(ramOffset: number, sizeBytes: number): number {
    const isInside =
      ramOffset >= 0 && sizeBytes >= 0 && sizeBytes <= this.#capacityBytes - ramOffset;
    if (!isInside || !isPageAligned(ramOffset) || !isPageAligned(sizeBytes))
      throw new RangeError(
        `Cannot change mapping of RAM at offset ${hex(ramOffset)} as it must be whole pages of ` +
          `${hex(this.#capacityBytes)} bytes: got ${hex(sizeBytes)}`,
      );
    return this.address + ramOffset;
  }

  #map(address: number, sizeBytes: number, flags: number, fd: number, offset: number): void {
    if (this.#calls.mmap(address, sizeBytes, flags, fd, offset) === address) return;
    throw new RangeError(
      `Cannot map ${hex(sizeBytes)} bytes of RAM as the host refuses: ${this.#calls.errno()}`,
    );
  }

  /** Advice is taken where the host can; where it cannot, nothing is wrong. */
  #advise(address: number, sizeBytes: number): void {
    this.#calls.madvise(address, sizeBytes, MADV_HUGEPAGE);
    if (!this.#isSynchronous) this.#calls.madvise(address, sizeBytes, MADV_DONTFORK);
  }

  #fill(ramOffset: number, sizeBytes: number): void {
    for (let done = 0; done < sizeBytes; ) {
      const inChunk = (ramOffset + done) % RAM_CHUNK_BYTES;
      const size = Math.min(sizeBytes - done, RAM_CHUNK_BYTES - inChunk);
      this.chunks[Math.floor((ramOffset + done) / RAM_CHUNK_BYTES)]!.fill(
        0,
        inChunk,
        inChunk + size,
      );
      done += size;
    }
  }
}

/** Address space that begins at a multiple of a huge page. */
function reserve(calls: LinuxCalls, sizeBytes: number): number {
  const wanted = sizeBytes + HUGE_PAGE_BYTES;
  const start = calls.mmap(0, wanted, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (start === -1)
    throw new RangeError(
      `Cannot create machine as the host must map ${hex(sizeBytes)} bytes for its RAM: ` +
        calls.errno(),
    );
  const head = (HUGE_PAGE_BYTES - (start % HUGE_PAGE_BYTES)) % HUGE_PAGE_BYTES;
  if (head > 0) calls.munmap(start, head);
  const tail = HUGE_PAGE_BYTES - head;
  if (tail > 0) calls.munmap(start + head + sizeBytes, tail);
  return start + head;
}
