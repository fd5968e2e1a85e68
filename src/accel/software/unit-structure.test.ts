// Structured control flow against a walk through the graph itself: random graphs, reducible or not,
// become WebAssembly functions that log each node they reach and are told where to go next.

import fc from 'fast-check';
import { expect, test } from 'vitest';
import { fuzzOptions } from '../../../test/fuzz-options.ts';
import { FunctionBuilder, i32, load, ModuleBuilder } from '../../wasm/index.ts';
import { UnitFlow } from './unit-flow.ts';
import { type ControlGraph, type StructureLevel, structureOf } from './unit-structure.ts';

const STEPS = 200;
/** In the function's memory: a byte for each choice; behind them one for each node reached. */
const LOG = 1024;

/** (entry number): takes a successor by each choice; runs STEPS nodes or to one without any. */
function compile(graph: ControlGraph): { run: (entry: number, choices: number[]) => number[] } {
  const structure = structureOf(graph);
  const module = new ModuleBuilder();
  module.importMemory('env', 'memory', 1);
  const f = new FunctionBuilder({ params: ['i32'], results: [] });
  const step = f.local('i32');
  const flow: UnitFlow = new UnitFlow(f, structure, f.param(0), (node) => {
    f.store('i32_8', step, i32(node), LOG);
    f.set(step, step.add(1));
    f.if(step.geU(STEPS), () => f.return());
    const targets = graph.successors[node]!;
    if (targets.length === 0) {
      f.return();
      return;
    }
    const choice = f.let(load('i32_8u', step.sub(1)).remU(targets.length));
    for (const [index, target] of targets.slice(1).entries()) {
      f.if(choice.eq(index + 1), () => flow.goTo(target));
    }
    flow.goTo(targets[0]!);
  });
  flow.emit();
  const body = module.append('walk', f);
  module.exportFunction('walk', body);
  const memory = new WebAssembly.Memory({ initial: 1 });
  const bytes = new Uint8Array(memory.buffer);
  const instance = new WebAssembly.Instance(new WebAssembly.Module(module.toBytes()), {
    env: { memory },
  });
  return {
    run(entry, choices) {
      bytes.fill(0xff, LOG, LOG + STEPS);
      bytes.set(choices);
      (instance.exports.walk as (entry: number) => void)(structure.enterNumbers.get(entry)!);
      return [...bytes.subarray(LOG, LOG + STEPS)].filter((node) => node !== 0xff);
    },
  };
}

function walk(graph: ControlGraph, entry: number, choices: readonly number[]): number[] {
  const nodes = [entry];
  while (nodes.length < STEPS) {
    const targets = graph.successors[nodes.at(-1)!]!;
    if (targets.length === 0) break;
    nodes.push(targets[choices[nodes.length - 1]! % targets.length]!);
  }
  return nodes;
}

function loopCount(level: StructureLevel): number {
  return level.items.reduce<number>(
    (sum, item) => (typeof item === 'number' ? sum : sum + 1 + loopCount(item)),
    0,
  );
}

const graphs: fc.Arbitrary<ControlGraph> = fc.integer({ min: 1, max: 14 }).chain((count) => {
  const node = fc.nat({ max: count - 1 });
  return fc.record({
    successors: fc.array(fc.array(node, { maxLength: 3 }), { minLength: count, maxLength: count }),
    entries: fc.uniqueArray(node, { minLength: 1, maxLength: 3 }),
  });
});

test('every walk through a graph is a walk through its structure', () => {
  const choices = fc.array(fc.nat({ max: 255 }), { minLength: STEPS, maxLength: STEPS });
  fc.assert(
    fc.property(graphs, choices, (graph, taken) => {
      const compiled = compile(graph);
      for (const entry of graph.entries) {
        expect(compiled.run(entry, taken)).toEqual(walk(graph, entry, taken));
      }
    }),
    fuzzOptions(300),
  );
});

test('a loop in a loop, entered at its top, needs no entry elsewhere', () => {
  // 0 → 1 ⟲(2) → 3 → 1, 3 → 4
  const graph = { successors: [[1], [2], [2, 3], [1, 4], []], entries: [0] };
  const { root, enterNumbers } = structureOf(graph);
  expect([...enterNumbers.keys()]).toEqual([0]);
  expect(root.items).toHaveLength(3);
  const outer = root.items[1] as StructureLevel;
  expect([outer.header, outer.entered]).toEqual([1, []]);
  expect(loopCount(root)).toBe(2);
});

test('a loop with two ways in has one header, and the other way is numbered', () => {
  const graph = { successors: [[1, 2], [2], [1, 3], []], entries: [0] };
  const { root, enterNumbers } = structureOf(graph);
  const loop = root.items[1] as StructureLevel;
  expect(loop.entered).toHaveLength(1);
  expect(enterNumbers.get(loop.entered[0]!)).toBe(2);
});

test('blocks without loops stay in the order of their numbers', () => {
  const graph = { successors: [[1, 3], [2], [3], [4], []], entries: [0] };
  expect(structureOf(graph).root.items).toEqual([0, 1, 2, 3, 4]);
});
