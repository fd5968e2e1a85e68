// The tree from which a machine's memory map is rendered: what exists, where in its container, and
// who wins where siblings overlap. Regions know nothing of RAM offsets or page maps.

import { ADDRESS_SPACE_BYTES_MAX } from '../base/pages.ts';
import { MemoryError } from './errors.ts';
import { checkSizes } from './io-memory-table.ts';
import type { IoOps } from './io-ops.ts';
import type { RAMBlock } from './ram-block.ts';
import { type RegionUser, requestUpdate } from './transaction.ts';

/** What a region is. A `rom` is RAM that the guest cannot write. */
export type RegionKind = 'ram' | 'rom' | 'romd' | 'io' | 'alias' | 'container';

interface RegionFields {
  readonly name: string;
  readonly kind: RegionKind;
  readonly sizeBytes: number;
  readonly block?: RAMBlock;
  readonly ops?: IoOps;
  readonly opaque?: unknown;
  readonly target?: MemoryRegion;
  readonly aliasOffset?: number;
}

/**
 * A piece of a memory map: memory, a device, a window into another region, or a container of such.
 *
 * A region lies in at most one container; aliases show it elsewhere. Among siblings that overlap
 * the higher priority wins, and the later added one if they are equal; priorities mean nothing
 * outside their container. What a container does not cover shows what lies below the container.
 * Every change takes effect at once, or at the end of a `transaction`.
 */
export class MemoryRegion {
  readonly name: string;
  readonly kind: RegionKind;
  readonly sizeBytes: number;
  /** The RAM behind a ram, rom or romd region. */
  readonly block: RAMBlock | undefined;
  /** The callbacks of an io or romd region, and what they get back. */
  readonly ops: IoOps | undefined;
  readonly opaque: unknown;
  /** What an alias shows, from which offset of it on. */
  readonly target: MemoryRegion | undefined;
  readonly aliasOffset: number;

  #container: MemoryRegion | undefined;
  #offset = 0;
  #priority = 0;
  #isEnabled = true;
  #isReadOnly: boolean;
  #isRomdMode = true;
  #logMask = 0;
  /** Highest priority first; among equals the last added first. */
  readonly #children: MemoryRegion[] = [];
  /** Aliases that show this region and are themselves in use. */
  readonly #aliases = new Set<MemoryRegion>();
  /** Address spaces whose root this is. */
  readonly #users = new Set<RegionUser>();

  private constructor(fields: RegionFields) {
    const { name, sizeBytes, ops } = fields;
    if (!Number.isInteger(sizeBytes) || sizeBytes <= 0 || sizeBytes > ADDRESS_SPACE_BYTES_MAX)
      throw new RangeError(
        `Cannot create region "${name}" as its size must be 1 to 2^52 bytes: got ${sizeBytes}`,
      );
    checkSizes('valid', ops?.valid);
    checkSizes('impl', ops?.impl);
    this.name = name;
    this.kind = fields.kind;
    this.sizeBytes = sizeBytes;
    this.block = fields.block;
    this.ops = ops;
    this.opaque = fields.opaque;
    this.target = fields.target;
    this.aliasOffset = fields.aliasOffset ?? 0;
    this.#isReadOnly = fields.kind === 'rom';
  }

  /** RAM: the whole of `block`. */
  static ram(name: string, block: RAMBlock): MemoryRegion {
    return new MemoryRegion({ name, kind: 'ram', sizeBytes: block.sizeBytes, block });
  }

  /** ROM: reads come from `block`, writes are ignored. */
  static rom(name: string, block: RAMBlock): MemoryRegion {
    return new MemoryRegion({ name, kind: 'rom', sizeBytes: block.sizeBytes, block });
  }

  /** Flash and its like: reads come from `block` while in ROMD mode, writes go to `ops`. */
  static romd(name: string, block: RAMBlock, ops: IoOps, opaque?: unknown): MemoryRegion {
    const { sizeBytes } = block;
    return new MemoryRegion({ name, kind: 'romd', sizeBytes, block, ops, opaque });
  }

  /** Device registers: reads and writes go to `ops`. */
  static io(name: string, sizeBytes: number, ops: IoOps, opaque?: unknown): MemoryRegion {
    return new MemoryRegion({ name, kind: 'io', sizeBytes, ops, opaque });
  }

  /** A window of `sizeBytes` into `target`, from `offset` of it on. */
  static alias(
    name: string,
    target: MemoryRegion,
    offset: number,
    sizeBytes: number,
  ): MemoryRegion {
    if (!Number.isInteger(offset) || offset < 0 || offset > ADDRESS_SPACE_BYTES_MAX)
      throw new RangeError(
        `Cannot create alias "${name}" as its offset must be 0 to 2^52: got ${offset}`,
      );
    return new MemoryRegion({ name, kind: 'alias', sizeBytes, target, aliasOffset: offset });
  }

  /** Nothing of its own: shows its subregions, clipped to its size. */
  static container(name: string, sizeBytes: number): MemoryRegion {
    return new MemoryRegion({ name, kind: 'container', sizeBytes });
  }

  get container(): MemoryRegion | undefined {
    return this.#container;
  }

  /** Where it lies in its container, bytes. */
  get offset(): number {
    return this.#offset;
  }

  get priority(): number {
    return this.#priority;
  }

  get isEnabled(): boolean {
    return this.#isEnabled;
  }

  /** Whether guest writes through this region are ignored. */
  get isReadOnly(): boolean {
    return this.#isReadOnly;
  }

  get isRomdMode(): boolean {
    return this.#isRomdMode;
  }

  /** Clients for whom accelerators must log writes: DIRTY_ bits. */
  get logMask(): number {
    return this.#logMask;
  }

  /** Highest priority first; among equals the last added first. */
  get subregions(): readonly MemoryRegion[] {
    return this.#children;
  }

  /**
   * Puts `child` at `offset`. It may reach past the end of this region: it is clipped.
   * @throws {MemoryError} `REGION` if the child has a container, or would contain itself
   * @throws {RangeError} if the offset is negative or above 2^52, or the priority no integer
   */
  addSubregion(offset: number, child: MemoryRegion, priority = 0): void {
    const action = `Cannot add region "${child.name}" to "${this.name}"`;
    checkOffset(action, offset);
    if (!Number.isInteger(priority))
      throw new RangeError(`${action} as its priority must be an integer: got ${priority}`);
    if (this.kind === 'alias')
      throw new MemoryError('REGION', `${action} as an alias must not have subregions`);
    if (child.#container !== undefined)
      throw new MemoryError(
        'REGION',
        `${action} as it must not be in a container: it is in "${child.#container.name}"`,
      );
    if (child.#reaches(this))
      throw new MemoryError('REGION', `${action} as it must not contain itself`);
    child.#container = this;
    child.#offset = offset;
    child.#priority = priority;
    const at = this.#children.findIndex((other) => other.#priority <= priority);
    this.#children.splice(at < 0 ? this.#children.length : at, 0, child);
    if (child.target !== undefined) child.target.#aliases.add(child);
    this.#changed();
  }

  /** @throws {MemoryError} `REGION` if `child` is not in this region */
  removeSubregion(child: MemoryRegion): void {
    if (child.#container !== this)
      throw new MemoryError(
        'REGION',
        `Cannot remove region "${child.name}" from "${this.name}" as it must be in it: it is not`,
      );
    this.#children.splice(this.#children.indexOf(child), 1);
    child.#container = undefined;
    if (child.target !== undefined && child.#users.size === 0) child.target.#aliases.delete(child);
    this.#changed();
  }

  /** A disabled region, with all in it, is as if it were not there. */
  setEnabled(isEnabled: boolean): void {
    if (this.#isEnabled === isEnabled) return;
    this.#isEnabled = isEnabled;
    this.#changed();
  }

  /** Moves the region within its container. */
  setOffset(offset: number): void {
    checkOffset(`Cannot move region "${this.name}"`, offset);
    if (this.#offset === offset) return;
    this.#offset = offset;
    this.#changed();
  }

  /** ROMD mode reads from RAM; otherwise reads call back too, as while a flash chip is busy. */
  setRomdMode(isOn: boolean): void {
    if (this.kind !== 'romd')
      throw new TypeError(
        `Cannot set ROMD mode of "${this.name}" as it must be a romd region: it is ${this.kind}`,
      );
    if (this.#isRomdMode === isOn) return;
    this.#isRomdMode = isOn;
    this.#changed();
  }

  /** Makes RAM seen through this region read-only: what a chip set does to shadow RAM. */
  setReadOnly(isReadOnly: boolean): void {
    if (this.#isReadOnly === isReadOnly) return;
    this.#isReadOnly = isReadOnly;
    this.#changed();
  }

  /** Accelerators log writes to this RAM for `client` (a DIRTY_ bit) while it is on. */
  setLogging(client: number, isOn: boolean): void {
    const mask = isOn ? this.#logMask | client : this.#logMask & ~client;
    if (mask === this.#logMask) return;
    this.#logMask = mask;
    this.#changed();
  }

  /** @internal An address space begins to show this region as its root. */
  addUser(user: RegionUser): void {
    this.#users.add(user);
    if (this.target !== undefined) this.target.#aliases.add(this);
  }

  /** @internal */
  removeUser(user: RegionUser): void {
    this.#users.delete(user);
    const isUsed = this.#users.size > 0 || this.#container !== undefined;
    if (!isUsed && this.target !== undefined) this.target.#aliases.delete(this);
  }

  /** Whether `region` is this one, or shown by it through subregions and aliases. */
  #reaches(region: MemoryRegion): boolean {
    const seen = new Set<MemoryRegion>();
    const open: MemoryRegion[] = [this];
    for (let next = open.pop(); next !== undefined; next = open.pop()) {
      if (next === region) return true;
      if (seen.has(next)) continue;
      seen.add(next);
      open.push(...next.#children);
      if (next.target !== undefined) open.push(next.target);
    }
    return false;
  }

  /** All address spaces that show this region, directly or through containers and aliases. */
  #changed(): void {
    const users = new Set<RegionUser>();
    const seen = new Set<MemoryRegion>();
    const open: MemoryRegion[] = [this];
    for (let next = open.pop(); next !== undefined; next = open.pop()) {
      if (seen.has(next)) continue;
      seen.add(next);
      for (const user of next.#users) users.add(user);
      if (next.#container !== undefined) open.push(next.#container);
      open.push(...next.#aliases);
    }
    requestUpdate(users);
  }
}

function checkOffset(action: string, offset: number): void {
  if (!Number.isInteger(offset) || offset < 0 || offset > ADDRESS_SPACE_BYTES_MAX)
    throw new RangeError(`${action} as its offset must be 0 to 2^52: got ${offset}`);
}
