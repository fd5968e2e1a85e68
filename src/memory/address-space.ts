// A guest-physical address space, or a port space: every access that is not a TLB hit ends here. It
// renders its region tree, keeps the page map by difference, and tells listeners what changed.

import { PAGE_OFFSET_MASK, PAGE_SIZE } from '../base/pages.ts';
import { DMAMapping } from './dma-mapping.ts';
import { MemoryError } from './errors.ts';
import {
  FlatView,
  type MemorySection,
  SECTION_IO,
  SECTION_RAM,
  SECTION_ROM,
  SECTION_ROMD,
  SECTION_UNASSIGNED,
} from './flat-view.ts';
import { IoMemoryTable } from './io-memory-table.ts';
import { VALUE_MASKS } from './io-ops.ts';
import type { MemoryListener } from './memory-listener.ts';
import type { MemoryRegion } from './memory-region.ts';
import { PhysDispatch, UNASSIGNED_SECTION } from './phys-dispatch.ts';
import { IO_MEM_UNASSIGNED } from './phys-offset.ts';
import type { RAMList } from './ram-list.ts';
import type { RAMWrites } from './ram-writes.ts';

/** What is behind an address. */
export type AddressKind = 'ram' | 'rom' | 'romd' | 'io' | 'unassigned';

/** What happened where nobody is mapped; `value` is undefined for reads. */
export type UnassignedListener = (
  gpa: number,
  sizeBytes: number,
  isWrite: boolean,
  value: number | undefined,
) => void;

export interface AddressSpaceOptions {
  /** Such as `memory` or `I/O`. */
  readonly name: string;
  /** What it shows; its first byte is address 0, its size the size of the space. */
  readonly root: MemoryRegion;
  /** The RAM its regions' blocks are of; needed once it shows RAM. */
  readonly ramList?: RAMList;
  /** Told of every write to RAM. Without it nothing tracks dirty pages or code. */
  readonly ramWrites?: RAMWrites;
  /** Memory types may be shared with other spaces. */
  readonly ioTable?: IoMemoryTable;
  /** Called on each access to nothing; reads are all ones and writes are ignored either way. */
  readonly onUnassigned?: UnassignedListener;
}

const KIND_NAMES: readonly AddressKind[] = ['ram', 'rom', 'unassigned', 'romd', 'io'];

/**
 * Guest-physical memory, or ports.
 *
 * Values are unsigned and little-endian. Accesses may cross pages and regions: each byte goes where
 * it belongs, in ascending order. Addresses beyond the root's size are unassigned.
 */
export class AddressSpace {
  readonly name: string;
  readonly root: MemoryRegion;
  readonly ramList: RAMList | undefined;
  readonly ramWrites: RAMWrites | undefined;
  readonly dispatch: PhysDispatch;
  onUnassigned: UnassignedListener | undefined;
  /** Accesses to nothing, and writes to ROM, since the space was made. */
  unassignedCount = 0;
  romWriteCount = 0;

  #view: FlatView;
  readonly #sizeBytes: number;
  readonly #listeners: MemoryListener[] = [];
  /** The section of the last access; never an unassigned one. */
  #last: MemorySection = UNASSIGNED_SECTION;
  readonly #ram: DataView;

  constructor(options: AddressSpaceOptions) {
    const { name, root, ramList } = options;
    this.name = name;
    this.root = root;
    this.ramList = ramList;
    this.ramWrites = options.ramWrites;
    this.onUnassigned = options.onUnassigned;
    this.#ram = ramList?.dataView ?? new DataView(new ArrayBuffer(0));
    this.#sizeBytes = root.sizeBytes;
    const addressBits = Math.max(12, Math.ceil(Math.log2(root.sizeBytes)));
    // Through the table, a subpage is a device whose offsets are guest-physical addresses.
    this.dispatch = new PhysDispatch(addressBits, options.ioTable ?? new IoMemoryTable(), {
      read: (gpa, sizeBytes) => this.read(gpa, sizeBytes),
      write: (gpa, value, sizeBytes) => this.write(gpa, sizeBytes, value),
      valid: { unaligned: true },
    });
    this.#view = FlatView.render(root).withSections([]);
    root.addUser(this);
    this.update();
  }

  /** What the region tree looks like, rendered. */
  get view(): FlatView {
    return this.#view;
  }

  get sizeBytes(): number {
    return this.#sizeBytes;
  }

  /** Stops following the region tree; the space keeps its last view. */
  close(): void {
    this.root.removeUser(this);
  }

  // Hot: slow-path loads and all port input, up to 10^6 times a second.
  /** Reads 1, 2 or 4 bytes. */
  read(gpa: number, sizeBytes: number): number {
    let section = this.#last;
    let at = gpa - section.start;
    if (!(at >= 0 && at + sizeBytes <= section.sizeBytes) || section === UNASSIGNED_SECTION) {
      section = this.find(gpa);
      if (section.kind === SECTION_UNASSIGNED) return this.#readUnassigned(gpa, sizeBytes);
      this.#last = section;
      at = gpa - section.start;
      if (at + sizeBytes > section.sizeBytes) return this.#readAcross(gpa, sizeBytes);
    }
    if (section.kind === SECTION_IO)
      return section.io!.read(section.offsetInRegion + at, sizeBytes);
    const ramOffset = section.ramOffset + at;
    if (sizeBytes === 4) return this.#ram.getUint32(ramOffset, true);
    if (sizeBytes === 1) return this.#ram.getUint8(ramOffset);
    return this.#ram.getUint16(ramOffset, true);
  }

  // Hot: slow-path stores and all port output, up to 10^6 times a second.
  /** Writes 1, 2 or 4 bytes; higher bits of `value` are ignored. */
  write(gpa: number, sizeBytes: number, value: number): void {
    let section = this.#last;
    let at = gpa - section.start;
    if (!(at >= 0 && at + sizeBytes <= section.sizeBytes) || section === UNASSIGNED_SECTION) {
      section = this.find(gpa);
      if (section.kind === SECTION_UNASSIGNED) {
        this.#writeUnassigned(gpa, sizeBytes, value);
        return;
      }
      this.#last = section;
      at = gpa - section.start;
      if (at + sizeBytes > section.sizeBytes) {
        this.#writeAcross(gpa, sizeBytes, value);
        return;
      }
    }
    if (section.kind === SECTION_RAM) {
      const ramOffset = section.ramOffset + at;
      if (sizeBytes === 4) this.#ram.setUint32(ramOffset, value, true);
      else if (sizeBytes === 1) this.#ram.setUint8(ramOffset, value);
      else this.#ram.setUint16(ramOffset, value, true);
      this.ramWrites?.note(ramOffset, sizeBytes);
    } else if (section.kind === SECTION_ROM) this.romWriteCount++;
    else section.io!.write(section.offsetInRegion + at, sizeBytes, value);
  }

  /** Reads 8 bytes: at once from RAM or a device that takes that, else as two halves, low first. */
  read64(gpa: number): bigint {
    const section = this.find(gpa);
    const at = gpa - section.start;
    if (section.kind === SECTION_IO && section.sizeBytes - at >= 8) {
      const { ops, opaque } = section.io!;
      if (ops.read64 !== undefined)
        return BigInt.asUintN(64, ops.read64(section.offsetInRegion + at, opaque));
    }
    const low = this.read(gpa, 4);
    return BigInt(low) | (BigInt(this.read(gpa + 4, 4)) << 32n);
  }

  /** Writes 8 bytes, as `read64` reads them. */
  write64(gpa: number, value: bigint): void {
    const section = this.find(gpa);
    const at = gpa - section.start;
    const isDevice = section.kind === SECTION_IO || section.kind === SECTION_ROMD;
    if (isDevice && section.sizeBytes - at >= 8) {
      const { ops, opaque } = section.io!;
      if (ops.write64 !== undefined) {
        ops.write64(section.offsetInRegion + at, BigInt.asUintN(64, value), opaque);
        return;
      }
    }
    this.write(gpa, 4, Number(BigInt.asUintN(32, value)));
    this.write(gpa + 4, 4, Number(BigInt.asUintN(32, value >> 32n)));
  }

  /** Fills `out` from `gpa` on. */
  readBytes(gpa: number, out: Uint8Array): void {
    for (let done = 0; done < out.length; ) {
      const section = this.find(gpa + done);
      const size = this.#runBytes(section, gpa + done, out.length - done);
      if (section.kind === SECTION_IO || section.kind === SECTION_UNASSIGNED) {
        this.#readRun(gpa + done, out, done, size);
      } else {
        const ramOffset = section.ramOffset + (gpa + done - section.start);
        out.set(this.ramList!.bytes.subarray(ramOffset, ramOffset + size), done);
      }
      done += size;
    }
  }

  /** Writes all of `bytes` from `gpa` on, as a DMA-capable device does: ROM ignores it. */
  writeBytes(gpa: number, bytes: Uint8Array): void {
    for (let done = 0; done < bytes.length; ) {
      const section = this.find(gpa + done);
      const size = this.#runBytes(section, gpa + done, bytes.length - done);
      if (section.kind === SECTION_RAM) {
        const ramOffset = section.ramOffset + (gpa + done - section.start);
        this.ramList!.bytes.set(bytes.subarray(done, done + size), ramOffset);
        this.ramWrites?.note(ramOffset, size);
      } else if (section.kind === SECTION_ROM) this.romWriteCount++;
      else this.#writeRun(gpa + done, bytes, done, size);
      done += size;
    }
  }

  /** Writes RAM, and ROM too: for loaders and debuggers. Devices and holes are skipped. */
  loadBytes(gpa: number, bytes: Uint8Array): void {
    for (let done = 0; done < bytes.length; ) {
      const section = this.find(gpa + done);
      const size = this.#runBytes(section, gpa + done, bytes.length - done);
      if (section.ramOffset >= 0) {
        const ramOffset = section.ramOffset + (gpa + done - section.start);
        this.ramList!.bytes.set(bytes.subarray(done, done + size), ramOffset);
        this.ramWrites?.note(ramOffset, size);
      }
      done += size;
    }
  }

  /** RAM offset from which a read of `gpa` comes (RAM, ROM, ROMD), or −1. For fetching code. */
  ramOffsetOf(gpa: number): number {
    const section = this.find(gpa);
    return section.ramOffset < 0 ? -1 : section.ramOffset + (gpa - section.start);
  }

  kindOf(gpa: number): AddressKind {
    return KIND_NAMES[this.find(gpa).kind]!;
  }

  /** Whether `gpa` is RAM that the guest can write. */
  isRAM(gpa: number): boolean {
    return this.find(gpa).kind === SECTION_RAM;
  }

  /** The section behind `gpa`; for nothing, a section of kind SECTION_UNASSIGNED. */
  find(gpa: number): MemorySection {
    return gpa >= 0 && gpa < this.#sizeBytes ? this.dispatch.find(gpa) : UNASSIGNED_SECTION;
  }

  /** |phys_offset| of the page that holds `gpa`, as `phys-offset.ts` draws it. */
  physOffsetOf(gpa: number): number {
    return gpa >= 0 && gpa < this.#sizeBytes ? this.dispatch.physOffset(gpa) : IO_MEM_UNASSIGNED;
  }

  /** |region_offset| of the page that holds `gpa`. */
  regionOffsetOf(gpa: number): number {
    return gpa >= 0 && gpa < this.#sizeBytes ? this.dispatch.regionOffset(gpa) : 0;
  }

  /** How many bytes from `gpa` on, at most `mostBytes`, surely show the same section or hole. */
  runBytes(gpa: number, mostBytes: number): number {
    return this.#runBytes(this.find(gpa), gpa, mostBytes);
  }

  /**
   * Gives a device direct views of guest memory, with a bounce buffer where there is no RAM.
   * It may cover less than was asked: see {@link DMAMapping.sizeBytes}.
   */
  mapRange(gpa: number, sizeBytes: number, isForWrite: boolean): DMAMapping {
    return new DMAMapping(this, gpa, sizeBytes, isForWrite);
  }

  /** `listener` is told the map as it is, and then each change. */
  addListener(listener: MemoryListener): void {
    this.#listeners.push(listener);
    listener.begin?.();
    for (const section of this.#view.sections) {
      listener.regionAdd?.(section);
      if (section.logMask !== 0) listener.logStart?.(section, 0, section.logMask);
    }
    listener.commit?.();
  }

  /** `listener` is told that every section goes, and nothing more. */
  removeListener(listener: MemoryListener): void {
    const at = this.#listeners.indexOf(listener);
    if (at < 0) return;
    listener.begin?.();
    for (const section of this.#view.sections) {
      if (section.logMask !== 0) listener.logSync?.(section);
      if (section.logMask !== 0) listener.logStop?.(section, section.logMask, 0);
      listener.regionDel?.(section);
    }
    listener.commit?.();
    this.#listeners.splice(at, 1);
  }

  /** Has accelerators bring their dirty logs into `DirtyMemory`, of all sections that are logged. */
  syncDirtyLog(): void {
    for (const section of this.#view.sections)
      if (section.logMask !== 0)
        for (const listener of this.#listeners) listener.logSync?.(section);
  }

  /** @internal Renders the tree again; called when regions changed. */
  update(): void {
    const old = this.#view.sections;
    const fresh = FlatView.render(this.root);
    const removed: MemorySection[] = [];
    const added: MemorySection[] = [];
    const sections = mergeSections(old, fresh.sections, removed, added);
    this.#checkRAM(added);
    this.dispatch.register(added);
    // Dirty logs are harvested while the old map is still in force, or their bits go with it.
    for (const listener of this.#listeners) listener.begin?.();
    for (const section of removed) this.#announceRemoval(section);
    this.#view = fresh.withSections(sections);
    this.#last = UNASSIGNED_SECTION;
    this.dispatch.update(this.#view, removed, added);
    const addedSet = new Set(added);
    for (const section of sections) this.#announce(section, addedSet.has(section));
    for (const listener of this.#listeners) listener.commit?.();
  }

  #announceRemoval(section: MemorySection): void {
    for (const listener of this.#listeners) {
      if (section.logMask !== 0) {
        listener.logSync?.(section);
        listener.logStop?.(section, section.logMask, 0);
      }
      listener.regionDel?.(section);
    }
  }

  #announce(section: MemorySection, isNew: boolean): void {
    const newMask = section.kind === SECTION_RAM ? section.region!.logMask : 0;
    const oldMask = isNew ? 0 : section.logMask;
    for (const listener of this.#listeners) {
      if (isNew) listener.regionAdd?.(section);
      if ((newMask & ~oldMask) !== 0) listener.logStart?.(section, oldMask, newMask);
      if ((oldMask & ~newMask) !== 0) {
        listener.logSync?.(section);
        listener.logStop?.(section, oldMask, newMask);
      }
    }
    section.logMask = newMask;
  }

  #checkRAM(added: readonly MemorySection[]): void {
    for (const { kind, region } of added) {
      if (kind === SECTION_IO || this.ramList?.byId(region!.block!.id) === region!.block) continue;
      throw new MemoryError(
        'REGION',
        `Cannot map region "${region!.name}" in address space "${this.name}" as its RAM block ` +
          `"${region!.block!.id}" must be in the space's RAM list: it is not`,
      );
    }
  }

  #readUnassigned(gpa: number, sizeBytes: number): number {
    // The page map knows holes by the page only; what lies behind the page's end is found anew.
    if ((gpa & PAGE_OFFSET_MASK) + sizeBytes > PAGE_SIZE || this.#isHoleShort(gpa, sizeBytes))
      return this.#readAcross(gpa, sizeBytes);
    this.unassignedCount++;
    this.onUnassigned?.(gpa, sizeBytes, false, undefined);
    return VALUE_MASKS[sizeBytes]!;
  }

  #writeUnassigned(gpa: number, sizeBytes: number, value: number): void {
    if ((gpa & PAGE_OFFSET_MASK) + sizeBytes > PAGE_SIZE || this.#isHoleShort(gpa, sizeBytes)) {
      this.#writeAcross(gpa, sizeBytes, value);
      return;
    }
    this.unassignedCount++;
    const bits = (value & VALUE_MASKS[sizeBytes]!) >>> 0;
    this.onUnassigned?.(gpa, sizeBytes, true, bits);
  }

  /** Whether something is mapped within an access that begins in a hole. */
  #isHoleShort(gpa: number, sizeBytes: number): boolean {
    if (sizeBytes === 1) return false;
    for (let at = 1; at < sizeBytes; at++)
      if (this.find(gpa + at).kind !== SECTION_UNASSIGNED) return true;
    return false;
  }

  #readAcross(gpa: number, sizeBytes: number): number {
    let value = 0;
    for (let done = 0; done < sizeBytes; ) {
      const size = this.#partBytes(gpa + done, sizeBytes - done);
      value |= this.read(gpa + done, size) << (done * 8);
      done += size;
    }
    return value >>> 0;
  }

  #writeAcross(gpa: number, sizeBytes: number, value: number): void {
    for (let done = 0; done < sizeBytes; ) {
      const size = this.#partBytes(gpa + done, sizeBytes - done);
      this.write(gpa + done, size, value >>> (done * 8));
      done += size;
    }
  }

  /** 4, 2 or 1: the widest access at `gpa` that stays in what is there and in `restBytes`. */
  #partBytes(gpa: number, restBytes: number): number {
    const run = this.#runBytes(this.find(gpa), gpa, restBytes);
    return run >= 4 ? 4 : run >= 2 ? 2 : 1;
  }

  /** How many of `restBytes` from `gpa` on surely belong to `section`. */
  #runBytes(section: MemorySection, gpa: number, restBytes: number): number {
    if (section.kind !== SECTION_UNASSIGNED)
      return Math.min(restBytes, section.sizeBytes - (gpa - section.start));
    const pageRest = PAGE_SIZE - (gpa & PAGE_OFFSET_MASK);
    let run = 1;
    const most = Math.min(restBytes, pageRest);
    while (run < most && this.find(gpa + run).kind === SECTION_UNASSIGNED) run++;
    return run;
  }

  #readRun(gpa: number, out: Uint8Array, from: number, sizeBytes: number): void {
    for (let done = 0; done < sizeBytes; ) {
      const size = widthAt(gpa + done, sizeBytes - done);
      const value = this.read(gpa + done, size);
      for (let index = 0; index < size; index++) out[from + done + index] = value >>> (index * 8);
      done += size;
    }
  }

  #writeRun(gpa: number, bytes: Uint8Array, from: number, sizeBytes: number): void {
    for (let done = 0; done < sizeBytes; ) {
      const size = widthAt(gpa + done, sizeBytes - done);
      let value = 0;
      for (let index = 0; index < size; index++)
        value |= bytes[from + done + index]! << (index * 8);
      this.write(gpa + done, size, value);
      done += size;
    }
  }
}

/** 4, 2 or 1: the widest aligned access. */
function widthAt(gpa: number, restBytes: number): number {
  if ((gpa & 3) === 0 && restBytes >= 4) return 4;
  return (gpa & 1) === 0 && restBytes >= 2 ? 2 : 1;
}

/** The fresh sections, with those kept that did not change; what changed goes to the other two. */
function mergeSections(
  old: readonly MemorySection[],
  fresh: readonly MemorySection[],
  removed: MemorySection[],
  added: MemorySection[],
): MemorySection[] {
  const merged: MemorySection[] = [];
  let oldIndex = 0;
  for (const section of fresh) {
    while (oldIndex < old.length && old[oldIndex]!.start < section.start)
      removed.push(old[oldIndex++]!);
    const before = old[oldIndex];
    if (before?.start === section.start) {
      oldIndex++;
      if (before.isSameAs(section)) {
        merged.push(before);
        continue;
      }
      removed.push(before);
    }
    merged.push(section);
    added.push(section);
  }
  while (oldIndex < old.length) removed.push(old[oldIndex++]!);
  return merged;
}
