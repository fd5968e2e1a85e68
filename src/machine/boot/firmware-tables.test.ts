import { expect, test } from 'vitest';
import { BASE_MEMORY_END } from './e820.ts';
import { ACPI_TABLES_GPA, firmwareSegments, MP_TABLE_GPA } from './firmware-tables.ts';

const memory = new Uint8Array(0x10_0000);
for (const { gpa, bytes } of firmwareSegments({ serialCount: 4, hasFloppy: true }))
  memory.set(bytes, gpa);
const view = new DataView(memory.buffer);
const text = (at: number, length: number) =>
  String.fromCharCode(...memory.subarray(at, at + length));
const sum = (at: number, length: number) =>
  memory.subarray(at, at + length).reduce((total, byte) => (total + byte) & 0xff, 0);

/** The tables that the root pointer leads to, by signature. */
function acpiTables(): Map<string, number> {
  const rsdt = view.getUint32(ACPI_TABLES_GPA + 16, true);
  const found = new Map([['RSDT', rsdt]]);
  const count = (view.getUint32(rsdt + 4, true) - 36) / 4;
  for (let i = 0; i < count; i++) {
    const at = view.getUint32(rsdt + 36 + i * 4, true);
    found.set(text(at, 4), at);
  }
  found.set('DSDT', view.getUint32(found.get('FACP')! + 40, true));
  return found;
}

test('the root pointer is where it is looked for, and its 20 bytes add up to zero', () => {
  expect(ACPI_TABLES_GPA % 16).toBe(0);
  expect(text(ACPI_TABLES_GPA, 8)).toBe('RSD PTR ');
  expect(sum(ACPI_TABLES_GPA, 20)).toBe(0);
});

test.each(['RSDT', 'FACP', 'APIC', 'DSDT'])(
  'table %s is there and adds up to zero',
  (signature) => {
    const at = acpiTables().get(signature)!;
    expect(text(at, 4)).toBe(signature);
    expect(sum(at, view.getUint32(at + 4, true))).toBe(0);
  },
);

test('the FADT names the ports of the PC, and an aligned FACS', () => {
  const fadt = acpiTables().get('FACP')!;
  expect(view.getUint32(fadt + 4, true)).toBe(116);
  expect(view.getUint16(fadt + 46, true)).toBe(9);
  expect(view.getUint32(fadt + 48, true)).toBe(0xb2);
  expect(view.getUint32(fadt + 56, true)).toBe(0x600);
  expect(view.getUint32(fadt + 64, true)).toBe(0x604);
  expect(view.getUint32(fadt + 76, true)).toBe(0x608);
  const facs = view.getUint32(fadt + 36, true);
  expect(facs % 64).toBe(0);
  expect(text(facs, 4)).toBe('FACS');
});

test('the MP floating pointer leads to a table, and both add up to zero', () => {
  expect(text(MP_TABLE_GPA, 4)).toBe('_MP_');
  expect(sum(MP_TABLE_GPA, 16)).toBe(0);
  const table = view.getUint32(MP_TABLE_GPA + 4, true);
  expect(text(table, 4)).toBe('PCMP');
  const length = view.getUint16(table + 4, true);
  expect(sum(table, length)).toBe(0);
  // Entries: a processor has 20 bytes, all others 8.
  let at = table + 44;
  let count = 0;
  while (at < table + length) {
    at += memory[at] === 0 ? 20 : 8;
    count++;
  }
  expect(at).toBe(table + length);
  expect(count).toBe(view.getUint16(table + 34, true));
});

test('tables end before the MP table, and do not overlap each other', () => {
  const ranges = firmwareSegments({ serialCount: 4, hasFloppy: true })
    .map(({ gpa, bytes }) => [gpa, gpa + bytes.length] as const)
    .sort((a, b) => a[0] - b[0]);
  for (let i = 1; i < ranges.length; i++)
    expect(ranges[i]![0]).toBeGreaterThanOrEqual(ranges[i - 1]![1]);
});

test('the BIOS data area tells base memory, the extended area and the serial port', () => {
  expect(view.getUint16(0x413, true)).toBe(639);
  expect(view.getUint16(0x40e, true) << 4).toBe(BASE_MEMORY_END);
  expect(view.getUint16(0x400, true)).toBe(0x3f8);
});
