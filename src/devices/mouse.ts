// PS/2 mouse that nobody moves: it answers every command, so that probing costs no timeout.
// IBM PS/2 Hardware Interface Technical Reference, "Mouse", "Commands".

import { defineState, type Savable, type SavedSection } from './saved-state.ts';

const ACK = 0xfa;
const SELF_TEST_PASSED = 0xaa;
const MOUSE_ID = 0x00;
/** A packet of a mouse at rest: bit 3 is always set, no movement. */
const IDLE_PACKET = [0x08, 0, 0];
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
  };
}

type MouseState = ReturnType<typeof powerOnState>;

export class PS2Mouse implements Savable {
  static readonly schema = defineState<MouseState>('mouse', 1, {
    isReporting: { id: 1, type: 'boolean', since: 1 },
    isRemote: { id: 2, type: 'boolean', since: 1 },
    isWrapping: { id: 3, type: 'boolean', since: 1 },
    isScaling2: { id: 4, type: 'boolean', since: 1 },
    resolution: { id: 5, type: 'u8', since: 1 },
    sampleRate: { id: 6, type: 'u8', since: 1 },
    pendingCommand: { id: 7, type: 'u8', since: 1 },
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

  /** A byte from the system; returns the answer. */
  receive(byte: number): readonly number[] {
    const s = this.state;
    if (s.isWrapping && !WRAP_ECHO_ENDS.includes(byte)) return [byte];
    const pending = s.pendingCommand;
    s.pendingCommand = 0;
    if (pending === 0xe8) s.resolution = byte & 3;
    if (pending === 0xf3) s.sampleRate = byte;
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
        return [ACK, ...IDLE_PACKET];
      case 0xec: // Leave wrap mode.
      case 0xee: // Enter it.
        s.isWrapping = byte === 0xee;
        return [ACK];
      case 0xf0: // Remote mode.
        s.isRemote = true;
        return [ACK];
      case 0xf2: // Identify.
        return [ACK, MOUSE_ID];
      case 0xf4: // Enable and disable reporting.
      case 0xf5:
        s.isReporting = byte === 0xf4;
        return [ACK];
      case 0xf6: // Defaults.
        this.reset();
        return [ACK];
      case 0xff: // Reset.
        this.reset();
        return [ACK, SELF_TEST_PASSED, MOUSE_ID];
      default:
        return [0xfe]; // Resend: an invalid command.
    }
  }

  #status(): number {
    const s = this.state;
    return (s.isRemote ? 0x40 : 0) | (s.isReporting ? 0x20 : 0) | (s.isScaling2 ? 0x10 : 0);
  }
}
