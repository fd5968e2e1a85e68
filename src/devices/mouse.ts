// PS/2 mouse, with a wheel for those who ask for it. IBM PS/2 Hardware Interface Technical
// Reference, "Mouse", "Commands" and "Data Report"; Microsoft, "Intellimouse", for the wheel: after
// sample rates of 200, 100 and 80 it identifies as 3, and its reports have a fourth byte.

import { defineState, type Savable, type SavedSection } from './saved-state.ts';

const ACK = 0xfa;
const SELF_TEST_PASSED = 0xaa;
const MOUSE_ID = 0x00;
const WHEEL_MOUSE_ID = 0x03;
const WHEEL_KNOCK = [200, 100, 80];
/** First byte of a report. */
const REPORT_ALWAYS = 0x08;
const REPORT_X_NEGATIVE = 0x10;
const REPORT_Y_NEGATIVE = 0x20;
const BUTTONS_MASK = 0x07;
/** Nine bits with sign in a report; what is more waits for the next one. */
const MOVE_MAX = 255;
const WHEEL_MAX = 7;
const WAITING_MAX = 0x7fff;
/** 2:1 scaling of small movements; larger ones double. */
const SCALED = [0, 1, 1, 3, 6, 9];
const WRAP_ECHO_ENDS = [0xec, 0xff];

function powerOnState() {
  return {
    isReporting: false,
    isRemote: false,
    isWrapping: false,
    isScaling2: false,
    resolution: 2,
    sampleRate: 100,
    /** Command whose data byte is awaited, or 0. */
    pendingCommand: 0,
    /** Bits 0–2: left, right, middle. */
    buttons: 0,
    /** Movement that no report has told yet, right and up; the wheel down. */
    x: 0,
    y: 0,
    wheel: 0,
    hasNews: false,
    hasWheel: false,
    /** The last sample rates that were set, oldest first. */
    rates: [] as number[],
  };
}

type MouseState = ReturnType<typeof powerOnState>;

export class PS2Mouse implements Savable {
  static readonly schema = defineState<MouseState>('mouse', 2, {
    isReporting: { id: 1, type: 'boolean', since: 1 },
    isRemote: { id: 2, type: 'boolean', since: 1 },
    isWrapping: { id: 3, type: 'boolean', since: 1 },
    isScaling2: { id: 4, type: 'boolean', since: 1 },
    resolution: { id: 5, type: 'u8', since: 1 },
    sampleRate: { id: 6, type: 'u8', since: 1 },
    pendingCommand: { id: 7, type: 'u8', since: 1 },
    buttons: { id: 8, type: 'u8', since: 2 },
    x: { id: 9, type: 'i32', since: 2 },
    y: { id: 10, type: 'i32', since: 2 },
    wheel: { id: 11, type: 'i32', since: 2 },
    hasNews: { id: 12, type: 'boolean', since: 2 },
    hasWheel: { id: 13, type: 'boolean', since: 2 },
    rates: { id: 14, type: 'u8', since: 2, maxLength: WHEEL_KNOCK.length },
  });

  readonly state: MouseState = powerOnState();

  reset(): void {
    Object.assign(this.state, powerOnState());
  }

  save(): SavedSection {
    return PS2Mouse.schema.save(this.state);
  }

  restore(section: SavedSection): void {
    PS2Mouse.schema.restore(section, this.state);
  }

  /**
   * The mouse moved, `dx` to the right and `dy` down, its wheel `dz` down (towards the user), and
   * these buttons are down now. It tells when the next report is taken.
   */
  move(dx: number, dy: number, dz: number, buttons: number): void {
    const s = this.state;
    if (!s.isReporting || s.isWrapping) {
      s.buttons = buttons & BUTTONS_MASK;
      return;
    }
    s.x = bounded(s.x + Math.trunc(dx), WAITING_MAX);
    s.y = bounded(s.y - Math.trunc(dy), WAITING_MAX);
    s.wheel = s.hasWheel ? bounded(s.wheel + Math.trunc(dz), WAITING_MAX) : 0;
    s.buttons = buttons & BUTTONS_MASK;
    s.hasNews = true;
  }

  /** Whether a report waits to be sent unasked. */
  get hasReport(): boolean {
    const s = this.state;
    return s.hasNews && s.isReporting && !s.isRemote && !s.isWrapping;
  }

  /** The next report: as much of the movement as fits. */
  takeReport(): readonly number[] {
    const s = this.state;
    const x = bounded(s.x, MOVE_MAX);
    const y = bounded(s.y, MOVE_MAX);
    const wheel = bounded(s.wheel, WHEEL_MAX);
    s.x -= x;
    s.y -= y;
    s.wheel -= wheel;
    s.hasNews = s.x !== 0 || s.y !== 0 || s.wheel !== 0;
    const isScaled = s.isScaling2 && !s.isRemote;
    const [outX, outY] = isScaled ? [scaled(x), scaled(y)] : [x, y];
    const signs = (outX < 0 ? REPORT_X_NEGATIVE : 0) | (outY < 0 ? REPORT_Y_NEGATIVE : 0);
    const report = [REPORT_ALWAYS | signs | s.buttons, outX & 0xff, outY & 0xff];
    return s.hasWheel ? [...report, wheel & 0xff] : report;
  }

  /** A byte from the system; returns the answer. */
  receive(byte: number): readonly number[] {
    const s = this.state;
    if (s.isWrapping && !WRAP_ECHO_ENDS.includes(byte)) return [byte];
    const pending = s.pendingCommand;
    s.pendingCommand = 0;
    if (pending === 0xe8) s.resolution = byte & 3;
    if (pending === 0xf3) this.#setSampleRate(byte);
    if (pending !== 0) return [ACK];
    switch (byte) {
      case 0xe6: // Scaling 1:1 and 2:1.
      case 0xe7:
        s.isScaling2 = byte === 0xe7;
        return [ACK];
      case 0xe8: // Set resolution, set sample rate: a data byte follows.
      case 0xf3:
        s.pendingCommand = byte;
        return [ACK];
      case 0xe9: // Status request.
        return [ACK, this.#status(), s.resolution, s.sampleRate];
      case 0xea: // Stream mode.
        s.isRemote = false;
        return [ACK];
      case 0xeb: // Read data.
        return [ACK, ...this.takeReport()];
      case 0xec: // Leave wrap mode.
      case 0xee: // Enter it.
        s.isWrapping = byte === 0xee;
        return [ACK];
      case 0xf0: // Remote mode.
        s.isRemote = true;
        return [ACK];
      case 0xf2: // Identify.
        return [ACK, s.hasWheel ? WHEEL_MOUSE_ID : MOUSE_ID];
      case 0xf4: // Enable and disable reporting.
      case 0xf5:
        s.isReporting = byte === 0xf4;
        this.#forgetMovement();
        return [ACK];
      case 0xf6: {
        // Defaults; what it identifies as stays.
        const { hasWheel, buttons } = s;
        this.reset();
        Object.assign(s, { hasWheel, buttons });
        return [ACK];
      }
      case 0xff: // Reset.
        this.reset();
        return [ACK, SELF_TEST_PASSED, MOUSE_ID];
      default:
        return [0xfe]; // Resend: an invalid command.
    }
  }

  #setSampleRate(rate: number): void {
    const s = this.state;
    s.sampleRate = rate;
    s.rates = [...s.rates, rate].slice(-WHEEL_KNOCK.length);
    if (WHEEL_KNOCK.every((each, i) => s.rates[i] === each)) s.hasWheel = true;
  }

  #forgetMovement(): void {
    Object.assign(this.state, { x: 0, y: 0, wheel: 0, hasNews: false });
  }

  /** "Status Request", byte 1: the right button is bit 0 there. */
  #status(): number {
    const s = this.state;
    const { buttons } = s;
    const pressed = (buttons & 2 ? 1 : 0) | (buttons & 4 ? 2 : 0) | (buttons & 1 ? 4 : 0);
    const modes = (s.isRemote ? 0x40 : 0) | (s.isReporting ? 0x20 : 0) | (s.isScaling2 ? 0x10 : 0);
    return modes | pressed;
  }
}

function bounded(value: number, max: number): number {
  return Math.max(-max, Math.min(max, value));
}

function scaled(value: number): number {
  const size = Math.abs(value);
  return bounded(Math.sign(value) * (SCALED[size] ?? 2 * size), MOVE_MAX);
}
