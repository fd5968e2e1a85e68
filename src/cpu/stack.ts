// The stack as gates, returns and task switches use it: pushes are all checked before the first is
// made, pops are looked at before the pointer moves. Intel SDM volume 1, section 6.2 "Stacks".

import { VECTOR_SS } from './control-bits.ts';
import { ATTR_BIG, ATTR_UNUSABLE, type Descriptor } from './descriptor.ts';
import type { MMU } from './mmu.ts';
import { isInLimit, type Segmentation } from './segmentation.ts';
import type { CPUState } from './state.ts';
import { SS } from './state-layout.ts';

const ESP = 4;

/** A stack that is being used by one transfer: the current one, or one that is switched to. */
export class StackFrame {
  readonly #state: CPUState;
  readonly #mmu: MMU;
  readonly #segmentation: Segmentation;
  #base = 0;
  #limit = 0;
  #attributes = 0;
  /** Selector for #SS when it is the stack of an inner level, else 0. */
  #faultSelector = 0;
  #isUser = false;
  /** Value of ESP as pushes lower and pops raise it. */
  pointer = 0;

  constructor(state: CPUState, mmu: MMU, segmentation: Segmentation) {
    this.#state = state;
    this.#mmu = mmu;
    this.#segmentation = segmentation;
  }

  /** The stack that SS:ESP names, at the current privilege. */
  openCurrent(): void {
    const state = this.#state;
    this.#base = state.segBase(SS);
    this.#limit = state.segLimit(SS);
    this.#attributes = state.segAttributes(SS);
    this.#faultSelector = 0;
    this.#isUser = state.cpl === 3;
    this.pointer = state.reg32(ESP);
  }

  /** The stack of `descriptor` at `pointer`, used with privilege `cpl`. */
  openNew(descriptor: Descriptor, pointer: number, cpl: number): void {
    this.#base = descriptor.base;
    this.#limit = descriptor.limit;
    this.#attributes = descriptor.attributes;
    this.#faultSelector = descriptor.selector;
    this.#isUser = cpl === 3;
    this.pointer = pointer >>> 0;
  }

  get isBig(): boolean {
    return (this.#attributes & ATTR_BIG) !== 0;
  }

  /** Whether `count` pushes of `sizeBytes` can be made; records #SS or #PF if not. */
  reserve(count: number, sizeBytes: 2 | 4): boolean {
    for (let index = 1; index <= count; index++) {
      const offset = this.#wrap(this.pointer - index * sizeBytes);
      if (!this.#isAllowed(offset, sizeBytes)) return false;
      const linear = (this.#base + offset) >>> 0;
      if (!this.#mmu.probe(linear, sizeBytes, true, this.#isUser)) return false;
    }
    return true;
  }

  /** Pushes; reserve() must have covered it. */
  push(sizeBytes: 2 | 4, value: number): void {
    this.pointer = this.#lower(sizeBytes);
    const linear = (this.#base + this.#wrap(this.pointer)) >>> 0;
    this.#mmu.storeAs(linear, sizeBytes, value, this.#isUser);
  }

  /** Pops, moving only `pointer`; 0 with a fault recorded if it may not. */
  pop(sizeBytes: 2 | 4): number {
    const offset = this.#wrap(this.pointer);
    if (this.#state.hasException || !this.#isAllowed(offset, sizeBytes)) return 0;
    const linear = (this.#base + offset) >>> 0;
    const value = this.#mmu.loadAs(linear, sizeBytes, this.#isUser);
    this.skip(sizeBytes);
    return value;
  }

  /** Moves the pointer up without reading. */
  skip(bytes: number): void {
    this.pointer = this.#lower(-bytes);
  }

  /** Writes the pointer to ESP, or SP alone for a 16-bit stack. */
  commit(): void {
    if (this.isBig) this.#state.setReg32(ESP, this.pointer);
    else this.#state.setReg16(ESP, this.pointer & 0xffff);
  }

  #lower(bytes: number): number {
    const lowered = this.pointer - bytes;
    return this.isBig ? lowered >>> 0 : ((this.pointer & 0xffff_0000) | (lowered & 0xffff)) >>> 0;
  }

  #wrap(pointer: number): number {
    return this.isBig ? pointer >>> 0 : pointer & 0xffff;
  }

  #isAllowed(offset: number, sizeBytes: number): boolean {
    const isUsable = (this.#attributes & ATTR_UNUSABLE) === 0;
    if (isUsable && isInLimit(this.#attributes, this.#limit, offset, sizeBytes)) return true;
    return this.#segmentation.fault(VECTOR_SS, this.#faultSelector);
  }
}
