// What a guest that is loaded without firmware still expects of it in memory: ACPI and MP tables, a
// few words of the BIOS data area, and something at the reset vector.
// BIOS data area: Ralf Brown's list, MEMORY.LST, segment 0040h.

import { SERIAL_PORTS } from '../serial-ports.ts';
import { type BoardDevices, buildACPITables } from './acpi-tables.ts';
import type { BootSegment } from './boot-target.ts';
import { BASE_MEMORY_END, TABLES_START } from './e820.ts';
import { buildMPTable } from './mp-table.ts';

/** The MP floating pointer is looked for from here on (specification, chapter 4). */
export const MP_TABLE_GPA = 0xf_0000;
export const ACPI_TABLES_GPA = TABLES_START;
const BDA_GPA = 0x400;
const RESET_VECTOR_GPA = 0xf_fff0;
/** mov al, 6; mov dx, 0xcf9; out dx, al; jmp $: a jump to the BIOS's entry resets the machine. */
const RESET_CODE = Uint8Array.of(0xb0, 0x06, 0xba, 0xf9, 0x0c, 0xee, 0xeb, 0xfe);

function biosDataArea({ serialCount }: BoardDevices): Uint8Array {
  const bytes = new Uint8Array(0x100);
  const view = new DataView(bytes.buffer);
  for (let i = 0; i < serialCount; i++) view.setUint16(2 * i, SERIAL_PORTS[i]!.port, true);
  view.setUint16(0x0e, BASE_MEMORY_END >> 4, true); // Segment of the extended area.
  // Equipment: serial ports, mouse, 80 columns, FPU.
  view.setUint16(0x10, 0x0026 | (serialCount << 9), true);
  view.setUint16(0x13, BASE_MEMORY_END >> 10, true); // Base memory, KiB.
  bytes[0x49] = 3; // Video mode, columns, rows less one.
  view.setUint16(0x4a, 80, true);
  bytes[0x84] = 24;
  return bytes;
}

/** The extended BIOS data area, which holds nothing but its size in KiB. */
function extendedBIOSDataArea(): Uint8Array {
  return Uint8Array.of(1);
}

/** Everything that firmware would have left in memory. */
export function firmwareSegments(devices: BoardDevices): readonly BootSegment[] {
  return [
    { gpa: BDA_GPA, bytes: biosDataArea(devices) },
    { gpa: BASE_MEMORY_END, bytes: extendedBIOSDataArea() },
    { gpa: ACPI_TABLES_GPA, bytes: buildACPITables(ACPI_TABLES_GPA, devices) },
    { gpa: MP_TABLE_GPA, bytes: buildMPTable(MP_TABLE_GPA) },
    { gpa: RESET_VECTOR_GPA, bytes: RESET_CODE },
  ];
}
