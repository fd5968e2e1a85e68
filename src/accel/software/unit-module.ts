// Makes a unit's WebAssembly module from its region: one function for the blocks, and a stub for
// each entry, with the signature of a handler, that enters at its block.

import type { SharedFunction } from '../../cpu/emitter.ts';
import {
  FunctionBuilder,
  type FunctionReference,
  i32,
  ModuleBuilder,
  type Signature,
} from '../../wasm/index.ts';
import { EngineEmitter } from './engine-emitter.ts';
import { SLOW_SIGNATURES, type SlowPaths } from './slow-paths.ts';
import { UnitFrame, type UnitTargets } from './unit-frame.ts';
import type { UnitBlock, UnitInstruction, UnitRegion } from './unit-region.ts';
import { Deferred, UnitSite } from './unit-site.ts';

const I = 'i32' as const;

function importTargets(module: ModuleBuilder): UnitTargets {
  const known = new Map<string, FunctionReference>();
  const handlerType = module.type({ params: [I, I], results: [] });
  return {
    // Each import costs time when the unit is instantiated: only what it uses.
    slow: new Proxy({} as UnitTargets['slow'], {
      get: (_, name: keyof SlowPaths) => imported(`slow ${name}`, SLOW_SIGNATURES[name]),
    }),
    jump: imported('jump', handlerType.signature),
    handlerType,
    shared(piece: SharedFunction): FunctionReference {
      const results = piece.result ? [piece.result] : [];
      return imported(`shared ${piece.name}`, { params: piece.params, results });
    },
  };

  function imported(name: string, signature: Signature): FunctionReference {
    let reference = known.get(name);
    if (!reference) {
      reference = module.importFunction('engine', name, signature);
      known.set(name, reference);
    }
    return reference;
  }
}

/** The module's bytes; it exports `e0`, `e1` … for the starts of the region's blocks. */
export function buildUnit(region: UnitRegion): Uint8Array {
  const module = new ModuleBuilder();
  module.importMemory('env', 'memory', 1);
  module.importTable('env', 'table', 1);
  const targets = importTargets(module);
  const f = new FunctionBuilder({ params: [I, I], results: [] });
  const { blocks } = region;
  const starts = blocks.map(({ start }) => start);
  const frame = new UnitFrame(f, targets, starts);
  frame.build(blocks.length, (number) => emitBlock(frame, blocks[number]!));
  const body = module.append('unit', f);
  for (const [index, start] of starts.entries()) {
    const stub = module.function(`entry ${start}`, targets.handlerType.signature, (s) =>
      s.returnCall(body, i32(index), s.param(1).add(1)),
    );
    module.exportFunction(`e${index}`, stub);
  }
  return module.toBytes();
}

function emitBlock(frame: UnitFrame, block: UnitBlock): void {
  const { instructions, isDeferred, fallsTo } = block;
  const count = instructions.length - (isDeferred ? 1 : 0);
  if (count > 0) frame.beginBlock(instructions[0]!, count);
  for (let index = 0; index < count; index++) {
    emitInstruction(frame, instructions[index]!, count - index);
  }
  const last = instructions.at(-1)!;
  // A row that ends blocks may still fall through (INTO).
  const next = fallsTo >= 0 ? fallsTo : last.next;
  if (isDeferred) frame.exitInterpret(last, 0);
  else if (fallsTo < 0 || !frame.isNext(next)) frame.goTo(next);
}

function emitInstruction(frame: UnitFrame, instruction: UnitInstruction, left: number): void {
  const { compiled, variant } = instruction.meaning;
  const { f } = frame;
  let site: UnitSite | undefined;
  f.block((end) => {
    frame.instructionEnd = end;
    site = new UnitSite(frame, instruction, left);
    const e = new EngineEmitter(site, compiled, variant);
    compiled.row.meaning(e, ...e.operands);
  });
  if (site!.hasSlowPath) {
    f.if(frame.pending, () => frame.exitTo(instruction.next, left - 1));
  }
}

/** Whether the row can only be run by the interpreter: found by trying. */
export function mustDefer(instruction: UnitInstruction): boolean {
  const module = new ModuleBuilder();
  const targets = importTargets(module);
  const f = new FunctionBuilder({ params: [I, I], results: [] });
  const frame = new UnitFrame(f, targets, [instruction.offset]);
  try {
    frame.build(1, () => emitInstruction(frame, instruction, 1));
    return false;
  } catch (error) {
    if (error instanceof Deferred) return true;
    throw error;
  }
}
