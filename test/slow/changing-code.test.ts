// The translator must forget the same code as the interpreter, and makes a unit
// of each instruction.

import { testChangingCode } from '../changing-code.ts';
import { eagerTranslator } from '../oracle/eager-translator.ts';

testChangingCode(eagerTranslator);
