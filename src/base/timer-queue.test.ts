import fc from 'fast-check';
import { expect, test } from 'vitest';
import { fuzzOptions } from '../../test/fuzz-options.ts';
import { TimerQueue } from './timer-queue.ts';

test('timers expire by deadline, and in the order of arming where those are equal', () => {
  const queue = new TimerQueue();
  const log: string[] = [];
  for (const [name, deadline] of [
    ['late', 30],
    ['b', 20],
    ['a', 10],
    ['c', 20],
  ] as const)
    queue.createTimer(() => log.push(name)).arm(deadline);
  expect(queue.nextDeadlineNs).toBe(10);
  expect(queue.fireDue(20)).toBe(3);
  expect(log).toEqual(['a', 'b', 'c']);
  expect(queue.nextDeadlineNs).toBe(30);
});

test('a timer that re-arms itself for the past fires once in each call', () => {
  const queue = new TimerQueue();
  let count = 0;
  const timer = queue.createTimer(() => {
    count++;
    timer.arm(0);
  });
  timer.arm(5);
  expect(queue.fireDue(100)).toBe(1);
  expect(count).toBe(1);
  expect(queue.nextDeadlineNs).toBe(0);
  queue.fireDue(100);
  expect(count).toBe(2);
});

test('a deadline that is no number is refused', () => {
  expect(() => new TimerQueue().createTimer(() => {}).arm(Number.NaN)).toThrow(RangeError);
});

test('onEarlier runs when a timer becomes the next one, and only then', () => {
  const queue = new TimerQueue();
  let count = 0;
  queue.onEarlier = () => count++;
  queue.createTimer(() => {}).arm(50);
  queue.createTimer(() => {}).arm(60);
  queue.createTimer(() => {}).arm(40);
  expect(count).toBe(2);
});

test('random arming, cancelling and firing agree with a plain list', () => {
  const step = fc.oneof(
    fc.record({ do: fc.constant('arm' as const), index: fc.nat(7), at: fc.nat(100) }),
    fc.record({ do: fc.constant('cancel' as const), index: fc.nat(7), at: fc.constant(0) }),
    fc.record({ do: fc.constant('fire' as const), index: fc.constant(0), at: fc.nat(100) }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const queue = new TimerQueue();
      const fired: number[] = [];
      const timers = Array.from({ length: 8 }, (_, i) => queue.createTimer(() => fired.push(i)));
      const model = new Map<number, number>();
      for (const one of steps) {
        if (one.do === 'arm') {
          timers[one.index]!.arm(one.at);
          model.delete(one.index);
          model.set(one.index, one.at); // A Map keeps the order of arming.
        } else if (one.do === 'cancel') {
          timers[one.index]!.cancel();
          model.delete(one.index);
        } else {
          fired.length = 0;
          queue.fireDue(one.at);
          const due = [...model].filter(([, at]) => at <= one.at).sort((a, b) => a[1] - b[1]);
          for (const [index] of due) model.delete(index);
          expect(fired).toEqual(due.map(([index]) => index));
        }
        expect(queue.armedCount).toBe(model.size);
        expect(queue.nextDeadlineNs).toBe(Math.min(Number.POSITIVE_INFINITY, ...model.values()));
      }
    }),
    fuzzOptions(200),
  );
});
