// The library: a machine, what runs its processor, and its memory (the last also
// as `quire/memory`).

export { interpreterAccelerator, softwareAccelerator } from './accel/software/index.ts';
export type { Accelerator, VCPU } from './cpu/vcpu.ts';
export type { Host, HostSleep } from './machine/host.ts';
export {
  Machine,
  type MachineEnd,
  type MachineOptions,
  type MachineState,
} from './machine/machine.ts';
export * from './memory/index.ts';
