// SMBus host controller of the PIIX4, with nothing on its bus: every transfer
// ends without an answer. 82371AB (PIIX4) data sheet (290562), section 7.3
// "System Management Bus I/O Space Registers".

import { defineState, type Savable, type SavedSection } from './saved-state.ts';

/** Size of the register block, bytes. */
export const SMBUS_BYTES = 16;
const STATUS = 0x00;
const CONTROL = 0x02;
const STATUS_DEVICE_ERROR = 0x04;
const STATUS_CLEARABLE = 0x1e;
const CONTROL_START = 0x40;

function powerOnState() {
  return { registers: new Uint8Array(SMBUS_BYTES) };
}

type SMBusState = ReturnType<typeof powerOnState>;

export class SMBusHost implements Savable {
  static readonly schema = defineState<SMBusState>('smbus', 1, {
    registers: { id: 1, type: 'u8', since: 1, length: SMBUS_BYTES },
  });

  // State, all of it saved.
  readonly state: SMBusState = powerOnState();

  reset(): void {
    this.state.registers.fill(0);
  }

  save(): SavedSection {
    return SMBusHost.schema.save(this.state);
  }

  restore(section: SavedSection): void {
    SMBusHost.schema.restore(section, this.state);
  }

  read(offset: number): number {
    return this.state.registers[offset]!;
  }

  write(offset: number, value: number): void {
    const { registers } = this.state;
    if (offset === STATUS) {
      registers[STATUS]! &= ~(value & STATUS_CLEARABLE); // Write one to clear.
      return;
    }
    registers[offset] = offset === CONTROL ? value & ~CONTROL_START : value;
    if (offset === CONTROL && value & CONTROL_START) registers[STATUS]! |= STATUS_DEVICE_ERROR;
  }
}
