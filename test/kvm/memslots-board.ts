// A memory map with slots on it, over the model of the kernel's rules or over the kernel: what a
// guest reaches goes through the slot if there is one, and through the address space if there is
// none.

import { Memslots, type MemslotsOptions } from '../../src/accel/kvm/memslots.ts';
import { GuestMemory, type GuestMemoryOptions } from '../../src/memory/index.ts';
import { KernelMemory } from './kernel-memory.ts';
import { KVMMemoryModel, type ModelOptions } from './kvm-memory-model.ts';

const PAGE = 4096;

/** Guest memory in a page-aligned buffer, as a kernel wants it. */
export function createGuestMemory(options: Omit<GuestMemoryOptions, 'buffer'>): GuestMemory {
  const { totalBytes } = GuestMemory.layout(options);
  const wasm = new WebAssembly.Memory({ initial: Math.ceil(totalBytes / 65536) + 1 });
  return new GuestMemory({ ...options, buffer: wasm.buffer });
}

/** The machine's accesses, as the guest of a model or of the kernel makes them. */
export interface SlotGuest {
  guestWrite(gpa: number, value: number): boolean;
  guestRead(gpa: number): number | undefined;
}

/** A model of the kernel over a guest's RAM. */
export function modelOf(
  memory: GuestMemory,
  options: Omit<ModelOptions, 'memory'> = {},
): KVMMemoryModel {
  return new KVMMemoryModel({ memory: memory.ramList.bytes, ...options });
}

/** The kernel over a guest's RAM. Close it. */
export function kernelOf(memory: GuestMemory): KernelMemory {
  return new KernelMemory(memory.ramList.bytes);
}

type BoardOptions = Omit<ModelOptions, 'memory'> & {
  readonly pageCount?: number;
  readonly slots?: Partial<MemslotsOptions>;
};

/** Memory, model and slots, wired; nothing is mapped. */
export function createBoard(options: BoardOptions = {}) {
  const { pageCount = 64, slots = {}, ...modelOptions } = options;
  const memory = createGuestMemory({ ramCapacityBytes: pageCount * PAGE, tlbRowCount: 16 });
  const model = modelOf(memory, modelOptions);
  const { hostAddress } = model;
  const memslots = new Memslots({ vm: model, ramWrites: memory.ramWrites, hostAddress, ...slots });
  const { addressSpace: space, root, dirty, ramList } = memory;
  space.addListener(memslots);
  return {
    ...{ memory, model, memslots, space, root, dirty, ramList },
    alloc: (name: string, pages: number) => ramList.alloc({ name, sizeBytes: pages * PAGE }),
    /** A guest's store of a byte, served as a machine would; true if no exit was needed. */
    write: (gpa: number, value = 1) => writeByte(model, memory, gpa, value),
    read: (gpa: number) => model.guestRead(gpa) ?? space.read(gpa, 1),
    /** Slots as `number:flags gpa+pages @ram offset`, in hexadecimal. */
    listing: () =>
      [...model.slots.values()]
        .map(({ region }) => {
          const at = Number(region.userspaceAddress - model.hostBase);
          const letters = `${(region.flags & 2) !== 0 ? 'r' : 'w'}${region.flags & 1 ? 'l' : ''}`;
          const [gpa, offset] = [region.guestPhysicalAddress / PAGE, at / PAGE];
          const pages = (region.memorySize / PAGE).toString(16);
          return `${gpa.toString(16)}+${pages} ${letters} @${offset}`;
        })
        .sort(),
  };
}

export function writeByte(
  guest: SlotGuest,
  memory: GuestMemory,
  gpa: number,
  value: number,
): boolean {
  if (guest.guestWrite(gpa, value)) return true;
  memory.addressSpace.write(gpa, 1, value);
  return false;
}
