// Bad input: a guest that reads and writes every register at random. Every read is a number in its
// range, nothing throws, nothing hangs, and what was saved restores into a machine that never ran.

import fc from 'fast-check';
import { expect, test } from 'vitest';
import { FakeHost } from '../../test/fake-host.ts';
import { fuzzOptions } from '../../test/fuzz-options.ts';
import { scriptedAccelerator } from '../../test/scripted-vcpu.ts';
import { IO_APIC_BASE } from '../devices/io-apic.ts';
import { APIC_BASE_DEFAULT } from '../devices/local-apic.ts';
import { SavedStateError } from '../devices/saved-state.ts';
import { Machine } from './machine.ts';

function create(): Machine {
  return Machine.create({
    memoryBytes: 0x10_0000,
    accelerator: scriptedAccelerator([() => ({ kind: 'halted' })]),
    host: new FakeHost(),
  });
}

/** Ports and register pages that have a device, and some neighbours that have none. */
const PORTS: readonly [number, number][] = [
  [0x00, 0x10],
  [0x20, 2],
  [0x40, 4],
  [0x60, 5],
  [0x70, 2],
  [0x80, 0x14],
  [0xa0, 2],
  [0xb2, 2],
  [0xc0, 0x20],
  [0xe9, 1],
  [0x3f8, 8],
  [0x402, 1],
  [0x4d0, 2],
  [0x600, 0x40],
  [0xcf8, 8],
  [0x1234, 4],
];

interface Access {
  readonly isMemory: boolean;
  readonly address: number;
  readonly sizeBytes: number;
  readonly isWrite: boolean;
  readonly value: number;
  readonly advanceUs: number;
}

const port = fc
  .constantFrom(...PORTS)
  .chain(([start, count]) => fc.nat({ max: count - 1 }).map((offset) => start + offset));
const mmio = fc
  .record({
    base: fc.constantFrom(APIC_BASE_DEFAULT, IO_APIC_BASE),
    offset: fc.oneof(
      fc.nat({ max: 0x3f }).map((n) => n * 16),
      fc.nat({ max: 0xfff }),
    ),
  })
  .map(({ base, offset }) => base + offset);
const access: fc.Arbitrary<Access> = fc.boolean().chain((isMemory) =>
  fc.record({
    isMemory: fc.constant(isMemory),
    address: isMemory ? mmio : port,
    sizeBytes: fc.constantFrom(1, 1, 2, 4),
    isWrite: fc.boolean(),
    value: fc.oneof(fc.nat({ max: 0xff }), fc.nat({ max: 0xffff_ffff })),
    advanceUs: fc.oneof(fc.constant(0), fc.nat({ max: 2_000 }), fc.nat({ max: 3_000_000 })),
  }),
);

function perform(machine: Machine, host: FakeHost, one: Access): void {
  const space = one.isMemory ? machine.addressSpace : machine.ports;
  if (one.isWrite) space.write(one.address, one.sizeBytes, one.value);
  else {
    const value = space.read(one.address, one.sizeBytes);
    expect(Number.isInteger(value)).toBe(true);
    expect(value).toBeGreaterThanOrEqual(0);
    expect(value).toBeLessThan(2 ** (8 * one.sizeBytes));
  }
  host.timeMs += one.advanceUs / 1000;
  // A device may arm timers for the past; each round of firing must end.
  machine.clock.fireDue();
  if (machine.pc.hasInterrupt()) {
    const vector = machine.pc.acknowledge();
    expect(vector).toBeGreaterThanOrEqual(0);
    expect(vector).toBeLessThan(256);
  }
}

test('random reads and writes of every register do no harm, and the state restores', () => {
  fc.assert(
    fc.property(fc.array(access, { minLength: 20, maxLength: 400 }), (accesses) => {
      const host = new FakeHost();
      const machine = Machine.create({
        memoryBytes: 0x10_0000,
        accelerator: scriptedAccelerator([() => ({ kind: 'halted' })]),
        host,
      });
      machine.clock.start(); // Time runs, the processor does not.
      for (const one of accesses) perform(machine, host, one);
      machine.pc.serial.receive(0x41);
      machine.pc.keyboard.sendKeys([0x1c, 0xf0, 0x1c]);
      machine.clock.stop();

      const saved = machine.pc.savables.map((chip) => chip.save());
      const other = create();
      other.pc.savables.forEach((chip, i) => {
        chip.restore(saved[i]!);
      });
      // failures.md 21: save, restore into a machine that never ran, save again: equal.
      const again = other.pc.savables.map((chip) => chip.save());
      for (const [i, section] of saved.entries()) {
        // The time of these is the machine's, which is not part of a chip.
        if (['pit', 'rtc', 'acpi-pm', 'apic'].includes(section.name)) continue;
        expect(again[i]).toEqual(section);
      }
    }),
    fuzzOptions(60),
  );
});

test('every port of the 64 KiB reads as a number and takes writes', () => {
  const machine = create();
  for (let address = 0; address < 0x1_0000; address++) {
    for (const sizeBytes of address < 0x1000 ? [1, 2, 4] : [1]) {
      const value = machine.ports.read(address, sizeBytes);
      expect(value >= 0 && value < 2 ** (8 * sizeBytes)).toBe(true);
      machine.ports.write(address, sizeBytes, (address * 0x9e37_79b1) >>> 0);
    }
  }
});

test('every field of every chip is declared, and no two sections share a name', () => {
  const { pc } = create();
  const names = pc.savables.map((chip) => chip.save().name);
  expect(new Set(names).size).toBe(names.length);
  expect(names.length).toBeGreaterThan(18);
  for (const chip of pc.savables) {
    const { state } = chip as unknown as { state: Record<string, never> };
    const instance = chip as unknown as { schema?: { undeclared(s: object): string[] } };
    const statics = chip.constructor as unknown as { schema?: typeof instance.schema };
    const schema = instance.schema ?? statics.schema;
    expect(schema, chip.save().name).toBeDefined();
    expect(schema!.undeclared(state), chip.save().name).toEqual([]);
  }
});

// failures.md 24: a wrong section is refused before anything changes.
test('every chip refuses a section of another name, and keeps its state', () => {
  const { pc } = create();
  for (const chip of pc.savables) {
    const before = chip.save();
    expect(() => chip.restore({ ...before, name: 'other' })).toThrow(SavedStateError);
    expect(() => chip.restore({ ...before, version: before.version + 1 })).toThrow(SavedStateError);
    expect(chip.save()).toEqual(before);
  }
});
