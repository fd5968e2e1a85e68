import { expect, test } from 'vitest';
import { type APICMessage, IOAPIC } from './io-apic.ts';

function create() {
  const ioapic = new IOAPIC();
  const messages: APICMessage[] = [];
  ioapic.onMessage = (message) => messages.push(message);
  const write = (register: number, value: number) => {
    ioapic.write(0x00, register);
    ioapic.write(0x10, value);
  };
  const read = (register: number) => {
    ioapic.write(0x00, register);
    return ioapic.read(0x10);
  };
  return { ioapic, messages, write, read };
}

test('it has 24 inputs, all masked, and an identity of four bits', () => {
  const { read, write } = create();
  expect(read(0x01)).toBe(0x0017_0011);
  for (let pin = 0; pin < 24; pin++) expect(read(0x10 + 2 * pin)).toBe(0x1_0000);
  write(0x00, 0xffff_ffff);
  expect(read(0x00)).toBe(0x0f00_0000);
  expect(read(0x40)).toBe(0);
});

test('an edge sends one message; one behind the mask is lost', () => {
  const { ioapic, messages, write } = create();
  ioapic.setInput(4, true);
  write(0x18, 0x34);
  expect(messages).toEqual([]);
  ioapic.setInput(4, false);
  write(0x19, 0x0300_0000);
  ioapic.setInput(4, true);
  expect(messages).toEqual([
    { kind: 'vector', vector: 0x34, isLevel: false, destination: 3, isLogical: false },
  ]);
});

test('a level waits for the EOI, and comes again if it is still there', () => {
  const { ioapic, messages, write, read } = create();
  write(0x22, 0x8039);
  ioapic.setInput(9, true);
  expect(read(0x22) & 0x4000).toBe(0x4000);
  ioapic.setInput(9, false);
  ioapic.setInput(9, true);
  expect(messages.length).toBe(1);
  ioapic.endOfInterrupt(0x38);
  expect(messages.length, 'another vector').toBe(1);
  ioapic.endOfInterrupt(0x39);
  expect(messages.length).toBe(2);
  ioapic.setInput(9, false);
  ioapic.endOfInterrupt(0x39);
  expect(messages.length).toBe(2);
  expect(read(0x22) & 0x4000).toBe(0);
});

test('lifting the mask of an asserted level sends it; becoming an edge forgets remote IRR', () => {
  const { ioapic, messages, write, read } = create();
  write(0x22, 0x1_8039);
  ioapic.setInput(9, true);
  expect(messages.length).toBe(0);
  write(0x22, 0x8039);
  expect(messages.length).toBe(1);
  write(0x22, 0x1_0039);
  expect(read(0x22) & 0x4000).toBe(0);
});

test('input 0 as an external interrupt opens the 8259; NMI entries are NMI messages', () => {
  const { ioapic, messages, write } = create();
  expect(ioapic.takesExternal).toBe(false);
  write(0x10, 0x0700);
  expect(ioapic.takesExternal).toBe(true);
  ioapic.setInput(0, true);
  expect(messages).toEqual([]);
  write(0x14, 0x0400);
  ioapic.setInput(2, true);
  expect(messages[0]?.kind).toBe('nmi');
});

test('read-only bits stay, and inputs that do not exist are ignored', () => {
  const { ioapic, write, read } = create();
  write(0x10, 0xffff_ffff);
  expect(read(0x10)).toBe(0x1_afff);
  write(0x11, 0xffff_ffff);
  expect(read(0x11)).toBe(0xff00_0000);
  ioapic.setInput(24, true);
  expect(ioapic.state.lines).toBe(0);
});
