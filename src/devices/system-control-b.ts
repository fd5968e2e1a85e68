// Port 0x61, "NMI status and control" (system control port B): timer 2's gate, the speaker, and the
// refresh toggle. 82371AB (PIIX4) data sheet, section 4.2.7.1 "NMISC".

import type { VirtualClock } from '../base/device.ts';
import type { PIT8254 } from './pit8254.ts';
import { defineState, type Savable, type SavedSection } from './saved-state.ts';

const TIMER2_GATE = 0x01;
const WRITABLE = 0x0f;
const REFRESH_TOGGLE = 0x10;
const TIMER2_OUT = 0x20;
/** The toggle changes with every refresh request, each 15.085 µs. */
const REFRESH_NS = 15_085;

function powerOnState() {
  return { control: 0 };
}

type PortState = ReturnType<typeof powerOnState>;

export class SystemControlB implements Savable {
  static readonly schema = defineState<PortState>('port61', 1, {
    control: { id: 1, type: 'u8', since: 1 },
  });

  readonly #clock: VirtualClock;
  readonly #pit: PIT8254;
  readonly state: PortState = powerOnState();

  constructor(clock: VirtualClock, pit: PIT8254) {
    this.#clock = clock;
    this.#pit = pit;
  }

  reset(): void {
    this.write(0);
  }

  save(): SavedSection {
    return SystemControlB.schema.save(this.state);
  }

  restore(section: SavedSection): void {
    SystemControlB.schema.restore(section, this.state);
  }

  read(): number {
    const toggle = Math.floor(this.#clock.nowNs() / REFRESH_NS) % 2 === 1 ? REFRESH_TOGGLE : 0;
    return this.state.control | toggle | (this.#pit.out(2) ? TIMER2_OUT : 0);
  }

  write(value: number): void {
    this.state.control = value & WRITABLE;
    this.#pit.setGate(2, (value & TIMER2_GATE) !== 0);
  }
}
