import { testAccelerator } from './accelerator-cases.ts';
import { eagerTranslator } from './eager-translator.ts';

// Each case makes a unit of its own, which costs a millisecond: few here, more in test/slow.
testAccelerator('translator', () => eagerTranslator, { count: 3 });
