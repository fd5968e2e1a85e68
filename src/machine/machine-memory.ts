// The one buffer of a machine (design, section 2):
//
//   0 ............ processor state, STATE_BYTES
//   64 KiB ....... what the accelerator reserved
//   .............. software TLB, dirty bytes, code-line masks
//   RAM_BASE ..... the RAM address space, at a multiple of 64 KiB; not here if the accelerator
//                  has RAM of its own kind

import { hex } from '../base/hex.ts';
import { PAGE_SIZE } from '../base/pages.ts';
import { STATE_BYTES } from '../cpu/state-layout.ts';
import type { MachineMemory } from '../cpu/vcpu.ts';
import { GuestMemory } from '../memory/guest-memory.ts';
import { RAM_CHUNK_BYTES, type RAMBacking } from '../memory/ram-backing.ts';
import type { RAMBlock } from '../memory/ram-block.ts';
import type { RAMList } from '../memory/ram-list.ts';
import { RAM_BELOW_4G_END } from './memory-map.ts';

/** Alignment of the RAM address space and of WebAssembly pages. */
const WASM_PAGE = 0x1_0000;
/** A 32-bit WebAssembly memory ends here. */
const BUFFER_BYTES_MAX = 2 ** 32;
const MIB = 2 ** 20;
/** Blocks beside guest RAM: `vga.vram` (16 MiB), and a MiB for firmware and option ROMs. */
const DEVICE_RAM_BYTES = 17 * 0x10_0000;
/** That MiB; what needs more is extra. */
export const FIRMWARE_BYTES_USUAL = 0x10_0000;
/** Smallest guest RAM: the first MiB, with the PC's holes in it. */
export const MEMORY_BYTES_MIN = 0x10_0000;

/**
 * Largest guest RAM, where the accelerator's own kind lifts the limit of 4 GiB: all of it has
 * addresses of 36 bits, which is what PAE reaches.
 */
export const MEMORY_BYTES_MAX = 2 ** 36 - (2 ** 32 - RAM_BELOW_4G_END);
/** Guest RAM of 4 GiB and more is one block below the hole, and blocks of this size above it. */
const HIGH_BLOCK_BYTES = 2 ** 31;
const BLOCK_NAME = 'pc.ram';

/** How accelerators make RAM: `Accelerator.createRAM`. */
type CreateRAM = (capacityBytes: number) => RAMBacking;

/** The memory of a machine and its parts. */
export interface PCMemory extends MachineMemory {
  /** Regions, address space and what else belongs to memory. */
  readonly guest: GuestMemory;
}

/**
 * Checks a guest memory size as `--memory` gives it.
 * @throws {RangeError} if it is not whole pages, or too small or too large for any machine
 */
export function checkMemoryBytes(
  memoryBytes: number,
  reservedBytes = 0,
  extraBytes = 0,
  createRAM?: CreateRAM,
): void {
  const fail = (must: string): never => {
    throw new RangeError(
      `Cannot create machine as its memory must be ${must}: got ${memoryBytes} bytes`,
    );
  };
  if (!Number.isSafeInteger(memoryBytes) || memoryBytes <= 0) fail('a positive number of bytes');
  if (memoryBytes % PAGE_SIZE !== 0) fail(`a multiple of ${PAGE_SIZE} bytes`);
  if (memoryBytes < MEMORY_BYTES_MIN) fail(`at least ${hex(MEMORY_BYTES_MIN)} bytes (1 MiB)`);
  if (createRAM !== undefined) {
    if (memoryBytes > MEMORY_BYTES_MAX) fail(`at most ${MEMORY_BYTES_MAX / MIB} MiB`);
    return;
  }
  const overhead =
    memoryBytes < BUFFER_BYTES_MAX ? bufferBytes(memoryBytes, reservedBytes, extraBytes) : 0;
  if (overhead === 0 || overhead > BUFFER_BYTES_MAX)
    fail(
      'small enough for a buffer of 4 GiB together with its tables ' +
        `(${memoryMiBMax(reservedBytes, extraBytes)} MiB at most)`,
    );
}

/** The most that fits, MiB. */
function memoryMiBMax(reservedBytes: number, extraBytes: number): number {
  let mebibytes = BUFFER_BYTES_MAX / MIB - 1;
  while (bufferBytes(mebibytes * MIB, reservedBytes, extraBytes) > BUFFER_BYTES_MAX) mebibytes--;
  return mebibytes;
}

/**
 * Makes the buffer and what lies in it.
 * @param options.reservedBytes what the accelerator wants for itself
 * @param options.createRAM the accelerator's own kind of RAM
 * @param options.extraBytes RAM blocks beyond those that every machine may have: whole 64 KiB
 * @throws {RangeError} if the size is impossible, or the host has not that much memory
 */
export function createMachineMemory(options: {
  memoryBytes: number;
  reservedBytes?: number;
  extraBytes?: number;
  createRAM?: CreateRAM;
}): PCMemory {
  const { memoryBytes, reservedBytes = 0, extraBytes = 0, createRAM } = options;
  checkMemoryBytes(memoryBytes, reservedBytes, extraBytes, createRAM);
  const ramCapacityBytes = capacityFor(memoryBytes, extraBytes);
  const ramBacking = createRAM?.(ramCapacityBytes);
  const belowBytes = sizeBelowRAM(ramCapacityBytes, reservedBytes);
  const layout = GuestMemory.layout({
    ramCapacityBytes,
    reservedBytes: belowBytes,
    ...(ramBacking === undefined ? {} : { ramBacking }),
  });
  const pageCount = roundUp(layout.totalBytes) / WASM_PAGE;
  let wasmMemory: WebAssembly.Memory;
  try {
    wasmMemory = new WebAssembly.Memory({ initial: pageCount, maximum: pageCount });
  } catch (error) {
    throw new RangeError(
      `Cannot create machine as the host must have ${memoryBytes} bytes of memory for it: ` +
        `it refused ${hex(pageCount * WASM_PAGE)}`,
      { cause: error },
    );
  }
  const guest = new GuestMemory({
    ramCapacityBytes,
    reservedBytes: belowBytes,
    buffer: wasmMemory.buffer,
    ...(ramBacking === undefined ? {} : { ramBacking }),
  });
  return {
    wasmMemory,
    buffer: wasmMemory.buffer,
    reservedOffset: roundUp(STATE_BYTES),
    ramList: guest.ramList,
    tlb: guest.tlb,
    dirty: guest.dirty,
    codePages: guest.codePages,
    guest,
  };
}

/**
 * Makes guest RAM: `pc.ram`, and with 4 GiB or more `pc.ram.1` and so on for what lies above 4 GiB.
 * The blocks depend on the size alone, so that a snapshot loads on every accelerator that can have
 * such a machine.
 */
export function allocGuestRAM(ramList: RAMList, memoryBytes: number): readonly RAMBlock[] {
  if (memoryBytes < RAM_CHUNK_BYTES)
    return [ramList.alloc({ name: BLOCK_NAME, sizeBytes: memoryBytes })];
  const blocks = [ramList.alloc({ name: BLOCK_NAME, sizeBytes: RAM_BELOW_4G_END })];
  for (let rest = memoryBytes - RAM_BELOW_4G_END; rest > 0; rest -= HIGH_BLOCK_BYTES) {
    const name = `${BLOCK_NAME}.${blocks.length}`;
    blocks.push(ramList.alloc({ name, sizeBytes: Math.min(rest, HIGH_BLOCK_BYTES) }));
  }
  return blocks;
}

/** Room for guest RAM and devices; with several chunks, devices lie beside `pc.ram` in one. */
function capacityFor(memoryBytes: number, extraBytes: number): number {
  if (memoryBytes < RAM_CHUNK_BYTES) return memoryBytes + DEVICE_RAM_BYTES + extraBytes;
  return RAM_CHUNK_BYTES + memoryBytes - RAM_BELOW_4G_END;
}

function roundUp(sizeBytes: number): number {
  return Math.ceil(sizeBytes / WASM_PAGE) * WASM_PAGE;
}

/** Size of state and reserved area, padded so that RAM begins at a multiple of 64 KiB. */
function sizeBelowRAM(ramCapacityBytes: number, reservedBytes: number): number {
  const belowBytes = roundUp(STATE_BYTES) + roundUp(reservedBytes);
  const layout = GuestMemory.layout({ ramCapacityBytes, reservedBytes: belowBytes });
  return belowBytes + roundUp(layout.ramOffset) - layout.ramOffset;
}

function bufferBytes(memoryBytes: number, reservedBytes: number, extraBytes: number): number {
  const ramCapacityBytes = capacityFor(memoryBytes, extraBytes);
  const belowBytes = sizeBelowRAM(ramCapacityBytes, reservedBytes);
  return roundUp(GuestMemory.layout({ ramCapacityBytes, reservedBytes: belowBytes }).totalBytes);
}
