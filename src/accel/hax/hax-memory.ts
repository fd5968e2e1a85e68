// Guest memory as HAXM maps it: a memory listener over the driver's published interface (Intel
// HAXM, docs/api.md, "HAXM API Reference", API v4). No real driver has run it: the tests' model
// follows that page.
//
// HAXM has no dirty log. While RAM is mapped the guest may write any of it unseen, so a sync makes
// all of it dirty, and so does its going away.

import { assert } from '../../base/errors.ts';
import { hex } from '../../base/hex.ts';
import type { MemorySection } from '../../memory/flat-view.ts';
import type { MemoryListener } from '../../memory/memory-listener.ts';
import { isSameRun, type PageRun, wholePages } from '../../memory/page-run.ts';
import type { RAMList } from '../../memory/ram-list.ts';
import type { RAMWrites } from '../../memory/ram-writes.ts';

/** The guest reads, and leaves when it writes. */
export const HAX_RAM_INFO_ROM = 0x01;
/** No memory is there. Since API v4; alone, and with the host address 0. */
export const HAX_RAM_INFO_INVALID = 0x80;
/** The API that has HAX_RAM_INFO_INVALID. */
const API_VERSION = 4;

/** The memory ioctls of one HAXM virtual machine. Each throws what the driver's error is. */
export interface HAXDriver {
  /** `cur_version` of HAX_IOCTL_VERSION. */
  readonly apiVersion: number;
  /** HAX_VM_IOCTL_ALLOC_RAM: registers a buffer, below 4 GiB in size, for the machine's life. */
  allocRAM(hostAddress: bigint, sizeBytes: number): void;
  /** HAX_VM_IOCTL_SET_RAM: maps, remaps or, with HAX_RAM_INFO_INVALID, unmaps whole pages. */
  setRAM(gpa: number, sizeBytes: number, flags: number, hostAddress: bigint): void;
}

/** What a HAXM virtual machine maps. */
export interface HAXMemoryOptions {
  readonly driver: HAXDriver;
  readonly ramList: RAMList;
  readonly ramWrites: RAMWrites;
  /** Host virtual address of RAM offset 0; all RAM lies behind it in one piece. */
  readonly hostBase: bigint;
}

/** A listener of the `memory` address space. What it does not map is an exit. */
export class HAXMemory implements MemoryListener {
  readonly #driver: HAXDriver;
  readonly #ramWrites: RAMWrites;
  readonly #hostBase: bigint;
  readonly #mapped = new Map<MemorySection, PageRun>();
  #leaving: PageRun[] = [];
  #arriving: PageRun[] = [];

  /**
   * Registers all RAM at once: a buffer can neither be given back nor overlap another, while blocks
   * of ours come and go within the same space.
   * @throws {RangeError} if the driver's API is too old
   */
  constructor(options: HAXMemoryOptions) {
    const { driver, ramList, ramWrites, hostBase } = options;
    if (driver.apiVersion < API_VERSION)
      throw new RangeError(
        `Cannot map memory in HAXM as its API version must be at least ${API_VERSION}: ` +
          `it is ${driver.apiVersion}`,
      );
    this.#driver = driver;
    this.#ramWrites = ramWrites;
    this.#hostBase = hostBase;
    driver.allocRAM(hostBase, ramList.capacityBytes);
  }

  /** What the guest reaches without an exit. */
  get runs(): readonly PageRun[] {
    return [...this.#mapped.values()];
  }

  regionAdd(section: MemorySection): void {
    const run = wholePages(section);
    if (run !== undefined) this.#arriving.push(run);
  }

  regionDel(section: MemorySection): void {
    const run = this.#mapped.get(section);
    if (run === undefined) return;
    this.#mapped.delete(section);
    this.#leaving.push(run);
  }

  logSync(section: MemorySection): void {
    const run = this.#mapped.get(section);
    if (run !== undefined) this.#noteAll(run);
  }

  /** What goes is unmapped before anything is mapped: a late removal would take new pages away. */
  commit(): void {
    const leaving = this.#leaving;
    const arriving = this.#arriving;
    this.#leaving = [];
    this.#arriving = [];
    for (const run of leaving) {
      if (arriving.some((other) => isSameRun(run, other))) continue;
      this.#driver.setRAM(run.gpa, run.sizeBytes, HAX_RAM_INFO_INVALID, 0n);
      this.#noteAll(run);
    }
    for (const run of arriving) {
      this.#mapped.set(run.section, run);
      if (leaving.some((other) => isSameRun(run, other))) continue;
      // The size is 32 bits wide; RAM is smaller than that as a whole.
      assert(run.sizeBytes < 2 ** 32, `Run at ${hex(run.gpa)} must be below 4 GiB`);
      const flags = run.isReadOnly ? HAX_RAM_INFO_ROM : 0;
      const hostAddress = this.#hostBase + BigInt(run.ramOffset);
      this.#driver.setRAM(run.gpa, run.sizeBytes, flags, hostAddress);
    }
  }

  #noteAll({ isReadOnly, ramOffset, sizeBytes }: PageRun): void {
    if (!isReadOnly) this.#ramWrites.note(ramOffset, sizeBytes);
  }
}
