// Hot: one walk per TLB miss. The page walk of 32-bit and PAE paging: rights, error codes, accessed
// and dirty bits. Intel SDM volume 3, sections 4.3 "32-bit Paging", 4.4 "PAE Paging", 4.6 "Access
// Rights", 4.7 "Page-Fault Exceptions", 4.8 "Accessed and Dirty Flags".

import type { AddressSpace } from '../memory/address-space.ts';
import {
  CR0_PG,
  CR0_WP,
  CR4_PAE,
  CR4_PGE,
  CR4_PSE,
  EFER_NXE,
  PHYSICAL_ADDRESS_BITS,
} from './control-bits.ts';
import type { CPUState } from './state.ts';
import { A20_MASK, CR0, CR3, CR4, EFER, PDPTE } from './state-layout.ts';

export const ACCESS_READ = 0;
export const ACCESS_WRITE = 1;
export const ACCESS_EXECUTE = 2;

const PG = CR0_PG;
const WP = CR0_WP;
const PAE = CR4_PAE;
const PGE = CR4_PGE;
const PSE = CR4_PSE;
const NXE = EFER_NXE;
const CR0_WORD = CR0 >> 2;
const CR3_WORD = CR3 >> 2;
const CR4_WORD = CR4 >> 2;
const EFER_WORD = EFER >> 2;
const PDPTE_WORD = PDPTE >> 2;
const A20_WORD = A20_MASK >> 2;

const ENTRY_PRESENT = 1;
const ENTRY_WRITE = 2;
const ENTRY_USER = 4;
const ENTRY_ACCESSED = 0x20;
const ENTRY_DIRTY = 0x40;
const ENTRY_LARGE = 0x80;
const ENTRY_GLOBAL = 0x100;

const ERROR_PRESENT = 1;
const ERROR_WRITE = 2;
const ERROR_USER = 4;
const ERROR_RESERVED = 8;
const ERROR_FETCH = 16;

/** Address bits in the high word of a PAE entry, and those of it that must be zero. */
const HIGH_ADDRESS = 2 ** (PHYSICAL_ADDRESS_BITS - 32) - 1;
const HIGH_RESERVED = 0x7fff_ffff & ~HIGH_ADDRESS;
const HIGH_NX = 0x8000_0000 | 0;
const FOUR_GIB = 2 ** 32;
/** Bits 21–17 of a 4-MiB PDE: beyond the four address bits that PSE-36 gives with 36 lines. */
const PSE36_RESERVED = 0x3e_0000;
/** Bits 20–13 of a 2-MiB PDE. */
const PAE_LARGE_RESERVED = 0x1f_e000;

/**
 * Walks the page tables. The result of the last walk that succeeded stays in the fields.
 *
 * Accessed and dirty bits are set only by a walk that succeeds, once every check has passed.
 */
export class PageWalk {
  readonly #words: Uint32Array;
  readonly #memory: AddressSpace;
  /** Whether ring 3 may access the page. */
  isUserPage = false;
  /** R/W of all levels together; supervisors may write regardless while CR0.WP is 0. */
  isWritable = false;
  isGlobal = false;
  /** Whether the dirty bit is set already, so that a later write needs no walk. */
  isDirty = false;
  /** Whether the page is larger than 4 KiB. */
  isLarge = false;
  /** #PF error code of the last walk that failed. */
  errorCode = 0;

  constructor(state: CPUState, memory: AddressSpace) {
    this.#words = state.u32;
    this.#memory = memory;
  }

  /** `gpa` as the bus sees it: address line 20 is forced low while the A20 gate is closed. */
  maskA20(gpa: number): number {
    const mask = this.#words[A20_WORD]!;
    if (mask === 0xffff_ffff) return gpa;
    const low = gpa >>> 0;
    return gpa - low + ((low & mask) >>> 0);
  }

  /**
   * Guest-physical address of `linear`, A20 applied, or -1 with the reason in `errorCode`.
   * @param isPeek true leaves accessed and dirty bits alone and checks no rights (debuggers)
   */
  walk(linear: number, access: number, isUser: boolean, isPeek = false): number {
    const words = this.#words;
    if ((words[CR0_WORD]! & PG) === 0) {
      this.isUserPage = true;
      this.isWritable = true;
      this.isGlobal = false;
      this.isDirty = true;
      this.isLarge = false;
      return this.maskA20(linear >>> 0);
    }
    if ((words[CR4_WORD]! & PAE) !== 0) return this.#walkPAE(linear, access, isUser, isPeek);
    return this.#walk32(linear, access, isUser, isPeek);
  }

  #walk32(linear: number, access: number, isUser: boolean, isPeek: boolean): number {
    const words = this.#words;
    const memory = this.#memory;
    const pdeGpa = this.maskA20(((words[CR3_WORD]! & 0xffff_f000) >>> 0) + ((linear >>> 22) << 2));
    const pde = memory.read(pdeGpa, 4);
    if ((pde & ENTRY_PRESENT) === 0) return this.#fail(access, isUser, 0);
    const dirty = access === ACCESS_WRITE ? ENTRY_ACCESSED | ENTRY_DIRTY : ENTRY_ACCESSED;
    if ((pde & ENTRY_LARGE) !== 0 && (words[CR4_WORD]! & PSE) !== 0) {
      if ((pde & PSE36_RESERVED) !== 0) return this.#fail(access, isUser, ERROR_RESERVED);
      if (!isPeek && !this.#isAllowed(access, isUser, pde, false)) return -1;
      if (!isPeek && (pde & dirty) !== dirty) memory.write(pdeGpa, 4, (pde | dirty) >>> 0);
      this.#finish(pde, pde | dirty, true);
      const high = ((pde >>> 13) & HIGH_ADDRESS) * FOUR_GIB;
      return this.maskA20(high + (((pde & 0xffc0_0000) | (linear & 0x3f_ffff)) >>> 0));
    }
    const pteGpa = this.maskA20(((pde & 0xffff_f000) >>> 0) + ((linear >>> 10) & 0xffc));
    const pte = memory.read(pteGpa, 4);
    if ((pte & ENTRY_PRESENT) === 0) return this.#fail(access, isUser, 0);
    const rights = pde & pte;
    if (!isPeek) {
      if (!this.#isAllowed(access, isUser, rights, false)) return -1;
      if ((pde & ENTRY_ACCESSED) === 0) memory.write(pdeGpa, 4, (pde | ENTRY_ACCESSED) >>> 0);
      if ((pte & dirty) !== dirty) memory.write(pteGpa, 4, (pte | dirty) >>> 0);
    }
    this.#finish(rights, pte | dirty, false);
    return this.maskA20(((pte & 0xffff_f000) | (linear & 0xfff)) >>> 0);
  }

  #walkPAE(linear: number, access: number, isUser: boolean, isPeek: boolean): number {
    const words = this.#words;
    const memory = this.#memory;
    const pdpte = PDPTE_WORD + (linear >>> 30) * 2;
    if ((words[pdpte]! & ENTRY_PRESENT) === 0) return this.#fail(access, isUser, 0);
    const reserved = (words[EFER_WORD]! & NXE) !== 0 ? HIGH_RESERVED : HIGH_RESERVED | HIGH_NX;
    const pdeGpa = this.maskA20(
      entryAddress(words[pdpte]!, words[pdpte + 1]!) + ((linear >>> 18) & 0xff8),
    );
    const pde = memory.read(pdeGpa, 4);
    const pdeHigh = memory.read(pdeGpa + 4, 4);
    if ((pde & ENTRY_PRESENT) === 0) return this.#fail(access, isUser, 0);
    if ((pdeHigh & reserved) !== 0) return this.#fail(access, isUser, ERROR_RESERVED);
    const dirty = access === ACCESS_WRITE ? ENTRY_ACCESSED | ENTRY_DIRTY : ENTRY_ACCESSED;
    if ((pde & ENTRY_LARGE) !== 0) {
      if ((pde & PAE_LARGE_RESERVED) !== 0) return this.#fail(access, isUser, ERROR_RESERVED);
      if (!isPeek && !this.#isAllowed(access, isUser, pde, (pdeHigh & HIGH_NX) !== 0)) return -1;
      if (!isPeek && (pde & dirty) !== dirty) memory.write(pdeGpa, 4, (pde | dirty) >>> 0);
      this.#finish(pde, pde | dirty, true);
      const page = (pdeHigh & HIGH_ADDRESS) * FOUR_GIB + ((pde & 0xffe0_0000) >>> 0);
      return this.maskA20(page + (linear & 0x1f_ffff));
    }
    const pteGpa = this.maskA20(entryAddress(pde, pdeHigh) + ((linear >>> 9) & 0xff8));
    const pte = memory.read(pteGpa, 4);
    const pteHigh = memory.read(pteGpa + 4, 4);
    if ((pte & ENTRY_PRESENT) === 0) return this.#fail(access, isUser, 0);
    if ((pteHigh & reserved) !== 0) return this.#fail(access, isUser, ERROR_RESERVED);
    const rights = pde & pte;
    if (!isPeek) {
      const noExecute = ((pdeHigh | pteHigh) & HIGH_NX) !== 0;
      if (!this.#isAllowed(access, isUser, rights, noExecute)) return -1;
      if ((pde & ENTRY_ACCESSED) === 0) memory.write(pdeGpa, 4, (pde | ENTRY_ACCESSED) >>> 0);
      if ((pte & dirty) !== dirty) memory.write(pteGpa, 4, (pte | dirty) >>> 0);
    }
    this.#finish(rights, pte | dirty, false);
    return this.maskA20(entryAddress(pte, pteHigh) + (linear & 0xfff));
  }

  #isAllowed(access: number, isUser: boolean, rights: number, noExecute: boolean): boolean {
    const isDenied =
      (isUser && (rights & ENTRY_USER) === 0) ||
      (access === ACCESS_WRITE &&
        (rights & ENTRY_WRITE) === 0 &&
        (isUser || (this.#words[CR0_WORD]! & WP) !== 0)) ||
      (access === ACCESS_EXECUTE && noExecute);
    if (isDenied) this.#fail(access, isUser, ERROR_PRESENT);
    return !isDenied;
  }

  /** Composes the error code; a reserved bit also counts as a present page. */
  #fail(access: number, isUser: boolean, reason: number): number {
    let code = reason === ERROR_RESERVED ? ERROR_RESERVED | ERROR_PRESENT : reason;
    if (access === ACCESS_WRITE) code |= ERROR_WRITE;
    if (isUser) code |= ERROR_USER;
    if (access === ACCESS_EXECUTE && this.#hasNX()) code |= ERROR_FETCH;
    this.errorCode = code;
    return -1;
  }

  /** Whether NX is in force: fetches are told apart in error codes only then. */
  #hasNX(): boolean {
    return (this.#words[CR4_WORD]! & PAE) !== 0 && (this.#words[EFER_WORD]! & NXE) !== 0;
  }

  #finish(rights: number, leaf: number, isLarge: boolean): void {
    this.isUserPage = (rights & ENTRY_USER) !== 0;
    this.isWritable = (rights & ENTRY_WRITE) !== 0;
    this.isGlobal = (leaf & ENTRY_GLOBAL) !== 0 && (this.#words[CR4_WORD]! & PGE) !== 0;
    this.isDirty = (leaf & ENTRY_DIRTY) !== 0;
    this.isLarge = isLarge;
  }

  /**
   * Reads the four page-directory-pointer entries at `cr3` into their registers, as a load of CR3
   * under PAE does (SDM 3, 4.4.1).
   * @returns false, with the registers as they were, if a present entry has a reserved bit set
   */
  loadPointers(cr3: number): boolean {
    const words = this.#words;
    const start = (cr3 & 0xffff_ffe0) >>> 0;
    for (let index = 0; index < 4; index++) {
      const low = this.#memory.read(this.maskA20(start + index * 8), 4);
      const high = this.#memory.read(this.maskA20(start + index * 8 + 4), 4);
      const isBad = (low & 0x1e6) !== 0 || (high & ~HIGH_ADDRESS) !== 0;
      if ((low & ENTRY_PRESENT) !== 0 && isBad) return false;
    }
    for (let index = 0; index < 8; index++)
      words[PDPTE_WORD + index] = this.#memory.read(this.maskA20(start + index * 4), 4);
    return true;
  }
}

/** Physical address bits 35–12 of a PAE entry. */
function entryAddress(low: number, high: number): number {
  return (high & HIGH_ADDRESS) * FOUR_GIB + ((low & 0xffff_f000) >>> 0);
}
