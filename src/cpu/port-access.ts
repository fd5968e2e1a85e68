// IN and OUT: who may, and the access itself. Intel SDM volume 1, section 19.5
// "Protected-Mode I/O".

import type { AddressSpace } from '../memory/address-space.ts';
import { VECTOR_GP } from './control-bits.ts';
import type { DebugUnit } from './debug.ts';
import { FLAG_IOPL } from './flags.ts';
import type { MMU } from './mmu.ts';
import type { Segmentation } from './segmentation.ts';
import type { CPUState } from './state.ts';
import { EFLAGS_REST, TR } from './state-layout.ts';

const BITMAP_BASE = 102;

export class PortAccess {
  readonly #state: CPUState;
  readonly #mmu: MMU;
  readonly #segmentation: Segmentation;
  readonly #debug: DebugUnit;
  readonly #ports: AddressSpace;

  constructor(parts: {
    readonly state: CPUState;
    readonly mmu: MMU;
    readonly segmentation: Segmentation;
    readonly debug: DebugUnit;
    readonly ports: AddressSpace;
  }) {
    this.#state = parts.state;
    this.#mmu = parts.mmu;
    this.#segmentation = parts.segmentation;
    this.#debug = parts.debug;
    this.#ports = parts.ports;
  }

  /** Whether CPL, IOPL and the TSS's bitmap allow the access; #GP(0) is recorded if not. */
  check(port: number, sizeBytes: number): boolean {
    const state = this.#state;
    if (!this.#segmentation.isProtected) return true;
    const iopl = (state.u32[EFLAGS_REST >> 2]! & FLAG_IOPL) >>> 12;
    if (state.cpl <= iopl && !this.#segmentation.isV86) return true;
    if (this.#isInBitmap(port, sizeBytes)) return true;
    state.raiseException(VECTOR_GP, 0);
    return false;
  }

  #isInBitmap(port: number, sizeBytes: number): boolean {
    const state = this.#state;
    const limit = state.segLimit(TR);
    if ((state.segAttributes(TR) & 0x1f & ~2) !== 9 || limit < BITMAP_BASE + 1) return false;
    const base = state.segBase(TR);
    const bitmap = this.#mmu.systemLoad((base + BITMAP_BASE) >>> 0, 2);
    const offset = bitmap + (port >>> 3);
    // The processor always reads two bytes, so a last byte of ones must follow the bitmap.
    if (state.hasException || offset + 1 > limit) return false;
    const bits = this.#mmu.systemLoad((base + offset) >>> 0, 2);
    const wanted = ((1 << sizeBytes) - 1) << (port & 7);
    return !state.hasException && (bits & wanted) === 0;
  }

  /** Reads a port, unsigned; permission has been checked. */
  read(port: number, sizeBytes: number): number {
    this.#debug.notePortAccess(port & 0xffff, sizeBytes);
    return this.#ports.read(port & 0xffff, sizeBytes);
  }

  write(port: number, sizeBytes: number, value: number): void {
    this.#debug.notePortAccess(port & 0xffff, sizeBytes);
    const bits = sizeBytes === 4 ? value >>> 0 : value & (sizeBytes === 2 ? 0xffff : 0xff);
    this.#ports.write(port & 0xffff, sizeBytes, bits);
  }
}
