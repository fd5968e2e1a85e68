// Multiplication and division, up to 4-byte operands: 8-byte ones have 128-bit products.
// Intel SDM volume 2: MUL, IMUL, DIV, IDIV. SF, ZF and PF are undefined after MUL and IMUL: here
// they follow the low half of the product. DIV and IDIV keep all flags, which are undefined.

import { i32, i64, type Value } from '../../wasm/index.ts';
import { VECTOR_DE } from '../control-bits.ts';
import type { Emitter, Operand } from '../emitter.ts';
import { type Meaning, row } from '../instruction-table.ts';
import { AH, EAX, EDX, signExtend } from './common-meanings.ts';

function requireNarrow(size: number): void {
  if (size === 8) throw new RangeError('Cannot multiply 8-byte operands before long mode');
}

/** i32 operands to the width of the product: i64 for 4 bytes, extended as the sign says. */
function widened(value: Value, size: number, isSigned: boolean): Value {
  if (!isSigned) return size === 4 ? value.extendU() : value;
  const extended = signExtend(value, size);
  return size === 4 ? extended.extendS() : extended;
}

/** EDX:EAX (DX:AX, AX) := accumulator × operand. */
function multiply(isSigned: boolean): Meaning {
  return (e, src) => {
    const { size } = src!;
    requireNarrow(size);
    const factor = widened(src!.read(), size, isSigned);
    const product = e.let(widened(e.readRegister(EAX, size), size, isSigned).mul(factor));
    const low = e.let(product.wrap());
    if (size === 1) e.writeRegister(EAX, 2, low);
    else {
      e.writeRegister(EAX, size, low);
      e.writeRegister(EDX, size, product.shrU(size * 8).wrap());
    }
    const isLost = e.let(overflows(product, low, size, isSigned));
    e.flags.setResult(low, size, isLost, isLost);
  };
}

/** Whether the product is more than its low half says. */
function overflows(product: Value, low: Value, size: number, isSigned: boolean): Value {
  if (!isSigned)
    return product
      .shrU(size * 8)
      .eqz()
      .eqz();
  return product.ne(size === 4 ? low.extendS() : signExtend(low, size));
}

row('F6 /4', 'MUL', 'Eb', multiply(false));
row('F7 /4', 'MUL', 'Ev', multiply(false));
row('F6 /5', 'IMUL', 'Eb', multiply(true));
row('F7 /5', 'IMUL', 'Ev', multiply(true));

function truncatedProduct(e: Emitter, dst: Operand, a: Value, b: Value): void {
  const { size } = dst;
  requireNarrow(size);
  const product = e.let(widened(a, size, true).mul(widened(b, size, true)));
  const low = e.let(product.wrap());
  dst.write(low);
  const isLost = e.let(overflows(product, low, size, true));
  e.flags.setResult(low, size, isLost, isLost);
}
row('0F AF', 'IMUL', 'Gv,Ev', (e, dst, src) => truncatedProduct(e, dst!, dst!.read(), src!.read()));
const multiplyByImmediate: Meaning = (e, dst, src, factor) =>
  truncatedProduct(e, dst!, src!.read(), factor!.read());
row('69', 'IMUL', 'Gv,Ev,Iz', multiplyByImmediate);
row('6B', 'IMUL', 'Gv,Ev,sIb', multiplyByImmediate);

function dividend(e: Emitter, size: number, isSigned: boolean): Value {
  if (size === 1) {
    const ax = e.readRegister(EAX, 2);
    return e.let(isSigned ? ax.extend16S() : ax);
  }
  const high = e.readRegister(EDX, size);
  const low = e.readRegister(EAX, size);
  if (size === 2) return e.let(high.shl(16).or(low));
  return e.let(high.extendU().shl(i64(32)).or(low.extendU()));
}

/**
 * #DE for a divisor of zero or a quotient that does not fit, before anything changes. The smallest
 * dividend overflows with every divisor, and is refused before WebAssembly's division could trap.
 */
function divide(isSigned: boolean): Meaning {
  return (e, src) => {
    const { size } = src!;
    requireNarrow(size);
    const divisor = e.let(widened(src!.read(), size, isSigned));
    const whole = dividend(e, size, isSigned);
    e.raiseIf(divisor.eqz(), VECTOR_DE);
    if (isSigned && size > 1) {
      const least = size === 2 ? i32(-0x8000_0000) : i64(-(1n << 63n));
      e.raiseIf(whole.eq(least), VECTOR_DE);
    }
    const quotient = e.let(isSigned ? whole.divS(divisor) : whole.divU(divisor));
    const low = e.let(quotient.wrap());
    e.raiseIf(overflows(quotient, low, size, isSigned), VECTOR_DE);
    const remainder = e.let((isSigned ? whole.remS(divisor) : whole.remU(divisor)).wrap());
    e.writeRegister(EAX, size, low);
    if (size === 1) e.writeByteRegister(AH, remainder);
    else e.writeRegister(EDX, size, remainder);
  };
}
row('F6 /6', 'DIV', 'Eb', divide(false));
row('F7 /6', 'DIV', 'Ev', divide(false));
row('F6 /7', 'IDIV', 'Eb', divide(true));
row('F7 /7', 'IDIV', 'Ev', divide(true));
