// The interpreter against the host's own processor. FUZZ_RUNS (cases a form) and FUZZ_SEED apply.

import { interpreterAccelerator } from '../../src/accel/software/index.ts';
import { testAccelerator } from './accelerator-cases.ts';

const CASES_PER_FORM = 60;

testAccelerator('software', () => interpreterAccelerator, { count: CASES_PER_FORM });
