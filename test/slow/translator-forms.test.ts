// The translator against the interpreter, form by form: unlike the comparison with the host's own
// processor it runs on every host.

import { testAccelerator } from '../oracle/accelerator-cases.ts';
import { eagerLocalsTranslator, eagerTranslator } from '../oracle/eager-translator.ts';
import { interpreterOracle } from '../oracle/interpreter-oracle.ts';

const options = { count: 10, oracle: interpreterOracle() };
testAccelerator('translator, as the interpreter', () => eagerTranslator, options);
testAccelerator('translator in locals, as the interpreter', () => eagerLocalsTranslator, options);
