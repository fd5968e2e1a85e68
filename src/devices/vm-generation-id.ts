// A number that tells a guest whether it is still the machine it was: 128 random bits that change
// when it is put back or copied, and an event of ACPI then. "Virtual Machine Generation ID"
// (Microsoft, 2012), "Implementation".

import { defineState, type Savable, type SavedSection } from './saved-state.ts';

export const GENERATION_ID_BYTES = 16;
/** The register block: the number at its start, zeros behind it. */
export const GENERATION_ID_REGION_BYTES = 0x1000;

type GenerationState = { id: Uint8Array };

export class VMGenerationId implements Savable {
  static readonly schema = defineState<GenerationState>('vm-generation-id', 1, {
    id: { id: 1, type: 'u8', since: 1, length: GENERATION_ID_BYTES },
  });

  // Configuration.
  readonly #fillRandom: (bytes: Uint8Array) => void;
  // Wiring, set once by the machine.
  /** The guest must be told that the number is another one. */
  onRenew: () => void = () => {};
  // State, all of it saved. A reset leaves it: the machine is the same one.
  readonly state: GenerationState = { id: new Uint8Array(GENERATION_ID_BYTES) };

  /** @param fillRandom fills its argument with random bytes that nobody can guess */
  constructor(fillRandom: (bytes: Uint8Array) => void) {
    this.#fillRandom = fillRandom;
    fillRandom(this.state.id);
  }

  /** The guest becomes another one than it was: it went back in time, or there are two of it. */
  renew(): void {
    this.#fillRandom(this.state.id);
    this.onRenew();
  }

  save(): SavedSection {
    return VMGenerationId.schema.save(this.state);
  }

  restore(section: SavedSection): void {
    VMGenerationId.schema.restore(section, this.state);
  }

  /** A byte of the register block; it cannot be written. */
  read(offset: number): number {
    return this.state.id[offset] ?? 0;
  }
}
