// The ACPI tables of the PC: how many processors and interrupt inputs there are, where the power
// management registers lie, how to power off. ACPI specification 1.0b, section 5.2 "ACPI System
// Description Tables".

import {
  ACPI_DISABLE,
  ACPI_ENABLE,
  GPE_STATUS,
  PM_TIMER,
  PM1_CONTROL,
  PM1_STATUS,
  SLEEP_TYPE_S5,
} from '../../devices/acpi-pm.ts';
import { IO_APIC_BASE } from '../../devices/io-apic.ts';
import { APIC_BASE_DEFAULT } from '../../devices/local-apic.ts';
import { pirqOf } from '../../devices/piix3-pirq.ts';
import { GENERATION_ID_EVENT, GENERATION_ID_GPA, PIRQ_IRQS, PM_BASE, SCI_IRQ } from '../chipset.ts';
import { RAM_BELOW_4G_END } from '../memory-map.ts';
import { SERIAL_PORTS } from '../serial-ports.ts';
import * as aml from './aml.ts';

/** Identities of the I/O APIC and the processor's APIC in all tables. */
export const IO_APIC_ID = 1;
export const LOCAL_APIC_ID = 0;
/** What of a PC may be there or not. */
export interface BoardDevices {
  readonly serialCount: number;
  readonly hasFloppy: boolean;
  readonly hasGenerationId?: boolean;
}

const HEADER_BYTES = 36;
const CHECKSUM = 9;
const FADT_BYTES = 116;
const FACS_BYTES = 64;
const TABLE_ALIGNMENT = 64;
export const ROOT_POINTER_CHECKSUM = 8;
export const ROOT_POINTER_RSDT = 16;
const SMI_COMMAND_PORT = 0xb2;
const CENTURY_REGISTER = 0x32;
/** FADT flags: WBINVD works, C1 works, no sleep button among the fixed features. */
const FADT_FLAGS = 0x01 | 0x04 | 0x20;
/** More than 100 and 1000 µs: C2 and C3 are not there. */
const NO_C2 = 0xfff;
const NO_C3 = 0xfff;
const MADT_PCAT_COMPATIBLE = 1;
/** MPS INTI flags: active high and edge or level. */
const ACTIVE_HIGH_LEVEL = 0x0d;
const CONFORMS = 0;
const LINT1 = 1;
const ALL_PROCESSORS = 0xff;
const PCI_DEVICE_COUNT = 32;
const PCI_PIN_COUNT = 4;
/** What the generation ID's device is notified of. */
const GENERATION_ID_CHANGED = 0x80;

function bytesSum(bytes: Uint8Array): number {
  return bytes.reduce((sum, byte) => (sum + byte) & 0xff, 0);
}

/** Makes the bytes of a table add up to zero by the one at `at`. */
export function setChecksum(bytes: Uint8Array, at: number): void {
  bytes[at] = 0;
  bytes[at] = (0x100 - bytesSum(bytes)) & 0xff;
}

function writeText(bytes: Uint8Array, at: number, text: string): void {
  for (let i = 0; i < text.length; i++) bytes[at + i] = text.charCodeAt(i);
}

/** A table with its header: section 5.2.3 "System Description Table Header". */
function table(signature: string, revision: number, body: ArrayLike<number>): Uint8Array {
  const bytes = new Uint8Array(HEADER_BYTES + body.length);
  const view = new DataView(bytes.buffer);
  writeText(bytes, 0, signature);
  view.setUint32(4, bytes.length, true);
  bytes[8] = revision;
  writeText(bytes, 10, 'QUIRE ');
  writeText(bytes, 16, 'QUIREPC ');
  view.setUint32(24, 1, true);
  writeText(bytes, 28, 'QUIR');
  view.setUint32(32, 1, true);
  bytes.set(body, HEADER_BYTES);
  setChecksum(bytes, CHECKSUM);
  return bytes;
}

const u16 = (value: number): number[] => [value & 0xff, (value >> 8) & 0xff];
const u32 = (value: number): number[] => [...u16(value & 0xffff), ...u16((value >>> 16) & 0xffff)];

/** Global interrupts of all PCI pins, hard-wired: section 6.2.3 "_PRT". */
function interruptRoutes(): aml.AML[] {
  const routes: aml.AML[] = [];
  for (let device = 1; device < PCI_DEVICE_COUNT; device++)
    for (let pin = 0; pin < PCI_PIN_COUNT; pin++)
      routes.push(
        aml.packaged(
          aml.integer(((device << 16) | 0xffff) >>> 0),
          aml.integer(pin),
          aml.integer(0),
          aml.integer(PIRQ_IRQS[pirqOf(device, pin)]!),
        ),
      );
  return routes;
}

/** A device at ISA ports, with its interrupt. */
function isaDevice(name: string, id: string, ports: readonly number[], irq: number): aml.AML {
  const [first = 0, count = 1, second] = ports;
  return aml.device(
    name,
    aml.named('_HID', aml.eisaId(id)),
    aml.named('_STA', aml.integer(0x0f)),
    aml.named(
      '_CRS',
      aml.buffer([
        ...(count === 0 ? [] : aml.ioPorts(first, count)),
        ...(second === undefined ? [] : aml.ioPorts(second, 1)),
        ...aml.isaInterrupt(irq),
        ...aml.RESOURCE_END,
      ]),
    ),
  );
}

/** Firmware and drivers look for these by their identities: not to find one is to have none. */
function isaDevices({ serialCount, hasFloppy }: BoardDevices): aml.AML {
  return aml.device(
    'ISA_',
    aml.named('_ADR', aml.integer(0x0001_0000)),
    isaDevice('RTC_', 'PNP0B00', [0x70, 2], 8),
    isaDevice('KBD_', 'PNP0303', [0x60, 1, 0x64], 1),
    isaDevice('MOU_', 'PNP0F13', [0, 0], 12),
    ...(hasFloppy ? [isaDevice('FDC0', 'PNP0700', [0x3f2, 4, 0x3f7], 6)] : []),
    ...SERIAL_PORTS.slice(0, serialCount).map(({ port, irq }, index) =>
      isaDevice(`COM${index + 1}`, 'PNP0501', [port, 8], irq),
    ),
  );
}

/**
 * "Virtual Machine Generation ID", "Implementation": the device is known by its _CID, ADDR gives
 * the halves of the number's address, and its event notifies the device. Its _CID is longer than
 * ACPI allows, so Hyper-V has a short one beside it.
 */
function generationId(): aml.AML {
  const digits = GENERATION_ID_EVENT.toString(16).toUpperCase().padStart(2, '0');
  return [
    ...aml.scope(
      '\\_SB_',
      aml.device(
        'VGEN',
        aml.named('_HID', aml.text('QUIR0001')),
        aml.named('_CID', aml.packaged(aml.text('VM_Gen_Counter'), aml.text('VMGENCTR'))),
        aml.named('_DDN', aml.text('VM_Gen_Counter')),
        aml.named('_STA', aml.integer(0x0f)),
        aml.named('ADDR', aml.packaged(aml.integer(GENERATION_ID_GPA), aml.integer(0))),
      ),
    ),
    ...aml.scope(
      '\\_GPE',
      aml.method(`_E${digits}`, aml.notify(['_SB_', 'VGEN'], GENERATION_ID_CHANGED)),
    ),
  ];
}

/** Differentiated description: one PCI bus with its interrupt routes, ISA devices, soft off. */
export function buildDSDT(devices: BoardDevices): Uint8Array {
  const sleepType = aml.integer(SLEEP_TYPE_S5);
  return table('DSDT', 1, [
    ...aml.scope(
      '\\_SB_',
      aml.device(
        'PCI0',
        aml.named('_HID', aml.eisaId('PNP0A03')),
        aml.named('_PRT', aml.packaged(...interruptRoutes())),
        aml.named(
          '_CRS',
          aml.buffer([
            ...aml.busRange(0, 0xff),
            ...aml.ioPorts(0xcf8, 8),
            ...aml.ioRange(0, 0xcf7),
            ...aml.ioRange(0xd00, 0xffff),
            ...aml.memoryRange(RAM_BELOW_4G_END, IO_APIC_BASE - 1),
            ...aml.RESOURCE_END,
          ]),
        ),
        isaDevices(devices),
      ),
    ),
    ...(devices.hasGenerationId === true ? generationId() : []),
    ...aml.named('\\_S5_', aml.packaged(sleepType, sleepType, aml.integer(0), aml.integer(0))),
  ]);
}

function buildFADT(facsGpa: number, dsdtGpa: number): Uint8Array {
  const body = new Uint8Array(FADT_BYTES - HEADER_BYTES);
  const view = new DataView(body.buffer);
  const put8 = (at: number, value: number) => view.setUint8(at - HEADER_BYTES, value);
  const put16 = (at: number, value: number) => view.setUint16(at - HEADER_BYTES, value, true);
  const put32 = (at: number, value: number) => view.setUint32(at - HEADER_BYTES, value, true);
  put32(36, facsGpa);
  put32(40, dsdtGpa);
  put8(44, 1); // INT_MODEL: several APICs.
  put16(46, SCI_IRQ);
  put32(48, SMI_COMMAND_PORT);
  put8(52, ACPI_ENABLE);
  put8(53, ACPI_DISABLE);
  put32(56, PM_BASE + PM1_STATUS);
  put32(64, PM_BASE + PM1_CONTROL);
  put32(76, PM_BASE + PM_TIMER);
  put32(80, PM_BASE + GPE_STATUS);
  put8(88, 4); // PM1_EVT_LEN
  put8(89, 2); // PM1_CNT_LEN
  put8(91, 4); // PM_TM_LEN
  put8(92, 4); // GPE0_BLK_LEN
  put16(96, NO_C2);
  put16(98, NO_C3);
  put8(108, CENTURY_REGISTER);
  put32(112, FADT_FLAGS);
  return table('FACP', 1, body);
}

/** The FACS has no checksum and a header of its own. */
function buildFACS(): Uint8Array {
  const bytes = new Uint8Array(FACS_BYTES);
  writeText(bytes, 0, 'FACS');
  new DataView(bytes.buffer).setUint32(4, FACS_BYTES, true);
  return bytes;
}

function buildMADT(): Uint8Array {
  const overrideOf = (irq: number, gsi: number, flags: number) => [
    ...[2, 10, 0, irq],
    ...u32(gsi),
    ...u16(flags),
  ];
  return table('APIC', 1, [
    ...u32(APIC_BASE_DEFAULT),
    ...u32(MADT_PCAT_COMPATIBLE),
    ...[0, 8, 0, LOCAL_APIC_ID, ...u32(1)], // Processor 0, enabled.
    ...[1, 12, IO_APIC_ID, 0, ...u32(IO_APIC_BASE), ...u32(0)],
    ...overrideOf(0, 2, CONFORMS),
    ...[SCI_IRQ, ...new Set(PIRQ_IRQS)].flatMap((irq) => overrideOf(irq, irq, ACTIVE_HIGH_LEVEL)),
    ...[4, 6, ALL_PROCESSORS, ...u16(CONFORMS), LINT1], // The NMI pin.
  ]);
}

/** One of the tables that lie one after another. */
export interface PlacedTable {
  /** From the first table on, bytes. */
  readonly offset: number;
  readonly bytes: Uint8Array;
  /** Where in the table its checksum is; the FACS has none. */
  readonly checksumAt?: number;
  /** Where in the table the addresses of other tables are. */
  readonly pointersAt?: readonly number[];
}

/** The tables as they are when the first of them lies at `gpa`, a multiple of 64. */
export function placeACPITables(gpa: number, devices: BoardDevices): readonly PlacedTable[] {
  const tables: PlacedTable[] = [];
  let next = 0;
  const place = (rest: Omit<PlacedTable, 'offset'>): number => {
    const offset = next;
    tables.push({ offset, ...rest });
    next = Math.ceil((offset + rest.bytes.length) / TABLE_ALIGNMENT) * TABLE_ALIGNMENT;
    return gpa + offset;
  };
  const withSum = (bytes: Uint8Array) => ({ bytes, checksumAt: CHECKSUM });
  const facsGpa = place({ bytes: buildFACS() });
  const dsdtGpa = place(withSum(buildDSDT(devices)));
  const fadtGpa = place({ ...withSum(buildFADT(facsGpa, dsdtGpa)), pointersAt: [36, 40] });
  const madtGpa = place(withSum(buildMADT()));
  const rsdt = table('RSDT', 1, [...u32(fadtGpa), ...u32(madtGpa)]);
  place({ ...withSum(rsdt), pointersAt: [36, 40] });
  return tables;
}

/** Tables, one after another, as bytes. */
export function joinTables(tables: readonly PlacedTable[]): Uint8Array {
  const last = tables.at(-1)!;
  const bytes = new Uint8Array(last.offset + last.bytes.length);
  for (const each of tables) bytes.set(each.bytes, each.offset);
  return bytes;
}

/** Root System Description Pointer, section 5.2.1: 20 bytes. */
export function buildRootPointer(rsdtGpa: number): Uint8Array {
  const pointer = new Uint8Array(20);
  writeText(pointer, 0, 'RSD PTR ');
  writeText(pointer, 9, 'QUIRE ');
  new DataView(pointer.buffer).setUint32(ROOT_POINTER_RSDT, rsdtGpa, true);
  setChecksum(pointer, ROOT_POINTER_CHECKSUM);
  return pointer;
}

/** All tables, one after another; the root pointer is at `gpa`, which must be a multiple of 64. */
export function buildACPITables(gpa: number, devices: BoardDevices): Uint8Array {
  const tables = placeACPITables(gpa + TABLE_ALIGNMENT, devices);
  const bytes = joinTables(tables);
  const out = new Uint8Array(TABLE_ALIGNMENT + bytes.length);
  out.set(buildRootPointer(gpa + TABLE_ALIGNMENT + tables.at(-1)!.offset), 0);
  out.set(bytes, TABLE_ALIGNMENT);
  return out;
}
