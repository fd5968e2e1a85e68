import { expect, test } from 'vitest';
import { XenModel } from '../../../test/accel/xen-model.ts';
import { XenMapCache } from './xen-map-cache.ts';

const PAGE = 4096;
const BUCKET = 2 ** 20;

function create(bucketCountMax: number) {
  const driver = new XenModel(new Uint8Array(0));
  driver.populate(0, 3);
  driver.populate(255, 600);
  const put = (gpa: number, value: number) => driver.guestWrite(gpa, value);
  return { driver, put, cache: new XenMapCache(driver, bucketCountMax) };
}

test('views end with what is there, and with their bucket', () => {
  const { cache, put } = create(2);
  put(2 * PAGE + 5, 9);
  const view = cache.view(PAGE + 5, 10 * PAGE)!;
  expect([view.length, view[PAGE]]).toEqual([2 * PAGE - 5, 9]);
  expect(cache.view(3 * PAGE, 1)).toBeUndefined();
  expect(cache.view(255 * PAGE, 3 * PAGE)!.length).toBe(PAGE);
  expect(cache.view(BUCKET, 3 * BUCKET)!.length).toBe(BUCKET);
});

test('the least recently used bucket goes, one that is locked stays', () => {
  const { driver, cache } = create(2);
  const lock = cache.lock(BUCKET, PAGE)!;
  for (const bucket of [2, 3, 0, 3]) cache.view(bucket * BUCKET, 1);
  expect([cache.bucketCount, driver.mappedCount]).toEqual([3, 3]);
  cache.view(2 * BUCKET, 1); // Bucket 0 was used before 3.
  expect(driver.mappedCount).toBe(3);
  driver.log.length = 0;
  cache.view(3 * BUCKET, 1);
  expect(driver.log).toEqual([]);
  lock.release();
  cache.view(0, 1);
  expect(driver.mappedCount).toBe(2);
});

test('what has changed is mapped anew; a device keeps what it has locked until it lets go', () => {
  const { driver, cache, put } = create(4);
  const lock = cache.lock(BUCKET, PAGE)!;
  expect(cache.view(2 * BUCKET, 1)![0]).toBe(0);
  put(BUCKET, 5);
  put(2 * BUCKET, 6);
  cache.invalidate(2 * BUCKET - 1, 2);
  expect([cache.view(BUCKET, 1)![0], cache.view(2 * BUCKET, 1)![0]]).toEqual([5, 6]);
  expect(driver.mappedCount).toBe(3);
  lock.release();
  expect(driver.mappedCount).toBe(2);
});
