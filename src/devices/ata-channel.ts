// An ATA channel: two device places that share one cable, hence one set of registers and one
// interrupt line. ATA/ATAPI-6 (T13/1410D), sections 7 "Interface register definitions" and 9.16
// "Single device configurations".

import { type IRQLine, NO_LINE } from '../base/device.ts';
import type { ATADevice, DMATransfer } from './ata-device.ts';
import {
  ATA_DATA,
  ATA_DEVICE,
  ATA_STATUS,
  CMD_DEVICE_RESET,
  CMD_EXECUTE_DIAGNOSTIC,
  CONTROL_NIEN,
  CONTROL_SRST,
  DEVICE_DEV,
  STATUS_BSY,
} from './ata-registers.ts';
import { defineState, type Savable, type SavedSection } from './saved-state.ts';

/** An empty cable: the host pulls DD7 down, the rest floats high (section 4.2, "DD7"). */
const FLOATING = 0x7f;

function powerOnState() {
  return {
    /** The DEV bit: which of the two devices answers. */
    selected: 0,
    control: 0,
    /** The interrupt line as it is. */
    isInterrupting: false,
  };
}

type ChannelState = ReturnType<typeof powerOnState>;

export class ATAChannel implements Savable {
  readonly #schema;
  readonly #devices: (ATADevice | undefined)[] = [undefined, undefined];
  // Wiring, set once by the machine.
  irq: IRQLine = NO_LINE;
  /** The interrupt line rises. */
  onInterrupt: () => void = () => {};
  transferDMA: DMATransfer = () => 0;
  // State, all of it saved.
  readonly state: ChannelState = powerOnState();

  /** @param name its name in a saved state, such as `ide0` */
  constructor(name: string) {
    this.#schema = defineState<ChannelState>(name, 1, {
      selected: { id: 1, type: 'u8', since: 1 },
      control: { id: 2, type: 'u8', since: 1 },
      isInterrupting: { id: 3, type: 'boolean', since: 1 },
    });
  }

  get schema() {
    return this.#schema;
  }

  get devices(): readonly ATADevice[] {
    return this.#devices.filter((device) => device !== undefined);
  }

  /** Plugs a device in at its place. */
  plug(device: ATADevice): void {
    if (this.#devices[device.index] !== undefined)
      throw new RangeError(`Cannot plug ATA device ${device.index}: the place must be free`);
    this.#devices[device.index] = device;
    device.onInterrupt = () => this.#update();
    device.transferDMA = (bytes, isToMemory) =>
      device === this.#selected ? this.transferDMA(bytes, isToMemory) : 0;
  }

  reset(): void {
    Object.assign(this.state, powerOnState());
    for (const device of this.devices) device.reset(true);
    this.irq.lower();
  }

  save(): SavedSection {
    return this.#schema.save(this.state);
  }

  restore(section: SavedSection): void {
    this.#schema.restore(section, this.state);
    this.state.selected &= 1;
    if (this.state.isInterrupting) this.irq.raise();
    else this.irq.lower();
  }

  /** A register of the command block, 0–7; wider accesses than a byte only at the Data register. */
  read(register: number, sizeBytes: number): number {
    const device = this.#answering;
    if (device === undefined) return register === ATA_DATA ? 0xffff_ffff : FLOATING;
    // Device 0 answers for an absent device 1, with a status that says so.
    const isAbsent = device !== this.#selected;
    if (register === ATA_DATA) return isAbsent ? 0xffff_ffff : device.readData(sizeBytes);
    if (register === ATA_STATUS) return isAbsent ? 0 : device.readStatus();
    return device.peek(register) | (register === ATA_DEVICE ? this.state.selected << 4 : 0);
  }

  write(register: number, value: number, sizeBytes: number): void {
    const device = this.#selected;
    if (register === ATA_DATA) {
      device?.writeData(value, sizeBytes);
      return;
    }
    const byte = value & 0xff;
    if (register === ATA_STATUS) {
      this.#command(byte);
      return;
    }
    // A device that is busy owns the registers: section 7.2, "Command Block registers".
    if (device?.isBusy) return;
    if (register === ATA_DEVICE) this.state.selected = byte & DEVICE_DEV ? 1 : 0;
    for (const each of this.devices) each.writeRegister(register, byte);
    if (register === ATA_DEVICE) this.#update();
  }

  /** Alternate Status: no effect on the interrupt. */
  readAlternateStatus(): number {
    const device = this.#answering;
    if (device === undefined) return FLOATING;
    return device === this.#selected ? device.state.status : 0;
  }

  /** Device Control. */
  writeControl(value: number): void {
    const before = this.state.control;
    this.state.control = value & 0xff;
    for (const device of this.devices) device.state.control = value & 0xff;
    const isReset = (value & CONTROL_SRST) !== 0;
    if (isReset && !(before & CONTROL_SRST)) {
      for (const device of this.devices) {
        device.reset(false);
        device.state.status = STATUS_BSY;
      }
    } else if (!isReset && before & CONTROL_SRST) this.#resetDevices();
    this.#update();
  }

  /** The bus master may have become ready. */
  pumpDMA(): void {
    this.#selected?.pumpDMA();
  }

  get #selected(): ATADevice | undefined {
    return this.#devices[this.state.selected];
  }

  /** Who drives the cable. */
  get #answering(): ATADevice | undefined {
    return this.#selected ?? (this.state.selected === 1 ? this.#devices[0] : undefined);
  }

  #command(command: number): void {
    if (this.state.control & CONTROL_SRST) return;
    const device = this.#selected;
    if (command === CMD_EXECUTE_DIAGNOSTIC) {
      // For both devices, whichever is selected; device 0 reports.
      if (device?.isBusy) return;
      this.#resetDevices();
      this.#devices[0]?.interrupt();
      return;
    }
    // A packet device takes this one even while it is busy.
    const isDeviceReset = command === CMD_DEVICE_RESET && device?.isPacketDevice;
    if (device === undefined || (device.isBusy && !isDeviceReset)) return;
    if (isDeviceReset) device.reset(false);
    else device.execute(command);
  }

  #resetDevices(): void {
    this.state.selected = 0;
    for (const device of this.devices) {
      device.reset(false);
      device.state.device = 0;
    }
    this.#update();
  }

  #update(): void {
    const s = this.state;
    const isHigh =
      (this.#selected?.state.isInterruptPending ?? false) && (s.control & CONTROL_NIEN) === 0;
    if (isHigh === s.isInterrupting) return;
    s.isInterrupting = isHigh;
    if (isHigh) {
      this.onInterrupt();
      this.irq.raise();
    } else this.irq.lower();
  }
}
