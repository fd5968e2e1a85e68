// Makes the WebAssembly module of units from their regions: one function for each, with the
// signature of a handler, that begins at the entry whose number UnitEntries has.

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
import {
  makeRegion,
  pageOf,
  type UnitBlock,
  type UnitInstruction,
  type UnitRegion,
} from './unit-region.ts';
import { Deferred, UnitSite } from './unit-site.ts';

const I = 'i32' as const;
const HANDLER: Signature = { params: [I, I], results: [] };

function importTargets(module: ModuleBuilder, entryNumbers: number): UnitTargets {
  const known = new Map<string, FunctionReference>();
  return {
    entryNumbers,
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
 * @param entryNumbers where a unit finds the number of the entry it was called for (UnitEntries)
 */
export function buildUnits(regions: readonly UnitRegion[], entryNumbers: number): Uint8Array {
  const module = new ModuleBuilder();
  module.importMemory('env', 'memory', 1);
  const targets = importTargets(module, entryNumbers);
  // Bodies first: what they call becomes an import, and imports come before functions.
  const bodies = regions.map((region) => buildBody(region, targets));
  for (const [index, body] of bodies.entries()) {
    const name = `unit ${index} at ${regions[index]!.root.toString(16)}`;
    module.exportFunction(`u${index}`, module.append(name, body));
  }
  return module.toBytes();
}

function buildBody(region: UnitRegion, targets: UnitTargets): FunctionBuilder {
  const f = new FunctionBuilder(HANDLER);
  const frame = new UnitFrame(f, targets, region);
  frame.build((block) => emitBlock(frame, block));
  return f;
}

function emitBlock(frame: UnitFrame, block: UnitBlock): void {
  const { instructions, isDeferred, fallsThrough } = block;
  const count = instructions.length - (isDeferred ? 1 : 0);
  if (count > 0) frame.beginBlock(instructions[0]!, count);
  for (let index = 0; index < count; index++) {
    emitInstruction(frame, instructions[index]!, count - index);
  }
  const last = instructions.at(-1)!;
  if (isDeferred) frame.exitInterpret(last, 0);
  else if (fallsThrough) frame.goTo(last.next);
  else frame.f.unreachable();
}

function emitInstruction(frame: UnitFrame, instruction: UnitInstruction, left: number): void {
  const { compiled, variant } = instruction.meaning;
  const { f } = frame;
  // Its bytes in the next page must be those that were decoded.
  const lastPage = pageOf(instruction.next - 1);
  frame.reach(lastPage, instruction.offset, () => frame.exitInterpret(instruction, left));
  f.recycling(() => {
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
  });
}

/** Whether the row can only be run by the interpreter: found by trying. */
export function mustDefer(instruction: UnitInstruction): boolean {
  const module = new ModuleBuilder();
  const targets = importTargets(module, 0);
  const block: UnitBlock = {
    start: instruction.offset,
    instructions: [instruction],
    isDeferred: false,
    fallsThrough: true,
    returnsTo: [],
  };
  const pages = [pageOf(instruction.offset), pageOf(instruction.next - 1)];
  const region = makeRegion(
    instruction.offset,
    [block],
    [0],
    [...new Set(pages)].map((page) => ({ page, records: 0 })),
  );
  const frame = new UnitFrame(new FunctionBuilder(HANDLER), targets, region);
  try {
    frame.build(() => emitBlock(frame, block));
    return false;
  } catch (error) {
    if (error instanceof Deferred) return true;
    throw error;
  }
}
