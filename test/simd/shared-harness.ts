// Runs shared WebAssembly functions (SharedFunction) outside any engine: a module with one export
// per operation, which takes its operands from memory and leaves the result there.

import type { SharedFunction, SharedTools } from '../../src/cpu/emitter.ts';
import { STATE_BYTES } from '../../src/cpu/state-layout.ts';
import {
  type FunctionBuilder,
  type FunctionReference,
  ModuleBuilder,
  type Value,
} from '../../src/wasm/index.ts';

/** Where an operation finds its operands and leaves its result, 16 bytes each. */
export const OPERAND_A = STATE_BYTES;
export const OPERAND_B = STATE_BYTES + 16;
export const RESULT = STATE_BYTES + 32;

/** Emits an operation: loads operands, calls, stores. */
export type Program = (f: FunctionBuilder, tools: SharedTools) => void;

interface SharedModule {
  readonly view: DataView;
  run(name: string): void;
}

export function buildPrograms(programs: ReadonlyMap<string, Program>): SharedModule {
  const module = new ModuleBuilder();
  const pages = Math.ceil((STATE_BYTES + 48) / 65536);
  module.importMemory('m', 'memory', pages);
  const known = new Map<string, FunctionReference>();
  const toolsFor = (f: FunctionBuilder): SharedTools => ({
    call: (shared, ...args: Value[]) => f.call(referenceTo(shared), ...args),
    callMethod: () => {
      throw new TypeError('Cannot call TypeScript from this harness');
    },
  });
  const referenceTo = (shared: SharedFunction): FunctionReference => {
    const found = known.get(shared.name);
    if (found) return found;
    const results = shared.result ? [shared.result] : [];
    const reference = module.declare(shared.name, { params: shared.params, results });
    known.set(shared.name, reference);
    return module.define(reference, (f) => shared.build(f, toolsFor(f)));
  };
  for (const [name, program] of programs) {
    const reference = module.function(name, { params: [], results: [] }, (f) =>
      program(f, toolsFor(f)),
    );
    module.exportFunction(name, reference);
  }
  const memory = new WebAssembly.Memory({ initial: pages });
  const compiled = new WebAssembly.Module(module.toBytes());
  const instance = new WebAssembly.Instance(compiled, { m: { memory } });
  return {
    view: new DataView(memory.buffer),
    run: (name) => (instance.exports[name] as () => void)(),
  };
}
