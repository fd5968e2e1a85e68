// A guest-physical address space, or a port space: every access that is not a TLB hit ends here. It
// renders its region tree, keeps the page map by difference, and tells listeners what changed.

import { DMAMapping } from './dma-mapping.ts';
import {
  type FlatView,
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
import { RAM_CHUNK_BYTES } from './ram-backing.ts';
import type { RAMList } from './ram-list.ts';
import type { RAMWrites } from './ram-writes.ts';
import { RegionMap } from './region-map.ts';

// A constant of another module costs a check at each use in hot code.
const IO = SECTION_IO;
const RAM = SECTION_RAM;
const ROM = SECTION_ROM;
const ROMD = SECTION_ROMD;
const UNASSIGNED = SECTION_UNASSIGNED;
const NOWHERE = UNASSIGNED_SECTION;
const MASKS = VALUE_MASKS;
const CHUNK_BYTES = RAM_CHUNK_BYTES;

/** What is behind an address. */
export type AddressKind = 'ram' | 'rom' | 'romd' | 'io' | 'unassigned';

/** What happened where nobody is mapped; `value` is undefined for reads. */
export type UnassignedListener = (
  gpa: number,
  sizeBytes: number,
  isWrite: boolean,
  value: number | undefined,
) => void;

/** A write to ROM, which changed nothing. */
export type ROMWriteListener = (gpa: number, sizeBytes: number, value: number | undefined) => void;

/** What an address space is made of. */
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
  /** Called on each write to ROM; it is ignored either way. `value` is undefined for long ones. */
  readonly onROMWrite?: ROMWriteListener;
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
  onROMWrite: ROMWriteListener | undefined;
  /** Accesses to nothing, and writes to ROM, since the space was made. */
  unassignedCount = 0;
  romWriteCount = 0;

  readonly #map: RegionMap;
  readonly #sizeBytes: number;
  /** The section of the last access; never an unassigned one. */
  #last: MemorySection = NOWHERE;
  /** The first chunk of RAM, which most machines' is all of it. */
  readonly #ram: DataView;

  constructor(options: AddressSpaceOptions) {
    const { name, root, ramList } = options;
    this.name = name;
    this.root = root;
    this.ramList = ramList;
    this.ramWrites = options.ramWrites;
    this.onUnassigned = options.onUnassigned;
    this.onROMWrite = options.onROMWrite;
    this.#ram = ramList?.chunkViews[0] ?? new DataView(new ArrayBuffer(0));
    this.#sizeBytes = root.sizeBytes;
    const addressBits = Math.max(12, Math.ceil(Math.log2(root.sizeBytes)));
    // Through the table, a subpage is a device whose offsets are guest-physical addresses.
    this.dispatch = new PhysDispatch(addressBits, options.ioTable ?? new IoMemoryTable(), {
      read: (gpa, sizeBytes) => this.read(gpa, sizeBytes),
      write: (gpa, value, sizeBytes) => this.write(gpa, sizeBytes, value),
      valid: { unaligned: true },
    });
    this.#map = new RegionMap(name, root, this.dispatch, ramList, () => {
      this.#last = NOWHERE;
    });
  }

  /** What the region tree looks like, rendered. */
  get view(): FlatView {
    return this.#map.view;
  }

  get sizeBytes(): number {
    return this.#sizeBytes;
  }

  /** Stops following the region tree; the space keeps its last view. */
  close(): void {
    this.#map.close();
  }

  // Hot: slow-path loads and all port input, up to 10^6 times a second.
  /** Reads 1, 2 or 4 bytes. */
  read(gpa: number, sizeBytes: number): number {
    let section = this.#last;
    let at = gpa - section.start;
    if (!(at >= 0 && at + sizeBytes <= section.sizeBytes) || section === NOWHERE) {
      section = this.find(gpa);
      if (section.kind === UNASSIGNED) return this.#readUnassigned(gpa, sizeBytes);
      this.#last = section;
      at = gpa - section.start;
      if (at + sizeBytes > section.sizeBytes) return this.#readAcross(gpa, sizeBytes);
    }
    if (section.kind === IO) return section.io!.read(section.offsetInRegion + at, sizeBytes);
    const ramOffset = section.ramOffset + at;
    const { missing } = this.ramList!;
    if (missing !== undefined) missing.claim(ramOffset, sizeBytes);
    if (ramOffset >= CHUNK_BYTES) return readFar(this.ramList!, ramOffset, sizeBytes);
    if (sizeBytes === 4) return this.#ram.getUint32(ramOffset, true);
    if (sizeBytes === 1) return this.#ram.getUint8(ramOffset);
    return this.#ram.getUint16(ramOffset, true);
  }

  // Hot: slow-path stores and all port output, up to 10^6 times a second.
  /** Writes 1, 2 or 4 bytes; higher bits of `value` are ignored. */
  write(gpa: number, sizeBytes: number, value: number): void {
    let section = this.#last;
    let at = gpa - section.start;
    if (!(at >= 0 && at + sizeBytes <= section.sizeBytes) || section === NOWHERE) {
      section = this.find(gpa);
      if (section.kind === UNASSIGNED) {
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
    if (section.kind === RAM) {
      const ramOffset = section.ramOffset + at;
      const { missing } = this.ramList!;
      if (missing !== undefined) missing.claim(ramOffset, sizeBytes);
      this.ramWrites?.before(ramOffset, sizeBytes);
      if (ramOffset >= CHUNK_BYTES) writeFar(this.ramList!, ramOffset, sizeBytes, value);
      else if (sizeBytes === 4) this.#ram.setUint32(ramOffset, value, true);
      else if (sizeBytes === 1) this.#ram.setUint8(ramOffset, value);
      else this.#ram.setUint16(ramOffset, value, true);
      this.ramWrites?.note(ramOffset, sizeBytes);
    } else if (section.kind === ROM) this.#writeROM(gpa, sizeBytes, value);
    else section.io!.write(section.offsetInRegion + at, sizeBytes, value);
  }

  /** Reads 8 bytes: at once from RAM or a device that takes that, else as two halves, low first. */
  read64(gpa: number): bigint {
    const section = this.find(gpa);
    const at = gpa - section.start;
    if (section.kind === IO && section.sizeBytes - at >= 8) {
      const value = section.io!.read64(section.offsetInRegion + at);
      if (value !== undefined) return value;
    }
    const low = this.read(gpa, 4);
    return BigInt(low) | (BigInt(this.read(gpa + 4, 4)) << 32n);
  }

  /** Writes 8 bytes, as `read64` reads them. */
  write64(gpa: number, value: bigint): void {
    const section = this.find(gpa);
    const at = gpa - section.start;
    const isDevice = section.kind === IO || section.kind === ROMD;
    if (isDevice && section.sizeBytes - at >= 8)
      if (section.io!.write64(section.offsetInRegion + at, value)) return;
    this.write(gpa, 4, Number(BigInt.asUintN(32, value)));
    this.write(gpa + 4, 4, Number(BigInt.asUintN(32, value >> 32n)));
  }

  /** Fills `out` from `gpa` on. */
  readBytes(gpa: number, out: Uint8Array): void {
    for (let done = 0; done < out.length; ) {
      const section = this.find(gpa + done);
      const size = this.#runBytes(section, gpa + done, out.length - done);
      if (section.kind === IO || section.kind === UNASSIGNED) {
        this.#readRun(gpa + done, out, done, size);
      } else {
        const ramOffset = section.ramOffset + (gpa + done - section.start);
        this.ramList!.ensure(ramOffset, size);
        out.set(this.ramList!.bytesAt(ramOffset, size), done);
      }
      done += size;
    }
  }

  /** Writes all of `bytes` from `gpa` on, as a DMA-capable device does: ROM ignores it. */
  writeBytes(gpa: number, bytes: Uint8Array): void {
    for (let done = 0; done < bytes.length; ) {
      const section = this.find(gpa + done);
      const size = this.#runBytes(section, gpa + done, bytes.length - done);
      if (section.kind === RAM) {
        const ramOffset = section.ramOffset + (gpa + done - section.start);
        this.ramList!.ensure(ramOffset, size);
        this.ramWrites?.before(ramOffset, size);
        this.ramList!.bytesAt(ramOffset, size).set(bytes.subarray(done, done + size));
        this.ramWrites?.note(ramOffset, size);
      } else if (section.kind === ROM) this.#writeROM(gpa + done, size, undefined);
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
        this.ramList!.ensure(ramOffset, size);
        this.ramWrites?.before(ramOffset, size);
        this.ramList!.bytesAt(ramOffset, size).set(bytes.subarray(done, done + size));
        this.ramWrites?.note(ramOffset, size);
      }
      done += size;
    }
  }

  /** RAM offset from which a read of `gpa` comes (RAM, ROM, ROMD), or −1. For fetching code. */
  ramOffsetOf(gpa: number): number {
    const section = this.find(gpa);
    if (section.ramOffset < 0) return -1;
    const ramOffset = section.ramOffset + (gpa - section.start);
    this.ramList!.missing?.claim(ramOffset, 1);
    return ramOffset;
  }

  /** What answers at an address. */
  kindOf(gpa: number): AddressKind {
    return KIND_NAMES[this.find(gpa).kind]!;
  }

  /** Whether `gpa` is RAM that the guest can write. */
  isRAM(gpa: number): boolean {
    return this.find(gpa).kind === RAM;
  }

  /** The section behind `gpa`; for nothing, a section of kind SECTION_UNASSIGNED. */
  find(gpa: number): MemorySection {
    return gpa >= 0 && gpa < this.#sizeBytes ? this.dispatch.find(gpa) : NOWHERE;
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
    this.#map.addListener(listener);
  }

  /** `listener` is told that every section goes, and nothing more. */
  removeListener(listener: MemoryListener): void {
    this.#map.removeListener(listener);
  }

  /**
   * Has accelerators bring what they logged into `DirtyMemory`: of all RAM, or of a range of it.
   * Call it before a client looks at its bits, or takes them.
   */
  syncDirtyLog(ramOffset = 0, sizeBytes = Number.MAX_SAFE_INTEGER): void {
    this.#map.syncDirtyLog(ramOffset, sizeBytes);
  }

  #readUnassigned(gpa: number, sizeBytes: number): number {
    if (this.#map.view.holeBytes(gpa) < sizeBytes) return this.#readAcross(gpa, sizeBytes);
    this.unassignedCount++;
    this.onUnassigned?.(gpa, sizeBytes, false, undefined);
    return MASKS[sizeBytes]!;
  }

  #writeUnassigned(gpa: number, sizeBytes: number, value: number): void {
    if (this.#map.view.holeBytes(gpa) < sizeBytes) {
      this.#writeAcross(gpa, sizeBytes, value);
      return;
    }
    this.unassignedCount++;
    const bits = (value & MASKS[sizeBytes]!) >>> 0;
    this.onUnassigned?.(gpa, sizeBytes, true, bits);
  }

  #writeROM(gpa: number, sizeBytes: number, value: number | undefined): void {
    this.romWriteCount++;
    this.onROMWrite?.(gpa, sizeBytes, value);
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
    if (section.kind === UNASSIGNED) return Math.min(restBytes, this.#map.view.holeBytes(gpa));
    return Math.min(restBytes, section.sizeBytes - (gpa - section.start));
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

function readFar(ramList: RAMList, ramOffset: number, sizeBytes: number): number {
  const index = Math.floor(ramOffset / CHUNK_BYTES);
  const view = ramList.chunkViews[index]!;
  const offset = ramOffset - index * CHUNK_BYTES;
  if (sizeBytes === 4) return view.getUint32(offset, true);
  return sizeBytes === 1 ? view.getUint8(offset) : view.getUint16(offset, true);
}

function writeFar(ramList: RAMList, ramOffset: number, sizeBytes: number, value: number): void {
  const index = Math.floor(ramOffset / CHUNK_BYTES);
  const view = ramList.chunkViews[index]!;
  const offset = ramOffset - index * CHUNK_BYTES;
  if (sizeBytes === 4) view.setUint32(offset, value, true);
  else if (sizeBytes === 1) view.setUint8(offset, value);
  else view.setUint16(offset, value, true);
}
