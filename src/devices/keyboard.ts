// PS/2 keyboard: the device at the other end of the 8042's first port.
// IBM PS/2 Hardware Interface Technical Reference, "Keyboard (101/102-Key)", "Commands from the
// System".

import { defineState, type Savable, type SavedSection } from './saved-state.ts';

const ACK = 0xfa;
const RESEND = 0xfe;
const SELF_TEST_PASSED = 0xaa;
const ID = [0xab, 0x83];
const COMMAND_LEDS = 0xed;
const COMMAND_ECHO = 0xee;
const COMMAND_SCANCODE_SET = 0xf0;
const COMMAND_IDENTIFY = 0xf2;
const COMMAND_TYPEMATIC = 0xf3;
const COMMAND_ENABLE = 0xf4;
const COMMAND_DISABLE = 0xf5;
const COMMAND_DEFAULTS = 0xf6;
const COMMAND_SET3_FIRST = 0xf7;
const COMMAND_SET3_LAST = 0xfd;
const COMMAND_RESEND = 0xfe;
const COMMAND_RESET = 0xff;

function powerOnState() {
  return {
    isScanning: true,
    scancodeSet: 2,
    leds: 0,
    typematic: 0x2b,
    /** Command whose data byte is awaited, or 0. */
    pendingCommand: 0,
    lastByte: 0,
  };
}

type KeyboardState = ReturnType<typeof powerOnState>;

export class PS2Keyboard implements Savable {
  static readonly schema = defineState<KeyboardState>('keyboard', 1, {
    isScanning: { id: 1, type: 'boolean', since: 1 },
    scancodeSet: { id: 2, type: 'u8', since: 1 },
    leds: { id: 3, type: 'u8', since: 1 },
    typematic: { id: 4, type: 'u8', since: 1 },
    pendingCommand: { id: 5, type: 'u8', since: 1 },
    lastByte: { id: 6, type: 'u8', since: 1 },
  });

  readonly state: KeyboardState = powerOnState();

  reset(): void {
    Object.assign(this.state, powerOnState());
  }

  save(): SavedSection {
    return PS2Keyboard.schema.save(this.state);
  }

  restore(section: SavedSection): void {
    PS2Keyboard.schema.restore(section, this.state);
  }

  /** A byte from the system; returns the answer. */
  receive(byte: number): readonly number[] {
    const answer = this.#answer(byte);
    if (answer.length > 0) this.state.lastByte = answer[answer.length - 1]!;
    return answer;
  }

  #answer(byte: number): readonly number[] {
    const s = this.state;
    const pending = s.pendingCommand;
    s.pendingCommand = 0;
    // A command in place of the data byte starts anew.
    if (pending !== 0 && byte < 0xed) return this.#takeData(pending, byte);
    switch (byte) {
      case COMMAND_LEDS:
      case COMMAND_SCANCODE_SET:
      case COMMAND_TYPEMATIC:
        s.pendingCommand = byte;
        return [ACK];
      case COMMAND_ECHO:
        return [COMMAND_ECHO];
      case COMMAND_IDENTIFY:
        return [ACK, ...ID];
      case COMMAND_ENABLE:
        s.isScanning = true;
        return [ACK];
      case COMMAND_DISABLE:
      case COMMAND_DEFAULTS:
        Object.assign(s, powerOnState(), { leds: s.leds, isScanning: byte === COMMAND_DEFAULTS });
        return [ACK];
      case COMMAND_RESEND:
        return [s.lastByte];
      case COMMAND_RESET:
        Object.assign(s, powerOnState());
        return [ACK, SELF_TEST_PASSED];
      default:
        // Key types of set 3 are accepted and have no effect on sets 1 and 2.
        return byte >= COMMAND_SET3_FIRST && byte <= COMMAND_SET3_LAST ? [ACK] : [RESEND];
    }
  }

  #takeData(command: number, byte: number): readonly number[] {
    const s = this.state;
    if (command === COMMAND_LEDS) s.leds = byte & 7;
    else if (command === COMMAND_TYPEMATIC) s.typematic = byte & 0x7f;
    else if (byte === 0) return [ACK, s.scancodeSet];
    else if (byte > 3) return [RESEND];
    else s.scancodeSet = byte;
    return [ACK];
  }
}
