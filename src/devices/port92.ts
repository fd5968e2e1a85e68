// System control port A, 0x92: fast A20 and fast reset.
// IBM PS/2 Hardware Interface Technical Reference, "System Control Port A".

import { defineState, type Savable, type SavedSection } from './saved-state.ts';

const FAST_RESET = 0x01;
const FAST_A20 = 0x02;

function powerOnState() {
  return { value: 0 };
}

type PortState = ReturnType<typeof powerOnState>;

export class Port92 implements Savable {
  static readonly schema = defineState<PortState>('port92', 1, {
    value: { id: 1, type: 'u8', since: 1 },
  });

  // Wiring, set once by the machine.
  onA20: (isEnabled: boolean) => void = () => {};
  onReset: () => void = () => {};
  // State, all of it saved.
  readonly state: PortState = powerOnState();

  reset(): void {
    this.state.value = 0;
    this.onA20(false);
  }

  save(): SavedSection {
    return Port92.schema.save(this.state);
  }

  restore(section: SavedSection): void {
    Port92.schema.restore(section, this.state);
    this.onA20(this.isA20Enabled);
  }

  get isA20Enabled(): boolean {
    return (this.state.value & FAST_A20) !== 0;
  }

  read(): number {
    return this.state.value;
  }

  write(value: number): void {
    const before = this.state.value;
    this.state.value = value & 0xff;
    if ((before ^ value) & FAST_A20) this.onA20(this.isA20Enabled);
    // The processor is reset by the bit's rising edge.
    if (value & FAST_RESET && !(before & FAST_RESET)) this.onReset();
  }
}
