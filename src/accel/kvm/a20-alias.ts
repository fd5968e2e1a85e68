// The A20 gate in a memory map. The kernel's processor has no such line, so while it is held low
// the 64 KiB that real mode can reach above 1 MiB show the first 64 KiB. Above that the gate does
// nothing: a guest in protected mode with A20 off sees all of its memory (docs/kvm.md).

import type { AddressSpace } from '../../memory/address-space.ts';
import { MemoryRegion } from '../../memory/memory-region.ts';

const ALIAS_GPA = 0x10_0000;
const ALIAS_BYTES = 0x1_0000;
/** Above whatever a machine maps there. */
const PRIORITY = 1_000_000;

/** The alias, in no map as long as the gate is open. */
export class A20Alias {
  readonly #memory: AddressSpace;
  #region: MemoryRegion | undefined;

  constructor(memory: AddressSpace) {
    this.#memory = memory;
  }

  /** @param isEnabled whether address line 20 is let through */
  set(isEnabled: boolean): void {
    if (this.#region === undefined) {
      if (isEnabled) return;
      const low = this.#memory.find(0).region;
      if (low === undefined) return;
      this.#region = MemoryRegion.alias('kvm.a20', low, 0, Math.min(ALIAS_BYTES, low.sizeBytes));
      this.#memory.root.addSubregion(ALIAS_GPA, this.#region, PRIORITY);
    }
    this.#region.setEnabled(!isEnabled);
  }
}
