// The saved state of a component: a list of its fields with numbers and versions, so that a state
// written today is understood, or refused with a reason, by every later release.
//
// A section holds values by field number, never by position. An absent field of a
// newer version than the section's keeps its power-on value; any other absent
// field, and any unknown one, is an error.

/** Value ranges that a field may have. `time` is virtual ns, Infinity where there is none. */
export type FieldType = 'u8' | 'u16' | 'u32' | 'i32' | 'count' | 'time' | 'boolean';

/** One saved field. */
export interface SavedField {
  /** Its number in this component, never used again for another field. */
  readonly id: number;
  readonly type: FieldType;
  /** Version of the component that brought it. */
  readonly since: number;
  /** An array of exactly so many values. */
  readonly length?: number;
  /** An array of at most so many values. */
  readonly maxLength?: number;
}

/** A field that is not saved, and why. */
export interface ExcusedField {
  readonly excused: string;
}

export type SavedValue = number | boolean | readonly number[];

/** What a component saved. */
export interface SavedSection {
  readonly name: string;
  readonly version: number;
  /** By field number. */
  readonly values: ReadonlyMap<number, SavedValue>;
}

/** Something whose state is part of a machine's state. */
export interface Savable {
  save(): SavedSection;
  /**
   * @throws {SavedStateError} if the section is not one of this component; nothing has changed then
   */
  restore(section: SavedSection): void;
}

/** Stable names for programs; the message is for people and may change. */
export type SavedStateErrorCode = 'WRONG_NAME' | 'NEWER_VERSION' | 'UNKNOWN_FIELD' | 'BAD_FIELD';

/** A section does not fit the component it is offered to. */
export class SavedStateError extends Error {
  override readonly name = 'SavedStateError';
  readonly code: SavedStateErrorCode;
  readonly section: string;

  constructor(code: SavedStateErrorCode, section: string, detail: string) {
    super(`Cannot restore state of "${section}": ${detail}`);
    this.code = code;
    this.section = section;
  }
}

type FieldArray = number[] | Uint8Array | Uint16Array | Uint32Array | Int32Array | Float64Array;

/** What a chip's `state` object may hold. */
export type StateValue = number | boolean | FieldArray;

/** One entry for each field of S: a new field does not compile until someone decides. */
export type FieldsOf<S> = { readonly [K in keyof S]-?: SavedField | ExcusedField };

/** The declared state of one component. */
export class StateSchema<S extends { [K in keyof S]: StateValue }> {
  readonly name: string;
  readonly version: number;
  readonly fields: FieldsOf<S>;
  readonly #saved: readonly (readonly [keyof S & string, SavedField])[];
  /** Sections that were found right: they are not looked at again, and never change. */
  readonly #checked = new WeakSet<SavedSection>();

  constructor(name: string, version: number, fields: FieldsOf<S>) {
    this.name = name;
    this.version = version;
    this.fields = fields;
    const entries = Object.entries(fields) as [keyof S & string, SavedField | ExcusedField][];
    this.#saved = entries.filter(
      (entry): entry is [keyof S & string, SavedField] => 'id' in entry[1],
    );
    const names = new Map<number, string>();
    for (const [key, field] of this.#saved) {
      const other = names.get(field.id);
      if (other !== undefined)
        throw new RangeError(
          `Cannot declare state "${name}": fields "${other}" and "${key}" share number ${field.id}`,
        );
      if (field.since < 1 || field.since > version)
        throw new RangeError(
          `Cannot declare state "${name}": field "${key}" is of version ${field.since}, ` +
            `the state of version ${version}`,
        );
      names.set(field.id, key);
    }
  }

  /** A copy of the declared fields of `state`. */
  save(state: S): SavedSection {
    const values = new Map<number, SavedValue>();
    for (const [key, field] of this.#saved) {
      const value = state[key];
      values.set(
        field.id,
        typeof value === 'number' || typeof value === 'boolean' ? value : Array.from(value),
      );
    }
    return { name: this.name, version: this.version, values };
  }

  /**
   * Writes the fields of `section` into `state`; all are checked before the first is written.
   * @throws {SavedStateError} if the section is not this component's, is newer, or holds a field
   *   that is unknown, missing, or out of its range
   */
  restore(section: SavedSection, state: S): void {
    this.#check(section);
    for (const [key, field] of this.#saved) {
      const value = section.values.get(field.id);
      if (value === undefined) continue;
      if (typeof value === 'number' || typeof value === 'boolean') {
        state[key] = value as S[typeof key];
        continue;
      }
      const target = state[key] as FieldArray;
      if (Array.isArray(target)) target.splice(0, target.length, ...value);
      else target.set(value);
    }
  }

  /**
   * Declared fields of `state`'s keys that the schema lacks: for tests, as types cover the rest.
   */
  undeclared(state: S): string[] {
    return Object.keys(state).filter((key) => !(key in this.fields));
  }

  #check(section: SavedSection): void {
    if (this.#checked.has(section)) return;
    const fail = (code: SavedStateErrorCode, detail: string): never => {
      throw new SavedStateError(code, this.name, detail);
    };
    if (section.name !== this.name) fail('WRONG_NAME', `the section is of "${section.name}"`);
    if (section.version > this.version)
      fail(
        'NEWER_VERSION',
        `version must be at most ${this.version}, the section has ${section.version}`,
      );
    const known = new Set<number>();
    for (const [key, field] of this.#saved) {
      known.add(field.id);
      const value = section.values.get(field.id);
      if (value === undefined) {
        if (field.since <= section.version)
          fail('BAD_FIELD', `field "${key}" (${field.id}) is missing`);
        continue;
      }
      const problem = problemOf(field, value);
      if (problem !== undefined) fail('BAD_FIELD', `field "${key}" (${field.id}) ${problem}`);
    }
    for (const id of section.values.keys()) {
      if (!known.has(id)) fail('UNKNOWN_FIELD', `field number ${id} is not known`);
    }
    this.#checked.add(section);
  }
}

/** Declares the saved state of a component; see {@link StateSchema}. */
export function defineState<S extends { [K in keyof S]: StateValue }>(
  name: string,
  version: number,
  fields: FieldsOf<S>,
): StateSchema<S> {
  return new StateSchema<S>(name, version, fields);
}

function problemOf(field: SavedField, value: SavedValue): string | undefined {
  const isArray = field.length !== undefined || field.maxLength !== undefined;
  if (!isArray) {
    return isInRange(field.type, value) ? undefined : `must be ${field.type}, got ${String(value)}`;
  }
  if (!Array.isArray(value)) return 'must be a list';
  if (field.length !== undefined && value.length !== field.length)
    return `must hold ${field.length} values, got ${value.length}`;
  if (field.maxLength !== undefined && value.length > field.maxLength)
    return `must hold at most ${field.maxLength} values, got ${value.length}`;
  const bad = value.findIndex((one) => !isInRange(field.type, one));
  return bad < 0 ? undefined : `must hold ${field.type}, value ${bad} is ${String(value[bad])}`;
}

const INTEGER_RANGE: { readonly [type: string]: readonly [number, number] } = {
  u8: [0, 0xff],
  u16: [0, 0xffff],
  u32: [0, 0xffff_ffff],
  i32: [-0x8000_0000, 0x7fff_ffff],
  count: [0, Number.MAX_SAFE_INTEGER],
};

function isInRange(type: FieldType, value: unknown): boolean {
  if (type === 'boolean') return typeof value === 'boolean';
  if (typeof value !== 'number') return false;
  if (type === 'time') return value >= 0; // Infinity is "none"; NaN is refused.
  const [min, max] = INTEGER_RANGE[type]!;
  return Number.isInteger(value) && value >= min && value <= max;
}
