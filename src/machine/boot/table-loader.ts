// ACPI tables for firmware that lays them out itself: the tables without addresses, and a script of
// what to allocate, which pointers to add to, and which checksums to make. The format is QEMU's, of
// the fw_cfg file "etc/table-loader" (hw/acpi/bios-linker-loader, as SeaBIOS's
// romfile_loader reads it).
//
//   An entry is 128 bytes:   0 u32 command   4 operands   little-endian; file names have 56 bytes
//   1 allocate      4 file   60 u32 alignment   64 u8 zone
//   2 add pointer   4 file   60 file pointed at   116 u32 offset   120 u8 size of the pointer
//   3 add checksum  4 file   60 u32 offset   64 u32 start   68 u32 length

import {
  type BoardDevices,
  buildRootPointer,
  joinTables,
  placeACPITables,
  ROOT_POINTER_CHECKSUM,
  ROOT_POINTER_RSDT,
} from './acpi-tables.ts';

const ENTRY_BYTES = 128;
const ALLOCATE = 1;
const ADD_POINTER = 2;
const ADD_CHECKSUM = 3;
const ZONE_HIGH = 1;
/** Below 1 MiB, where the root pointer is looked for. */
const ZONE_FSEG = 2;
const TABLES_FILE = 'etc/acpi/tables';
const ROOT_FILE = 'etc/acpi/rsdp';
const SCRIPT_FILE = 'etc/table-loader';

type Field = readonly [offset: number, value: number | string, sizeBytes?: 1 | 4];

function entry(command: number, ...fields: readonly Field[]): number[] {
  const bytes = new Uint8Array(ENTRY_BYTES);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, command, true);
  for (const [offset, value, sizeBytes = 4] of fields) {
    if (typeof value === 'string')
      for (let i = 0; i < value.length; i++) bytes[offset + i] = value.charCodeAt(i);
    else if (sizeBytes === 1) bytes[offset] = value;
    else view.setUint32(offset, value, true);
  }
  return [...bytes];
}

const checksum = (file: string, at: number, start: number, length: number): number[] =>
  entry(ADD_CHECKSUM, [4, file], [60, at], [64, start], [68, length]);

const pointer = (file: string, at: number, target: string): number[] =>
  entry(ADD_POINTER, [4, file], [60, target], [116, at], [120, 4, 1]);

/** The three files, by name. */
export function buildLoaderFiles(devices: BoardDevices): ReadonlyMap<string, Uint8Array> {
  // Laid out at 0, a pointer is an offset into the file: what the loader adds an address to.
  const tables = placeACPITables(0, devices);
  const bytes = joinTables(tables);
  const script = [
    ...entry(ALLOCATE, [4, TABLES_FILE], [60, 64], [64, ZONE_HIGH, 1]),
    ...entry(ALLOCATE, [4, ROOT_FILE], [60, 16], [64, ZONE_FSEG, 1]),
  ];
  for (const { offset, pointersAt = [] } of tables)
    for (const at of pointersAt) script.push(...pointer(TABLES_FILE, offset + at, TABLES_FILE));
  for (const { offset, bytes: body, checksumAt } of tables) {
    if (checksumAt === undefined) continue;
    bytes[offset + checksumAt] = 0;
    script.push(...checksum(TABLES_FILE, offset + checksumAt, offset, body.length));
  }
  const root = buildRootPointer(tables.at(-1)!.offset);
  root[ROOT_POINTER_CHECKSUM] = 0;
  script.push(...pointer(ROOT_FILE, ROOT_POINTER_RSDT, TABLES_FILE));
  script.push(...checksum(ROOT_FILE, ROOT_POINTER_CHECKSUM, 0, root.length));
  return new Map([
    [TABLES_FILE, bytes],
    [ROOT_FILE, root],
    [SCRIPT_FILE, Uint8Array.from(script)],
  ]);
}
