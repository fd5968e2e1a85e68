// The IDE function of PIIX3: two channels at their ISA ports, and a bus master for each. 82371SB
// (PIIX3) data sheet (290550), sections 2.3 "PCI Configuration Registers (IDE Interface)" and 2.7.

import { ATAChannel } from './ata-channel.ts';
import { BUS_MASTER_BYTES, BusMasterIDE, type DMAMemory } from './bus-master-ide.ts';
import { PCI_COMMAND, PCI_STATUS, PCIFunction } from './pci-config.ts';
import type { Savable } from './saved-state.ts';

/** Base address of the bus master registers, "BMIBA". */
export const BMIBA = 0x20;
const BMIBA_INDEX = 4;
/** "IDETIM", one word for each channel. */
const IDETIM = 0x40;
const IDETIM_DECODE = 0x8000;
const SIDETIM = 0x44;
const COMMAND_IO = 0x0001;
const COMMAND_MASTER = 0x0004;
const CHANNEL_COUNT = 2;

export class PIIX3IDE {
  readonly channels = [new ATAChannel('ide0'), new ATAChannel('ide1')] as const;
  readonly masters: readonly [BusMasterIDE, BusMasterIDE];
  readonly config: PCIFunction;
  // Wiring, set once by the machine.
  /** What `bmibaPort`, `isMasterDecoded` or `isChannelDecoded` says may have changed. */
  onDecode: () => void = () => {};

  /** @param place name of its PCI place in a saved state, such as `pci/01.1` */
  constructor(place: string, memory: DMAMemory) {
    this.masters = [new BusMasterIDE('bmide0', memory), new BusMasterIDE('bmide1', memory)];
    this.config = new PCIFunction(place, {
      vendorId: 0x8086,
      deviceId: 0x7010,
      revision: 0x00,
      // IDE, both channels at their ISA ports, bus master.
      classCode: 0x01_01_80,
    });
    this.config.set(PCI_STATUS, 2, 0x0280);
    this.config.declareBaseAddress(BMIBA_INDEX, 'io', 2 * BUS_MASTER_BYTES);
    this.config.allowWrites(PCI_COMMAND, 2, COMMAND_IO | COMMAND_MASTER);
    for (let i = 0; i < CHANNEL_COUNT; i++) this.config.allowWrites(IDETIM + 2 * i, 2, 0xf3ff);
    this.config.allowWrites(SIDETIM, 1, 0xff);
    for (const [i, channel] of this.channels.entries()) {
      const master = this.masters[i]!;
      channel.transferDMA = (bytes, isToMemory) => master.transfer(bytes, isToMemory);
      channel.onInterrupt = () => master.noteInterrupt();
      master.onReady = () => channel.pumpDMA();
      master.isEnabled = () => (this.#command & COMMAND_MASTER) !== 0;
    }
    this.config.onDecode = () => this.onDecode();
    this.config.onWrite = () => {
      this.onDecode();
      for (const channel of this.channels) channel.pumpDMA();
    };
  }

  /** Everything but the PCI function, which goes with the bus. */
  get savables(): readonly Savable[] {
    const devices = this.channels.flatMap((channel) => channel.devices);
    return [...this.masters, ...devices.flatMap((device) => device.savables), ...this.channels];
  }

  /** First port of the bus master registers, where they are decoded. */
  get bmibaPort(): number {
    return this.config.addressOf(BMIBA_INDEX) ?? 0;
  }

  get isMasterDecoded(): boolean {
    return this.config.addressOf(BMIBA_INDEX) !== undefined;
  }

  isChannelDecoded(index: number): boolean {
    return (
      (this.#command & COMMAND_IO) !== 0 && (this.#word(IDETIM + 2 * index) & IDETIM_DECODE) !== 0
    );
  }

  reset(): void {
    for (const master of this.masters) master.reset();
    for (const channel of this.channels) channel.reset();
    this.onDecode();
  }

  /** What firmware leaves behind, for guests that are loaded without one. */
  setFirmwareState(bmibaPort: number): void {
    const set16 = (offset: number, value: number) => {
      this.config.writeByte(offset, value & 0xff);
      this.config.writeByte(offset + 1, value >> 8);
    };
    set16(BMIBA, bmibaPort);
    for (let i = 0; i < CHANNEL_COUNT; i++) set16(IDETIM + 2 * i, IDETIM_DECODE);
    set16(PCI_COMMAND, COMMAND_IO | COMMAND_MASTER);
  }

  /** Bus master register 0–15. */
  readMaster(offset: number): number {
    return this.masters[offset < BUS_MASTER_BYTES ? 0 : 1].read(offset % BUS_MASTER_BYTES);
  }

  writeMaster(offset: number, value: number): void {
    this.masters[offset < BUS_MASTER_BYTES ? 0 : 1].write(offset % BUS_MASTER_BYTES, value);
  }

  get #command(): number {
    return this.#word(PCI_COMMAND);
  }

  #word(offset: number): number {
    return this.config.readByte(offset) | (this.config.readByte(offset + 1) << 8);
  }
}
