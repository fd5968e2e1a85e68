import { expect, test } from 'vitest';
import {
  blankMachine,
  countedMemory,
  countedPart,
  countingMachine,
  countOf,
} from '../../test/snapshot-guest.ts';
import type { Machine } from '../machine/machine.ts';
import { saveSections } from './machine-state.ts';
import { ResetPoint } from './reset-point.ts';
import { encodeSections } from './sections.ts';

const stateOf = (machine: Machine): Promise<Buffer> =>
  machine.standStill(() =>
    Buffer.concat([
      encodeSections(saveSections(machine)),
      ...machine.memory.ramList.blocks.map(({ bytes }) => bytes),
    ]),
  );

test('a machine returns to its point bit for bit, again and again', async () => {
  const machine = countingMachine();
  machine.vcpu.run(3_000);
  const before = await stateOf(machine);
  const point = await ResetPoint.take(machine);
  for (const length of [10, 1000, 1, 50_000, 0, 333]) {
    machine.vcpu.run(length);
    machine.addressSpace.writeBytes(0x8ffe, Uint8Array.of(1, 2, 3, 4, length & 0xff));
    machine.ports.write(0x70, 1, length & 0x7f);
    point.resetNow();
    expect(point.changedCount).toBe(0);
    expect(Buffer.compare(await stateOf(machine), before)).toBe(0);
  }
  machine.vcpu.run(777);
  const expected = Buffer.from(countedMemory(countOf(machine)).buffer);
  expect(Buffer.compare(Buffer.from(countedPart(machine).buffer), expected)).toBe(0);
  point.close();
  machine.vcpu.run(100);
  expect(() => point.resetNow()).toThrow(TypeError);
});

// Goal: the guest's own code may change, too; what was decoded from it must not be run then.
test('code that the guest changed is put back and decoded anew', async () => {
  const machine = countingMachine();
  machine.vcpu.run(100);
  const point = await ResetPoint.take(machine);
  machine.vcpu.run(100);
  machine.addressSpace.write(0x1000, 1, 0x49); // dec ecx
  machine.vcpu.run(1000);
  point.resetNow();
  machine.vcpu.run(1000);
  const expected = Buffer.from(countedMemory(countOf(machine)).buffer);
  expect(countOf(machine)).toBeGreaterThan(150);
  expect(Buffer.compare(Buffer.from(countedPart(machine).buffer), expected)).toBe(0);
});

test('two points of one machine do not disturb each other', async () => {
  const machine = countingMachine();
  const first = await ResetPoint.take(machine);
  const states = [await stateOf(machine)];
  machine.vcpu.run(500);
  const second = await ResetPoint.take(machine);
  states.push(await stateOf(machine));
  machine.vcpu.run(500);
  second.resetNow();
  expect(Buffer.compare(await stateOf(machine), states[1]!)).toBe(0);
  machine.vcpu.run(200);
  first.resetNow();
  expect(Buffer.compare(await stateOf(machine), states[0]!)).toBe(0);
  first.close();
  machine.vcpu.run(1_000);
  second.resetNow();
  expect(Buffer.compare(await stateOf(machine), states[1]!)).toBe(0);
});

test('a machine that runs is put back and runs on', async () => {
  const machine = countingMachine();
  const point = await ResetPoint.take(machine);
  machine.start();
  for (let i = 0; i < 5; i++) {
    await new Promise((resolve) => setImmediate(resolve));
    await point.reset();
  }
  await machine.pause();
  const expected = Buffer.from(countedMemory(countOf(machine)).buffer);
  expect(Buffer.compare(Buffer.from(countedPart(machine).buffer), expected)).toBe(0);
  machine.close();
  await expect(point.reset()).rejects.toThrow(TypeError);
  expect(blankMachine().state).toBe('created');
});
