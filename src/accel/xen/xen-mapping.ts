// Guest memory of a Xen domain: a memory listener over the hypervisor's published interface. No
// real hypervisor has run it: the tests' model follows Xen's public headers.
//
// Xen owns the pages. Each block of ours gets pages in a parking area that the guest does not know,
// mapped over the block's bytes, and a page is moved to where the map shows it. A page is at one
// place only: where an alias shows it again, accesses come to us, until the first place goes.
//
// Dirty pages. As on KVM (kvm/memslots.ts), while nothing is logged every page is dirty for every
// client. If one place alone must be watched, a framebuffer's, Xen tracks that range; else it logs
// all of the domain. The guest's other processors run on meanwhile, so what is moved, or changes
// from one log to the other, counts as written.

import { PAGE_SIZE } from '../../base/pages.ts';
import { DIRTY_ALL, DIRTY_CODE, DIRTY_VGA } from '../../memory/dirty-memory.ts';
import { type MemorySection, SECTION_ROMD } from '../../memory/flat-view.ts';
import type { MemoryListener } from '../../memory/memory-listener.ts';
import { type PageRun, wholePages } from '../../memory/page-run.ts';
import type { RAMBlock } from '../../memory/ram-block.ts';
import type { RAMList, RAMListListener } from '../../memory/ram-list.ts';
import type { RAMWrites } from '../../memory/ram-writes.ts';
import type { XenDriver, XenMemoryType } from './xen-driver.ts';

const CLIENTS = DIRTY_ALL & ~DIRTY_CODE;

/** What a domain maps. */
export interface XenMappingOptions {
  readonly driver: XenDriver;
  readonly ramList: RAMList;
  readonly ramWrites: RAMWrites;
  /** Host virtual address of RAM offset 0. */
  readonly hostBase: bigint;
  /** First address of the parking area; as large as the RAM list, and never mapped by a region. */
  readonly parkingGPA: number;
}

/** Pages of RAM that follow each other at consecutive frames. */
interface Piece {
  readonly run: PageRun;
  readonly frame: number;
  readonly page: number;
  readonly count: number;
}

/** What is logged: nothing, one run, or all. */
type Log = 'none' | 'all' | Piece;

/** A listener of the `memory` address space, and of the RAM list that it shows. */
export class XenMapping implements MemoryListener, RAMListListener {
  readonly #driver: XenDriver;
  readonly #ramList: RAMList;
  readonly #ramWrites: RAMWrites;
  readonly #hostBase: bigint;
  readonly #parkingFrame: number;
  /** What the map shows, and the pieces of it that the guest reaches without us. */
  readonly #runs = new Map<MemorySection, PageRun>();
  readonly #pieces = new Map<PageRun, Piece[]>();
  /** 1 for each page of RAM that is not in the parking area. */
  readonly #isPlaced: Uint8Array;
  #leaving: PageRun[] = [];
  #log: Log = 'none';

  constructor(options: XenMappingOptions) {
    const { driver, ramList, ramWrites, hostBase, parkingGPA } = options;
    this.#driver = driver;
    this.#ramList = ramList;
    this.#ramWrites = ramWrites;
    this.#hostBase = hostBase;
    this.#parkingFrame = parkingGPA / PAGE_SIZE;
    this.#isPlaced = new Uint8Array(ramList.pageCount);
    for (const block of ramList.blocks) this.#adopt(block);
    ramList.addListener(this);
    ramWrites.dirty.onClean(() => this.#chooseLog());
  }

  /** Gives a block the domain's pages. */
  onAlloc(block: RAMBlock): void {
    this.#adopt(block);
  }

  onFree({ ramOffset, sizeBytes }: RAMBlock): void {
    const [page, count] = [ramOffset / PAGE_SIZE, sizeBytes / PAGE_SIZE];
    this.#driver.unmapOver(this.#hostBase + BigInt(ramOffset), count);
    this.#driver.release(this.#parkingFrame + page, count);
  }

  regionAdd(section: MemorySection): void {
    const run = wholePages(section);
    if (run !== undefined) this.#runs.set(section, run);
  }

  regionDel(section: MemorySection): void {
    const run = this.#runs.get(section);
    if (run === undefined) return;
    this.#runs.delete(section);
    this.#leaving.push(run);
  }

  /** A client that stops hears of no store any more: its pages are dirty. */
  logStop({ ramOffset, sizeBytes }: MemorySection, oldMask: number, newMask: number): void {
    this.#ramWrites.dirty.mark(ramOffset, sizeBytes, oldMask & ~newMask);
  }

  logSync(section: MemorySection): void {
    const run = this.#runs.get(section);
    if (run !== undefined) for (const piece of this.#piecesOf(run)) this.#harvest(piece);
  }

  commit(): void {
    const leaving = this.#leaving;
    this.#leaving = [];
    for (const run of leaving) for (const piece of this.#piecesOf(run)) this.#park(piece);
    for (const run of leaving) this.#pieces.delete(run);
    // Those that waited for pages that have come free are among them.
    for (const run of this.#runs.values()) this.#place(run);
    this.#chooseLog();
  }

  #adopt({ ramOffset, sizeBytes, bytes }: RAMBlock): void {
    const content = bytes.slice();
    const [page, count] = [ramOffset / PAGE_SIZE, sizeBytes / PAGE_SIZE];
    this.#driver.populate(this.#parkingFrame + page, count);
    this.#driver.mapOver(this.#hostBase + BigInt(ramOffset), this.#parkingFrame + page, count);
    this.#ramList.bytes.set(content, ramOffset);
  }

  #piecesOf(run: PageRun): readonly Piece[] {
    return this.#pieces.get(run) ?? [];
  }

  /** Moves those pages of a run that are parked to their frames, and gives them its type. */
  #place(run: PageRun): void {
    const first = run.ramOffset / PAGE_SIZE;
    const end = first + run.sizeBytes / PAGE_SIZE;
    const pieces = this.#pieces.get(run) ?? [];
    for (let page = first; page < end; page++) {
      if (this.#isPlaced[page] !== 0) continue;
      let next = page;
      while (next < end && this.#isPlaced[next] === 0) next++;
      const frame = run.gpa / PAGE_SIZE + (page - first);
      const piece = { run, frame, page, count: next - page };
      this.#isPlaced.fill(1, page, next);
      this.#driver.relocate(this.#parkingFrame + page, piece.count, frame);
      const type = typeOf(run);
      if (type !== 'ram_rw') this.#driver.setMemoryType(frame, piece.count, type);
      // A guest that runs on may have written it before anything logs that.
      if (this.#log !== 'all') this.#noteAll(piece);
      pieces.push(piece);
      page = next;
    }
    this.#pieces.set(run, pieces);
  }

  /** Moves pages out of the guest's sight. It may have written until then. */
  #park(piece: Piece): void {
    const { run, frame, page, count } = piece;
    if (run.isReadOnly) this.#driver.setMemoryType(frame, count, 'ram_rw');
    this.#driver.relocate(frame, count, this.#parkingFrame + page);
    this.#isPlaced.fill(0, page, page + count);
    this.#noteAll(piece);
  }

  #harvest(piece: Piece): void {
    const { run, frame, page, count } = piece;
    if (run.isReadOnly || this.#log === 'none') return;
    if (this.#log === 'all') {
      const words = this.#driver.cleanLog(frame, count);
      this.#ramWrites.noteBitmap(page * PAGE_SIZE, count, words);
    } else if (isSamePiece(this.#log, piece)) this.#harvestTracked(piece);
  }

  #harvestTracked(piece: Piece): void {
    const words = this.#driver.trackDirtyVRAM(piece.frame, piece.count);
    if (words === undefined) this.#noteAll(piece);
    else this.#ramWrites.noteBitmap(piece.page * PAGE_SIZE, piece.count, words);
  }

  /** Logs what somebody waits for, and no more. */
  #chooseLog(): void {
    const wanted = this.#wantedLog();
    const old = this.#log;
    if (wanted === old) return;
    if (isPiece(wanted) && isPiece(old) && isSamePiece(wanted, old)) return;
    this.#log = wanted;
    if (old === 'all') this.#driver.setLogDirty(false);
    if (wanted === 'all') this.#driver.setLogDirty(true);
    // The first call only begins: until now every page was dirty for everybody.
    else if (isPiece(wanted)) this.#driver.trackDirtyVRAM(wanted.frame, wanted.count);
    else if (isPiece(old)) this.#driver.trackDirtyVRAM(0, 0);
    for (const piece of [old, wanted]) if (isPiece(piece) && old !== 'none') this.#noteAll(piece);
  }

  #wantedLog(): Log {
    const { dirty } = this.#ramWrites;
    let one: Piece | undefined;
    for (const run of this.#runs.values()) {
      if (run.isReadOnly) continue;
      for (const piece of this.#piecesOf(run)) {
        const [start, size] = [piece.page * PAGE_SIZE, piece.count * PAGE_SIZE];
        const isFramebuffer = run.section.logMask === DIRTY_VGA;
        if (!isFramebuffer && !dirty.hasClean(start, size, CLIENTS)) continue;
        if (one !== undefined || !isFramebuffer) return 'all';
        one = piece;
      }
    }
    return one ?? 'none';
  }

  #noteAll({ run, page, count }: Piece): void {
    if (!run.isReadOnly) this.#ramWrites.note(page * PAGE_SIZE, count * PAGE_SIZE);
  }
}

function typeOf({ section, isReadOnly }: PageRun): XenMemoryType {
  if (section.kind === SECTION_ROMD) return 'ioreq_server';
  return isReadOnly ? 'ram_ro' : 'ram_rw';
}

function isPiece(log: Log): log is Piece {
  return typeof log === 'object';
}

function isSamePiece(a: Piece, b: Piece): boolean {
  return a.frame === b.frame && a.page === b.page && a.count === b.count;
}
