// CMOS memory with the MC146818 real-time clock. Motorola MC146818A data sheet, "Address Map",
// "Registers", "Update Cycle"; the bytes above 0x0e are the PC's: Ralf Brown's list, CMOS.LST.
//
// The calendar is a distance from virtual time, which stands still while the machine is paused.
// Flags of register C that nobody waits for are computed when the register is read.

import { type IRQLine, NO_LINE, type VirtualClock, type VirtualTimer } from '../base/device.ts';
import { defineState, type Savable, type SavedSection } from './saved-state.ts';
import { nsOfTicks, ticksOfNs } from './tick-rate.ts';

const SECONDS = 0x00;
const SECONDS_ALARM = 0x01;
const MINUTES = 0x02;
const MINUTES_ALARM = 0x03;
const HOURS = 0x04;
const HOURS_ALARM = 0x05;
const DAY_OF_WEEK = 0x06;
const DAY_OF_MONTH = 0x07;
const MONTH = 0x08;
const YEAR = 0x09;
const REGISTER_A = 0x0a;
const REGISTER_B = 0x0b;
const REGISTER_C = 0x0c;
const REGISTER_D = 0x0d;
const CENTURY = 0x32;

const A_UIP = 0x80;
const A_DIVIDER = 0x70;
const A_DIVIDER_32768 = 0x20;
const A_RATE = 0x0f;
const B_SET = 0x80;
const B_PIE = 0x40;
const B_AIE = 0x20;
const B_UIE = 0x10;
const B_BINARY = 0x04;
const B_24H = 0x02;
const C_IRQF = 0x80;
const C_PF = 0x40;
const C_AF = 0x20;
const C_UF = 0x10;
const D_VALID_RAM = 0x80;
const HOURS_PM = 0x80;
/** An alarm byte of 11xxxxxx matches always. */
const ALARM_ANY = 0xc0;

const RTC_HZ = 32_768;
const NS_PER_MS = 1_000_000;
const NS_PER_SECOND = 1_000_000_000;
const SECONDS_PER_DAY = 86_400;
/** UIP rises 244 µs before an update, which takes 1984 µs ("Update Cycle"). */
const UIP_NS = (244 + 1984) * 1000;
const SIZE = 128;
const INDEX_MASK = SIZE - 1;
const NMI_MASK = 0x80;
/** The calendar has two digits of century: years 0–9999; this is the last ms of 9999. */
const EPOCH_MS_MAX = 253_402_300_799_999;

function powerOnState() {
  return {
    index: 0,
    isNMIMasked: false,
    bytes: new Uint8Array(SIZE),
    /** Unix time at virtual time 0, ms; may lie before 1970, so shifted by EPOCH_BIAS_MS. */
    biasedEpochMs: 0,
    /** Virtual time up to which register C has been brought. */
    checkedNs: 0,
  };
}

/** 1 January of year 0: keeps the saved number positive. */
const EPOCH_BIAS_MS = 62_167_219_200_000;

type RTCState = ReturnType<typeof powerOnState>;

export class CMOSRTC implements Savable {
  static readonly schema = defineState<RTCState>('rtc', 1, {
    index: { id: 1, type: 'u8', since: 1 },
    isNMIMasked: { id: 2, type: 'boolean', since: 1 },
    bytes: { id: 3, type: 'u8', since: 1, length: SIZE },
    biasedEpochMs: { id: 4, type: 'count', since: 1 },
    checkedNs: { id: 5, type: 'time', since: 1 },
  });

  // Wiring, set once by the machine.
  readonly #clock: VirtualClock;
  readonly #timer: VirtualTimer;
  irq: IRQLine = NO_LINE;
  // State, all of it saved.
  readonly state: RTCState = powerOnState();

  /** @param epochMs Unix time now, in ms: what the calendar shows at power-on */
  constructor(clock: VirtualClock, epochMs: number) {
    this.#clock = clock;
    this.#timer = clock.createTimer(() => this.#onTimer());
    this.#setEpoch(epochMs);
    const { bytes } = this.state;
    bytes[REGISTER_A] = A_DIVIDER_32768 | 6; // 1024 Hz, as a PC's BIOS leaves it.
    bytes[REGISTER_B] = B_24H;
    bytes[REGISTER_D] = D_VALID_RAM;
  }

  /** The RESET pin: interrupts off; calendar and memory are kept by the battery. */
  reset(): void {
    const s = this.state;
    s.bytes[REGISTER_B]! &= ~(B_PIE | B_AIE | B_UIE);
    s.bytes[REGISTER_C] = 0;
    s.index = 0;
    s.isNMIMasked = false;
    s.checkedNs = this.#clock.nowNs();
    this.#update();
  }

  save(): SavedSection {
    return CMOSRTC.schema.save(this.state);
  }

  restore(section: SavedSection): void {
    CMOSRTC.schema.restore(section, this.state);
    this.#update();
  }

  /** Sets a byte of CMOS memory as firmware would at power-on; not for clock registers. */
  setByte(index: number, value: number): void {
    this.state.bytes[index & INDEX_MASK] = value;
  }

  /** Port 0x70 + `offset`: the index is write-only. */
  read(offset: number): number {
    return (offset & 1) === 0 ? 0xff : this.#readRegister(this.state.index);
  }

  write(offset: number, value: number): void {
    const byte = value & 0xff;
    if ((offset & 1) === 0) {
      this.state.index = byte & INDEX_MASK;
      this.state.isNMIMasked = (byte & NMI_MASK) !== 0;
      return;
    }
    this.#writeRegister(this.state.index, byte);
  }

  #readRegister(index: number): number {
    const { bytes } = this.state;
    if (isCalendar(index)) {
      if ((bytes[REGISTER_B]! & B_SET) === 0) this.#showCalendar();
      return bytes[index]!;
    }
    if (index === REGISTER_A) return bytes[index]! | (this.#isUpdating() ? A_UIP : 0);
    if (index !== REGISTER_C) return bytes[index]!;
    this.#check();
    const flags = bytes[REGISTER_C]!;
    bytes[REGISTER_C] = 0;
    this.#update();
    return flags;
  }

  #writeRegister(index: number, byte: number): void {
    const { bytes } = this.state;
    if (isCalendar(index)) {
      const isSet = (bytes[REGISTER_B]! & B_SET) !== 0;
      if (!isSet) this.#showCalendar();
      bytes[index] = byte;
      if (!isSet) this.#takeCalendar();
      return;
    }
    switch (index) {
      case REGISTER_A:
        this.#check();
        bytes[index] = byte & ~A_UIP;
        this.#update();
        break;
      case REGISTER_B: {
        this.#check();
        const before = bytes[index]!;
        if (byte & B_SET && !(before & B_SET)) this.#showCalendar();
        // "UIE is cleared by the SET bit going high."
        const value = byte & B_SET ? byte & ~B_UIE : byte;
        const isEnd = (before & B_SET) !== 0 && (byte & B_SET) === 0;
        if (isEnd) {
          bytes[index] = value;
          this.#takeCalendar();
        } else {
          bytes[index] = value;
        }
        this.#update();
        break;
      }
      case REGISTER_C:
      case REGISTER_D:
        break; // Read-only.
      default:
        bytes[index] = byte;
    }
  }

  #epochMs(): number {
    return this.state.biasedEpochMs - EPOCH_BIAS_MS + this.#clock.nowNs() / NS_PER_MS;
  }

  /** Makes the calendar show `epochMs` now, kept in whole ms and inside years 0–9999. */
  #setEpoch(epochMs: number): void {
    const bounded = Math.min(EPOCH_MS_MAX, Math.max(-EPOCH_BIAS_MS, epochMs));
    const base = Math.floor(bounded - this.#clock.nowNs() / NS_PER_MS) + EPOCH_BIAS_MS;
    this.state.biasedEpochMs = Number.isFinite(base) ? Math.max(0, base) : EPOCH_BIAS_MS;
    this.state.checkedNs = this.#clock.nowNs();
  }

  /** ns of virtual time from the last change of the seconds. */
  #nsIntoSecond(): number {
    const nowNs = this.#clock.nowNs();
    const shiftNs = (this.state.biasedEpochMs % 1000) * NS_PER_MS;
    return (nowNs + shiftNs) % NS_PER_SECOND;
  }

  #isRunning(): boolean {
    return (this.state.bytes[REGISTER_A]! & A_DIVIDER) === A_DIVIDER_32768;
  }

  #isUpdating(): boolean {
    if ((this.state.bytes[REGISTER_B]! & B_SET) !== 0 || !this.#isRunning()) return false;
    return NS_PER_SECOND - this.#nsIntoSecond() <= UIP_NS;
  }

  /** Writes the time into the calendar bytes, in the format that register B asks for. */
  #showCalendar(): void {
    const { bytes } = this.state;
    const date = new Date(Math.min(EPOCH_MS_MAX, Math.floor(this.#epochMs())));
    const year = date.getUTCFullYear();
    bytes[SECONDS] = this.#encode(date.getUTCSeconds());
    bytes[MINUTES] = this.#encode(date.getUTCMinutes());
    const hours = date.getUTCHours();
    bytes[HOURS] =
      (bytes[REGISTER_B]! & B_24H) !== 0
        ? this.#encode(hours)
        : this.#encode(hours % 12 === 0 ? 12 : hours % 12) | (hours >= 12 ? HOURS_PM : 0);
    bytes[DAY_OF_WEEK] = this.#encode(date.getUTCDay() + 1);
    bytes[DAY_OF_MONTH] = this.#encode(date.getUTCDate());
    bytes[MONTH] = this.#encode(date.getUTCMonth() + 1);
    bytes[YEAR] = this.#encode(((year % 100) + 100) % 100);
    bytes[CENTURY] = this.#encode(Math.floor(year / 100) & 0xff);
  }

  /** Sets the clock from the calendar bytes, whatever they hold. */
  #takeCalendar(): void {
    const { bytes } = this.state;
    const year = this.#decode(bytes[CENTURY]!) * 100 + this.#decode(bytes[YEAR]!);
    const date = new Date(0);
    date.setUTCFullYear(year, this.#decode(bytes[MONTH]!) - 1, this.#decode(bytes[DAY_OF_MONTH]!));
    date.setUTCHours(
      this.#decodeHours(bytes[HOURS]!),
      this.#decode(bytes[MINUTES]!),
      this.#decode(bytes[SECONDS]!),
    );
    this.#setEpoch(date.getTime());
  }

  #decodeHours(byte: number): number {
    if ((this.state.bytes[REGISTER_B]! & B_24H) !== 0) return this.#decode(byte);
    return (this.#decode(byte & ~HOURS_PM) % 12) + (byte & HOURS_PM ? 12 : 0);
  }

  #encode(value: number): number {
    if ((this.state.bytes[REGISTER_B]! & B_BINARY) !== 0) return value;
    return (Math.floor(value / 10) << 4) | (value % 10);
  }

  #decode(byte: number): number {
    return (this.state.bytes[REGISTER_B]! & B_BINARY) !== 0
      ? byte
      : (byte >> 4) * 10 + (byte & 0xf);
  }

  /** Ticks of 32768 Hz between two periodic interrupts, or 0 ("Periodic Interrupt Selection"). */
  #periodTicks(): number {
    const rate = this.state.bytes[REGISTER_A]! & A_RATE;
    if (rate === 0 || !this.#isRunning()) return 0;
    return 1 << ((rate <= 2 ? rate + 7 : rate) - 1);
  }

  /** Sets the flags of register C for what happened since the last look. */
  #check(): void {
    const s = this.state;
    const nowNs = this.#clock.nowNs();
    const fromNs = Math.min(s.checkedNs, nowNs);
    s.checkedNs = nowNs;
    const period = this.#periodTicks();
    if (period !== 0) {
      const periods = Math.floor(ticksOfNs(nowNs, RTC_HZ) / period);
      if (periods !== Math.floor(ticksOfNs(fromNs, RTC_HZ) / period)) this.#flag(C_PF);
    }
    if ((s.bytes[REGISTER_B]! & B_SET) !== 0 || !this.#isRunning()) return;
    const seconds = this.#secondMark(nowNs) - this.#secondMark(fromNs);
    if (seconds <= 0) return;
    this.#flag(C_UF);
    if (this.#alarmWithin(Math.min(SECONDS_PER_DAY, seconds))) this.#flag(C_AF);
  }

  /** Number of the calendar second at virtual time `ns`. */
  #secondMark(ns: number): number {
    return Math.floor((ns + (this.state.biasedEpochMs % 1000) * NS_PER_MS) / NS_PER_SECOND);
  }

  #flag(bit: number): void {
    this.state.bytes[REGISTER_C]! |= bit;
  }

  /** Whether the alarm time was one of the last `seconds` second marks, up to the present one. */
  #alarmWithin(seconds: number): boolean {
    const { bytes } = this.state;
    const match = (alarm: number, value: number, isHours: boolean) =>
      (alarm & ALARM_ANY) === ALARM_ANY ||
      (isHours ? this.#decodeHours(alarm) : this.#decode(alarm)) === value;
    const nowSeconds = Math.floor(this.#epochMs() / 1000);
    for (let back = 0; back < seconds; back++) {
      const second = (((nowSeconds - back) % SECONDS_PER_DAY) + SECONDS_PER_DAY) % SECONDS_PER_DAY;
      if (
        match(bytes[SECONDS_ALARM]!, second % 60, false) &&
        match(bytes[MINUTES_ALARM]!, Math.floor(second / 60) % 60, false) &&
        match(bytes[HOURS_ALARM]!, Math.floor(second / 3600), true)
      )
        return true;
    }
    return false;
  }

  #onTimer(): void {
    this.#check();
    this.#update();
  }

  /** Brings the interrupt line and the timer in accord with the registers. */
  #update(): void {
    const { bytes } = this.state;
    // PF, AF and UF lie at the same bits as PIE, AIE and UIE.
    const isPending = (bytes[REGISTER_C]! & bytes[REGISTER_B]! & (C_PF | C_AF | C_UF)) !== 0;
    if (isPending) {
      bytes[REGISTER_C]! |= C_IRQF;
      this.irq.raise();
    } else {
      bytes[REGISTER_C]! &= ~C_IRQF;
      this.irq.lower();
    }
    this.#arm();
  }

  #arm(): void {
    const enabled = this.state.bytes[REGISTER_B]!;
    const nowNs = this.#clock.nowNs();
    let deadline = Number.POSITIVE_INFINITY;
    const period = this.#periodTicks();
    if (enabled & B_PIE && period !== 0) {
      const periods = Math.floor(ticksOfNs(nowNs, RTC_HZ) / period);
      deadline = nsOfTicks((periods + 1) * period, RTC_HZ);
    }
    if (enabled & (B_AIE | B_UIE) && (enabled & B_SET) === 0 && this.#isRunning())
      deadline = Math.min(deadline, nowNs + NS_PER_SECOND - this.#nsIntoSecond());
    this.#timer.arm(deadline);
  }
}

function isCalendar(index: number): boolean {
  switch (index) {
    case SECONDS:
    case MINUTES:
    case HOURS:
    case DAY_OF_WEEK:
    case DAY_OF_MONTH:
    case MONTH:
    case YEAR:
    case CENTURY:
      return true;
    default:
      return false;
  }
}
