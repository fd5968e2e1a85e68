// The software accelerator with every instruction translated before it runs, so that the same cases
// test the translator that otherwise test the interpreter.

import { interpreterAccelerator } from '../../src/accel/software/index.ts';
import type { SoftwareVCPU } from '../../src/accel/software/software-vcpu.ts';
import type { Accelerator } from '../../src/cpu/vcpu.ts';

/** @param keepsLocals whether registers and flags stay in locals while a unit runs */
function eager(keepsLocals: boolean): Accelerator {
  return {
    ...interpreterAccelerator,
    createVCPU(wiring, memory) {
      const vcpu = interpreterAccelerator.createVCPU(wiring, memory) as SoftwareVCPU;
      vcpu.isTranslatingEagerly = true;
      vcpu.translator.keepsLocals = keepsLocals;
      return vcpu;
    },
  };
}

export const eagerTranslator = eager(false);
/** Units as they are made of loops that run on and on. */
export const eagerLocalsTranslator = eager(true);
