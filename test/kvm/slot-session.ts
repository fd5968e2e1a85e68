// Random sessions for accelerators that map guest memory: a region tree under change at the bottom,
// at 4 GiB and at the top of the physical space, a guest that stores, devices that store, clients
// that take their dirty bits. A byte map says what each page must show, a Set per client what must
// be dirty.

import fc from 'fast-check';
import { expect } from 'vitest';
import {
  AddressSpace,
  DIRTY_CLONE,
  DIRTY_MIGRATION,
  DIRTY_VGA,
  type GuestMemory,
  type GuestMemoryOptions,
  type MemoryListener,
  MemoryRegion,
} from '../../src/memory/index.ts';
import { PAGE, SPACE_BYTES, type Step, step, TreeModel } from '../memory-model.ts';
import type { SlotGuest } from './memslots-board.ts';

/** Where the tree lies: what ends at these tops ends exactly there. */
const BASES = [0, 2 ** 32 - SPACE_BYTES, 2 ** 52 - SPACE_BYTES] as const;
const CLIENTS = [DIRTY_VGA, DIRTY_CLONE, DIRTY_MIGRATION] as const;

type Action =
  | { readonly kind: 'change'; readonly step: Step }
  | { readonly kind: 'guest' | 'device'; readonly page: number; readonly at: number }
  | { readonly kind: 'take'; readonly client: number }
  | { readonly kind: 'global'; readonly flag: boolean };

const page = fc.nat({ max: SPACE_BYTES / PAGE - 1 });
const at = fc.constantFrom(0, 8, 0x7f8, 0x800, 0xff8, 0xfff);
const change = step.map((one): Action => ({ kind: 'change', step: one }));
const guest = fc.tuple(page, at).map(([page, at]): Action => ({ kind: 'guest', page, at }));
const device = fc.tuple(page, at).map(([page, at]): Action => ({ kind: 'device', page, at }));
const take = fc.constantFrom(...CLIENTS).map((client): Action => ({ kind: 'take', client }));
const global = fc.boolean().map((flag): Action => ({ kind: 'global', flag }));

/** Something of each kind is in the root from the start, at whole pages. */
const beginning = fc.tuple(...Array.from({ length: 14 }, () => page)).map((pages) =>
  pages.map(
    (at, child): Action => ({
      kind: 'change',
      step: { kind: 'add', child, parent: 0, offset: at * PAGE, priority: 0, flag: true },
    }),
  ),
);

const action = fc.oneof(
  { weight: 5, arbitrary: change },
  { weight: 8, arbitrary: guest },
  { weight: 1, arbitrary: device },
  { weight: 3, arbitrary: take },
  { weight: 1, arbitrary: global },
);

/** A session: where the tree lies, and what happens. */
export const sessions = fc
  .record({
    base: fc.constantFrom(...BASES),
    beginning: fc
      .shuffledSubarray([...Array(14).keys()])
      .chain((some) => beginning.map((all) => some.map((index) => all[index]!))),
    rest: fc.array(action, { minLength: 30, maxLength: 80 }),
  })
  .map(({ base, beginning: first, rest }) => ({ base, actions: [...first, ...rest] }));

/** What a session is played on. */
export interface SessionSubject extends SlotGuest {
  readonly listener: MemoryListener;
  /** How much of what is dirty at a harvest the guest wrote: all, or at least that. */
  readonly log: 'exact' | 'everything';
  /** Whether a page of RAM can be at one place only; its other places are exits then. */
  readonly isUnique?: boolean;
  setGlobalLog?(isOn: boolean): void;
  /** Highest address that its guest can reach; absent if all. */
  readonly gpaMax?: number;
}

/**
 * Plays one session.
 * @param create makes what is tested, on this memory
 */
export function playSession(
  { base, actions }: { readonly base: number; readonly actions: readonly Action[] },
  createMemory: (options: GuestMemoryOptions) => GuestMemory,
  create: (memory: GuestMemory) => SessionSubject,
): void {
  const model = new TreeModel(createMemory);
  const { memory } = model;
  const system = MemoryRegion.container('all', 2 ** 52);
  system.addSubregion(base, model.regions[0]!);
  const { ramList, ramWrites, dirty } = memory;
  const space = new AddressSpace({ name: 'memory', root: system, ramList, ramWrites });
  const subject = create(memory);
  space.addListener(subject.listener);
  const expected = new Map<number, Set<number>>(CLIENTS.map((client) => [client, new Set()]));
  for (const client of CLIENTS) dirty.harvest(client);
  // A client that was told to stop is given every page: what is too much cannot be said exactly.
  let isExact = true;
  const canReach = base + SPACE_BYTES - 1 <= (subject.gpaMax ?? 2 ** 52);
  const write = (gpa: number, value: number, isGuest: boolean): void => {
    const shown = model.show(gpa - base);
    const isRAM = model.kindOf(shown) === 'ram';
    const isStored = isGuest && canReach && subject.guestWrite(gpa, value);
    if (!isStored) space.write(gpa, 1, value);
    if (!isRAM) {
      expect(isStored).toBe(false);
      return;
    }
    const ramOffset = model.ramOffsetOf(shown);
    expect(ramList.bytes[ramOffset]).toBe(value);
    for (const set of expected.values()) set.add(Math.floor(ramOffset / PAGE));
  };
  actions.forEach((one, index) => {
    if (one.kind === 'change') {
      if (one.step.kind === 'log') isExact = false;
      model.apply(one.step);
    } else if (one.kind === 'global') {
      if (!one.flag) isExact = false;
      subject.setGlobalLog?.(one.flag);
    } else if (one.kind === 'take') {
      space.syncDirtyLog();
      const taken = new Set(dirty.harvest(one.client).pages());
      const wanted = expected.get(one.client)!;
      for (const lost of wanted) expect(taken).toContain(lost);
      if (isExact && subject.log === 'exact') expect(taken.size).toBe(wanted.size);
      wanted.clear();
    } else write(base + one.page * PAGE + one.at, (index * 7 + 1) & 0xff, one.kind === 'guest');
    if (canReach && (index % 8 === 7 || index === actions.length - 1))
      checkPages(model, base, subject);
  });
}

/** Each page that is whole memory is reached without an exit, and no other. */
function checkPages(model: TreeModel, base: number, subject: SessionSubject): void {
  const { bytes } = model.memory.ramList;
  /** By RAM offset: places that are reached, and all. */
  const places = new Map<number, { reached: number; all: number }>();
  for (let start = 0; start < SPACE_BYTES; start += PAGE) {
    const ramOffset = wholeRAM(model, start);
    const ends = [0, PAGE - 1];
    const read = ends.map((offset) => subject.guestRead(base + start + offset));
    const isReached = read[0] !== undefined;
    const expected = ends.map((offset) => (isReached ? bytes[ramOffset + offset] : undefined));
    expect(read, `page ${start / PAGE}`).toEqual(expected);
    if (ramOffset < 0) {
      expect(isReached, `page ${start / PAGE}`).toBe(false);
      continue;
    }
    const place = places.get(ramOffset) ?? { reached: 0, all: 0 };
    place.all++;
    if (isReached) place.reached++;
    places.set(ramOffset, place);
  }
  for (const [ramOffset, { reached, all }] of places)
    expect(reached, `RAM page ${ramOffset / PAGE}`).toBe(subject.isUnique ? 1 : all);
}

/** RAM offset of a page that shows one whole page of RAM, or −1. */
function wholeRAM(model: TreeModel, start: number): number {
  const first = model.show(start);
  const ramOffset = model.ramOffsetOf(first);
  if (ramOffset < 0 || ramOffset % PAGE !== 0) return -1;
  for (let offset = 8; offset < PAGE; offset += 8) {
    const shown = model.show(start + offset);
    const isOne =
      shown?.region === first!.region &&
      shown.isReadOnly === first!.isReadOnly &&
      model.ramOffsetOf(shown) === ramOffset + offset;
    if (!isOne) return -1;
  }
  return ramOffset;
}
