import fc from 'fast-check';
import { expect, test } from 'vitest';
import { fuzzOptions } from '../../../test/fuzz-options.ts';
import { ManualClock } from '../../../test/manual-clock.ts';
import { contentOf, HeldDevice, pattern, SECTOR } from '../../../test/storage-board.ts';
import { Drive } from './drive.ts';
import { MemoryDevice } from './memory-device.ts';
import { OverlayDevice } from './overlay-device.ts';

function create() {
  const clock = new ManualClock();
  const medium = new HeldDevice(MemoryDevice.from(pattern(8 * SECTOR)));
  return { clock, medium, drive: new Drive({ id: 'd', media: 'floppy', clock, medium }) };
}

test('a request comes back in virtual time, not from inside the call or while time stands', () => {
  const { clock, medium, drive } = create();
  let [ends, requests] = [0, 0];
  drive.onRequest = () => requests++;
  drive.onEnd = () => ends++;
  const results: unknown[] = [];
  drive.read(0, new Uint8Array(SECTOR), (error) => results.push(error));
  expect([requests, ends]).toEqual([1, 0]);
  medium.release();
  expect([requests, ends]).toEqual([1, 1]);
  expect(results).toEqual([]);
  clock.advance(0);
  expect(results).toEqual([undefined]);
  expect(drive.pendingCount).toBe(0);
});

test('ends come in the order of the requests, though the host has another', () => {
  const clock = new ManualClock();
  const ends: (() => void)[] = [];
  const medium = new MemoryDevice(8 * SECTOR);
  medium.flush = (done) => void ends.push(() => done(undefined));
  const drive = new Drive({ id: 'd', media: 'disk', clock, medium });
  const order: number[] = [];
  for (let i = 0; i < 3; i++) drive.flush(() => order.push(i));
  ends[2]!();
  ends[1]!();
  clock.advance(10);
  expect(order).toEqual([]);
  ends[0]!();
  clock.advance(10);
  expect(order).toEqual([0, 1, 2]);
});

test('what was cancelled never comes back', () => {
  const { clock, medium, drive } = create();
  drive.read(0, new Uint8Array(SECTOR), () => expect.unreachable());
  drive.cancel();
  medium.release();
  clock.advance(10);
  expect(drive.pendingCount).toBe(0);
});

test('an empty drive has no medium to ask, and a disk is not changed', () => {
  const { clock, drive } = create();
  drive.change(undefined);
  const results: unknown[] = [];
  drive.read(0, new Uint8Array(SECTOR), (error) => results.push(error));
  clock.advance(10);
  expect(results).toEqual(['ENOMEDIUM']);
  const disk = new Drive({ id: 'x', media: 'disk', clock });
  expect(() => disk.change(undefined)).toThrow('Cannot change medium of "x" as it must be');
});

test('memory and overlay devices refuse what lies outside, and writes where there are none', () => {
  const device = new MemoryDevice(4 * SECTOR, { isReadOnly: true });
  const results: unknown[] = [];
  const note = (error: unknown) => results.push(error);
  device.read(4, new Uint8Array(SECTOR), note);
  device.read(-1, new Uint8Array(SECTOR), note);
  device.read(0.5, new Uint8Array(SECTOR), note);
  device.read(0, new Uint8Array(100), note);
  device.write(0, new Uint8Array(SECTOR), note);
  const overlay = new OverlayDevice(device, new MemoryDevice(4 * SECTOR));
  overlay.write(4, new Uint8Array(SECTOR), note);
  overlay.write(0, new Uint8Array(SECTOR), note);
  expect(results).toEqual(['EIO', 'EIO', 'EIO', 'EIO', 'EROFS', 'EIO', undefined]);
  expect(() => new OverlayDevice(device, new MemoryDevice(0))).toThrow('must not be smaller');
});

test('an overlay reads as a plain array does, and its base stays as it was', () => {
  const sectors = 100;
  const write = fc.tuple(fc.nat({ max: sectors - 1 }), fc.nat({ max: 40 }), fc.nat({ max: 255 }));
  fc.assert(
    fc.property(fc.array(write, { maxLength: 30 }), (writes) => {
      const base = MemoryDevice.from(pattern(sectors * SECTOR));
      const overlay = new OverlayDevice(base, new MemoryDevice(sectors * SECTOR));
      const model = pattern(sectors * SECTOR);
      for (const [sector, size, seed] of writes) {
        const count = Math.min(size, sectors - sector);
        const bytes = pattern(count * SECTOR, seed);
        overlay.write(sector, bytes, () => {});
        model.set(bytes, sector * SECTOR);
        expect(contentOf(overlay, sector, count)).toEqual(bytes);
      }
      expect(contentOf(overlay, 0, sectors)).toEqual(model);
      expect(contentOf(base, 0, sectors)).toEqual(pattern(sectors * SECTOR));
    }),
    fuzzOptions(20),
  );
});

test('a floppy drive keeps its disk when a larger one than there are is put in', () => {
  const { clock, drive, medium } = create();
  const large = new MemoryDevice(2_949_632, { label: 'big.img' });
  const message = 'Cannot put "big.img" into drive "d" as a floppy disk must not be larger than';
  expect(() => drive.change(large)).toThrow(message);
  expect(drive.medium).toBe(medium);
  expect(() => new Drive({ id: 'd', media: 'floppy', clock, medium: large })).toThrow(message);
});
