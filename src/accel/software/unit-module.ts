// Makes the WebAssembly module of units from their regions: one function for each, with the signature
// of a handler, that enters at the block that UnitEntries says.

import type { SharedFunction } from '../../cpu/emitter.ts';
import {
  FunctionBuilder,
  type FunctionReference,
  ModuleBuilder,
  type Signature,
} from '../../wasm/index.ts';
import { EngineEmitter } from './engine-emitter.ts';
import { SLOW_SIGNATURES, type SlowPaths } from './slow-paths.ts';
import { UnitFrame, type UnitTargets } from './unit-frame.ts';
import type { UnitBlock, UnitInstruction, UnitRegion } from './unit-region.ts';
import { Deferred, UnitSite } from './unit-site.ts';

const I = 'i32' as const;
const HANDLER: Signature = { params: [I, I], results: [] };

function importTargets(module: ModuleBuilder, entryBlocks: number): UnitTargets {
  const known = new Map<string, FunctionReference>();
  return {
    entryBlocks,
    // Each import costs time when the module is instantiated: only what its units use.
    slow: new Proxy({} as UnitTargets['slow'], {
      get: (_, name: keyof SlowPaths) => imported(`slow ${name}`, SLOW_SIGNATURES[name]),
    }),
    jump: imported('jump', HANDLER),
    dispatch: imported('dispatch', { params: [I, I, I], results: [] }),
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

/**
 * The bytes of a module of several units; it exports `u0`, `u1` … with the signature of a handler.
 * @param entryBlocks where a unit finds the block that it is entered at (UnitEntries)
 */
export function buildUnits(regions: readonly UnitRegion[], entryBlocks: number): Uint8Array {
  const module = new ModuleBuilder();
  module.importMemory('env', 'memory', 1);
  const targets = importTargets(module, entryBlocks);
  // Bodies first: what they call becomes an import, and imports come before functions.
  const bodies = regions.map((region) => buildBody(region, targets));
  for (const [index, body] of bodies.entries()) {
    const { blocks } = regions[index]!;
    const name = `unit ${index} at ${blocks[0]!.start.toString(16)}`;
    module.exportFunction(`u${index}`, module.append(name, body));
  }
  return module.toBytes();
}

function buildBody({ blocks }: UnitRegion, targets: UnitTargets): FunctionBuilder {
  const f = new FunctionBuilder(HANDLER);
  const frame = new UnitFrame(
    f,
    targets,
    blocks.map(({ start }) => start),
  );
  frame.build(blocks.length, (number) => emitBlock(frame, blocks[number]!));
  return f;
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
  const targets = importTargets(module, 0);
  const f = new FunctionBuilder(HANDLER);
  const frame = new UnitFrame(f, targets, [instruction.offset]);
  try {
    frame.build(1, () => emitInstruction(frame, instruction, 1));
    return false;
  } catch (error) {
    if (error instanceof Deferred) return true;
    throw error;
  }
}
