// 16550A UART. National Semiconductor PC16550D data sheet (June 1995), sections 8.0 "Registers" and
// 8.4 "FIFO Control Register"; that OUT 2 opens the interrupt is the PC's wiring: IBM PC AT
// Technical Reference, "Serial/Parallel Adapter".
//
// A byte is transmitted at once: THRE falls and rises within the write, and its
// interrupt comes anew.

import { type IRQLine, NO_LINE, type VirtualClock, type VirtualTimer } from '../base/device.ts';
import { defineState, type Savable, type SavedSection } from './saved-state.ts';

const RBR_THR = 0;
const IER = 1;
const IIR_FCR = 2;
const LCR = 3;
const MCR = 4;
const LSR = 5;
const MSR = 6;
const SCR = 7;

const IER_RECEIVED = 0x01;
const IER_THR_EMPTY = 0x02;
const IER_LINE_STATUS = 0x04;
const IER_MODEM_STATUS = 0x08;
const IIR_NONE = 0x01;
const IIR_MODEM_STATUS = 0x00;
const IIR_THR_EMPTY = 0x02;
const IIR_RECEIVED = 0x04;
const IIR_LINE_STATUS = 0x06;
const IIR_TIMEOUT = 0x0c;
const IIR_FIFOS_ENABLED = 0xc0;
const FCR_ENABLE = 0x01;
const FCR_RESET_RECEIVER = 0x02;
/** Bits 1 and 2 clear themselves; 4 and 5 are reserved. */
const FCR_KEPT = 0xc9;
const LCR_BREAK = 0x40;
const LCR_DLAB = 0x80;
const MCR_OUT2 = 0x08;
const MCR_LOOPBACK = 0x10;
const MCR_MASK = 0x1f;
const LSR_DATA_READY = 0x01;
const LSR_OVERRUN = 0x02;
const LSR_BREAK = 0x10;
const LSR_ERRORS = 0x1e;
const LSR_THR_EMPTY = 0x20;
const LSR_TRANSMITTER_EMPTY = 0x40;
const LSR_FIFO_ERROR = 0x80;
/** Modem inputs, MSR bits 7–4; the same four as changes in bits 3–0. */
const MSR_CTS = 0x10;
const MSR_DSR = 0x20;
const MSR_RI = 0x40;
const MSR_DCD = 0x80;
const MSR_TRAILING_RI = 0x04;
const FIFO_BYTES = 16;
const TRIGGER_BYTES = [1, 4, 8, 14] as const;
/** Input clock of the baud rate generator over 16, Hz. */
const BAUD_CLOCK_HZ = 115_200;
const NS_PER_SECOND = 1_000_000_000;
/** The FIFO time-out comes after four character times without a byte taken or received. */
const TIMEOUT_CHARACTERS = 4;

function powerOnState() {
  return {
    ier: 0,
    fcr: 0,
    lcr: 0,
    mcr: 0,
    /** Error bits of the line status (OE PE FE BI), which a read of LSR clears. */
    lineErrors: 0,
    msr: 0,
    scr: 0,
    divisor: 12,
    rxFIFO: [] as number[],
    /** The THRE interrupt waits. */
    isTHREPending: false,
    isTimeoutPending: false,
    timeoutNs: Number.POSITIVE_INFINITY,
  };
}

type UARTState = ReturnType<typeof powerOnState>;

export class UART16550 implements Savable {
  // Configuration.
  readonly #schema;
  // Wiring, set once by the machine.
  readonly #clock: VirtualClock;
  readonly #timer: VirtualTimer;
  irq: IRQLine = NO_LINE;
  /** A byte leaves the transmitter. */
  onByte: (value: number) => void = () => {};
  /** The receiver has room again. */
  onRoom: () => void = () => {};
  // State, all of it saved.
  readonly state: UARTState = powerOnState();

  /** @param name its name in a saved state, such as `serial0` */
  constructor(name: string, clock: VirtualClock) {
    this.#schema = defineState<UARTState>(name, 1, {
      ier: { id: 1, type: 'u8', since: 1 },
      fcr: { id: 2, type: 'u8', since: 1 },
      lcr: { id: 3, type: 'u8', since: 1 },
      mcr: { id: 4, type: 'u8', since: 1 },
      lineErrors: { id: 5, type: 'u8', since: 1 },
      msr: { id: 6, type: 'u8', since: 1 },
      scr: { id: 7, type: 'u8', since: 1 },
      divisor: { id: 8, type: 'u16', since: 1 },
      rxFIFO: { id: 9, type: 'u8', since: 1, maxLength: FIFO_BYTES },
      isTHREPending: { id: 10, type: 'boolean', since: 1 },
      isTimeoutPending: { id: 11, type: 'boolean', since: 1 },
      timeoutNs: { id: 12, type: 'time', since: 1 },
    });
    this.#clock = clock;
    this.#timer = clock.createTimer(() => this.#onTimeout());
    this.state.msr = MSR_CTS | MSR_DSR | MSR_DCD;
  }

  get schema() {
    return this.#schema;
  }

  /** MR pin; what is on the other end of the cable stays. */
  reset(): void {
    const { msr, scr, divisor } = this.state;
    Object.assign(this.state, powerOnState(), { msr: msr & 0xf0, scr, divisor });
    this.#timer.cancel();
    this.#update();
  }

  save(): SavedSection {
    return this.#schema.save(this.state);
  }

  restore(section: SavedSection): void {
    this.#schema.restore(section, this.state);
    this.#timer.arm(this.state.timeoutNs);
    this.#update();
  }

  /** How many bytes `receive` takes now without an overrun. */
  get receiveRoom(): number {
    const { rxFIFO, mcr } = this.state;
    if (mcr & MCR_LOOPBACK) return 0;
    return (this.#hasFIFOs ? FIFO_BYTES : 1) - rxFIFO.length;
  }

  /** A byte arrives on the line. In loopback mode the line is cut off, and it is lost. */
  receive(value: number): void {
    if (this.state.mcr & MCR_LOOPBACK) return;
    this.#takeByte(value & 0xff);
    this.#update();
  }

  /** A break condition arrives on the line. */
  receiveBreak(): void {
    if (this.state.mcr & MCR_LOOPBACK) return;
    this.#takeByte(0);
    this.state.lineErrors |= LSR_BREAK;
    this.#update();
  }

  read(offset: number): number {
    const s = this.state;
    switch (offset & 7) {
      case RBR_THR:
        return s.lcr & LCR_DLAB ? s.divisor & 0xff : this.#readByte();
      case IER:
        return s.lcr & LCR_DLAB ? s.divisor >> 8 : s.ier;
      case IIR_FCR:
        return this.#readIIR();
      case LCR:
        return s.lcr;
      case MCR:
        return s.mcr;
      case LSR: {
        const value = this.#lineStatus();
        s.lineErrors = 0;
        this.#update();
        return value;
      }
      case MSR: {
        const value = this.#modemStatus();
        s.msr &= 0xf0;
        this.#update();
        return value;
      }
      default:
        return s.scr;
    }
  }

  write(offset: number, value: number): void {
    const s = this.state;
    const byte = value & 0xff;
    switch (offset & 7) {
      case RBR_THR:
        if (s.lcr & LCR_DLAB) s.divisor = (s.divisor & 0xff00) | byte;
        else this.#transmit(byte);
        break;
      case IER:
        if (s.lcr & LCR_DLAB) {
          s.divisor = (s.divisor & 0xff) | (byte << 8);
          break;
        }
        // The holding register is empty: enabling its interrupt raises it at once.
        if (byte & IER_THR_EMPTY && !(s.ier & IER_THR_EMPTY)) s.isTHREPending = true;
        s.ier = byte & 0x0f;
        break;
      case IIR_FCR:
        this.#writeFCR(byte);
        break;
      case LCR:
        s.lcr = byte;
        break;
      case MCR:
        this.#writeMCR(byte & MCR_MASK);
        break;
      case SCR:
        s.scr = byte;
        break;
      default: // LSR and MSR: writes are for factory tests.
    }
    this.#update();
  }

  get #hasFIFOs(): boolean {
    return (this.state.fcr & FCR_ENABLE) !== 0;
  }

  #transmit(byte: number): void {
    const s = this.state;
    // THRE falls with the write and rises when the byte has gone to the shift register.
    s.isTHREPending = false;
    this.#update();
    if (s.mcr & MCR_LOOPBACK) this.#takeByte(byte);
    else if ((s.lcr & LCR_BREAK) === 0) this.onByte(byte);
    s.isTHREPending = true;
  }

  #takeByte(byte: number): void {
    const s = this.state;
    if (s.rxFIFO.length >= (this.#hasFIFOs ? FIFO_BYTES : 1)) {
      s.lineErrors |= LSR_OVERRUN;
      // Without FIFOs the new byte replaces the old one; a full FIFO keeps what it has.
      if (!this.#hasFIFOs) s.rxFIFO[0] = byte;
    } else {
      s.rxFIFO.push(byte);
    }
    this.#armTimeout();
  }

  #readByte(): number {
    const s = this.state;
    const byte = s.rxFIFO.shift();
    s.isTimeoutPending = false;
    this.#armTimeout();
    this.#update();
    if (byte === undefined) return 0;
    this.onRoom();
    return byte;
  }

  #armTimeout(): void {
    const s = this.state;
    s.timeoutNs =
      this.#hasFIFOs && s.rxFIFO.length > 0
        ? this.#clock.nowNs() + TIMEOUT_CHARACTERS * this.#characterNs()
        : Number.POSITIVE_INFINITY;
    this.#timer.arm(s.timeoutNs);
  }

  /** Time of a character: start bit, data, parity, stop bits. */
  #characterNs(): number {
    const { lcr, divisor } = this.state;
    const bits = 1 + 5 + (lcr & 3) + (lcr & 8 ? 1 : 0) + (lcr & 4 ? 2 : 1);
    return Math.ceil((bits * Math.max(1, divisor) * NS_PER_SECOND) / BAUD_CLOCK_HZ);
  }

  #onTimeout(): void {
    const s = this.state;
    s.timeoutNs = Number.POSITIVE_INFINITY;
    s.isTimeoutPending = s.rxFIFO.length > 0;
    this.#update();
  }

  #readIIR(): number {
    const s = this.state;
    const source = this.#interruptSource();
    if (source === IIR_THR_EMPTY) {
      s.isTHREPending = false;
      this.#update();
    }
    return source | (this.#hasFIFOs ? IIR_FIFOS_ENABLED : 0);
  }

  #writeFCR(byte: number): void {
    const s = this.state;
    const isToggle = ((byte ^ s.fcr) & FCR_ENABLE) !== 0;
    if (isToggle || byte & FCR_RESET_RECEIVER) {
      s.rxFIFO.length = 0;
      s.isTimeoutPending = false;
    }
    // "FCR0 must be a 1 when other FCR bits are written to or they will not be programmed."
    s.fcr = byte & FCR_ENABLE ? byte & FCR_KEPT : 0;
    this.#armTimeout();
    if (s.rxFIFO.length === 0) this.onRoom();
  }

  #writeMCR(byte: number): void {
    const s = this.state;
    const before = this.#modemStatus();
    s.mcr = byte;
    this.#noteModem(before);
    if ((byte & MCR_LOOPBACK) === 0) this.onRoom();
  }

  /** Modem inputs as the guest sees them, over the change bits. */
  #modemStatus(): number {
    const { mcr, msr } = this.state;
    if ((mcr & MCR_LOOPBACK) === 0) return msr;
    // Loopback: DTR feeds DSR, RTS feeds CTS, OUT 1 feeds RI, OUT 2 feeds DCD.
    return (
      (msr & 0x0f) |
      (mcr & 0x02 ? MSR_CTS : 0) |
      (mcr & 0x01 ? MSR_DSR : 0) |
      (mcr & 0x04 ? MSR_RI : 0) |
      (mcr & MCR_OUT2 ? MSR_DCD : 0)
    );
  }

  /** Sets the change bits for what differs from `before`. */
  #noteModem(before: number): void {
    const now = this.#modemStatus();
    const changed = (before ^ now) >> 4;
    // RI shows only its trailing edge.
    const ring = before & MSR_RI && !(now & MSR_RI) ? MSR_TRAILING_RI : 0;
    this.state.msr |= (changed & ~MSR_TRAILING_RI & 0x0f) | ring;
  }

  #lineStatus(): number {
    const s = this.state;
    return (
      (s.rxFIFO.length > 0 ? LSR_DATA_READY : 0) |
      s.lineErrors |
      LSR_THR_EMPTY |
      LSR_TRANSMITTER_EMPTY |
      (this.#hasFIFOs && s.lineErrors & (LSR_ERRORS & ~LSR_OVERRUN) ? LSR_FIFO_ERROR : 0)
    );
  }

  /** IIR bits of the interrupt of highest priority ("Interrupt Control Functions"). */
  #interruptSource(): number {
    const s = this.state;
    if (s.ier & IER_LINE_STATUS && s.lineErrors & LSR_ERRORS) return IIR_LINE_STATUS;
    if (s.ier & IER_RECEIVED) {
      const trigger = this.#hasFIFOs ? TRIGGER_BYTES[s.fcr >> 6]! : 1;
      if (s.rxFIFO.length >= trigger) return IIR_RECEIVED;
      if (s.isTimeoutPending) return IIR_TIMEOUT;
    }
    if (s.ier & IER_THR_EMPTY && s.isTHREPending) return IIR_THR_EMPTY;
    if (s.ier & IER_MODEM_STATUS && s.msr & 0x0f) return IIR_MODEM_STATUS;
    return IIR_NONE;
  }

  #update(): void {
    // In loopback mode the output pins are inactive, and OUT 2 with them.
    const isOpen = (this.state.mcr & (MCR_OUT2 | MCR_LOOPBACK)) === MCR_OUT2;
    if (isOpen && this.#interruptSource() !== IIR_NONE) this.irq.raise();
    else this.irq.lower();
  }
}
