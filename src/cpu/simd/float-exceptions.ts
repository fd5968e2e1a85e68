// Turns the exceptions that an instruction's lanes noted into sticky MXCSR flags, and says whether
// one of them is unmasked. Intel SDM volume 1, section 11.5.2 "SSE/SSE2 Exceptions" and 11.5.3.

import { i32, load } from '../../wasm/index.ts';
import type { SharedFunction } from '../emitter.ts';
import { MXCSR, SIMD_FAULT, SIMD_RAISED } from '../state-layout.ts';
import { MXCSR_BEFORE_COMPUTATION, MXCSR_FLAGS, MXCSR_MASK_SHIFT } from './mxcsr.ts';

const STATE = i32(0);

/**
 * Moves SIMD_RAISED into MXCSR and sets SIMD_FAULT if an unmasked one is among them. An unmasked
 * exception found before computation, in any lane, hides those found after it, in all lanes.
 */
export const FINISH: SharedFunction = {
  name: 'simd_finish',
  params: [],
  build(f) {
    const mxcsr = f.let(load('i32', STATE, MXCSR));
    const raised = f.local('i32');
    f.set(raised, load('i32', STATE, SIMD_RAISED));
    f.if(raised, () => {
      f.store('i32', STATE, i32(0), SIMD_RAISED);
      const enabled = f.let(mxcsr.shrU(MXCSR_MASK_SHIFT).not().and(MXCSR_FLAGS));
      f.if(raised.and(enabled), () => f.store('i32', STATE, i32(1), SIMD_FAULT));
      f.if(raised.and(enabled).and(MXCSR_BEFORE_COMPUTATION), () => {
        f.set(raised, raised.and(MXCSR_BEFORE_COMPUTATION));
      });
      f.store('i32', STATE, mxcsr.or(raised), MXCSR);
    });
  },
};
