// The i440FX and PIIX of a PC: host bridge with its memory map, PCI bus, interrupt router, power
// management, reset control, and their ports. 82441FX (PMC) data sheet (290549), 82371SB (PIIX3)
// data sheet (290550), 82371AB (PIIX4) data sheet (290562).

import type { IRQLine, VirtualClock } from '../base/device.ts';
import { ACPI_PM_BYTES, ACPIPM, PM_TIMER } from '../devices/acpi-pm.ts';
import { createISABridge, HostBridge, PowerManagement } from '../devices/i440fx.ts';
import { PCI_INTERRUPT_LINE, PCI_INTERRUPT_PIN } from '../devices/pci-config.ts';
import { PIRQ_ROUTES, PIRQRouter, pirqOf } from '../devices/piix3-pirq.ts';
import { ResetControl } from '../devices/reset-control.ts';
import type { Savable } from '../devices/saved-state.ts';
import { SMBUS_BYTES, SMBusHost } from '../devices/smbus.ts';
import type { IoSizes } from '../memory/io-ops.ts';
import { MemoryRegion } from '../memory/memory-region.ts';
import type { RAMBlock } from '../memory/ram-block.ts';
import { transaction } from '../memory/transaction.ts';
import type { PCMemory } from './machine-memory.ts';
import { MemoryMap } from './memory-map.ts';
import { PCIBus } from './pci-bus.ts';

/** Where firmware puts these registers. */
export const PM_BASE = 0x600;
const SMBUS_BASE = 0x700;
export const SCI_IRQ = 9;
/** Where the generation ID is, in machines that have one: reserved, and no PCI device's. */
export const GENERATION_ID_GPA = 0xfeff_f000;
/** The general-purpose event that says it changed. */
export const GENERATION_ID_EVENT = 5;
/** ISA interrupts of PIRQ A–D as firmware leaves them. */
export const PIRQ_IRQS = [10, 10, 11, 11] as const;
const BYTES_ONLY: IoSizes = { maxBytes: 1 };
const WORDS32_ONLY: IoSizes = { minBytes: 4, maxBytes: 4 };

export interface ChipsetWiring {
  readonly memory: PCMemory;
  /** As `allocGuestRAM` makes it. */
  readonly guestRAM: readonly RAMBlock[];
  /** Root of the port space. */
  readonly portRoot: MemoryRegion;
  readonly clock: VirtualClock;
  isaLine(irq: number): IRQLine;
}

export class Chipset {
  readonly map: MemoryMap;
  readonly bus: PCIBus;
  readonly hostBridge = new HostBridge();
  readonly isaBridge = createISABridge();
  readonly power = new PowerManagement(SCI_IRQ);
  readonly router: PIRQRouter;
  readonly acpi: ACPIPM;
  readonly smbus = new SMBusHost();
  readonly resetControl = new ResetControl();
  readonly #portRoot: MemoryRegion;

  constructor(wiring: ChipsetWiring) {
    const { memory, guestRAM, portRoot, clock } = wiring;
    this.#portRoot = portRoot;
    this.map = new MemoryMap(memory, guestRAM);
    this.router = new PIRQRouter(this.isaBridge);
    this.router.irqs = Array.from({ length: 16 }, (_, irq) => wiring.isaLine(irq));
    this.bus = new PCIBus(this.map.pci, portRoot, this.router);
    this.acpi = new ACPIPM(clock);
    this.acpi.sci = wiring.isaLine(SCI_IRQ);
    this.bus.plug(0, 0, this.hostBridge.config);
    this.bus.plug(1, 0, this.isaBridge);
    this.bus.plug(1, 3, this.power.config);
    this.hostBridge.onShadow = () => this.#shadow();
    this.isaBridge.onWrite = () => this.router.update();
    this.isaBridge.onDecode = () => this.router.update();
    this.#mapConfiguration();
    this.#mapPower();
  }

  /** PCI functions are not among them: the bus has those of all devices. */
  get savables(): readonly Savable[] {
    return [this.acpi, this.smbus, this.resetControl, this.bus.config];
  }

  reset(): void {
    for (const chip of [this.acpi, this.smbus, this.resetControl, this.bus.config]) chip.reset();
  }

  /** What firmware leaves behind, for guests that are loaded without one. */
  setFirmwareState(): void {
    this.hostBridge.setFirmwareState();
    this.power.setFirmwareState(PM_BASE, SMBUS_BASE);
    for (const [pirq, irq] of PIRQ_IRQS.entries())
      this.isaBridge.writeByte(PIRQ_ROUTES + pirq, irq);
    for (const [place, one] of this.bus.config.places) {
      const pin = one.readByte(PCI_INTERRUPT_PIN);
      if (pin === 0 || one === this.power.config) continue;
      one.writeByte(PCI_INTERRUPT_LINE, PIRQ_IRQS[pirqOf(place >> 3, pin - 1)]!);
    }
  }

  #shadow(): void {
    const { hostBridge } = this;
    transaction(() => {
      this.map.setShadows(hostBridge.modes);
      this.map.setSMRAMOpen(hostBridge.isSMRAMOpen);
    });
  }

  #mapConfiguration(): void {
    const { config } = this.bus;
    const { resetControl } = this;
    const address = MemoryRegion.io('pci-address', 4, {
      // Only accesses of 32 bits are configuration; a byte at the second port is the reset control.
      read: (offset, sizeBytes) => {
        if (sizeBytes === 4) return config.readAddress();
        return offset === 1 ? resetControl.read() : 0xffff_ffff;
      },
      write: (offset, value, sizeBytes) => {
        if (sizeBytes === 4) config.writeAddress(value);
        else if (offset === 1 && sizeBytes === 1) resetControl.write(value);
      },
    });
    const data = MemoryRegion.io('pci-data', 4, {
      read: (offset, sizeBytes) => config.readData(offset, sizeBytes),
      write: (offset, value, sizeBytes) => config.writeData(offset, sizeBytes, value),
    });
    this.#portRoot.addSubregion(0xcf8, address);
    this.#portRoot.addSubregion(0xcfc, data);
  }

  #mapPower(): void {
    const { acpi, smbus, power } = this;
    const pm = MemoryRegion.container('acpi-pm', ACPI_PM_BYTES);
    const registers = MemoryRegion.io('acpi-registers', ACPI_PM_BYTES, {
      read: (offset) => acpi.read(offset),
      write: (offset, value) => acpi.write(offset, value),
      impl: BYTES_ONLY,
    });
    // One read of 32 bits must be one moment.
    const timer = MemoryRegion.io('acpi-timer', 4, {
      read: () => acpi.readTimer(),
      write: () => {},
      impl: WORDS32_ONLY,
    });
    pm.addSubregion(0, registers);
    pm.addSubregion(PM_TIMER, timer, 1);
    const smbusRegion = MemoryRegion.io('smbus', SMBUS_BYTES, {
      read: (offset) => smbus.read(offset),
      write: (offset, value) => smbus.write(offset, value),
      impl: BYTES_ONLY,
    });
    this.#portRoot.addSubregion(0, pm);
    this.#portRoot.addSubregion(0, smbusRegion);
    power.onBase = () =>
      transaction(() => {
        for (const [region, port] of [
          [pm, power.pmPort],
          [smbusRegion, power.smbusPort],
        ] as const) {
          if (port !== undefined) region.setOffset(port);
          region.setEnabled(port !== undefined);
        }
      });
    power.onBase();
    const command = MemoryRegion.io('apm', 2, {
      read: (offset) => acpi.readCommand(offset),
      write: (offset, value) => acpi.writeCommand(offset, value),
      impl: BYTES_ONLY,
    });
    this.#portRoot.addSubregion(0xb2, command);
  }
}
