// The conformance suite of an accelerator against the host's own processor: for each instruction
// form random cases, compared bit for bit. `testAccelerator` is called by a test
// file per accelerator.

import { expect, test } from 'vitest';
import type { Accelerator } from '../../src/cpu/vcpu.ts';
import { fuzzOptions } from '../fuzz-options.ts';
import { firstDifference, formName } from './first-difference.ts';
import { FORMS } from './forms.ts';
import { type NativeOracle, openNativeOracle } from './native.ts';
import { createCaseRunner, type QuireCaseRunner } from './quire-case.ts';

/** Forms that an accelerator is not expected to run as the host does, and why. */
export interface Skip {
  readonly test: string;
  readonly reason: string;
}

/**
 * Defines one test for each form, against `oracle` or the host's own processor. Where that cannot
 * be asked they are skipped, with the reason.
 */
export function testAccelerator(
  name: string,
  create: () => Accelerator,
  options: { skip?: readonly Skip[]; count: number; oracle?: NativeOracle },
): void {
  const found = options.oracle ? { oracle: options.oracle } : openNativeOracle();
  if (!found.oracle) {
    test.skip(`${name} against the host's processor: ${found.reason}`, () => {});
    return;
  }
  const { oracle } = found;
  const { seed, numRuns } = fuzzOptions(options.count);
  let quire: QuireCaseRunner | undefined;
  for (const form of FORMS) {
    const title = formName(form);
    const skip = options.skip?.find((entry) => entry.test === title);
    if (skip) {
      test.skip(`${name}: ${title} (${skip.reason})`, () => {});
      continue;
    }
    test(`${name}: ${title}`, () => {
      quire ??= createCaseRunner(create());
      expect(firstDifference(form, oracle, quire, { seed, count: numRuns })).toBeUndefined();
    });
  }
}
