// `info pci`: the functions on the bus, in QEMU's manner.

import { PCI_INTERRUPT_LINE, PCI_INTERRUPT_PIN, type PCIFunction } from '../devices/pci-config.ts';

/** Names of classes: PCI Code and ID Assignment Specification, section 1. */
const CLASS_NAMES: ReadonlyMap<number, string> = new Map([
  [0x0100, 'SCSI controller'],
  [0x0101, 'IDE controller'],
  [0x0200, 'Ethernet controller'],
  [0x0300, 'VGA controller'],
  [0x0600, 'Host bridge'],
  [0x0601, 'ISA bridge'],
  [0x0680, 'Bridge'],
]);

const hex = (value: number, digits: number): string => value.toString(16).padStart(digits, '0');

function windows(pciFunction: PCIFunction): string[] {
  const names = { io: 'I/O at', memory: 'memory at', rom: 'ROM at' };
  return [...pciFunction.windows]
    .sort((a, b) => a.index - b.index)
    .map(({ index, space, sizeBytes }) => {
      const start = pciFunction.addressOf(index);
      const digits = space === 'io' ? 4 : 8;
      const where =
        start === undefined
          ? `nowhere, 0x${hex(sizeBytes, 1)} bytes`
          : `0x${hex(start, digits)} [0x${hex(start + sizeBytes - 1, digits)}]`;
      return `      BAR${index}: ${names[space]} ${where}.\n`;
    });
}

/** A paragraph for each function. */
export function formatPCI(functions: Iterable<readonly [number, PCIFunction]>): string {
  let text = '';
  for (const [place, one] of functions) {
    const { vendorId, deviceId, classCode } = one.identity;
    const name = CLASS_NAMES.get(classCode >>> 8) ?? `Class ${hex(classCode >>> 8, 4)}`;
    text += `  Bus  0, device ${String(place >> 3).padStart(3)}, function ${place & 7}:\n`;
    text += `    ${name}: PCI device ${hex(vendorId, 4)}:${hex(deviceId, 4)}\n`;
    const pin = one.readByte(PCI_INTERRUPT_PIN);
    if (pin !== 0)
      text += `      IRQ ${one.readByte(PCI_INTERRUPT_LINE)}, pin ${' ABCD'[pin] ?? '?'}\n`;
    text += windows(one).join('');
  }
  return text;
}
