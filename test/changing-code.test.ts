import { interpreterAccelerator } from '../src/accel/software/index.ts';
import { testChangingCode } from './changing-code.ts';

testChangingCode(interpreterAccelerator);
