// The VGA as a PCI function, and its registers in memory. QEMU documentation, "Standard VGA"
// (docs/specs/standard-vga): what each base address leads to.

import { PCIFunction } from './pci-config.ts';
import type { VGA } from './vga.ts';

/** Base address registers of the function. */
export const VGA_BAR_FRAMEBUFFER = 0x10;
export const VGA_BAR_REGISTERS = 0x18;
export const VGA_REGISTERS_BYTES = 0x1000;

/** VGA ports from 0x3c0 on, a byte each. */
const REGISTERS_VGA = 0x400;
const REGISTERS_VGA_END = 0x420;
const VGA_FIRST_OFFSET = 0x10;
/** Registers of the Bochs interface, 16 bits each. */
const REGISTERS_DISPI = 0x500;
const REGISTERS_DISPI_END = 0x516;
/** QEMU's own: size of this block, and the byte order of the framebuffer. */
const REGISTERS_SIZE = 0x600;
const REGISTERS_ORDER = 0x604;
const SIZE_VALUE = 8;
const LITTLE_ENDIAN = 0x1e1e_1e1e;

/** Device 1234:1111: base address 0 is video memory, 2 the registers, and it has a ROM. */
export function createVGAFunction(name: string): PCIFunction {
  return new PCIFunction(name, {
    vendorId: 0x1234,
    deviceId: 0x1111,
    revision: 0x02,
    classCode: 0x03_00_00,
  });
}

/** Register block: `offset` in it, 1 or 2 bytes. What is not there reads as 0. */
export function readVGARegisters(vga: VGA, offset: number, sizeBytes: number): number {
  if (offset >= REGISTERS_VGA && offset < REGISTERS_VGA_END) {
    const port = VGA_FIRST_OFFSET + offset - REGISTERS_VGA;
    const low = vga.readPort(port);
    return sizeBytes === 1 ? low : low | (vga.readPort(port + 1) << 8);
  }
  if (offset >= REGISTERS_DISPI && offset < REGISTERS_DISPI_END) {
    const word = vga.dispi.readRegister((offset - REGISTERS_DISPI) >> 1);
    return offset & 1 ? word >> 8 : word;
  }
  const own = offset & ~3;
  const value = own === REGISTERS_SIZE ? SIZE_VALUE : own === REGISTERS_ORDER ? LITTLE_ENDIAN : 0;
  return value >>> ((offset & 3) * 8);
}

/** Writes 1 or 2 bytes; the Bochs interface takes 2 only. The byte order cannot be changed. */
export function writeVGARegisters(
  vga: VGA,
  offset: number,
  value: number,
  sizeBytes: number,
): void {
  if (offset >= REGISTERS_VGA && offset < REGISTERS_VGA_END) {
    const port = VGA_FIRST_OFFSET + offset - REGISTERS_VGA;
    vga.writePort(port, value & 0xff);
    if (sizeBytes === 2) vga.writePort(port + 1, (value >> 8) & 0xff);
  } else if (offset >= REGISTERS_DISPI && offset < REGISTERS_DISPI_END && sizeBytes === 2)
    vga.dispi.writeRegister((offset - REGISTERS_DISPI) >> 1, value);
}
