import fc from 'fast-check';
import { expect, test } from 'vitest';
import { fuzzOptions } from '../../test/fuzz-options.ts';
import {
  allOperations,
  constantOf,
  type FunctionBuilder,
  i32,
  i64,
  laneOp,
  load,
  ModuleBuilder,
  op,
  type Signature,
  select,
  type Value,
} from './index.ts';
import { LOADS, STORES } from './operations.ts';

interface Compiled {
  readonly run: (...args: (number | bigint)[]) => number | bigint;
  readonly memory: WebAssembly.Memory;
}

/** A module of one exported function over one page of memory. */
function compile(signature: Signature, build: (f: FunctionBuilder) => void): Compiled {
  const module = new ModuleBuilder();
  module.importMemory('env', 'memory', 1);
  module.exportFunction('run', module.function('run', signature, build));
  const memory = new WebAssembly.Memory({ initial: 1 });
  const instance = new WebAssembly.Instance(new WebAssembly.Module(module.toBytes()), {
    env: { memory },
  });
  return { run: instance.exports.run as Compiled['run'], memory };
}

// Goal: no row of the table has a wrong opcode or type: each is validated by the engine.
test('every operation is accepted by WebAssembly with the types of its row', () => {
  for (const row of allOperations()) {
    const signature = { params: row.params, results: [row.result] };
    const module = new ModuleBuilder();
    module.function(row.name, signature, (f) => {
      const args = row.params.map((_, index) => f.param(index));
      const lanes = new Array<number>(row.laneBytes).fill(1);
      f.return(laneOp(row.name, lanes, ...args));
    });
    expect(WebAssembly.validate(module.toBytes()), row.name).toBe(true);
  }
});

test('every load and store is accepted by WebAssembly', () => {
  for (const name of Object.keys(LOADS) as (keyof typeof LOADS)[]) {
    const module = new ModuleBuilder();
    module.importMemory('env', 'memory', 1);
    module.function(name, { params: ['i32'], results: [LOADS[name].type] }, (f) =>
      f.return(load(name, f.param(0), 1234)),
    );
    expect(WebAssembly.validate(module.toBytes()), name).toBe(true);
  }
  for (const name of Object.keys(STORES) as (keyof typeof STORES)[]) {
    const module = new ModuleBuilder();
    module.importMemory('env', 'memory', 1);
    module.function(name, { params: ['i32', STORES[name].type], results: [] }, (f) =>
      f.store(name, f.param(0), f.param(1), 70000),
    );
    expect(WebAssembly.validate(module.toBytes()), name).toBe(true);
  }
});

// What each integer operation means, in BigInt: a wrong opcode of the right type shows here.
const MEANINGS: Record<string, (a: bigint, b: bigint, bits: number) => bigint> = {
  add: (a, b) => a + b,
  sub: (a, b) => a - b,
  mul: (a, b) => a * b,
  div_u: (a, b, n) => BigInt.asUintN(n, a) / BigInt.asUintN(n, b),
  rem_s: (a, b) => a % b,
  rem_u: (a, b, n) => BigInt.asUintN(n, a) % BigInt.asUintN(n, b),
  and: (a, b) => a & b,
  or: (a, b) => a | b,
  xor: (a, b) => a ^ b,
  shl: (a, b, n) => a << BigInt.asUintN(n === 32 ? 5 : 6, b),
  shr_s: (a, b, n) => a >> BigInt.asUintN(n === 32 ? 5 : 6, b),
  shr_u: (a, b, n) => BigInt.asUintN(n, a) >> BigInt.asUintN(n === 32 ? 5 : 6, b),
  rotl: (a, b, n) => rotate(a, Number(BigInt.asUintN(n === 32 ? 5 : 6, b)), n),
  rotr: (a, b, n) => rotate(a, n - Number(BigInt.asUintN(n === 32 ? 5 : 6, b)), n),
  eq: (a, b) => BigInt(a === b),
  ne: (a, b) => BigInt(a !== b),
  lt_s: (a, b) => BigInt(a < b),
  lt_u: (a, b, n) => BigInt(BigInt.asUintN(n, a) < BigInt.asUintN(n, b)),
  gt_s: (a, b) => BigInt(a > b),
  gt_u: (a, b, n) => BigInt(BigInt.asUintN(n, a) > BigInt.asUintN(n, b)),
  le_s: (a, b) => BigInt(a <= b),
  le_u: (a, b, n) => BigInt(BigInt.asUintN(n, a) <= BigInt.asUintN(n, b)),
  ge_s: (a, b) => BigInt(a >= b),
  ge_u: (a, b, n) => BigInt(BigInt.asUintN(n, a) >= BigInt.asUintN(n, b)),
};

function rotate(a: bigint, count: number, bits: number): bigint {
  const value = BigInt.asUintN(bits, a);
  return (value << BigInt(count)) | (value >> BigInt(bits - count));
}

test('integer operations compute what their names say', () => {
  for (const [bits, type] of [
    [32, 'i32'],
    [64, 'i64'],
  ] as const) {
    for (const [name, meaning] of Object.entries(MEANINGS)) {
      const full = `${type}.${name}`;
      const isTest = /^(eq|ne|lt|gt|le|ge)/.test(name);
      const results = [isTest ? ('i32' as const) : type];
      const { run } = compile({ params: [type, type], results }, (f) =>
        f.return(op(full, f.param(0), f.param(1))),
      );
      fc.assert(
        fc.property(fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }), fc.bigInt(), (x, y) => {
          const a = BigInt.asIntN(bits, x);
          const b = BigInt.asIntN(bits, y);
          if (b === 0n && /div|rem/.test(name)) return;
          const given = type === 'i32' ? [Number(a), Number(b)] : [a, b];
          expect(BigInt.asIntN(bits, BigInt(run(...given))), full).toBe(
            BigInt.asIntN(bits, meaning(a, b, bits)),
          );
        }),
        fuzzOptions(30),
      );
    }
  }
});

test('constants of every size survive their encoding', () => {
  fc.assert(
    fc.property(fc.integer(), fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }), (a, b) => {
      const narrow = compile({ params: [], results: ['i32'] }, (f) => f.return(i32(a)));
      const wide = compile({ params: [], results: ['i64'] }, (f) => f.return(i64(b)));
      expect(narrow.run()).toBe(a);
      expect(wide.run()).toBe(b);
    }),
    fuzzOptions(50),
  );
});

// Goal: folding, and masks that are left out, never change a value.
test('an expression computes the same whether its leaves are known while building or not', () => {
  const binary = {
    add: 'add',
    sub: 'sub',
    mul: 'mul',
    and: 'and',
    or: 'or',
    xor: 'xor',
    shl: 'shl',
    shrS: 'shr_s',
    shrU: 'shr_u',
    eq: 'eq',
    ne: 'ne',
    ltS: 'lt_s',
    ltU: 'lt_u',
    gtU: 'gt_u',
    leS: 'le_s',
    leU: 'le_u',
  } as const;
  type Name = keyof typeof binary;
  const leaf = fc.oneof(
    fc.constantFrom(0, 1, -1, 0x7f, 0xff, 0xffff, 0xff00, -0x100, 31, 24, 8, -0x8000_0000),
    fc.integer(),
  );
  const names = fc.constantFrom(...(Object.keys(binary) as Name[]));
  const steps = fc.array(
    fc.tuple(fc.oneof(names, fc.constantFrom<Name>('shrU', 'shl', 'and')), leaf, fc.boolean()),
    { minLength: 1, maxLength: 8 },
  );
  fc.assert(
    fc.property(leaf, fc.boolean(), steps, (first, isFirstKnown, rest) => {
      const leaves = [first, ...rest.map(([, value]) => value)];
      const signature = { params: leaves.map(() => 'i32' as const), results: ['i32' as const] };
      const short = compile(signature, (f) => {
        let value: Value = isFirstKnown ? i32(first) : f.param(0);
        rest.forEach(([name, constant, isKnown], index) => {
          value = f.let(value[name](isKnown ? i32(constant) : f.param(index + 1)));
        });
        f.return(value);
      });
      const plain = compile(signature, (f) => {
        const value = rest.reduce<Value>(
          (sum, [name], index) => op(`i32.${binary[name]}`, sum, f.param(index + 1)),
          f.param(0),
        );
        f.return(value);
      });
      expect(short.run(...leaves)).toBe(plain.run(...leaves));
    }),
    fuzzOptions(500),
  );
});

test('a mask is left out only where a shift has cleared all that it clears', () => {
  const masks = Array.from({ length: 32 }, (_, bit) => [1 << bit, (1 << bit) - 1]).flat();
  for (let count = 1; count < 32; count++) {
    const { run } = compile({ params: ['i32'], results: ['i32'] }, (f) => {
      const sum = f.local('i32');
      for (const mask of masks) {
        const parts = f.param(0).shrU(count).and(mask).add(f.param(0).shl(count).and(mask));
        f.set(sum, sum.mul(31).add(parts));
      }
      f.return(sum);
    });
    const expected = masks.reduce(
      (sum, mask) => (Math.imul(sum, 31) + ((-1 >>> count) & mask) + ((-1 << count) & mask)) | 0,
      0,
    );
    expect(run(-1), `${count}`).toBe(expected);
  }
});

test('a recycled local is another one until what was kept in it is released', () => {
  const { run } = compile({ params: ['i32'], results: ['i32'] }, (f) => {
    const kept: Value[] = [];
    f.recycling(() => {
      kept.push(f.let(f.param(0).add(1)));
      f.keep(kept[0]!);
      f.let(f.param(0).add(2));
    });
    f.recycling(() => {
      for (const more of [10, 20, 30]) f.let(f.param(0).mul(more));
    });
    f.return(kept[0]!);
  });
  expect(run(5)).toBe(6);
});

test('types are checked while building', () => {
  expect(() => op('i32.add', i32(1), i64(1))).toThrow(/argument 1 must be i32: it is i64/);
  expect(() => op('i32.add', i32(1))).toThrow(/takes 2 values/);
  expect(() => op('i32.nonsense')).toThrow(/not a known operation/);
  expect(() => select(i32(1), i32(1), i64(1))).toThrow(/between i32 and i64/);
  const build = (body: (f: FunctionBuilder) => void) => () =>
    compile({ params: ['i32'], results: ['i32'] }, body);
  expect(build((f) => f.return(i64(0)))).toThrow(/return \(i64\)/);
  expect(build((f) => f.store('i64', f.param(0), i32(0)))).toThrow(/must be i64: it is i32/);
  expect(() => constantOf('v128', 0)).toThrow(/integer constant of type v128/);
});

test('branches, loops and pinned values do what the statements say', () => {
  // Sum of 1…n by a loop, with the value of an `if` used afterwards.
  const { run } = compile({ params: ['i32'], results: ['i32'] }, (f) => {
    const sum = f.local('i32');
    const left = f.local('i32');
    f.set(left, f.param(0));
    f.block((end) => {
      f.loop((start) => {
        f.brIf(end, left.eqz());
        f.set(sum, sum.add(left));
        f.set(left, left.sub(1));
        f.br(start);
      });
    });
    const result: Value = f.ifValue(
      sum.gtU(100),
      () => i32(100),
      () => sum,
    );
    f.return(result);
  });
  expect(run(4)).toBe(10);
  expect(run(0)).toBe(0);
  expect(run(1000)).toBe(100);
});

test('a call of a function that is declared later reaches it', () => {
  const module = new ModuleBuilder();
  const later = module.declare('later', { params: ['i32'], results: ['i32'] });
  const first = module.function('first', { params: ['i32'], results: ['i32'] }, (f) =>
    f.returnCall(later, f.param(0).add(1)),
  );
  expect(() => module.toBytes()).toThrow(/"later" has no body/);
  module.define(later, (f) => f.return(f.param(0).mul(2)));
  module.exportFunction('run', first);
  const instance = new WebAssembly.Instance(new WebAssembly.Module(module.toBytes()), {});
  expect((instance.exports.run as (n: number) => number)(20)).toBe(42);
});
