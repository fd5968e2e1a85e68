// Hot: every data access that misses the TLB, or hits a row with a flag, comes here. Linear memory
// as the processor sees it: translation, page faults, accesses across pages, watchpoints.
// Intel SDM volume 3, chapter 4 "Paging", and section 6.15 "Interrupt 14" and "Interrupt 17".

import type { AddressSpace } from '../memory/address-space.ts';
import type { SoftTLB } from '../memory/soft-tlb.ts';
import { TLB_INVALID, TLB_WATCH } from '../memory/soft-tlb.ts';
import { CR0_AM, CR0_WP, VECTOR_AC } from './control-bits.ts';
import type { DebugUnit } from './debug.ts';
import { FLAG_AC } from './flags.ts';
import { ACCESS_EXECUTE, ACCESS_READ, ACCESS_WRITE, PageWalk } from './page-walk.ts';
import type { CPUState } from './state.ts';
import {
  CPL,
  CR0,
  EFLAGS_REST,
  LARGE_PAGES_FIRST,
  LARGE_PAGES_LAST,
  SCRATCH,
} from './state-layout.ts';

const READ = ACCESS_READ;
const WRITE = ACCESS_WRITE;
const PAGE_BYTES = 4096;
const PAGE_MASK = 0xffff_f000 | 0;
const TAG_MASK = PAGE_MASK | TLB_INVALID;
const CPL_WORD = CPL >> 2;
const LARGE_FIRST = LARGE_PAGES_FIRST >> 2;
const LARGE_LAST = LARGE_PAGES_LAST >> 2;

export class MMU {
  readonly #state: CPUState;
  readonly #memory: AddressSpace;
  readonly #tlb: SoftTLB;
  readonly #debug: DebugUnit;
  readonly #walk: PageWalk;
  /** CR0.AM and EFLAGS.AC: ring 3 rows are then slow-path only, and checked for alignment. */
  #isAlignmentChecked = false;

  constructor(state: CPUState, memory: AddressSpace, tlb: SoftTLB, debug: DebugUnit) {
    this.#state = state;
    this.#memory = memory;
    this.#tlb = tlb;
    this.#debug = debug;
    this.#walk = new PageWalk(state, memory);
  }

  // ---- Translation

  /**
   * Guest-physical address of `linear` for `access` (ACCESS_READ, _WRITE, _EXECUTE), or -1 with a
   * page fault recorded. Sets accessed and dirty bits; fills no TLB row.
   */
  translate(linear: number, access: number, isUser: boolean): number {
    const gpa = this.#walk.walk(linear, access, isUser);
    if (gpa < 0) this.#state.raisePageFault(linear >>> 0, this.#walk.errorCode);
    return gpa;
  }

  /** Guest-physical address of an instruction byte with the current privilege, or -1 (#PF). */
  translateForFetch(linear: number): number {
    return this.translate(linear, ACCESS_EXECUTE, this.#state.u32[CPL_WORD] === 3);
  }

  /** For debuggers: translates with no check of rights and no side effect; -1 if not mapped. */
  peek(linear: number): number {
    return this.#walk.walk(linear, READ, false, true);
  }

  /** For debuggers: a byte of linear memory, or -1 where nothing is mapped. RAM and ROM only. */
  peekByte(linear: number): number {
    const gpa = this.peek(linear);
    return gpa < 0 || this.#memory.ramOffsetOf(gpa) < 0 ? -1 : this.#memory.read(gpa, 1);
  }

  /** Loads the PAE page-directory pointers for `cr3`; false, unchanged, if one is malformed. */
  loadPagePointers(cr3: number): boolean {
    return this.#walk.loadPointers(cr3);
  }

  /**
   * Translates for data, by the TLB row if it holds the page (flags in the tag do not matter),
   * else by a walk that fills the row. -1 with a fault recorded.
   */
  #resolve(linear: number, access: number, isUser: boolean): number {
    const tlb = this.#tlb;
    const words = tlb.words;
    const table = isUser ? tlb.tableWord(1) : 0;
    const row = table + ((linear >>> 12) & (tlb.rowCount - 1)) * 4;
    if ((words[row + access]! & TAG_MASK) === (linear & PAGE_MASK))
      return (words[row + 3]! >>> 0) * PAGE_BYTES + (linear & 0xfff);
    return this.#fill(linear, access, isUser);
  }

  #fill(linear: number, access: number, isUser: boolean): number {
    const walk = this.#walk;
    const gpa = walk.walk(linear, access, isUser);
    if (gpa < 0) {
      this.#state.raisePageFault(linear >>> 0, walk.errorCode);
      return -1;
    }
    if (walk.isLarge) this.#noteLargePage(linear >>> 0);
    const mayWrite = walk.isWritable || (!isUser && (this.#state.u32[CR0 >> 2]! & CR0_WP) === 0);
    const page = linear & 0xffff_f000;
    const isSlow = (isUser && this.#isAlignmentChecked) || this.#debug.isPageWatched(page);
    this.#tlb.fill(
      isUser ? 1 : 0,
      page >>> 0,
      gpa - (linear & 0xfff),
      true,
      mayWrite && walk.isDirty,
      walk.isGlobal,
      isSlow ? TLB_WATCH : 0,
    );
    return gpa;
  }

  #noteLargePage(linear: number): void {
    const { u32 } = this.#state;
    const first = (linear & 0xffc0_0000) >>> 0;
    const last = (linear | 0x3f_ffff) >>> 0;
    if (first < u32[LARGE_FIRST]!) u32[LARGE_FIRST] = first;
    if (last > u32[LARGE_LAST]!) u32[LARGE_LAST] = last;
  }

  // ---- Flushing

  /** Forgets every translation. */
  flushAll(): void {
    this.#state.u32[LARGE_FIRST] = 0xffff_ffff;
    this.#state.u32[LARGE_LAST] = 0;
    this.#tlb.flushAll();
  }

  /** Forgets all but global pages: a load of CR3. */
  flushNonGlobal(): void {
    this.#tlb.flushNonGlobal();
  }

  /**
   * Forgets the page of `linear`. Rows stand for 4 KiB, so a page that may be a larger one takes
   * everything with it.
   * @returns false when everything was forgotten
   */
  flushPage(linear: number): boolean {
    const address = linear >>> 0;
    const { u32 } = this.#state;
    if (address >= u32[LARGE_FIRST]! && address <= u32[LARGE_LAST]!) {
      this.flushAll();
      return false;
    }
    this.#tlb.flushPage(address);
    return true;
  }

  /** Looks at CR0.AM and EFLAGS.AC again; call after either was written. */
  updateAlignmentCheck(): void {
    const state = this.#state;
    const isChecked =
      (state.u32[CR0 >> 2]! & CR0_AM) !== 0 && (state.u32[EFLAGS_REST >> 2]! & FLAG_AC) !== 0;
    if (isChecked === this.#isAlignmentChecked) return;
    this.#isAlignmentChecked = isChecked;
    this.#tlb.flushAll();
  }

  /** False, with #AC(0) recorded, if alignment is checked and `linear` is not aligned. */
  #isAligned(linear: number, sizeBytes: number): boolean {
    if ((linear & (sizeBytes - 1)) === 0) return true;
    this.#state.raiseException(VECTOR_AC, 0);
    return false;
  }

  // ---- Accesses with a stated privilege

  /** Loads 1, 2 or 4 bytes, unsigned; 0 with a fault recorded if it may not. */
  loadAs(linear: number, sizeBytes: 1 | 2 | 4, isUser: boolean): number {
    if (isUser && this.#isAlignmentChecked && !this.#isAligned(linear, sizeBytes)) return 0;
    if (this.#debug.hasDataBreakpoints) this.#debug.noteAccess(linear, sizeBytes, false);
    if ((linear & 0xfff) + sizeBytes > PAGE_BYTES)
      return this.#loadAcross(linear, sizeBytes, READ, isUser);
    const gpa = this.#resolve(linear, READ, isUser);
    return gpa < 0 ? 0 : this.#memory.read(gpa, sizeBytes);
  }

  /** Stores 1, 2 or 4 bytes; false with a fault recorded, nothing written, if it may not. */
  storeAs(linear: number, sizeBytes: 1 | 2 | 4, value: number, isUser: boolean): boolean {
    if (isUser && this.#isAlignmentChecked && !this.#isAligned(linear, sizeBytes)) return false;
    if (this.#debug.hasDataBreakpoints) this.#debug.noteAccess(linear, sizeBytes, true);
    if ((linear & 0xfff) + sizeBytes > PAGE_BYTES)
      return this.#storeAcross(linear, sizeBytes, value, isUser);
    const gpa = this.#resolve(linear, WRITE, isUser);
    if (gpa < 0) return false;
    const bits = sizeBytes === 4 ? value >>> 0 : value & (sizeBytes === 2 ? 0xffff : 0xff);
    this.#memory.write(gpa, sizeBytes, bits);
    this.#tlb.makeWritable(isUser ? 1 : 0, linear);
    return true;
  }

  /** Whether `sizeBytes` (up to 4096) at `linear` can be accessed; a fault is recorded if not. */
  probe(linear: number, sizeBytes: number, isWrite: boolean, isUser: boolean): boolean {
    const access = isWrite ? WRITE : READ;
    // Pushes are probed one by one, and must not fault for their alignment later.
    const isOperand = sizeBytes === 2 || sizeBytes === 4;
    if (isUser && isOperand && this.#isAlignmentChecked && !this.#isAligned(linear, sizeBytes))
      return false;
    if (this.#resolve(linear, access, isUser) < 0) return false;
    if ((linear & 0xfff) + sizeBytes <= PAGE_BYTES) return true;
    return this.#resolve(nextPage(linear), access, isUser) >= 0;
  }

  /** Both pages are checked first; the bytes then go one by one, lowest address first. */
  #loadAcross(linear: number, sizeBytes: number, access: number, isUser: boolean): number {
    const first = this.#resolve(linear, access, isUser);
    if (first < 0) return 0;
    const second = this.#resolve(nextPage(linear), access, isUser);
    if (second < 0) return 0;
    const split = PAGE_BYTES - (linear & 0xfff);
    let value = 0;
    for (let index = 0; index < sizeBytes; index++) {
      const gpa = index < split ? first + index : second + index - split;
      value |= this.#memory.read(gpa, 1) << (index * 8);
    }
    return value >>> 0;
  }

  #storeAcross(linear: number, sizeBytes: number, value: number, isUser: boolean): boolean {
    const first = this.#resolve(linear, WRITE, isUser);
    if (first < 0) return false;
    const second = this.#resolve(nextPage(linear), WRITE, isUser);
    if (second < 0) return false;
    const split = PAGE_BYTES - (linear & 0xfff);
    for (let index = 0; index < sizeBytes; index++) {
      const gpa = index < split ? first + index : second + index - split;
      this.#memory.write(gpa, 1, (value >>> (index * 8)) & 0xff);
    }
    return true;
  }

  // ---- The slow path of generated code: current privilege

  /** Loads a byte; like every load here unsigned, and 0 with a fault recorded if it may not. */
  load8(linear: number): number {
    return this.loadAs(linear, 1, this.#state.u32[CPL_WORD] === 3);
  }

  load16(linear: number): number {
    return this.loadAs(linear, 2, this.#state.u32[CPL_WORD] === 3);
  }

  load32(linear: number): number {
    return this.loadAs(linear, 4, this.#state.u32[CPL_WORD] === 3);
  }

  store8(linear: number, value: number): void {
    this.storeAs(linear, 1, value, this.#state.u32[CPL_WORD] === 3);
  }

  store16(linear: number, value: number): void {
    this.storeAs(linear, 2, value, this.#state.u32[CPL_WORD] === 3);
  }

  store32(linear: number, value: number): void {
    this.storeAs(linear, 4, value, this.#state.u32[CPL_WORD] === 3);
  }

  /**
   * The load of a read-modify-write: checks the right to write, on both pages, before it reads, so
   * that the store that follows cannot fault (failure 34).
   */
  loadForStore(linear: number, sizeBytes: 1 | 2 | 4): number {
    const isUser = this.#state.u32[CPL_WORD] === 3;
    if (isUser && this.#isAlignmentChecked && !this.#isAligned(linear, sizeBytes)) return 0;
    if (this.#debug.hasDataBreakpoints) this.#debug.noteAccess(linear, sizeBytes, false);
    if ((linear & 0xfff) + sizeBytes > PAGE_BYTES)
      return this.#loadAcross(linear, sizeBytes, WRITE, isUser);
    const gpa = this.#resolve(linear, WRITE, isUser);
    return gpa < 0 ? 0 : this.#memory.read(gpa, sizeBytes);
  }

  /** Whether the current privilege may write there; a fault is recorded if not. */
  checkStore(linear: number, sizeBytes: number): boolean {
    return this.probe(linear, sizeBytes, true, this.#state.u32[CPL_WORD] === 3);
  }

  /** The same for reading. */
  checkLoad(linear: number, sizeBytes: number): boolean {
    return this.probe(linear, sizeBytes, false, this.#state.u32[CPL_WORD] === 3);
  }

  /**
   * Loads up to 64 bytes into SCRATCH, for operands of 8, 10 and 16 bytes. Both pages are checked
   * before anything is read. False with a fault recorded if it may not; SCRATCH is then as it was.
   */
  loadBlock(linear: number, sizeBytes: number): boolean {
    return this.#block(linear, sizeBytes, READ, READ);
  }

  /** Stores up to 64 bytes from SCRATCH; false with a fault recorded, nothing written. */
  storeBlock(linear: number, sizeBytes: number): boolean {
    return this.#block(linear, sizeBytes, WRITE, WRITE);
  }

  /** loadBlock() for a read-modify-write of 8 or 16 bytes: see loadForStore(). */
  loadBlockForStore(linear: number, sizeBytes: number): boolean {
    return this.#block(linear, sizeBytes, WRITE, READ);
  }

  /** 8 bytes into SCRATCH, low half first. */
  load64(linear: number): boolean {
    return this.#block(linear, 8, READ, READ);
  }

  /** 8 bytes from SCRATCH. */
  store64(linear: number): boolean {
    return this.#block(linear, 8, WRITE, WRITE);
  }

  #block(linear: number, sizeBytes: number, rights: number, action: number): boolean {
    const isUser = this.#state.u32[CPL_WORD] === 3;
    const isChecked = isUser && this.#isAlignmentChecked;
    // Operands of 10 bytes and more have alignment rules of their own (SDM 3, table 6-7).
    if (isChecked && !this.#isAligned(linear, sizeBytes === 8 ? 8 : 4)) return false;
    if (this.#debug.hasDataBreakpoints) this.#debug.noteAccess(linear, sizeBytes, action === WRITE);
    const first = this.#resolve(linear, rights, isUser);
    if (first < 0) return false;
    const split = PAGE_BYTES - (linear & 0xfff);
    if (sizeBytes <= split) {
      this.#copy(first, 0, sizeBytes, action);
      return true;
    }
    const second = this.#resolve(nextPage(linear), rights, isUser);
    if (second < 0) return false;
    this.#copy(first, 0, split, action);
    this.#copy(second, split, sizeBytes - split, action);
    return true;
  }

  /** Between memory at `gpa` and SCRATCH + `start`, in words while they last. */
  #copy(gpa: number, start: number, sizeBytes: number, action: number): void {
    const memory = this.#memory;
    const view = this.#state.view;
    let done = 0;
    while (done < sizeBytes) {
      const offset = SCRATCH + start + done;
      const isWord = sizeBytes - done >= 4;
      if (action === READ) {
        const value = memory.read(gpa + done, isWord ? 4 : 1);
        if (isWord) view.setUint32(offset, value, true);
        else view.setUint8(offset, value);
      } else if (isWord) memory.write(gpa + done, 4, view.getUint32(offset, true));
      else memory.write(gpa + done, 1, view.getUint8(offset));
      done += isWord ? 4 : 1;
    }
  }

  // ---- Descriptor tables and TSS: supervisor whatever the CPL (SDM 3, 4.6 "implicit")

  systemLoad(linear: number, sizeBytes: 1 | 2 | 4): number {
    return this.loadAs(linear, sizeBytes, false);
  }

  systemStore(linear: number, sizeBytes: 1 | 2 | 4, value: number): boolean {
    return this.storeAs(linear, sizeBytes, value, false);
  }
}

/** Start of the page behind that of `linear`, modulo 2^32. */
function nextPage(linear: number): number {
  return (((linear | 0xfff) + 1) & 0xffff_f000) >>> 0;
}
