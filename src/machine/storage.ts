// The PC's storage: IDE and floppy controllers at their ports and wires, and the drives on them.
// Ports and interrupts: IBM PC AT Technical Reference, "I/O Address Map" and "System Interrupts";
// 82371SB (PIIX3) data sheet (290550), section 2.7 "IDE Controller".

import type { IRQLine, VirtualClock } from '../base/device.ts';
import { ATADevice } from '../devices/ata-device.ts';
import { ATADisk } from '../devices/ata-disk.ts';
import { ATAPICDROM } from '../devices/atapi-cdrom.ts';
import type { BlockDevice } from '../devices/block/block-device.ts';
import { Drive } from '../devices/block/drive.ts';
import type { CMOSRTC } from '../devices/cmos-rtc.ts';
import type { DMA8237, DMAPageRegisters } from '../devices/dma8237.ts';
import { FloppyController } from '../devices/floppy.ts';
import { DRIVE_TYPE_DEFAULT, floppyGeometry } from '../devices/floppy-media.ts';
import type { PCIConfigMechanism } from '../devices/pci-config.ts';
import { PIIX3IDE } from '../devices/piix3-ide.ts';
import type { Savable } from '../devices/saved-state.ts';
import type { AddressSpace } from '../memory/address-space.ts';
import { MemoryRegion } from '../memory/memory-region.ts';
import { transaction } from '../memory/transaction.ts';

/** A drive of a machine, in QEMU's words. */
export interface DriveConfig {
  /** What it hangs on. */
  readonly interface: 'ide' | 'floppy' | 'virtio';
  /** A floppy drive's media is `disk`. */
  readonly media: 'disk' | 'cdrom';
  /** Place: IDE 0–3 (two on each channel), floppy 0–1, virtio 0–7. */
  readonly index: number;
  /** What is in it; a disk must have one. The machine closes it. */
  readonly medium?: BlockDevice;
}

/** What storage is wired to. */
export interface StorageWiring {
  readonly drives: readonly DriveConfig[];
  readonly clock: VirtualClock;
  readonly memory: AddressSpace;
  /** Root of the port space. */
  readonly portRoot: MemoryRegion;
  readonly pci: PCIConfigMechanism;
  /** The ISA DMA controller of channels 0–3, and its page registers. */
  readonly dma: DMA8237;
  readonly dmaPages: DMAPageRegisters;
  isaLine(irq: number): IRQLine;
  /** A request was made: give the host a turn soon. */
  onRequest(): void;
  /** A request ended. */
  onEnd(): void;
}

const DRIVES_PER_CHANNEL = 2;
const PLACES: Readonly<Record<DriveConfig['interface'], number>> = { ide: 4, floppy: 2, virtio: 8 };
const IDE_PORTS = [
  { command: 0x1f0, control: 0x3f6, irq: 14 },
  { command: 0x170, control: 0x376, irq: 15 },
] as const;
const COMMAND_PORTS = 8;
const MASTER_PORTS = 16;
/** 0x3f6 is the IDE controller's. */
const FLOPPY_PORTS = [
  { port: 0x3f0, count: 6 },
  { port: 0x3f7, count: 1 },
] as const;
const FLOPPY_IRQ = 6;
const FLOPPY_CHANNEL = 2;
/** CMOS memory: types of the floppy drives, and equipment. */
const CMOS_FLOPPY = 0x10;
const CMOS_EQUIPMENT = 0x14;
/** FPU and mouse. */
const EQUIPMENT = 0x06;
/** Where firmware puts the bus master registers, in machines that have none. */
const BMIBA_PORT = 0xc040;

/** QEMU's name of a drive. */
export function driveId(config: Pick<DriveConfig, 'interface' | 'media' | 'index'>): string {
  const { interface: bus, index } = config;
  if (bus !== 'ide') return `${bus}${index}`;
  const kind = config.media === 'cdrom' ? 'cd' : 'hd';
  return `ide${index >> 1}-${kind}${index % DRIVES_PER_CHANNEL}`;
}

export class Storage {
  /** All drives, by interface and place. */
  readonly drives: readonly Drive[];
  /** Those of them that are virtio's. */
  readonly virtioDrives: readonly Drive[];
  readonly ide: PIIX3IDE;
  readonly floppy = new FloppyController();
  /** CMOS types of the two floppy drives, 0 for none. */
  readonly #floppyTypes = [0, 0];

  /** @throws {RangeError} if two drives have one place, or a place is not there */
  constructor(wiring: StorageWiring) {
    checkPlaces(wiring.drives);
    const all = wiring.drives.map((config) => ({ config, drive: createDrive(config, wiring) }));
    this.drives = all.map(({ drive }) => drive);
    const of = (bus: DriveConfig['interface']) =>
      all.filter(({ config }) => config.interface === bus);
    this.virtioDrives = of('virtio').map(({ drive }) => drive);
    this.ide = new PIIX3IDE('pci/01.1', wiring.memory);
    for (const { config, drive } of of('ide')) this.#plugIDE(config, drive);
    wiring.pci.plug(1, 1, this.ide.config);
    this.#mapIDE(wiring);
    for (const { config, drive } of of('floppy')) this.#plugFloppy(config, drive);
    this.#mapFloppy(wiring);
  }

  /** Everything but PCI functions. */
  get savables(): readonly Savable[] {
    return [...this.ide.savables, this.floppy];
  }

  /** Whether a request is under way. */
  get isBusy(): boolean {
    return this.drives.some((drive) => drive.pendingCount > 0);
  }

  reset(): void {
    this.ide.reset();
    this.floppy.reset();
  }

  /** Tells firmware and kernels of the floppy drives: CMOS.LST, 0x10 and 0x14. */
  setCMOS(rtc: CMOSRTC): void {
    const [first = 0, second = 0] = this.#floppyTypes;
    const count = (first === 0 ? 0 : 1) + (second === 0 ? 0 : 1);
    rtc.setByte(CMOS_FLOPPY, (first << 4) | second);
    const equipment = count === 0 ? 0 : 0x01 | ((count - 1) << 6);
    rtc.setByte(CMOS_EQUIPMENT, EQUIPMENT | equipment);
  }

  /** What firmware leaves behind, for guests that are loaded without one. */
  setFirmwareState(): void {
    this.ide.setFirmwareState(BMIBA_PORT);
  }

  /** Lets go of all media, for ever. */
  close(): void {
    for (const drive of this.drives) drive.close();
  }

  #plugFloppy({ index }: DriveConfig, drive: Drive): void {
    const { medium } = drive;
    const geometry = medium === undefined ? undefined : floppyGeometry(medium.sizeBytes);
    this.#floppyTypes[index] = geometry?.driveType ?? DRIVE_TYPE_DEFAULT;
    this.floppy.plug(index, drive);
  }

  #mapFloppy(wiring: StorageWiring): void {
    const { dma, dmaPages, memory } = wiring;
    const { floppy } = this;
    floppy.irq = wiring.isaLine(FLOPPY_IRQ);
    floppy.transferDMA = (bytes, isToMemory) => dma.transfer(FLOPPY_CHANNEL, bytes, isToMemory);
    dma.memory = memory;
    dma.pageOf = (channel) => dmaPages.pageOf(channel);
    dma.onReady = () => floppy.pumpDMA();
    for (const { port, count } of FLOPPY_PORTS) {
      const first = port & 7;
      const region = MemoryRegion.io(`floppy@${port.toString(16)}`, count, {
        read: (offset) => floppy.read(first + offset),
        write: (offset, value) => floppy.write(first + offset, value),
        impl: { maxBytes: 1 },
      });
      wiring.portRoot.addSubregion(port, region);
    }
  }

  #plugIDE(config: DriveConfig, drive: Drive): void {
    const unit = config.index % DRIVES_PER_CHANNEL;
    const channel = this.ide.channels[config.index < DRIVES_PER_CHANNEL ? 0 : 1];
    const device = new ATADevice(`ata/${drive.id}`, unit, drive);
    if (config.media === 'cdrom') new ATAPICDROM(`atapi/${drive.id}`, device, serialOf(config));
    else new ATADisk(`ata-disk/${drive.id}`, device, serialOf(config));
    channel.plug(device);
  }

  #mapIDE(wiring: StorageWiring): void {
    const { portRoot } = wiring;
    const { ide } = this;
    const channelRegions = IDE_PORTS.map((ports, i) => {
      const channel = ide.channels[i]!;
      channel.irq = wiring.isaLine(ports.irq);
      const command = MemoryRegion.io(`ide${i}`, COMMAND_PORTS, {
        read: (offset, sizeBytes) => readCommandBlock(channel, offset, sizeBytes),
        write: (offset, value, sizeBytes) => writeCommandBlock(channel, offset, value, sizeBytes),
      });
      const control = MemoryRegion.io(`ide${i}-control`, 1, {
        read: () => channel.readAlternateStatus(),
        write: (_offset, value) => channel.writeControl(value),
        impl: { maxBytes: 1 },
      });
      portRoot.addSubregion(ports.command, command);
      portRoot.addSubregion(ports.control, control);
      return [command, control];
    });
    const master = MemoryRegion.io('bmide', MASTER_PORTS, {
      read: (offset) => ide.readMaster(offset),
      write: (offset, value) => ide.writeMaster(offset, value),
      impl: { maxBytes: 1 },
    });
    // A BAR may be moved over other devices' ports; those keep theirs.
    portRoot.addSubregion(0, master, -1);
    ide.onDecode = () =>
      transaction(() => {
        for (const [i, regions] of channelRegions.entries())
          for (const region of regions) region.setEnabled(ide.isChannelDecoded(i));
        master.setOffset(ide.bmibaPort);
        master.setEnabled(ide.isMasterDecoded);
      });
    ide.onDecode();
  }
}

/** Adds storage to a PC; call it once its port space is there. */
export function attachStorage(wiring: StorageWiring): Storage {
  return new Storage(wiring);
}

type Channel = PIIX3IDE['channels'][0];

/** Only the Data register is wider than a byte. */
function readCommandBlock(channel: Channel, offset: number, sizeBytes: number): number {
  if (offset === 0) return channel.read(0, sizeBytes);
  let value = 0;
  for (let i = 0; i < sizeBytes; i++) value |= (channel.read(offset + i, 1) & 0xff) << (8 * i);
  return value >>> 0;
}

function writeCommandBlock(
  channel: Channel,
  offset: number,
  value: number,
  sizeBytes: number,
): void {
  if (offset === 0) channel.write(0, value, sizeBytes);
  else for (let i = 0; i < sizeBytes; i++) channel.write(offset + i, (value >>> (8 * i)) & 0xff, 1);
}

/** So that guests tell disks apart, and find them again. */
function serialOf({ index }: DriveConfig): string {
  return `QU${String(index + 1).padStart(5, '0')}`;
}

function createDrive(config: DriveConfig, wiring: StorageWiring): Drive {
  const { interface: bus, media, medium } = config;
  const id = driveId(config);
  if (bus !== 'floppy' && media === 'disk' && medium === undefined)
    throw new RangeError(`Cannot create drive "${id}" as a disk must have a medium: it has none`);
  const drive = new Drive({
    id,
    media: bus === 'floppy' ? 'floppy' : media,
    clock: wiring.clock,
    ...(medium === undefined ? {} : { medium }),
  });
  drive.onRequest = () => wiring.onRequest();
  drive.onEnd = () => wiring.onEnd();
  return drive;
}

function checkPlaces(drives: readonly DriveConfig[]): void {
  const taken = new Map<string, string>();
  for (const config of drives) {
    const { interface: bus, index } = config;
    const id = driveId(config);
    const count = PLACES[bus];
    if (!Number.isInteger(index) || index < 0 || index >= count)
      throw new RangeError(
        `Cannot create drive "${id}" as its index must be 0 to ${count - 1}: it is ${index}`,
      );
    const place = `${bus}${index}`;
    const other = taken.get(place);
    if (other !== undefined)
      throw new RangeError(
        `Cannot create drive "${id}" as ${bus} index ${index} must be free: "${other}" has it`,
      );
    taken.set(place, id);
  }
}
