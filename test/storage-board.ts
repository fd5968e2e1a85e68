// IDE and floppy controllers with RAM and a clock that a test moves: what storage tests drive.

import { ATADevice } from '../src/devices/ata-device.ts';
import { ATADisk } from '../src/devices/ata-disk.ts';
import { ATAPICDROM } from '../src/devices/atapi-cdrom.ts';
import type { BlockDevice } from '../src/devices/block/block-device.ts';
import { Drive } from '../src/devices/block/drive.ts';
import type { MemoryDevice } from '../src/devices/block/memory-device.ts';
import { PIIX3IDE } from '../src/devices/piix3-ide.ts';
import type { SavedSection } from '../src/devices/saved-state.ts';
import { GuestMemory } from '../src/memory/guest-memory.ts';
import { MemoryRegion } from '../src/memory/memory-region.ts';
import { ManualClock } from './manual-clock.ts';
import { RecordLine } from './record-line.ts';

export const RAM_BYTES = 1 << 20;
export const SECTOR = 512;

/** Bytes that tell where they are from. */
export function pattern(sizeBytes: number, seed = 1): Uint8Array {
  return Uint8Array.from({ length: sizeBytes }, (_, i) => (i * 7 + (i >> 9) * 13 + seed) & 0xff);
}

/** What is on a medium. */
export function contentOf(device: BlockDevice, sector: number, count: number): Uint8Array {
  const bytes = new Uint8Array(count * SECTOR);
  device.read(sector, bytes, () => {});
  return bytes;
}

export interface IDEBoardOptions {
  /** By place 0–3: a medium for a disk, `cdrom` for an empty CD-ROM drive, or a disc for one. */
  readonly places: readonly (BlockDevice | 'cdrom' | { readonly disc: BlockDevice } | undefined)[];
}

/** PIIX3's IDE function with all decoding on. Time goes on by 1 ms with `settle`. */
export class IDEBoard {
  readonly memory = new GuestMemory({ ramCapacityBytes: RAM_BYTES });
  readonly clock = new ManualClock();
  readonly ide = new PIIX3IDE('pci/01.1', this.memory.addressSpace);
  readonly irqs = [new RecordLine(), new RecordLine()] as const;
  readonly drives: (Drive | undefined)[];

  constructor(options: IDEBoardOptions) {
    const block = this.memory.ramList.alloc({ name: 'pc.ram', sizeBytes: RAM_BYTES });
    this.memory.root.addSubregion(0, MemoryRegion.ram('ram', block));
    this.drives = options.places.map((place, index) => {
      if (place === undefined) return undefined;
      const isCD = place === 'cdrom' || 'disc' in place;
      const medium = place === 'cdrom' ? undefined : 'disc' in place ? place.disc : place;
      const drive = new Drive({
        id: `d${index}`,
        media: isCD ? 'cdrom' : 'disk',
        clock: this.clock,
        ...(medium === undefined ? {} : { medium }),
      });
      const device = new ATADevice(`ata/d${index}`, index & 1, drive);
      if (isCD) new ATAPICDROM(`atapi/d${index}`, device, `S${index}`);
      else new ATADisk(`disk/d${index}`, device, `S${index}`);
      this.ide.channels[index < 2 ? 0 : 1].plug(device);
      return drive;
    });
    for (const [i, channel] of this.ide.channels.entries()) channel.irq = this.irqs[i]!;
    this.ide.reset();
    this.ide.setFirmwareState(0xc000);
  }

  /** Register of the first channel. */
  read(register: number): number {
    return this.ide.channels[0].read(register, 1) & 0xff;
  }

  write(register: number, value: number): void {
    this.ide.channels[0].write(register, value, 1);
  }

  /** Lets requests to media come back. */
  settle(): void {
    for (let i = 0; i < 12; i++) this.clock.advance(1_000_000);
  }

  /** Task file of 28-bit commands, and the command; `device` has LBA and DEV bits. */
  command(
    command: number,
    { device = 0xe0, lba = 0, count = 1, features = 0 }: Partial<Record<string, number>> = {},
  ): void {
    this.write(6, device | ((lba >>> 24) & 0x0f));
    this.write(1, features);
    this.write(2, count & 0xff);
    this.write(3, lba & 0xff);
    this.write(4, (lba >>> 8) & 0xff);
    this.write(5, (lba >>> 16) & 0xff);
    this.write(7, command);
    this.settle();
  }

  /** Words of the data register as bytes. */
  readData(sizeBytes: number): Uint8Array {
    const bytes = new Uint8Array(sizeBytes);
    for (let at = 0; at < sizeBytes; at += 2) {
      const word = this.ide.channels[0].read(0, 2);
      bytes[at] = word & 0xff;
      bytes[at + 1] = (word >> 8) & 0xff;
    }
    return bytes;
  }

  writeData(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length; at += 2)
      this.ide.channels[0].write(0, bytes[at]! | (bytes[at + 1]! << 8), 2);
  }

  /** Descriptors of a PRD table: address, count, and whether it is the last. */
  putTable(gpa: number, rows: readonly (readonly [number, number, boolean])[]): void {
    for (const [i, [address, count, isLast]] of rows.entries()) {
      this.memory.addressSpace.write(gpa + 8 * i, 4, address);
      this.memory.addressSpace.write(gpa + 8 * i + 4, 4, count + (isLast ? 0x8000_0000 : 0));
    }
    for (let i = 0; i < 4; i++) this.ide.writeMaster(4 + i, (gpa >>> (8 * i)) & 0xff);
  }

  /** Starts the bus master of the first channel. */
  startDMA(isToMemory: boolean): void {
    this.ide.writeMaster(0, isToMemory ? 8 : 0);
    this.ide.writeMaster(0, isToMemory ? 9 : 1);
    this.settle();
  }

  ram(gpa: number, sizeBytes: number): Uint8Array {
    const bytes = new Uint8Array(sizeBytes);
    this.memory.addressSpace.readBytes(gpa, bytes);
    return bytes;
  }

  save(): SavedSection[] {
    return [this.ide.config, ...this.ide.savables].map((part) => part.save());
  }

  restore(sections: readonly SavedSection[]): void {
    for (const [i, part] of [this.ide.config, ...this.ide.savables].entries())
      part.restore(sections[i]!);
  }
}

/** A device whose requests come back when the test says. */
export class HeldDevice implements BlockDevice {
  readonly sizeBytes: number;
  readonly isReadOnly = false;
  readonly label = 'held';
  readonly inner: MemoryDevice;
  /** What was asked, in order. */
  readonly log: string[] = [];
  error: 'EIO' | 'ENOSPC' | undefined;
  #held: (() => void)[] = [];

  constructor(inner: MemoryDevice) {
    this.inner = inner;
    this.sizeBytes = inner.sizeBytes;
  }

  get heldCount(): number {
    return this.#held.length;
  }

  release(): void {
    for (const end of this.#held.splice(0)) end();
  }

  read(sector: number, bytes: Uint8Array, done: (error: 'EIO' | undefined) => void): void {
    this.log.push(`read ${sector}+${bytes.length / SECTOR}`);
    this.#held.push(() =>
      this.error === undefined
        ? this.inner.read(sector, bytes, done as never)
        : done(this.error as never),
    );
  }

  write(sector: number, bytes: Uint8Array, done: (error: 'EIO' | undefined) => void): void {
    this.log.push(`write ${sector}+${bytes.length / SECTOR}`);
    this.#held.push(() =>
      this.error === undefined
        ? this.inner.write(sector, bytes, done as never)
        : done(this.error as never),
    );
  }

  flush(done: (error: 'EIO' | undefined) => void): void {
    this.log.push('flush');
    this.#held.push(() => done(this.error as never));
  }

  close(): void {}
}
