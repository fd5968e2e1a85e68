// 8254 programmable interval timer: three counters. Intel 8254 data sheet (231164-005), "Mode
// Definitions", "Counter Latch Command", "Read-Back Command".
//
// Nothing ticks: a counter holds the tick at which it was loaded, and count and output follow from
// the time that has passed. Counter 0's output also leads to an interrupt: a timer is armed for its
// next rising edge, and a shorter low pulse before that edge is shown at the edge.

import { type IRQLine, NO_LINE, type VirtualClock, type VirtualTimer } from '../base/device.ts';
import { defineState, type Savable, type SavedSection } from './saved-state.ts';
import { nsOfTicks, ticksOfNs } from './tick-rate.ts';

/** Input clock of a PC's timer, Hz. */
export const PIT_HZ = 1_193_182;

const COUNTER_COUNT = 3;
const CONTROL = 3;
/** Control word: SC in bits 7–6, RW in 5–4, M in 3–1, BCD in 0. */
const READ_BACK = 3;
const RW_LATCH = 0;
const RW_LOW = 1;
const RW_HIGH = 2;
const READ_BACK_NO_COUNT = 0x20;
const READ_BACK_NO_STATUS = 0x10;
const STATUS_OUT = 0x80;
const STATUS_NULL_COUNT = 0x40;
const NEVER = Number.POSITIVE_INFINITY;

function powerOnState() {
  return {
    /** 0–5. */
    mode: [3, 3, 3],
    /** 1 low byte, 2 high byte, 3 low then high. */
    access: [3, 3, 3],
    isBCD: [0, 0, 0],
    gate: [1, 1, 0],
    /** Initial count, 1–65536; 0 before the first is written. */
    count: [0, 0, 0],
    /** A count that takes effect when the current period ends, or 0. */
    nextCount: [0, 0, 0],
    /** Tick at which that happens. */
    nextTick: [NEVER, NEVER, NEVER],
    /** Tick of the load; Infinity while not counting (before a trigger, or with the gate low). */
    startTick: [NEVER, NEVER, NEVER],
    /** Ticks counted before the gate stopped the counter (modes 0 and 4). */
    heldTicks: [0, 0, 0],
    /** Low byte of a count being written, or -1. */
    writtenLow: [-1, -1, -1],
    /** 1 when the next read of two gives the high byte. */
    readsHigh: [0, 0, 0],
    /** Latched count, or -1, and latched status byte, or -1. */
    latchedCount: [-1, -1, -1],
    latchedStatus: [-1, -1, -1],
  };
}

type PITState = ReturnType<typeof powerOnState>;

const u8x3 = (id: number) => ({ id, type: 'u8', since: 1, length: COUNTER_COUNT }) as const;
const i32x3 = (id: number) => ({ id, type: 'i32', since: 1, length: COUNTER_COUNT }) as const;
const time3 = (id: number) => ({ id, type: 'time', since: 1, length: COUNTER_COUNT }) as const;

export class PIT8254 implements Savable {
  static readonly schema = defineState<PITState>('pit', 1, {
    mode: u8x3(1),
    access: u8x3(2),
    isBCD: u8x3(3),
    gate: u8x3(4),
    count: i32x3(5),
    nextCount: i32x3(6),
    nextTick: time3(7),
    startTick: time3(8),
    heldTicks: time3(9),
    writtenLow: i32x3(10),
    readsHigh: u8x3(11),
    latchedCount: i32x3(12),
    latchedStatus: i32x3(13),
  });

  // Wiring, set once by the machine.
  readonly #clock: VirtualClock;
  readonly #timer: VirtualTimer;
  /** OUT 0, which is IRQ 0. */
  irq: IRQLine = NO_LINE;
  // State, all of it saved.
  readonly state: PITState = powerOnState();

  constructor(clock: VirtualClock) {
    this.#clock = clock;
    this.#timer = clock.createTimer(() => this.#onEdge());
  }

  reset(): void {
    Object.assign(this.state, powerOnState());
    this.#updateIRQ();
  }

  save(): SavedSection {
    return PIT8254.schema.save(this.state);
  }

  restore(section: SavedSection): void {
    PIT8254.schema.restore(section, this.state);
    this.#updateIRQ();
  }

  /** Port 0x40 + `offset`, 0–3; the control register cannot be read. */
  read(offset: number): number {
    const index = offset & 3;
    if (index === CONTROL) return 0xff;
    const s = this.state;
    const status = s.latchedStatus[index]!;
    if (status >= 0) {
      s.latchedStatus[index] = -1;
      return status;
    }
    const latched = s.latchedCount[index]!;
    const value = latched >= 0 ? latched : this.#currentCount(index);
    const access = s.access[index]!;
    const isHigh = access === RW_HIGH || (access !== RW_LOW && s.readsHigh[index] === 1);
    const isLastByte = access === RW_LOW || access === RW_HIGH || isHigh;
    if (access !== RW_LOW && access !== RW_HIGH) s.readsHigh[index] = isHigh ? 0 : 1;
    if (isLastByte) s.latchedCount[index] = -1;
    return isHigh ? value >> 8 : value & 0xff;
  }

  write(offset: number, value: number): void {
    const index = offset & 3;
    const byte = value & 0xff;
    if (index === CONTROL) this.#writeControl(byte);
    else this.#writeCount(index, byte);
  }

  /** Level of GATE `index`; a rising edge triggers modes 1, 2, 3 and 5. */
  setGate(index: number, isHigh: boolean): void {
    const s = this.state;
    const wasHigh = s.gate[index] === 1;
    if (wasHigh === isHigh) return;
    const now = this.#nowTick();
    this.#settle(index, now);
    const mode = s.mode[index]!;
    s.gate[index] = isHigh ? 1 : 0;
    if (isHigh) {
      if (mode === 0 || mode === 4) {
        if (s.count[index] !== 0) s.startTick[index] = now - s.heldTicks[index]!;
      } else {
        this.#load(index, now + 1);
      }
    } else if (mode === 0 || mode === 4) {
      if (s.startTick[index] !== NEVER) s.heldTicks[index] = Math.max(0, now - s.startTick[index]!);
      s.startTick[index] = NEVER;
    } else if (mode === 2 || mode === 3) {
      this.#takeNextCount(index);
      s.startTick[index] = NEVER;
    }
    if (index === 0) this.#updateIRQ();
  }

  /** Level of OUT `index` now. */
  out(index: number): boolean {
    const now = this.#nowTick();
    this.#settle(index, now);
    return this.#outAt(index, now);
  }

  #nowTick(): number {
    return ticksOfNs(this.#clock.nowNs(), PIT_HZ);
  }

  #writeControl(byte: number): void {
    const s = this.state;
    const select = byte >> 6;
    if (select === READ_BACK) {
      for (let i = 0; i < COUNTER_COUNT; i++) {
        if (!(byte & (2 << i))) continue;
        if (!(byte & READ_BACK_NO_COUNT)) this.#latchCount(i);
        if (!(byte & READ_BACK_NO_STATUS)) this.#latchStatus(i);
      }
      return;
    }
    const access = (byte >> 4) & 3;
    if (access === RW_LATCH) {
      this.#latchCount(select);
      return;
    }
    const mode = (byte >> 1) & 7;
    s.mode[select] = mode > 5 ? mode - 4 : mode; // Modes 2 and 3 ignore the top bit.
    s.access[select] = access;
    s.isBCD[select] = byte & 1;
    s.count[select] = 0;
    s.nextCount[select] = 0;
    s.nextTick[select] = NEVER;
    s.startTick[select] = NEVER;
    s.heldTicks[select] = 0;
    s.writtenLow[select] = -1;
    s.readsHigh[select] = 0;
    s.latchedCount[select] = -1;
    s.latchedStatus[select] = -1;
    if (select === 0) this.#updateIRQ();
  }

  #writeCount(index: number, byte: number): void {
    const s = this.state;
    const access = s.access[index]!;
    let value: number;
    if (access === RW_LOW) value = byte;
    else if (access === RW_HIGH) value = byte << 8;
    else if (s.writtenLow[index]! < 0) {
      s.writtenLow[index] = byte;
      if (s.mode[index] === 0) {
        // "Writing the first byte disables counting. OUT is set low immediately."
        s.count[index] = 0;
        s.startTick[index] = NEVER;
        s.heldTicks[index] = 0;
        if (index === 0) this.#updateIRQ();
      }
      return;
    } else {
      value = s.writtenLow[index]! | (byte << 8);
      s.writtenLow[index] = -1;
    }
    this.#startCount(index, countOf(value, s.isBCD[index] === 1));
    if (index === 0) this.#updateIRQ();
  }

  #startCount(index: number, count: number): void {
    const s = this.state;
    const now = this.#nowTick();
    this.#settle(index, now);
    const mode = s.mode[index]!;
    const isRunning = s.startTick[index] !== NEVER && s.count[index] !== 0;
    if (mode === 1 || mode === 5) {
      // Waits for a trigger; one that runs is not disturbed.
      if (isRunning) s.nextCount[index] = count;
      else s.count[index] = count;
      return;
    }
    if ((mode === 2 || mode === 3) && isRunning) {
      s.nextCount[index] = count;
      s.nextTick[index] = this.#periodEnd(index, now);
      return;
    }
    s.count[index] = count;
    s.nextCount[index] = 0;
    s.heldTicks[index] = 0;
    // Loaded by the next clock pulse.
    s.startTick[index] = s.gate[index] === 1 ? now + 1 : NEVER;
  }

  /** A trigger: the counter is loaded at `tick`. */
  #load(index: number, tick: number): void {
    const s = this.state;
    this.#takeNextCount(index);
    if (s.count[index] === 0) return;
    s.startTick[index] = tick;
  }

  #takeNextCount(index: number): void {
    const s = this.state;
    if (s.nextCount[index] !== 0) s.count[index] = s.nextCount[index]!;
    s.nextCount[index] = 0;
    s.nextTick[index] = NEVER;
  }

  /** Modes 2 and 3: tick at which a new count is loaded: end of the period, or of half of it. */
  #periodEnd(index: number, now: number): number {
    const s = this.state;
    const start = s.startTick[index]!;
    const count = s.count[index]!;
    if (now < start) return start;
    const into = (now - start) % count;
    const high = (count + 1) >> 1;
    if (s.mode[index] === 3 && into < high) return now - into + high;
    return now - into + count;
  }

  /** Brings a count that was written during a period into effect once that has ended. */
  #settle(index: number, now: number): void {
    const s = this.state;
    const at = s.nextTick[index]!;
    if (now < at) return;
    const count = s.nextCount[index]!;
    // In mode 3 the low half may come first: start so that its high half has just passed.
    const isLowHalf = s.mode[index] === 3 && this.#outAt(index, at - 1);
    s.startTick[index] = isLowHalf ? at - ((count + 1) >> 1) : at;
    this.#takeNextCount(index);
  }

  #latchCount(index: number): void {
    const s = this.state;
    if (s.latchedCount[index]! < 0) s.latchedCount[index] = this.#currentCount(index);
  }

  #latchStatus(index: number): void {
    const s = this.state;
    if (s.latchedStatus[index]! >= 0) return;
    const now = this.#nowTick();
    this.#settle(index, now);
    const start = s.startTick[index]!;
    const isNull =
      s.count[index] === 0 || s.nextCount[index] !== 0 || (start !== NEVER && now < start);
    s.latchedStatus[index] =
      (this.#outAt(index, now) ? STATUS_OUT : 0) |
      (isNull ? STATUS_NULL_COUNT : 0) |
      (s.access[index]! << 4) |
      (s.mode[index]! << 1) |
      s.isBCD[index]!;
  }

  /** What the counting element shows, 16 bits, in the counter's own number system. */
  #currentCount(index: number): number {
    const s = this.state;
    const now = this.#nowTick();
    this.#settle(index, now);
    const count = s.count[index]!;
    const start = s.startTick[index]!;
    const isBCD = s.isBCD[index] === 1;
    const modulus = isBCD ? 10_000 : 0x1_0000;
    const ticks = start === NEVER ? s.heldTicks[index]! : Math.max(0, now - start);
    let value = count;
    if (s.mode[index] === 2) value = count - (count === 0 ? 0 : ticks % count);
    else if (s.mode[index] === 3 && count !== 0) {
      const high = (count + 1) >> 1;
      const into = ticks % count;
      value = (count & ~1) - 2 * (into < high ? into : into - high);
    } else value = count - (ticks % modulus);
    value = ((value % modulus) + modulus) % modulus;
    return isBCD ? toBCD(value) : value;
  }

  /** Level of the output at `tick`, by the mode's timing diagram. */
  #outAt(index: number, tick: number): boolean {
    const s = this.state;
    const count = s.count[index]!;
    const start = s.startTick[index]!;
    const mode = s.mode[index]!;
    const isStopped = start === NEVER || count === 0;
    if (mode === 0) {
      const ticks = isStopped ? s.heldTicks[index]! : tick - start;
      return count !== 0 && ticks >= count;
    }
    if (isStopped) return !(mode === 4 && count !== 0 && s.heldTicks[index] === count);
    const ticks = tick - start;
    if (ticks < 0) return true;
    if (mode === 1) return ticks >= count;
    if (mode === 2) return count === 1 || ticks % count !== count - 1;
    if (mode === 3) return ticks % count < (count + 1) >> 1;
    return ticks !== count;
  }

  /** First tick after `now` at which the output rises, or Infinity. */
  #nextRise(index: number, now: number): number {
    const s = this.state;
    const count = s.count[index]!;
    const start = s.startTick[index]!;
    const mode = s.mode[index]!;
    if (start === NEVER || count === 0) return NEVER;
    if (mode === 2 || mode === 3) {
      const rise =
        now < start ? start + count : start + (Math.floor((now - start) / count) + 1) * count;
      return Math.min(rise, s.nextTick[index]! > now ? s.nextTick[index]! : rise);
    }
    const rise = mode >= 4 ? start + count + 1 : start + count;
    return rise > now ? rise : NEVER;
  }

  #onEdge(): void {
    const now = this.#nowTick();
    this.#settle(0, now);
    if (this.#outAt(0, now)) {
      // The low pulse ended just now (or, if time jumped, some pulses ago).
      this.irq.lower();
      this.irq.raise();
    }
    this.#arm(now);
  }

  #updateIRQ(): void {
    const now = this.#nowTick();
    this.#settle(0, now);
    if (this.#outAt(0, now)) this.irq.raise();
    else this.irq.lower();
    this.#arm(now);
  }

  #arm(now: number): void {
    const rise = this.#nextRise(0, now);
    if (rise === NEVER) this.#timer.cancel();
    else this.#timer.arm(nsOfTicks(rise, PIT_HZ));
  }
}

/** Initial count of a written value: zero stands for the largest. */
function countOf(value: number, isBCD: boolean): number {
  if (!isBCD) return value === 0 ? 0x1_0000 : value;
  const digits = [12, 8, 4, 0].map((shift) => (value >> shift) & 0xf);
  const count = digits.reduce((sum, digit) => sum * 10 + digit, 0);
  return count === 0 ? 10_000 : count;
}

function toBCD(value: number): number {
  const v = value % 10_000;
  return (
    (Math.floor(v / 1000) << 12) |
    (Math.floor((v / 100) % 10) << 8) |
    (Math.floor((v / 10) % 10) << 4) |
    (v % 10)
  );
}
