// A PC with firmware: its ROMs on the bus, and what the machine tells it through fw_cfg.
// 82441FX (PMC) data sheet (290549), section 4.1 "System Address Map": "BIOS area".

import {
  FW_CFG_BOOT_MENU,
  FW_CFG_CPU_COUNT,
  FW_CFG_CPU_COUNT_MAX,
  FW_CFG_NO_GRAPHIC,
  FW_CFG_RAM_SIZE,
  FwCfg,
  littleEndian,
} from '../devices/fw-cfg.ts';
import type { PCIFunction } from '../devices/pci-config.ts';
import { PFlash } from '../devices/pflash.ts';
import type { Savable } from '../devices/saved-state.ts';
import { MemoryRegion } from '../memory/memory-region.ts';
import type { BoardDevices } from './boot/acpi-tables.ts';
import { BootError } from './boot/boot-target.ts';
import { E820_RAM, E820_RESERVED } from './boot/e820.ts';
import { buildSMBIOS } from './boot/smbios-tables.ts';
import { buildLoaderFiles } from './boot/table-loader.ts';
import { FIRMWARE_BYTES_USUAL, type PCMemory } from './machine-memory.ts';
import { RAM_BELOW_4G_END } from './memory-map.ts';
import type { PCIBus } from './pci-bus.ts';

/** What a flash chip holds at first, and who keeps what the guest makes of it. */
export interface FlashConfig {
  readonly image: Uint8Array;
  /** The guest changed the chip at `offset`; `bytes` are only there during the call. */
  onChange(offset: number, bytes: Uint8Array): void;
}

/** Firmware of a machine, and what it is told. */
export interface FirmwareConfig {
  /** BIOS image: whole 64 KiB, up to 16 MiB. It ends at 4 GiB; 128 KiB of it below 1 MiB too. */
  readonly bios?: Uint8Array;
  /** A flash chip in place of the BIOS image; it is of as many bytes as its image. */
  readonly flash?: FlashConfig;
  /** Letters in order: `a` floppy, `c` disk, `d` CD-ROM, `n` network; '' for the firmware's own. */
  readonly bootOrder?: string;
  readonly hasBootMenu?: boolean;
  /** Expansion ROM of the VGA. */
  readonly vgaBIOS?: Uint8Array;
}

const BIOS_UNIT_BYTES = 0x1_0000;
const BIOS_BYTES_MAX = 0x100_0000;
const BIOS_LOW_END = 0x10_0000;
const BIOS_LOW_BYTES_MAX = 0x2_0000;
const FLASH_NAME = 'system.flash0';
const OPTION_ROM_GPA = 0xc_0000;
const OPTION_ROM_BYTES = 0x2_0000;
/** What fits into memory below the BIOS. */
const OPTION_ROM_BYTES_MAX = 0x2_0000;
const GIB4 = 2 ** 32;
/** Above what is at fixed places below it. */
const ROM_PRIORITY = 1;
const FW_CFG_PORT = 0x510;
const FW_CFG_DMA_PORT = 0x514;
/** Keys of x86: IRQ 0 reaches the I/O APIC's input 2. */
const FW_CFG_IRQ0_OVERRIDE = 0x8002;
/** CMOS bytes that SeaBIOS reads the order of boot from: QEMU's `pc_boot_set`. */
const CMOS_BOOT_FLAG2 = 0x3d;
const CMOS_BOOT_FLAG1 = 0x38;
const BOOT_NIBBLES: Readonly<Record<string, number>> = { a: 1, c: 2, d: 3, n: 4 };

/** Bytes of RAM blocks that a machine with that firmware needs beyond the usual, whole 64 KiB. */
export function firmwareExtraBytes(config: FirmwareConfig): number {
  const images = [config.bios, config.flash?.image, config.vgaBIOS].map(
    (image) => image?.length ?? 0,
  );
  const wanted = OPTION_ROM_BYTES + images.reduce((sum, bytes) => sum + romBytes(bytes), 0);
  const extra = Math.max(0, wanted - FIRMWARE_BYTES_USUAL);
  return Math.ceil(extra / BIOS_UNIT_BYTES) * BIOS_UNIT_BYTES;
}

/** Size of the ROM chip for an image: a power of two. */
function romBytes(imageBytes: number): number {
  return imageBytes === 0 ? 0 : Math.max(0x1000, 2 ** Math.ceil(Math.log2(imageBytes)));
}

/**
 * Puts an option ROM behind a PCI function's ROM base address. Whether it is a good one is the
 * firmware's to find out.
 * @throws {BootError} if it is empty or too large
 */
export function attachOptionROM(
  memory: PCMemory,
  bus: PCIBus,
  pciFunction: PCIFunction,
  name: string,
  image: Uint8Array,
): void {
  if (image.length === 0 || image.length > OPTION_ROM_BYTES_MAX)
    throw new BootError(
      `option ROM "${name}"`,
      `the image must have 1 to ${OPTION_ROM_BYTES_MAX} bytes, it has ${image.length}`,
    );
  const block = memory.ramList.alloc({ name, sizeBytes: romBytes(image.length) });
  block.bytes.set(image);
  bus.mapROM(pciFunction, MemoryRegion.rom(name, block));
}

/** @throws {BootError} if the image is not whole 64 KiB, or too large */
export function checkBIOS(bios: Uint8Array): void {
  const { length } = bios;
  if (length === 0 || length % BIOS_UNIT_BYTES !== 0 || length > BIOS_BYTES_MAX)
    throw new BootError(
      'BIOS',
      `the image must be a multiple of 64 KiB and at most 16 MiB, it is ${length} bytes long`,
    );
}

/** ROM at the top of 4 GiB with its mirror below 1 MiB, as the bus shows it. */
export function mapROM(bus: PCIBus, rom: MemoryRegion): void {
  const { sizeBytes } = rom;
  bus.memory.addSubregion(GIB4 - sizeBytes, rom, ROM_PRIORITY);
  const lowBytes = Math.min(sizeBytes, BIOS_LOW_BYTES_MAX);
  const low = MemoryRegion.alias('isa-bios', rom, sizeBytes - lowBytes, lowBytes);
  bus.memory.addSubregion(BIOS_LOW_END - lowBytes, low, ROM_PRIORITY);
}

/** A flash chip where the BIOS would be, as a ROM device: reads are memory, writes are commands. */
function attachFlash(config: FlashConfig, memory: PCMemory, bus: PCIBus): PFlash {
  checkBIOS(config.image);
  const block = memory.ramList.allocFrom({ name: FLASH_NAME, bytes: config.image });
  const flash = new PFlash(FLASH_NAME, block.bytes);
  const region = MemoryRegion.romd(FLASH_NAME, block, {
    read: (offset) => flash.read(offset),
    write: (offset, value) => flash.write(offset, value),
    impl: { maxBytes: 1 },
  });
  flash.onReadMode = (isArray) => region.setRomdMode(isArray);
  flash.onChange = (offset, sizeBytes) => {
    memory.guest.ramWrites.note(block.ramOffset + offset, sizeBytes);
    config.onChange(offset, block.bytes.subarray(offset, offset + sizeBytes));
  };
  mapROM(bus, region);
  return flash;
}

export class Firmware {
  readonly fwCfg: FwCfg;
  readonly flash: PFlash | undefined;
  readonly #config: FirmwareConfig;

  /** @throws {BootError} if the BIOS image is of an impossible size */
  constructor(
    config: FirmwareConfig,
    options: { memory: PCMemory; bus: PCIBus; memoryBytes: number; devices: BoardDevices },
  ) {
    const { memory, bus, memoryBytes, devices } = options;
    this.#config = config;
    if (config.bios !== undefined) {
      checkBIOS(config.bios);
      const block = memory.ramList.allocFrom({ name: 'bios.bin', bytes: config.bios });
      mapROM(bus, MemoryRegion.rom('bios.bin', block));
    }
    if (config.flash !== undefined) this.flash = attachFlash(config.flash, memory, bus);
    const optionROMs = memory.ramList.alloc({ name: 'pc.rom', sizeBytes: OPTION_ROM_BYTES });
    bus.memory.addSubregion(OPTION_ROM_GPA, MemoryRegion.rom('pc.rom', optionROMs), ROM_PRIORITY);
    this.fwCfg = new FwCfg(memory.guest.addressSpace);
    this.#describe(memoryBytes, devices);
    this.#mapPorts(bus.ports);
  }

  get savables(): readonly Savable[] {
    return this.flash === undefined ? [this.fwCfg] : [this.fwCfg, this.flash];
  }

  reset(): void {
    this.fwCfg.reset();
    this.flash?.reset();
  }

  /** CMOS bytes that firmware reads at power-on. */
  get cmosBytes(): readonly (readonly [index: number, value: number])[] {
    const order = [...(this.#config.bootOrder ?? '')].map((letter) => BOOT_NIBBLES[letter] ?? 0);
    const [first = 0, second = 0, third = 0] = order.length > 0 ? order : [2, 1, 3];
    // Bit 0 would have floppy disks without a boot signature started too, blank ones with them.
    return [
      [CMOS_BOOT_FLAG2, first | (second << 4)],
      [CMOS_BOOT_FLAG1, third << 4],
    ];
  }

  #describe(memoryBytes: number, devices: BoardDevices): void {
    const { fwCfg } = this;
    fwCfg.setNumber(FW_CFG_RAM_SIZE, memoryBytes, 8);
    fwCfg.setNumber(FW_CFG_NO_GRAPHIC, 0, 2);
    fwCfg.setNumber(FW_CFG_CPU_COUNT, 1, 2);
    fwCfg.setNumber(FW_CFG_CPU_COUNT_MAX, 1, 2);
    fwCfg.setNumber(FW_CFG_BOOT_MENU, this.#config.hasBootMenu === true ? 1 : 0, 2);
    fwCfg.setNumber(FW_CFG_IRQ0_OVERRIDE, 1, 4);
    const entries = [[0, Math.min(memoryBytes, RAM_BELOW_4G_END), E820_RAM]];
    if (memoryBytes > RAM_BELOW_4G_END)
      entries.push([GIB4, memoryBytes - RAM_BELOW_4G_END, E820_RAM]);
    // Firmware knows of the APICs itself; this is where Intel's boards have more of the chip set.
    entries.push([0xfeff_c000, 0x4000, E820_RESERVED]);
    const map = entries.flatMap(([start, size, type]) => [
      ...littleEndian(start!, 8),
      ...littleEndian(size!, 8),
      ...littleEndian(type!, 4),
    ]);
    fwCfg.addFile('etc/e820', Uint8Array.from(map));
    const { anchor, tables } = buildSMBIOS(memoryBytes);
    fwCfg.addFile('etc/smbios/smbios-anchor', anchor);
    fwCfg.addFile('etc/smbios/smbios-tables', tables);
    for (const [name, bytes] of buildLoaderFiles(devices)) fwCfg.addFile(name, bytes);
  }

  #mapPorts(ports: MemoryRegion): void {
    const { fwCfg } = this;
    const region = MemoryRegion.io('fwcfg', 2, {
      read: (_offset, sizeBytes) => (sizeBytes === 1 ? fwCfg.readData() : 0),
      write: (offset, value, sizeBytes) => {
        if (offset === 0 && sizeBytes === 2) fwCfg.select(value);
      },
    });
    ports.addSubregion(FW_CFG_PORT, region);
    const dma = MemoryRegion.io('fwcfg.dma', 8, {
      read: (offset) => fwCfg.readDMA(offset),
      write: (offset, value) => fwCfg.writeDMA(offset, value),
      impl: { minBytes: 4, maxBytes: 4 },
    });
    ports.addSubregion(FW_CFG_DMA_PORT, dma);
  }
}
