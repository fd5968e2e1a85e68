// The interpreter in the place of the host's own processor, for hosts that do not run native.c.

import { interpreterAccelerator } from '../../src/accel/software/index.ts';
import type { NativeOracle } from './native.ts';
import { createCaseRunner } from './quire-case.ts';
import { RECORD_BYTES } from './record.ts';

export function interpreterOracle(): NativeOracle {
  const runner = createCaseRunner(interpreterAccelerator);
  return {
    hasLowMemory: true,
    run(cases) {
      const results = new Uint8Array(cases.length);
      for (let at = 0; at < cases.length; at += RECORD_BYTES) {
        const { buffer, byteOffset } = runner.run(cases.subarray(at, at + RECORD_BYTES));
        results.set(new Uint8Array(buffer, byteOffset, RECORD_BYTES), at);
      }
      return results;
    },
  };
}
