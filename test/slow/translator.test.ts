// The translator against the host's own processor: the same cases
// as the interpreter's, each translated before it runs.

import { testAccelerator } from '../oracle/accelerator-cases.ts';
import { eagerLocalsTranslator, eagerTranslator } from '../oracle/eager-translator.ts';

// A case makes a unit of its own, which takes a millisecond or more.
testAccelerator('translator', () => eagerTranslator, { count: 10 });
testAccelerator('translator, in locals', () => eagerLocalsTranslator, { count: 10 });
