import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { FakeHost } from '../../test/fake-host.ts';
import { fuzzOptions } from '../../test/fuzz-options.ts';
import { softwareAccelerator } from '../accel/software/index.ts';
import * as layout from '../cpu/state-layout.ts';
import { ENGINE, EXCEPTION_VECTOR, HALTED, STATE_BYTES } from '../cpu/state-layout.ts';
import { Machine, type MachineOptions } from '../machine/machine.ts';
import { checkSections, restoreSections, saveSections } from './machine-state.ts';
import { PROCESSOR_EXCUSED, PROCESSOR_FIELDS } from './processor-state.ts';
import { decodeSections, encodeSections } from './sections.ts';

const MIB = 2 ** 20;

function create(options: Partial<MachineOptions> = {}): Machine {
  return Machine.create({
    memoryBytes: 2 * MIB,
    accelerator: softwareAccelerator,
    host: new FakeHost(),
    ...options,
  });
}

async function save(machine: Machine): Promise<Uint8Array> {
  return machine.standStill(() => encodeSections(saveSections(machine)));
}

async function load(machine: Machine, bytes: Uint8Array): Promise<void> {
  const checked = checkSections(machine, decodeSections(bytes));
  await machine.standStill(() => restoreSections(machine, checked, false));
}

test('every field of the state area is saved or excused, and none is both', () => {
  const fields = Object.entries(layout).filter(
    ([name, value]) =>
      typeof value === 'number' &&
      !/_BYTES$|_COUNT$|^MODE_|^ATTENTION_|^SEG_|^(ES|CS|SS|DS|FS|GS|LDTR|TR|NO_EXCEPTION)$/.test(
        name,
      ),
  ) as [string, number][];
  const isSaved = (offset: number): boolean =>
    PROCESSOR_FIELDS.some(
      (field) => offset >= field.offset && offset < field.offset + field.sizeBytes,
    );
  for (const [name, offset] of fields)
    expect([name, isSaved(offset)]).toEqual([name, !(name in PROCESSOR_EXCUSED)]);
  const ids = PROCESSOR_FIELDS.map(({ id }) => id);
  expect(new Set(ids).size).toBe(ids.length);
  for (const { offset, sizeBytes } of PROCESSOR_FIELDS)
    expect(offset + sizeBytes).toBeLessThanOrEqual(ENGINE);
  expect(ENGINE).toBeLessThan(STATE_BYTES);
});

test('save, load into a machine that never ran, save again: equal bytes', async () => {
  const source = create({ serialCount: 2 });
  source.sendSerial(Uint8Array.from({ length: 100 }, (_, i) => i));
  source.typeKeys(['ctrl', 'alt', 'delete'], 50);
  source.typeKeys(['a']);
  const bytes = await save(source);
  const target = create({ serialCount: 2 });
  await load(target, bytes);
  expect(await save(target)).toEqual(bytes);
});

// Goal: failures 21. No bit of the register file is dropped, whatever it is.
test('random processor states come back bit for bit', async () => {
  const source = create();
  const target = create();
  await fc.assert(
    fc.asyncProperty(
      fc.uint8Array({ minLength: 0x700, maxLength: 0x700 }),
      fc.boolean(),
      async (random, isNMIPending) => {
        const { u8, u32 } = source.vcpu.state;
        for (const { offset, sizeBytes, problem } of PROCESSOR_FIELDS) {
          const bytes = random.slice(offset, offset + sizeBytes);
          if (problem?.(new DataView(bytes.buffer)) === undefined) u8.set(bytes, offset);
        }
        u32[HALTED >> 2] = random[0]! & 1;
        u32[EXCEPTION_VECTOR >> 2] = random[1]! & 1 ? 14 : layout.NO_EXCEPTION;
        source.vcpu.isNMIPending = isNMIPending;
        const bytes = await save(source);
        await load(target, bytes);
        expect(await save(target)).toEqual(bytes);
      },
    ),
    fuzzOptions(50),
  );
});

test('other serial ports, and a lost, an unknown or a newer section are refused', async () => {
  const bytes = await save(create());
  const sections = decodeSections(bytes);
  const target = create();
  const before = await save(target);
  const refuse = (changed: typeof sections, code: string, subject: string) => {
    expect(() => checkSections(target, changed)).toThrowError(
      expect.objectContaining({ code, subject }),
    );
  };
  refuse(
    sections.filter(({ name }) => name !== 'pit'),
    'MISMATCH',
    'pit',
  );
  refuse([...sections, { ...sections[1]!, name: 'nvme0' }], 'MISMATCH', 'nvme0');
  refuse(
    sections.map((one) => (one.name === 'cpu' ? { ...one, version: 2 } : one)),
    'NEWER_VERSION',
    'cpu',
  );
  const serial2 = decodeSections(await save(create({ serialCount: 2 })));
  expect(() => checkSections(target, serial2)).toThrowError(/serial ports|serial1/);
  expect(await save(target)).toEqual(before);
});

test('a component that refuses leaves the machine as it was', async () => {
  const source = create();
  await source.standStill(() => source.clock.restore(5_000_000));
  const sections = decodeSections(await save(source));
  const last = sections.find(({ name }) => name === 'apic')!;
  const broken = sections.map((one) =>
    one === last ? { ...one, values: new Map([...one.values].slice(1)) } : one,
  );
  const target = create();
  const before = await save(target);
  const checked = checkSections(target, broken);
  await expect(target.standStill(() => restoreSections(target, checked, false))).rejects.toThrow(
    expect.objectContaining({ code: 'MISMATCH', subject: 'apic' }),
  );
  expect(await save(target)).toEqual(before);
});
