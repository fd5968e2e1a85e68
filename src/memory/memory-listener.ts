// How others follow an address space's map: the software TLB, KVM's slots, framebuffers.

import type { MemorySection } from './flat-view.ts';

/**
 * Told what changes in an address space, between `begin` and `commit`. Sections go before others
 * come; a section that is logged is synced before it goes, so that no dirty bit is lost with it.
 */
export interface MemoryListener {
  begin?(): void;
  regionAdd?(section: MemorySection): void;
  regionDel?(section: MemorySection): void;
  /** The first client begins to log writes to this section, or the set of clients grows. */
  logStart?(section: MemorySection, oldMask: number, newMask: number): void;
  /** The set of clients shrinks; `newMask` is 0 when nobody logs any more. */
  logStop?(section: MemorySection, oldMask: number, newMask: number): void;
  /**
   * Bring what an accelerator logged of this RAM into `DirtyMemory` now. Sections that no region's
   * clients log come too: it may have logged them for snapshots.
   */
  logSync?(section: MemorySection): void;
  /** The new map is in force. */
  commit?(): void;
}
