// Random sessions of memory slots against a byte map, over the model of the kernel's rules and over
// the kernel. A kernel that refuses anything fails the session.

import fc from 'fast-check';
import { test } from 'vitest';
import { fuzzOptions } from '../../../test/fuzz-options.ts';
import { createGuestMemory, kernelOf, modelOf } from '../../../test/kvm/memslots-board.ts';
import { playSession, type SessionSubject, sessions } from '../../../test/kvm/slot-session.ts';
import type { GuestMemory } from '../../memory/index.ts';
import type { KVMMemoryVM } from './kvm-vm.ts';
import { Memslots, type MemslotsOptions } from './memslots.ts';
import { missingKVM } from './missing-kvm.ts';

const RING_BYTES = 65536;

const LOGS: readonly (readonly [string, Partial<MemslotsOptions>])[] = [
  ['bitmaps', { usesManualProtect: false }],
  ['manual protection', {}],
  ['a dirty ring', { ringBytes: RING_BYTES }],
];

interface Kernel extends Pick<SessionSubject, 'guestRead' | 'guestWrite' | 'gpaMax'> {
  readonly vm: KVMMemoryVM;
  readonly hostAddress: (ramOffset: number) => bigint;
}

function subject(
  kernel: Kernel,
  memory: GuestMemory,
  options: Partial<MemslotsOptions>,
  ringOf: () => Int32Array,
): SessionSubject {
  const { vm, hostAddress } = kernel;
  const memslots = new Memslots({ vm, hostAddress, ramWrites: memory.ramWrites, ...options });
  if (options.ringBytes !== undefined) memslots.addRing(ringOf());
  return {
    listener: memslots,
    log: 'exact',
    guestRead: (gpa) => kernel.guestRead(gpa),
    guestWrite: (gpa, value) => kernel.guestWrite(gpa, value),
    ...(kernel.gpaMax === undefined ? {} : { gpaMax: kernel.gpaMax }),
    setGlobalLog(isOn) {
      if (isOn) memslots.startGlobalLog();
      else memslots.stopGlobalLog();
    },
  };
}

test.each(LOGS)(
  'failure 40: random maps, stores and harvests over the model, by %s',
  (_, options) => {
    fc.assert(
      fc.property(sessions, (session) => {
        playSession(session, createGuestMemory, (memory) => {
          const model = modelOf(memory);
          return subject(Object.assign(model, { vm: model }), memory, options, () => model.ring!);
        });
      }),
      fuzzOptions(15),
    );
  },
);

const reason = missingKVM();

test.skipIf(reason !== undefined).each(LOGS)(
  `failure 40: the same over the kernel${reason === undefined ? '' : ` (${reason})`}, by %s`,
  (_, options) => {
    fc.assert(
      fc.property(sessions, (session) => {
        let close = () => {};
        try {
          playSession(session, createGuestMemory, (memory) => {
            const kernel = kernelOf(memory);
            close = () => kernel.close();
            const four = Object.assign(kernel, { gpaMax: 2 ** 32 - 1 });
            return subject(four, memory, options, () => kernel.mapRing(RING_BYTES));
          });
        } finally {
          close();
        }
      }),
      fuzzOptions(15),
    );
  },
);
