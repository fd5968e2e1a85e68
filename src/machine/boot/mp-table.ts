// The MP configuration table, for systems that do not read ACPI's.
// Intel MultiProcessor Specification 1.4, chapter 4 "MP Configuration Table".

import { IO_APIC_BASE } from '../../devices/io-apic.ts';
import { APIC_BASE_DEFAULT } from '../../devices/local-apic.ts';
import { pirqOf } from '../../devices/piix3-pirq.ts';
import { PIRQ_IRQS } from '../chipset.ts';
import { IO_APIC_ID, LOCAL_APIC_ID, setChecksum } from './acpi-tables.ts';

const POINTER_BYTES = 16;
const HEADER_BYTES = 44;
const PROCESSOR_ENABLED_BOOT = 0x03;
/** A P6 with an APIC on the chip: family 6; features as CPUID gives them, FPU and APIC at least. */
const PROCESSOR_SIGNATURE = 0x0650;
const PROCESSOR_FEATURES = 0x0201;
const APIC_VERSION = 0x14;
const IO_APIC_VERSION = 0x11;
const BUS_PCI = 0;
const BUS_ISA = 1;
const INT = 0;
const NMI = 1;
const EXTINT = 3;
const ALL_LOCAL_APICS = 0xff;
const TIMER_PIN = 2;
const CASCADE_IRQ = 2;
const ISA_IRQ_COUNT = 16;
const PCI_DEVICE_COUNT = 32;
const PCI_PIN_COUNT = 4;
/** Polarity and trigger mode, section 4.3.4. */
const LEVEL_HIGH = 0x0d;

const u16 = (value: number): number[] => [value & 0xff, (value >> 8) & 0xff];
const u32 = (value: number): number[] => [...u16(value & 0xffff), ...u16((value >>> 16) & 0xffff)];
const text = (value: string): number[] => [...value].map((character) => character.charCodeAt(0));

function entries(): number[][] {
  const list = [
    [
      ...[0, LOCAL_APIC_ID, APIC_VERSION, PROCESSOR_ENABLED_BOOT],
      ...u32(PROCESSOR_SIGNATURE),
      ...u32(PROCESSOR_FEATURES),
      ...u32(0),
      ...u32(0),
    ],
    [1, BUS_PCI, ...text('PCI   ')],
    [1, BUS_ISA, ...text('ISA   ')],
    [2, IO_APIC_ID, IO_APIC_VERSION, 1, ...u32(IO_APIC_BASE)],
  ];
  for (let irq = 0; irq < ISA_IRQ_COUNT; irq++) {
    if (irq === CASCADE_IRQ) continue;
    const pin = irq === 0 ? TIMER_PIN : irq;
    list.push([3, INT, ...u16(0), BUS_ISA, irq, IO_APIC_ID, pin]);
  }
  for (let device = 1; device < PCI_DEVICE_COUNT; device++)
    for (let pin = 0; pin < PCI_PIN_COUNT; pin++) {
      const irq = PIRQ_IRQS[pirqOf(device, pin)]!;
      list.push([3, INT, ...u16(LEVEL_HIGH), BUS_PCI, (device << 2) | pin, IO_APIC_ID, irq]);
    }
  list.push([4, EXTINT, ...u16(0), BUS_ISA, 0, ALL_LOCAL_APICS, 0]);
  list.push([4, NMI, ...u16(0), BUS_ISA, 0, ALL_LOCAL_APICS, 1]);
  return list;
}

/** Floating pointer and, behind it, the table; `gpa` must be a multiple of 16. */
export function buildMPTable(gpa: number): Uint8Array {
  const list = entries();
  const body = list.flat();
  const table = Uint8Array.from([
    ...text('PCMP'),
    ...u16(HEADER_BYTES + body.length),
    ...[4, 0], // Revision 1.4; checksum.
    ...text('QUIRE   '),
    ...text('PC          '),
    ...u32(0),
    ...u16(0),
    ...u16(list.length),
    ...u32(APIC_BASE_DEFAULT),
    ...u32(0),
    ...body,
  ]);
  setChecksum(table, 7);
  const pointer = Uint8Array.from([
    ...text('_MP_'),
    ...u32(gpa + POINTER_BYTES),
    ...[1, 4, 0], // Length in paragraphs; revision 1.4; checksum.
    ...[0, 0, 0, 0, 0], // A table is there; virtual wire mode.
  ]);
  setChecksum(pointer, 10);
  const out = new Uint8Array(POINTER_BYTES + table.length);
  out.set(pointer);
  out.set(table, POINTER_BYTES);
  return out;
}
