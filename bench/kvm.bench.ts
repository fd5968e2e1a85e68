// What memory costs on KVM, beside the same ioctls in a loop of C (kvm-loops.c) on the same
// machine: a slot that goes and comes back, the dirty log of 1 GiB of RAM, an exit to a port and
// back. A guest's writes cannot be timed apart from it, so the merge of a log into the dirty bytes
// is measured on a log that is made up.
//
// Found: see docs/benchmarks.md, "KVM".

import { KVM_DIRTY_LOG, KVM_USERSPACE_MEMORY_REGION } from '../src/accel/kvm/abi.ts';
import { DirtyLog } from '../src/accel/kvm/dirty-log.ts';
import { kvmAccelerator } from '../src/accel/kvm/kvm-accelerator.ts';
import type { KVMMemoryVM } from '../src/accel/kvm/kvm-vm.ts';
import { Memslots } from '../src/accel/kvm/memslots.ts';
import { missingKVM } from '../src/accel/kvm/missing-kvm.ts';
import { DIRTY_MIGRATION, MemoryRegion } from '../src/memory/index.ts';
import { createGuestMemory, kernelOf } from '../test/kvm/memslots-board.ts';
import { realModeBoard } from '../test/kvm/real-mode-board.ts';
import { variant } from './harness.ts';
import { loadLoops } from './kvm-loops.ts';

const PAGE = 4096;
const GIB = 2 ** 30;
const SLOT_BYTES = 16 * 2 ** 20;
const PORT = 0x90;
/** out 0x90, al; jmp to it. */
const PORT_LOOP = [0xe6, PORT, 0xeb, 0xfc];

/** RAM at 0 with slots on it. */
function createSlots(sizeBytes: number, usesManualProtect: boolean) {
  const memory = createGuestMemory({ ramCapacityBytes: sizeBytes, tlbRowCount: 16 });
  const kernel = kernelOf(memory);
  const { vm, hostAddress } = kernel;
  const { ramWrites, ramList, root, addressSpace } = memory;
  const memslots = new Memslots({ vm, hostAddress, ramWrites, usesManualProtect });
  addressSpace.addListener(memslots);
  const ram = MemoryRegion.ram('ram', ramList.alloc({ name: 'ram', sizeBytes }));
  root.addSubregion(0, ram);
  return { memory, kernel, memslots, ram, hostBase: kernel.hostBase };
}

function check(failedCount: number): number {
  if (failedCount !== 0) throw new Error(`${failedCount} ioctls failed`);
  return 0;
}

function slotVariants(): void {
  variant('C: a slot goes and comes', {
    create() {
      const { kernel, hostBase } = createSlots(SLOT_BYTES, false);
      const { slotUpdates } = loadLoops();
      const region = kernel.vm.calls.allocate(KVM_USERSPACE_MEMORY_REGION.sizeBytes);
      const { at } = KVM_USERSPACE_MEMORY_REGION;
      region.view.setBigUint64(at.memory_size, BigInt(SLOT_BYTES), true);
      region.view.setBigUint64(at.userspace_addr, hostBase, true);
      return (count) => check(slotUpdates(kernel.vm.fd, region.address, count));
    },
  });
  variant('a slot goes and comes', {
    lowerBound: 'C: a slot goes and comes',
    create() {
      const { memslots, memory } = createSlots(SLOT_BYTES, false);
      const [section] = memory.addressSpace.view.sections;
      return (count) => {
        for (let i = 0; i < count; i++) {
          memslots.regionDel(section!);
          memslots.commit();
          memslots.regionAdd(section!);
          memslots.commit();
        }
        return count;
      };
    },
  });
  variant('a region is moved, map and slot', {
    lowerBound: 'C: a slot goes and comes',
    create() {
      const { ram } = createSlots(SLOT_BYTES, false);
      return (count) => {
        for (let i = 0; i < count; i++) ram.setOffset((i % 2) * SLOT_BYTES);
        return count;
      };
    },
  });
}

function logVariants(): void {
  variant('C: dirty log of 1 GiB, clean', {
    bytesPerOperation: GIB,
    create() {
      const { kernel, memslots } = createSlots(GIB, false);
      memslots.startGlobalLog();
      const { dirtySyncs } = loadLoops();
      const { calls } = kernel.vm;
      const log = calls.allocate(KVM_DIRTY_LOG.sizeBytes);
      const bitmap = calls.allocate(GIB / PAGE / 8);
      log.view.setBigUint64(KVM_DIRTY_LOG.at.dirty_bitmap, BigInt(bitmap.address), true);
      return (count) => check(dirtySyncs(kernel.vm.fd, log.address, count));
    },
  });
  for (const [name, isManual] of [
    ['sync of 1 GiB, clean', false],
    ['sync of 1 GiB, clean, manual protect', true],
  ] as const)
    variant(name, {
      bytesPerOperation: GIB,
      lowerBound: 'C: dirty log of 1 GiB, clean',
      create() {
        const { memory, memslots } = createSlots(GIB, isManual);
        memslots.startGlobalLog();
        return (count) => {
          for (let i = 0; i < count; i++) memory.addressSpace.syncDirtyLog();
          return count;
        };
      },
    });
}

function mergeVariants(): void {
  for (const [label, step] of [
    ['1 page in 64 dirty', 64],
    ['all dirty', 1],
  ] as const)
    variant(`merge of a log of 1 GiB, ${label}`, {
      bytesPerOperation: GIB,
      create() {
        const memory = createGuestMemory({ ramCapacityBytes: GIB, tlbRowCount: 16 });
        const block = memory.ramList.alloc({ name: 'ram', sizeBytes: GIB });
        memory.root.addSubregion(0, MemoryRegion.ram('ram', block));
        const made = new Uint8Array(GIB / PAGE / 8);
        for (let page = 0; page < GIB / PAGE; page += step)
          made[page >> 3] = made[page >> 3]! | (1 << (page & 7));
        const vm = { getDirtyLog: (_: number, bitmap: Uint8Array) => bitmap.set(made) };
        const log = new DirtyLog(vm as unknown as KVMMemoryVM, memory.ramWrites, false);
        const [section] = memory.addressSpace.view.sections;
        const place = { gpa: 0, sizeBytes: GIB, ramOffset: 0, isReadOnly: false };
        const slot = { slotIndex: 0, run: { section: section!, ...place }, isLogged: true };
        memory.dirty.clear(0, GIB, DIRTY_MIGRATION);
        return (count) => {
          for (let i = 0; i < count; i++) log.harvest(slot);
          return count;
        };
      },
    });
}

function exitVariants(): void {
  variant('C: exit to a port', {
    create() {
      const { kernel } = createSlots(SLOT_BYTES, false);
      const { fd, run } = kernel.prepare(PORT_LOOP);
      const { portExits } = loadLoops();
      return (count) => check(portExits(fd, run.address, count));
    },
  });
  variant('exit to a port, and its device', {
    lowerBound: 'C: exit to a port',
    create() {
      const { machine } = realModeBoard(kvmAccelerator(), PORT_LOOP);
      let left = 0;
      const ops = {
        read: () => 0,
        write() {
          if (--left <= 0) machine.vcpu.requestStop();
        },
      };
      machine.ports.root.addSubregion(PORT, MemoryRegion.io('port', 1, ops));
      return (count) => {
        for (left = count; left > 0; ) machine.vcpu.run(Number.MAX_SAFE_INTEGER, 1e9);
        return count;
      };
    },
  });
}

const missing = missingKVM();
if (missing === undefined) {
  slotVariants();
  logVariants();
  exitVariants();
} else process.stderr.write(`No KVM here, so only what needs none: ${missing}\n`);
mergeVariants();
