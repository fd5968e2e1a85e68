// The PC's display: the VGA's memory, window, framebuffer, ports and PCI function on their wires.
// Ports: IBM VGA XGA Technical Reference, "VGA I/O addresses"; the rest: QEMU documentation,
// "Standard VGA".

import type { VirtualClock } from '../base/device.ts';
import { pageIndex } from '../base/pages.ts';
import { PCI_COMMAND, type PCIFunction } from '../devices/pci-config.ts';
import type { Savable } from '../devices/saved-state.ts';
import { glyphLines } from '../devices/text-font.ts';
import { VGA } from '../devices/vga.ts';
import {
  createVGAFunction,
  readVGARegisters,
  VGA_BAR_FRAMEBUFFER,
  VGA_BAR_REGISTERS,
  VGA_REGISTERS_BYTES,
  writeVGARegisters,
} from '../devices/vga-pci.ts';
import { VGA_PORT_COUNT, VGA_PORT_FIRST } from '../devices/vga-registers.ts';
import { setTextMode } from '../devices/vga-text-mode.ts';
import { DIRTY_FILLED, DIRTY_VGA } from '../memory/dirty-memory.ts';
import { MemoryRegion } from '../memory/memory-region.ts';
import type { RAMBlock } from '../memory/ram-block.ts';
import { transaction } from '../memory/transaction.ts';
import type { PCMemory } from './machine-memory.ts';
import type { PCIBus } from './pci-bus.ts';
import { Screen } from './screen.ts';

const VRAM_BYTES = 16 << 20;
const WINDOW_GPA = 0xa_0000;
const WINDOW_BYTES = 0x2_0000;
const DISPI_PORT = 0x1ce;
const DISPI_PORT_BYTES = 4;
/** Where firmware puts the base addresses, in machines that have none. */
const FRAMEBUFFER_GPA = 0xfd00_0000;
const REGISTERS_GPA = 0xfebf_0000;
const PCI_DEVICE = 2;
/** The blank with white on black, and its three neighbours: text and attribute of a cell. */
const BLANK_CELL = 0x0720;
const TEXT_WORDS = 0x4000;
/** From glyph to glyph in plane 2. */
const FONT_STEP = 32;

/** What the display is wired to. */
export interface DisplayWiring {
  readonly clock: VirtualClock;
  readonly memory: PCMemory;
  readonly bus: PCIBus;
}

export class Display {
  readonly vga: VGA;
  readonly screen: Screen;
  readonly vram: RAMBlock;
  readonly config: PCIFunction;
  /** The linear framebuffer (`vga.vram`), and the registers in memory, behind base addresses. */
  readonly framebuffer: MemoryRegion;
  readonly registers: MemoryRegion;
  readonly #root: MemoryRegion;

  constructor(wiring: DisplayWiring) {
    const { clock, memory, bus } = wiring;
    const { ramList, dirty, ramWrites } = memory.guest;
    this.#root = bus.memory;
    this.vram = ramList.alloc({ name: 'vga.vram', sizeBytes: VRAM_BYTES });
    const { ramOffset, sizeBytes } = this.vram;
    dirty.clear(ramOffset, sizeBytes, DIRTY_FILLED);
    this.vga = new VGA(clock, this.vram.bytes);
    const { vga } = this;
    vga.beforeWrite = (offset, size) => ramWrites.before(ramOffset + offset, size);
    vga.onWrite = (offset, size) => ramWrites.note(ramOffset + offset, size);
    this.screen = new Screen(vga, (onPage) => {
      memory.guest.addressSpace.syncDirtyLog(ramOffset, sizeBytes);
      const firstPage = pageIndex(ramOffset);
      for (const page of dirty.harvest(DIRTY_VGA, ramOffset, sizeBytes).pages())
        onPage(page - firstPage);
    });
    this.config = createVGAFunction('pci/02.0');
    bus.plug(PCI_DEVICE, 0, this.config);
    this.framebuffer = MemoryRegion.ram('vga.vram', this.vram);
    this.framebuffer.setLogging(DIRTY_VGA, true);
    this.registers = MemoryRegion.io('vga-registers', VGA_REGISTERS_BYTES, {
      read: (offset, size) => readVGARegisters(vga, offset, size),
      write: (offset, value, size) => writeVGARegisters(vga, offset, value, size),
      impl: { maxBytes: 2 },
    });
    transaction(() => {
      this.#mapWindow();
      this.#mapPorts(bus.ports);
      bus.mapBaseAddress(this.config, 0, 'memory', this.framebuffer, true);
      bus.mapBaseAddress(this.config, 2, 'memory', this.registers);
    });
  }

  /** In the order in which they must be restored. */
  get savables(): readonly Savable[] {
    return [this.vga, this.vga.dispi];
  }

  reset(): void {
    this.vga.reset();
  }

  /** What a video BIOS leaves behind, for guests that are loaded without one: blank text mode 3. */
  setFirmwareState(): void {
    this.#setBaseAddress(VGA_BAR_FRAMEBUFFER, FRAMEBUFFER_GPA);
    this.#setBaseAddress(VGA_BAR_REGISTERS, REGISTERS_GPA);
    this.config.writeByte(PCI_COMMAND, 0x03);
    setTextMode(this.vga);
    this.vga.beforeWrite(0, TEXT_WORDS * 4);
    blankText ??= drawBlankText();
    this.vga.planes.set(blankText);
    this.vga.onWrite(0, TEXT_WORDS * 4);
  }

  #setBaseAddress(register: number, gpa: number): void {
    for (let i = 0; i < 4; i++) this.config.writeByte(register + i, (gpa >>> (8 * i)) & 0xff);
  }

  #mapWindow(): void {
    const { vga } = this;
    const window = MemoryRegion.io('vga-window', WINDOW_BYTES, {
      read: (offset) => vga.readMemory(offset),
      write: (offset, value) => vga.writeMemory(offset, value),
      impl: { maxBytes: 1 },
    });
    this.#root.addSubregion(WINDOW_GPA, window, 1);
  }

  #mapPorts(portRoot: MemoryRegion): void {
    const { vga } = this;
    const ports = MemoryRegion.io('vga', VGA_PORT_COUNT, {
      read: (offset) => vga.readPort(offset),
      write: (offset, value) => vga.writePort(offset, value),
      impl: { maxBytes: 1 },
    });
    portRoot.addSubregion(VGA_PORT_FIRST, ports);
    // The index at 0x1ce, the data at 0x1cf and again, aligned, at 0x1d0.
    const words = { minBytes: 2, maxBytes: 2, unaligned: true } as const;
    const dispi = MemoryRegion.io('vga-dispi', DISPI_PORT_BYTES, {
      read: (offset) => (offset === 0 ? vga.dispi.readIndex() : vga.dispi.readData()),
      write: (offset, value) => {
        if (offset === 0) vga.dispi.writeIndex(value);
        else vga.dispi.writeData(value);
      },
      valid: words,
      impl: words,
    });
    portRoot.addSubregion(DISPI_PORT, dispi);
  }
}

let blankText: Uint32Array | undefined;

/** Characters and attributes of the text page are planes 0 and 1, the font is plane 2. */
function drawBlankText(): Uint32Array {
  const planes = new Uint32Array(TEXT_WORDS).fill(BLANK_CELL);
  for (let code = 0; code < 256; code++)
    for (const [line, dots] of glyphLines(code).entries())
      planes[code * FONT_STEP + line]! |= dots << 16;
  return planes;
}

/** Puts a VGA into a PC. */
export function attachDisplay(wiring: DisplayWiring): Display {
  return new Display(wiring);
}
