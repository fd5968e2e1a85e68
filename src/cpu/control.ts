// Control registers, and everything that changes how linear addresses are mapped.
// Intel SDM volume 2, MOV to and from control registers, LMSW, CLTS, INVLPG; volume 3, section 2.5
// and 4.10.4 "Invalidation of TLBs".

import {
  CR0_CD,
  CR0_EM,
  CR0_ET,
  CR0_MP,
  CR0_NW,
  CR0_PE,
  CR0_PG,
  CR0_TS,
  CR0_WP,
  CR0_WRITABLE,
  CR4_IMPLEMENTED,
  CR4_PAE,
  CR4_PGE,
  CR4_PSE,
  VECTOR_GP,
  VECTOR_UD,
} from './control-bits.ts';
import type { DebugUnit } from './debug.ts';
import type { EngineHooks } from './engine-hooks.ts';
import type { MMU } from './mmu.ts';
import type { Segmentation } from './segmentation.ts';
import type { CPUState } from './state.ts';
import { A20_MASK, CPL, CR0, CR2, CR3, CR4 } from './state-layout.ts';

const CR4_MAPPING = CR4_PSE | CR4_PAE | CR4_PGE;
const CR0_LOW = CR0_PE | CR0_MP | CR0_EM | CR0_TS;

export class Control {
  readonly #state: CPUState;
  readonly #mmu: MMU;
  readonly #segmentation: Segmentation;
  readonly #debug: DebugUnit;
  readonly #hooks: EngineHooks;

  constructor(parts: {
    readonly state: CPUState;
    readonly mmu: MMU;
    readonly segmentation: Segmentation;
    readonly debug: DebugUnit;
    readonly hooks: EngineHooks;
  }) {
    this.#state = parts.state;
    this.#mmu = parts.mmu;
    this.#segmentation = parts.segmentation;
    this.#debug = parts.debug;
    this.#hooks = parts.hooks;
  }

  /** Raises #GP(0) and returns false unless CPL is 0. */
  requirePrivilege(): boolean {
    return this.#state.u32[CPL >> 2] === 0 || this.#refuse();
  }

  #refuse(): false {
    this.#state.raiseException(VECTOR_GP, 0);
    return false;
  }

  /** Forgets translations, here and in the engine. @param withGlobal also of global pages */
  mappingChanged(withGlobal: boolean): void {
    if (withGlobal) this.#mmu.flushAll();
    else this.#mmu.flushNonGlobal();
    this.#hooks.flushCode();
  }

  /** MOV from CRn; the value, or 0 with a fault recorded. */
  read(register: number): number {
    if (!this.#isKnown(register) || !this.requirePrivilege()) return 0;
    return this.#state.get32(CR0 + register * 8);
  }

  #isKnown(register: number): boolean {
    if (register === 0 || (register >= 2 && register <= 4)) return true;
    this.#state.raiseException(VECTOR_UD);
    return false;
  }

  /** MOV to CRn; false with a fault recorded and nothing changed. */
  write(register: number, value: number): boolean {
    if (!this.#isKnown(register) || !this.requirePrivilege()) return false;
    if (register === 0) return this.#writeCR0(value);
    if (register === 3) return this.#writeCR3(value);
    if (register === 4) return this.#writeCR4(value);
    this.#state.setWide(CR2, value);
    return true;
  }

  #writeCR0(value: number): boolean {
    const state = this.#state;
    const isPagedReal = (value & CR0_PG) !== 0 && (value & CR0_PE) === 0;
    const isOddCache = (value & CR0_NW) !== 0 && (value & CR0_CD) === 0;
    if (isPagedReal || isOddCache) return this.#refuse();
    const old = state.cr0;
    const next = ((value & CR0_WRITABLE) | CR0_ET) >>> 0;
    const changed = old ^ next;
    const reloadsPointers = (next & CR0_PG) !== 0 && (changed & (CR0_PG | CR0_CD | CR0_NW)) !== 0;
    const isPAE = (state.cr4 & CR4_PAE) !== 0;
    if (reloadsPointers && isPAE && !this.#mmu.loadPagePointers(state.cr3)) return this.#refuse();
    state.setWide(CR0, next);
    if ((changed & (CR0_PG | CR0_WP | CR0_PE)) !== 0) this.mappingChanged(true);
    if ((changed & CR0_PE) !== 0) this.#segmentation.updateMode();
    this.#mmu.updateAlignmentCheck();
    // The FPU rows look at EM, TS and MP when they are decoded or run: let the loop look again.
    state.requestEvent();
    return true;
  }

  #writeCR3(value: number): boolean {
    const state = this.#state;
    const isPAE = (state.cr4 & CR4_PAE) !== 0 && (state.cr0 & CR0_PG) !== 0;
    if (isPAE && !this.#mmu.loadPagePointers(value)) return this.#refuse();
    state.setWide(CR3, value);
    this.mappingChanged(false);
    return true;
  }

  #writeCR4(value: number): boolean {
    const state = this.#state;
    if ((value & ~CR4_IMPLEMENTED) !== 0) return this.#refuse();
    const changed = state.cr4 ^ value;
    const isPaged = (state.cr0 & CR0_PG) !== 0;
    const reloadsPointers = isPaged && (value & CR4_PAE) !== 0 && (changed & CR4_MAPPING) !== 0;
    if (reloadsPointers && !this.#mmu.loadPagePointers(state.cr3)) return this.#refuse();
    state.setWide(CR4, value);
    if ((changed & CR4_MAPPING) !== 0) this.mappingChanged(true);
    this.#debug.refresh();
    return true;
  }

  /** SMSW: the low half of CR0, at any level. */
  readMachineStatus(): number {
    return this.#state.cr0;
  }

  /** LMSW: PE MP EM TS; PE cannot be cleared. */
  loadMachineStatus(value: number): boolean {
    if (!this.requirePrivilege()) return false;
    const cr0 = this.#state.cr0;
    const sticky = cr0 & CR0_PE;
    return this.#writeCR0(((cr0 & ~CR0_LOW) | (value & CR0_LOW) | sticky) >>> 0);
  }

  clts(): boolean {
    if (!this.requirePrivilege()) return false;
    this.#state.setWide(CR0, (this.#state.cr0 & ~CR0_TS) >>> 0);
    return true;
  }

  invlpg(linear: number): boolean {
    if (!this.requirePrivilege()) return false;
    if (this.#mmu.flushPage(linear)) this.#hooks.flushCodePage(linear >>> 0);
    else this.#hooks.flushCode();
    return true;
  }

  /** MOV to DRn: data breakpoints decide how TLB rows are filled. */
  writeDebug(register: number, value: number): boolean {
    if (!this.#debug.write(register, value)) return false;
    this.#mmu.flushAll();
    this.#state.requestEvent();
    return true;
  }

  /** The A20 gate: every physical address above 1 MiB may now mean another byte. */
  setA20(isEnabled: boolean): void {
    const mask = isEnabled ? 0xffff_ffff : 0xffef_ffff;
    if (this.#state.get32(A20_MASK) === mask) return;
    this.#state.set32(A20_MASK, mask);
    this.mappingChanged(true);
    this.#state.requestEvent();
  }
}
