import { expect, test } from 'vitest';
import { KVMError } from '../accel/kvm/kvm-vm.ts';
import { softwareAccelerator } from '../accel/software/index.ts';
import { openAccelerator } from './accelerators.ts';

const noKVM = () => {
  throw new KVMError('ENOENT', 'Cannot open "/dev/kvm" as the host must offer it: ENOENT');
};

test('--accel kvm fails with the reason, kvm:software says it in one line and falls back', () => {
  const warnings: string[] = [];
  const onWarning = (message: string) => void warnings.push(message);
  expect(() => openAccelerator('kvm', onWarning, noKVM)).toThrow('Cannot open "/dev/kvm"');
  expect(warnings).toEqual([]);
  expect(openAccelerator('kvm:software', onWarning, noKVM)).toBe(softwareAccelerator);
  expect(warnings).toEqual([
    'Cannot open "/dev/kvm" as the host must offer it: ENOENT; ' +
      'the software accelerator runs the guest',
  ]);
  expect(openAccelerator('software', onWarning, noKVM)).toBe(softwareAccelerator);
});

test('what is broken in KVM otherwise is no reason to fall back', () => {
  const broken = () => {
    throw new TypeError('not a host\u2019s fault');
  };
  expect(() => openAccelerator('kvm:software', () => {}, broken)).toThrow(TypeError);
});
