// A region tree rendered flat: sorted sections that do not overlap, each from one region.

import { overlapSize, overlapStart } from '../base/ranges.ts';
import type { IoMemory } from './io-memory-table.ts';
import type { MemoryRegion } from './memory-region.ts';

/** What a section does with accesses; numbers, because hot code switches on them. */
export const SECTION_RAM = 0;
export const SECTION_ROM = 1;
export const SECTION_UNASSIGNED = 2;
export const SECTION_ROMD = 3;
export const SECTION_IO = 4;

/** A stretch of guest-physical addresses that shows one stretch of one region. */
export class MemorySection {
  /** The ram, rom, romd or io region; undefined only for what is unassigned. */
  readonly region: MemoryRegion | undefined;
  /** First guest-physical address. */
  readonly start: number;
  readonly sizeBytes: number;
  /** Offset in `region` of its first byte. */
  readonly offsetInRegion: number;
  /** SECTION_RAM … SECTION_IO. */
  readonly kind: number;
  /** RAM offset of its first byte for RAM, ROM and ROMD, else −1. */
  readonly ramOffset: number;
  /** Clients for whom writes are logged, as listeners know it: DIRTY_ bits. */
  logMask: number;
  /** The registered device of ROMD and I/O sections; the address space sets it. @internal */
  io: IoMemory | undefined = undefined;
  /** Index in the address space's dispatch table. @internal */
  dispatchIndex = 0;

  constructor(
    region: MemoryRegion | undefined,
    start: number,
    sizeBytes: number,
    offsetInRegion: number,
    kind: number,
  ) {
    this.region = region;
    this.start = start;
    this.sizeBytes = sizeBytes;
    this.offsetInRegion = offsetInRegion;
    this.kind = kind;
    const hasRAM = kind !== SECTION_IO && kind !== SECTION_UNASSIGNED;
    this.ramOffset = hasRAM ? region!.block!.ramOffset + offsetInRegion : -1;
    this.logMask = kind === SECTION_RAM ? region!.logMask : 0;
  }

  /** Whether reads come from RAM and writes do not go there. */
  get isReadOnly(): boolean {
    return this.kind === SECTION_ROM || this.kind === SECTION_ROMD;
  }

  /** Same bytes of the same region at the same place, used in the same way. */
  isSameAs(other: MemorySection): boolean {
    return (
      this.region === other.region &&
      this.start === other.start &&
      this.sizeBytes === other.sizeBytes &&
      this.offsetInRegion === other.offsetInRegion &&
      this.kind === other.kind
    );
  }

  /** Whether `next` begins where this ends, in space and in region. */
  #isContinuedBy(next: MemorySection): boolean {
    return (
      this.region === next.region &&
      this.kind === next.kind &&
      next.start - this.start === this.sizeBytes &&
      next.offsetInRegion - this.offsetInRegion === this.sizeBytes
    );
  }

  /** Both as one section, or undefined if they are not neighbours. */
  joinedWith(next: MemorySection): MemorySection | undefined {
    if (!this.#isContinuedBy(next)) return undefined;
    return new MemorySection(
      this.region,
      this.start,
      this.sizeBytes + next.sizeBytes,
      this.offsetInRegion,
      this.kind,
    );
  }
}

/** An immutable rendering of a region tree. */
export class FlatView {
  readonly root: MemoryRegion;
  /** Ascending, not overlapping; gaps are unassigned. */
  readonly sections: readonly MemorySection[];

  private constructor(root: MemoryRegion, sections: readonly MemorySection[]) {
    this.root = root;
    this.sections = sections;
  }

  /** Renders `root`, its first byte at address 0. */
  static render(root: MemoryRegion): FlatView {
    const sections: MemorySection[] = [];
    render(sections, root, 0, 0, root.sizeBytes, false);
    return new FlatView(root, joinNeighbours(sections));
  }

  /** A view of nothing, before the first rendering. @internal */
  static empty(root: MemoryRegion): FlatView {
    return new FlatView(root, []);
  }

  /** A view in which some sections are replaced by equal ones. @internal */
  withSections(sections: readonly MemorySection[]): FlatView {
    return new FlatView(this.root, sections);
  }

  /** The section that holds `gpa`, or undefined. */
  find(gpa: number): MemorySection | undefined {
    const index = firstEndingAfter(this.sections, gpa);
    const section = this.sections[index];
    return section !== undefined && gpa >= section.start ? section : undefined;
  }

  /** How many bytes from `gpa` on are unassigned: 0 in a section, Infinity behind the last one. */
  holeBytes(gpa: number): number {
    const next = this.sections[firstEndingAfter(this.sections, gpa)];
    return next === undefined ? Number.POSITIVE_INFINITY : Math.max(0, next.start - gpa);
  }

  /** Sections that share a byte with the range, ascending. */
  *overlapping(start: number, sizeBytes: number): Generator<MemorySection> {
    for (let index = firstEndingAfter(this.sections, start); ; index++) {
      const section = this.sections[index];
      if (section === undefined) return;
      if (section.start > start && section.start - start >= sizeBytes) return;
      yield section;
    }
  }
}

/** Index of the first section with a byte at `gpa` or behind it. */
function firstEndingAfter(sections: readonly MemorySection[], gpa: number): number {
  let low = 0;
  let high = sections.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    const section = sections[middle]!;
    if (gpa >= section.start && gpa - section.start >= section.sizeBytes) low = middle + 1;
    else high = middle;
  }
  return low;
}

/**
 * Paints `region` into what is still free of [clipStart, clipStart + clipSize).
 * `base` is where its first byte would lie: below zero for what an alias shows the middle of.
 */
function render(
  sections: MemorySection[],
  region: MemoryRegion,
  base: number,
  clipStart: number,
  clipSize: number,
  isReadOnlyAbove: boolean,
): void {
  if (!region.isEnabled) return;
  const size = overlapSize(base, region.sizeBytes, clipStart, clipSize);
  if (size === 0) return;
  const start = overlapStart(base, clipStart);
  const isReadOnly = isReadOnlyAbove || region.isReadOnly;
  if (region.target !== undefined) {
    render(sections, region.target, base - region.aliasOffset, start, size, isReadOnly);
    return;
  }
  for (const child of region.subregions)
    render(sections, child, base + child.offset, start, size, isReadOnly);
  if (region.kind === 'container') return;
  const kind = sectionKind(region, isReadOnly);
  paint(sections, region, base, start, size, kind);
}

function sectionKind(region: MemoryRegion, isReadOnly: boolean): number {
  if (region.kind === 'io') return SECTION_IO;
  if (region.kind === 'romd') return region.isRomdMode ? SECTION_ROMD : SECTION_IO;
  return isReadOnly ? SECTION_ROM : SECTION_RAM;
}

/** Adds the parts of [start, start + size) that no section has yet. */
function paint(
  sections: MemorySection[],
  region: MemoryRegion,
  base: number,
  start: number,
  size: number,
  kind: number,
): void {
  let at = start;
  let rest = size;
  let index = firstEndingAfter(sections, start);
  while (rest > 0) {
    const next = sections[index];
    const gap = next === undefined ? rest : Math.min(rest, Math.max(0, next.start - at));
    if (gap > 0) {
      sections.splice(index, 0, new MemorySection(region, at, gap, at - base, kind));
      index++;
      at += gap;
      rest -= gap;
    }
    if (rest === 0 || next === undefined) return;
    const skip = Math.min(rest, next.sizeBytes - (at - next.start));
    at += skip;
    rest -= skip;
    index++;
  }
}

function joinNeighbours(sections: readonly MemorySection[]): MemorySection[] {
  const joined: MemorySection[] = [];
  for (const section of sections) {
    const last = joined[joined.length - 1];
    const both = last?.joinedWith(section);
    if (both === undefined) joined.push(section);
    else joined[joined.length - 1] = both;
  }
  return joined;
}
