// One script, played to the model of the kernel's rules and to the kernel: what KVM does with slots
// and dirty logs is known by seeing it, and the model may stand in for it elsewhere.

import { afterEach, expect, test } from 'vitest';
import { KVM } from '../../src/accel/kvm/abi.ts';
import { KVMError, type KVMMemoryVM } from '../../src/accel/kvm/kvm-vm.ts';
import { missingKVM } from '../../src/accel/kvm/missing-kvm.ts';
import { KernelMemory } from './kernel-memory.ts';
import { KVMMemoryModel } from './kvm-memory-model.ts';

const PAGE = 4096;
const MEMORY_PAGES = 256;
const LOG = KVM.KVM_MEM_LOG_DIRTY_PAGES;
const READONLY = KVM.KVM_MEM_READONLY;
const TOP_2_64 = 2 ** 64 - PAGE; // Exact as a double.

interface Subject {
  readonly vm: KVMMemoryVM;
  readonly hostBase: bigint;
  guestWrite(gpa: number, value: number): boolean;
  guestRead(gpa: number): number | undefined;
}

type Play = (it: Script) => unknown;

/** Short words for what scripts do; each answers `ok`, an errno, or what was read. */
class Script {
  readonly #it: Subject;
  constructor(subject: Subject) {
    this.#it = subject;
  }

  /** KVM_SET_USER_MEMORY_REGION; `page` is where in the host's memory, in pages. */
  set(slot: number, flags: number, gpa: number, sizeBytes: number, page = 0): string {
    return this.at(slot, flags, gpa, sizeBytes, this.#it.hostBase + BigInt(page * PAGE));
  }

  at(slot: number, flags: number, gpa: number, sizeBytes: number, address: bigint): string {
    return attempt(() =>
      this.#it.vm.setUserMemoryRegion({
        slot,
        flags,
        guestPhysicalAddress: gpa,
        memorySize: sizeBytes,
        userspaceAddress: address,
      }),
    );
  }

  /** KVM_GET_DIRTY_LOG of at most 128 pages, as the pages' numbers. */
  get(slot: number): string | number[] {
    const bitmap = new Uint8Array(16);
    const answer = attempt(() => this.#it.vm.getDirtyLog(slot, bitmap));
    if (answer !== 'ok') return answer;
    return [...Array(128).keys()].filter((page) => ((bitmap[page >> 3]! >> (page & 7)) & 1) !== 0);
  }

  clear(slot: number, first: number, count: number, pages: readonly number[]): string {
    const bitmap = new Uint8Array(16);
    for (const page of pages) bitmap[page >> 3] = bitmap[page >> 3]! | (1 << (page & 7));
    return attempt(() => this.#it.vm.clearDirtyLog(slot, first, count, bitmap));
  }

  enable(capability: number, argument: number): string {
    return attempt(() => this.#it.vm.enableCapability(capability, argument));
  }

  write(gpa: number): string {
    return this.#it.guestWrite(gpa, 0x5a) ? 'ok' : 'exit';
  }

  read(gpa: number): number | undefined {
    return this.#it.guestRead(gpa);
  }
}

function attempt(action: () => void): string {
  try {
    action();
    return 'ok';
  } catch (error) {
    if (error instanceof KVMError) return error.code;
    throw error;
  }
}

const MANUAL = KVM.KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2;
const RING = KVM.KVM_CAP_DIRTY_LOG_RING_ACQ_REL;
const SLOT_MAX = 32764;

/** A rule, what is done, and what the kernel answers. */
const RULES: readonly (readonly [rule: string, play: Play, answers: unknown])[] = [
  [
    'a slot is made, made again as it is, and deleted once',
    (it) =>
      [it.set(0, 0, 0, 4 * PAGE), it.set(0, 0, 0, 4 * PAGE), it.set(0, 0, 0, 0)].concat(
        it.set(0, 0, 0, 0),
      ),
    ['ok', 'ok', 'ok', 'EINVAL'],
  ],
  [
    'addresses and sizes are whole pages',
    (it) => [
      it.set(0, 0, 0x800, PAGE),
      it.set(0, 0, 0, PAGE + 0x800),
      it.at(0, 0, 0, PAGE, 0x1008n),
      it.at(0, 0, 0, PAGE, 0xffff_8000_0000_0000n),
    ],
    ['EINVAL', 'EINVAL', 'EINVAL', 'EINVAL'],
  ],
  [
    'slots do not overlap; neighbours are no overlap',
    (it) => [
      it.set(0, 0, 4 * PAGE, 4 * PAGE),
      it.set(1, 0, 7 * PAGE, 2 * PAGE),
      it.set(1, 0, 0, 5 * PAGE),
      it.set(1, 0, 8 * PAGE, PAGE),
      it.set(2, 0, 0, 4 * PAGE),
    ],
    ['ok', 'EEXIST', 'EEXIST', 'ok', 'ok'],
  ],
  [
    'a slot moves, but not onto another, and changes neither size nor bytes',
    (it) => [
      it.set(0, 0, 0, 4 * PAGE),
      it.set(1, 0, 8 * PAGE, PAGE),
      it.set(0, 0, 16 * PAGE, 4 * PAGE),
      it.set(0, 0, 6 * PAGE, 4 * PAGE),
      it.set(0, 0, 16 * PAGE, 5 * PAGE),
      it.set(0, 0, 16 * PAGE, 4 * PAGE, 1),
    ],
    ['ok', 'ok', 'ok', 'EEXIST', 'EINVAL', 'EINVAL'],
  ],
  [
    'read-only is for life; logging is not; other flags do not exist',
    (it) => [
      it.set(0, 0, 0, PAGE),
      it.set(0, READONLY, 0, PAGE),
      it.set(0, LOG, 0, PAGE),
      it.set(1, READONLY, PAGE, PAGE),
      it.set(1, 0, PAGE, PAGE),
      it.set(1, READONLY | LOG, PAGE, PAGE),
      it.set(2, 8, 2 * PAGE, PAGE),
    ],
    ['ok', 'EINVAL', 'ok', 'ok', 'EINVAL', 'ok', 'EINVAL'],
  ],
  [
    'a slot may end at 4 GiB and at the top of 52 bits, and may not wrap',
    (it) => [
      it.set(0, 0, 2 ** 32 - 2 * PAGE, 2 * PAGE),
      it.set(1, 0, 2 ** 52 - PAGE, PAGE),
      it.set(2, 0, 2 ** 52, PAGE),
      it.set(2, 0, TOP_2_64, PAGE),
      it.set(2, 0, TOP_2_64, 2 * PAGE),
    ],
    ['ok', 'ok', 'EINVAL', 'EINVAL', 'EINVAL'],
  ],
  [
    'numbers end at KVM_CAP_NR_MEMSLOTS, pages at 2^31 - 1',
    (it) => [
      it.set(SLOT_MAX - 2, 0, 0, PAGE),
      it.set(SLOT_MAX, 0, PAGE, PAGE),
      it.at(1, 0, 2 ** 44, 2 ** 43, 0x1000n),
    ],
    ['ok', 'EINVAL', 'EINVAL'],
  ],
  [
    'only a slot that logs has a log',
    (it) => [
      it.set(0, 0, 0, PAGE),
      it.get(0),
      it.get(7),
      it.get(99999),
      it.set(0, LOG, 0, PAGE),
      it.get(0),
      it.clear(7, 0, 64, []),
    ],
    ['ok', 'ENOENT', 'ENOENT', 'EINVAL', 'ok', [], 'ENOENT'],
  ],
  [
    'a guest reads and writes a slot, reads one that is read-only, and leaves for all else',
    (it) => [
      it.set(0, 0, 0, PAGE),
      it.set(1, READONLY, PAGE, PAGE, 1),
      it.set(2, 0, 2 ** 32 - PAGE, PAGE, 2),
      it.write(5),
      it.read(5),
      it.write(PAGE),
      it.read(PAGE),
      it.write(2 * PAGE),
      it.read(2 * PAGE),
      it.write(2 ** 32 - 1),
      it.read(2 ** 32 - 1),
    ],
    ['ok', 'ok', 'ok', 'ok', 0x5a, 'exit', 0, 'exit', undefined, 'ok', 0x5a],
  ],
  [
    'the log is handed out once',
    (it) => [
      it.set(0, LOG, 0, 70 * PAGE),
      it.write(3 * PAGE),
      it.write(3 * PAGE + 9),
      it.write(69 * PAGE),
      it.get(0),
      it.get(0),
      it.write(3 * PAGE),
      it.get(0),
    ],
    ['ok', 'ok', 'ok', 'ok', [3, 69], [], 'ok', [3]],
  ],
  [
    'a log that is turned off is gone, one that goes with its slot too; a move keeps it',
    (it) => [
      it.set(0, LOG, 0, 4 * PAGE),
      it.write(PAGE),
      it.set(0, LOG, 16 * PAGE, 4 * PAGE),
      it.get(0),
      it.write(17 * PAGE),
      it.set(0, 0, 16 * PAGE, 4 * PAGE),
      it.set(0, LOG, 16 * PAGE, 4 * PAGE),
      it.get(0),
      it.write(17 * PAGE),
      it.set(0, 0, 0, 0),
      it.set(0, LOG, 16 * PAGE, 4 * PAGE),
      it.get(0),
    ],
    ['ok', 'ok', 'ok', [1], 'ok', 'ok', 'ok', [], 'ok', 'ok', 'ok', []],
  ],
  [
    'stores before the log began are not in it',
    (it) => [
      it.set(0, 0, 0, 4 * PAGE),
      it.write(PAGE),
      it.set(0, LOG, 0, 4 * PAGE),
      it.write(2 * PAGE),
      it.get(0),
    ],
    ['ok', 'ok', 'ok', 'ok', [2]],
  ],
  [
    'manual protection: what was read stays until it is cleared, and nothing else goes',
    (it) => [
      it.enable(MANUAL, 1),
      it.set(0, LOG, 0, 70 * PAGE),
      it.write(PAGE),
      it.write(65 * PAGE),
      it.get(0),
      it.get(0),
      it.clear(0, 0, 64, [1]),
      it.get(0),
      it.clear(0, 64, 6, [1]),
      it.get(0),
      it.write(PAGE),
      it.get(0),
      it.clear(0, 0, 70, []),
      it.get(0),
    ],
    ['ok', 'ok', 'ok', 'ok', [1, 65], [1, 65], 'ok', [65], 'ok', [], 'ok', [1], 'ok', [1]],
  ],
  [
    'pieces to clear begin at a multiple of 64 pages, and are one or end the slot',
    (it) => [
      it.enable(MANUAL, 1),
      it.set(0, LOG, 0, 70 * PAGE),
      it.clear(0, 0, 64, []),
      it.clear(0, 1, 64, []),
      it.clear(0, 0, 32, []),
      it.clear(0, 64, 5, []),
      it.clear(0, 64, 6, []),
      it.clear(0, 0, 128, []),
    ],
    ['ok', 'ok', 'ok', 'EINVAL', 'EINVAL', 'EINVAL', 'ok', 'EINVAL'],
  ],
  [
    'arguments of the capabilities',
    (it) => [
      it.enable(MANUAL, 2),
      it.enable(MANUAL, 4),
      it.enable(RING, 5000),
      it.enable(RING, 64),
    ],
    ['EINVAL', 'EINVAL', 'EINVAL', 'EINVAL'],
  ],
  [
    'with a dirty ring there is no bitmap',
    (it) => [it.enable(RING, 65536), it.set(0, LOG, 0, PAGE), it.get(0), it.clear(0, 0, 1, [])],
    ['ok', 'ok', 'ENXIO', 'ENXIO'],
  ],
];

const open: KernelMemory[] = [];

afterEach(() => {
  for (const kernel of open.splice(0)) kernel.close();
});

function memory(): Uint8Array {
  const wasm = new WebAssembly.Memory({ initial: (MEMORY_PAGES * PAGE) / 65536 });
  return new Uint8Array(wasm.buffer);
}

function model(): Subject {
  const it = new KVMMemoryModel({ memory: memory() });
  return Object.assign(it, { vm: it });
}

function kernel(): Subject {
  const it = new KernelMemory(memory());
  open.push(it);
  return it;
}

const reason = missingKVM();

test.each(RULES)('the model: %s', (_rule, play, answers) => {
  expect(play(new Script(model()))).toEqual(answers);
});

test.skipIf(reason !== undefined).each(RULES)(
  `the kernel${reason === undefined ? '' : ` (${reason})`}: %s`,
  (_rule, play, answers) => {
    expect(play(new Script(kernel()))).toEqual(answers);
  },
);
