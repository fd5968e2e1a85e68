// Headers of the chip set's PCI functions: 82441FX host bridge, PIIX3's ISA bridge and PIIX4's power
// management. 82441FX (PMC) data sheet (290549-001), section 3.2; 82371SB (PIIX3) data sheet, section
// 2.2; 82371AB (PIIX4) data sheet, section 7.1 "Power Management PCI Configuration Registers".

import {
  PCI_COMMAND,
  PCI_INTERRUPT_LINE,
  PCI_INTERRUPT_PIN,
  PCI_STATUS,
  PCIFunction,
} from './pci-config.ts';

const INTEL = 0x8086;
/** 82441FX: memory type of 0xc0000–0xfffff, a byte for each 32 KiB; SMRAM control. */
const PAM0 = 0x59;
const PAM_BYTES = 7;
const SMRAM = 0x72;
/** PIIX3: interrupt routing of PIRQ A–D. */
const PIRQ_ROUTES = 0x60;
const PIRQ_COUNT = 4;
const PIRQ_OFF = 0x80;
/** PIIX4 power management. */
const PM_BASE = 0x40;
const PM_MISC = 0x80;
const PM_MISC_IO_ENABLE = 0x01;
const BASE_IS_IO = 0x01;

/** Device 00:00.0. Its PAM registers are kept; all of 0xc0000–0xfffff is RAM whatever they say. */
export function createHostBridge(): PCIFunction {
  const bridge = new PCIFunction('pci/00.0', {
    vendorId: INTEL,
    deviceId: 0x1237,
    revision: 0x02,
    classCode: 0x06_00_00,
  });
  bridge.set(PCI_COMMAND, 2, 0x0006);
  bridge.set(PCI_STATUS, 2, 0x0280);
  for (let i = 0; i < PAM_BYTES; i++) bridge.set(PAM0 + i, 1, i === 0 ? 0x30 : 0x33);
  bridge.allowWrites(PAM0, 4, 0x3333_3330);
  bridge.allowWrites(PAM0 + 4, 3, 0x33_3333);
  bridge.set(SMRAM, 1, 0x02);
  return bridge;
}

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
  return bridge;
}

/** Device 00:01.3; its register block lies at `pmBase` for ever, as firmware would have set it. */
export function createPowerManagement(pmBase: number, sciIRQ: number): PCIFunction {
  const power = new PCIFunction('pci/01.3', {
    vendorId: INTEL,
    deviceId: 0x7113,
    revision: 0x03,
    classCode: 0x06_80_00,
  });
  power.set(PCI_COMMAND, 2, 0x0001);
  power.set(PCI_STATUS, 2, 0x0280);
  power.set(PCI_INTERRUPT_LINE, 1, sciIRQ);
  power.set(PCI_INTERRUPT_PIN, 1, 1);
  power.set(PM_BASE, 4, pmBase | BASE_IS_IO);
  power.set(PM_MISC, 1, PM_MISC_IO_ENABLE);
  return power;
}
