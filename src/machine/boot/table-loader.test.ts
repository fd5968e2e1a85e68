import { expect, test } from 'vitest';
import { buildSMBIOS } from './smbios-tables.ts';
import { buildLoaderFiles } from './table-loader.ts';

const sum = (bytes: Uint8Array) => bytes.reduce((total, byte) => (total + byte) & 0xff, 0);
const text = (bytes: Uint8Array) => String.fromCharCode(...bytes).replace(/\0.*$/s, '');

/** Does what the script says, with the first file at 0x7000000 and the second at 0xf5a40. */
function link() {
  const files = new Map([...buildLoaderFiles({ serialCount: 1, hasFloppy: false })]);
  const script = files.get('etc/table-loader')!;
  const gpas = new Map<string, number>();
  for (let at = 0; at < script.length; at += 128) {
    const entry = new DataView(script.buffer, script.byteOffset + at, 128);
    const nameAt = (offset: number) => text(script.subarray(at + offset, at + offset + 56));
    const name = nameAt(4);
    const file = files.get(name)!;
    const view = new DataView(file.buffer);
    switch (entry.getUint32(0, true)) {
      case 1: {
        const zone = entry.getUint8(64);
        gpas.set(name, zone === 2 ? 0xf_5a40 : 0x700_0000);
        expect(gpas.get(name)! % entry.getUint32(60, true)).toBe(0);
        break;
      }
      case 2: {
        const offset = entry.getUint32(116, true);
        expect(entry.getUint8(120)).toBe(4);
        view.setUint32(offset, view.getUint32(offset, true) + gpas.get(nameAt(60))!, true);
        break;
      }
      case 3: {
        const [offset, start, length] = [60, 64, 68].map((field) => entry.getUint32(field, true));
        const part = file.subarray(start!, start! + length!);
        file[offset!] = (file[offset!]! - sum(part)) & 0xff;
        expect(sum(part)).toBe(0);
        break;
      }
      default:
        throw new Error(`Unknown command at ${at}`);
    }
  }
  return { files, gpas };
}

test('the linked tables lead from the root pointer to each other, and add up to zero', () => {
  const { files, gpas } = link();
  const tables = files.get('etc/acpi/tables')!;
  const root = files.get('etc/acpi/rsdp')!;
  const base = gpas.get('etc/acpi/tables')!;
  expect(text(root.subarray(0, 8))).toBe('RSD PTR ');
  expect(sum(root)).toBe(0);
  const view = new DataView(tables.buffer);
  const tableAt = (gpa: number) =>
    tables.subarray(gpa - base, gpa - base + view.getUint32(gpa - base + 4, true));
  const rsdtGpa = new DataView(root.buffer).getUint32(16, true);
  const rsdt = tableAt(rsdtGpa);
  expect(text(rsdt.subarray(0, 4))).toBe('RSDT');
  const pointers = [36, 40].map((at) => view.getUint32(rsdtGpa - base + at, true));
  const found = pointers.map(tableAt);
  expect(found.map((table) => text(table.subarray(0, 4)))).toEqual(['FACP', 'APIC']);
  const dsdt = tableAt(view.getUint32(pointers[0]! - base + 40, true));
  expect(text(dsdt.subarray(0, 4))).toBe('DSDT');
  for (const table of [rsdt, dsdt, ...found]) expect(sum(table)).toBe(0);
  const facsGpa = view.getUint32(pointers[0]! - base + 36, true);
  expect(text(tableAt(facsGpa).subarray(0, 4))).toBe('FACS');
  expect(facsGpa % 64).toBe(0);
});

test('SMBIOS: both checksums hold, and the structures end where the anchor says', () => {
  const { anchor, tables } = buildSMBIOS(128 * 2 ** 20);
  const view = new DataView(anchor.buffer);
  expect(sum(anchor)).toBe(0);
  expect(sum(anchor.subarray(16))).toBe(0);
  expect(view.getUint16(0x16, true)).toBe(tables.length);
  let at = 0;
  let count = 0;
  let last = -1;
  while (at < tables.length) {
    last = tables[at]!;
    at += tables[at + 1]!;
    while (tables[at] !== 0 || tables[at + 1] !== 0) at++;
    at += 2;
    count++;
  }
  expect([at, count, last]).toEqual([tables.length, view.getUint16(0x1c, true), 127]);
});
