import { expect, test } from 'vitest';
import { GENERATION_ID_BYTES, VMGenerationId } from './vm-generation-id.ts';

/** Its n-th number is all n. */
function create() {
  let count = 0;
  const chip = new VMGenerationId((bytes) => void bytes.fill(++count));
  const bytes = () => Array.from({ length: GENERATION_ID_BYTES }, (_, offset) => chip.read(offset));
  return { chip, bytes, all: (value: number) => Array(GENERATION_ID_BYTES).fill(value) };
}

test('the number is there from the start, with zeros behind it', () => {
  const { chip, bytes, all } = create();
  expect(bytes()).toEqual(all(1));
  expect(chip.read(GENERATION_ID_BYTES)).toBe(0);
  expect(chip.read(0xfff)).toBe(0);
});

test('renew() draws another one, and tells it when it is there to be read', () => {
  const { chip, bytes, all } = create();
  const told: number[][] = [];
  chip.onRenew = () => told.push(bytes());
  chip.renew();
  expect(told).toEqual([all(2)]);
});

test('it is saved, and restoring it is no event', () => {
  const { chip, bytes, all } = create();
  const section = chip.save();
  chip.renew();
  chip.onRenew = () => expect.unreachable();
  chip.restore(section);
  expect(bytes()).toEqual(all(1));
  const short = { ...section, values: new Map([[1, [1, 2, 3]]]) };
  expect(() => chip.restore(short)).toThrow('must hold 16 values');
  expect(VMGenerationId.schema.undeclared(chip.state)).toEqual([]);
});
