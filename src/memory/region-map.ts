// Follows a region tree on behalf of an address space: renders it when it changed, keeps the page
// map by difference, and tells listeners, in an order that loses no dirty bit.

import { rangesOverlap } from '../base/ranges.ts';
import { MemoryError } from './errors.ts';
import { FlatView, type MemorySection, SECTION_IO, SECTION_RAM } from './flat-view.ts';
import type { MemoryListener } from './memory-listener.ts';
import type { MemoryRegion } from './memory-region.ts';
import type { PhysDispatch } from './phys-dispatch.ts';
import type { RAMList } from './ram-list.ts';
import type { RegionUser } from './transaction.ts';

/** A region tree's rendering, its page map and those who follow it. */
export class RegionMap implements RegionUser {
  readonly #name: string;
  readonly #root: MemoryRegion;
  readonly #dispatch: PhysDispatch;
  readonly #ramList: RAMList | undefined;
  readonly #onChange: () => void;
  readonly #listeners: MemoryListener[] = [];
  #view: FlatView;

  /** @param onChange called once the page map is new, before listeners learn of what came */
  constructor(
    name: string,
    root: MemoryRegion,
    dispatch: PhysDispatch,
    ramList: RAMList | undefined,
    onChange: () => void,
  ) {
    this.#name = name;
    this.#root = root;
    this.#dispatch = dispatch;
    this.#ramList = ramList;
    this.#onChange = onChange;
    this.#view = FlatView.empty(root);
    this.update();
    root.addUser(this);
  }

  get view(): FlatView {
    return this.#view;
  }

  close(): void {
    this.#root.removeUser(this);
  }

  addListener(listener: MemoryListener): void {
    this.#listeners.push(listener);
    listener.begin?.();
    for (const section of this.#view.sections) {
      listener.regionAdd?.(section);
      if (section.logMask !== 0) listener.logStart?.(section, 0, section.logMask);
    }
    listener.commit?.();
  }

  removeListener(listener: MemoryListener): void {
    const at = this.#listeners.indexOf(listener);
    if (at < 0) return;
    this.#listeners.splice(at, 1);
    listener.begin?.();
    for (const section of this.#view.sections) announceRemoval(listener, section);
    listener.commit?.();
  }

  syncDirtyLog(ramOffset: number, sizeBytes: number): void {
    for (const section of this.#view.sections)
      if (
        section.kind === SECTION_RAM &&
        rangesOverlap(section.ramOffset, section.sizeBytes, ramOffset, sizeBytes)
      )
        for (const listener of this.#listeners) listener.logSync?.(section);
  }

  /**
   * Renders the tree anew. If that cannot be mapped the old map stays in force.
   * @throws {MemoryError} `TABLE_FULL`, `REGION`
   */
  update(): void {
    const fresh = FlatView.render(this.#root);
    const removed: MemorySection[] = [];
    const added: MemorySection[] = [];
    const sections = mergeSections(this.#view.sections, fresh.sections, removed, added);
    this.#checkRAM(added);
    this.#dispatch.checkCapacity(removed, added);
    for (const listener of this.#listeners) listener.begin?.();
    // Dirty logs are harvested while the old map is still in force, or their bits go with it.
    for (const section of removed)
      for (const listener of this.#listeners) announceRemoval(listener, section);
    this.#view = fresh.withSections(sections);
    this.#dispatch.update(this.#view, removed, added);
    this.#onChange();
    const isAdded = new Set(added);
    for (const section of sections) this.#announce(section, isAdded.has(section));
    for (const listener of this.#listeners) listener.commit?.();
  }

  /** Tells of a section that came, or of the clients that log writes to it if those changed. */
  #announce(section: MemorySection, isNew: boolean): void {
    const newMask = section.kind === SECTION_RAM ? section.region!.logMask : 0;
    const oldMask = isNew ? 0 : section.logMask;
    section.logMask = newMask;
    if (!isNew && newMask === oldMask) return;
    for (const listener of this.#listeners) {
      if (isNew) listener.regionAdd?.(section);
      if ((newMask & ~oldMask) !== 0) listener.logStart?.(section, oldMask, newMask);
      if ((oldMask & ~newMask) !== 0) {
        listener.logSync?.(section);
        listener.logStop?.(section, oldMask, newMask);
      }
    }
  }

  #checkRAM(added: readonly MemorySection[]): void {
    for (const { kind, region } of added) {
      if (kind === SECTION_IO || this.#ramList?.byId(region!.block!.id) === region!.block) continue;
      throw new MemoryError(
        'REGION',
        `Cannot map region "${region!.name}" in address space "${this.#name}" as its RAM block ` +
          `"${region!.block!.id}" must be in the space's RAM list: it is not`,
      );
    }
  }
}

function announceRemoval(listener: MemoryListener, section: MemorySection): void {
  if (section.logMask !== 0) {
    listener.logSync?.(section);
    listener.logStop?.(section, section.logMask, 0);
  }
  listener.regionDel?.(section);
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
