// What the machine is, for people and inventories. DMTF System Management BIOS
// Reference Specification 2.8 (DSP0134), sections 5.2.1 "SMBIOS 2.1 Entry Point"
// and 7 "Structure definitions".

import { setChecksum } from './acpi-tables.ts';

const ANCHOR_BYTES = 31;
const INTERMEDIATE = 16;
const INTERMEDIATE_BYTES = 15;
const MIB = 2 ** 20;
const UNKNOWN = 0x02;
const NONE = 0x03;
const OTHER = 0x01;

const u16 = (value: number): number[] => [value & 0xff, (value >> 8) & 0xff];
const u32 = (value: number): number[] => [...u16(value & 0xffff), ...u16((value >>> 16) & 0xffff)];

/** A structure: its formatted area, and its strings, which the area names from 1 on. */
function structure(type: number, handle: number, body: number[], strings: string[] = []): number[] {
  const text = strings.flatMap((each) => [...each].map((c) => c.charCodeAt(0)).concat(0));
  return [type, body.length + 4, ...u16(handle), ...body, ...(text.length ? text : [0]), 0];
}

function structures(memoryBytes: number): number[][] {
  const mebibytes = Math.ceil(memoryBytes / MIB);
  const kibibytes = Math.floor(memoryBytes / 1024);
  return [
    structure(
      1,
      0x100,
      [1, 2, 3, 0, ...new Array<number>(16).fill(0), 6, 0, 0],
      [...['Quire', 'Quire PC', 'i440FX']],
    ),
    structure(
      3,
      0x300,
      [1, OTHER, 2, 0, 0, NONE, NONE, NONE, UNKNOWN, ...u32(0), 0, 0, 0, 0],
      [...['Quire', 'i440FX']],
    ),
    structure(
      4,
      0x400,
      [
        ...[1, 3, 1, 2], // Socket, central processor, other family, maker.
        ...new Array<number>(8).fill(0),
        ...[0, 0, ...u16(0), ...u16(0), ...u16(0)],
        ...[0x41, OTHER, ...u16(0xffff), ...u16(0xffff), ...u16(0xffff)],
      ],
      ['CPU 0', 'Quire'],
    ),
    structure(16, 0x1000, [1, 3, UNKNOWN, ...u32(kibibytes), ...u16(0xfffe), ...u16(1)]),
    structure(
      17,
      0x1100,
      [
        ...u16(0x1000),
        ...u16(0xfffe),
        ...u16(0xffff),
        ...u16(0xffff),
        ...u16(Math.min(0x7fff, mebibytes)),
        ...[0x09, 0, 1, 0, 0x07, ...u16(UNKNOWN)],
      ],
      ['DIMM 0'],
    ),
    structure(19, 0x1300, [...u32(0), ...u32(kibibytes - 1), ...u16(0x1000), 1]),
    structure(32, 0x2000, [0, 0, 0, 0, 0, 0, 0]),
    structure(127, 0x7f00, []),
  ];
}

/** Entry point and structures; firmware places the second and writes its address into the first. */
export function buildSMBIOS(memoryBytes: number): { anchor: Uint8Array; tables: Uint8Array } {
  const list = structures(memoryBytes);
  const tables = Uint8Array.from(list.flat());
  const anchor = new Uint8Array(ANCHOR_BYTES);
  const view = new DataView(anchor.buffer);
  const text = (at: number, value: string) => {
    for (let i = 0; i < value.length; i++) anchor[at + i] = value.charCodeAt(i);
  };
  text(0, '_SM_');
  anchor.set([ANCHOR_BYTES, 2, 8], 5); // Length, version 2.8.
  view.setUint16(8, Math.max(...list.map((each) => each.length)), true);
  text(INTERMEDIATE, '_DMI_');
  view.setUint16(0x16, tables.length, true);
  view.setUint16(0x1c, list.length, true);
  anchor[0x1e] = 0x28;
  const part = anchor.subarray(INTERMEDIATE, INTERMEDIATE + INTERMEDIATE_BYTES);
  setChecksum(part, 5);
  setChecksum(anchor, 4);
  return { anchor, tables };
}
