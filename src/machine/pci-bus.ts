// The PCI bus of the PC: plugging functions in, their regions at their base addresses, their pins.
// PCI Local Bus Specification 2.1, section 6.2.5 "Base Addresses".

import type { IRQLine } from '../base/device.ts';
import { PCI_ROM_INDEX, PCIConfigMechanism, type PCIFunction } from '../devices/pci-config.ts';
import type { PIRQRouter } from '../devices/piix3-pirq.ts';
import type { MemoryRegion } from '../memory/memory-region.ts';
import { transaction } from '../memory/transaction.ts';

/** Above what is at fixed places on the bus, as on QEMU. RAM hides both. */
const BASE_ADDRESS_PRIORITY = 1;

/**
 * Bus 0. `memory` is what the processor sees where there is no RAM; regions at fixed addresses,
 * such as the VGA window, are added to it directly, and those behind base addresses by `map…`.
 */
export class PCIBus {
  readonly config = new PCIConfigMechanism();
  /** Memory space of the bus. */
  readonly memory: MemoryRegion;
  /** Port space; the bus shares it with the ISA devices. */
  readonly ports: MemoryRegion;
  readonly #router: PIRQRouter;

  constructor(memory: MemoryRegion, ports: MemoryRegion, router: PIRQRouter) {
    this.memory = memory;
    this.ports = ports;
    this.#router = router;
  }

  /**
   * Plugs a function in at `device` (0–31), `index` (0–7).
   * @throws {RangeError} if the place is taken
   */
  plug(device: number, index: number, pciFunction: PCIFunction): void {
    this.config.plug(device, index, pciFunction);
  }

  /**
   * Puts `region` behind base address register `index`, 0–5, and declares it: the region is where
   * the guest says, and nowhere while decoding is off.
   * @throws {RangeError} if the region's size is no power of two, or the register is taken
   */
  mapBaseAddress(
    pciFunction: PCIFunction,
    index: number,
    space: 'memory' | 'io',
    region: MemoryRegion,
    isPrefetchable = false,
  ): void {
    pciFunction.declareBaseAddress(index, space, region.sizeBytes, isPrefetchable);
    this.#follow(pciFunction, index, region, space === 'io' ? this.ports : this.memory);
  }

  /** The same for the expansion ROM. */
  mapROM(pciFunction: PCIFunction, region: MemoryRegion): void {
    pciFunction.declareROM(region.sizeBytes);
    this.#follow(pciFunction, PCI_ROM_INDEX, region, this.memory);
  }

  /** The wire of pin `pin` of `device`: 0 for INTA#. */
  interruptLine(device: number, pin: number): IRQLine {
    return this.#router.interruptLine(device, pin);
  }

  #follow(
    pciFunction: PCIFunction,
    index: number,
    region: MemoryRegion,
    space: MemoryRegion,
  ): void {
    region.setEnabled(false);
    space.addSubregion(0, region, BASE_ADDRESS_PRIORITY);
    const before = pciFunction.onDecode;
    pciFunction.onDecode = () => {
      before();
      const address = pciFunction.addressOf(index);
      transaction(() => {
        if (address !== undefined) region.setOffset(address);
        region.setEnabled(address !== undefined);
      });
    };
    pciFunction.onDecode();
  }
}
