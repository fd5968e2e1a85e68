// Local APIC of the one processor, as the P6 family has it (version 0x14, six local vectors).
// Intel SDM volume 3A, chapter "Advanced Programmable Interrupt Controller (APIC)"; x2APIC and the
// TSC-deadline timer are not there.

import type { VirtualClock, VirtualTimer } from '../base/device.ts';
import { defineState, type Savable, type SavedSection } from './saved-state.ts';

/** Register offsets: table "Local APIC Register Address Map". */
const ID = 0x020;
const VERSION = 0x030;
const TPR = 0x080;
const APR = 0x090;
const PPR = 0x0a0;
const EOI = 0x0b0;
const LDR = 0x0d0;
const DFR = 0x0e0;
const SVR = 0x0f0;
const ISR = 0x100;
const TMR = 0x180;
const IRR = 0x200;
const ESR = 0x280;
const ICR_LOW = 0x300;
const ICR_HIGH = 0x310;
const LVT = 0x320;
const LVT_LAST = 0x370;
const INITIAL_COUNT = 0x380;
const CURRENT_COUNT = 0x390;
const DIVIDE = 0x3e0;

const VERSION_VALUE = 0x0005_0014;
const LVT_COUNT = 6;
const LVT_TIMER = 0;
const LVT_LINT0 = 3;
const LVT_ERROR = 5;
const LVT_MASKED = 0x1_0000;
const LVT_PERIODIC = 0x2_0000;
const LVT_REMOTE_IRR = 0x4000;
const LVT_LEVEL = 0x8000;
/** Writable bits: timer, thermal, performance, LINT0, LINT1, error. */
const LVT_MASKS = [0x3_00ff, 0x1_07ff, 0x1_07ff, 0x1_a7ff, 0x1_a7ff, 0x1_00ff] as const;
const DELIVERY_FIXED = 0;
const DELIVERY_LOWEST = 1;
const DELIVERY_NMI = 4;
const DELIVERY_EXTINT = 7;
const SVR_ENABLE = 0x100;
const SVR_MASK = 0x1ff;
const ESR_SEND_ILLEGAL_VECTOR = 0x20;
const ESR_RECEIVED_ILLEGAL_VECTOR = 0x40;
const ESR_ILLEGAL_REGISTER = 0x80;
const ICR_LOGICAL = 0x800;
const ICR_MASK = 0xcfff;
const BROADCAST = 0xff;
/** IA32_APIC_BASE. */
const BASE_BSP = 0x100;
const BASE_ENABLE = 0x800;
const BASE_ADDRESS = 0xffff_f000;
export const APIC_BASE_DEFAULT = 0xfee0_0000;
export const APIC_BYTES = 0x1000;
/** Bus clock of the timer, 100 MHz: ns of one tick before the divider. */
const TICK_NS = 10;
const NEVER = Number.POSITIVE_INFINITY;

function powerOnState() {
  return {
    base: (APIC_BASE_DEFAULT | BASE_ENABLE | BASE_BSP) >>> 0,
    id: 0,
    tpr: 0,
    ldr: 0,
    dfr: 0xffff_ffff,
    svr: 0xff,
    isr: new Uint32Array(8),
    tmr: new Uint32Array(8),
    irr: new Uint32Array(8),
    /** Errors gathered, and as last latched by a write of ESR. */
    errors: 0,
    esr: 0,
    icrLow: 0,
    icrHigh: 0,
    lvt: new Uint32Array(LVT_COUNT).fill(LVT_MASKED),
    /** Levels of the LINT0 and LINT1 pins. */
    lint: 0,
    initialCount: 0,
    divide: 0,
    /** Virtual time at which the timer was loaded, or Infinity while it does not run. */
    timerStartNs: NEVER,
  };
}

type APICState = ReturnType<typeof powerOnState>;

const u32 = (id: number) => ({ id, type: 'u32', since: 1 }) as const;
const vector256 = (id: number) => ({ id, type: 'u32', since: 1, length: 8 }) as const;

export class LocalAPIC implements Savable {
  static readonly schema = defineState<APICState>('apic', 1, {
    base: u32(1),
    id: u32(2),
    tpr: u32(3),
    ldr: u32(4),
    dfr: u32(5),
    svr: u32(6),
    isr: vector256(7),
    tmr: vector256(8),
    irr: vector256(9),
    errors: u32(10),
    esr: u32(11),
    icrLow: u32(12),
    icrHigh: u32(13),
    lvt: { id: 14, type: 'u32', since: 1, length: LVT_COUNT },
    lint: u32(15),
    initialCount: u32(16),
    divide: u32(17),
    timerStartNs: { id: 18, type: 'time', since: 1 },
  });

  // Wiring, set once by the machine.
  readonly #clock: VirtualClock;
  readonly #timer: VirtualTimer;
  /** Something may have become deliverable. */
  onRequest: () => void = () => {};
  onNMI: () => void = () => {};
  /** EOI of a level-triggered interrupt, for the I/O APIC. */
  onEOI: (vector: number) => void = () => {};
  /** The register page moved, or went away. */
  onBase: (gpa: number, isEnabled: boolean) => void = () => {};
  // State, all of it saved.
  readonly state: APICState = powerOnState();

  constructor(clock: VirtualClock) {
    this.#clock = clock;
    this.#timer = clock.createTimer(() => this.#onTimer());
  }

  reset(): void {
    const { lint } = this.state;
    Object.assign(this.state, powerOnState(), { lint });
    this.#timer.cancel();
    this.onBase(APIC_BASE_DEFAULT, true);
  }

  save(): SavedSection {
    return LocalAPIC.schema.save(this.state);
  }

  restore(section: SavedSection): void {
    LocalAPIC.schema.restore(section, this.state);
    this.onBase(this.baseGpa, this.isEnabled);
    this.#armTimer();
    this.onRequest();
  }

  /**
   * Virtual wire mode, as firmware leaves it: enabled, LINT0 an external interrupt, LINT1 the NMI.
   * Intel MultiProcessor Specification 1.4, section 3.6.2.2 "Virtual Wire Mode".
   */
  enableVirtualWire(): void {
    this.write(SVR, SVR_ENABLE | 0x0f);
    this.write(LVT + LVT_LINT0 * 0x10, DELIVERY_EXTINT << 8);
    this.write(LVT + (LVT_LINT0 + 1) * 0x10, DELIVERY_NMI << 8);
  }

  /** Whether IA32_APIC_BASE enables it. Without, the processor has INTR and NMI pins instead. */
  get isEnabled(): boolean {
    return (this.state.base & BASE_ENABLE) !== 0;
  }

  get baseGpa(): number {
    return (this.state.base & BASE_ADDRESS) >>> 0;
  }

  /** IA32_APIC_BASE. */
  readBase(): number {
    return this.state.base;
  }

  writeBase(value: number): void {
    const s = this.state;
    const base = ((value & (BASE_ADDRESS | BASE_ENABLE)) | BASE_BSP) >>> 0;
    if (base === s.base) return;
    const wasEnabled = this.isEnabled;
    if (wasEnabled && !(base & BASE_ENABLE)) {
      // "Local APIC State After It Has Been Disabled": all is lost, as after a power-up.
      const { lint } = s;
      Object.assign(s, powerOnState(), { lint });
      this.#timer.cancel();
    }
    s.base = base;
    this.onBase(this.baseGpa, this.isEnabled);
    this.onRequest();
  }

  /** Task priority as CR8 shows it, 0–15. */
  readTaskPriority(): number {
    return this.state.tpr >> 4;
  }

  writeTaskPriority(value: number): void {
    this.state.tpr = (value & 0xf) << 4;
    this.onRequest();
  }

  /** Whether a vector of sufficient priority waits. */
  get hasInterrupt(): boolean {
    return this.#isOn && highestVector(this.state.irr) >> 4 > this.#processorPriority() >> 4;
  }

  /** Whether LINT0 passes the INTR of the 8259 on: virtual wire, or no APIC at all. */
  get takesExternal(): boolean {
    if (!this.isEnabled) return true;
    const lvt = this.state.lvt[LVT_LINT0]!;
    return (lvt & LVT_MASKED) === 0 && ((lvt >> 8) & 7) === DELIVERY_EXTINT;
  }

  /** Takes the vector of highest priority; the spurious one if there is none any more. */
  acknowledge(): number {
    const s = this.state;
    const vector = highestVector(s.irr);
    if (!this.hasInterrupt) return s.svr & 0xff;
    clearVector(s.irr, vector);
    setVector(s.isr, vector);
    return vector;
  }

  /** An interrupt message arrives (from the I/O APIC or itself). */
  accept(vector: number, isLevel: boolean): void {
    if (!this.#isOn) return;
    if (vector < 16) {
      this.#error(ESR_RECEIVED_ILLEGAL_VECTOR);
      return;
    }
    setVector(this.state.irr, vector);
    if (isLevel) setVector(this.state.tmr, vector);
    else clearVector(this.state.tmr, vector);
    this.onRequest();
  }

  /** Whether a message for `destination` is for this APIC ("Determining IPI Destination"). */
  isDestination(destination: number, isLogical: boolean): boolean {
    if (!isLogical) return destination === this.state.id >>> 24 || destination === BROADCAST;
    const logical = this.state.ldr >>> 24;
    if (this.state.dfr >>> 28 === 0xf) return (logical & destination) !== 0;
    // Cluster model: cluster in the high half, members in the low.
    const cluster = destination >> 4;
    return (cluster === 0xf || cluster === logical >> 4) && (logical & destination & 0xf) !== 0;
  }

  /** Level of pin LINT0 or LINT1. */
  setLINT(pin: 0 | 1, isHigh: boolean): void {
    const s = this.state;
    const bit = 1 << pin;
    const wasHigh = (s.lint & bit) !== 0;
    s.lint = isHigh ? s.lint | bit : s.lint & ~bit;
    if (isHigh && !wasHigh) this.#signal(LVT_LINT0 + pin);
    if (pin === 0) this.onRequest();
  }

  /** A register read of 32 bits; others of the page read as zero. */
  read(offset: number): number {
    const s = this.state;
    const register = offset & 0xff0;
    if (offset & 0xf) return 0;
    switch (register) {
      case ID:
        return s.id;
      case VERSION:
        return VERSION_VALUE;
      case TPR:
        return s.tpr;
      case APR:
        return 0;
      case PPR:
        return this.#processorPriority();
      case LDR:
        return s.ldr;
      case DFR:
        return s.dfr;
      case SVR:
        return s.svr;
      case ESR:
        return s.esr;
      case ICR_LOW:
        return s.icrLow;
      case ICR_HIGH:
        return s.icrHigh;
      case INITIAL_COUNT:
        return s.initialCount;
      case CURRENT_COUNT:
        return this.#currentCount();
      case DIVIDE:
        return s.divide;
      case EOI:
        return 0;
      default:
        if (register >= LVT && register <= LVT_LAST) return s.lvt[(register - LVT) >> 4]!;
        if (register >= ISR && register < TMR) return s.isr[(register - ISR) >> 4]!;
        if (register >= TMR && register < IRR) return s.tmr[(register - TMR) >> 4]!;
        if (register >= IRR && register < ESR) return s.irr[(register - IRR) >> 4]!;
        this.#error(ESR_ILLEGAL_REGISTER);
        return 0;
    }
  }

  write(offset: number, value: number): void {
    const s = this.state;
    const register = offset & 0xff0;
    const word = value >>> 0;
    if (offset & 0xf) return;
    switch (register) {
      case ID:
        s.id = (word & 0x0f00_0000) >>> 0;
        break;
      case TPR:
        s.tpr = word & 0xff;
        this.onRequest();
        break;
      case EOI:
        this.#endOfInterrupt();
        break;
      case LDR:
        s.ldr = (word & 0xff00_0000) >>> 0;
        break;
      case DFR:
        s.dfr = (word | 0x0fff_ffff) >>> 0;
        break;
      case SVR:
        s.svr = word & SVR_MASK;
        // While it is disabled by software, every local vector is masked.
        if ((word & SVR_ENABLE) === 0)
          for (let i = 0; i < LVT_COUNT; i++) s.lvt[i] = s.lvt[i]! | LVT_MASKED;
        this.#armTimer();
        this.onRequest();
        break;
      case ESR:
        s.esr = s.errors;
        s.errors = 0;
        break;
      case ICR_LOW:
        s.icrLow = word & (ICR_MASK | 0xc_0000) & ~0x1000; // Never pending: delivery is at once.
        this.#sendIPI();
        break;
      case ICR_HIGH:
        s.icrHigh = (word & 0xff00_0000) >>> 0;
        break;
      case INITIAL_COUNT:
        this.#startTimer(word);
        break;
      case DIVIDE:
        this.#writeDivide(word & 0xb);
        break;
      default:
        if (register >= LVT && register <= LVT_LAST) this.#writeLVT((register - LVT) >> 4, word);
        else if (!isReadOnly(register)) this.#error(ESR_ILLEGAL_REGISTER);
    }
  }

  get #isOn(): boolean {
    return this.isEnabled && (this.state.svr & SVR_ENABLE) !== 0;
  }

  /** "Task and Processor Priorities": the class in service, or the task's, if that is higher. */
  #processorPriority(): number {
    const { tpr, isr } = this.state;
    const serviced = highestVector(isr) & 0xf0;
    return tpr >> 4 >= serviced >> 4 ? tpr : serviced;
  }

  #endOfInterrupt(): void {
    const s = this.state;
    const vector = highestVector(s.isr);
    if (vector === 0) return;
    clearVector(s.isr, vector);
    if (hasVector(s.tmr, vector)) {
      for (let pin = 0; pin < 2; pin++) this.#endLINT(LVT_LINT0 + pin, vector);
      this.onEOI(vector);
    }
    this.onRequest();
  }

  #endLINT(index: number, vector: number): void {
    const s = this.state;
    const lvt = s.lvt[index]!;
    if ((lvt & LVT_REMOTE_IRR) === 0 || (lvt & 0xff) !== vector) return;
    s.lvt[index] = lvt & ~LVT_REMOTE_IRR;
    if (s.lint & (1 << (index - LVT_LINT0))) this.#signal(index);
  }

  #error(bit: number): void {
    const s = this.state;
    const isNew = (s.errors & bit) === 0;
    s.errors |= bit;
    if (isNew) this.#signal(LVT_ERROR);
  }

  /** Delivers a local interrupt as its vector entry says. */
  #signal(index: number): void {
    const s = this.state;
    const lvt = s.lvt[index]!;
    if (lvt & LVT_MASKED || !this.isEnabled) return;
    const mode = (lvt >> 8) & 7;
    if (mode === DELIVERY_NMI) this.onNMI();
    else if (mode === DELIVERY_FIXED) {
      const vector = lvt & 0xff;
      const isLevel = (lvt & LVT_LEVEL) !== 0;
      if (vector < 16) {
        // An illegal vector in the error entry itself must not signal for ever.
        s.errors |= ESR_RECEIVED_ILLEGAL_VECTOR;
        return;
      }
      if (isLevel) s.lvt[index] = lvt | LVT_REMOTE_IRR;
      this.accept(vector, isLevel);
    }
  }

  #writeLVT(index: number, word: number): void {
    const s = this.state;
    const keep = s.lvt[index]! & LVT_REMOTE_IRR;
    s.lvt[index] = (word & LVT_MASKS[index]!) | keep | (s.svr & SVR_ENABLE ? 0 : LVT_MASKED);
    if (index === LVT_TIMER) this.#armTimer();
    // A level that waits behind the mask comes through when it is lifted.
    const isLINT = index === LVT_LINT0 || index === LVT_LINT0 + 1;
    if (isLINT && s.lvt[index]! & LVT_LEVEL && s.lint & (1 << (index - LVT_LINT0)))
      this.#signal(index);
    this.onRequest();
  }

  #sendIPI(): void {
    const { icrLow, icrHigh } = this.state;
    const shorthand = (icrLow >> 18) & 3;
    const isForSelf =
      shorthand === 1 ||
      shorthand === 2 ||
      (shorthand === 0 && this.isDestination(icrHigh >>> 24, (icrLow & ICR_LOGICAL) !== 0));
    if (!isForSelf) return; // There is no other processor.
    const mode = (icrLow >> 8) & 7;
    const vector = icrLow & 0xff;
    if (mode === DELIVERY_FIXED || mode === DELIVERY_LOWEST) {
      if (vector < 16) this.#error(ESR_SEND_ILLEGAL_VECTOR);
      else this.accept(vector, false);
    } else if (mode === DELIVERY_NMI) this.onNMI();
    // SMI, INIT and start-up to oneself are not valid, and ignored.
  }

  /** Timer ticks are 1, 2, 4 … 128 bus clocks long ("Divide Configuration Register"). */
  #tickNs(): number {
    const { divide } = this.state;
    const code = (divide & 3) | ((divide & 8) >> 1);
    return TICK_NS * (code === 7 ? 1 : 2 << code);
  }

  #elapsedTicks(nowNs: number): number {
    const elapsed = nowNs - this.state.timerStartNs;
    return elapsed > 0 ? Math.floor(elapsed / this.#tickNs()) : 0;
  }

  get #isPeriodic(): boolean {
    return (this.state.lvt[LVT_TIMER]! & LVT_PERIODIC) !== 0;
  }

  #currentCount(): number {
    const { initialCount, timerStartNs } = this.state;
    if (initialCount === 0 || timerStartNs === NEVER) return 0;
    const ticks = this.#elapsedTicks(this.#clock.nowNs());
    if (this.#isPeriodic) return initialCount - (ticks % initialCount);
    return Math.max(0, initialCount - ticks);
  }

  #startTimer(count: number): void {
    const s = this.state;
    s.initialCount = count;
    const nowNs = this.#clock.nowNs();
    s.timerStartNs = count === 0 ? NEVER : nowNs;
    // What was due before is replaced, not signalled.
    this.#timer.cancel();
    this.#armTimer(nowNs);
  }

  /** A new divider keeps the count that has been reached. */
  #writeDivide(value: number): void {
    const s = this.state;
    const left = this.#currentCount();
    s.divide = value;
    if (s.timerStartNs !== NEVER) {
      s.timerStartNs = Math.max(0, this.#clock.nowNs() - (s.initialCount - left) * this.#tickNs());
    }
    this.#armTimer();
  }

  /** @param nowNs one reading for all: a short count may pass between two of a busy host's */
  #armTimer(nowNs = this.#clock.nowNs()): void {
    const s = this.state;
    const isIdle = s.timerStartNs === NEVER || (s.lvt[LVT_TIMER]! & LVT_MASKED) !== 0;
    if (isIdle) {
      this.#timer.cancel();
      return;
    }
    const periods = Math.floor(this.#elapsedTicks(nowNs) / s.initialCount);
    if (!this.#isPeriodic && periods >= 1) {
      // Expiries behind a mask are lost; one that nobody has come to fire yet is not.
      const isDue = this.#timer.deadlineNs <= nowNs;
      this.#timer.cancel();
      if (isDue) this.#signal(LVT_TIMER);
      return;
    }
    this.#timer.arm(s.timerStartNs + (periods + 1) * s.initialCount * this.#tickNs());
  }

  #onTimer(): void {
    this.#signal(LVT_TIMER);
    this.#armTimer();
  }
}

function isReadOnly(register: number): boolean {
  return (
    register === VERSION ||
    register === APR ||
    register === PPR ||
    register === CURRENT_COUNT ||
    (register >= ISR && register < ESR)
  );
}

/** The highest vector that is set, or 0 (which is never a vector of the APIC). */
function highestVector(bits: Uint32Array): number {
  for (let word = 7; word >= 0; word--) {
    const value = bits[word]!;
    if (value !== 0) return word * 32 + 31 - Math.clz32(value);
  }
  return 0;
}

function hasVector(bits: Uint32Array, vector: number): boolean {
  return (bits[vector >> 5]! & (1 << (vector & 31))) !== 0;
}

function setVector(bits: Uint32Array, vector: number): void {
  bits[vector >> 5]! |= 1 << (vector & 31);
}

function clearVector(bits: Uint32Array, vector: number): void {
  bits[vector >> 5]! &= ~(1 << (vector & 31));
}
