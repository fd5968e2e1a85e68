// The chip set's PCI functions without registers elsewhere: 82441FX host bridge, PIIX3's ISA bridge
// and PIIX4's power management. 82441FX (PMC) data sheet (290549-001), section 3.2; 82371SB (PIIX3)
// data sheet, section 2.2; 82371AB (PIIX4) data sheet, section 7.1 "Power
// Management PCI Configuration Registers".

import {
  PCI_COMMAND,
  PCI_INTERRUPT_LINE,
  PCI_INTERRUPT_PIN,
  PCI_STATUS,
  PCIFunction,
} from './pci-config.ts';
import { PIRQ_COUNT, PIRQ_OFF, PIRQ_ROUTES } from './piix3-pirq.ts';

const INTEL = 0x8086;
/** 82441FX: memory type of 0xc0000–0xfffff, four bits for each segment; SMRAM control. */
export const PAM0 = 0x59;
export const PAM_BYTES = 7;
export const SMRAM = 0x72;
const SMRAM_BASE_SEGMENT = 0x02;
const SMRAM_ENABLE = 0x08;
const SMRAM_LOCK = 0x10;
const SMRAM_CLOSED = 0x20;
const SMRAM_OPEN = 0x40;
/** PIIX4 power management: base addresses and what opens them. */
export const PM_BASE_REGISTER = 0x40;
const PM_BASE_MASK = 0xffc0;
export const DEVACTB = 0x58;
export const PM_MISC = 0x80;
export const SMBUS_BASE_REGISTER = 0x90;
const SMBUS_BASE_MASK = 0xfff0;
export const SMBUS_CONFIG = 0xd2;
const IO_ENABLE = 0x01;
const BASE_IS_IO = 0x01;
/** Bit 25 of DEVACTB: a write to port 0xb2 raises an SMI. */
const APMC_ENABLE_BYTE = 0x02;

/** Read enable (1) and write enable (2): who answers, RAM if the bit is set, else the bus. */
export type PAMMode = 0 | 1 | 2 | 3;

/** Segments by register nibble: PAM0's high one first, then PAM1's low one. */
export const PAM_SEGMENTS: readonly { readonly start: number; readonly sizeBytes: number }[] = [
  { start: 0xf_0000, sizeBytes: 0x1_0000 },
  ...Array.from({ length: 12 }, (_, i) => ({ start: 0xc_0000 + i * 0x4000, sizeBytes: 0x4000 })),
];

/** Device 00:00.0. */
export class HostBridge {
  readonly config: PCIFunction;
  // Wiring, set once by the machine.
  /** What `modes` or `isSMRAMOpen` says may have changed. */
  onShadow: () => void = () => {};

  constructor() {
    this.config = new PCIFunction('pci/00.0', {
      vendorId: INTEL,
      deviceId: 0x1237,
      revision: 0x02,
      classCode: 0x06_00_00,
    });
    const { config } = this;
    config.set(PCI_COMMAND, 2, 0x0006);
    config.set(PCI_STATUS, 2, 0x0280);
    config.allowWrites(PAM0, 4, 0x3333_3330);
    config.allowWrites(PAM0 + 4, 3, 0x33_3333);
    config.set(SMRAM, 1, SMRAM_BASE_SEGMENT);
    this.#allowSMRAMWrites();
    config.onWrite = (offset) => {
      if (offset >= PAM0 && offset < PAM0 + PAM_BYTES) this.onShadow();
      if (offset === SMRAM) this.#onSMRAM();
    };
    config.onDecode = () => {
      this.#allowSMRAMWrites();
      this.onShadow();
    };
  }

  /** Mode of each of `PAM_SEGMENTS`. */
  get modes(): readonly PAMMode[] {
    return PAM_SEGMENTS.map((_, i) => {
      const byte = this.config.readByte(PAM0 + ((i + 1) >> 1));
      return ((i & 1 ? byte : byte >> 4) & 3) as PAMMode;
    });
  }

  /** Whether SMM's RAM shows to a processor that is not in SMM; none of ours ever is. */
  get isSMRAMOpen(): boolean {
    const value = this.config.readByte(SMRAM);
    return (value & SMRAM_ENABLE) !== 0 && (value & SMRAM_OPEN) !== 0;
  }

  /** What firmware leaves behind: all of 0xc0000–0xfffff is RAM. */
  setFirmwareState(): void {
    for (let i = 0; i < PAM_BYTES; i++) this.config.writeByte(PAM0 + i, 0x33);
  }

  /** "When DLCK is set, DOPEN is reset", and all but DCLS is read-only until a reset. */
  #onSMRAM(): void {
    const value = this.config.readByte(SMRAM);
    if (value & SMRAM_LOCK) this.config.state.bytes[SMRAM] = value & ~SMRAM_OPEN;
    this.#allowSMRAMWrites();
    this.onShadow();
  }

  #allowSMRAMWrites(): void {
    const isLocked = (this.config.readByte(SMRAM) & SMRAM_LOCK) !== 0;
    const rest = SMRAM_OPEN | SMRAM_LOCK | SMRAM_ENABLE;
    this.config.allowWrites(SMRAM, 1, isLocked ? SMRAM_CLOSED : SMRAM_CLOSED | rest);
  }
}

/**
 * Registers that are kept and lead nowhere, and their defaults: recovery times, decoding of X-bus
 * devices, top of memory, routing of motherboard interrupts and DMA, SMI control and timers.
 */
const ISA_BRIDGE_DEFAULTS: readonly (readonly [
  offset: number,
  sizeBytes: number,
  value: number,
])[] = [
  [0x4c, 1, 0x4d],
  [0x4e, 2, 0x0003],
  [0x69, 1, 0x02],
  [0x70, 1, 0x80],
  [0x76, 2, 0x0c0c],
  [0x78, 2, 0x0002],
  [0xa0, 1, 0x08],
  [0xa8, 1, 0x0f],
];

/** Device 00:01.0. */
export function createISABridge(): PCIFunction {
  const bridge = new PCIFunction('pci/01.0', {
    vendorId: INTEL,
    deviceId: 0x7000,
    revision: 0x00,
    classCode: 0x06_01_00,
    isMultifunction: true,
  });
  bridge.set(PCI_COMMAND, 2, 0x0007);
  bridge.set(PCI_STATUS, 2, 0x0200);
  for (let i = 0; i < PIRQ_COUNT; i++) {
    bridge.set(PIRQ_ROUTES + i, 1, PIRQ_OFF);
    bridge.allowWrites(PIRQ_ROUTES + i, 1, 0x8f);
  }
  for (const [offset, sizeBytes, value] of ISA_BRIDGE_DEFAULTS) {
    bridge.set(offset, sizeBytes, value);
    bridge.allowWrites(offset, sizeBytes, 0xffff);
  }
  return bridge;
}

/** Device 00:01.3: power management and SMBus, each at a base of its own. */
export class PowerManagement {
  readonly config: PCIFunction;
  // Wiring, set once by the machine.
  /** What `pmPort` or `smbusPort` says may have changed. */
  onBase: () => void = () => {};

  constructor(sciIRQ: number) {
    this.config = new PCIFunction('pci/01.3', {
      vendorId: INTEL,
      deviceId: 0x7113,
      revision: 0x03,
      classCode: 0x06_80_00,
    });
    const { config } = this;
    config.set(PCI_STATUS, 2, 0x0280);
    config.set(PCI_INTERRUPT_LINE, 1, sciIRQ);
    config.set(PCI_INTERRUPT_PIN, 1, 1);
    config.set(PM_BASE_REGISTER, 4, BASE_IS_IO);
    config.allowWrites(PM_BASE_REGISTER, 2, PM_BASE_MASK);
    config.set(SMBUS_BASE_REGISTER, 4, BASE_IS_IO);
    config.allowWrites(SMBUS_BASE_REGISTER, 2, SMBUS_BASE_MASK);
    // There is no SMM: to firmware it looks as if the handler were installed already.
    config.set(DEVACTB + 3, 1, APMC_ENABLE_BYTE);
    config.allowWrites(DEVACTB, 3, 0xff_ffff);
    config.allowWrites(PM_MISC, 1, IO_ENABLE);
    config.allowWrites(SMBUS_CONFIG, 1, 0x0f);
    config.onWrite = () => this.onBase();
    config.onDecode = () => this.onBase();
  }

  /** First port of the power management registers, or undefined while they are closed. */
  get pmPort(): number | undefined {
    const port = this.config.read32(PM_BASE_REGISTER) & PM_BASE_MASK;
    return this.config.readByte(PM_MISC) & IO_ENABLE && port !== 0 ? port : undefined;
  }

  /** The same of the SMBus host. */
  get smbusPort(): number | undefined {
    const port = this.config.read32(SMBUS_BASE_REGISTER) & SMBUS_BASE_MASK;
    return this.config.readByte(SMBUS_CONFIG) & IO_ENABLE && port !== 0 ? port : undefined;
  }

  /** What firmware leaves behind. */
  setFirmwareState(pmPort: number, smbusPort: number): void {
    this.config.writeBytes(PM_BASE_REGISTER, 2, pmPort);
    this.config.writeByte(PM_MISC, IO_ENABLE);
    this.config.writeBytes(SMBUS_BASE_REGISTER, 2, smbusPort);
    this.config.writeByte(SMBUS_CONFIG, IO_ENABLE);
    this.config.writeByte(PCI_COMMAND, 0x01);
  }
}
