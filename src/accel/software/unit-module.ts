// Makes the WebAssembly module of units from their regions: one function for each, that begins at
// the entry whose number it is called with. Bodies are built one by one, as units are found, so
// that no moment has to build many.

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
import { type FlagEffect, FlagWitness, flagEffectOf, flagNeeds } from './unit-flag-needs.ts';
import { FLAGS_ANY, type FlagForm, UnitFlags } from './unit-flags.ts';
import { UnitFrame, type UnitSource, type UnitTargets } from './unit-frame.ts';
import { fuelOf } from './unit-fuel.ts';
import {
  branchTarget,
  graphOf,
  makeRegion,
  pageOf,
  type UnitBlock,
  type UnitInstruction,
  type UnitRegion,
} from './unit-region.ts';
import { Deferred, UnitSite } from './unit-site.ts';

const I = 'i32' as const;
const UNIT: Signature = { params: [I, I, I], results: ['i64'] };

function importTargets(module: ModuleBuilder): UnitTargets {
  const known = new Map<string, FunctionReference>();
  const four: Signature = { params: [I, I, I, I], results: ['i64'] };
  return {
    go: imported('go', { params: [I, I], results: ['i64'] }),
    interpret: imported('interpret', four),
    // Each import costs time when the module is instantiated: only what its units use.
    get reach() {
      return imported('reach', { params: [I, I, I], results: [I] });
    },
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

/** A module of several units. */
export class UnitModule {
  readonly #module = new ModuleBuilder();
  readonly #targets: UnitTargets;

  constructor() {
    this.#module.importMemory('env', 'memory', 1);
    this.#targets = importTargets(this.#module);
  }

  /** The function of a unit, which may become part of this module. */
  build(source: UnitSource): FunctionBuilder {
    const f = new FunctionBuilder(UNIT);
    const flags = new UnitFlags(f, !source.keepsLocals);
    const frame = new UnitFrame(f, this.#targets, flags, source);
    frame.build((block) => emitBlock(frame, block));
    return f;
  }

  /** The bytes; the bodies are exported as `u0`, `u1` … No more can be built. */
  toBytes(units: readonly { readonly root: number; readonly body: FunctionBuilder }[]): Uint8Array {
    // Only now: what bodies call is imported, and imports come before functions.
    for (const [index, { root, body }] of units.entries()) {
      const name = `unit ${index} at ${root.toString(16)}`;
      this.#module.exportFunction(`u${index}`, this.#module.append(name, body));
    }
    return this.#module.toBytes();
  }
}

function emitBlock(frame: UnitFrame, block: UnitBlock): void {
  const { instructions, isDeferred, fallsThrough } = block;
  const count = fuelOf(block);
  for (let index = 0; index < count; index++) {
    emitInstruction(frame, instructions[index]!, count - index);
  }
  const last = instructions.at(-1)!;
  if (isDeferred) frame.exitInterpret(last, 0);
  else if (fallsThrough) frame.goTo(last.next);
  else frame.f.unreachable();
}

/** The form of the flags that each block of a unit wants at its start. */
export function flagFormsOf({ blocks, entries }: UnitRegion, keepsLocals: boolean): FlagForm[] {
  const { successors } = graphOf(blocks, entries);
  const starts = new Set(blocks.map(({ start }) => start));
  return flagNeeds(
    blocks.map(({ instructions, isDeferred, fallsThrough, targets }, index) => {
      const last = instructions.at(-1)!;
      const target = branchTarget(last);
      const ways = [target, fallsThrough ? last.next : undefined].filter(
        (way) => way !== undefined,
      );
      const staysInUnit =
        isDeferred ||
        targets.length > 0 ||
        (ways.length > 0 && ways.every((way) => starts.has(way)));
      return {
        effects: instructions
          .slice(0, isDeferred ? -1 : undefined)
          .map((instruction) => flagEffectOf(instruction, witness)),
        successors: successors[index]!,
        doesLeave: keepsLocals && !staysInUnit,
      };
    }),
  );
}

function emitInstruction(frame: UnitFrame, instruction: UnitInstruction, left: number): void {
  const { f } = frame;
  const effect = flagEffectOf(instruction, witness);
  // Its bytes in the next page must be those that were decoded.
  const lastPage = pageOf(instruction.next - 1);
  frame.reach(lastPage, instruction.offset, () => frame.exitInterpret(instruction, left));
  f.recycling(() => emitRow(frame, instruction, left, i32(instruction.immediate), effect));
}

function emitRow(
  frame: UnitFrame,
  instruction: UnitInstruction,
  left: number,
  immediate: Value,
  { changesInBranch, mayLeave }: Pick<FlagEffect, 'changesInBranch' | 'mayLeave'>,
): void {
  const { compiled, variant } = instruction.meaning;
  frame.inInstruction(() => {
    frame.flags.enterInstruction(changesInBranch, mayLeave);
    const site = new UnitSite(frame, instruction, left, immediate);
    const e = new EngineEmitter(site, compiled, variant);
    compiled.row.meaning(e, ...e.operands);
  });
}

/** Whether the row can only be run by the interpreter: found by trying. */
export function mustDefer(instruction: UnitInstruction): boolean {
  try {
    flagEffectOf(instruction, witness);
    return false;
  } catch (error) {
    if (error instanceof Deferred) return true;
    throw error;
  }
}

/** Emits the instruction to see what it does to the flags. */
function witness(instruction: UnitInstruction, isImmediateKnown: boolean): FlagEffect {
  const block: UnitBlock = {
    start: instruction.offset,
    instructions: [instruction],
    isDeferred: false,
    fallsThrough: true,
    targets: [],
  };
  const { offset } = instruction;
  const region = makeRegion(offset, [block], new Set([offset]), { recordsOf: () => 0 });
  const f = new FunctionBuilder(UNIT);
  const flags = new FlagWitness(f);
  const frame = new UnitFrame(f, importTargets(new ModuleBuilder()), flags, {
    ...{ region, cell: 0, flagForms: [FLAGS_ANY] },
    ...{ keepsLocals: true, isFlat: false, knowsPages: false },
  });
  const immediate = isImmediateKnown ? i32(instruction.immediate) : f.local('i32');
  frame.build(() => {
    emitRow(frame, instruction, 1, immediate, { changesInBranch: false, mayLeave: false });
    f.unreachable();
  });
  return flags.effect();
}
