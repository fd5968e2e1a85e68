import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { KVM } from './abi.ts';
import { KVMHost } from './kvm-host.ts';
import { type LinuxCalls, linuxCalls } from './linux-calls.ts';
import { missingKVM } from './missing-kvm.ts';
import { VirtualMachine } from './virtual-machine.ts';

const reason = missingKVM();

/** A kernel that answers ioctls of /dev/kvm as it is told, and fails others. */
function fakeKernel(options: {
  openError?: string;
  version?: number;
  missing?: number;
}): LinuxCalls {
  const { openError, version = 12, missing } = options;
  return {
    open: () => (openError === undefined ? 9 : -1),
    close: () => 0,
    errno: () => openError ?? 'EINVAL',
    ioctl(_fd: number, request: number, argument: number) {
      if (request === KVM.KVM_GET_API_VERSION) return version;
      if (request === KVM.KVM_CHECK_EXTENSION) return argument === missing ? 0 : 1;
      return request === KVM.KVM_GET_VCPU_MMAP_SIZE ? 12288 : -1;
    },
  } as unknown as LinuxCalls;
}

test('KVMHost.open() says what is missing, and what it must be', () => {
  const open = (options: Parameters<typeof fakeKernel>[0]) => () =>
    KVMHost.open(fakeKernel(options));
  expect(open({})).not.toThrow();
  expect(open({ openError: 'ENOENT' })).toThrow(
    'Cannot open "/dev/kvm" as the host must offer it (a kernel with KVM, hardware ' +
      'virtualization turned on): ENOENT',
  );
  expect(open({ openError: 'EACCES' })).toThrow(
    'this user must be allowed to read and write it (often: be in the group "kvm"): EACCES',
  );
  expect(open({ openError: 'ENODEV' })).toThrow('(kvm-intel or kvm-amd): ENODEV');
  expect(open({ version: 11 })).toThrow('its API version must be 12: it is 11');
  expect(open({ missing: KVM.KVM_CAP_USER_MEMORY })).toThrow('it must have KVM_CAP_USER_MEMORY');
  expect(open({ missing: KVM.KVM_CAP_IMMEDIATE_EXIT })).toThrow('KVM_CAP_IMMEDIATE_EXIT');
});

test('linuxCalls() says that koffi is missing, and on which hosts there is KVM', () => {
  expect(() => linuxCalls('darwin-arm64')).toThrow(
    'Cannot use KVM as the host must be Linux on x86-64: it is darwin-arm64',
  );
  const load = () => {
    throw new Error('Cannot find module');
  };
  expect(() => linuxCalls('linux-x64', load)).toThrow(
    'the optional package "koffi" must be installed (npm install koffi)',
  );
});

test.skipIf(process.platform !== 'linux')('a file that is not KVM is refused', () => {
  const folder = mkdtempSync(join(tmpdir(), 'quire-kvm-'));
  const path = join(folder, 'kvm');
  writeFileSync(path, '');
  chmodSync(path, 0o600);
  try {
    expect(() => KVMHost.open(linuxCalls(), path)).toThrow('its API version must be 12: it is -1');
    expect(() => KVMHost.open(linuxCalls(), join(folder, 'none'))).toThrow('ENOENT');
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test.skipIf(reason !== undefined)(`KVMHost opens the real one ${reason ?? ''}`, () => {
  const host = KVMHost.open();
  const vm = new VirtualMachine(host);
  expect(host.runBytes).toBeGreaterThanOrEqual(4096);
  expect(vm.checkExtension(KVM.KVM_CAP_USER_MEMORY)).toBe(1);
  expect(host.supportedCPUID().get(1)![3] & 1).toBe(1);
  const region = { slot: 0, flags: 0, guestPhysicalAddress: 0, memorySize: 4096 };
  expect(() => vm.setUserMemoryRegion({ ...region, userspaceAddress: 1n })).toThrow(
    expect.objectContaining({ code: 'EINVAL' }),
  );
  vm.close();
  host.close();
});
