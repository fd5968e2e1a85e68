import fc from 'fast-check';
import { beforeEach, expect, test } from 'vitest';
import { fuzzOptions } from '../../../test/fuzz-options.ts';
import { createBoard, type Piece, RingDriver } from '../../../test/virtio-driver.ts';
import { MemoryRegion } from '../../memory/memory-region.ts';
import { readBuffers, sizeOf, writeBuffers } from './guest-buffer.ts';
import { FEATURE_EVENT_INDEX, FEATURE_INDIRECT } from './virtio-registers.ts';
import { Virtqueue } from './virtqueue.ts';

const SIZE = 16;
const RINGS = 0x1_0000;
const DATA = 0x2_0000;

function create(features = FEATURE_INDIRECT) {
  const board = createBoard();
  const driver = new RingDriver(board.space, RINGS, SIZE);
  driver.hasEventIndex = (features & FEATURE_EVENT_INDEX) !== 0;
  const reasons: string[] = [];
  const queue = new Virtqueue('queue', 64, {
    space: board.space,
    features: () => features,
    mayTake: () => true,
    onBroken: (reason) => void reasons.push(reason),
  });
  queue.setSize(SIZE);
  Object.assign(queue.state, {
    descriptors: driver.descriptors,
    available: driver.available,
    used: driver.used,
    isReady: true,
  });
  return { ...board, driver, queue, reasons };
}

let it: ReturnType<typeof create>;
beforeEach(() => {
  it = create();
});

const readable = (gpa: number, sizeBytes: number): Piece => ({ gpa, sizeBytes, isWritable: false });
const writable = (gpa: number, sizeBytes: number): Piece => ({ gpa, sizeBytes, isWritable: true });

test('a chain comes as its buffers in order, and goes back with what was written', () => {
  const { driver, queue, space } = it;
  space.writeBytes(DATA, Uint8Array.of(1, 2, 3, 4, 5));
  const pieces = [readable(DATA, 2), readable(DATA + 2, 3), writable(DATA + 64, 4)];
  const head = driver.add(pieces);
  const chain = queue.pop()!;
  expect(chain.head).toBe(head);
  const bytes = new Uint8Array(8);
  expect(readBuffers(space, chain.readable, 1, bytes)).toBe(4);
  expect([...bytes]).toEqual([2, 3, 4, 5, 0, 0, 0, 0]);
  expect(writeBuffers(space, chain.writable, 1, Uint8Array.of(9, 8, 7, 6))).toBe(3);
  queue.push(head, 4);
  expect(driver.collect()).toEqual([{ head, writtenBytes: 4 }]);
  expect(space.read(DATA + 64, 4)).toBe(0x07080900);
  expect(queue.pop()).toBeUndefined();
  expect(it.reasons).toEqual([]);
});

test('a queue that is not ready, and one whose size was refused, give nothing', () => {
  const { queue, driver } = it;
  queue.setSize(8);
  expect(queue.state.size).toBe(SIZE);
  driver.add([readable(DATA, 1)]);
  queue.reset();
  expect(queue.pop()).toBeUndefined();
  for (const size of [0, 3, 128, 0xffff]) queue.setSize(size);
  expect(queue.state.size).toBe(64);
});

test('a legacy page is a queue with its parts where a legacy driver puts them', () => {
  const { queue } = it;
  queue.setLegacyPage(0x10);
  // Size 64: 1024 bytes of descriptors, 4 + 128 + 2 of the available ring, then the next page.
  expect(queue.state).toMatchObject({
    ...{ isReady: true, size: 64, descriptors: 0x1_0000, available: 0x1_0400, used: 0x1_1000 },
  });
  queue.setLegacyPage(0);
  expect(queue.state.isReady).toBe(false);
});

/** Each breaks a rule; the words are what people read. */
const HOSTILE: readonly [string, RegExp, (context: ReturnType<typeof create>) => void][] = [
  [
    'a chain that loops',
    /loop/,
    ({ driver }) => {
      driver.writeDescriptor(RINGS, DATA, 1, 1, 1);
      driver.writeDescriptor(RINGS + 16, DATA, 1, 1, 0);
      driver.offer(0);
    },
  ],
  [
    'a descriptor that points at itself',
    /loop/,
    ({ driver }) => {
      driver.writeDescriptor(RINGS, DATA, 1, 1, 0);
      driver.offer(0);
    },
  ],
  ['a head beyond the table', /descriptor 16 of 16/, ({ driver }) => driver.offer(SIZE)],
  [
    'a next beyond the table',
    /descriptor 65535 of 16/,
    ({ driver }) => {
      driver.writeDescriptor(RINGS, DATA, 1, 1, 0xffff);
      driver.offer(0);
    },
  ],
  ['a buffer of no bytes', /without bytes/, ({ driver }) => void driver.add([readable(DATA, 0)])],
  [
    'a buffer outside of RAM',
    /not in RAM/,
    ({ driver }) => void driver.add([readable(0x8000_0000, 1)]),
  ],
  [
    'a buffer that leaves RAM',
    /not in RAM/,
    ({ driver }) => void driver.add([writable((1 << 20) - 8, 16)]),
  ],
  [
    'a buffer of nearly 4 GiB',
    /not in RAM/,
    ({ driver }) => void driver.add([writable(DATA, 0xffff_ffff)]),
  ],
  [
    'a buffer to write in ROM',
    /not in RAM/,
    ({ driver }) => void driver.add([writable(2 << 20, 1)]),
  ],
  ['a buffer in a device', /not in RAM/, ({ driver }) => void driver.add([readable(3 << 20, 4)])],
  [
    'an address at the top of 64 bits',
    /above 2\^52/,
    ({ driver }) => {
      driver.writeDescriptor(RINGS, 2 ** 64 - 4096, 4096, 0, 0);
      driver.offer(0);
    },
  ],
  [
    'a buffer to read behind one to write',
    /behind/,
    ({ driver }) => void driver.add([writable(DATA, 1), readable(DATA, 1)]),
  ],
  [
    'an available index that runs away',
    /17 chains/,
    ({ driver }) => driver.space.write(driver.available + 2, 2, SIZE + 1),
  ],
  [
    'an available index that runs back',
    /65535 chains/,
    ({ driver }) => driver.space.write(driver.available + 2, 2, 0xffff),
  ],
  [
    'an indirect table of crooked size',
    /indirect table of 17/,
    ({ driver }) => {
      driver.writeDescriptor(RINGS, DATA, 17, 4, 0);
      driver.offer(0);
    },
  ],
  [
    'an indirect table without end',
    /indirect table/,
    ({ driver }) => {
      driver.writeDescriptor(RINGS, DATA, 16 * 2048, 4, 0);
      driver.offer(0);
    },
  ],
  [
    'an indirect table that is not in RAM',
    /not in RAM/,
    ({ driver }) => {
      driver.writeDescriptor(RINGS, 3 << 20, 16, 4, 0);
      driver.offer(0);
    },
  ],
  [
    'an indirect table in an indirect table',
    /indirect descriptor/,
    ({ driver }) => {
      driver.writeDescriptor(DATA, DATA, 16, 4, 0);
      driver.writeDescriptor(RINGS, DATA, 16, 4, 0);
      driver.offer(0);
    },
  ],
  [
    'an indirect descriptor that goes on',
    /indirect descriptor/,
    ({ driver }) => {
      driver.writeDescriptor(RINGS, DATA, 16, 5, 1);
      driver.offer(0);
    },
  ],
  [
    'an indirect table that loops',
    /loop/,
    ({ driver }) => {
      driver.writeDescriptor(DATA, DATA, 1, 1, 0);
      driver.writeDescriptor(RINGS, DATA, 16, 4, 0);
      driver.offer(0);
    },
  ],
  [
    'an available ring in a device',
    /ring .* not in RAM/,
    ({ queue }) => {
      queue.state.available = 3 << 20;
    },
  ],
  [
    'a descriptor table above all memory',
    /not in RAM/,
    ({ queue, driver }) => {
      queue.state.descriptors = 2 ** 52;
      driver.offer(0);
    },
  ],
];

for (const [name, words, breakIt] of HOSTILE)
  test(`${name} breaks the queue, and no device is touched`, () => {
    breakIt(it);
    expect(it.queue.pop()).toBeUndefined();
    expect(it.reasons).toHaveLength(1);
    expect(it.reasons[0]).toMatch(words);
    expect(it.ioAccesses()).toBe(0);
    expect(it.queue.state).toMatchObject({ nextAvailable: 0, inFlight: [] });
  });

test('a chain of more than 2^32 bytes breaks the queue though each buffer is RAM', () => {
  const { driver, queue, reasons, memory } = it;
  const mirrors = 4;
  const bytes = mirrors << 20;
  const ram = memory.root.subregions.find((each) => each.name === 'pc.ram')!;
  for (let i = 0; i < mirrors; i++)
    memory.root.addSubregion((16 + i) << 20, MemoryRegion.alias(`mirror${i}`, ram, 0, 1 << 20));
  const offerTable = (descriptor: number, count: number, lastBytes: number) => {
    for (let i = 0; i < count; i++) {
      const isLast = i === count - 1;
      const at = DATA + 16 * i;
      driver.writeDescriptor(at, 16 << 20, isLast ? lastBytes : bytes, isLast ? 0 : 1, i + 1);
    }
    driver.writeDescriptor(RINGS + 16 * descriptor, DATA, 16 * count, 4, 0);
    driver.offer(descriptor);
  };
  // 2^32 bytes are allowed, and nothing is allocated for them.
  offerTable(0, 1024, bytes);
  expect(sizeOf(queue.pop()!.readable)).toBe(2 ** 32);
  driver.writeDescriptor(RINGS + 16, DATA, 1, 1, 2);
  driver.writeDescriptor(RINGS + 32, DATA, 16 * 1024, 4, 0);
  driver.offer(1);
  expect(queue.pop()).toBeUndefined();
  expect(reasons).toEqual(['a chain of more than 2^32 bytes']);
});

test('one descriptor available twice breaks the queue while it is in flight', () => {
  const { driver, queue, reasons } = it;
  const head = driver.add([readable(DATA, 1)]);
  driver.offer(head);
  expect(queue.pop()!.head).toBe(head);
  expect(queue.pop()).toBeUndefined();
  expect(reasons).toEqual([`descriptor ${head} is available twice`]);
});

test('a used ring in ROM breaks the queue when something is given back', () => {
  const { driver, queue, reasons } = it;
  queue.state.used = 2 << 20;
  queue.push(driver.add([readable(DATA, 1)]), 0);
  expect(reasons).toEqual([]); // It was not taken.
  queue.push(queue.pop()!.head, 0);
  expect(reasons[0]).toMatch(/not in RAM/);
});

test('the no-interrupt flag is heeded', () => {
  const { driver, queue, space } = it;
  expect(queue.takeSignal()).toBe(false);
  driver.add([readable(DATA, 1)]);
  queue.push(queue.pop()!.head, 0);
  expect(queue.takeSignal()).toBe(true);
  expect(queue.takeSignal()).toBe(false);
  space.write(driver.available, 2, 1);
  driver.add([readable(DATA, 1)]);
  queue.push(queue.pop()!.head, 0);
  expect(queue.takeSignal()).toBe(false);
});

test('with event indexes each side says when it wants to hear', () => {
  const context = create(FEATURE_EVENT_INDEX);
  const { driver, queue } = context;
  const use = () => {
    driver.add([readable(DATA, 1)]);
    queue.push(queue.pop()!.head, 0);
    return queue.takeSignal();
  };
  driver.setUsedEvent(2);
  expect([use(), use(), use(), use()]).toEqual([false, false, true, false]);
  expect(queue.pop()).toBeUndefined();
  expect(driver.availableEvent).toBe(4);
  // Around the end of 16 bits.
  for (let i = 4; i < 0xffff; i++) {
    use();
    driver.collect();
    driver.setUsedEvent(0xfff0);
  }
  driver.setUsedEvent(0xffff);
  expect([use(), use()]).toEqual([true, false]);
  expect(queue.state).toMatchObject({ nextAvailable: 1, nextUsed: 1 });
  expect(() => queue.restore(queue.save())).not.toThrow();
});

test('indirect tables are refused where they were not agreed on', () => {
  const { driver, queue, reasons } = create(0);
  driver.add([readable(DATA, 1)], DATA + 0x1000);
  expect(queue.pop()).toBeUndefined();
  expect(reasons[0]).toMatch(/indirect/);
});

test('a saved queue goes on where it was, with its chains in flight', () => {
  const { driver, queue, space, reasons } = it;
  const heads = [driver.add([readable(DATA, 4)]), driver.add([writable(DATA, 4)])];
  for (const _ of heads) queue.pop();
  const other = new Virtqueue('queue', 64, {
    space,
    features: () => FEATURE_INDIRECT,
    mayTake: () => true,
    onBroken: (reason) => void reasons.push(reason),
  });
  other.restore(queue.save());
  expect(other.save()).toEqual(queue.save());
  expect(other.state.inFlight).toEqual(heads);
  expect(other.readChain(heads[1]!)?.writable).toEqual([{ gpa: DATA, sizeBytes: 4 }]);
  for (const head of [...heads].reverse()) other.push(head, 0);
  expect(driver.collect().map(({ head }) => head)).toEqual([...heads].reverse());
  expect(queue.schema.undeclared(queue.state)).toEqual([]);
});

test('a saved queue with impossible heads is refused', () => {
  const { queue } = it;
  const section = queue.save();
  const restore = (id: number, value: number | number[]) =>
    queue.restore({ ...section, values: new Map([...section.values, [id, value]]) });
  for (const heads of [[16], [1, 1]]) expect(() => restore(9, heads)).toThrow(/must be possible/);
  for (const size of [0, 3, 128]) expect(() => restore(1, size)).toThrow(/must be possible/);
  expect(() => restore(9, [1, 2])).not.toThrow();
});

// Goal: in any order of adding, taking, giving back and saving, each chain goes round exactly once
// with its bytes, and the driver hears of it when it asked to.
test('random sessions agree with a naive driver', () => {
  const step = fc.oneof(
    fc.record({
      kind: fc.constant('add' as const),
      sizes: fc.array(fc.record({ size: fc.integer({ min: 1, max: 300 }), out: fc.boolean() }), {
        minLength: 1,
        maxLength: 5,
      }),
      isIndirect: fc.boolean(),
    }),
    fc.record({ kind: fc.constant('take' as const) }),
    fc.record({ kind: fc.constant('give' as const), pick: fc.nat() }),
    fc.record({ kind: fc.constant('collect' as const) }),
    fc.record({ kind: fc.constant('save' as const) }),
  );
  const run = fc.property(fc.array(step, { maxLength: 200 }), fc.boolean(), (steps, hasEvents) => {
    const context = create(FEATURE_INDIRECT | (hasEvents ? FEATURE_EVENT_INDEX : 0));
    const { driver, queue, space, reasons } = context;
    const waiting: { head: number; text: Uint8Array; room: number; at: number }[] = [];
    const taken: typeof waiting = [];
    const given: { head: number; writtenBytes: number }[] = [];
    let serial = 0;
    let hasUncollected = false;
    driver.collect();
    for (const one of steps) {
      if (one.kind === 'add') {
        const pieceCount = one.isIndirect ? 1 : one.sizes.length;
        if (driver.freeCount < pieceCount) continue;
        // A page for each chain, so that none lies over another: 16 at most are open.
        const at = DATA + 0x1000 * (++serial % 128);
        const text = new Uint8Array(
          one.sizes.filter(({ out }) => out).reduce((n, s) => n + s.size, 0),
        );
        text.forEach((_, i) => {
          text[i] = (serial * 7 + i) & 0xff;
        });
        space.writeBytes(at, text);
        let cursor = at;
        const sorted = [...one.sizes].sort((a, b) => Number(b.out) - Number(a.out));
        const pieces = sorted.map(({ size, out }) => {
          const piece = out ? readable(cursor, size) : writable(cursor, size);
          cursor += size;
          return piece;
        });
        const table = one.isIndirect ? 0xb_0000 + 0x100 * (serial % 128) : undefined;
        const head = driver.add(pieces, table);
        waiting.push({ head, text, room: cursor - at - text.length, at: at + text.length });
      } else if (one.kind === 'take') {
        const chain = queue.pop();
        const expected = waiting.shift();
        expect(chain?.head).toBe(expected?.head);
        if (chain === undefined || expected === undefined) continue;
        const text = new Uint8Array(sizeOf(chain.readable));
        readBuffers(space, chain.readable, 0, text);
        expect(text).toEqual(expected.text);
        expect(sizeOf(chain.writable)).toBe(expected.room);
        taken.push(expected);
      } else if (one.kind === 'give' && taken.length > 0) {
        const [{ head, room }] = taken.splice(one.pick % taken.length, 1) as [(typeof taken)[0]];
        queue.push(head, room);
        given.push({ head, writtenBytes: room });
        const isFirst = !hasUncollected;
        hasUncollected = true;
        // With events the driver asked to hear of the first after each look.
        expect(queue.takeSignal()).toBe(hasEvents ? isFirst : true);
      } else if (one.kind === 'collect') {
        expect(driver.collect()).toEqual(given.splice(0));
        hasUncollected = false;
      } else if (one.kind === 'save') {
        const section = queue.save();
        queue.reset();
        queue.restore(section);
        expect(queue.state.inFlight).toEqual(
          queue.state.inFlight.filter((head) => taken.some((each) => each.head === head)),
        );
      }
    }
    expect(reasons).toEqual([]);
  });
  fc.assert(run, fuzzOptions(100));
});

// Goal: whatever lies in the rings, taking and giving back ends, throws nothing and touches no
// device.
test('random rings break the queue at worst', () => {
  const run = fc.property(
    fc.uint8Array({ minLength: 600, maxLength: 600 }),
    fc.nat(4),
    (bytes, n) => {
      const { driver, queue, space, ioAccesses } = create(FEATURE_INDIRECT | FEATURE_EVENT_INDEX);
      // Small numbers are likelier to mean something.
      const words = bytes.map((byte, i) => (i % 4 >= 3 - n ? 0 : byte));
      space.writeBytes(driver.descriptors, words.subarray(0, 256));
      space.writeBytes(driver.available, words.subarray(256, 400));
      space.writeBytes(driver.used, words.subarray(400));
      for (let i = 0; i < 40; i++) {
        const chain = queue.pop();
        if (chain === undefined) continue;
        expect(chain.readable.length + chain.writable.length).toBeLessThanOrEqual(1024 + SIZE);
        queue.push(chain.head, 0);
        queue.takeSignal();
      }
      expect(ioAccesses()).toBe(0);
    },
  );
  fc.assert(run, fuzzOptions(200));
});
