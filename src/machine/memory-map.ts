// What the processor sees where: RAM below and above the PCI hole, the bus behind it, and the host
// bridge's shadowing (PAM) and SMRAM. 82441FX (PMC) data sheet (290549), sections 3.2.19 "PAM",
// 3.2.24 "SMRAM" and 4.1 "System Address Map".
//
//   system ─ ram-below-4g, ram-above-4g     0   RAM (from 4 GiB of RAM on: pc.ram.1 and so on)
//          ─ pam-pci, pam-ram, pam-write    1   one of them, or none of RAM's own, for each segment
//          ─ smram-window                   1   0xa0000–0xbffff: the bus, unless SMRAM is open
//          ─ pci                           -1   everything else

import { PAM_SEGMENTS, type PAMMode } from '../devices/i440fx.ts';
import { AddressSpace } from '../memory/address-space.ts';
import { MemoryRegion } from '../memory/memory-region.ts';
import type { RAMBlock } from '../memory/ram-block.ts';
import { transaction } from '../memory/transaction.ts';
import type { PCMemory } from './machine-memory.ts';

/** First address behind RAM below 4 GiB; the rest of RAM lies from 4 GiB on. */
export const RAM_BELOW_4G_END = 0xe000_0000;
/** The VGA's window; RAM that only SMRAM shows is behind it. */
export const VGA_HOLE = { start: 0xa_0000, end: 0xc_0000 } as const;
const GIB4 = 2 ** 32;
const ABOVE_RAM = 1;
const BELOW_RAM = -1;

interface Shadow {
  readonly bus: MemoryRegion;
  readonly ram: MemoryRegion;
  readonly writes: MemoryRegion;
}

export class MemoryMap {
  /** Memory space of the PCI bus. */
  readonly pci: MemoryRegion;
  readonly #shadows: readonly Shadow[];
  readonly #vgaWindow: MemoryRegion;

  /** @param guestRAM as `allocGuestRAM` made it */
  constructor(memory: PCMemory, guestRAM: readonly RAMBlock[]) {
    const [ramBlock, ...highBlocks] = guestRAM as [RAMBlock, ...RAMBlock[]];
    const { root, ramList, ramWrites } = memory.guest;
    const ram = MemoryRegion.ram('pc.ram', ramBlock);
    const { sizeBytes } = ram;
    this.pci = MemoryRegion.container('pci', root.sizeBytes);
    // Who reads the bus where writes go to RAM.
    const busSpace = new AddressSpace({ name: 'pci', root: this.pci, ramList, ramWrites });
    const belowBytes = Math.min(sizeBytes, RAM_BELOW_4G_END);
    this.#vgaWindow = MemoryRegion.alias(
      'smram-window',
      this.pci,
      VGA_HOLE.start,
      VGA_HOLE.end - VGA_HOLE.start,
    );
    this.#shadows = PAM_SEGMENTS.map(({ start, sizeBytes: size }) => ({
      bus: MemoryRegion.alias('pam-pci', this.pci, start, size),
      ram: MemoryRegion.alias('pam-ram', ram, start, size),
      writes: MemoryRegion.io('pam-write', size, {
        read: (offset, bytes) => busSpace.read(start + offset, bytes),
        write: (offset, value, bytes) => writeRAM(ramBlock, start + offset, value, bytes, memory),
      }),
    }));
    transaction(() => {
      root.addSubregion(0, this.pci, BELOW_RAM);
      root.addSubregion(0, MemoryRegion.alias('ram-below-4g', ram, 0, belowBytes));
      if (sizeBytes > belowBytes) {
        const rest = sizeBytes - belowBytes;
        root.addSubregion(GIB4, MemoryRegion.alias('ram-above-4g', ram, belowBytes, rest));
      }
      let highGPA = GIB4;
      for (const block of highBlocks) {
        root.addSubregion(highGPA, MemoryRegion.ram(block.id, block));
        highGPA += block.sizeBytes;
      }
      root.addSubregion(VGA_HOLE.start, this.#vgaWindow, ABOVE_RAM);
      for (const [i, shadow] of this.#shadows.entries())
        for (const region of [shadow.bus, shadow.ram, shadow.writes])
          root.addSubregion(PAM_SEGMENTS[i]!.start, region, ABOVE_RAM);
      this.setShadows(new Array<PAMMode>(PAM_SEGMENTS.length).fill(0));
    });
  }

  /** Who answers in each of `PAM_SEGMENTS`. */
  setShadows(modes: readonly PAMMode[]): void {
    transaction(() => {
      for (const [i, { bus, ram, writes }] of this.#shadows.entries()) {
        const mode = modes[i]!;
        bus.setEnabled(mode === 0);
        ram.setReadOnly(mode === 1);
        ram.setEnabled(mode === 1 || mode === 3);
        writes.setEnabled(mode === 2);
      }
    });
  }

  /** Whether RAM shows at 0xa0000–0xbffff instead of the bus. */
  setSMRAMOpen(isOpen: boolean): void {
    this.#vgaWindow.setEnabled(!isOpen);
  }
}

function writeRAM(
  block: RAMBlock,
  offset: number,
  value: number,
  sizeBytes: number,
  memory: PCMemory,
): void {
  memory.guest.ramWrites.before(block.ramOffset + offset, sizeBytes);
  for (let i = 0; i < sizeBytes; i++) block.bytes[offset + i] = (value >>> (8 * i)) & 0xff;
  memory.guest.ramWrites.note(block.ramOffset + offset, sizeBytes);
}
