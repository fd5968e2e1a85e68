import { expect, test } from 'vitest';
import { defineState, type SavedSection, SavedStateError } from './saved-state.ts';

const start = () => ({ a: 1, flag: false, list: [1, 2], fixed: new Uint8Array(2), cache: 0 });
const schema = defineState<ReturnType<typeof start>>('thing', 2, {
  a: { id: 1, type: 'u8', since: 1 },
  flag: { id: 2, type: 'boolean', since: 1 },
  list: { id: 3, type: 'u8', since: 2, maxLength: 3 },
  fixed: { id: 4, type: 'u8', since: 1, length: 2 },
  cache: { excused: 'computed from a' },
});

function section(values: [number, number | boolean | number[]][], version = 2): SavedSection {
  return { name: 'thing', version, values: new Map(values) };
}

const GOOD: [number, number | boolean | number[]][] = [
  [1, 9],
  [2, true],
  [3, [7]],
  [4, [5, 6]],
];

test('what was saved comes back, and later changes do not reach the section', () => {
  const state = start();
  state.a = 200;
  state.list.push(3);
  const saved = schema.save(state);
  state.list.push(9);
  state.fixed[0] = 4;
  const other = start();
  schema.restore(saved, other);
  expect(other).toEqual({ ...start(), a: 200, list: [1, 2, 3] });
  expect(saved.values.has(5)).toBe(false);
});

test('an older section leaves fields that it does not know as they are', () => {
  const state = start();
  const older = GOOD.filter(([id]) => id !== 3);
  schema.restore(section(older, 1), state);
  expect(state.list).toEqual([1, 2]);
  expect(state.a).toBe(9);
  expect(() => schema.restore(section(older, 2), start())).toThrow('field "list" (3) is missing');
});

test.each([
  ['WRONG_NAME', { ...section(GOOD), name: 'other' }],
  ['NEWER_VERSION', section(GOOD, 3)],
  ['UNKNOWN_FIELD', section([...GOOD, [9, 1]])],
  ['BAD_FIELD', section([...GOOD.slice(1)])],
  ['BAD_FIELD', section([[1, 256], ...GOOD.slice(1)])],
  ['BAD_FIELD', section([[1, 1.5], ...GOOD.slice(1)])],
  ['BAD_FIELD', section([[1, Number.NaN], ...GOOD.slice(1)])],
  ['BAD_FIELD', section([[1, true], ...GOOD.slice(1)])],
  ['BAD_FIELD', section([...GOOD.slice(0, 2), [3, [1, 2, 3, 4]], GOOD[3]!])],
  ['BAD_FIELD', section([...GOOD.slice(0, 3), [4, [1]]])],
  ['BAD_FIELD', section([...GOOD.slice(0, 3), [4, [1, -1]]])],
  ['BAD_FIELD', section([...GOOD.slice(0, 3), [4, 7]])],
])('a section is refused with %s before anything changes', (code, bad) => {
  const state = start();
  let caught: unknown;
  try {
    schema.restore(bad, state);
  } catch (error) {
    caught = error;
  }
  expect(caught).toBeInstanceOf(SavedStateError);
  expect((caught as SavedStateError).code).toBe(code);
  expect(state).toEqual(start());
});

test('two fields of one number, or one of a future version, cannot be declared', () => {
  const field = { id: 1, type: 'u8', since: 1 } as const;
  expect(() => defineState<{ a: number; b: number }>('x', 1, { a: field, b: field })).toThrow(
    'share number 1',
  );
  expect(() => defineState<{ a: number }>('x', 1, { a: { ...field, since: 2 } })).toThrow(
    'version 2',
  );
});
