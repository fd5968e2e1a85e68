import { expect, test } from 'vitest';
import { createBoard, RingDriver } from '../../../test/virtio-driver.ts';
import { VirtioDevice } from './virtio-device.ts';
import { type EntropySource, VirtioRNG } from './virtio-rng.ts';

const DATA = 0x2_0000;

function create(source?: EntropySource) {
  const board = createBoard();
  const sizes: number[] = [];
  const count: EntropySource = (bytes) => {
    sizes.push(bytes.length);
    bytes.fill(sizes.length);
  };
  const rng = new VirtioRNG(source ?? count);
  const device = new VirtioDevice('virtio-rng/0', rng, board.space);
  const driver = new RingDriver(board.space, 0x1_0000, 8);
  device.setStatus(3);
  device.setDriverFeatures(1, 1);
  device.setStatus(0xb);
  const { descriptors, available, used } = driver;
  Object.assign(device.queues[0]!.state, { descriptors, available, used, isReady: true });
  device.setStatus(0xf);
  return { ...board, device, driver, sizes };
}

const room = (gpa: number, sizeBytes: number) => ({ gpa, sizeBytes, isWritable: true });

test('every buffer gets entropy of its own, all of it', () => {
  const { device, driver, space } = create();
  driver.add([room(DATA, 3), room(DATA + 8, 2)]);
  driver.add([room(DATA + 16, 1)]);
  device.notify(0);
  expect(driver.collect().map(({ writtenBytes }) => writtenBytes)).toEqual([5, 1]);
  const bytes = new Uint8Array(18);
  space.readBytes(DATA, bytes);
  expect([...bytes]).toEqual([1, 1, 1, 0, 0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 2, 0]);
});

test('a request for much is answered in part', () => {
  const { device, driver, sizes } = create();
  driver.add([room(DATA, 0x8_0000)]);
  device.notify(0);
  expect(sizes).toEqual([0x1_0000]);
  expect(driver.collect()).toEqual([{ head: 0, writtenBytes: 0x1_0000 }]);
});

test('a request without room breaks the device', () => {
  const { device, driver } = create();
  driver.add([{ gpa: DATA, sizeBytes: 4, isWritable: false }]);
  device.notify(0);
  expect(device.isBroken).toBe(true);
  expect(device.brokenReason).toMatch(/no buffer to write/);
});

// Goal: a device that writes its own rings must not be kept busy for ever by what it writes there.
test('entropy that makes itself available again is drawn as often as the queue has entries', () => {
  let count = 0;
  const { device, driver } = create((bytes) => {
    // Flags 0, an index of one more, and head 0 in every entry of the available ring.
    count++;
    bytes.fill(0);
    bytes[2] = count + 1;
  });
  driver.add([room(driver.available, 20)]);
  device.notify(0);
  expect(count).toBe(8);
  expect(device.isBroken).toBe(false);
});

test('a broken device takes nothing and gives nothing back', () => {
  const { device, driver, sizes } = create();
  driver.add([room(DATA, 4)]);
  const chain = device.queues[0]!.pop()!;
  device.break('a test');
  device.complete(0, chain, 4);
  driver.add([room(DATA, 4)]);
  device.notify(0);
  expect(driver.collect()).toEqual([]);
  expect(sizes).toEqual([]);
  expect(device.queues[0]!.pop()).toBeUndefined();
  expect(device.state.isr).toBe(2);
});

// Goal (failure 27): two machines made from one snapshot must not draw the same numbers.
test('nothing drawn is saved', () => {
  const { device, driver } = create();
  const before = device.savables.map((one) => one.save());
  driver.add([room(DATA, 16)]);
  device.notify(0);
  driver.collect();
  const after = device.savables.map((one) => one.save());
  // Only the indexes of the queue moved on, and the interrupt.
  expect(after.map(({ values }) => [...values.keys()])).toEqual(
    before.map(({ values }) => [...values.keys()]),
  );
  expect(device.model.savables).toEqual([]);
});
