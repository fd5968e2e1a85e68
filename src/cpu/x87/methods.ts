// The x87's TypeScript half, by the names under which the rows call it.

import { VECTOR_MF } from '../control-bits.ts';
import type { CPUState } from '../state.ts';
import { loadDecimal, storeDecimal } from './decimal.ts';
import { initialize, packEnvironment, unpackEnvironment } from './environment.ts';
import { X87Registers } from './registers.ts';
import { extract, remainder, scale } from './remainder.ts';
import { f2xm1, fcos, fpatan, fptan, fsin, fsincos, fyl2x, fyl2xp1 } from './transcendental.ts';

/**
 * Methods for the engine's imports: as many i32 arguments as each declares, i32 result
 * (0: nothing is to be said).
 *
 * @param raiseFERR asserts the FERR# pin (IRQ 13 in a PC) when CR0.NE = 0 and an unmasked exception
 * waits; the instruction then repeats until the interrupt is taken. Without it #MF is raised.
 */
export function x87Methods(
  state: CPUState,
  raiseFERR?: () => void,
): Record<string, (...args: number[]) => number> {
  const x87 = new X87Registers(state);
  const done = (action: () => void) => (): number => {
    action();
    return 0;
  };
  return {
    x87Ferr: done(() => {
      if (!raiseFERR) {
        state.raiseException(VECTOR_MF);
        return;
      }
      raiseFERR();
      state.jump(state.eip);
    }),
    x87Initialize: done(() => initialize(state, x87)),
    x87UpdateSummary: done(() => x87.updateSummary()),
    // The engine takes the count of arguments from the functions themselves.
    x87PackEnvironment: (operandSize: number) => {
      packEnvironment(state, x87, operandSize);
      return 0;
    },
    x87UnpackEnvironment: (operandSize: number) => {
      unpackEnvironment(state, x87, operandSize);
      return 0;
    },
    x87LoadDecimal: done(() => loadDecimal(state, x87)),
    x87StoreDecimal: done(() => storeDecimal(state, x87)),
    x87Extract: done(() => extract(x87)),
    x87Remainder: done(() => remainder(x87, false)),
    x87RemainderNearest: done(() => remainder(x87, true)),
    x87Scale: done(() => scale(x87)),
    x87PowerOfTwoMinusOne: done(() => f2xm1(x87)),
    x87Logarithm: done(() => fyl2x(x87)),
    x87LogarithmOfSum: done(() => fyl2xp1(x87)),
    x87Tangent: done(() => fptan(x87)),
    x87ArcTangent: done(() => fpatan(x87)),
    x87Sine: done(() => fsin(x87)),
    x87Cosine: done(() => fcos(x87)),
    x87SineCosine: done(() => fsincos(x87)),
  };
}
