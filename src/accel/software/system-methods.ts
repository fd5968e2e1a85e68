// The methods that instruction rows call by name: Processor's, and those of the x87 room. They
// become imports of the interpreter's module; arguments are i32, results i32 (nothing counts as 0).

import { Processor } from '../../cpu/processor.ts';
import { CPUState } from '../../cpu/state.ts';
import { STATE_BYTES } from '../../cpu/state-layout.ts';
import { x87Methods } from '../../cpu/x87/methods.ts';

type Method = (...args: number[]) => unknown;

function processorMethods(): Map<string, Method> {
  const methods = new Map<string, Method>();
  const { prototype } = Processor;
  for (const name of Object.getOwnPropertyNames(prototype)) {
    const value: unknown = Object.getOwnPropertyDescriptor(prototype, name)?.value;
    if (name !== 'constructor' && typeof value === 'function') methods.set(name, value as Method);
  }
  return methods;
}

/** Each method's name and how many arguments it takes. */
export function systemMethodArguments(): Map<string, number> {
  const counts = new Map<string, number>();
  for (const [name, method] of processorMethods()) counts.set(name, method.length);
  const unused = new CPUState(new ArrayBuffer(STATE_BYTES));
  for (const [name, method] of Object.entries(x87Methods(unused))) counts.set(name, method.length);
  return counts;
}

/** The methods, bound to one processor. */
export function systemMethods(processor: Processor): Record<string, Method> {
  const methods: Record<string, Method> = { ...x87Methods(processor.state) };
  for (const [name, method] of processorMethods()) methods[name] = method.bind(processor);
  return methods;
}
