// Makes a unit's WebAssembly module from its region: one function for the blocks, and a stub for
// each entry, with the signature of a handler, that enters at its block.

import type { SharedFunction } from '../../cpu/emitter.ts';
import {
  FunctionBuilder,
  type FunctionReference,
  i32,
  ModuleBuilder,
  type Signature,
  type Value,
} from '../../wasm/index.ts';
import { EngineEmitter } from './engine-emitter.ts';
import { SLOW_SIGNATURES, type SlowPaths } from './slow-paths.ts';
import { type FlagEffect, FlagWitness, flagEffectOf, flagNeeds } from './unit-flag-needs.ts';
import { FLAGS_ANY, type FlagForm, UnitFlags } from './unit-flags.ts';
import { UnitFrame, type UnitTargets } from './unit-frame.ts';
import {
  pageTarget,
  type UnitBlock,
  type UnitInstruction,
  type UnitRegion,
} from './unit-region.ts';
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
  const frame = new UnitFrame(f, targets, starts, new UnitFlags(f), flagFormsOf(blocks));
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
  else frame.fallTo(next);
}

/** The form of the flags that each block wants at its start. */
function flagFormsOf(blocks: readonly UnitBlock[]): FlagForm[] {
  const numbers = new Map(blocks.map(({ start }, number) => [start, number]));
  return flagNeeds(
    blocks.map(({ instructions, isDeferred, fallsTo }) => {
      const run = isDeferred ? instructions.slice(0, -1) : instructions;
      const last = instructions.at(-1)!;
      const target = pageTarget(last);
      const ways = isDeferred ? [] : [target, fallsTo].filter((offset) => offset >= 0);
      const known = ways.map((offset) => numbers.get(offset));
      return {
        effects: run.map((instruction) => flagEffectOf(instruction, witness)),
        successors: known.filter((number) => number !== undefined),
        doesLeave: !isDeferred && (known.length === 0 || known.includes(undefined)),
      };
    }),
  );
}

/** Emits the instruction to see what it does to the flags. */
function witness(instruction: UnitInstruction, isImmediateKnown: boolean): FlagEffect {
  const f = new FunctionBuilder({ params: [I, I], results: [] });
  const flags = new FlagWitness(f);
  const targets = importTargets(new ModuleBuilder());
  const frame = new UnitFrame(f, targets, [instruction.offset], flags, [FLAGS_ANY]);
  const immediate = isImmediateKnown ? i32(instruction.immediate) : f.local('i32');
  frame.build(1, () => emitRow(frame, instruction, 1, immediate));
  return flags.effect();
}

function emitInstruction(frame: UnitFrame, instruction: UnitInstruction, left: number): void {
  const { f } = frame;
  const { changesInBranch } = flagEffectOf(instruction, witness);
  const site = emitRow(frame, instruction, left, i32(instruction.immediate), changesInBranch);
  if (site.hasSlowPath) {
    f.if(frame.pending, () => frame.exitTo(instruction.next, left - 1));
  }
}

function emitRow(
  frame: UnitFrame,
  instruction: UnitInstruction,
  left: number,
  immediate: Value,
  changesInBranch = false,
): UnitSite {
  const { compiled, variant } = instruction.meaning;
  const { f } = frame;
  let site: UnitSite | undefined;
  f.block((end) => {
    frame.instructionEnd = end;
    frame.flags.enterInstruction(changesInBranch);
    site = new UnitSite(frame, instruction, left, immediate);
    const e = new EngineEmitter(site, compiled, variant);
    compiled.row.meaning(e, ...e.operands);
  });
  return site!;
}

/** Whether the row can only be run by the interpreter: found by trying. */
export function mustDefer(instruction: UnitInstruction): boolean {
  const module = new ModuleBuilder();
  const targets = importTargets(module);
  const f = new FunctionBuilder({ params: [I, I], results: [] });
  const frame = new UnitFrame(f, targets, [instruction.offset], new FlagWitness(f), [FLAGS_ANY]);
  try {
    frame.build(1, () => void emitRow(frame, instruction, 1, i32(instruction.immediate)));
    return false;
  } catch (error) {
    if (error instanceof Deferred) return true;
    throw error;
  }
}
