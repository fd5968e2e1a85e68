// A machine's state as named, versioned sections: virtual time and what is pending in the machine,
// every chip, the processor. Restoring checks everything first, and puts back what was there if a
// component refuses after all, so that a machine is changed wholly or not at all.

import type { Savable, SavedSection } from '../devices/saved-state.ts';
import { SavedStateError } from '../devices/saved-state.ts';
import type { Machine, MachineEnd, MachinePending } from '../machine/machine.ts';
import { mismatch } from './machine-error.ts';
import {
  checkProcessor,
  PROCESSOR_SECTION,
  PROCESSOR_VERSION,
  restoreProcessor,
  saveProcessor,
} from './processor-state.ts';
import {
  type LoadedSection,
  type SectionValue,
  type StateSection,
  sectionKey,
} from './sections.ts';
import { SnapshotError } from './snapshot-error.ts';

/** Section of virtual time and of what is pending in the machine itself. */
export const MACHINE_SECTION = 'machine';
export const MACHINE_VERSION = 1;

const FIELD_TIME = 1;
const FIELD_RESET_WANTED = 2;
const FIELD_POWER_OFF_WANTED = 3;
const FIELD_END_KIND = 4;
const FIELD_END_REASON = 5;
const FIELD_END_REPORT = 6;
const FIELD_TYPIST_IS_DOWN = 7;
const FIELD_TYPIST_DEADLINE = 8;
/** Chords, one a line: `200000000 ctrl alt delete`, the time in ns. */
const FIELD_TYPIST_CHORDS = 9;
/** Input of serial port i is field FIELD_SERIAL_INPUT + i. */
const FIELD_SERIAL_INPUT = 16;
const SERIAL_COUNT_MAX = 4;
const SERIAL_INPUT_BYTES_MAX = 1 << 20;
const CHORDS_MAX = 4097;
const REPORT_LENGTH_MAX = 65536;
const END_KINDS = ['none', 'power-off', 'reset', 'disaster'] as const;

/** Every section of `machine`. Call it between two instructions, inside `standStill`. */
export function saveSections(machine: Machine): StateSection[] {
  return [
    saveMachineSection(machine),
    ...machine.pc.savables.map((savable) => savable.save()),
    saveProcessor(machine.vcpu),
  ];
}

/** Sections that a machine was compared with; see {@link checkSections}. */
export interface CheckedSections {
  readonly timeNs: number;
  readonly pending: MachinePending;
  readonly chips: readonly { readonly savable: Savable; readonly section: SavedSection }[];
  readonly processor: LoadedSection;
}

/**
 * Compares `sections` with the components of `machine`, without touching it.
 * @throws {SnapshotError} `MISMATCH` for a section that is missing, unknown or malformed;
 *   `NEWER_VERSION`
 */
export function checkSections(
  machine: Machine,
  sections: readonly (LoadedSection | StateSection)[],
): CheckedSections {
  const rest = new Map(sections.map((section) => [sectionKey(section), section]));
  const take = (name: string, version: number): LoadedSection => {
    const section = rest.get(name);
    if (section === undefined)
      throw mismatch(name, 'the machine has it, the snapshot has no such section');
    rest.delete(name);
    if (section.version > version)
      throw new SnapshotError(
        'NEWER_VERSION',
        `Cannot restore "${name}" as its version must be at most ${version}: ` +
          `the snapshot has ${section.version}`,
        { subject: name },
      );
    return { instance: 0, ...section };
  };
  const machineSection = take(MACHINE_SECTION, MACHINE_VERSION);
  const { timeNs, pending } = decodeMachineSection(machineSection, machine.pc.serials.length);
  const chips = machine.pc.savables.map((savable) => {
    const { name, version } = savable.save();
    const section = take(name, version);
    for (const [id, value] of section.values)
      if (typeof value === 'string' || value instanceof Uint8Array)
        throw mismatch(name, `field ${id} must be a number, a truth value or a list`);
    return { savable, section: section as SavedSection };
  });
  const processor = take(PROCESSOR_SECTION, PROCESSOR_VERSION);
  checkProcessor(processor);
  for (const key of rest.keys())
    throw mismatch(key, 'the snapshot has such a section, the machine has no such component');
  return { timeNs, pending, chips, processor };
}

/**
 * Puts the machine into a state that was checked, RAM excepted, which must have been restored.
 * Time comes first, as devices arm their timers by it; who receives interrupts comes after those
 * who raise them; the processor last. Call it inside `standStill`.
 * @param keepsCode whether RAM was written through `RAMWrites` only
 * @throws {SnapshotError} `MISMATCH` if a component refuses; all are as they were before then
 */
export function restoreSections(
  machine: Machine,
  checked: CheckedSections,
  keepsCode: boolean,
): void {
  const before = saveSections(machine);
  try {
    apply(machine, checked, keepsCode);
  } catch (cause) {
    apply(machine, checkSections(machine, before), keepsCode);
    if (!(cause instanceof SavedStateError || cause instanceof RangeError)) throw cause;
    const subject = cause instanceof SavedStateError ? cause.section : MACHINE_SECTION;
    throw new SnapshotError('MISMATCH', cause.message, { subject, cause });
  }
}

/** As {@link restoreSections}, without undoing: for sections that an equal machine just gave. */
export function applySections(machine: Machine, checked: CheckedSections): void {
  apply(machine, checked, true);
}

function apply(machine: Machine, checked: CheckedSections, keepsCode: boolean): void {
  machine.clock.restore(checked.timeNs);
  for (const { savable, section } of checked.chips) savable.restore(section);
  restoreProcessor(machine.vcpu, checked.processor, keepsCode);
  // Where time goes by instructions, another count is no time that passed.
  machine.clock.restore(checked.timeNs);
  machine.restorePending(checked.pending);
}

function saveMachineSection(machine: Machine): StateSection {
  const { isResetWanted, isPowerOffWanted, end, serialInput, typist } = machine.savePending();
  const values = new Map<number, SectionValue>([
    [FIELD_TIME, machine.clock.nowNs()],
    [FIELD_RESET_WANTED, isResetWanted],
    [FIELD_POWER_OFF_WANTED, isPowerOffWanted],
    [FIELD_END_KIND, END_KINDS.indexOf(end?.kind ?? 'none')],
    [FIELD_END_REASON, end?.kind === 'disaster' ? end.reason : ''],
    [FIELD_END_REPORT, end?.kind === 'disaster' ? end.report : ''],
    [FIELD_TYPIST_IS_DOWN, typist.isDown],
    [FIELD_TYPIST_DEADLINE, typist.deadlineNs],
    [
      FIELD_TYPIST_CHORDS,
      typist.chords.map(({ keys, holdNs }) => [holdNs, ...keys].join(' ')).join('\n'),
    ],
  ]);
  for (const [index, input] of serialInput.entries()) values.set(FIELD_SERIAL_INPUT + index, input);
  return { name: MACHINE_SECTION, version: MACHINE_VERSION, values };
}

function decodeMachineSection(
  { values }: LoadedSection,
  serialCount: number,
): { timeNs: number; pending: MachinePending } {
  const fail = (id: number, must: string): never => {
    throw mismatch(MACHINE_SECTION, `field ${id} must be ${must}, got ${String(values.get(id))}`);
  };
  const time = (id: number): number => {
    const value = values.get(id);
    return typeof value === 'number' && value >= 0 ? value : fail(id, 'a time');
  };
  const truth = (id: number): boolean => {
    const value = values.get(id);
    return typeof value === 'boolean' ? value : fail(id, 'true or false');
  };
  const text = (id: number, lengthMax: number): string => {
    const value = values.get(id);
    return typeof value === 'string' && value.length <= lengthMax ? value : fail(id, 'a text');
  };
  const timeNs = time(FIELD_TIME);
  if (!Number.isSafeInteger(timeNs)) fail(FIELD_TIME, 'a whole number of ns');
  const kind = END_KINDS[values.get(FIELD_END_KIND) as number] ?? fail(FIELD_END_KIND, 'a kind');
  const reason = text(FIELD_END_REASON, REPORT_LENGTH_MAX);
  const report = text(FIELD_END_REPORT, REPORT_LENGTH_MAX);
  const lines = text(FIELD_TYPIST_CHORDS, REPORT_LENGTH_MAX * 16).split('\n');
  if (lines.length > CHORDS_MAX) fail(FIELD_TYPIST_CHORDS, `at most ${CHORDS_MAX} chords`);
  const chords = lines
    .filter((line) => line !== '')
    .map((line) => {
      const [hold, ...keys] = line.split(' ');
      if (!/^\d{1,15}$/.test(hold!)) fail(FIELD_TYPIST_CHORDS, 'times and keys');
      return { holdNs: Number(hold), keys };
    });
  const known = new Set([1, 2, 3, 4, 5, 6, 7, 8, 9]);
  const serialInput: Uint8Array[] = [];
  for (let index = 0; index < SERIAL_COUNT_MAX; index++) {
    const id = FIELD_SERIAL_INPUT + index;
    const input = values.get(id);
    if (input === undefined) continue;
    if (!(input instanceof Uint8Array) || input.length > SERIAL_INPUT_BYTES_MAX)
      return fail(id, `at most ${SERIAL_INPUT_BYTES_MAX} bytes`);
    known.add(id);
    serialInput.push(input);
  }
  if (serialInput.length !== serialCount)
    throw mismatch(
      MACHINE_SECTION,
      `the snapshot has ${serialInput.length} serial ports, the machine has ${serialCount}`,
    );
  for (const id of values.keys()) if (!known.has(id)) fail(id, 'a known one');
  const isDown = truth(FIELD_TYPIST_IS_DOWN);
  if (isDown && chords.length === 0) fail(FIELD_TYPIST_IS_DOWN, 'false without chords');
  const pending: MachinePending = {
    isResetWanted: truth(FIELD_RESET_WANTED),
    isPowerOffWanted: truth(FIELD_POWER_OFF_WANTED),
    end: endOf(kind, reason, report),
    serialInput,
    typist: { chords, isDown, deadlineNs: time(FIELD_TYPIST_DEADLINE) },
  };
  return { timeNs, pending };
}

function endOf(
  kind: (typeof END_KINDS)[number],
  reason: string,
  report: string,
): Exclude<MachineEnd, { kind: 'failure' }> | undefined {
  if (kind === 'none') return undefined;
  return kind === 'disaster' ? { kind, reason, report } : { kind };
}
