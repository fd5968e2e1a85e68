// All rows of the instruction table: importing this file adds them.

import './alu.ts';
import './bit.ts';
import './branch.ts';
import './decimal.ts';
import './flag.ts';
import './move.ts';
import './multiply.ts';
import './shift.ts';
import './stack.ts';
import './string.ts';
import './system.ts';
