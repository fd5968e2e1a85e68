// ACPI power management of the PIIX4: PM1 events and control, the PM timer, general-purpose events,
// and the command port that turns ACPI on. 82371AB (PIIX4) data sheet, section
// 7.2 "Power Management I/O Space Registers"; ACPI specification 1.0b, chapter 4
// "ACPI Hardware Specification".

import { type IRQLine, NO_LINE, type VirtualClock, type VirtualTimer } from '../base/device.ts';
import { defineState, type Savable, type SavedSection } from './saved-state.ts';
import { nsOfTicks, ticksOfNs } from './tick-rate.ts';

/** Frequency of the PM timer, Hz. */
export const PM_TIMER_HZ = 3_579_545;
/** Size of the register block, bytes. */
export const ACPI_PM_BYTES = 0x40;
/** Offsets in the block. */
export const PM1_STATUS = 0x00;
export const PM1_ENABLE = 0x02;
export const PM1_CONTROL = 0x04;
export const PM_TIMER = 0x08;
export const GPE_STATUS = 0x0c;
export const GPE_ENABLE = 0x0e;
/** What the operating system writes to the command port. */
export const ACPI_ENABLE = 0xf1;
export const ACPI_DISABLE = 0xf0;
/** SLP_TYP of soft off (S5). */
export const SLEEP_TYPE_S5 = 0;

const STATUS_TIMER = 0x0001;
const STATUS_POWER_BUTTON = 0x0100;
const STATUS_MASK = 0x8d31;
const ENABLE_MASK = 0x0521;
const CONTROL_SCI = 0x0001;
const CONTROL_SLEEP_TYPE_SHIFT = 10;
const CONTROL_SLEEP = 0x2000;
const CONTROL_MASK = 0x1c07;
const TIMER_MASK = 0xff_ffff;
/** TMR_STS is set when the timer's top bit, 23, changes. */
const TOP_BIT_TICKS = 0x80_0000;

function powerOnState() {
  return {
    status: 0,
    enable: 0,
    control: 0,
    gpeStatus: 0,
    gpeEnable: 0,
    command: 0,
    commandData: 0,
    /** Changes of the timer's top bit that STATUS_TIMER has seen. */
    topChanges: 0,
  };
}

type PMState = ReturnType<typeof powerOnState>;

const u16 = (id: number) => ({ id, type: 'u16', since: 1 }) as const;

export class ACPIPM implements Savable {
  static readonly schema = defineState<PMState>('acpi-pm', 1, {
    status: u16(1),
    enable: u16(2),
    control: u16(3),
    gpeStatus: u16(4),
    gpeEnable: u16(5),
    command: u16(6),
    commandData: u16(7),
    topChanges: { id: 8, type: 'count', since: 1 },
  });

  // Wiring, set once by the machine.
  readonly #clock: VirtualClock;
  readonly #timer: VirtualTimer;
  sci: IRQLine = NO_LINE;
  /** The guest asks for a sleep state, by its SLP_TYP. */
  onSleep: (type: number) => void = () => {};
  // State, all of it saved.
  readonly state: PMState = powerOnState();

  constructor(clock: VirtualClock) {
    this.#clock = clock;
    this.#timer = clock.createTimer(() => this.#update());
  }

  reset(): void {
    Object.assign(this.state, powerOnState(), { topChanges: this.#topChanges() });
    this.#update();
  }

  save(): SavedSection {
    return ACPIPM.schema.save(this.state);
  }

  restore(section: SavedSection): void {
    ACPIPM.schema.restore(section, this.state);
    this.#update();
  }

  /** Firmware's part: ACPI mode from the start, for guests that are loaded without firmware. */
  enableACPI(): void {
    this.state.control |= CONTROL_SCI;
    this.#update();
  }

  pressPowerButton(): void {
    this.state.status |= STATUS_POWER_BUTTON;
    this.#update();
  }

  /** General-purpose event `index`, 0–15, happened. */
  raiseEvent(index: number): void {
    this.state.gpeStatus |= 1 << index;
    this.#update();
  }

  /** A byte of the block; the machine's bus joins wider reads, lowest byte first. */
  read(offset: number): number {
    const register = offset & ~1;
    const shift = (offset & 1) * 8;
    const s = this.state;
    switch (register) {
      case PM1_STATUS:
        this.#noteTimer();
        return (s.status >> shift) & 0xff;
      case PM1_ENABLE:
        return (s.enable >> shift) & 0xff;
      case PM1_CONTROL:
        return (s.control >> shift) & 0xff;
      case PM_TIMER:
        return (this.readTimer() >> shift) & 0xff;
      case PM_TIMER + 2:
        return (this.readTimer() >> (16 + shift)) & 0xff;
      case GPE_STATUS:
        return (s.gpeStatus >> shift) & 0xff;
      case GPE_ENABLE:
        return (s.gpeEnable >> shift) & 0xff;
      default:
        return 0;
    }
  }

  /** The whole 24-bit timer, as a read of 32 bits gives it. */
  readTimer(): number {
    return ticksOfNs(this.#clock.nowNs(), PM_TIMER_HZ) % (TIMER_MASK + 1);
  }

  write(offset: number, value: number): void {
    const register = offset & ~1;
    const shift = (offset & 1) * 8;
    const byte = (value & 0xff) << shift;
    const keep = 0xff00 >> shift;
    const s = this.state;
    switch (register) {
      case PM1_STATUS:
        this.#noteTimer();
        s.status &= ~(byte & STATUS_MASK); // Write one to clear.
        break;
      case PM1_ENABLE:
        s.enable = ((s.enable & keep) | byte) & ENABLE_MASK;
        break;
      case PM1_CONTROL:
        s.control = ((s.control & keep) | byte) & CONTROL_MASK;
        if (byte & CONTROL_SLEEP) this.onSleep((s.control >> CONTROL_SLEEP_TYPE_SHIFT) & 7);
        break;
      case GPE_STATUS:
        s.gpeStatus &= ~byte;
        break;
      case GPE_ENABLE:
        s.gpeEnable = (s.gpeEnable & keep) | byte;
        break;
      default: // The timer is read-only; the rest is not there.
    }
    this.#update();
  }

  /** Advanced power management ports 0xb2 (offset 0, command) and 0xb3 (offset 1, data). */
  readCommand(offset: number): number {
    return offset & 1 ? this.state.commandData : this.state.command;
  }

  writeCommand(offset: number, value: number): void {
    const s = this.state;
    if (offset & 1) {
      s.commandData = value & 0xff;
      return;
    }
    s.command = value & 0xff;
    // The SMI handler of a real board does this.
    if (s.command === ACPI_ENABLE) s.control |= CONTROL_SCI;
    if (s.command === ACPI_DISABLE) s.control &= ~CONTROL_SCI;
    this.#update();
  }

  #topChanges(): number {
    return Math.floor(ticksOfNs(this.#clock.nowNs(), PM_TIMER_HZ) / TOP_BIT_TICKS);
  }

  #noteTimer(): void {
    const changes = this.#topChanges();
    if (changes !== this.state.topChanges) this.state.status |= STATUS_TIMER;
    this.state.topChanges = changes;
  }

  #update(): void {
    const s = this.state;
    this.#noteTimer();
    const isPending = (s.status & s.enable) !== 0 || (s.gpeStatus & s.gpeEnable) !== 0;
    if (isPending && s.control & CONTROL_SCI) this.sci.raise();
    else this.sci.lower();
    if (s.enable & STATUS_TIMER && !(s.status & STATUS_TIMER))
      this.#timer.arm(nsOfTicks((s.topChanges + 1) * TOP_BIT_TICKS, PM_TIMER_HZ));
    else this.#timer.cancel();
  }
}
