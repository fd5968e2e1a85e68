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
import './mmx-move.ts';
import './simd-integer.ts';
import './simd-shift.ts';
import './simd-shuffle.ts';
import './sse-control.ts';
import './sse-convert.ts';
import './sse-float.ts';
import './sse-move.ts';
import './x87-arithmetic.ts';
import './x87-compare.ts';
import './x87-control.ts';
import './x87-load-store.ts';
