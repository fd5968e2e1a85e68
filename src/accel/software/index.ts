// The software accelerator: makes processors out of the instruction table. The interpreter's module
// is built once in a process, on first use, and shared by every machine.

import { Decoder } from '../../cpu/decoder.ts';
import { allRows } from '../../cpu/instruction-table.ts';
import '../../cpu/instructions/index.ts';
import type { Accelerator, CPUWiring, MachineMemory } from '../../cpu/vcpu.ts';
import { CODE_CACHE_BYTES } from './code-cache.ts';
import { buildInterpreter, type InterpreterModule } from './interpreter-module.ts';
import { SoftwareVCPU } from './software-vcpu.ts';
import { systemMethodArguments } from './system-methods.ts';
import { ENTRY_NUMBERS_BYTES } from './unit-entries.ts';

const WASM_PAGE_BYTES = 0x1_0000;

interface Engine {
  readonly decoder: Decoder;
  readonly interpreter: InterpreterModule;
  readonly module: WebAssembly.Module;
}

let engine: Engine | undefined;

function roundUp(sizeBytes: number): number {
  return Math.ceil(sizeBytes / WASM_PAGE_BYTES) * WASM_PAGE_BYTES;
}

function prepare(): Engine {
  const decoder = new Decoder(allRows());
  const interpreter = buildInterpreter(decoder.map, systemMethodArguments());
  return { decoder, interpreter, module: new WebAssembly.Module(interpreter.bytes) };
}

/** `--accel software`: the interpreter alone. */
export const softwareAccelerator: Accelerator = {
  name: 'software',
  reservedBytes: roundUp(CODE_CACHE_BYTES) + roundUp(ENTRY_NUMBERS_BYTES),
  createVCPU(wiring: CPUWiring, memory: MachineMemory): SoftwareVCPU {
    engine ??= prepare();
    const { decoder, interpreter, module } = engine;
    return new SoftwareVCPU({
      wiring,
      memory,
      decoder,
      interpreter,
      instantiate(imports) {
        return new WebAssembly.Instance(module, imports).exports;
      },
    });
  },
};

/** `--accel software,translator=on`: hot code is translated to WebAssembly; still experimental. */
export const translatingAccelerator: Accelerator = {
  ...softwareAccelerator,
  name: 'software,translator=on',
  createVCPU(wiring: CPUWiring, memory: MachineMemory): SoftwareVCPU {
    const vcpu = softwareAccelerator.createVCPU(wiring, memory) as SoftwareVCPU;
    vcpu.isTranslating = true;
    return vcpu;
  },
};
