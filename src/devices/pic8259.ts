// 8259A programmable interrupt controller, and the two of them in a PC.
// Intel 8259A data sheet (231468-003): "Initialization Command Words", "Operation Command Words";
// edge/level control registers: 82371AB (PIIX4) data sheet, section 4.2.6 "ELCR".

import { type IRQLine, NO_LINE } from '../base/device.ts';
import { defineState, type Savable, type SavedSection } from './saved-state.ts';

const ICW1_NEEDS_ICW4 = 0x01;
const ICW1_SINGLE = 0x02;
const ICW1_LEVEL = 0x08;
/** D4 of a write to the even port: ICW1; D3 without it: OCW3; neither: OCW2. */
const ICW1 = 0x10;
const OCW3 = 0x08;
const ICW4_AUTO_EOI = 0x02;
const ICW4_SPECIAL_FULLY_NESTED = 0x10;
const OCW3_READ_ISR = 0x01;
const OCW3_READ = 0x02;
const OCW3_POLL = 0x04;
const OCW3_SPECIAL_MASK = 0x20;
const OCW3_SET_SPECIAL_MASK = 0x40;
const POLL_INTERRUPT = 0x80;
/** The input of the master that the slave's INT leads to, and the slave's identity. */
const CASCADE_INPUT = 2;
/** A default interrupt, when the request went away before its acknowledge. */
const SPURIOUS_INPUT = 7;
/** ELCR bits that can be set: IRQ 0, 1, 2, 8 and 13 are edge for ever. */
const ELCR_MASKS = [0xf8, 0xde] as const;

function powerOnState() {
  return {
    irr: 0,
    isr: 0,
    imr: 0,
    /** Input levels now. */
    lines: 0,
    elcr: 0,
    vectorBase: 0,
    /** Next initialization word that the odd port expects: 2–4, or 0. */
    nextICW: 0,
    icw1: 0,
    icw3: 0,
    icw4: 0,
    /** The input of lowest priority. */
    lowestInput: 7,
    isReadingISR: false,
    isPolling: false,
    isSpecialMask: false,
    rotatesOnAutoEOI: false,
  };
}

type PICState = ReturnType<typeof powerOnState>;

const u8 = (id: number) => ({ id, type: 'u8', since: 1 }) as const;
const flag = (id: number) => ({ id, type: 'boolean', since: 1 }) as const;

/** One controller: eight inputs, one output. */
export class PIC8259 implements Savable {
  // Configuration.
  readonly #isMaster: boolean;
  readonly #schema;
  // Wiring, set once by the machine.
  /** INT: raised while a request of sufficient priority waits. */
  int: IRQLine = NO_LINE;
  // State, all of it saved.
  readonly state: PICState = powerOnState();

  /** @param name its name in a saved state, such as `pic0` */
  constructor(name: string, isMaster: boolean) {
    this.#isMaster = isMaster;
    this.#schema = defineState<PICState>(name, 1, {
      irr: u8(1),
      isr: u8(2),
      imr: u8(3),
      lines: u8(4),
      elcr: u8(5),
      vectorBase: u8(6),
      nextICW: u8(7),
      icw1: u8(8),
      icw3: u8(9),
      icw4: u8(10),
      lowestInput: u8(11),
      isReadingISR: flag(12),
      isPolling: flag(13),
      isSpecialMask: flag(14),
      rotatesOnAutoEOI: flag(15),
    });
  }

  get schema() {
    return this.#schema;
  }

  /** Power-on state; the levels of the inputs stay, as they belong to others. */
  reset(): void {
    const { lines } = this.state;
    Object.assign(this.state, powerOnState(), { lines });
    this.#update();
  }

  save(): SavedSection {
    return this.#schema.save(this.state);
  }

  restore(section: SavedSection): void {
    this.#schema.restore(section, this.state);
    this.#update();
  }

  /** Level of input `input` (0–7). */
  setInput(input: number, isHigh: boolean): void {
    const s = this.state;
    const bit = 1 << (input & 7);
    const wasHigh = (s.lines & bit) !== 0;
    if (isHigh) {
      if (!wasHigh || this.#isLevel(bit)) s.irr |= bit;
      s.lines |= bit;
    } else {
      // A request must stay until its acknowledge ("Edge and Level Triggered Modes").
      s.irr &= ~bit;
      s.lines &= ~bit;
    }
    this.#update();
  }

  /** Whether INT is high. */
  get hasInterrupt(): boolean {
    return this.#pendingInput() >= 0;
  }

  /** The input that an acknowledge would take, or -1. */
  get pendingInput(): number {
    return this.#pendingInput();
  }

  /** INTA sequence: takes the request of highest priority and returns its vector. */
  acknowledge(): number {
    return this.state.vectorBase | this.acknowledgeInput();
  }

  /** As `acknowledge`, but the input's number: 7 when there is no request any more. */
  acknowledgeInput(): number {
    const input = this.#pendingInput();
    if (input < 0) return SPURIOUS_INPUT;
    const s = this.state;
    const bit = 1 << input;
    if (!this.#isLevel(bit)) s.irr &= ~bit;
    if (s.icw4 & ICW4_AUTO_EOI) {
      if (s.rotatesOnAutoEOI) s.lowestInput = input;
    } else {
      s.isr |= bit;
    }
    this.#update();
    return input;
  }

  /** Register at `offset` 0 (even port) or 1 (odd port). */
  read(offset: number): number {
    const s = this.state;
    if (s.isPolling) {
      s.isPolling = false;
      const isPending = this.#pendingInput() >= 0;
      return isPending ? POLL_INTERRUPT | this.acknowledgeInput() : 0;
    }
    if (offset & 1) return s.imr;
    return s.isReadingISR ? s.isr : s.irr;
  }

  write(offset: number, value: number): void {
    const byte = value & 0xff;
    if (offset & 1) this.#writeOdd(byte);
    else if (byte & ICW1) this.#initialize(byte);
    else if (byte & OCW3) this.#writeOCW3(byte);
    else this.#writeOCW2(byte);
    this.#update();
  }

  readELCR(): number {
    return this.state.elcr;
  }

  writeELCR(value: number): void {
    this.state.elcr = value & ELCR_MASKS[this.#isMaster ? 0 : 1];
    this.#update();
  }

  #isLevel(bit: number): boolean {
    return (this.state.elcr & bit) !== 0 || (this.state.icw1 & ICW1_LEVEL) !== 0;
  }

  #initialize(icw1: number): void {
    const s = this.state;
    // "Initialization Command Words 1 and 2", points a to f. ELCR is not part of the 8259A.
    const { lines, elcr, vectorBase } = s;
    Object.assign(s, powerOnState(), { lines, elcr, vectorBase, icw1, nextICW: 2 });
    s.irr = icw1 & ICW1_LEVEL ? lines : lines & elcr;
  }

  #writeOdd(byte: number): void {
    const s = this.state;
    switch (s.nextICW) {
      case 2:
        s.vectorBase = byte & 0xf8;
        s.nextICW = s.icw1 & ICW1_SINGLE ? (s.icw1 & ICW1_NEEDS_ICW4 ? 4 : 0) : 3;
        break;
      case 3:
        s.icw3 = byte;
        s.nextICW = s.icw1 & ICW1_NEEDS_ICW4 ? 4 : 0;
        break;
      case 4:
        s.icw4 = byte;
        s.nextICW = 0;
        break;
      default:
        s.imr = byte;
    }
  }

  #writeOCW3(byte: number): void {
    const s = this.state;
    if (byte & OCW3_SET_SPECIAL_MASK) s.isSpecialMask = (byte & OCW3_SPECIAL_MASK) !== 0;
    if (byte & OCW3_POLL) s.isPolling = true;
    else if (byte & OCW3_READ) s.isReadingISR = (byte & OCW3_READ_ISR) !== 0;
  }

  /** OCW2: R, SL, EOI in bits 7–5, a level in bits 2–0. */
  #writeOCW2(byte: number): void {
    const s = this.state;
    const level = byte & 7;
    switch (byte >> 5) {
      case 0: // Rotate in automatic EOI mode: clear.
        s.rotatesOnAutoEOI = false;
        break;
      case 1: // Non-specific EOI.
      case 5: {
        // Rotate on non-specific EOI.
        const input = this.#highest(s.isSpecialMask ? s.isr & ~s.imr : s.isr);
        if (input < 0) break;
        s.isr &= ~(1 << input);
        if (byte >> 5 === 5) s.lowestInput = input;
        break;
      }
      case 3: // Specific EOI.
        s.isr &= ~(1 << level);
        break;
      case 4: // Rotate in automatic EOI mode: set.
        s.rotatesOnAutoEOI = true;
        break;
      case 6: // Set priority.
        s.lowestInput = level;
        break;
      case 7: // Rotate on specific EOI.
        s.isr &= ~(1 << level);
        s.lowestInput = level;
        break;
      default: // 2: no operation.
    }
  }

  /** Input of highest priority among `bits`, or -1. */
  #highest(bits: number): number {
    if (bits === 0) return -1;
    for (let i = 1; i <= 8; i++) {
      const input = (this.state.lowestInput + i) & 7;
      if (bits & (1 << input)) return input;
    }
    return -1;
  }

  #pendingInput(): number {
    const s = this.state;
    if (s.nextICW !== 0) return -1;
    const requests = s.irr & ~s.imr;
    if (requests === 0) return -1;
    // Special mask mode "enables interrupts from all other levels (lower as well as higher)".
    if (s.isSpecialMask) return this.#highest(requests & ~s.isr);
    const request = this.#highest(requests);
    let serviced = s.isr;
    // Special fully nested mode: the slave in service may be interrupted by the slave.
    if (this.#isMaster && s.icw4 & ICW4_SPECIAL_FULLY_NESTED) serviced &= ~(1 << CASCADE_INPUT);
    const current = this.#highest(serviced);
    if (current < 0) return request;
    return this.#rank(request) < this.#rank(current) ? request : -1;
  }

  /** 0 for the input of highest priority … 7. */
  #rank(input: number): number {
    return (input - this.state.lowestInput - 1) & 7;
  }

  #update(): void {
    if (this.#pendingInput() >= 0) this.int.raise();
    else this.int.lower();
  }
}

/** Master and slave as a PC has them: IRQ 0–15, the slave on the master's input 2. */
export class PIC8259Pair {
  readonly master = new PIC8259('pic0', true);
  readonly slave = new PIC8259('pic1', false);

  constructor() {
    this.slave.int = {
      raise: () => this.master.setInput(CASCADE_INPUT, true),
      lower: () => this.master.setInput(CASCADE_INPUT, false),
    };
  }

  /** Level of ISA interrupt `irq`, 0–15; IRQ 2 does not exist. */
  setIRQ(irq: number, isHigh: boolean): void {
    if (irq === CASCADE_INPUT) return;
    if (irq < 8) this.master.setInput(irq, isHigh);
    else this.slave.setInput(irq - 8, isHigh);
  }

  get hasInterrupt(): boolean {
    return this.master.hasInterrupt;
  }

  /** Both INTA cycles: the vector comes from the slave if its input won. */
  acknowledge(): number {
    const wasCascade = this.master.pendingInput === CASCADE_INPUT;
    const vector = this.master.acknowledge();
    return wasCascade ? this.slave.acknowledge() : vector;
  }

  reset(): void {
    this.slave.reset();
    this.master.reset();
  }
}
