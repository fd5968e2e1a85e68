// From a guest-physical address to the section behind it: the page map, subpages where a page holds
// more than one thing, and the registered devices. Kept up to date section by section.

import { PAGE_OFFSET_MASK, PAGE_SIZE, pageIndex, pageOffset, pageStart } from '../base/pages.ts';
import { MemoryError } from './errors.ts';
import {
  type FlatView,
  MemorySection,
  SECTION_IO,
  SECTION_RAM,
  SECTION_ROM,
  SECTION_ROMD,
  SECTION_UNASSIGNED,
} from './flat-view.ts';
import type { IoMemory, IoMemoryTable } from './io-memory-table.ts';
import type { IoOps } from './io-ops.ts';
import type { MemoryRegion } from './memory-region.ts';
import {
  encodePhysOffset,
  IO_MEM_RAM,
  IO_MEM_ROM,
  IO_MEM_ROMD,
  IO_MEM_SUBPAGE,
  IO_MEM_UNASSIGNED,
} from './phys-offset.ts';
import { PhysPageMap } from './phys-page-map.ts';

/** What nobody maps. */
export const UNASSIGNED_SECTION = new MemorySection(
  undefined,
  0,
  Number.MAX_SAFE_INTEGER,
  0,
  SECTION_UNASSIGNED,
);

/** A page that not one section covers whole: which section each of its bytes belongs to. */
class Subpage {
  readonly sections: MemorySection[] = [UNASSIGNED_SECTION];
  readonly sectionIndexes = new Uint16Array(PAGE_SIZE);

  add(section: MemorySection, start: number): void {
    const from = Math.max(0, section.start - start);
    const skipped = Math.max(0, start - section.start);
    const count = Math.min(PAGE_SIZE - from, section.sizeBytes - skipped);
    this.sectionIndexes.fill(this.sections.length, from, from + count);
    this.sections.push(section);
  }
}

/** The page map of one address space, with what its values mean. */
export class PhysDispatch {
  readonly map: PhysPageMap;
  readonly ioTable: IoMemoryTable;
  /** By page value; 0 is unassigned. A subpage has its entry in `#subpages` instead. */
  readonly #sections: MemorySection[] = [UNASSIGNED_SECTION];
  readonly #subpages: (Subpage | undefined)[] = [undefined];
  readonly #freeIndexes: number[] = [];
  /** Devices in the table on behalf of this map, and how many sections show each. */
  readonly #devices = new Map<MemoryRegion, { io: IoMemory; sectionCount: number }>();
  readonly #subpageMemType: number;

  /** @param subpageOps gets accesses to subpages through the table, with the gpa as offset */
  constructor(addressBits: number, ioTable: IoMemoryTable, subpageOps: IoOps) {
    this.map = new PhysPageMap(addressBits);
    this.ioTable = ioTable;
    this.#subpageMemType = ioTable.register(subpageOps, this, IO_MEM_SUBPAGE);
  }

  // Hot: on each access that is not to the section of the last one.
  /** The section behind `gpa`, which must lie in the space. */
  find(gpa: number): MemorySection {
    const value = this.map.find(pageIndex(gpa));
    const subpage = this.#subpages[value];
    if (subpage === undefined) return this.#sections[value]!;
    return subpage.sections[subpage.sectionIndexes[gpa & PAGE_OFFSET_MASK]!]!;
  }

  /** |phys_offset| of the page that holds `gpa`. */
  physOffset(gpa: number): number {
    const value = this.map.find(pageIndex(gpa));
    if (this.#subpages[value] !== undefined) return this.#subpageMemType;
    const section = this.#sections[value]!;
    if (section.kind === SECTION_UNASSIGNED) return IO_MEM_UNASSIGNED;
    if (section.kind === SECTION_IO) return section.io!.memType;
    const ramOffset = section.ramOffset + (pageStart(gpa) - section.start);
    // A codec of pages cannot say that RAM lies across them; the subpage's callback can.
    if (pageOffset(ramOffset) !== 0) return this.#subpageMemType;
    if (section.kind === SECTION_RAM) return encodePhysOffset(ramOffset, IO_MEM_RAM);
    if (section.kind === SECTION_ROM) return encodePhysOffset(ramOffset, IO_MEM_ROM);
    return encodePhysOffset(ramOffset, section.io!.memType | IO_MEM_ROMD);
  }

  /** |region_offset| of the page that holds `gpa`: what its low bits are added to. */
  regionOffset(gpa: number): number {
    const start = pageStart(gpa);
    const value = this.map.find(pageIndex(gpa));
    if (this.#subpages[value] !== undefined) return start;
    const section = this.#sections[value]!;
    if (section.kind === SECTION_UNASSIGNED) return 0;
    if (section.kind === SECTION_IO || section.kind === SECTION_ROMD)
      return section.offsetInRegion + (start - section.start);
    return pageOffset(section.ramOffset + (start - section.start)) === 0 ? 0 : start;
  }

  /**
   * Makes sure that `update` cannot fail for want of memory types.
   * @throws {MemoryError} `TABLE_FULL`
   */
  checkCapacity(removed: readonly MemorySection[], added: readonly MemorySection[]): void {
    const counts = new Map<MemoryRegion, number>();
    const count = (section: MemorySection, change: number): void => {
      if (!hasDevice(section)) return;
      const region = section.region!;
      const before = counts.get(region) ?? this.#devices.get(region)?.sectionCount ?? 0;
      counts.set(region, before + change);
    };
    for (const section of removed) count(section, -1);
    for (const section of added) count(section, 1);
    let wanted = 0;
    for (const [region, after] of counts) {
      const isThere = this.#devices.has(region);
      if (after > 0 && !isThere) wanted++;
      if (after === 0 && isThere) wanted--;
    }
    if (wanted > this.ioTable.freeCount)
      throw new MemoryError(
        'TABLE_FULL',
        `Cannot map ${wanted} more devices as each must have a memory type: ` +
          `${this.ioTable.freeCount} are free`,
      );
  }

  /** Replaces `removed` by `added`, so that the map shows `view`. */
  update(view: FlatView, removed: readonly MemorySection[], added: readonly MemorySection[]): void {
    const partialPages = new Set<number>();
    for (const section of removed) {
      this.#setWholePages(section, 0, partialPages);
      if (section.dispatchIndex !== 0) this.#freeIndexes.push(section.dispatchIndex);
      if (section.dispatchIndex !== 0) this.#sections[section.dispatchIndex] = UNASSIGNED_SECTION;
      if (hasDevice(section)) this.#releaseDevice(section.region!);
    }
    for (const section of added) {
      if (hasDevice(section)) section.io = this.#claimDevice(section.region!);
      section.dispatchIndex = this.#newIndex(section);
      this.#setWholePages(section, section.dispatchIndex, partialPages);
    }
    for (const page of partialPages) this.#setPartialPage(view, page);
  }

  /** Maps the pages that the section covers whole; its first and last may be left over. */
  #setWholePages(section: MemorySection, value: number, partialPages: Set<number>): void {
    const headBytes = -section.start & PAGE_OFFSET_MASK;
    if (headBytes > 0 || section.sizeBytes < PAGE_SIZE) partialPages.add(pageIndex(section.start));
    if (section.sizeBytes <= headBytes) return;
    const restBytes = section.sizeBytes - headBytes;
    const tailBytes = pageOffset(restBytes);
    const first = pageIndex(section.start + headBytes);
    const count = pageIndex(restBytes);
    this.map.set(first, count, value);
    if (tailBytes > 0) partialPages.add(first + count);
  }

  #setPartialPage(view: FlatView, page: number): void {
    const old = this.map.find(page);
    if (this.#subpages[old] !== undefined) {
      this.#subpages[old] = undefined;
      this.#freeIndexes.push(old);
    }
    const start = page * PAGE_SIZE;
    let subpage: Subpage | undefined;
    for (const section of view.overlapping(start, PAGE_SIZE)) {
      const skipped = start - section.start;
      if (skipped >= 0 && section.sizeBytes - skipped >= PAGE_SIZE) {
        this.map.set(page, 1, section.dispatchIndex);
        return;
      }
      subpage ??= new Subpage();
      subpage.add(section, start);
    }
    let value = 0;
    if (subpage !== undefined) {
      value = this.#newIndex(UNASSIGNED_SECTION);
      this.#subpages[value] = subpage;
    }
    this.map.set(page, 1, value);
  }

  #claimDevice(region: MemoryRegion): IoMemory {
    let device = this.#devices.get(region);
    if (device === undefined) {
      const memType = this.ioTable.register(region.ops!, region.opaque);
      device = { io: this.ioTable.find(memType)!, sectionCount: 0 };
      this.#devices.set(region, device);
    }
    device.sectionCount++;
    return device.io;
  }

  #releaseDevice(region: MemoryRegion): void {
    const device = this.#devices.get(region)!;
    device.sectionCount--;
    if (device.sectionCount > 0) return;
    this.#devices.delete(region);
    this.ioTable.unregister(device.io.memType);
  }

  #newIndex(section: MemorySection): number {
    const index = this.#freeIndexes.pop() ?? this.#sections.length;
    this.#sections[index] = section;
    this.#subpages[index] = undefined;
    return index;
  }
}

/** Whether accesses of the section can end in callbacks. */
function hasDevice(section: MemorySection): boolean {
  return section.kind === SECTION_IO || section.kind === SECTION_ROMD;
}
