// 8042 keyboard controller with its keyboard and mouse ports, the A20 line and the reset pulse.
// IBM PC AT Technical Reference (6280070), "Keyboard Controller"; the commands of the second port:
// IBM PS/2 Hardware Interface Technical Reference, "Keyboard and Auxiliary Device Controller".

import { type IRQLine, NO_LINE } from '../base/device.ts';
import { PS2Keyboard } from './keyboard.ts';
import { PS2Mouse } from './mouse.ts';
import { defineState, type Savable, type SavedSection } from './saved-state.ts';
import { RELEASE_PREFIX, translateScancode } from './scancode-translation.ts';

const STATUS_OUTPUT_FULL = 0x01;
const STATUS_SYSTEM = 0x04;
const STATUS_COMMAND = 0x08;
const STATUS_UNLOCKED = 0x10;
const STATUS_AUX = 0x20;
/** Command byte. */
const MODE_KEYBOARD_IRQ = 0x01;
const MODE_AUX_IRQ = 0x02;
const MODE_SYSTEM = 0x04;
const MODE_KEYBOARD_OFF = 0x10;
const MODE_AUX_OFF = 0x20;
const MODE_TRANSLATE = 0x40;
/** Output port. */
const OUT_NOT_RESET = 0x01;
const OUT_A20 = 0x02;
const OUT_KEYBOARD_IRQ = 0x10;
const OUT_AUX_IRQ = 0x20;
const OUT_ONES = 0xcc;
/** Input port: keyboard not inhibited, no manufacturing jumper. */
const INPUT_PORT = 0xb0;
const SELF_TEST_PASSED = 0x55;
const PORT_TEST_PASSED = 0x00;
const NO_PASSWORD = 0xf1;
/** A waiting byte: its value, and from where. */
const FROM_KEYBOARD = 0x100;
const FROM_AUX = 0x200;
const QUEUE_BYTES_MAX = 256;

function powerOnState() {
  return {
    /** Bytes that wait for the output buffer, with FROM_ bits; the first is in it. */
    queue: [] as number[],
    mode: MODE_SYSTEM | MODE_KEYBOARD_OFF | MODE_AUX_OFF,
    outputPort: OUT_ONES | OUT_NOT_RESET | OUT_A20,
    ram: new Uint8Array(32),
    /** Command whose data byte is awaited on port 0x60, or 0. */
    pendingCommand: 0,
    /** Whether the last write was to port 0x64. */
    wasCommand: false,
    /** A release prefix was swallowed by the translation. */
    isRelease: false,
  };
}

type ControllerState = ReturnType<typeof powerOnState>;

export class KeyboardController implements Savable {
  static readonly schema = defineState<ControllerState>('i8042', 1, {
    queue: { id: 1, type: 'u16', since: 1, maxLength: QUEUE_BYTES_MAX },
    mode: { id: 2, type: 'u8', since: 1 },
    outputPort: { id: 3, type: 'u8', since: 1 },
    ram: { id: 4, type: 'u8', since: 1, length: 32 },
    pendingCommand: { id: 5, type: 'u8', since: 1 },
    wasCommand: { id: 6, type: 'boolean', since: 1 },
    isRelease: { id: 7, type: 'boolean', since: 1 },
  });

  // Parts with a state of their own.
  readonly keyboard = new PS2Keyboard();
  readonly mouse = new PS2Mouse();
  // Wiring, set once by the machine.
  keyboardIRQ: IRQLine = NO_LINE;
  auxIRQ: IRQLine = NO_LINE;
  onA20: (isEnabled: boolean) => void = () => {};
  onReset: () => void = () => {};
  // State, all of it saved.
  readonly state: ControllerState = powerOnState();

  reset(): void {
    Object.assign(this.state, powerOnState());
    this.keyboard.reset();
    this.mouse.reset();
    this.#update();
    this.onA20(this.isA20Enabled);
  }

  save(): SavedSection {
    return KeyboardController.schema.save(this.state);
  }

  restore(section: SavedSection): void {
    KeyboardController.schema.restore(section, this.state);
    this.#update();
    this.onA20(this.isA20Enabled);
  }

  get isA20Enabled(): boolean {
    return (this.state.outputPort & OUT_A20) !== 0;
  }

  /**
   * Bytes of keys, in scan code set 2, as a keyboard sends them. They are dropped while the guest
   * has turned scanning off or does not read.
   */
  sendKeys(bytes: readonly number[]): void {
    if (!this.keyboard.state.isScanning) return;
    this.#queueDevice(bytes, FROM_KEYBOARD);
  }

  /** The mouse moved, right and down, its wheel down, with these buttons pressed (bits 0–2). */
  moveMouse(dx: number, dy: number, dz: number, buttons: number): void {
    this.mouse.move(dx, dy, dz, buttons);
    this.#pumpMouse();
  }

  /** Offset 0 is port 0x60, offset 4 port 0x64. */
  read(offset: number): number {
    return (offset & 4) === 0 ? this.#readData() : this.#status();
  }

  write(offset: number, value: number): void {
    const byte = value & 0xff;
    this.state.wasCommand = (offset & 4) !== 0;
    if ((offset & 4) !== 0) this.#command(byte);
    else this.#writeData(byte);
    this.#update();
    this.#pumpMouse();
  }

  #status(): number {
    const s = this.state;
    const first = s.queue[0];
    return (
      STATUS_UNLOCKED |
      (first === undefined ? 0 : STATUS_OUTPUT_FULL) |
      (first !== undefined && first & FROM_AUX ? STATUS_AUX : 0) |
      (s.mode & MODE_SYSTEM ? STATUS_SYSTEM : 0) |
      (s.wasCommand ? STATUS_COMMAND : 0)
    );
  }

  #readData(): number {
    const s = this.state;
    const first = s.queue.shift();
    if (first === undefined) return 0;
    // The line falls with the read, and rises anew for the next byte.
    this.keyboardIRQ.lower();
    this.auxIRQ.lower();
    this.#update();
    this.#pumpMouse();
    return first & 0xff;
  }

  #command(byte: number): void {
    const s = this.state;
    if (byte >= 0xf0) {
      // Pulse the output bits that are zero; only bit 0, the processor's reset, is wired.
      if ((byte & 1) === 0) this.onReset();
      return;
    }
    if (byte >= 0x20 && byte < 0x40) {
      this.#reply(byte === 0x20 ? s.mode : s.ram[byte & 0x1f]!);
      return;
    }
    if (byte >= 0x60 && byte < 0x80) {
      s.pendingCommand = byte;
      return;
    }
    switch (byte) {
      case 0xa4: // Is a password set?
        this.#reply(NO_PASSWORD);
        return;
      case 0xa7: // Auxiliary port off and on.
        s.mode |= MODE_AUX_OFF;
        return;
      case 0xa8:
        s.mode &= ~MODE_AUX_OFF;
        return;
      case 0xa9: // Test of the auxiliary port.
      case 0xab: // Test of the keyboard port.
        this.#reply(PORT_TEST_PASSED);
        return;
      case 0xaa: // Self test.
        s.mode |= MODE_SYSTEM;
        this.#reply(SELF_TEST_PASSED);
        return;
      case 0xad: // Keyboard off and on.
        s.mode |= MODE_KEYBOARD_OFF;
        return;
      case 0xae:
        s.mode &= ~MODE_KEYBOARD_OFF;
        return;
      case 0xc0:
        this.#reply(INPUT_PORT);
        return;
      case 0xd0:
        this.#reply(this.#outputPort());
        return;
      case 0xd1: // Write output port, keyboard buffer, auxiliary buffer; send to the mouse.
      case 0xd2:
      case 0xd3:
      case 0xd4:
        s.pendingCommand = byte;
        return;
      case 0xdd: // A20 off and on, as some chip sets have it.
        this.#writeOutputPort(s.outputPort & ~OUT_A20);
        return;
      case 0xdf:
        this.#writeOutputPort(s.outputPort | OUT_A20);
        return;
      case 0xe0: // Test inputs: clock and data lines are idle.
        this.#reply(0);
        return;
      default: // Unknown commands do nothing.
    }
  }

  #writeData(byte: number): void {
    const s = this.state;
    const command = s.pendingCommand;
    s.pendingCommand = 0;
    switch (command) {
      case 0:
        // Sending to the keyboard turns its clock on.
        s.mode &= ~MODE_KEYBOARD_OFF;
        this.#queueDevice(this.keyboard.receive(byte), FROM_KEYBOARD);
        break;
      case 0x60:
        s.mode = byte;
        break;
      case 0xd1:
        this.#writeOutputPort(byte);
        break;
      case 0xd2:
        this.#queue([byte | FROM_KEYBOARD]);
        break;
      case 0xd3:
        this.#queue([byte | FROM_AUX]);
        break;
      case 0xd4:
        s.mode &= ~MODE_AUX_OFF;
        this.#queueDevice(this.mouse.receive(byte), FROM_AUX);
        break;
      default:
        s.ram[command & 0x1f] = byte;
    }
  }

  /** One report at a time: what the guest has no time to read is added up in the mouse. */
  #pumpMouse(): void {
    const s = this.state;
    if (s.queue.length > 0 || s.mode & MODE_AUX_OFF || !this.mouse.hasReport) return;
    this.#queueDevice(this.mouse.takeReport(), FROM_AUX);
  }

  #outputPort(): number {
    const first = this.state.queue[0];
    const isAux = first !== undefined && (first & FROM_AUX) !== 0;
    return (
      (this.state.outputPort & ~(OUT_KEYBOARD_IRQ | OUT_AUX_IRQ)) |
      (first !== undefined && !isAux ? OUT_KEYBOARD_IRQ : 0) |
      (isAux ? OUT_AUX_IRQ : 0)
    );
  }

  #writeOutputPort(byte: number): void {
    const wasA20 = this.isA20Enabled;
    // The reset bit is a level here; the processor leaves reset at once.
    this.state.outputPort = byte | OUT_NOT_RESET;
    if (this.isA20Enabled !== wasA20) this.onA20(this.isA20Enabled);
    if ((byte & OUT_NOT_RESET) === 0) this.onReset();
  }

  /** A reply of the controller itself goes before bytes of the devices. */
  #reply(byte: number): void {
    const { queue } = this.state;
    // At least the byte that the guest may have seen as first stays there.
    if (queue.length < QUEUE_BYTES_MAX) queue.splice(0, 0, byte);
  }

  #queueDevice(bytes: readonly number[], from: number): void {
    const s = this.state;
    const out: number[] = [];
    for (const byte of bytes) {
      if (from === FROM_KEYBOARD && s.mode & MODE_TRANSLATE) {
        if (byte === RELEASE_PREFIX) {
          s.isRelease = true;
          continue;
        }
        out.push(translateScancode(byte) | (s.isRelease ? 0x80 : 0) | from);
        s.isRelease = false;
      } else out.push(byte | from);
    }
    this.#queue(out);
    this.#update();
  }

  #queue(entries: readonly number[]): void {
    const { queue } = this.state;
    if (queue.length + entries.length <= QUEUE_BYTES_MAX) queue.push(...entries);
  }

  #update(): void {
    const s = this.state;
    const first = s.queue[0];
    const isAux = first !== undefined && (first & FROM_AUX) !== 0;
    setLine(this.keyboardIRQ, first !== undefined && !isAux && (s.mode & MODE_KEYBOARD_IRQ) !== 0);
    setLine(this.auxIRQ, isAux && (s.mode & MODE_AUX_IRQ) !== 0);
  }
}

function setLine(line: IRQLine, isHigh: boolean): void {
  if (isHigh) line.raise();
  else line.lower();
}
