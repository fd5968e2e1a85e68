// The KVM accelerator: the host's kernel runs the processor, out of RAM that the host maps.

import type { Accelerator, CPUWiring, MachineMemory } from '../../cpu/vcpu.ts';
import { A20Alias } from './a20-alias.ts';
import { KVM } from './abi.ts';
import { guestCPUID, isHostEmulated } from './guest-cpuid.ts';
import { KVMHost } from './kvm-host.ts';
import { KVMVCPU } from './kvm-vcpu.ts';
import { KVMError } from './kvm-vm.ts';
import { MappedRAM } from './mapped-ram.ts';
import { Memslots } from './memslots.ts';
import { VirtualMachine } from './virtual-machine.ts';

/** Where a guest in a planar mode draws: many writes, none of which the guest waits for. */
const VGA_WINDOW_GPA = 0xa_0000;
const VGA_WINDOW_BYTES = 0x2_0000;

/**
 * `--accel kvm`, after it was seen that this host can.
 * @param onProblem told once of each part of memory that the kernel cannot map
 * @param dirtyRingBytes log what the guest writes to a ring of this size, not to bitmaps; the
 *   kernel wants a power of two, a page or more
 * @throws {KVMError} with a message for people: no `/dev/kvm`, no right to open it, no `koffi`, a
 *   kernel or a processor that lacks something
 */
export function kvmAccelerator(
  onProblem: (error: KVMError) => void = () => {},
  dirtyRingBytes?: number,
): Accelerator {
  const host = KVMHost.open();
  const { calls } = host;
  let isSynchronous: boolean;
  try {
    guestCPUID(calls, host.supportedCPUID());
    isSynchronous = host.checkExtension(KVM.KVM_CAP_SYNC_MMU) > 0;
  } finally {
    host.close();
  }
  return {
    name: 'kvm',
    reservedBytes: 0,
    createRAM: (capacityBytes) => new MappedRAM(capacityBytes, { calls, isSynchronous }),
    createVCPU: (wiring, memory) => createVCPU(wiring, memory, onProblem, dirtyRingBytes),
  };
}

function createVCPU(
  wiring: CPUWiring,
  memory: MachineMemory,
  onProblem: (error: KVMError) => void,
  dirtyRingBytes: number | undefined,
): KVMVCPU {
  const host = KVMHost.open();
  let vm: VirtualMachine | undefined;
  try {
    const { calls, runBytes } = host;
    vm = new VirtualMachine(host);
    vm.coalesceWrites(VGA_WINDOW_GPA, VGA_WINDOW_BYTES);
    const supported = host.supportedCPUID();
    const cpuid = guestCPUID(calls, supported);
    const memslots = attachSlots(vm, wiring, memory, onProblem, dirtyRingBytes);
    const alias = new A20Alias(wiring.memory);
    const setA20 = (isEnabled: boolean) => alias.set(isEnabled);
    const ownVM = vm;
    const onClose = () => {
      wiring.memory.removeListener(memslots);
      ownVM.close();
    };
    return new KVMVCPU({
      ...{ vm, runBytes, cpuid, wiring, memory, memslots, setA20, onClose },
      isHostEmulated: isHostEmulated(supported),
    });
  } catch (error) {
    vm?.close();
    throw error;
  } finally {
    host.close();
  }
}

/** The machine's memory as slots of `vm`, from now on. */
function attachSlots(
  vm: VirtualMachine,
  wiring: CPUWiring,
  memory: MachineMemory,
  onProblem: (error: KVMError) => void,
  dirtyRingBytes: number | undefined,
): Memslots {
  const { ramWrites } = wiring.memory;
  if (ramWrites === undefined)
    throw new KVMError('EINVAL', 'Cannot run on KVM as writes of RAM must be tracked');
  const { ramList } = memory;
  const memslots = new Memslots({
    vm,
    ramWrites,
    hostAddress: (ramOffset) => BigInt(vm.calls.addressOf(ramList.bytesAt(ramOffset, 1))),
    onProblem,
    ...(dirtyRingBytes === undefined ? {} : { ringBytes: dirtyRingBytes }),
  });
  wiring.memory.addListener(memslots);
  return memslots;
}
