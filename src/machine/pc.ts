// The PC: which chips it has, at which addresses and ports, on which wires.
// Map of an i440FX board: 82441FX data sheet, section 4.1 "System Address Map"; ports and
// interrupts: IBM PC AT Technical Reference, "I/O Address Map" and "System Interrupts".

import type { IRQLine, VirtualClock } from '../base/device.ts';
import type { InterruptSource } from '../cpu/vcpu.ts';
import { SLEEP_TYPE_S5 } from '../devices/acpi-pm.ts';
import { CMOSRTC } from '../devices/cmos-rtc.ts';
import { DebugConsole } from '../devices/debug-ports.ts';
import { DMA8237, DMAPageRegisters } from '../devices/dma8237.ts';
import { type APICMessage, IO_APIC_BASE, IOAPIC } from '../devices/io-apic.ts';
import { KeyboardController } from '../devices/keyboard-controller.ts';
import { APIC_BASE_DEFAULT, APIC_BYTES, LocalAPIC } from '../devices/local-apic.ts';
import { PIC8259Pair } from '../devices/pic8259.ts';
import { PIT8254 } from '../devices/pit8254.ts';
import { Port92 } from '../devices/port92.ts';
import type { Savable } from '../devices/saved-state.ts';
import { SystemControlB } from '../devices/system-control-b.ts';
import { UART16550 } from '../devices/uart16550.ts';
import { GENERATION_ID_REGION_BYTES, VMGenerationId } from '../devices/vm-generation-id.ts';
import { AddressSpace } from '../memory/address-space.ts';
import type { IoSizes } from '../memory/io-ops.ts';
import { MemoryRegion } from '../memory/memory-region.ts';
import type { RAMBlock } from '../memory/ram-block.ts';
import { transaction } from '../memory/transaction.ts';
import type { BoardDevices } from './boot/acpi-tables.ts';
import { Chipset, GENERATION_ID_EVENT, GENERATION_ID_GPA, PIRQ_IRQS, SCI_IRQ } from './chipset.ts';
import { attachDisplay, type Display } from './display.ts';
import { attachOptionROM, Firmware, type FirmwareConfig } from './firmware.ts';
import { allocGuestRAM, type PCMemory } from './machine-memory.ts';
import { RAM_BELOW_4G_END } from './memory-map.ts';
import { SERIAL_COUNT_MAX, SERIAL_PORTS } from './serial-ports.ts';
import { attachStorage, type DriveConfig, type Storage } from './storage.ts';
import { attachVirtio, type DeviceConfig, type Virtio } from './virtio.ts';

const PORT_SPACE_BYTES = 0x1_0000;
/** What the I/O APIC sees IRQ 0 as. */
const TIMER_GSI = 2;
const ISA_IRQ_COUNT = 16;
const BYTES_ONLY: IoSizes = { maxBytes: 1 };
const WORDS32_ONLY: IoSizes = { minBytes: 4, maxBytes: 4 };

/** What a PC tells the machine it is in. All may be called from inside an instruction. */
export interface PCEvents {
  /** An interrupt may have become deliverable. */
  onInterrupt(): void;
  onNMI(): void;
  onA20(isEnabled: boolean): void;
  /** The guest pulled a reset line. */
  onReset(): void;
  onPowerOff(): void;
  /** @param index 0 for COM1 */
  onSerialByte(value: number, index: number): void;
  /** A serial port can take input again. */
  onSerialRoom(index: number): void;
  onDebugByte(value: number): void;
  /** A drive began, or ended, a request of the host. */
  onDriveRequest(): void;
  onDriveEnd(): void;
}

export interface PCOptions {
  readonly memory: PCMemory;
  readonly memoryBytes: number;
  readonly clock: VirtualClock;
  /** Unix time at power-on, ms. */
  readonly epochMs: number;
  readonly drives?: readonly DriveConfig[];
  readonly devices?: readonly DeviceConfig[];
  /** Without it, chips are left as firmware would, for a guest that is loaded directly. */
  readonly firmware?: FirmwareConfig;
  /** COM1 to COM4; default 1. */
  readonly serialCount?: number;
  readonly events: PCEvents;
}

/** The chips of a PC on their buses and wires; `interrupts` of its processor come from here. */
export class PC implements InterruptSource {
  /** Guest RAM below 4 GiB, or all of it. */
  readonly ram: RAMBlock;
  /** All guest RAM: `ram`, and what lies above 4 GiB in machines of 4 GiB and more. */
  readonly guestRAM: readonly RAMBlock[];
  /** The 64 KiB port space. */
  readonly ports: AddressSpace;
  readonly pics = new PIC8259Pair();
  readonly pit: PIT8254;
  readonly controlB: SystemControlB;
  readonly rtc: CMOSRTC;
  readonly keyboard = new KeyboardController();
  readonly port92 = new Port92();
  /** COM1 and, as far as they are there, COM2 to COM4. */
  readonly serials: readonly UART16550[];
  readonly apic: LocalAPIC;
  readonly ioapic = new IOAPIC();
  readonly chipset: Chipset;
  readonly firmware: Firmware | undefined;
  /** For tables that describe the board. */
  readonly board: BoardDevices;
  readonly dmas = [new DMA8237('dma0'), new DMA8237('dma1')] as const;
  readonly dmaPages = new DMAPageRegisters();
  readonly debugConsole = new DebugConsole();
  readonly storage: Storage;
  readonly virtio: Virtio;
  /** With device `vmgenid`. Whoever puts the machine back or copies it calls `renew`. */
  readonly generationId: VMGenerationId | undefined;
  readonly display: Display;
  readonly #events: PCEvents;
  readonly #memory: PCMemory;
  readonly #memoryBytes: number;
  readonly #apicRegion: MemoryRegion;
  readonly #portRoot: MemoryRegion;
  readonly #isaPulls = new Array<number>(ISA_IRQ_COUNT).fill(0);

  constructor(options: PCOptions) {
    const { memory, memoryBytes, clock, events } = options;
    this.#events = events;
    this.#memory = memory;
    this.#memoryBytes = memoryBytes;
    this.pit = new PIT8254(clock);
    this.controlB = new SystemControlB(clock, this.pit);
    this.rtc = new CMOSRTC(clock, options.epochMs);
    const { serialCount = 1 } = options;
    if (!Number.isInteger(serialCount) || serialCount < 1 || serialCount > SERIAL_COUNT_MAX)
      throw new RangeError(
        `Cannot create machine as it must have 1 to ${SERIAL_COUNT_MAX} serial ports: ` +
          `got ${serialCount}`,
      );
    this.serials = SERIAL_PORTS.slice(0, serialCount).map(
      (_, index) => new UART16550(`serial${index}`, clock),
    );
    this.apic = new LocalAPIC(clock);
    this.guestRAM = allocGuestRAM(memory.ramList, memoryBytes);
    this.ram = this.guestRAM[0]!;
    this.#apicRegion = MemoryRegion.io('apic', APIC_BYTES, {
      read: (offset) => this.apic.read(offset),
      write: (offset, value) => this.apic.write(offset, value),
      impl: WORDS32_ONLY,
    });
    this.#portRoot = MemoryRegion.container('io', PORT_SPACE_BYTES);
    this.ports = new AddressSpace({ name: 'I/O', root: this.#portRoot });
    this.chipset = new Chipset({
      memory,
      guestRAM: this.guestRAM,
      portRoot: this.#portRoot,
      clock,
      isaLine: (irq) => this.isaLine(irq),
    });
    const { bus } = this.chipset;
    transaction(() => {
      this.#mapMemory();
      this.#mapPorts();
    });
    this.display = attachDisplay({ clock, memory, bus });
    this.storage = attachStorage({
      drives: options.drives ?? [],
      clock,
      memory: memory.guest.addressSpace,
      portRoot: this.#portRoot,
      pci: bus.config,
      dma: this.dmas[0],
      dmaPages: this.dmaPages,
      isaLine: (irq) => this.isaLine(irq),
      onRequest: () => events.onDriveRequest(),
      onEnd: () => events.onDriveEnd(),
    });
    this.virtio = attachVirtio({
      ...{ memory, bus, guestRAM: this.guestRAM },
      drives: this.storage.virtioDrives,
      devices: options.devices ?? [],
    });
    const hasFloppy = (options.drives ?? []).some((drive) => drive.interface === 'floppy');
    this.generationId = this.#attachGenerationId(options.devices ?? []);
    this.board = { serialCount, hasFloppy, hasGenerationId: this.generationId !== undefined };
    const { firmware } = options;
    if (firmware !== undefined) {
      this.firmware = new Firmware(firmware, {
        memory,
        bus,
        memoryBytes,
        devices: this.board,
      });
      if (firmware.vgaBIOS !== undefined)
        attachOptionROM(memory, bus, this.display.config, 'vga.rom', firmware.vgaBIOS);
    }
    this.#wire();
    this.reset();
  }

  /** Everything whose state is the machine's, in the order in which it must be restored. */
  get savables(): readonly Savable[] {
    return [
      ...[this.pit, this.controlB, this.rtc, ...this.serials],
      ...[this.keyboard.keyboard, this.keyboard.mouse, this.keyboard, this.port92],
      ...[this.dmas[0], this.dmas[1], this.dmaPages],
      ...this.chipset.savables,
      ...(this.firmware?.savables ?? []),
      ...this.chipset.bus.config.functions,
      ...this.storage.savables,
      ...this.virtio.savables,
      ...this.display.savables,
      ...(this.generationId === undefined ? [] : [this.generationId]),
      // Who receives interrupt lines comes after those who drive them.
      ...[this.pics.slave, this.pics.master, this.ioapic, this.apic],
    ];
  }

  /** COM1. */
  get serial(): UART16550 {
    return this.serials[0]!;
  }

  /** Address line 20: either of the two gates opens it. */
  get isA20Enabled(): boolean {
    return this.port92.isA20Enabled || this.keyboard.isA20Enabled;
  }

  /** Power-on state of every chip and, without firmware, what it would set. RAM is not touched. */
  reset(): void {
    transaction(() => this.#reset());
  }

  #reset(): void {
    const chips = [
      ...[this.pit, this.controlB, this.rtc, ...this.serials, this.keyboard, this.port92],
      ...[this.chipset, this.dmas[0], this.dmas[1], this.dmaPages],
      ...[this.pics, this.ioapic, this.apic],
    ];
    for (const chip of chips) chip.reset();
    this.storage.reset();
    this.virtio.reset();
    this.display.reset();
    this.#setCMOS();
    if (this.firmware === undefined) this.#setFirmwareState();
    else this.firmware.reset();
  }

  hasInterrupt(): boolean {
    return this.apic.hasInterrupt || (this.#takesExternal && this.pics.hasInterrupt);
  }

  acknowledge(): number {
    if (this.apic.hasInterrupt || !this.#takesExternal) return this.apic.acknowledge();
    return this.pics.acknowledge();
  }

  /**
   * A wire to ISA interrupt `irq` of the 8259s and the I/O APIC. Each call gives another one: the
   * interrupt is raised while one of its wires is.
   */
  isaLine(irq: number): IRQLine {
    const pin = irq === 0 ? TIMER_GSI : irq;
    let isRaised = false;
    const set = (isHigh: boolean): void => {
      const before = this.#isaPulls[irq]!;
      this.#isaPulls[irq] = before + (isHigh === isRaised ? 0 : isHigh ? 1 : -1);
      isRaised = isHigh;
      // One that is low already may be so for the controllers only since now: they keep levels.
      const level = this.#isaPulls[irq]! > 0;
      this.pics.setIRQ(irq, level);
      this.ioapic.setInput(pin, level);
    };
    return { raise: () => set(true), lower: () => set(false) };
  }

  get #takesExternal(): boolean {
    return this.apic.takesExternal || this.ioapic.takesExternal;
  }

  #noteInterrupt(): void {
    if (this.hasInterrupt()) this.#events.onInterrupt();
  }

  #wire(): void {
    const events = this.#events;
    this.pit.irq = this.isaLine(0);
    this.keyboard.keyboardIRQ = this.isaLine(1);
    this.keyboard.auxIRQ = this.isaLine(12);
    this.rtc.irq = this.isaLine(8);
    this.pics.master.int = {
      raise: () => {
        this.apic.setLINT(0, true);
        this.#noteInterrupt();
      },
      lower: () => this.apic.setLINT(0, false),
    };
    this.ioapic.onMessage = (message) => this.#onMessage(message);
    this.ioapic.onEntry = () => this.#noteInterrupt();
    this.apic.onRequest = () => this.#noteInterrupt();
    this.apic.onNMI = () => events.onNMI();
    this.apic.onEOI = (vector) => this.ioapic.endOfInterrupt(vector);
    this.apic.onBase = (gpa, isEnabled) =>
      transaction(() => {
        this.#apicRegion.setOffset(gpa);
        this.#apicRegion.setEnabled(isEnabled);
      });
    this.keyboard.onA20 = () => events.onA20(this.isA20Enabled);
    this.port92.onA20 = () => events.onA20(this.isA20Enabled);
    this.keyboard.onReset = () => events.onReset();
    this.port92.onReset = () => events.onReset();
    this.chipset.resetControl.onReset = () => events.onReset();
    this.chipset.acpi.onSleep = (type) => {
      if (type === SLEEP_TYPE_S5) events.onPowerOff();
    };
    for (const [index, serial] of this.serials.entries()) {
      serial.irq = this.isaLine(SERIAL_PORTS[index]!.irq);
      serial.onByte = (value) => events.onSerialByte(value, index);
      serial.onRoom = () => events.onSerialRoom(index);
    }
    this.debugConsole.onByte = (value) => events.onDebugByte(value);
  }

  #onMessage(message: APICMessage): void {
    const { kind, vector, isLevel, destination, isLogical } = message;
    if (!this.apic.isDestination(destination, isLogical)) return;
    if (kind === 'nmi') this.#events.onNMI();
    else this.apic.accept(vector, isLevel);
  }

  #mapMemory(): void {
    const { root } = this.#memory.guest;
    root.addSubregion(APIC_BASE_DEFAULT, this.#apicRegion, 1);
    const ioapicRegion = MemoryRegion.io('ioapic', 0x1000, {
      read: (offset) => this.ioapic.read(offset),
      write: (offset, value) => this.ioapic.write(offset, value),
      impl: WORDS32_ONLY,
    });
    root.addSubregion(IO_APIC_BASE, ioapicRegion);
  }

  #attachGenerationId(devices: readonly DeviceConfig[]): VMGenerationId | undefined {
    const [config, second] = devices.filter((device) => device.kind === 'vmgenid');
    if (config === undefined) return undefined;
    if (second !== undefined)
      throw new RangeError('Cannot create machine as it must have one "vmgenid" at most');
    const chip = new VMGenerationId(config.fillRandom);
    chip.onRenew = () => this.chipset.acpi.raiseEvent(GENERATION_ID_EVENT);
    const region = MemoryRegion.io('vm-generation-id', GENERATION_ID_REGION_BYTES, {
      read: (offset) => chip.read(offset),
      write: () => {},
      impl: BYTES_ONLY,
    });
    this.#memory.guest.root.addSubregion(GENERATION_ID_GPA, region);
    return chip;
  }

  /** A device of byte registers; wider accesses are so many bytes. */
  #mapByteDevice(
    port: number,
    sizeBytes: number,
    name: string,
    read: (offset: number) => number,
    write: (offset: number, value: number) => void,
  ): void {
    const region = MemoryRegion.io(name, sizeBytes, { read, write, impl: BYTES_ONLY });
    this.#portRoot.addSubregion(port, region);
  }

  #mapPorts(): void {
    const { master, slave } = this.pics;
    for (const [port, pic] of [
      [0x20, master],
      [0xa0, slave],
    ] as const)
      this.#mapByteDevice(
        port,
        2,
        `pic@${port.toString(16)}`,
        (offset) => pic.read(offset),
        (offset, value) => pic.write(offset, value),
      );
    this.#mapByteDevice(
      0x4d0,
      2,
      'elcr',
      (offset) => (offset === 0 ? master : slave).readELCR(),
      (offset, value) => (offset === 0 ? master : slave).writeELCR(value),
    );
    for (const [port, size, name, chip] of [
      [0x40, 4, 'pit', this.pit],
      [0x70, 2, 'rtc', this.rtc],
      [0x80, 16, 'dma-pages', this.dmaPages],
      [0x00, 16, 'dma0', this.dmas[0]],
    ] as const)
      this.#mapByteDevice(
        port,
        size,
        name,
        (offset) => chip.read(offset),
        (offset, value) => chip.write(offset, value),
      );
    for (const [index, serial] of this.serials.entries())
      this.#mapByteDevice(
        SERIAL_PORTS[index]!.port,
        8,
        `serial${index}`,
        (offset) => serial.read(offset),
        (offset, value) => serial.write(offset, value),
      );
    // The second controller's registers lie two ports apart.
    this.#mapByteDevice(
      0xc0,
      32,
      'dma1',
      (offset) => this.dmas[1].read(offset >> 1),
      (offset, value) => this.dmas[1].write(offset >> 1, value),
    );
    for (const [port, chip] of [
      [0x60, 0],
      [0x64, 4],
    ] as const)
      this.#mapByteDevice(
        port,
        1,
        `i8042@${port.toString(16)}`,
        () => this.keyboard.read(chip),
        (_offset, value) => this.keyboard.write(chip, value),
      );
    for (const [port, name, chip] of [
      [0x61, 'port61', this.controlB],
      [0x92, 'port92', this.port92],
      [0xe9, 'debug', this.debugConsole],
      [0x402, 'debug-bios', this.debugConsole],
    ] as const) {
      const region = MemoryRegion.io(name, 1, {
        read: () => chip.read(),
        write: (_offset, value) => chip.write(value),
        impl: BYTES_ONLY,
      });
      this.#portRoot.addSubregion(port, region);
    }
  }

  /** What firmware leaves behind, for guests that are loaded without one. */
  #setFirmwareState(): void {
    this.apic.enableVirtualWire();
    this.ioapic.write(0x00, 0);
    this.ioapic.write(0x10, 1 << 24);
    for (const [pic, base, icw3] of [
      [this.pics.master, 0x08, 0x04],
      [this.pics.slave, 0x70, 0x02],
    ] as const) {
      pic.write(0, 0x11);
      for (const word of [base, icw3, 0x01, 0xff]) pic.write(1, word);
    }
    const levels = [SCI_IRQ, ...PIRQ_IRQS].reduce((bits, irq) => bits | (1 << irq), 0);
    this.pics.slave.writeELCR(levels >> 8);
    this.chipset.setFirmwareState();
    // Keyboard on, with its interrupt and translation; the mouse port off.
    this.keyboard.write(4, 0x60);
    this.keyboard.write(0, 0x65);
    this.storage.setFirmwareState();
    this.virtio.setFirmwareState();
    this.display.setFirmwareState();
  }

  /** CMOS memory: Ralf Brown's list, CMOS.LST, 0x10, 0x14, 0x15–0x18, 0x30, 0x34, 0x5b. */
  #setCMOS(): void {
    const set16 = (index: number, value: number) => {
      this.rtc.setByte(index, value & 0xff);
      this.rtc.setByte(index + 1, (value >> 8) & 0xff);
    };
    const below = Math.min(this.#memoryBytes, RAM_BELOW_4G_END);
    const above = Math.max(0, this.#memoryBytes - RAM_BELOW_4G_END);
    const extendedKiB = Math.min(0xffff, Math.max(0, below - 0x10_0000) >>> 10);
    set16(0x15, 640);
    set16(0x17, extendedKiB);
    set16(0x30, extendedKiB);
    set16(0x34, Math.min(0xffff, Math.max(0, below - 0x100_0000) >>> 16));
    const above64K = above / 0x1_0000;
    set16(0x5b, above64K & 0xffff);
    this.rtc.setByte(0x5d, (above64K >> 16) & 0xff);
    this.storage.setCMOS(this.rtc);
    for (const [index, value] of this.firmware?.cmosBytes ?? []) this.rtc.setByte(index, value);
  }
}
