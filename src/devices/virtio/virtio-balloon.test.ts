import { beforeEach, expect, test } from 'vitest';
import { createBoard, RingDriver } from '../../../test/virtio-driver.ts';
import { VirtioBalloon } from './virtio-balloon.ts';
import { VirtioDevice } from './virtio-device.ts';

const LIST = 0x2_0000;
const MIB = 1 << 20;

function create() {
  const board = createBoard();
  const discarded: number[] = [];
  const balloon = new VirtioBalloon('balloon', MIB, (gpa) => void discarded.push(gpa));
  const device = new VirtioDevice('virtio-balloon', balloon, board.space);
  const drivers = [0x1_0000, 0x1_4000].map((gpa) => new RingDriver(board.space, gpa, 16));
  device.setStatus(3);
  device.setDriverFeatures(1, 1);
  device.setStatus(0xb);
  for (const [i, { descriptors, available, used, size }] of drivers.entries()) {
    device.queues[i]!.setSize(size);
    Object.assign(device.queues[i]!.state, { descriptors, available, used, isReady: true });
  }
  device.setStatus(0xf);
  const config = () =>
    new DataView(Uint8Array.from({ length: 8 }, (_, i) => balloon.readConfig(i)).buffer);
  return { ...board, balloon, device, drivers, discarded, config };
}

let it: ReturnType<typeof create>;
beforeEach(() => {
  it = create();
});

function give(queueIndex: number, pages: readonly number[]): void {
  for (const [i, page] of pages.entries()) it.space.write(LIST + 4 * i, 4, page);
  const sizeBytes = 4 * pages.length;
  it.drivers[queueIndex]!.add([{ gpa: LIST, sizeBytes, isWritable: false }]);
  it.device.notify(queueIndex);
}

test('pages of the inflate queue are discarded, those of the deflate queue are not', () => {
  give(0, [3, 0xf_ffff, 0xffff_ffff]);
  expect(it.discarded).toEqual([0x3000, 0xffff_f000, 0xffff_ffff * 4096]);
  expect(it.drivers[0]!.collect()).toEqual([{ head: 0, writtenBytes: 0 }]);
  give(1, [3]);
  expect(it.discarded).toHaveLength(3);
  expect(it.drivers[1]!.collect()).toHaveLength(1);
  expect(it.device.state.isr).toBe(1);
});

test('a target is told to the driver, whose answer is what there is', () => {
  const { balloon, device, config } = it;
  expect([balloon.actualBytes, balloon.targetBytes]).toEqual([MIB, MIB]);
  const { configGeneration } = device.state;
  balloon.setTargetBytes(MIB - 5 * 4096 - 1);
  expect(config().getUint32(0, true)).toBe(5);
  expect(device.state.configGeneration).toBe(configGeneration + 1);
  expect(device.takeISR()).toBe(2);
  expect(balloon.actualBytes).toBe(MIB);
  for (const [i, byte] of [5, 0, 0, 0].entries()) balloon.writeConfig(4 + i, byte);
  expect(balloon.actualBytes).toBe(MIB - 5 * 4096);
  // The driver does not choose the target.
  balloon.writeConfig(0, 77);
  expect(config().getUint32(0, true)).toBe(5);
  expect(balloon.actualBytes).toBe(MIB - 5 * 4096);
  balloon.setTargetBytes(MIB - 5 * 4096);
  expect(device.state.isr).toBe(0);
});

test('targets beyond what there is are as much as there is, and a lying guest harms nobody', () => {
  const { balloon } = it;
  balloon.setTargetBytes(1e15);
  expect(balloon.targetBytes).toBe(MIB);
  balloon.setTargetBytes(-1);
  expect(balloon.targetBytes).toBe(0);
  for (let i = 4; i < 8; i++) balloon.writeConfig(i, 0xff);
  expect(balloon.actualBytes).toBe(0);
});

test('after a reset the guest has all its pages, and the target stays', () => {
  const { balloon, device } = it;
  balloon.setTargetBytes(MIB / 2);
  balloon.writeConfig(4, 9);
  device.setStatus(0);
  expect([balloon.actualBytes, balloon.targetBytes]).toEqual([MIB, MIB / 2]);
});

test('a list that is no whole number of pages, or far too long, is taken as far as it goes', () => {
  const { drivers, device, discarded, space } = it;
  space.write(LIST, 4, 7);
  drivers[0]!.add([{ gpa: LIST, sizeBytes: 7, isWritable: false }]);
  device.notify(0);
  expect(discarded).toEqual([0x7000]);
  drivers[0]!.add([{ gpa: 0x8_0000, sizeBytes: 0x4_0000, isWritable: false }]);
  device.notify(0);
  expect(discarded).toHaveLength(1 + 4096);
});

test('state is saved and restored', () => {
  const { device, balloon } = it;
  balloon.setTargetBytes(MIB / 2);
  balloon.writeConfig(5, 1);
  const sections = device.savables.map((one) => one.save());
  const other = create();
  for (const [i, one] of other.device.savables.entries()) one.restore(sections[i]!);
  expect(other.device.savables.map((one) => one.save())).toEqual(sections);
  expect([other.balloon.actualBytes, other.balloon.targetBytes]).toEqual([0, MIB / 2]);
  expect(balloon.schema.undeclared(balloon.state)).toEqual([]);
  expect(device.schema.undeclared(device.state)).toEqual([]);
});
