// Reset control register, port 0xCF9. 82371SB (PIIX3) data sheet, section 2.5.4.3 "RC".

import { defineState, type Savable, type SavedSection } from './saved-state.ts';

const HARD_RESET = 0x02;
const RESET = 0x04;
const WRITABLE = 0x0e;

function powerOnState() {
  return { value: 0 };
}

type ResetState = ReturnType<typeof powerOnState>;

export class ResetControl implements Savable {
  static readonly schema = defineState<ResetState>('reset-control', 1, {
    value: { id: 1, type: 'u8', since: 1 },
  });

  // Wiring, set once by the machine. `isHard` resets the chips, not just the processor.
  onReset: (isHard: boolean) => void = () => {};
  // State, all of it saved.
  readonly state: ResetState = powerOnState();

  reset(): void {
    this.state.value = 0;
  }

  save(): SavedSection {
    return ResetControl.schema.save(this.state);
  }

  restore(section: SavedSection): void {
    ResetControl.schema.restore(section, this.state);
  }

  read(): number {
    return this.state.value;
  }

  write(value: number): void {
    const before = this.state.value;
    this.state.value = value & WRITABLE;
    // A reset is the rising edge of bit 2.
    if (value & RESET && !(before & RESET)) this.onReset((value & HARD_RESET) !== 0);
  }
}
