// Instruction forms on KVM against the host's own processor, a few cases each;
// test/slow/kvm.test.ts runs more.

import { test } from 'vitest';
import { kvmAccelerator } from '../../src/accel/kvm/kvm-accelerator.ts';
import { emulatedKVM } from '../../src/accel/kvm/missing-kvm.ts';
import { testAccelerator } from './accelerator-cases.ts';

const CASES_PER_FORM = 5;

// Every form needs paging and privilege 3, and many need x87.
const reason = emulatedKVM();
if (reason === undefined) testAccelerator('kvm', () => kvmAccelerator(), { count: CASES_PER_FORM });
else test.skip(`kvm: instruction forms (${reason})`, () => {});
