// `info jit`: what the translator has made of the guest's code.

import { SoftwareVCPU } from '../accel/software/software-vcpu.ts';
import { formatJIT, formatUnitsAt, type JITLister } from '../accel/software/unit-text.ts';
import type { VCPU } from '../cpu/vcpu.ts';
import { evaluateAddress } from './address-expression.ts';
import type { MonitorTarget } from './monitor.ts';

/** The translator of a processor; undefined if its engine has none. */
export function jitOf(vcpu: VCPU): JITLister | undefined {
  return vcpu instanceof SoftwareVCPU ? vcpu : undefined;
}

/** The counters, or with an address the units there. */
export function formatJITOf(target: MonitorTarget, args: readonly string[]): string {
  const { jit, memory } = target;
  if (jit === undefined) return 'This accelerator translates no code\n';
  if (args.length === 0) return formatJIT(jit);
  const linear = evaluateAddress(args.join(' '), target.state) >>> 0;
  const gpa = target.isPaging ? target.translate(linear) : linear;
  const ramOffset = gpa < 0 ? -1 : memory.ramOffsetOf(gpa);
  if (ramOffset < 0) throw new RangeError(`There is no memory at 0x${linear.toString(16)}`);
  return formatUnitsAt(jit, ramOffset, linear);
}
