// The last step of `npm run build`: what is made once rather than in each process.

import { writeBundle } from './bundle.ts';
import { writePrebuiltInterpreter } from './prebuilt-interpreter.ts';

writePrebuiltInterpreter();
await writeBundle();
