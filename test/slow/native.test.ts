// The same as test/oracle/native.test.ts with many more cases a form.

import { interpreterAccelerator } from '../../src/accel/software/index.ts';
import { testAccelerator } from '../oracle/accelerator-cases.ts';

const CASES_PER_FORM = 5000;

testAccelerator('software', () => interpreterAccelerator, { count: CASES_PER_FORM });
