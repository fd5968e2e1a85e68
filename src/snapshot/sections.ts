// The state blob: every device's state as a named, versioned, length-prefixed section, each value
// under its field's number. docs/snapshot-format.md, "State".
//
// Equal states give equal bytes: fields are sorted by number, sections keep the caller's order, and
// a value has one encoding, the narrowest.

import { ByteBuilder, ByteReader, decodeUTF8, encodeUTF8 } from './byte-reader.ts';
import {
  FIELDS_MAX,
  LIST_LENGTH_MAX,
  NAME_BYTES_MAX,
  SECTIONS_MAX,
  STATE_BYTES_MAX,
} from './limits.ts';
import { SnapshotError } from './snapshot-error.ts';

/** A saved value; `Uint8Array` for runs of raw bytes, such as a processor's registers. */
export type SectionValue = number | boolean | string | readonly number[] | Uint8Array;

/** The state of one component. A chip's `SavedSection` is one without `instance`. */
export interface StateSection {
  /** Device path, such as `isa/serial0`. */
  readonly name: string;
  /** Tells components of one name apart; 0 if there is one only. */
  readonly instance?: number;
  readonly version: number;
  /** By field number, 0–65535. */
  readonly values: ReadonlyMap<number, SectionValue>;
}

/** A section as it was read: `instance` is always there. */
export type LoadedSection = StateSection & { readonly instance: number };

const MAGIC = 0x43_45_53_51; // "QSEC"
const VERSION = 1;
const SECTION_BYTES_MIN = 2 + 1 + 4 + 4 + 4 + 2;
const FIELD_BYTES_MIN = 3;

// Kinds of value.
const FALSE = 0;
const TRUE = 1;
const F64 = 2;
const LIST_U8 = 3;
const LIST_U16 = 4;
const LIST_U32 = 5;
const LIST_F64 = 6;
const BYTES = 7;
const TEXT = 8;
const LIST_WIDTH: Readonly<Record<number, number>> = {
  [LIST_U8]: 1,
  [LIST_U16]: 2,
  [LIST_U32]: 4,
  [LIST_F64]: 8,
};

/** The key under which a section is unique: its name, and its instance if it is not the first. */
export function sectionKey(section: { readonly name: string; readonly instance?: number }): string {
  const instance = section.instance ?? 0;
  return instance === 0 ? section.name : `${section.name}#${instance}`;
}

/**
 * The state blob of `sections`.
 * @throws {RangeError} if two sections share a name and instance, or a limit is passed
 */
export function encodeSections(sections: readonly StateSection[]): Uint8Array {
  if (sections.length > SECTIONS_MAX)
    throw new RangeError(
      `Cannot save state as it must have at most ${SECTIONS_MAX} sections: ${sections.length}`,
    );
  const keys = new Set<string>();
  const builder = new ByteBuilder();
  builder.u32(MAGIC);
  builder.u16(VERSION);
  builder.u16(0);
  builder.u32(sections.length);
  for (const section of sections) {
    const key = sectionKey(section);
    if (keys.has(key))
      throw new RangeError(`Cannot save state as section "${key}" must be unique: there are two`);
    keys.add(key);
    const payload = encodeValues(section);
    builder.name(section.name, NAME_BYTES_MAX);
    builder.u32(section.instance ?? 0);
    builder.u32(section.version);
    builder.u32(payload.length);
    builder.put(payload);
  }
  const bytes = builder.finish();
  if (bytes.length > STATE_BYTES_MAX)
    throw new RangeError(
      `Cannot save state as it must have at most ${STATE_BYTES_MAX} bytes: it has ${bytes.length}`,
    );
  return bytes;
}

/**
 * The sections of a state blob, in its order.
 * @throws {SnapshotError} `NOT_A_SNAPSHOT`, `NEWER_VERSION`, `CORRUPT`, `TOO_LARGE`
 */
export function decodeSections(bytes: Uint8Array): LoadedSection[] {
  const reader = new ByteReader(bytes, 'state');
  if (reader.restBytes < 12 || reader.u32() !== MAGIC)
    throw new SnapshotError('NOT_A_SNAPSHOT', 'Cannot read state as its magic must be "QSEC"', {
      subject: 'state',
      offset: 0,
    });
  const version = reader.u16();
  if (version > VERSION)
    reader.fail('NEWER_VERSION', `version must be at most ${VERSION}, got ${version}`);
  if (version < 1 || reader.u16() !== 0) reader.fail('CORRUPT', 'the header must be of version 1');
  const count = reader.count('sections', reader.u32(), SECTIONS_MAX, SECTION_BYTES_MIN);
  const keys = new Set<string>();
  const sections: LoadedSection[] = [];
  for (let i = 0; i < count; i++) {
    const name = reader.name(NAME_BYTES_MAX);
    const instance = reader.u32();
    const sectionVersion = reader.u32();
    const payload = reader.take(reader.u32());
    const key = sectionKey({ name, instance });
    if (keys.has(key)) reader.fail('CORRUPT', `section "${key}" is there twice`);
    keys.add(key);
    const values = decodeValues(payload, `section "${key}"`);
    sections.push({ name, instance, version: sectionVersion, values });
  }
  reader.end();
  return sections;
}

function encodeValues(section: StateSection): Uint8Array {
  if (section.values.size > FIELDS_MAX)
    throw new RangeError(
      `Cannot save section "${sectionKey(section)}" as it must have at most ${FIELDS_MAX} ` +
        `fields: it has ${section.values.size}`,
    );
  const builder = new ByteBuilder();
  builder.u16(section.values.size);
  for (const [id, value] of [...section.values].sort(([a], [b]) => a - b)) {
    if (!(Number.isInteger(id) && id >= 0 && id <= 0xffff))
      throw new RangeError(
        `Cannot save section "${sectionKey(section)}" as field numbers must be 0 to 65535: ${id}`,
      );
    builder.u16(id);
    encodeValue(builder, value);
  }
  return builder.finish();
}

/** @throws {RangeError} if a list is too long */
function encodeValue(builder: ByteBuilder, value: SectionValue): void {
  if (typeof value === 'boolean') {
    builder.u8(value ? TRUE : FALSE);
  } else if (typeof value === 'number') {
    builder.u8(F64);
    builder.f64(value);
  } else if (typeof value === 'string') {
    const bytes = encodeUTF8(value);
    builder.u8(TEXT);
    builder.u32(bytes.length);
    builder.put(bytes);
  } else if (value instanceof Uint8Array) {
    builder.u8(BYTES);
    builder.u32(value.length);
    builder.put(value);
  } else {
    if (value.length > LIST_LENGTH_MAX)
      throw new RangeError(
        `Cannot save a list as it must have at most ${LIST_LENGTH_MAX} values: ${value.length}`,
      );
    const kind = listKind(value);
    builder.u8(kind);
    builder.u32(value.length);
    for (const one of value) {
      if (kind === LIST_U8) builder.u8(one);
      else if (kind === LIST_U16) builder.u16(one);
      else if (kind === LIST_U32) builder.u32(one);
      else builder.f64(one);
    }
  }
}

/** The narrowest list that holds all of `values` exactly; −0 needs a double. */
function listKind(values: readonly number[]): number {
  let max = 0;
  for (const value of values) {
    if (value >>> 0 !== value || Object.is(value, -0)) return LIST_F64;
    if (value > max) max = value;
  }
  return max <= 0xff ? LIST_U8 : max <= 0xffff ? LIST_U16 : LIST_U32;
}

function decodeValues(payload: Uint8Array, subject: string): Map<number, SectionValue> {
  const reader = new ByteReader(payload, subject);
  const count = reader.count('fields', reader.u16(), FIELDS_MAX, FIELD_BYTES_MIN);
  const values = new Map<number, SectionValue>();
  let last = -1;
  for (let i = 0; i < count; i++) {
    const id = reader.u16();
    if (id <= last) reader.fail('CORRUPT', `field ${id} must not follow field ${last}`);
    last = id;
    values.set(id, decodeValue(reader));
  }
  reader.end();
  return values;
}

function decodeValue(reader: ByteReader): SectionValue {
  const kind = reader.u8();
  if (kind === FALSE) return false;
  if (kind === TRUE) return true;
  if (kind === F64) return reader.f64();
  if (kind === BYTES) return reader.take(reader.u32()).slice();
  if (kind === TEXT)
    return decodeUTF8(reader.take(reader.u32())) ?? reader.fail('CORRUPT', 'a text is not UTF-8');
  const width = LIST_WIDTH[kind];
  if (width === undefined) reader.fail('CORRUPT', `there is no value of kind ${kind}`);
  const length = reader.count('values', reader.u32(), LIST_LENGTH_MAX, width!);
  const list = new Array<number>(length);
  for (let i = 0; i < length; i++) {
    if (kind === LIST_U8) list[i] = reader.u8();
    else if (kind === LIST_U16) list[i] = reader.u16();
    else if (kind === LIST_U32) list[i] = reader.u32();
    else list[i] = reader.f64();
  }
  if (kind !== listKind(list)) reader.fail('CORRUPT', 'a list is wider than its values');
  return list;
}
