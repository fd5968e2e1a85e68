// Random region trees with a naive model beside them: what a byte shows is asked of the tree byte
// by byte, from the top down, instead of painting ranges. Offsets and sizes are multiples of 8
// bytes.

import fc from 'fast-check';
import {
  GuestMemory,
  type GuestMemoryOptions,
  type IoOps,
  MemoryError,
  MemoryRegion,
} from '../src/memory/index.ts';

export const PAGE = 4096;
/** Size of the spaces that sessions are played in. */
export const SPACE_BYTES = 6 * PAGE;
/** All boundaries lie on multiples of this. */
export const GRAIN = 8;

/** What one byte of the space shows. */
export interface Shown {
  readonly region: MemoryRegion;
  readonly offset: number;
  readonly isReadOnly: boolean;
}

interface Place {
  readonly parent: MemoryRegion;
  readonly priority: number;
  readonly sequence: number;
}

/** A device made of plain bytes. */
export function byteDevice(sizeBytes: number): { ops: IoOps; bytes: Uint8Array } {
  const bytes = new Uint8Array(sizeBytes);
  const ops: IoOps = {
    read(offset, width) {
      let value = 0;
      for (let i = 0; i < width; i++) value |= bytes[offset + i]! << (i * 8);
      return value;
    },
    write(offset, value, width) {
      for (let i = 0; i < width; i++) bytes[offset + i] = value >>> (i * 8);
    },
  };
  return { ops, bytes };
}

export type Step = {
  readonly kind: 'add' | 'add2' | 'remove' | 'enable' | 'move' | 'romd' | 'readOnly' | 'log';
  readonly child: number;
  readonly parent: number;
  readonly offset: number;
  readonly priority: number;
  readonly flag: boolean;
};

const offset = fc.oneof(
  fc.integer({ min: 0, max: 6 }).map((page) => page * PAGE),
  fc.nat({ max: SPACE_BYTES / GRAIN }).map((grain) => grain * GRAIN),
);

export const step = fc.record<Step>({
  kind: fc.constantFrom('add', 'add2', 'remove', 'enable', 'move', 'romd', 'readOnly', 'log'),
  child: fc.nat({ max: 99 }),
  parent: fc.nat({ max: 99 }),
  offset,
  priority: fc.integer({ min: -2, max: 2 }),
  flag: fc.boolean(),
});

export const steps = fc.array(step, { maxLength: 40 });

/** A tree under change, and what it should show. */
export class TreeModel {
  readonly memory: GuestMemory;
  /** The root first, then all that can be placed. */
  readonly regions: MemoryRegion[];
  /** Bytes of devices by region. */
  readonly devices = new Map<MemoryRegion, Uint8Array>();
  readonly #places = new Map<MemoryRegion, Place>();
  /** What `#places` says, in the order in which it is looked through; until the next change. */
  readonly #children = new Map<MemoryRegion, readonly MemoryRegion[]>();
  #sequence = 0;

  /** @param createMemory makes guest memory, where it must lie in a buffer of some kind */
  constructor(createMemory = (options: GuestMemoryOptions) => new GuestMemory(options)) {
    this.memory = createMemory({
      ramCapacityBytes: 16 * PAGE,
      addressSpaceBytes: SPACE_BYTES,
      tlbRowCount: 16,
    });
    const { ramList, root } = this.memory;
    const block = (name: string, pages: number) => ramList.alloc({ name, sizeBytes: pages * PAGE });
    const io = (name: string, sizeBytes: number) => {
      const { ops, bytes } = byteDevice(sizeBytes);
      const region = MemoryRegion.io(name, sizeBytes, ops);
      this.devices.set(region, bytes);
      return region;
    };
    const ram = MemoryRegion.ram('ram', block('ram', 3));
    const outer = MemoryRegion.container('outer', 3 * PAGE + 0x800);
    const flash = byteDevice(2 * PAGE);
    const romd = MemoryRegion.romd('flash', block('flash', 2), flash.ops);
    this.devices.set(romd, flash.bytes);
    this.regions = [
      root,
      ram,
      MemoryRegion.ram('ram2', block('ram2', 1)),
      MemoryRegion.rom('rom', block('rom', 2)),
      romd,
      io('page', PAGE),
      io('small', 16),
      io('odd', 0x1238),
      io('half', 0x800),
      outer,
      MemoryRegion.container('inner', 2 * PAGE),
      MemoryRegion.alias('mirror', ram, 0, 2 * PAGE),
      MemoryRegion.alias('crooked', ram, 0x808, PAGE + 0x10),
      MemoryRegion.alias('window', outer, 0x400, 2 * PAGE),
      MemoryRegion.alias('past', romd, PAGE, 3 * PAGE),
    ];
  }

  apply(step: Step): void {
    this.#children.clear();
    const child = this.regions[1 + (step.child % (this.regions.length - 1))]!;
    const place = this.#places.get(child);
    try {
      if (step.kind === 'add' || step.kind === 'add2') this.#add(child, step);
      else if (step.kind === 'remove' && place !== undefined) {
        place.parent.removeSubregion(child);
        this.#places.delete(child);
      } else if (step.kind === 'enable') child.setEnabled(step.flag);
      else if (step.kind === 'move') child.setOffset(step.offset);
      else if (step.kind === 'romd' && child.kind === 'romd') child.setRomdMode(step.flag);
      else if (step.kind === 'readOnly' && child.kind !== 'rom') child.setReadOnly(step.flag);
      else if (step.kind === 'log' && child.kind === 'ram') child.setLogging(1, step.flag);
    } catch (error) {
      if (!(error instanceof MemoryError && error.code === 'REGION')) throw error;
    }
  }

  #add(child: MemoryRegion, step: Step): void {
    const containers = this.regions.filter((region) => region.kind !== 'alias');
    // Mostly into the root, or little would ever be seen.
    const parent =
      step.kind === 'add' ? this.regions[0]! : containers[step.parent % containers.length]!;
    parent.addSubregion(step.offset, child, step.priority);
    this.#places.set(child, { parent, priority: step.priority, sequence: this.#sequence++ });
  }

  /** What the byte at `gpa` shows, or undefined. */
  show(gpa: number): Shown | undefined {
    return this.#show(this.regions[0]!, gpa, false);
  }

  #show(region: MemoryRegion, at: number, isReadOnlyAbove: boolean): Shown | undefined {
    if (!region.isEnabled || at < 0 || at >= region.sizeBytes) return undefined;
    const isReadOnly = isReadOnlyAbove || region.isReadOnly;
    if (region.target !== undefined)
      return this.#show(region.target, at + region.aliasOffset, isReadOnly);
    for (const child of this.#childrenOf(region)) {
      const shown = this.#show(child, at - child.offset, isReadOnly);
      if (shown !== undefined) return shown;
    }
    return region.kind === 'container' ? undefined : { region, offset: at, isReadOnly };
  }

  #childrenOf(region: MemoryRegion): readonly MemoryRegion[] {
    let children = this.#children.get(region);
    if (children !== undefined) return children;
    children = [...this.#places]
      .filter(([, place]) => place.parent === region)
      .sort(([, a], [, b]) => b.priority - a.priority || b.sequence - a.sequence)
      .map(([child]) => child);
    this.#children.set(region, children);
    return children;
  }

  /** Kind of access that a shown byte gives, in the address space's words. */
  kindOf(shown: Shown | undefined): string {
    if (shown === undefined) return 'unassigned';
    const { region, isReadOnly } = shown;
    if (region.kind === 'io' || (region.kind === 'romd' && !region.isRomdMode)) return 'io';
    if (region.kind === 'romd') return 'romd';
    return isReadOnly ? 'rom' : 'ram';
  }

  /** RAM offset behind a shown byte, or −1 where reads do not come from RAM. */
  ramOffsetOf(shown: Shown | undefined): number {
    const kind = this.kindOf(shown);
    if (kind === 'unassigned' || kind === 'io') return -1;
    return shown!.region.block!.ramOffset + shown!.offset;
  }
}
