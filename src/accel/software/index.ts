// The software accelerator: makes processors out of the instruction table. The interpreter's module
// is made once in a process, on first use, and shared by every machine: built here, which takes
// some 300 ms, or from bytes that were built before.

import { Decoder } from '../../cpu/decoder.ts';
import { allRows } from '../../cpu/instruction-table.ts';
import '../../cpu/instructions/index.ts';
import type { Accelerator, CPUWiring, MachineMemory } from '../../cpu/vcpu.ts';
import { CODE_CACHE_BYTES } from './code-cache.ts';
import { buildInterpreter, type HandlerLayout, layOutHandlers } from './interpreter-module.ts';
import { HEAT_BYTES } from './record.ts';
import { SoftwareVCPU } from './software-vcpu.ts';
import { systemMethodArguments } from './system-methods.ts';
import { ENTRY_TABLES_BYTES } from './unit-entries.ts';

const WASM_PAGE_BYTES = 0x1_0000;

interface Engine {
  readonly decoder: Decoder;
  readonly layout: HandlerLayout;
  readonly module: WebAssembly.Module;
}

let engine: Engine | undefined;
let readPrebuilt: () => Uint8Array | undefined = () => undefined;

/** The bytes of the interpreter's module, built anew; equal for equal sources. */
export function buildInterpreterBytes(): Uint8Array {
  return buildInterpreter(new Decoder(allRows()).map, systemMethodArguments()).bytes;
}

/**
 * Saves the building: `read` is asked, once, when the first processor is created, for what
 * {@link buildInterpreterBytes} of these very sources returned. If it has nothing, the interpreter
 * is built after all; what it throws, or bytes that are no module, that creation throws.
 */
export function usePrebuiltInterpreter(read: () => Uint8Array | undefined): void {
  readPrebuilt = read;
}

function roundUp(sizeBytes: number): number {
  return Math.ceil(sizeBytes / WASM_PAGE_BYTES) * WASM_PAGE_BYTES;
}

function prepare(): Engine {
  const decoder = new Decoder(allRows());
  const prebuilt = readPrebuilt();
  if (prebuilt !== undefined) {
    const module = new WebAssembly.Module(prebuilt);
    return { decoder, layout: layOutHandlers(decoder.map), module };
  }
  const layout = buildInterpreter(decoder.map, systemMethodArguments());
  return { decoder, layout, module: new WebAssembly.Module(layout.bytes) };
}

/** `--accel software,translator=off`: the interpreter alone. */
export const interpreterAccelerator: Accelerator = {
  name: 'software,translator=off',
  reservedBytes: roundUp(CODE_CACHE_BYTES + HEAT_BYTES + ENTRY_TABLES_BYTES),
  createVCPU(wiring: CPUWiring, memory: MachineMemory): SoftwareVCPU {
    engine ??= prepare();
    const { decoder, layout, module } = engine;
    return new SoftwareVCPU({
      wiring,
      memory,
      decoder,
      interpreter: layout,
      instantiate(imports) {
        return new WebAssembly.Instance(module, imports).exports;
      },
    });
  },
};

/** `--accel software`: an interpreter, and a translator of hot code to WebAssembly. */
export const softwareAccelerator: Accelerator = {
  ...interpreterAccelerator,
  name: 'software',
  createVCPU(wiring: CPUWiring, memory: MachineMemory): SoftwareVCPU {
    const vcpu = interpreterAccelerator.createVCPU(wiring, memory) as SoftwareVCPU;
    vcpu.isTranslating = true;
    return vcpu;
  },
};
