// The PC: a machine, what it asks of its host, and what can be wrong with a guest's images.

export { BootError } from './boot/boot-target.ts';
export { MachineClock, TSC_HZ } from './clock.ts';
export type { Host, HostSleep } from './host.ts';
export { Machine, type MachineEnd, type MachineOptions, type MachineState } from './machine.ts';
export {
  checkMemoryBytes,
  MEMORY_BYTES_MAX,
  MEMORY_BYTES_MIN,
  type PCMemory,
} from './machine-memory.ts';
export { PC } from './pc.ts';
