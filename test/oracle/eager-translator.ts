// The software accelerator with every instruction translated before it runs, so that the same cases
// test the translator that otherwise test the interpreter.

import { interpreterAccelerator } from '../../src/accel/software/index.ts';
import type { SoftwareVCPU } from '../../src/accel/software/software-vcpu.ts';
import type { Accelerator } from '../../src/cpu/vcpu.ts';

export const eagerTranslator: Accelerator = {
  ...interpreterAccelerator,
  createVCPU(wiring, memory) {
    const vcpu = interpreterAccelerator.createVCPU(wiring, memory) as SoftwareVCPU;
    vcpu.isTranslatingEagerly = true;
    return vcpu;
  },
};
