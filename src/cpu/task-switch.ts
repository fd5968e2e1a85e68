// The hardware task switch, with 32- and 16-bit TSSs.
// Intel SDM volume 3, chapter 8 "Task Management", section 8.3 and table 8-1.

import type { Control } from './control.ts';
import { CR0_TS, CR4_PAE, VECTOR_GP, VECTOR_NP, VECTOR_TS } from './control-bits.ts';
import type { DebugUnit } from './debug.ts';
import { DR6_BT } from './debug.ts';
import { ATTR_UNUSABLE, Descriptor, SELECTOR_TI, TYPE_LDT } from './descriptor.ts';
import { FLAG_NT, FLAG_VM, FLAGS_FIXED } from './flags.ts';
import type { MMU } from './mmu.ts';
import type { Segmentation } from './segmentation.ts';
import type { CPUState } from './state.ts';
import { CR0, CR3, CR4, CS, DS, ES, FS, GS, LDTR, SS, TR } from './state-layout.ts';

export type TaskSwitchSource = 'jump' | 'call' | 'iret';

const BUSY = 0x200;
const SEGMENT_ORDER = [ES, CS, SS, DS, FS, GS] as const;

// 32-bit TSS: link 0, CR3 28, EIP 32, EFLAGS 36, registers 40–71, segments 72–95, LDT 96, T 100.
const TSS32 = { minimum: 103, cr3: 28, ip: 32, flags: 36, regs: 40, segs: 72, ldt: 96 } as const;
// 16-bit TSS: link 0, IP 14, flags 16, registers 18–33, segments ES CS SS DS 34–41, LDT 42.
const TSS16 = { minimum: 43, cr3: -1, ip: 14, flags: 16, regs: 18, segs: 34, ldt: 42 } as const;

export class TaskSwitch {
  readonly #state: CPUState;
  readonly #mmu: MMU;
  readonly #segmentation: Segmentation;
  readonly #debug: DebugUnit;
  readonly #control: Control;
  readonly #code = new Descriptor();
  readonly #stack = new Descriptor();
  readonly #ldt = new Descriptor();
  /** What the new TSS holds: registers, then segments, read before anything changes. */
  readonly #registers = new Uint32Array(8);
  readonly #selectors = new Uint16Array(6);

  constructor(
    state: CPUState,
    mmu: MMU,
    segmentation: Segmentation,
    debug: DebugUnit,
    control: Control,
  ) {
    this.#state = state;
    this.#mmu = mmu;
    this.#segmentation = segmentation;
    this.#debug = debug;
    this.#control = control;
  }

  /**
   * Switches to the task of `tss`, whose descriptor the caller has found to be a TSS that may be
   * entered (available, or busy for IRET).
   *
   * Faults before the switch leave the old task as it was; later ones, of the new task's
   * segments, are taken in the new task (SDM 3, 8.3 step 13 onward).
   * @param returnEip EIP that the old task is resumed at
   * @returns false with a fault recorded
   */
  switchTo(tss: Descriptor, source: TaskSwitchSource, returnEip: number): boolean {
    const state = this.#state;
    const is32 = (tss.type & 8) !== 0;
    const layout = is32 ? TSS32 : TSS16;
    if (!tss.isPresent) return this.#segmentation.fault(VECTOR_NP, tss.selector);
    if (tss.limit < layout.minimum) return this.#segmentation.fault(VECTOR_TS, tss.selector);
    if (!this.#probe(tss, source)) return false;
    const base = tss.base;
    const size = is32 ? 4 : 2;
    const cr3 = is32 ? this.#mmu.systemLoad(base + layout.cr3, 4) : 0;
    const eip = this.#mmu.systemLoad((base + layout.ip) >>> 0, size);
    let eflags = this.#mmu.systemLoad((base + layout.flags) >>> 0, size);
    for (let index = 0; index < 8; index++) {
      const value = this.#mmu.systemLoad((base + layout.regs + index * size) >>> 0, size);
      this.#registers[index] = is32 ? value : value | 0xffff_0000;
    }
    for (let index = 0; index < 6; index++) {
      const isThere = is32 || index < 4;
      const at = (base + layout.segs + index * size) >>> 0;
      this.#selectors[index] = isThere ? this.#mmu.systemLoad(at, 2) : 0;
    }
    const ldt = this.#mmu.systemLoad((base + layout.ldt) >>> 0, 2);
    const isTrapping = is32 && (this.#mmu.systemLoad((base + 100) >>> 0, 2) & 1) !== 0;
    if (state.hasException) return false;

    const oldSelector = state.selector(TR);
    this.#saveOld(source, returnEip);
    if (source === 'call') {
      this.#mmu.systemStore(base, 2, oldSelector);
      eflags |= FLAG_NT;
    }
    if (source !== 'iret') this.#setBusy(tss.linear, true);
    tss.high |= BUSY;
    this.#segmentation.setFromDescriptor(TR, tss.selector, tss);
    state.setWide(CR0, state.cr0 | CR0_TS);
    if (state.hasException) return false;
    return this.#enter(eip, eflags, ldt, is32 && this.#pagingCR3(cr3), cr3, isTrapping);
  }

  /** Both TSSs must be reachable before the switch begins; nothing is written. */
  #probe(tss: Descriptor, source: TaskSwitchSource): boolean {
    const state = this.#state;
    const mmu = this.#mmu;
    const length = (tss.type & 8) !== 0 ? 104 : 44;
    const oldLength = (state.segAttributes(TR) & 8) !== 0 ? 104 : 44;
    if (state.segLimit(TR) < oldLength - 1)
      return this.#segmentation.fault(VECTOR_TS, state.selector(TR));
    return (
      mmu.probe(state.segBase(TR), oldLength, true, false) &&
      mmu.probe(tss.base, length, source === 'call', false) &&
      mmu.probe((tss.linear + 4) >>> 0, 4, true, false)
    );
  }

  #pagingCR3(cr3: number): boolean {
    return (this.#state.cr0 & 0x8000_0000) !== 0 && cr3 !== this.#state.cr3;
  }

  #setBusy(linear: number, isBusy: boolean): void {
    const at = (linear + 4) >>> 0;
    const high = this.#mmu.systemLoad(at, 4);
    this.#mmu.systemStore(at, 4, isBusy ? high | BUSY : high & ~BUSY);
  }

  /** Steps 4–8: busy bit and image of the old task. */
  #saveOld(source: TaskSwitchSource, returnEip: number): void {
    const state = this.#state;
    const mmu = this.#mmu;
    const is32 = (state.segAttributes(TR) & 8) !== 0;
    const layout = is32 ? TSS32 : TSS16;
    const size = is32 ? 4 : 2;
    const base = state.segBase(TR);
    if (source !== 'call') {
      const selector = state.selector(TR);
      if (this.#segmentation.readDescriptor(selector, this.#ldt, -1))
        this.#setBusy(this.#ldt.linear, false);
    }
    const eflags = source === 'iret' ? state.eflags & ~FLAG_NT : state.eflags;
    mmu.systemStore((base + layout.ip) >>> 0, size, returnEip);
    mmu.systemStore((base + layout.flags) >>> 0, size, eflags);
    for (let index = 0; index < 8; index++)
      mmu.systemStore((base + layout.regs + index * size) >>> 0, size, state.reg32(index));
    for (let index = 0; index < (is32 ? 6 : 4); index++) {
      const at = (base + layout.segs + index * size) >>> 0;
      mmu.systemStore(at, 2, state.selector(SEGMENT_ORDER[index]!));
    }
  }

  /** Steps 9–14: the new task's state, then its segments with their checks. */
  #enter(
    eip: number,
    eflags: number,
    ldt: number,
    hasCR3: boolean,
    cr3: number,
    isTrapping: boolean,
  ): boolean {
    const state = this.#state;
    const segmentation = this.#segmentation;
    if (hasCR3) {
      if ((state.get32(CR4) & CR4_PAE) !== 0 && !this.#mmu.loadPagePointers(cr3))
        return segmentation.fault(VECTOR_TS, state.selector(TR));
      state.setWide(CR3, cr3);
      this.#control.mappingChanged(false);
    }
    for (let index = 0; index < 8; index++) state.setReg32(index, this.#registers[index]!);
    state.eflags = this.#debug.loadedFlags(eflags) | FLAGS_FIXED;
    state.jump(eip);
    // Until its descriptor has been checked, a register holds its selector and can address nothing.
    for (let index = 0; index < 6; index++) {
      const attributes = ATTR_UNUSABLE;
      segmentation.setSegment(SEGMENT_ORDER[index]!, this.#selectors[index]!, 0, 0, attributes);
    }
    segmentation.setSegment(LDTR, ldt, 0, 0, ATTR_UNUSABLE);
    const isV86 = (eflags & FLAG_VM) !== 0;
    segmentation.setCPL(isV86 ? 3 : this.#selectors[1]! & 3);
    const isEntered = this.#loadLDT(ldt) && (isV86 ? this.#enterV86() : this.#loadSegments(eip));
    segmentation.updateMode();
    this.#mmu.updateAlignmentCheck();
    this.#debug.taskSwitched();
    if (isEntered && isTrapping) this.#debug.addPending(DR6_BT);
    state.requestEvent();
    return isEntered;
  }

  #loadLDT(selector: number): boolean {
    const segmentation = this.#segmentation;
    if ((selector & 0xfffc) === 0) return true;
    if ((selector & SELECTOR_TI) !== 0) return segmentation.fault(VECTOR_TS, selector);
    if (!segmentation.readDescriptor(selector, this.#ldt, VECTOR_TS)) return false;
    const isWrong = !this.#ldt.isSystem || this.#ldt.type !== TYPE_LDT || !this.#ldt.isPresent;
    if (isWrong) return segmentation.fault(VECTOR_TS, selector);
    segmentation.setFromDescriptor(LDTR, selector, this.#ldt);
    return true;
  }

  #enterV86(): boolean {
    for (let index = 0; index < 6; index++)
      this.#segmentation.setReal(SEGMENT_ORDER[index]!, this.#selectors[index]!);
    return true;
  }

  #loadSegments(eip: number): boolean {
    const segmentation = this.#segmentation;
    const cpl = this.#state.cpl;
    const cs = this.#selectors[1]!;
    const ss = this.#selectors[2]!;
    const code = this.#code;
    if ((cs & 0xfffc) === 0) return segmentation.fault(VECTOR_TS, cs);
    if (!segmentation.readDescriptor(cs, code, VECTOR_TS)) return false;
    const isWrongLevel = code.isConformingCode ? code.dpl > cpl : code.dpl !== cpl;
    if (!code.isCode || isWrongLevel) return segmentation.fault(VECTOR_TS, cs);
    if (!code.isPresent) return segmentation.fault(VECTOR_NP, cs);
    if (!segmentation.readStackSegment(ss, cpl, VECTOR_TS, this.#stack)) return false;
    if (!segmentation.markAccessed(code) || !segmentation.markAccessed(this.#stack)) return false;
    segmentation.setFromDescriptor(CS, cs, code);
    segmentation.setFromDescriptor(SS, ss, this.#stack);
    for (const index of [0, 3, 4, 5]) {
      const segment = SEGMENT_ORDER[index]!;
      if (!segmentation.loadSegmentForTask(segment, this.#selectors[index]!)) return false;
    }
    return eip <= code.limit || segmentation.fault(VECTOR_GP, 0);
  }

  /** Whether the current TSS has 32 bits: error codes are pushed at that size. */
  get isTSS32(): boolean {
    return (this.#state.segAttributes(TR) & 8) !== 0;
  }

  /** For task gates and direct selectors: finds the TSS, checks it, and switches. */
  switchToSelector(
    selector: number,
    source: TaskSwitchSource,
    vector: number,
    returnEip: number,
  ): boolean {
    const segmentation = this.#segmentation;
    if ((selector & SELECTOR_TI) !== 0 || (selector & 0xfffc) === 0)
      return segmentation.fault(vector, selector);
    const tss = new Descriptor();
    if (!segmentation.readDescriptor(selector, tss, vector)) return false;
    const wanted = source === 'iret' ? 3 : 1;
    const isTSS = tss.isSystem && (tss.type & ~8) === wanted;
    if (!isTSS) return segmentation.fault(vector, selector);
    return this.switchTo(tss, source, returnEip);
  }
}
