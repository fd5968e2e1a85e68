// The interpreter against the host's own processor. FUZZ_RUNS (cases a form) and FUZZ_SEED apply.

import { softwareAccelerator } from '../../src/accel/software/index.ts';
import { testAccelerator } from './accelerator-cases.ts';

const CASES_PER_FORM = 60;

testAccelerator('software', () => softwareAccelerator, { count: CASES_PER_FORM });
