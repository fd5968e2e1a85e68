// Everything a machine's memory consists of, laid out in one buffer and wired together.

import { hex } from '../base/hex.ts';
import { isPageAligned, PAGE_SIZE, roundUpToPage } from '../base/pages.ts';
import { AddressSpace, type UnassignedListener } from './address-space.ts';
import { CodePages } from './code-pages.ts';
import { DirtyMemory } from './dirty-memory.ts';
import { MemoryRegion } from './memory-region.ts';
import { capacityOf, type RAMBacking } from './ram-backing.ts';
import { RAMList } from './ram-list.ts';
import { RAMWrites } from './ram-writes.ts';
import { SoftTLB, TLB_ROW_COUNT } from './soft-tlb.ts';

/** Where the parts lie in the buffer, bytes. */
export interface GuestMemoryLayout {
  readonly tlbOffset: number;
  readonly dirtyOffset: number;
  readonly codePagesOffset: number;
  readonly ramOffset: number;
  /** Size of it all. */
  readonly totalBytes: number;
}

/** How much memory, and where. */
export interface GuestMemoryOptions {
  /** Size of the RAM offset space: all blocks together, whole pages. */
  readonly ramCapacityBytes: number;
  /** What lies below the first part and is not touched, bytes. */
  readonly reservedBytes?: number;
  readonly mmuIndexCount?: number;
  readonly tlbRowCount?: number;
  /** Size of the guest-physical space; default 2^52. */
  readonly addressSpaceBytes?: number;
  /** Must hold the layout's `totalBytes`; default is an `ArrayBuffer` of that size. */
  readonly buffer?: ArrayBufferLike;
  /**
   * Where RAM is, if not at the end of the buffer, which then has no part for it; of
   * `ramCapacityBytes`. No TLB row leads there.
   */
  readonly ramBacking?: RAMBacking;
  readonly onUnassigned?: UnassignedListener;
}

/** RAM, dirty bytes, code pages, an address space named `memory` with an empty root, and a TLB. */
export class GuestMemory {
  readonly buffer: ArrayBufferLike;
  readonly layout: GuestMemoryLayout;
  readonly ramList: RAMList;
  readonly dirty: DirtyMemory;
  readonly codePages: CodePages;
  readonly ramWrites: RAMWrites;
  /** The root container, `system`: add regions here. */
  readonly root: MemoryRegion;
  readonly addressSpace: AddressSpace;
  readonly tlb: SoftTLB;

  /** @throws {RangeError} if the buffer or the backing is too small, or a size is impossible */
  constructor(options: GuestMemoryOptions) {
    const layout = GuestMemory.layout(options);
    const buffer = options.buffer ?? new ArrayBuffer(layout.totalBytes);
    if (buffer.byteLength < layout.totalBytes)
      throw new RangeError(
        `Cannot create guest memory as its buffer must hold ${hex(layout.totalBytes)} bytes: ` +
          `it holds ${hex(buffer.byteLength)}`,
      );
    const { ramCapacityBytes: capacityBytes, ramBacking: backing } = options;
    if (backing !== undefined && capacityOf(backing) !== capacityBytes)
      throw new RangeError(
        `Cannot create guest memory as the backing of RAM must have ${hex(capacityBytes)} bytes: ` +
          `it has ${hex(capacityOf(backing))}`,
      );
    const pageCount = capacityBytes / PAGE_SIZE;
    this.buffer = buffer;
    this.layout = layout;
    this.ramList = new RAMList(
      backing === undefined ? { buffer, baseOffset: layout.ramOffset, capacityBytes } : { backing },
    );
    this.dirty = new DirtyMemory({ buffer, offset: layout.dirtyOffset, pageCount });
    this.codePages = new CodePages({ buffer, offset: layout.codePagesOffset, pageCount });
    this.ramWrites = new RAMWrites({ dirty: this.dirty, codePages: this.codePages });
    this.ramList.addListener(this.ramWrites);
    this.root = MemoryRegion.container('system', options.addressSpaceBytes ?? 2 ** 52);
    this.addressSpace = new AddressSpace({
      name: 'memory',
      root: this.root,
      ramList: this.ramList,
      ramWrites: this.ramWrites,
      ...(options.onUnassigned === undefined ? {} : { onUnassigned: options.onUnassigned }),
    });
    this.tlb = new SoftTLB({
      buffer,
      offset: layout.tlbOffset,
      mmuIndexCount: options.mmuIndexCount ?? 2,
      rowCount: options.tlbRowCount ?? TLB_ROW_COUNT,
      addressSpace: this.addressSpace,
      isRAMElsewhere: backing !== undefined,
    });
  }

  /**
   * Makes RAM read as zeros from now on, as if it had never been written: for balloons.
   * @throws {MemoryError} `OUTSIDE_BLOCK` if the range does not lie in one block
   */
  discard(ramOffset: number, sizeBytes: number): void {
    const view = this.ramList.view(ramOffset, sizeBytes);
    this.ramWrites.before(ramOffset, sizeBytes);
    if (isPageAligned(ramOffset) && isPageAligned(sizeBytes))
      this.ramList.zero(ramOffset, sizeBytes);
    else view.fill(0);
    this.ramWrites.note(ramOffset, sizeBytes);
  }

  /** Where things would lie, so that a WebAssembly.Memory of the right size can be made first. */
  static layout(options: GuestMemoryOptions): GuestMemoryLayout {
    const { ramCapacityBytes, mmuIndexCount = 2, tlbRowCount: rowCount = TLB_ROW_COUNT } = options;
    const pageCount = ramCapacityBytes / PAGE_SIZE;
    const tlbOffset = roundUpToPage(options.reservedBytes ?? 0);
    const dirtyOffset = tlbOffset + roundUpToPage(SoftTLB.bytesFor({ mmuIndexCount, rowCount }));
    const codePagesOffset = dirtyOffset + roundUpToPage(DirtyMemory.bytesFor(pageCount));
    const ramOffset = codePagesOffset + roundUpToPage(CodePages.bytesFor(pageCount));
    const totalBytes = ramOffset + (options.ramBacking === undefined ? ramCapacityBytes : 0);
    return { tlbOffset, dirtyOffset, codePagesOffset, ramOffset, totalBytes };
  }
}
