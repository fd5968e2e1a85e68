import { expect, test } from 'vitest';
import { createISABridge, HostBridge, PowerManagement } from './i440fx.ts';
import { PCIConfigMechanism } from './pci-config.ts';

function create() {
  const pci = new PCIConfigMechanism();
  pci.plug(0, 0, new HostBridge().config);
  pci.plug(1, 0, createISABridge());
  pci.plug(1, 3, new PowerManagement(9).config);
  const select = (device: number, index: number, register: number) =>
    pci.writeAddress((0x8000_0000 | (device << 11) | (index << 8) | register) >>> 0);
  return { pci, select };
}

test.each([
  ['host bridge', 0, 0, 0x1237_8086, 0x0600_0002],
  ['ISA bridge', 1, 0, 0x7000_8086, 0x0601_0000],
  ['power management', 1, 3, 0x7113_8086, 0x0680_0003],
])('the %s shows its identity and class', (_name, device, index, id, classAndRevision) => {
  const { pci, select } = create();
  select(device, index, 0x00);
  expect(pci.readData(0, 4)).toBe(id);
  expect(pci.readData(2, 2)).toBe(id >>> 16);
  expect(pci.readData(1, 1)).toBe(0x80);
  select(device, index, 0x08);
  expect(pci.readData(0, 4)).toBe(classAndRevision);
});

test('absent functions, other buses and a closed mechanism read as all ones', () => {
  const { pci, select } = create();
  select(2, 0, 0);
  expect(pci.readData(0, 4)).toBe(0xffff_ffff);
  pci.writeAddress(0x8001_0000);
  expect(pci.readData(0, 2)).toBe(0xffff);
  pci.writeAddress(0x0000_0000);
  expect(pci.readData(0, 1)).toBe(0xff);
  pci.writeData(0, 4, 0);
});

test('only writable bits change; a reset brings the first values back', () => {
  const { pci, select } = create();
  select(0, 0, 0x00);
  pci.writeData(0, 4, 0x1234_5678);
  expect(pci.readData(0, 4)).toBe(0x1237_8086);
  select(0, 0, 0x58);
  pci.writeData(1, 1, 0xff);
  expect(pci.readData(1, 1)).toBe(0x30);
  pci.writeData(2, 1, 0x11);
  expect(pci.readData(2, 1)).toBe(0x11);
  pci.reset();
  expect(pci.readAddress()).toBe(0);
  select(0, 0, 0x58);
  expect(pci.readData(2, 1)).toBe(0x00);
  expect(() => pci.plug(0, 0, new HostBridge().config)).toThrow('the place must be free');
});

test('the address keeps its enable bit, bus, device, function and register', () => {
  const { pci } = create();
  pci.writeAddress(0xffff_ffff);
  expect(pci.readAddress()).toBe(0x80ff_fffc);
});
