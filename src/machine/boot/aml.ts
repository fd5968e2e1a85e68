// Enough of an assembler for ACPI machine language to describe a board with one PCI bus.
// ACPI specification 1.0b, chapter 16 "ACPI Machine Language (AML) Specification", and section 6.4
// "Resource Data Types for ACPI".

export type AML = readonly number[];

/** PkgLength: the length of a package with this field itself, in one to three bytes. */
function packageOf(contents: AML): AML {
  const { length } = contents;
  if (length + 1 < 0x40) return [length + 1, ...contents];
  if (length + 2 < 0x1000) {
    const total = length + 2;
    return [0x40 | (total & 0xf), total >> 4, ...contents];
  }
  const total = length + 3;
  return [0x80 | (total & 0xf), (total >> 4) & 0xff, total >> 12, ...contents];
}

const ascii = (text: string): AML => [...text].map((character) => character.charCodeAt(0));
const u16 = (value: number): AML => [value & 0xff, (value >> 8) & 0xff];
const u32 = (value: number): AML => [...u16(value & 0xffff), ...u16((value >>> 16) & 0xffff)];

/** A name such as `\_SB_` or `PCI0`: segments have four characters. */
const nameString = (name: string): AML => ascii(name);

export const integer = (value: number): AML => {
  if (value === 0) return [0x00];
  if (value === 1) return [0x01];
  if (value <= 0xff) return [0x0a, value];
  return value <= 0xffff ? [0x0b, ...u16(value)] : [0x0c, ...u32(value)];
};

/** EISA identifier, such as `PNP0A03`: three letters of five bits, four hexadecimal digits. */
export function eisaId(id: string): AML {
  const [a, b, c] = [0, 1, 2].map((i) => id.charCodeAt(i) - 0x40) as [number, number, number];
  const product = Number.parseInt(id.slice(3), 16);
  const letters = (a << 10) | (b << 5) | c;
  return [0x0c, letters >> 8, letters & 0xff, product >> 8, product & 0xff];
}

export const text = (value: string): AML => [0x0d, ...ascii(value), 0];

export const named = (name: string, value: AML): AML => [0x08, ...nameString(name), ...value];

export const packaged = (...elements: readonly AML[]): AML => [
  0x12,
  ...packageOf([elements.length, ...elements.flat()]),
];

export const buffer = (bytes: AML): AML => [
  0x11,
  ...packageOf([...integer(bytes.length), ...bytes]),
];

export const scope = (name: string, ...terms: readonly AML[]): AML => [
  0x10,
  ...packageOf([...nameString(name), ...terms.flat()]),
];

export const device = (name: string, ...terms: readonly AML[]): AML => [
  ...[0x5b, 0x82],
  ...packageOf([...nameString(name), ...terms.flat()]),
];

/** A method without arguments. */
export const method = (name: string, ...terms: readonly AML[]): AML => [
  0x14,
  ...packageOf([...nameString(name), 0, ...terms.flat()]),
];

/** Notifies the device at a path of two names below the root. */
export const notify = (path: readonly [string, string], value: number): AML => [
  ...[0x86, ...ascii('\\'), 0x2e],
  ...path.flatMap(nameString),
  ...integer(value),
];

/** Resource descriptors of `_CRS`; `end` is the last address that belongs to it. */
export const RESOURCE_END: AML = [0x79, 0x00];
const RANGE_IS_FIXED = 0x0c;

export const ioPorts = (start: number, count: number): AML => [
  ...[0x47, 0x01],
  ...u16(start),
  ...u16(start),
  ...[0x01, count],
];

/** Edge-triggered, active high. */
export const isaInterrupt = (irq: number): AML => [0x22, ...u16(1 << irq)];

function wordRange(type: number, flags: number, start: number, end: number): AML {
  const words = [0, start, end, 0, end - start + 1].flatMap(u16);
  return [0x88, 0x0d, 0x00, type, RANGE_IS_FIXED, flags, ...words];
}

export const busRange = (start: number, end: number): AML => wordRange(2, 0, start, end);
export const ioRange = (start: number, end: number): AML => wordRange(1, 3, start, end);

export const memoryRange = (start: number, end: number): AML => [
  ...[0x87, 0x17, 0x00, 0x00, RANGE_IS_FIXED, 0x01],
  ...[0, start, end, 0, end - start + 1].flatMap(u32),
];
