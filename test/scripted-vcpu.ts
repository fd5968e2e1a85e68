// A processor that does what a test's script says, in place of guest code.

import { CPUState } from '../src/cpu/state.ts';
import type { Accelerator, CPUWiring, MachineMemory, RunExit, VCPU } from '../src/cpu/vcpu.ts';

/** One slice: what `run` does and how it comes back. */
export type Slice = (vcpu: ScriptedVCPU, budget: number) => RunExit;

export class ScriptedVCPU implements VCPU {
  readonly state: CPUState;
  readonly wiring: CPUWiring;
  readonly interceptsWrites = true;
  instructionCount = 0;
  resetCount = 0;
  nmiCount = 0;
  synchronizeCount = 0;
  isA20Enabled = false;
  isNMIPending = false;
  isStopRequested = false;
  eventCount = 0;
  readonly budgets: number[] = [];
  /** Slices to come; the last one is repeated. */
  slices: Slice[];

  constructor(wiring: CPUWiring, memory: MachineMemory, slices: Slice[]) {
    this.state = new CPUState(memory.buffer);
    this.wiring = wiring;
    this.slices = slices;
  }

  run(budget: number): RunExit {
    this.budgets.push(budget);
    this.isStopRequested = false;
    const slice = this.slices.length > 1 ? this.slices.shift()! : this.slices[0]!;
    const exit = slice(this, budget);
    if (exit.kind === 'budget') this.instructionCount += budget;
    return exit;
  }

  requestEvent(): void {
    this.eventCount++;
  }

  requestStop(): void {
    this.isStopRequested = true;
  }

  reset(): void {
    this.resetCount++;
  }

  raiseNMI(): void {
    this.nmiCount++;
  }

  setA20(isEnabled: boolean): void {
    this.isA20Enabled = isEnabled;
  }

  synchronize(): void {
    this.synchronizeCount++;
  }
}

/** An accelerator whose processor runs `slices`; `vcpu` is there once a machine was made. */
export function scriptedAccelerator(slices: Slice[]): Accelerator & { vcpu: ScriptedVCPU } {
  const accelerator = {
    name: 'scripted',
    reservedBytes: 0x2_0000,
    vcpu: undefined as unknown as ScriptedVCPU,
    createVCPU(wiring: CPUWiring, memory: MachineMemory): VCPU {
      accelerator.vcpu = new ScriptedVCPU(wiring, memory, slices);
      return accelerator.vcpu;
    },
  };
  return accelerator;
}
