// Node as a machine's host: its clocks, its timers, its event loop, and what its build made before.

import { performance } from 'node:perf_hooks';
import { usePrebuiltInterpreter } from '../accel/software/index.ts';
import type { Host } from '../machine/host.ts';
import { readPrebuiltInterpreter } from './prebuilt-interpreter.ts';

usePrebuiltInterpreter(() => readPrebuiltInterpreter());

export const nodeHost: Host = {
  nowMs: () => performance.now(),
  epochMs: () => Date.now(),
  sleep(ms) {
    let wake = (): void => {};
    const done = new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, ms);
      wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
    return { done, wake: () => wake() };
  },
  // Not a microtask: input and timers must get their turn.
  yield: () => new Promise((resolve) => void setImmediate(resolve)),
};
