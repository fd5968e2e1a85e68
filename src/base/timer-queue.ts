// Timers of virtual time, in a binary heap by deadline. Whoever owns the time (a machine's clock, a
// test) fires those that are due; nothing here reads a clock.

import type { VirtualTimer } from './device.ts';

class QueuedTimer implements VirtualTimer {
  deadlineNs = Number.POSITIVE_INFINITY;
  /** Place in the heap, or -1 while it is not armed. */
  heapIndex = -1;
  /** Order of arming, so that timers of one deadline fire in a fixed order. */
  sequence = 0;
  readonly onExpire: () => void;
  readonly #queue: TimerQueue;

  constructor(queue: TimerQueue, onExpire: () => void) {
    this.#queue = queue;
    this.onExpire = onExpire;
  }

  arm(deadlineNs: number): void {
    this.#queue.schedule(this, deadlineNs);
  }

  cancel(): void {
    this.#queue.remove(this);
  }
}

/** Armed timers by deadline. Deadlines are absolute virtual times, ns. */
export class TimerQueue {
  readonly #heap: QueuedTimer[] = [];
  #sequence = 0;
  /** Called when the earliest deadline may have become earlier. */
  onEarlier: () => void = () => {};

  createTimer(onExpire: () => void): VirtualTimer {
    return new QueuedTimer(this, onExpire);
  }

  /** Deadline of the earliest armed timer, ns, or Infinity. */
  get nextDeadlineNs(): number {
    return this.#heap[0]?.deadlineNs ?? Number.POSITIVE_INFINITY;
  }

  /** Number of armed timers. */
  get armedCount(): number {
    return this.#heap.length;
  }

  /**
   * Expires every timer with a deadline at or before `nowNs`, earliest first. One that a callback
   * arms for `nowNs` or earlier waits for the next call, so that no device can keep it busy.
   * @returns how many expired
   */
  fireDue(nowNs: number): number {
    const lastSequence = this.#sequence;
    const late: QueuedTimer[] = [];
    let count = 0;
    while (this.nextDeadlineNs <= nowNs) {
      const timer = this.#heap[0]!;
      this.#unlink(timer);
      if (timer.sequence > lastSequence) {
        late.push(timer);
        continue;
      }
      timer.deadlineNs = Number.POSITIVE_INFINITY;
      count++;
      timer.onExpire();
    }
    for (const timer of late) {
      // A callback that ran later may have cancelled or moved it meanwhile.
      if (timer.heapIndex < 0 && timer.deadlineNs !== Number.POSITIVE_INFINITY) this.#link(timer);
    }
    return count;
  }

  /** @throws {RangeError} if `deadlineNs` is not a number */
  schedule(timer: QueuedTimer, deadlineNs: number): void {
    if (Number.isNaN(deadlineNs))
      throw new RangeError('Cannot arm timer: the deadline must be a number of ns, got NaN');
    if (timer.heapIndex >= 0) this.#unlink(timer);
    timer.deadlineNs = deadlineNs;
    if (deadlineNs === Number.POSITIVE_INFINITY) return;
    timer.sequence = ++this.#sequence;
    this.#link(timer);
    if (this.#heap[0] === timer) this.onEarlier();
  }

  remove(timer: QueuedTimer): void {
    if (timer.heapIndex >= 0) this.#unlink(timer);
    timer.deadlineNs = Number.POSITIVE_INFINITY;
  }

  #link(timer: QueuedTimer): void {
    this.#heap.push(timer);
    this.#siftUp(this.#heap.length - 1);
  }

  #unlink(timer: QueuedTimer): void {
    const index = timer.heapIndex;
    const last = this.#heap.pop()!;
    timer.heapIndex = -1;
    if (last === timer) return;
    this.#heap[index] = last;
    last.heapIndex = index;
    this.#siftUp(index);
    this.#siftDown(last.heapIndex);
  }

  #siftUp(start: number): void {
    const heap = this.#heap;
    const timer = heap[start]!;
    let index = start;
    while (index > 0) {
      const parent = (index - 1) >> 1;
      if (!isEarlier(timer, heap[parent]!)) break;
      heap[index] = heap[parent]!;
      heap[index]!.heapIndex = index;
      index = parent;
    }
    heap[index] = timer;
    timer.heapIndex = index;
  }

  #siftDown(start: number): void {
    const heap = this.#heap;
    const timer = heap[start]!;
    let index = start;
    for (;;) {
      let child = index * 2 + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && isEarlier(heap[child + 1]!, heap[child]!)) child++;
      if (!isEarlier(heap[child]!, timer)) break;
      heap[index] = heap[child]!;
      heap[index]!.heapIndex = index;
      index = child;
    }
    heap[index] = timer;
    timer.heapIndex = index;
  }
}

function isEarlier(a: QueuedTimer, b: QueuedTimer): boolean {
  return a.deadlineNs < b.deadlineNs || (a.deadlineNs === b.deadlineNs && a.sequence < b.sequence);
}
