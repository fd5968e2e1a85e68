// The least machine around a processor: RAM from address 0, ports and the rest
// unassigned, interrupts only when a test raises one. Used by the oracles, which
// compare processors and not chips.

import { STATE_BYTES } from '../../src/cpu/state-layout.ts';
import type { Accelerator, CPUWiring, VCPU } from '../../src/cpu/vcpu.ts';
import { AddressSpace } from '../../src/memory/address-space.ts';
import { GuestMemory } from '../../src/memory/guest-memory.ts';
import { MemoryRegion } from '../../src/memory/memory-region.ts';

const WASM_PAGE_BYTES = 0x1_0000;
const PORT_COUNT = 0x1_0000;
const APIC_BASE = 0xfee0_0900;

export interface BareMachine {
  readonly vcpu: VCPU;
  readonly memory: GuestMemory;
  readonly ports: AddressSpace;
  /** RAM as the host sees it; after writing here, call `noteWrite`. */
  readonly ram: Uint8Array;
  noteWrite(gpa: number, sizeBytes: number): void;
  /** Vectors to be taken, first first; empty means that INTR is low. */
  readonly pendingVectors: number[];
  /** Accesses to what is not RAM, since the machine was made. */
  ioCount(): number;
}

// WebAssembly is no type that every tsconfig here knows.
interface WasmMemory {
  readonly buffer: ArrayBuffer;
}
declare const WebAssembly: {
  readonly Memory: new (descriptor: { initial: number; maximum?: number }) => WasmMemory;
};

/** Makes one with `ramBytes` of RAM (whole pages), and its processor in power-on state. */
export function createBareMachine(accelerator: Accelerator, ramBytes: number): BareMachine {
  const reservedOffset = Math.ceil(STATE_BYTES / WASM_PAGE_BYTES) * WASM_PAGE_BYTES;
  const layoutOptions = {
    ramCapacityBytes: ramBytes,
    reservedBytes: reservedOffset + accelerator.reservedBytes,
    addressSpaceBytes: 2 ** 36,
  };
  const layout = GuestMemory.layout(layoutOptions);
  const pages = Math.ceil(layout.totalBytes / WASM_PAGE_BYTES);
  const wasmMemory = new WebAssembly.Memory({ initial: pages });
  const memory = new GuestMemory({ ...layoutOptions, buffer: wasmMemory.buffer });
  const block = memory.ramList.alloc({ name: 'pc.ram', sizeBytes: ramBytes });
  memory.root.addSubregion(0, MemoryRegion.ram('ram', block));
  const ports = new AddressSpace({
    name: 'I/O',
    root: MemoryRegion.container('ports', PORT_COUNT),
  });
  const pendingVectors: number[] = [];
  const wiring: CPUWiring = {
    memory: memory.addressSpace,
    ports,
    interrupts: {
      hasInterrupt: () => pendingVectors.length > 0,
      acknowledge: () => pendingVectors.shift() ?? 0,
    },
    readTSC: () => 0n,
    readAPICBase: () => APIC_BASE,
    writeAPICBase: () => {},
    readTPR: () => 0,
    writeTPR: () => {},
  };
  const vcpu = accelerator.createVCPU(wiring, {
    wasmMemory,
    buffer: wasmMemory.buffer,
    reservedOffset,
    ramList: memory.ramList,
    tlb: memory.tlb,
    dirty: memory.dirty,
    codePages: memory.codePages,
  });
  return {
    vcpu,
    memory,
    ports,
    ram: block.bytes,
    noteWrite: (gpa, sizeBytes) => memory.ramWrites.note(block.ramOffset + gpa, sizeBytes),
    pendingVectors,
    ioCount: () => memory.addressSpace.unassignedCount + ports.unassignedCount,
  };
}
