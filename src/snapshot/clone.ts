// A copy of a machine in the same process, made in the time of one instant: its RAM comes from the
// original when it is touched, and in the background. What the original writes meanwhile is copied
// just before (PageCapture), so the clone sees its memory as of that instant.

import { PAGE_SIZE } from '../base/pages.ts';
import { Machine, type MachineOptions } from '../machine/machine.ts';
import { DIRTY_CLONE, DIRTY_MIGRATION } from '../memory/dirty-memory.ts';
import { MissingPages } from '../memory/missing-pages.ts';
import { blocksOf, compareBlocks, compareConfigurations, sortedBlocks } from './machine-compare.ts';
import { applySections, checkSections, saveSections } from './machine-state.ts';
import { PageCapture } from './page-capture.ts';
import { copyBlock, isZeros } from './zero-pages.ts';

/** Pages that are copied before the guests get their turn. */
const TURN_PAGES = 1024;

/** A clone, which has not run yet. */
export interface MachineClone {
  readonly machine: Machine;
  /** Resolves when the clone has all its memory and needs the original no longer. */
  readonly done: Promise<void>;
}

/**
 * Copies `source` as it is now. Both run on independently; the clone stands still at first.
 *
 * The clone's own part is what `options` gives it: media of its own drives, and host randomness for
 * `virtio-rng-pci`. With `vmgenid` its guest is told that it is another machine; without, what the
 * guest's kernel has gathered of randomness is the same in both.
 * @param options of an equal machine; `isBlank` is set
 * @throws {SnapshotError} `MISMATCH` if they make another machine
 * @throws {TypeError} if the original is closed, or has failed
 */
export async function cloneMachine(
  source: Machine,
  options: MachineOptions,
): Promise<MachineClone> {
  const machine = Machine.create({ ...options, isBlank: true });
  let capture: PageCapture;
  try {
    compareConfigurations(machine, source.configuration);
    compareBlocks(machine, blocksOf(source));
    // Whoever cannot notice the first touch of a page gets all of them now.
    const isLazy = source.vcpu.interceptsWrites && machine.vcpu.interceptsWrites;
    const taken = await source.standStill(() => copyInstant(source, machine, isLazy));
    if (taken === undefined) return { machine, done: Promise.resolve() };
    capture = taken;
  } catch (error) {
    machine.close();
    throw error;
  }
  const { ramList } = machine.memory;
  const [theirs, ours] = [source.pc.ram, machine.pc.ram];
  const shift = (theirs.ramOffset - ours.ramOffset) / PAGE_SIZE;
  const missing = new MissingPages(ramList.pageCount, (page) => {
    const bytes = capture.peek((page + shift) * PAGE_SIZE);
    if (missing.arrive(page) && !isZeros(bytes))
      ramList.bytesAt(page * PAGE_SIZE, PAGE_SIZE).set(bytes);
    capture.release((page + shift) * PAGE_SIZE, PAGE_SIZE);
  });
  const firstPage = ours.ramOffset / PAGE_SIZE;
  const endPage = firstPage + ours.sizeBytes / PAGE_SIZE;
  missing.add(firstPage, endPage - firstPage);
  ramList.missing = missing;
  return { machine, done: fetchAll(machine, missing, capture, firstPage, endPage) };
}

/** State and small blocks at once; guest RAM is captured, or else copied as well. */
function copyInstant(source: Machine, machine: Machine, isLazy: boolean): PageCapture | undefined {
  const { guest } = source.memory;
  guest.addressSpace.syncDirtyLog();
  // Nobody has seen the clone: if one of its components refuses, it goes, and needs no undoing.
  applySections(machine, checkSections(machine, saveSections(source)));
  const target = machine.memory.guest;
  for (const block of sortedBlocks(source)) {
    if (isLazy && block === source.pc.ram) continue;
    guest.ramList.ensure(block.ramOffset, block.sizeBytes);
    copyBlock(guest, block, target, target.ramList.byId(block.id)!);
  }
  const { ramOffset, sizeBytes } = source.pc.ram;
  target.dirty.mark(0, target.ramList.capacityBytes, DIRTY_MIGRATION);
  let capture: PageCapture | undefined;
  if (isLazy) {
    guest.dirty.clear(ramOffset, sizeBytes, DIRTY_CLONE);
    capture = new PageCapture(guest);
    capture.want(ramOffset, sizeBytes);
  }
  machine.pc.virtio.onRestored();
  machine.pc.generationId?.renew();
  return capture;
}

async function fetchAll(
  machine: Machine,
  missing: MissingPages,
  capture: PageCapture,
  firstPage: number,
  endPage: number,
): Promise<void> {
  const { ramList } = machine.memory;
  for (let page = firstPage; page < endPage; page++) {
    if ((page - firstPage) % TURN_PAGES === 0) await machine.giveTurn();
    if (machine.state === 'closed' || ramList.missing !== missing) break;
    missing.claim(page * PAGE_SIZE, PAGE_SIZE);
  }
  if (ramList.missing === missing) ramList.missing = undefined;
  // The bits stay clear: another clone may count on them.
  capture.end();
}
