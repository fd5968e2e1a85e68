// 82093AA I/O APIC: 24 inputs, each sent to a local APIC as its redirection entry says.
// Intel 82093AA data sheet (290566-001), section 3.0 "Register Description".
//
// Inputs are asserted or not; the polarity bit is kept and has no effect, as the machine's wires
// already carry "asserted".

import { defineState, type Savable, type SavedSection } from './saved-state.ts';

const IOREGSEL = 0x00;
const IOWIN = 0x10;
const REGISTER_ID = 0x00;
const REGISTER_VERSION = 0x01;
const REGISTER_ARBITRATION = 0x02;
const REGISTER_ENTRIES = 0x10;
export const IO_APIC_PINS = 24;
export const IO_APIC_BASE = 0xfec0_0000;
const VERSION_VALUE = 0x11 | ((IO_APIC_PINS - 1) << 16);

const ENTRY_VECTOR = 0xff;
const ENTRY_LOGICAL = 0x800;
const ENTRY_REMOTE_IRR = 0x4000;
const ENTRY_LEVEL = 0x8000;
const ENTRY_MASKED = 0x1_0000;
/** Delivery status and remote IRR are read-only. */
const ENTRY_WRITABLE = 0x1_afff;
const DELIVERY_FIXED = 0;
const DELIVERY_LOWEST = 1;
const DELIVERY_NMI = 4;
const DELIVERY_EXTINT = 7;

/** A message on the APIC bus. */
export interface APICMessage {
  readonly kind: 'vector' | 'nmi';
  readonly vector: number;
  readonly isLevel: boolean;
  readonly destination: number;
  readonly isLogical: boolean;
}

function powerOnState() {
  return {
    select: 0,
    id: 0,
    /** Asserted inputs. */
    lines: 0,
    low: new Uint32Array(IO_APIC_PINS).fill(ENTRY_MASKED),
    high: new Uint32Array(IO_APIC_PINS),
  };
}

type IOAPICState = ReturnType<typeof powerOnState>;

export class IOAPIC implements Savable {
  static readonly schema = defineState<IOAPICState>('ioapic', 1, {
    select: { id: 1, type: 'u8', since: 1 },
    id: { id: 2, type: 'u32', since: 1 },
    lines: { id: 3, type: 'u32', since: 1 },
    low: { id: 4, type: 'u32', since: 1, length: IO_APIC_PINS },
    high: { id: 5, type: 'u32', since: 1, length: IO_APIC_PINS },
  });

  // Wiring, set once by the machine.
  onMessage: (message: APICMessage) => void = () => {};
  /** An entry changed: whether the 8259 passes through may have changed too. */
  onEntry: () => void = () => {};
  // State, all of it saved.
  readonly state: IOAPICState = powerOnState();

  reset(): void {
    const { lines } = this.state;
    Object.assign(this.state, powerOnState(), { lines });
    this.onEntry();
  }

  save(): SavedSection {
    return IOAPIC.schema.save(this.state);
  }

  restore(section: SavedSection): void {
    IOAPIC.schema.restore(section, this.state);
    this.onEntry();
  }

  /** Whether input 0, where the 8259's INT leads, is open as an external interrupt. */
  get takesExternal(): boolean {
    const low = this.state.low[0]!;
    return (low & ENTRY_MASKED) === 0 && deliveryOf(low) === DELIVERY_EXTINT;
  }

  /** Input `pin`, 0–23; others do not exist. */
  setInput(pin: number, isAsserted: boolean): void {
    if (pin >= IO_APIC_PINS) return;
    const s = this.state;
    const bit = 1 << pin;
    const wasAsserted = (s.lines & bit) !== 0;
    if (wasAsserted === isAsserted) return;
    s.lines = (isAsserted ? s.lines | bit : s.lines & ~bit) >>> 0;
    // "Edge-sensitive interrupts signaled on a masked interrupt pin are ignored."
    if (isAsserted) this.#deliver(pin);
  }

  /** The local APIC ended the level-triggered interrupt `vector`. */
  endOfInterrupt(vector: number): void {
    const { low, lines } = this.state;
    for (let pin = 0; pin < IO_APIC_PINS; pin++) {
      const entry = low[pin]!;
      if ((entry & ENTRY_REMOTE_IRR) === 0 || (entry & ENTRY_VECTOR) !== vector) continue;
      low[pin] = entry & ~ENTRY_REMOTE_IRR;
      if (lines & (1 << pin)) this.#deliver(pin);
    }
  }

  /** A read of 32 bits in the register page. */
  read(offset: number): number {
    const register = offset & 0xff;
    if (register === IOREGSEL) return this.state.select;
    return register === IOWIN ? this.#readRegister(this.state.select) : 0;
  }

  write(offset: number, value: number): void {
    const register = offset & 0xff;
    if (register === IOREGSEL) this.state.select = value & 0xff;
    else if (register === IOWIN) this.#writeRegister(this.state.select, value >>> 0);
  }

  #readRegister(register: number): number {
    const s = this.state;
    if (register === REGISTER_ID || register === REGISTER_ARBITRATION) return s.id;
    if (register === REGISTER_VERSION) return VERSION_VALUE;
    const pin = (register - REGISTER_ENTRIES) >> 1;
    if (pin < 0 || pin >= IO_APIC_PINS) return 0;
    return register & 1 ? s.high[pin]! : s.low[pin]!;
  }

  #writeRegister(register: number, value: number): void {
    const s = this.state;
    if (register === REGISTER_ID) {
      s.id = value & 0x0f00_0000;
      return;
    }
    const pin = (register - REGISTER_ENTRIES) >> 1;
    if (pin < 0 || pin >= IO_APIC_PINS) return;
    if (register & 1) {
      s.high[pin] = value & 0xff00_0000;
      return;
    }
    // An entry that becomes edge-triggered forgets that it waited for an EOI.
    const keep = value & ENTRY_LEVEL ? s.low[pin]! & ENTRY_REMOTE_IRR : 0;
    s.low[pin] = (value & ENTRY_WRITABLE) | keep;
    if (value & ENTRY_LEVEL && s.lines & (1 << pin)) this.#deliver(pin);
    this.onEntry();
  }

  #deliver(pin: number): void {
    const { low, high } = this.state;
    const entry = low[pin]!;
    if (entry & ENTRY_MASKED) return;
    const mode = deliveryOf(entry);
    const isFixed = mode === DELIVERY_FIXED || mode === DELIVERY_LOWEST;
    if (!isFixed && mode !== DELIVERY_NMI) return; // ExtINT is pulled; SMI and INIT lead nowhere.
    const isLevel = isFixed && (entry & ENTRY_LEVEL) !== 0;
    if (isLevel) {
      if (entry & ENTRY_REMOTE_IRR) return;
      low[pin] = entry | ENTRY_REMOTE_IRR;
    }
    this.onMessage({
      kind: isFixed ? 'vector' : 'nmi',
      vector: entry & ENTRY_VECTOR,
      isLevel,
      destination: high[pin]! >>> 24,
      isLogical: (entry & ENTRY_LOGICAL) !== 0,
    });
  }
}

function deliveryOf(entry: number): number {
  return (entry >> 8) & 7;
}
